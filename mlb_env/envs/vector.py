"""Many episodes stepped together: `gymnasium.make_vec(id, num_envs=n)`.

All episodes live in this process. A step advances each as far as it goes on its own; those that need a model then wait for
their calls together, on one private event loop. Where nothing needs a model, no event loop is made.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from copy import deepcopy
from functools import partial
from typing import Any, TypeVar

import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from ..effects import Edge, Effect, Flow, ModelSettings, NoEdge
from ..spec.action import Action, Observation
from .env import MlbEnv, model_edge

T = TypeVar("T")
Arrays = tuple[Any, np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any], dict[str, Any]]


class MlbVectorEnv(SyncVectorEnv):
    """`num_envs` environments of one dimension; keywords as `MlbEnv`.

    Resets by itself in the step that ends an episode (SAME_STEP): what ended is in `infos["final_obs"]` and
    `infos["final_info"]`, in the form of Gymnasium's SyncVectorEnv.

    Args:
        num_envs: how many, at least 1.
        max_episode_steps: truncate after so many steps, as Gymnasium's TimeLimit does.
    """

    def __init__(
        self, num_envs: int = 1, *, max_episode_steps: int | None = None, edge: Edge | None = None, **keywords: Any
    ) -> None:
        self._close_edge: Callable[[], Coroutine[Any, Any, None]] | None = None
        patient = keywords.get("patient")
        if edge is None and isinstance(patient, str) and patient.startswith("llm:") and patient[4:]:
            edge = model_edge(keywords.get("patient_model") or ModelSettings(model=patient[4:]))  # one for all: connections are shared
            self._close_edge = edge.aclose
        self._edge: Edge = edge or NoEdge()
        self._limit = max_episode_steps
        self._taken = [0] * num_envs
        self._loop: _Loop | None = None
        make = partial(MlbEnv, edge=self._edge, **keywords)
        super().__init__([make] * num_envs, autoreset_mode=AutoresetMode.SAME_STEP)

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin all episodes, or those of `options["reset_mask"]`; otherwise as `MlbEnv.reset`."""
        options = dict(options) if options is not None else None  # the parent takes the mask out
        mask = (options or {}).get("reset_mask")
        for i in range(self.num_envs):
            if mask is None or mask[i]:
                self._taken[i] = 0
        return super().reset(seed=seed, options=options)

    def step(self, actions: Sequence[str | Action]) -> Arrays:
        """Carry out one action in each environment; the model calls of all overlap."""
        if len(actions) != self.num_envs:
            raise ValueError(f"{len(actions)} actions for {self.num_envs} environments")
        envs: list[MlbEnv] = self.envs  # type: ignore[assignment]
        seen = self._observe([env.flow(action) for env, action in zip(envs, actions, strict=True)])
        rewards = np.zeros(self.num_envs, dtype=np.float64)
        terminated = np.zeros(self.num_envs, dtype=np.bool_)
        truncated = np.zeros(self.num_envs, dtype=np.bool_)
        infos: dict[str, Any] = {}
        for i, (env, observation) in enumerate(zip(envs, seen, strict=True)):
            text, rewards[i], terminated[i], truncated[i], info = env.outcome(observation)
            self._taken[i] += 1
            if self._limit is not None and self._taken[i] >= self._limit:
                truncated[i] = True
            if terminated[i] or truncated[i]:
                infos = self._add_info(infos, {"final_obs": text, "final_info": info}, i)
                text, info = env.reset()
                self._taken[i] = 0
            self._env_obs[i] = text  # type: ignore[call-overload]
            infos = self._add_info(infos, info, i)
        return deepcopy(tuple(self._env_obs)), rewards, terminated, truncated, infos

    def close_extras(self, **kwargs: Any) -> None:
        """Close the environments and the event loop, if there is one."""
        super().close_extras(**kwargs)
        if self._loop is not None:
            if self._close_edge is not None:
                self._loop.run(self._close_edge())
            self._loop.close()
            self._loop = None

    def _observe(self, flows: list[Flow[Observation]]) -> list[Observation]:
        """Run all flows to their ends."""
        seen: dict[int, Observation] = {}
        waiting: dict[int, tuple[Flow[Observation], tuple[Effect, ...]]] = {}
        for i, flow in enumerate(flows):
            try:
                waiting[i] = flow, next(flow)
            except StopIteration as stop:
                seen[i] = stop.value
        if waiting:
            if self._loop is None:
                self._loop = _Loop()
            ended = self._loop.run(_together([_go_on(*pair, self._edge) for pair in waiting.values()]))
            seen.update(zip(waiting, ended, strict=True))
        return [seen[i] for i in range(len(flows))]


async def _go_on(flow: Flow[T], effects: tuple[Effect, ...], edge: Edge) -> T:
    """Run a flow that has yielded its first effects to its end."""
    try:
        while True:
            effects = flow.send(await edge.aperform(effects))
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]


async def _together(many: list[Coroutine[Any, Any, T]]) -> list[T]:
    return await asyncio.gather(*many)


class _Loop:
    """An event loop in a thread of its own: clients may keep connections on it from step to step, and it works where the
    caller runs in an event loop already (a notebook)."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="mlb-env model calls", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run to the end; an interrupt of the caller cancels the work."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
