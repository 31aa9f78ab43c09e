"""Judge the saved trajectories of a run again, with the rules and the content of today."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..catalog.load import Catalog, open_catalog
from ..catalog.play import Play
from ..errors import UserError
from ..judge.estimate import Cost, of_trajectories
from ..llm.endpoint import ModelEdge
from ..spec.rubric import Judgement
from ..spec.trajectory import Trajectory
from .episodes import judged
from .settings import RunSettings
from .store import RunHeader, copy_run, has_judgements, read_header, read_played, read_verdicts, rewrite_judgements
from .summary import Row, Summary, summarise


@dataclass(frozen=True)
class Regraded:
    """New judgements of a run. `changed`: episodes whose judgement differs. `content_changed`: datasets whose files are
    others now than when the run was played. `header`: as a folder with these judgements would have it. `saved`: whether
    there were judgements before."""

    folder: Path
    header: RunHeader
    judgements: tuple[Judgement, ...]
    summary: Summary
    changed: tuple[str, ...]
    content_changed: tuple[str, ...]
    saved: bool = True

    def write(self) -> None:
        """Replace the run's judgements.

        Raises:
            UserError: the content has changed: run.json would then not be true any more; another process is writing.
        """
        if self.content_changed:
            raise UserError(f"the content of {', '.join(self.content_changed)} has changed since '{self.folder}' was played; "
                            "write the new judgements to a folder of their own with --out")  # fmt: skip
        rewrite_judgements(self.folder, self.judgements, self.summary, self.header)

    def copy(self, out: Path) -> None:
        """Write the trajectories with the new judgements to a new run folder.

        Raises:
            UserError: `out` exists already.
        """
        copy_run(self.folder, out, self.header, self.judgements, self.summary)


def estimate(folder: Path, settings: RunSettings) -> Cost:
    """What judging a finished run again will cost; nothing is asked.

    Raises:
        UserError: not a finished run; a scenario of it is no longer there.
    """
    header, played = read_header(folder), list(read_played(folder))
    return of_trajectories(_with_plays(played, _plays(_catalog(header)), folder), settings.bench())


async def aregrade(
    folder: Path, settings: RunSettings | None = None, concurrency: int = 8, before: Callable[[Cost], None] | None = None,
) -> Regraded:  # fmt: skip
    """Judge a finished run again, also one that has lost its verdicts.jsonl or its summary.json.

    Args:
        settings: with the judge, its models and its vote; None: by rules.
        concurrency: episodes judged at once, where models judge.
        before: told what it will cost, where models judge, before they are asked.

    Raises:
        UserError: not a finished run; a scenario of it is no longer there.
    """
    header = read_header(folder)
    played, saved = list(read_played(folder)), has_judgements(folder)
    earlier = {j.episode: j for j in read_verdicts(folder)} if saved else {}
    catalog = _catalog(header)
    wanted = settings or RunSettings()
    for config in wanted.judge_models:
        ModelEdge.check(config.settings())
    chosen = _with_plays(played, _plays(catalog), folder)
    if before is not None and wanted.judge_models:
        before(of_trajectories(chosen, wanted.bench()))
    gate = asyncio.Semaphore(concurrency)
    edge = ModelEdge()

    async def one(trajectory: Trajectory, play: Play) -> Judgement:
        async with gate:
            return await judged(trajectory, play, wanted, edge)

    try:
        judgements = await asyncio.gather(*(one(t, p) for t, p in chosen))
    finally:
        await edge.aclose()
    rows = [Row.of(t, j) for t, j in zip(played, judgements, strict=True)]
    content = {name: catalog.hashes[name] for name in header.content}
    return Regraded(
        folder=folder, judgements=tuple(judgements), summary=summarise(rows, trials=header.settings.trials),
        header=header.model_copy(update={"content": content, "settings": header.settings.model_copy(update={
            "judge": wanted.judge, "judge_models": wanted.judge_models, "judge_vote": wanted.judge_vote,
            "calibration": wanted.calibration})}),
        changed=tuple(j.episode for j in judgements if earlier.get(j.episode) != j),
        content_changed=tuple(n for n in content if content[n] != header.content[n]), saved=saved,
    )  # fmt: skip


def regrade(folder: Path) -> Regraded:
    """As `aregrade`, by rules."""
    return asyncio.run(aregrade(folder))


def _catalog(header: RunHeader) -> Catalog:
    return open_catalog(header.settings.scenarios, bundled=not header.settings.scenarios)


def _plays(catalog: Catalog) -> dict[tuple[str, str], Play]:
    return {(name, p.id): p for name, own in catalog.plays.items() for p in own}


def _with_plays(played: Sequence[Trajectory], plays: dict[tuple[str, str], Play], folder: Path) -> list[tuple[Trajectory, Play]]:
    return [(t, _play_of(t, plays, folder)) for t in played]


def _play_of(trajectory: Trajectory, plays: dict[tuple[str, str], Play], folder: Path) -> Play:
    found = plays.get((trajectory.dataset, trajectory.scenario))
    if found is None:
        raise UserError(f"'{folder}': the scenario '{trajectory.scenario}' of {trajectory.dataset} is no longer there; "
                        "its trajectories cannot be judged")  # fmt: skip
    return found
