"""The workers of a run on a Ray cluster (the extra `ray`): each an actor that holds a `Station`, wherever Ray puts it. A lost node loses its actors;
their episodes are played again by others, fed with the calls that were answered.

Each node needs this package, the agent's file and the content at the same paths, and the keys in its environment.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from ..errors import MlbError, RunError, RunStops, UserError
from .calls import Call
from .crew import Worker, WorkerLost
from .plan import Job
from .station import Order, Station
from .store import Kept


class OnRay:
    """A connection to a cluster.

    Args:
        address: of the cluster; None: the variable RAY_ADDRESS, else a cluster of its own on this machine.

    Raises:
        UserError: Ray is not installed, or the cluster cannot be reached.
    """

    def __init__(self, address: str | None) -> None:
        try:
            import ray
        except ImportError:
            raise UserError("--executor ray needs Ray: pip install 'mlb-env[ray]'") from None
        self.ray: Any = ray
        if not ray.is_initialized():
            where = address or os.environ.get("RAY_ADDRESS")
            if where not in (None, "auto", "local"):
                _reach(str(where))
            try:
                ray.init(address=where, include_dashboard=False, log_to_driver=False, configure_logging=False)
            except (ConnectionError, RuntimeError, ValueError) as error:
                raise UserError(f"--executor ray: the cluster at {where or 'this machine'} cannot be reached ({' '.join(str(error).split())[:200]})") from None
        self._told: Any = None
        self._workers = 0

    @property
    def cpus(self) -> int:
        """Of all nodes."""
        return max(1, int(self.ray.cluster_resources().get("CPU", 1)))

    def worker(self, order: Order, tell: Callable[[Call], None]) -> _Worker:
        """A worker that the cluster has yet to place."""
        if self._told is None:
            here = self.ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(self.ray.get_runtime_context().get_node_id(), soft=False)
            self._told = self.ray.remote(_Told).options(num_cpus=0, scheduling_strategy=here, max_concurrency=1000).remote()
        self._workers += 1
        return _Worker(self, self._told, order, tell, self._workers)


def _reach(address: str) -> None:
    """Ray itself waits for minutes before it gives up.

    Raises:
        UserError: nothing listens there.
    """
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, ValueError) as error:
        raise UserError(f"--executor ray: the cluster at {address} cannot be reached ({error}); give the host:port of its head node, or auto") from None


class _Told:
    """New calls of all workers, on the node of the run: they outlive the worker that made them. An actor."""

    def __init__(self) -> None:
        self._calls: dict[int, list[Call]] = {}

    async def tell(self, worker: int, call: Call) -> None:
        self._calls.setdefault(worker, []).append(call)

    async def take(self, worker: int) -> list[Call]:
        return self._calls.pop(worker, [])


class _Seat:
    """A station in a process of the cluster. An actor."""

    def __init__(self, order: Order, told: Any, number: int) -> None:
        self._station: Station | None = None
        self._refused = ""
        try:
            self._station = Station(order, lambda call: told.tell.remote(number, call))
        except MlbError as error:
            self._refused = str(error)

    async def ready(self) -> str:
        return self._refused

    async def play(self, name: str, recorded: Sequence[Call]) -> Kept | RunStops:
        assert self._station is not None
        try:
            return await self._station.play(name, recorded)
        except RunStops as error:
            return error

    async def halt(self, why: str) -> None:
        if self._station is not None:
            self._station.halt(why)


_POLL_S = 0.2  # how often new calls are fetched


class _Worker:
    """One seat, as the run sees it."""

    def __init__(self, cluster: OnRay, told: Any, order: Order, tell: Callable[[Call], None], number: int) -> None:
        self.slots = order.slots
        self._cluster, self._ray = cluster, cluster.ray
        self._told, self._order, self._tell = told, order, tell
        self._number = number
        self._seat: Any = None
        self._fetcher: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """
        Raises:
            RunError: the run cannot be played there.
            WorkerLost: it died at once.
        """
        await self.close()
        seat = self._ray.remote(_Seat).options(num_cpus=1, max_concurrency=self.slots + 2, max_restarts=0)
        self._seat = seat.remote(self._order, self._told, self._number)
        if refused := await self._answer(self._seat.ready.remote()):
            raise RunError(refused)
        self._fetcher = asyncio.create_task(self._fetch())

    async def play(self, job: Job, recorded: Sequence[Call]) -> Kept:
        try:
            made = await self._answer(self._seat.play.remote(job.name, tuple(recorded)))
        except WorkerLost:
            await self._take()
            raise
        if self._fetcher is not None and self._fetcher.done():
            self._fetcher.result()  # a call that could not be written down
        if isinstance(made, RunStops):
            raise made
        assert isinstance(made, Kept)
        return made

    async def _answer(self, reference: Any) -> Any:
        try:
            return await reference
        except (self._ray.exceptions.RayActorError, self._ray.exceptions.NodeDiedError, self._ray.exceptions.ObjectLostError):
            raise WorkerLost from None
        except self._ray.exceptions.RayError as error:
            raise RunError(f"a worker failed: {' '.join(str(error).split())[-300:]}") from None

    async def _fetch(self) -> None:
        while True:
            await self._take()
            await asyncio.sleep(_POLL_S)

    async def _take(self) -> None:
        for call in await self._told.take.remote(self._number):
            self._tell(call)

    def halt(self, why: str) -> None:
        if self._seat is not None:
            self._seat.halt.remote(why)

    def spare(self) -> Worker:
        return self._cluster.worker(replace(self._order, slots=1), self._tell)

    async def close(self) -> None:
        if self._fetcher is not None:
            self._fetcher.cancel()
            await asyncio.gather(self._fetcher, return_exceptions=True)
            self._fetcher = None
            await self._take()
        if self._seat is not None:
            with contextlib.suppress(Exception):  # Ray's own, of an actor that is gone already
                self._ray.kill(self._seat)
            self._seat = None
