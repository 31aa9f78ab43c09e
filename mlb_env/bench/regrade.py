"""Judge the saved trajectories of a run again, with the rules and the content of today."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

from ..catalog.load import open_catalog
from ..catalog.play import Play
from ..errors import UserError
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


async def aregrade(folder: Path, settings: RunSettings | None = None, concurrency: int = 8) -> Regraded:
    """Judge a finished run again, also one that has lost its verdicts.jsonl or its summary.json.

    Args:
        settings: with the judge, its models and its vote; None: by rules.
        concurrency: episodes judged at once, where models judge.

    Raises:
        UserError: not a finished run; a scenario of it is no longer there.
    """
    header = read_header(folder)
    played, saved = list(read_played(folder)), has_judgements(folder)
    before = {j.episode: j for j in read_verdicts(folder)} if saved else {}
    catalog = open_catalog(header.settings.scenarios, bundled=not header.settings.scenarios)
    plays = {(name, p.id): p for name, own in catalog.plays.items() for p in own}
    wanted = settings or RunSettings()
    for config in wanted.judge_models:
        ModelEdge.check(config.settings())
    chosen = [_play_of(trajectory, plays, folder) for trajectory in played]
    gate = asyncio.Semaphore(concurrency)
    edge = ModelEdge()

    async def one(trajectory: Trajectory, play: Play) -> Judgement:
        async with gate:
            return await judged(trajectory, play, wanted, edge)

    try:
        judgements = await asyncio.gather(*(one(t, p) for t, p in zip(played, chosen, strict=True)))
    finally:
        await edge.aclose()
    rows = [Row.of(t, j) for t, j in zip(played, judgements, strict=True)]
    content = {name: catalog.hashes[name] for name in header.content}
    return Regraded(
        folder=folder, judgements=tuple(judgements), summary=summarise(rows, trials=header.settings.trials),
        header=header.model_copy(update={"content": content, "settings": header.settings.model_copy(update={
            "judge": wanted.judge, "judge_models": wanted.judge_models, "judge_vote": wanted.judge_vote,
            "calibration": wanted.calibration})}),
        changed=tuple(j.episode for j in judgements if before.get(j.episode) != j),
        content_changed=tuple(n for n in content if content[n] != header.content[n]), saved=saved,
    )  # fmt: skip


def regrade(folder: Path) -> Regraded:
    """As `aregrade`, by rules."""
    return asyncio.run(aregrade(folder))


def _play_of(trajectory: Trajectory, plays: dict[tuple[str, str], Play], folder: Path) -> Play:
    found = plays.get((trajectory.dataset, trajectory.scenario))
    if found is None:
        raise UserError(f"'{folder}': the scenario '{trajectory.scenario}' of {trajectory.dataset} is no longer there; "
                        "its trajectories cannot be judged")  # fmt: skip
    return found
