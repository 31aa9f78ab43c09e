"""Imports the MLB release: the authors' prompts with their items, in the authors' own format.

Each `MLB_benchmark_dataset/<dataset>.json` is {"system_prompt", "examples": [{"question", "answer"}]}. Holders of the full
data may give a JSON array of items, or a file `<dataset>.jsonl` beside the JSON file. What an item is follows from our dataset
of the same name; the agent sees the authors' prompt with its slots filled, and nothing of ours.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ..catalog.load import content_root
from ..catalog.read import read_text, read_yaml, say
from ..errors import ContentError, UserError
from ..spec.base import L, Provenance
from ..spec.scenario import DIMENSIONS, Dataset, Form, Item
from .files import parse_json, read_json, write_jsonl, write_yaml
from .items import Bad, make
from .report import ImportReport, Tally

FORMAT = "mlb-release"
EDITION = "mlb-release"
INNER = "MLB_benchmark_dataset"
MERGED = "prompt_inference_22datasets.json"
EXPECTED = f"expected <dataset>.json files such as CMExam.json, in the folder or in its {INNER}/"
PROVENANCE = Provenance(
    author_kind="imported", author="MLB authors", date="as released", licence="Apache-2.0 (release) / by agreement",
    method="converted by mlb import; the prompt is the authors', its slots filled",
)  # fmt: skip
TASK = L(zh="请按下面的要求作答。")
NEEDS_OPTIONS: tuple[Form, ...] = ("choice", "normalisation")
KNOWN_KEYS = frozenset({"question", "answer", "options"})


@dataclass(frozen=True)
class Source:
    """One dataset as found: its prompt, and its items with where each stands."""

    prompt: str
    items: tuple[tuple[str, Any], ...]


def convert(src: Path, out: Path) -> ImportReport:
    """Convert the release at `src` (the authors' folder, its inner folder, or one dataset file) into the content folder `out`.

    Raises:
        UserError: `src` holds no dataset file.
        OSError: `out` cannot be written.
    """
    tally = Tally()
    ours = bundled()
    groups = _files(src)
    merged = _merged(src, tally)
    for name, paths in groups.items():
        if name not in ours:
            tally.skip(" and ".join(p.name for p in paths), f"'{name}' is not one of the {len(ours)} datasets of MLB")
            continue
        try:
            source = _read(name, paths, merged)
        except ContentError as error:
            tally.skip(name, str(error))
            continue
        _dataset(ours[name], source, out, tally)
    return tally.report(FORMAT)


@lru_cache(maxsize=1)
def bundled() -> dict[str, Dataset]:
    """Our dataset definitions by name: they say what form and dimension a dataset has, its keys, values and marks."""
    root = content_root() / "scenarios"
    found = (read_yaml(path, Dataset) for d in DIMENSIONS for path in sorted((root / d).glob("*.yaml")))
    return {dataset.name: dataset for dataset in found}


# --- reading ------------------------------------------------------------------------------------------------------------


def _files(src: Path) -> dict[str, list[Path]]:
    """The dataset files by name, JSON before JSONL."""
    if src.is_file():
        paths = [p for p in (src.with_suffix(".json"), src.with_suffix(".jsonl")) if p.is_file()]
        return {src.stem: paths or [src]}
    folder = src / INNER if (src / INNER).is_dir() else src
    groups: dict[str, list[Path]] = {}
    for suffix in (".json", ".jsonl"):
        for path in sorted(folder.glob(f"*{suffix}")):
            if path.name != MERGED:
                groups.setdefault(path.stem, []).append(path)
    if not groups:
        raise UserError(f"'{folder}' holds no dataset files; {EXPECTED}")
    return dict(sorted(groups.items()))


def _merged(src: Path, tally: Tally) -> dict[str, str]:
    """The prompts of the merged file, for item files that come without one."""
    here = src if src.is_dir() else src.parent
    for path in (here / MERGED, here.parent / MERGED):
        if path.is_file():
            try:
                data = read_json(path)
            except ContentError as error:
                tally.skip(path.name, str(error))
                return {}
            return {k: v for k, v in data.items() if isinstance(v, str)} if isinstance(data, dict) else {}
    return {}


def _read(name: str, paths: list[Path], merged: dict[str, str]) -> Source:
    prompt: str | None = None
    items: list[tuple[str, Any]] = []
    for path in paths:
        if path.suffix == ".jsonl":
            for number, line in enumerate(read_text(path).split("\n"), start=1):
                if line.strip():
                    items.append((f"{path.name}, line {number}", parse_json(line, path, number)))
            continue
        data = read_json(path)
        if isinstance(data, dict):
            found = data.get("system_prompt")
            if found is not None and not isinstance(found, str):
                raise ContentError("must be a text", path=str(path), field="system_prompt")
            prompt = found
            data = data.get("examples", [])
        if not isinstance(data, list):
            raise ContentError("must be a list of {question, answer}", path=str(path), field="examples")
        items += [(f"{path.name}, item {number}", item) for number, item in enumerate(data, start=1)]
    prompt = prompt or merged.get(name)
    if not prompt:
        raise ContentError(f"has no prompt; put '{name}.json' with a system_prompt, or {MERGED}, beside it", path=str(paths[0]))
    return Source(prompt, tuple(items))


def template(prompt: str, name: str, form: Form) -> str:
    """The authors' prompt as our template: verbatim; other dollar signs escaped, a literal backslash-n before a slot mended.

    Raises:
        ContentError: a slot is missing.
    """
    text = prompt.removeprefix("\ufeff")
    text = re.sub(r"(?:\\n)+(?=\$\{(?:question|options)\})", lambda m: m.group().replace("\\n", "\n"), text)
    for slot in ("question", "options") if form in NEEDS_OPTIONS else ("question",):
        if f"${{{slot}}}" not in text:
            problem = f"the prompt has no slot ${{{slot}}}; add it where the text belongs"
            raise ContentError(problem, path=name, field="system_prompt")
    return re.sub(r"\$(?!\{(?:question|options)\})", "$$", text)


# --- writing ------------------------------------------------------------------------------------------------------------


def form_of(dataset: Dataset) -> Form:
    """MLB's own form of a dataset that is interactive with us."""
    if dataset.form != "interactive":
        return dataset.form
    return "choice" if dataset.dimension == "SmartServ" else "keypoints"


def _dataset(ours: Dataset, source: Source, out: Path, tally: Tally) -> None:
    form = form_of(ours)
    try:
        prompt = template(source.prompt, ours.name, form)
    except ContentError as error:
        tally.skip(ours.name, str(error))
        return
    extra: Counter[str] = Counter()
    added: dict[str, set[str]] = {"keys": set(), "values": set()}
    seen: set[str] = set()
    items: list[Item] = []
    for number, (where, raw) in enumerate(source.items, start=1):
        try:
            if not isinstance(raw, dict) or not isinstance(raw.get("question"), str) or not raw["question"].strip():
                raise Bad("has no question")
            same = json.dumps(raw, ensure_ascii=False, sort_keys=True)
            if same in seen:
                raise Bad("is the same as an earlier item")
            item = make(form, ours, f"{ours.name.lower()}-r{number:04d}", raw, PROVENANCE, added)
        except Bad as error:
            tally.skip(where, str(error))
            continue
        except ValidationError as error:
            tally.skip(where, say(error)[0])
            continue
        seen.add(same)
        items.append(item)
        extra.update(key for key in raw if key not in KNOWN_KEYS)
    if not items:
        tally.skip(ours.name, "no item could be imported" if source.items else "has no items")
        return
    for key, count in sorted(extra.items()):
        tally.note(f"{ours.name}: the field '{key}' of {count} items was not imported")
    for kind, names in added.items():
        if names:
            tally.note(f"{ours.name}: {kind} that are not in our list were kept as they are: {', '.join(sorted(names))}")
    dataset = Dataset(
        name=ours.name, dimension=ours.dimension, edition=EDITION, form=form, title=L(zh=ours.title.zh), task=TASK,
        prompt=L(zh=prompt), extraction=ours.extraction, marks=ours.marks, mlb=ours.mlb, provenance=PROVENANCE,
        keys=ours.keys | {name: L(zh=name) for name in sorted(added["keys"])},
        values=ours.values | {name: L(zh=name) for name in sorted(added["values"])},
    )  # fmt: skip
    folder = out / "scenarios" / ours.dimension
    write_yaml(folder / f"{ours.name}.yaml", dataset)
    write_jsonl(folder / f"{ours.name}.jsonl", items)
    tally.written[ours.name] = len(items)
