"""Plays one episode of a run to its end, has it judged, and makes of it what is kept.

Whatever fails in an episode ends it as failed, with the reason; what has to stop the whole run is a `RunStops`.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from concurrent.futures import Executor
from typing import Any, cast

from ..agent import Agent
from ..catalog.play import Play
from ..effects import Edge, Flow, NoEdge, adrive
from ..episode import Episode
from ..errors import MlbError, RunStops
from ..judge.grade import grading
from ..spec.action import Action, Observation
from ..spec.rubric import Judgement, Score
from ..spec.trajectory import Trajectory, Usage
from .calls import EpisodeEdge
from .plan import Job, Plan, describe
from .settings import RunSettings
from .store import Kept

log = logging.getLogger("mlb_env.run")


async def kept(plan: Plan, job: Job, edge: EpisodeEdge, pool: Executor | None = None) -> Kept:
    """One episode, played and judged, as it is kept. One that cannot be written as JSON is kept as failed, with the reason."""
    trajectory = await play(plan, job, edge, pool)
    try:
        return await _judged(trajectory, plan, job, edge)
    except (ValueError, TypeError, RecursionError) as error:
        log.info("%s: cannot be written", trajectory.episode, exc_info=error)
        return await _judged(_failed(plan, job, f"the episode cannot be written as JSON: {describe(error)}"), plan, job, edge)


async def _judged(trajectory: Trajectory, plan: Plan, job: Job, edge: EpisodeEdge) -> Kept:
    judgement = await judged(trajectory, job.play, plan.settings, edge)
    priced = {role: edge.priced(role, usage) for role, usage in trajectory.usage.items()}
    if priced != trajectory.usage:
        trajectory = trajectory.model_copy(update={"usage": priced})
    return Kept.of(trajectory, judgement.model_copy(update={"usage": edge.priced("judge", judgement.usage)}))


def lost(plan: Plan, job: Job, reason: str) -> Kept:
    """An episode of which nothing can be known but why."""
    trajectory = _failed(plan, job, reason)
    return Kept.of(trajectory, _unjudged(trajectory, plan.settings.judge, reason))


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
    except RunStops:
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
    except RunStops:
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
    except RunStops:
        raise
    except Exception as error:
        log.exception("%s: the judge failed", trajectory.episode)
        return _unjudged(trajectory, settings.judge, trajectory.failure or f"the judge raised {describe(error)}")


def _unjudged(t: Trajectory, judge: str, failure: str) -> Judgement:
    return Judgement(
        episode=t.episode, scenario=t.scenario, dataset=t.dataset, dimension=t.dimension, lang=t.lang, trial=t.trial,
        family=t.family, judge=judge, score=Score(value=None, ungraded=failure), verdicts=(),
    )  # fmt: skip
