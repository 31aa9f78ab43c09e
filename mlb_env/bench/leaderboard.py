"""Runs in order of their overall score, and beside them, never among them, the figures that MLB's authors published."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from ..catalog.read import read_yaml
from ..spec.base import Id, Model
from ..spec.scenario import Dimension
from .stats import Interval
from .store import RunHeader, read_header, read_rows, read_summary
from .summary import Summary

Run = tuple[Path, RunHeader, Summary]
Percent = Annotated[float, Field(ge=0, le=100)]


class Standing(Model):
    """One run. `rank`: among the runs of its edition, which alone it is compared with. `tokens`, `cost` (US dollars): of the agent's model over the whole run, null where none is known. `turns`: mean of the episodes.
    `judged`: share of the rubrics' weight that was decided. `micro`: mean of all items alike."""

    rank: int
    run: str
    agent: str
    model: str | None
    edition: str
    lang: str
    patient: str
    judge: str
    episodes: int
    score: float | None
    ci95: Interval | None
    micro: float | None
    dimensions: dict[str, float | None]
    coverage: float
    judged: float
    tokens: int | None
    cost: float | None
    turns: float


class Reference(Model):
    """What a source states of a model, as shares of 1. A dimension that is not there is not known."""

    model: str
    source: str
    score: float | None
    dimensions: dict[str, float]


class Leaderboard(Model):
    """`runs`: edition after edition, best first, those without a score last. `references`: never ranked; `reference_note` says why."""

    runs: tuple[Standing, ...]
    warnings: tuple[str, ...]
    references: tuple[Reference, ...]
    reference_note: str


class Source(Model):
    id: Id
    title: str
    url: str


class PublishedRow(Model):
    model: str
    source: Id
    overall: Percent | None = None
    dimensions: dict[Dimension, Percent] = {}


class Published(Model):
    """published.yaml, in percent."""

    note: str
    sources: tuple[Source, ...]
    rows: tuple[PublishedRow, ...]

    @model_validator(mode="after")
    def _sourced(self) -> Published:
        if strays := {r.source for r in self.rows} - {s.id for s in self.sources}:
            raise ValueError(f"no such source: {', '.join(sorted(strays))}")
        return self


@cache
def published() -> Published:
    """The published figures that are known."""
    return read_yaml(Path(str(files(__package__) / "published.yaml")), Published)


def read_runs(folders: Sequence[Path]) -> list[Run]:
    """The headers and summaries of finished runs.

    Raises:
        UserError: one is not a finished run.
    """
    return [(folder, read_header(folder), read_summary(folder)) for folder in folders]


def leaderboard(runs: Sequence[Run]) -> Leaderboard:
    """The board of some runs. Runs of several editions are all in it, and it warns of it."""
    known = published()
    titles = {s.id: s.title for s in known.sources}
    ranked, places = in_order(runs), dict[str, int]()
    standings = []
    for folder, header, summary in ranked:
        places[header.edition] = places.get(header.edition, 0) + 1
        standings.append(_standing(places[header.edition], folder, header, summary))
    return Leaderboard(
        runs=tuple(standings), warnings=tuple(warnings(runs)),
        references=tuple(
            Reference(model=r.model, source=titles[r.source], score=_share(r.overall), dimensions={d: round(v / 100, 6) for d, v in r.dimensions.items()})
            for r in known.rows
        ),
        reference_note=known.note,
    )  # fmt: skip


def in_order(runs: Sequence[Run]) -> list[Run]:
    """Best first, runs that score alike by their name; each edition for itself, as editions are never compared."""
    editions = list(dict.fromkeys(h.edition for _, h, _ in runs))
    return sorted(runs, key=lambda r: (editions.index(r[1].edition), -(r[2].overall.score if r[2].overall.score is not None else -1.0), str(r[0])))


def warnings(runs: Sequence[Run]) -> list[str]:
    """Why the runs cannot be compared one to one; empty where they can."""
    found = []
    if len(editions := list(dict.fromkeys(h.edition for _, h, _ in runs))) > 1:
        found.append(f"These runs are of several editions ({', '.join(editions)}), which are never compared.")
    elif len({json.dumps(h.content, sort_keys=True) for _, h, _ in runs}) > 1:
        found.append("These runs did not play the same content (other datasets, or other versions of them): the figures cannot be compared one to one.")
    if len({(h.settings.lang, h.settings.limit, h.settings.scenario, h.settings.persona, h.settings.max_turns) for _, h, _ in runs}) > 1:
        found.append("These runs differ in language, scenarios, persona or turn budget.")
    if len({(h.settings.judge, h.settings.judge_vote) for _, h, _ in runs}) > 1:
        found.append("These runs were judged by different judges.")
    return found


def turns_of(run: Run) -> float:
    """Agent turns, mean of the episodes; counted where the summary is of an older version."""
    folder, _, summary = run
    if summary.turns is not None:
        return summary.turns
    turns = [row.turns for row in read_rows(folder)]
    return round(sum(turns) / len(turns), 6)


def _standing(rank: int, folder: Path, header: RunHeader, summary: Summary) -> Standing:
    settings, spent = header.settings, summary.usage.get("agent")
    return Standing(
        rank=rank, run=str(folder), agent=settings.agent, model=settings.model.model if settings.model else None, edition=header.edition,
        lang=settings.lang or "en", patient=settings.patient, judge=settings.judge, episodes=summary.overall.n, score=summary.overall.score,
        ci95=summary.overall.ci95, micro=summary.micro.score if summary.micro else None,
        dimensions={name: g.score for name, g in summary.dimensions.items()}, coverage=summary.coverage, judged=summary.overall.criteria_judged,
        tokens=spent.tokens if spent else None, cost=spent.cost if spent else None, turns=turns_of((folder, header, summary)),
    )  # fmt: skip


def _share(percent: float | None) -> float | None:
    return None if percent is None else round(percent / 100, 6)
