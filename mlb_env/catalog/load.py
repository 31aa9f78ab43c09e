"""Finds content on the search path and loads it: datasets, items, cases, personas, interactive scenarios."""

from __future__ import annotations

import hashlib
import os
import stat
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from ..errors import ContentError, UserError
from ..spec.case import PatientCase
from ..spec.persona import Persona, Personas
from ..spec.scenario import (
    DIMENSIONS,
    ChoiceItem,
    Dataset,
    ExtractionItem,
    InteractiveScenario,
    Item,
    KeyPointItem,
    NormalisationItem,
    OpenItem,
    RecordTask,
)  # fmt: skip
from .play import Play
from .read import read_jsonl, read_lines, read_text, read_yaml

PATH_VARIABLE = "MLB_CONTENT"
ITEMS: dict[str, type[Item]] = {
    "choice": ChoiceItem, "open": OpenItem, "extraction": ExtractionItem, "normalisation": NormalisationItem,
    "keypoints": KeyPointItem, "record": RecordTask,
}  # fmt: skip


def content_root() -> Path:
    """The folder that holds the bundled scenarios/, patients/ and agents/: beside the package in an installed copy, else the
    checkout whose pyproject.toml is ours.

    Raises:
        UserError: neither is there.
    """
    package = Path(__file__).resolve().parent.parent
    if (package / "_content" / "scenarios").is_dir():
        return package / "_content"
    project = package.parent / "pyproject.toml"
    if project.is_file() and tomllib.loads(project.read_text(encoding="utf-8")).get("project", {}).get("name") == "mlb-env":
        return package.parent
    raise UserError("the bundled content of mlb-env was not found; install the wheel, or run from a checkout")


class Catalog:
    """All content of one search path. Later folders add to earlier ones; an id may stand only once per dataset.

    Args:
        folders: content folders. Each holds scenarios/ and patients/, or is itself a scenarios folder
            (<dimension>/<dataset>.yaml). Scenarios or items without the <dataset>.yaml beside them are of the dataset of
            that name which is already there, or else of the bundled one.

    Raises:
        ContentError: a file cannot be used.
        UserError: a folder does not exist or holds no scenarios.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self.datasets: dict[str, Dataset] = {}
        self.cases: dict[str, PatientCase] = {}
        self.personas: dict[str, Persona] = {}
        self.plays: dict[str, list[Play]] = {}
        self.hashes: dict[str, str] = {}
        self.files: set[Path] = set()  # every file that was read
        self._case_hashes: dict[str, str] = {}
        self.add(folders)

    def add(self, folders: Sequence[Path]) -> None:
        """Load more folders; the same errors."""
        for folder in folders:
            if os.path.isdir(folder):  # noqa: PTH112  is_dir() raises where the path is too long
                self._people(folder / "patients")
        for folder in folders:
            self._folder(folder)

    def _folder(self, folder: Path) -> None:
        try:
            mode = folder.stat().st_mode
        except FileNotFoundError:
            raise UserError(f"the scenarios folder '{folder}' does not exist") from None
        except OSError as error:
            raise UserError(f"the scenarios folder '{folder}' cannot be read ({error.strerror})") from None
        if stat.S_ISREG(mode):
            read_yaml(folder, Dataset)  # names what is wrong with it
            raise UserError(f"'{folder}' is a file; give the folder that holds <dimension>/<dataset>.yaml")
        base = folder / "scenarios" if (folder / "scenarios").is_dir() else folder
        definitions = sorted(p for d in DIMENSIONS for p in _definitions(base / d))
        if not definitions and not (folder / "patients").is_dir():
            raise UserError(f"'{folder}' holds no scenarios (expected <dimension>/<dataset>.yaml, for example MedKQA/CMExam.yaml, "
                            "or <dimension>/<dataset>/<name>.yaml)")  # fmt: skip
        for path in definitions:
            self._dataset(path)

    def _people(self, folder: Path) -> None:
        personas = folder / "personas.yaml"
        if personas.is_file():
            self.files.add(personas)
            self.personas |= {p.id: p for p in read_yaml(personas, Personas).personas}
        for path in sorted(folder.glob("*/*.yaml")):
            self.files.add(path)
            case = read_yaml(path, PatientCase)
            if case.id in self.cases:
                raise ContentError(f"the case id '{case.id}' is already taken by another file", path=str(path), field="id")
            texts = [read_text(path)]
            if case.chart.file:
                chart = path.with_name(case.chart.file)
                texts.append(read_text(chart))
                self.files.add(chart)
                resources = (*case.chart.resources, *read_lines(chart))
                case = case.model_copy(update={"chart": case.chart.model_copy(update={"resources": resources})})
            self.cases[case.id] = case
            self._case_hashes[case.id] = _digest(texts)

    def _dataset(self, path: Path) -> None:
        there = self.datasets.get(path.stem)
        if not path.is_file() and there and there.dimension == path.parent.name:
            dataset, texts = there, []
        else:
            definition = definition_of(path)
            self.files.add(definition)
            dataset, texts = read_yaml(definition, Dataset), [read_text(definition)]
        if dataset.name != path.stem or dataset.dimension != path.parent.name:
            raise ContentError(
                f"name and dimension must be those of the path ({path.parent.name}/{path.stem})", path=str(path), field="name"
            )
        found: list[tuple[Path, Play]] = []
        items = path.with_suffix(".jsonl")
        if dataset.form == "interactive":
            if items.is_file():
                raise ContentError(f"{dataset.name} is interactive: its scenarios stand in the folder {dataset.name}/, one a file",
                                   path=str(items))  # fmt: skip
            for file in sorted(path.with_suffix("").glob("*.yaml")):
                texts.append(read_text(file))
                found.append((file, self._scenario(file, dataset)))
        else:
            texts.append(read_text(items))
            read = read_jsonl(items, ITEMS[dataset.form])
            worlds = {item.world: path.with_name(item.world) for item in read if isinstance(item, RecordTask)}
            for world in worlds.values():
                if not world.is_file():
                    raise ContentError(f"the world '{world.name}' is not beside it", path=str(items), field="world")
                texts.append(read_text(world))
                self.files.add(world)
            found = [(items, Play(dataset=dataset, item=item, world=worlds[item.world] if isinstance(item, RecordTask) else None))
                     for item in read]  # fmt: skip
            if not found:
                raise ContentError("holds no items", path=str(items))
        self.files |= {file for file, _ in found}
        plays = [play for _, play in found]
        known = {p.id for p in self.plays.get(dataset.name, [])}
        for file, play in found:
            if play.id in known:
                raise ContentError(f"the id '{play.id}' stands twice", path=str(file))
            known.add(play.id)
        before = self.datasets.get(dataset.name)
        if before and before.edition != dataset.edition:
            raise ContentError(
                f"the edition '{dataset.edition}' cannot be mixed with '{before.edition}' of the same dataset", path=str(path)
            )
        cases = sorted({p.case.id for p in plays if p.case})
        digest = _digest([self.hashes.get(dataset.name, ""), *texts, *(self._case_hashes[c] for c in cases)])
        self.datasets[dataset.name] = dataset
        self.hashes[dataset.name] = digest
        made = [_with_hash(p, digest) for p in plays]
        self.plays[dataset.name] = [*self.plays.get(dataset.name, []), *made]

    def _scenario(self, path: Path, dataset: Dataset) -> Play:
        scenario = read_yaml(path, InteractiveScenario)
        case = self.cases.get(scenario.case)
        if case is None:
            known = ", ".join(sorted(self.cases)) or "none"
            raise ContentError(f"no such case '{scenario.case}' (there are: {known})", path=str(path), field="case")
        if case.version != scenario.case_version:
            raise ContentError(
                f"the scenario was written for version {scenario.case_version} of the case, which is at {case.version}; "
                "check the scenario and set case_version", path=str(path), field="case_version",
            )  # fmt: skip
        for persona in scenario.personas:
            if persona not in self.personas:
                raise ContentError(f"no such persona '{persona}'", path=str(path), field="personas")
        return Play(dataset=dataset, scenario=scenario, case=case, personas=self.personas)

    def select(
        self, *, dimension: Iterable[str] = (), dataset: Iterable[str] = (), scenario: Iterable[str] = ()
    ) -> list[Play]:
        """The plays that match, in order of dimension, dataset, file.

        Raises:
            UserError: a name that nothing bears.
        """
        wanted_dimensions, wanted_sets, wanted = set(dimension), set(dataset), set(scenario)
        present: set[str] = {d.dimension for d in self.datasets.values()}
        _known("dimension", wanted_dimensions, present)
        _known("dataset", wanted_sets, set(self.datasets))
        chosen = [
            play
            for name in sorted(self.datasets, key=lambda n: (DIMENSIONS.index(self.datasets[n].dimension), n))
            for play in self.plays[name]
            if (not wanted_dimensions or play.dataset.dimension in wanted_dimensions)
            and (not wanted_sets or name in wanted_sets)
        ]
        if wanted:
            _known("scenario", wanted, {p.id for p in chosen})
            chosen = [p for p in chosen if p.id in wanted]
        return chosen


def _definitions(folder: Path) -> set[Path]:
    """Where the task definitions of a dimension's folder stand, or would stand: what is there may have none beside it."""
    return {
        *folder.glob("*.yaml"), *(p.with_suffix(".yaml") for p in folder.glob("*.jsonl")),
        *(p.parent.with_name(p.parent.name + ".yaml") for p in folder.glob("*/*.yaml")),
    }  # fmt: skip


def definition_of(path: Path) -> Path:
    """The task definition that holds for <dimension>/<dataset>.yaml: that file, or where it is not there, the bundled one.

    Raises:
        ContentError: neither is there.
    """
    if path.is_file():
        return path
    folder = content_root() / "scenarios" / path.parent.name
    if (folder / path.name).is_file():
        return folder / path.name
    known = ", ".join(sorted(p.stem for p in folder.glob("*.yaml"))) or "none"
    raise ContentError(f"there is no such file, and no bundled dataset '{path.stem}' in {path.parent.name} (there are: {known}); "
                       "write the task definition, or rename what stands beside it", path=str(path))  # fmt: skip


def _known(what: str, wanted: set[str], known: set[str]) -> None:
    for name in sorted(wanted - known):
        listed = ", ".join(sorted(known)) if len(known) <= 30 else f"{len(known)} of them; see `mlb list`"
        raise UserError(f"there is no {what} '{name}' (there are: {listed})")


def _digest(texts: Iterable[str]) -> str:
    h = hashlib.sha256()
    for text in texts:
        h.update(text.encode())
        h.update(b"\0")
    return h.hexdigest()[:16]


def _with_hash(play: Play, digest: str) -> Play:
    return replace(play, content_hash=digest)


def open_catalog(extra: Sequence[Path | str] = (), *, bundled: bool = True) -> Catalog:
    """The bundled content, the folders of the environment variable MLB_CONTENT, and `extra` ones.

    With `bundled=False` only `extra` is played; bundled cases and personas can still be referred to.
    """
    root = content_root()
    added = [Path(p) for p in os.environ.get(PATH_VARIABLE, "").split(os.pathsep) if p]
    if bundled:
        catalog = Catalog([root])
        try:
            catalog.add(added)
        except ContentError as error:
            problem = f"{error.problem} (the environment variable {PATH_VARIABLE} names this folder)"
            raise ContentError(problem, path=error.path, line=error.line, field=error.field) from None
        except UserError as error:
            raise UserError(f"{error}; the environment variable {PATH_VARIABLE} names it") from None
        catalog.add([Path(p) for p in extra])
        return catalog
    catalog = Catalog([])
    catalog._people(root / "patients")
    for folder in (Path(p) for p in extra):
        if os.path.isdir(folder):  # noqa: PTH112
            catalog._people(folder / "patients")
    for folder in (Path(p) for p in extra):
        catalog._folder(folder)
    return catalog
