"""Plays the episodes of a run: many at once in one event loop, each with an agent of its own, each kept when it ends.

What is written does not depend on how many are played at once or in which order they end.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from ..agent import Agent, AgentFactory
from ..catalog.load import Catalog
from ..catalog.play import Play
from ..effects import Edge, Flow, NoEdge, adrive
from ..episode import Episode
from ..errors import MlbError, UserError
from ..judge.grade import grading
from ..spec.action import Action, Observation
from ..spec.rubric import Judgement, Score
from ..spec.trajectory import Trajectory, Usage
from .calls import Calls, CallsDiffer, Cassette
from .plan import Ask, Job, LateEdge, Plan, describe, make_plan
from .settings import RunSettings, option
from .store import RunHeader, RunStore, next_folder, read_header, read_judgements, read_trajectories
from .summary import Summary

log = logging.getLogger("mlb_env.run")
CONCURRENCY = 8
Progress = Callable[[int, int, int], None]  # episodes done, in all, ungraded so far


@dataclass(frozen=True)
class RunResult:
    """A finished run: its folder and its figures. The episodes are read from the folder."""

    folder: Path
    header: RunHeader
    summary: Summary

    @property
    def ungraded(self) -> int:
        """Episodes that a failure left without a score."""
        return self.summary.overall.ungraded

    def trajectories(self) -> Iterator[Trajectory]:
        """The episodes in scenario order."""
        return read_trajectories(self.folder)

    def judgements(self) -> Iterator[Judgement]:
        """Their judgements, in the same order."""
        return read_judgements(self.folder)


# --- a run --------------------------------------------------------------------------------------------------------------


async def arun(
    settings: RunSettings, *, out: Path | None = None, concurrency: int = CONCURRENCY, factory: AgentFactory | None = None,
    catalog: Catalog | None = None, ask: Ask | None = None, before: Callable[[Plan, Path], None] | None = None,
    progress: Progress | None = None, cassette: Cassette | None = None,
) -> RunResult:  # fmt: skip
    """Play a run from the start, into a new folder.

    Args:
        out: the run folder, which must not exist; None: the next `runs/<agent>-NNN`.
        concurrency: episodes at once, at least 1.
        factory: makes the agents, in place of loading `settings.agent`.
        catalog: the content, in place of loading it.
        ask: answers questions to the person at the keyboard (agent `human`).
        before: told the plan and the folder before the first episode.
        progress: told after each episode: how many are done, in all, ungraded so far.
        cassette: recorded model calls, looked up by what is asked.

    Raises:
        UserError: what is asked for cannot be done; nothing was written then.
        RunError: the disk failed; the folder can be resumed.
    """
    _check_concurrency(concurrency)
    edge = LateEdge(ask)
    plan = make_plan(settings, factory=factory, catalog=catalog, edge=edge)
    folder = out or next_folder(settings.agent)
    store = RunStore.create(folder, plan.header)
    return await _play_all(plan, store, edge, concurrency, before, progress, cassette)


async def aresume(
    folder: Path, given: dict[str, Any] | None = None, *, retry_ungraded: bool = False, concurrency: int = CONCURRENCY,
    factory: AgentFactory | None = None, catalog: Catalog | None = None, ask: Ask | None = None,
    before: Callable[[Plan, Path], None] | None = None, progress: Progress | None = None, cassette: Cassette | None = None,
) -> RunResult:  # fmt: skip
    """Finish a run that was interrupted: only what is missing is played, and model calls that were answered are not made again. It ends
    with the bytes of an unbroken run.

    Args:
        folder: the run folder.
        given: settings that the user named again; they must be those of the run.
        retry_ungraded: play also the episodes again that a failure left ungraded.

    Raises:
        UserError: not a run, other settings, content or agent changed since, another process is writing.
        RunError: the disk failed.
    """
    _check_concurrency(concurrency)
    header = read_header(folder)
    _same_settings(folder, header.settings, given or {})
    edge = LateEdge(ask)
    plan = make_plan(header.settings, factory=factory, catalog=catalog, edge=edge)
    _same_ground(folder, header, plan.header)
    store = RunStore.reopen(folder, drop_ungraded=retry_ungraded)
    return await _play_all(plan, store, edge, concurrency, before, progress, cassette)


def _check_concurrency(concurrency: int) -> None:
    if concurrency < 1:
        raise UserError(f"--concurrency: must be at least 1, not {concurrency}")


def _same_settings(folder: Path, settings: RunSettings, given: dict[str, Any]) -> None:
    wanted = RunSettings.of(**given)
    for name in given:
        now, then = getattr(wanted, name), getattr(settings, name)
        if now != then:
            raise UserError(f"{option(name)} was given as {_shown(now)}, but the run in '{folder}' has {_shown(then)}; "
                            "leave it out to resume, or start a new run")  # fmt: skip


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value)) or "nothing"
    return "nothing" if value is None else str(value)


def _same_ground(folder: Path, then: RunHeader, now: RunHeader) -> None:
    """Episodes played on other ground must not come together in one score."""
    problem = ""
    if then.versions["mlb-env"] != now.versions["mlb-env"]:
        problem = f"mlb-env is at version {now.versions['mlb-env']} now, the run was begun with {then.versions['mlb-env']}"
    elif then.content != now.content:
        changed = sorted(n for n in {*then.content, *now.content} if then.content.get(n) != now.content.get(n))
        problem = f"the content of {', '.join(changed)} has changed since the run was begun"
    elif then.agent.sha256 != now.agent.sha256:
        problem = f"the agent's file {now.agent.file or now.agent.name} has changed since the run was begun"
    if problem:
        raise UserError(f"'{folder}' cannot be resumed: {problem}; start a new run")


async def _play_all(
    plan: Plan, store: RunStore, edge: LateEdge, concurrency: int, before: Callable[[Plan, Path], None] | None,
    progress: Progress | None, cassette: Cassette | None = None,
) -> RunResult:  # fmt: skip
    if "human" in (plan.settings.agent, plan.settings.patient):
        concurrency = 1  # there is one keyboard
    calls: Calls | None = None
    try:
        if before is not None:
            before(plan, store.folder)
        done = store.done
        calls = Calls.open(store.folder, done, cassette)
        if not getattr(plan.factory, "resumes_inside", True):
            _start_over(calls, [job.name for job in plan.jobs])
        if done and progress is not None:
            progress(len(done), len(plan.jobs), store.ungraded)
        pool = ThreadPoolExecutor(concurrency)  # for agents that block; its threads begin when they are needed
        waiting = iter([job for job in plan.jobs if job.name not in done])

        async def work() -> None:
            assert calls is not None
            for job in waiting:
                own = calls.edge(edge, job.name, job.trial)
                await _keep(await play(plan, job, own, pool), plan, job, store, own)
                if progress is not None:
                    progress(len(store.done), len(plan.jobs), store.ungraded)
                await asyncio.sleep(0)  # an offline episode never waits: let the others and Ctrl-C in

        workers = [asyncio.create_task(work()) for _ in range(min(concurrency, len(plan.jobs)))]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
            pool.shutdown(wait=False, cancel_futures=True)
        summary = store.finish([job.name for job in plan.jobs])
        calls.journal.remove()
    finally:
        if calls is not None:
            calls.close()
        store.close()
        await edge.aclose()
    return RunResult(store.folder, store.header, summary)


def _start_over(calls: Calls, episodes: Sequence[str]) -> None:
    """Episodes of an agent that does not resume inside begin anew; how many calls that costs is said."""
    lost = {name: n for name in episodes if (n := calls.forget(name))}
    if lost:
        log.warning("%d episodes begin anew, as their agent does not resume inside an episode: %d calls are made again", len(lost), sum(lost.values()))


async def _keep(trajectory: Trajectory, plan: Plan, job: Job, store: RunStore, edge: Edge) -> None:
    """Judge an episode and keep it. One that cannot be written as JSON is kept as failed, with the reason."""
    try:
        store.add(trajectory, await judged(trajectory, job.play, plan.settings, edge))
    except (ValueError, TypeError, RecursionError) as error:
        log.info("%s: cannot be written", trajectory.episode, exc_info=error)
        failed = _failed(plan, job, f"the episode cannot be written as JSON: {describe(error)}")
        store.add(failed, await judged(failed, job.play, plan.settings, edge))


# --- an episode ---------------------------------------------------------------------------------------------------------


async def play(plan: Plan, job: Job, edge: Edge, pool: Executor | None = None) -> Trajectory:
    """One episode to its end. Whatever fails in it ends it as failed, with the reason; the run goes on."""
    settings = plan.settings
    episode = _episode(plan, job, edge)
    observation = episode.reset()
    agent: Agent | None = None
    try:
        agent = plan.agent(job, edge)
        agent.reset(episode.briefing)
        while not episode.over:
            action = await act(agent, observation, edge, pool)
            observation = await _step(episode, action)
            if settings.max_tokens is not None and not episode.over and _tokens(agent) >= settings.max_tokens:
                episode.stop("max_tokens")
    except CallsDiffer:
        raise
    except _EpisodeFailed as failed:
        episode.fail(failed.reason)
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():  # the run itself is being stopped
            raise
        episode.fail(f"agent raised {describe(error)}")
    except (Exception, SystemExit) as error:  # whatever a user's agent does; its own failures (AgentFailed) are sentences
        reason = str(error) if isinstance(error, MlbError) else f"agent raised {describe(error)}"
        log.info("%s: %s", episode.name, reason, exc_info=error)
        episode.fail(_text(reason))
    try:
        usage = getattr(agent, "usage", None)
        if isinstance(usage, Usage) and usage.calls:
            episode.spend("agent", usage)
        return episode.trajectory()
    except (Exception, SystemExit) as error:
        log.info("%s: no trajectory", job.name, exc_info=error)
        return _failed(plan, job, f"the episode cannot be recorded: {describe(error)}")


def _episode(plan: Plan, job: Job, edge: Edge) -> Episode:
    settings = plan.settings
    return Episode(
        job.play, lang=job.lang, seed=settings.seed, persona=settings.persona if job.play.interactive else None,
        max_turns=settings.max_turns if job.play.steps else None, trial=job.trial, edge=edge,
        patient=plan.casting(job), record_tools=settings.record_tools, record=settings.record,
    )  # fmt: skip


def _failed(plan: Plan, job: Job, reason: str) -> Trajectory:
    """The record of an episode of which nothing can be kept but that it failed."""
    episode = _episode(plan, job, NoEdge())
    episode.reset()
    episode.fail(_text(reason))
    return episode.trajectory()


def _tokens(agent: Agent) -> int:
    """Tokens that the agent's model calls of this episode used so far, where it counts them."""
    usage = getattr(agent, "usage", None)
    return usage.prompt_tokens + usage.completion_tokens if isinstance(usage, Usage) else 0


class _EpisodeFailed(Exception):
    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


async def act(agent: Agent, observation: Observation, edge: Edge, pool: Executor | None = None) -> Action:
    """The agent's next action, whichever way it gives it: at once, as an awaitable, or as a flow of effects."""
    blocks = getattr(agent, "blocking", False)  # an agent that waits by itself (its own HTTP client, say) does so in a thread
    given: Any = await asyncio.get_running_loop().run_in_executor(pool, agent.act, observation) if blocks else agent.act(observation)
    if inspect.isgenerator(given):
        given = await adrive(cast("Flow[Any]", given), edge)
    elif inspect.isawaitable(given):
        given = await given
    if isinstance(given, str):
        return Action.from_text(_text(given))
    if not isinstance(given, Action):
        raise _EpisodeFailed(f"the agent returned {type(given).__name__}, where an Action or a text is expected")
    return given


async def _step(episode: Episode, action: Action) -> Observation:
    """One step. An error of the environment's own is not the agent's."""
    try:
        return await episode.astep(action)
    except CallsDiffer:
        raise
    except MlbError as error:
        raise _EpisodeFailed(str(error)) from error
    except Exception as error:
        log.exception("%s: the environment failed", episode.name)
        raise _EpisodeFailed(f"the environment raised {describe(error)}") from error


def _text(text: str) -> str:
    """Text that can be written as UTF-8: half surrogate pairs, as cut model output has them, are replaced."""
    return text.encode("utf-8", "replace").decode("utf-8")


async def judged(trajectory: Trajectory, chosen: Play, settings: RunSettings, edge: Edge) -> Judgement:
    """The judgement of an episode. A judge that fails leaves it ungraded, with the reason."""
    if settings.judge == "none":
        return _unjudged(trajectory, "none", trajectory.failure)
    try:
        return await adrive(grading(trajectory, chosen, settings.bench()), edge)
    except CallsDiffer:
        raise
    except Exception as error:
        log.exception("%s: the judge failed", trajectory.episode)
        return _unjudged(trajectory, settings.judge, trajectory.failure or f"the judge raised {describe(error)}")


def _unjudged(t: Trajectory, judge: str, failure: str) -> Judgement:
    return Judgement(
        episode=t.episode, scenario=t.scenario, dataset=t.dataset, dimension=t.dimension, lang=t.lang, trial=t.trial,
        family=t.family, judge=judge, score=Score(value=None, ungraded=failure), verdicts=(),
    )  # fmt: skip
