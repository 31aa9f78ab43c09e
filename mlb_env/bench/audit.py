"""Checks content beyond its schema: cases are complete, items are bilingual, gold stands in the text, rubrics can be judged."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from ..catalog.check import check_case
from ..catalog.load import ITEMS, Catalog, content_root, definition_of, open_catalog
from ..catalog.play import Play
from ..catalog.read import line_of, parse_yaml, read_jsonl, read_text, read_yaml
from ..errors import ContentError, UserError
from ..judge import extraction, state  # noqa: F401  they register their rules
from ..judge.derive import rubric_of
from ..judge.rules import RULES
from ..record.validate import problems
from ..record.world import build
from ..spec.base import LANGS
from ..spec.case import PatientCase
from ..spec.jsontext import parse_json
from ..spec.persona import Personas
from ..spec.scenario import DIMENSIONS, Dataset, ExtractionItem, InteractiveScenario

_FIELD = re.compile(r"^([A-Za-z_]\w*(?:\.\w+)*)(?: \([^)]*\))?((?:\.\w+)*): ")


@dataclass
class Audit:
    """`counts`: what was checked. `broken`: files that cannot be used at all. `problems`: what is wrong in usable ones.
    `notes`: what was not checked, and why."""

    counts: dict[str, int] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def broke(self, error: ContentError) -> None:
        """Note a file that cannot be used, once, however often it is come upon."""
        if str(error) not in self.broken:
            self.broken.append(str(error))

    def count(self, kind: str, n: int = 1) -> None:
        self.counts[kind] = self.counts.get(kind, 0) + n


def audit(paths: tuple[Path, ...] = ()) -> Audit:
    """Check files and content folders; without paths the bundled content, which must be bilingual.

    Raises:
        UserError: a path does not exist, or holds nothing that could be checked.
    """
    found = Audit()
    if not paths:
        _folder(content_root(), found, bundled=True)
    for path in paths:
        if path.is_dir():
            _folder(path, found, bundled=False)
        elif path.exists():
            _file(path, found)
        else:
            raise UserError(f"'{path}' does not exist")
    return found


# --- files --------------------------------------------------------------------------------------------------------------


def _file(path: Path, found: Audit) -> BaseModel | None:
    """Check one file by itself, recognised by its name and keys."""
    try:
        if path.suffix == ".jsonl":
            items = _items(path)
            found.count("items", items)
            return None
        kind = _kind(path)
        made = read_yaml(path, kind)
    except ContentError as error:
        found.broke(error)
        return None
    found.count({PatientCase: "cases", Dataset: "datasets", Personas: "personas files"}.get(kind, "scenario files"))
    if isinstance(made, PatientCase):
        _case(made, path, found)
    return made


def _items(path: Path) -> int:
    beside = path.with_suffix(".yaml")
    form = read_yaml(beside if beside.is_file() else definition_of(beside.absolute()), Dataset).form
    if form not in ITEMS:
        raise ContentError(f"the dataset's form is '{form}', which has no items", path=str(path))
    items = read_jsonl(path, ITEMS[form])
    if not items:
        raise ContentError("holds no items", path=str(path))
    return len(items)


def _kind(path: Path) -> type[BaseModel]:
    if path.suffix not in (".yaml", ".yml"):
        raise ContentError("is not a content file (.yaml or .jsonl)", path=str(path))
    data = parse_yaml(read_text(path), str(path))
    keys = set(data) if isinstance(data, dict) else set()
    if "facts" in keys:
        return PatientCase
    if "case" in keys:
        return InteractiveScenario
    if "form" in keys or "dimension" in keys:
        return Dataset
    if "personas" in keys:
        return Personas
    raise ContentError("is neither a case (it has no 'facts'), a scenario ('case'), a dataset ('form'), nor a personas file "
                       "('personas')", path=str(path))  # fmt: skip


# --- folders ------------------------------------------------------------------------------------------------------------


def _folder(folder: Path, found: Audit, *, bundled: bool) -> None:
    base = folder / "scenarios" if (folder / "scenarios").is_dir() else folder
    files = [
        p for part in (folder / "patients", *([base] if base != folder else (base / d for d in DIMENSIONS)))
        for p in sorted(part.rglob("*")) if p.suffix in (".yaml", ".yml", ".jsonl")
    ]  # fmt: skip
    content = bool(files)
    if not content:  # a folder of single files
        files = sorted(p for p in folder.iterdir() if p.suffix in (".yaml", ".yml", ".jsonl"))
    if not files:
        raise UserError(f"'{folder}' holds nothing to check (no .yaml or .jsonl files)")
    for path in files:
        _file(path, found)
    if not content or found.broken:
        return
    try:
        catalog = Catalog([folder]) if bundled else open_catalog([folder], bundled=False)
    except ContentError as error:
        found.broke(error)
        return
    if number := sum(map(len, catalog.plays.values())):
        found.count("scenarios", number)
    for path in files:
        if path not in catalog.files:
            found.problems.append(f"{path}: is not used; a case is expected in patients/<specialty>/<name>.yaml, a scenario in "
                                  "<dimension>/<dataset>/<name>.yaml, items in <dimension>/<dataset>.jsonl")  # fmt: skip
    for name, plays in catalog.plays.items():
        if not plays:
            found.problems.append(f"{base / catalog.datasets[name].dimension / name}: holds no scenario of this dataset")
    found.problems += _plays(catalog, base, bundled)


def _case(case: PatientCase, path: Path, found: Audit) -> None:
    if case.provenance.author_kind == "imported":
        found.notes.append(f"{path}: imported, so it is checked against the schema only, not for full depth")
        return
    wrong = [*check_case(case), *_chart(case)]
    text = read_text(path) if wrong else ""
    for problem in wrong:
        place = _FIELD.match(problem)
        line = None
        if place:
            parts = (place.group(1) + place.group(2)).split(".")
            line = line_of(text, tuple(int(p) if p.isdigit() else p for p in parts))
        found.problems.append(f"{path}:{line or 1}: {problem}")


def _chart(case: PatientCase, added: Iterable[dict[str, Any]] = ()) -> Iterator[str]:
    """Whether what the record makes of the case is valid FHIR R4, in each language."""
    for lang in case.title.langs:
        built = build(case, lang, added)
        for reference, resource in built.items():
            for problem in problems(resource, built.__contains__):
                yield f"chart: {reference} ({lang}) is not valid FHIR R4: {problem}"


def _plays(catalog: Catalog, base: Path, bundled: bool) -> Iterator[str]:
    owners: dict[str, str] = {}
    for name, plays in catalog.plays.items():
        lines = _lines(base / catalog.datasets[name].dimension / f"{name}.jsonl")
        for play in plays:
            where = f"{base / play.dataset.dimension / name}" + (f".jsonl:{lines[play.id]}" if play.id in lines else f"/{play.id}")
            for problem in _play(play, bundled):
                yield f"{where}: {problem}"
            other = owners.setdefault(play.id, name)
            if other != name:
                yield f"{where}: the id '{play.id}' stands in {other}, too"


def _lines(path: Path) -> dict[str, int]:
    """Item id -> line of its file; empty for interactive datasets."""
    if not path.is_file():
        return {}
    numbered = enumerate(read_text(path).split("\n"), start=1)
    return {parse_json(line)["id"]: number for number, line in numbered if line.strip()}


def _play(play: Play, bundled: bool) -> Iterator[str]:
    if play.scenario and play.scenario.chart and play.case:
        kinds = {r.get("id"): r for r in play.scenario.chart.resources}
        for id_ in (*(e.resource for e in play.scenario.chart.known_errors), *play.scenario.chart.injected_text):
            if id_ not in kinds:
                yield f"'{play.id}': chart names the resource '{id_}', which it does not add"
        yield from (f"'{play.id}': {p}" for p in _chart(play.case, play.scenario.chart.resources))
    for lang in LANGS:
        if bundled and lang not in play.langs:
            yield f"'{play.id}' does not exist in {lang}"
    try:
        rubric = rubric_of(play)
    except Exception as error:
        yield f"no rubric can be derived for '{play.id}' ({type(error).__name__}: {error})"
        return
    ids: set[str] = set()
    for criterion in rubric.criteria:
        if criterion.id in ids:
            yield f"'{play.id}': the criterion '{criterion.id}' stands twice in its rubric"
        ids.add(criterion.id)
        if criterion.by == "rule" and (criterion.rule is None or criterion.rule.name not in RULES):
            yield f"'{play.id}': the criterion '{criterion.id}' names a rule that does not exist"
    if play.scenario:
        for dropped in play.scenario.not_applicable:
            if dropped in ids:
                yield f"'{play.id}': the criterion '{dropped}' is not applicable, but still in the rubric"
    if isinstance(play.item, ExtractionItem):
        yield from _gold(play, play.item)


def _gold(play: Play, item: ExtractionItem) -> Iterator[str]:
    """Every gold span must stand in the text, word for word; every key and value must be one of the dataset's."""
    for lang in item.langs:
        for span in _spans(play.dataset.extraction or "", item.gold[lang]):
            if span not in item.text[lang]:
                yield f"'{play.id}', gold in {lang}: '{span}' does not stand in the text"
        for used in _codes(play.dataset.extraction or "", item.gold[lang], play.dataset):
            yield f"'{play.id}', gold in {lang}: '{used}' is not a key or value of the dataset"


def _spans(form: str, gold: Any) -> Iterator[str]:
    if form == "entities":
        for spans in gold.values():
            yield from spans
    elif form == "terms":
        yield from gold
    elif form == "relations":
        for relation in gold:
            yield from (relation["head"], relation["tail"])
    elif form == "events":
        for event in gold:
            yield from (event["subject"], *event["descriptors"], *event["sites"])


def _codes(form: str, gold: Any, dataset: Dataset) -> Iterator[str]:
    if form == "entities":
        yield from (key for key in gold if key not in dataset.keys)
    elif form == "relations":
        yield from (r["relation"] for r in gold if r["relation"] not in dataset.values)
    elif form == "events":
        yield from (e["status"] for e in gold if e["status"] and e["status"] not in dataset.values)


