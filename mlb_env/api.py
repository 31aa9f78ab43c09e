"""The Python face: run a benchmark, load a scenario, grade a trajectory. `import mlb_env` offers these names."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

from .agent import AgentFactory
from .bench.runner import CONCURRENCY, Progress, RunResult, aresume
from .bench.runner import arun as _arun
from .bench.settings import RunSettings, model_config, option
from .catalog.load import Catalog, open_catalog
from .catalog.play import Play
from .errors import UserError
from .judge.grade import grade as _grade
from .spec.rubric import Judgement
from .spec.trajectory import Trajectory

__all__ = ["RunResult", "arun", "grade", "load", "run"]


async def arun(
    agent: str | AgentFactory | None = None, *, out: str | Path | None = None, resume: str | Path | None = None,
    retry_ungraded: bool = False, concurrency: int = CONCURRENCY, model: str | dict[str, Any] | None = None,
    progress: Progress | None = None, **settings: Any,
) -> RunResult:  # fmt: skip
    """Play scenarios with an agent and judge them: what `mlb run` does.

        result = await mlb_env.arun("interviewer", dataset="MAGuidance", lang="zh", trials=3)
        print(result.summary.overall.score, result.folder)

    Args:
        agent: a name, a path ending in .py, `module:attribute`, or a factory `make(context) -> agent`.
        out: the run folder, which must not exist; None: the next `runs/<agent>-NNN`.
        resume: an unfinished run folder, in place of `out`; settings that are given must be those of the run.
        retry_ungraded: with `resume`: play also the episodes again that a failure left ungraded.
        concurrency: episodes at once.
        model: the model's name, or the fields of `mlb_env.bench.settings.ModelConfig`.
        progress: called after each episode with (done, in all, ungraded so far).
        settings: the fields of `mlb_env.bench.settings.RunSettings`: dimension, dataset, scenario, scenarios, lang, limit,
            trials, seed, patient, persona, judge, max_turns, max_tokens, record_tools, record.

    Raises:
        UserError: what is asked for cannot be done.
        RunError: the disk failed; the folder can be resumed.
    """
    given = dict(settings)
    factory: AgentFactory | None = None
    if isinstance(agent, str):
        given["agent"] = agent
    elif agent is not None:
        if not callable(agent):
            raise UserError(f"agent: a name, a path or a factory is expected, not {type(agent).__name__}")
        factory = agent
        given["agent"] = f"{getattr(agent, '__module__', '')}:{getattr(agent, '__qualname__', type(agent).__name__)}"
    if model is not None:
        given["model"] = model_config({"model": model} if isinstance(model, str) else model, None)
    if resume is not None:
        if out is not None:
            raise UserError("out and resume exclude each other; a resumed run goes on in its own folder")
        return await aresume(Path(resume), given, retry_ungraded=retry_ungraded, concurrency=concurrency, factory=factory,
                             progress=progress)  # fmt: skip
    if retry_ungraded:
        raise UserError(f"{option('retry_ungraded')} goes with {option('resume')}: name the run whose episodes are retried")
    return await _arun(RunSettings.of(**given), out=Path(out) if out else None, concurrency=concurrency, factory=factory,
                       progress=progress)  # fmt: skip


def run(agent: str | AgentFactory | None = None, **settings: Any) -> RunResult:
    """As `arun`, for code without an event loop; in a notebook, which has one, it runs in a thread of its own."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(arun(agent, **settings))
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(lambda: asyncio.run(arun(agent, **settings))).result()


@lru_cache(maxsize=4)
def _catalog(folders: tuple[str, ...]) -> Catalog:
    return open_catalog(folders, bundled=not folders)


def load(scenario: str, *, dataset: str | None = None, scenarios: Sequence[str | Path] = ()) -> Play:
    """One scenario, ready for `mlb_env.Episode`.

    Args:
        scenario: its id, as `mlb list scenarios` shows it.
        dataset: where ids stand in several datasets, the one that is meant.
        scenarios: content folders in place of the bundled content.

    Raises:
        UserError: there is no such scenario, or several.
    """
    catalog = _catalog(tuple(str(Path(s).absolute()) for s in scenarios))
    found = catalog.select(dataset=[dataset] if dataset else [], scenario=[scenario])
    if len(found) > 1:
        raise UserError(f"the scenario id '{scenario}' stands in {' and '.join(p.dataset.name for p in found)}; name the dataset")
    return found[0]


def grade(trajectory: Trajectory, *, play: Play | None = None, scenarios: Sequence[str | Path] = ()) -> Judgement:
    """Judge a trajectory by the rubric of its scenario, with rules.

    Args:
        trajectory: of an episode that has ended.
        play: its scenario; None: looked up by its name.
        scenarios: content folders in place of the bundled content.

    Raises:
        UserError: there is no such scenario, or `play` is another one.
    """
    return _grade(trajectory, play or load(trajectory.scenario, dataset=trajectory.dataset, scenarios=scenarios))
