"""Who plays the episodes of a run: this process, other processes, or a Ray cluster (`onray.py`). All answer to one interface."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from ..effects import Edge
from ..errors import RunError, RunStops
from .calls import Call, CallLog, Calls, own_log
from .episodes import kept
from .plan import Job, Plan
from .station import Order, pack, take
from .store import Kept


class WorkerLost(Exception):
    """A worker has died; its episodes have to be played again."""


class Worker(Protocol):
    """Takes `slots` episodes at once. Started before anything else, and again after it was lost."""

    slots: int

    async def start(self) -> None: ...

    async def play(self, job: Job, recorded: Sequence[Call]) -> Kept:
        """
        Raises:
            WorkerLost: it has died.
            RunStops: the run has to stop.
        """
        ...

    def halt(self, why: str) -> None:
        """Begin no further model call."""
        ...

    def spare(self) -> Worker:
        """Another of its kind, for one episode."""
        ...

    async def close(self) -> None: ...


class Here:
    """This process. Calls are kept, and fed from what is recorded, by `calls` itself."""

    def __init__(self, plan: Plan, calls: Calls, edge: Edge, slots: int) -> None:
        self.slots = slots
        self._plan, self._calls, self._edge = plan, calls, edge
        self._pool = ThreadPoolExecutor(slots)  # for agents that block; its threads begin when they are needed

    async def start(self) -> None:
        """Nothing to do."""

    async def play(self, job: Job, recorded: Sequence[Call]) -> Kept:
        own = self._calls.edge(self._edge, job.name, job.trial)
        made = await kept(self._plan, job, own, self._pool)
        if own.stopped is not None:  # also where the agent took the exception for a failed call
            raise own.stopped
        return made

    def halt(self, why: str) -> None:
        self._calls.halted = why

    def spare(self) -> Worker:
        return self  # it is never lost

    async def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)


class Process:
    """A process of this machine: `station.py` as a program.

    Args:
        folder: of the run; each process keeps a log of its calls there.
        tell: told of each call that is in the log.
        ahead: episodes that wait in it, so that it never waits for the next.
    """

    def __init__(self, order: Order, folder: Path, tell: Callable[[Call], None], ahead: int = 0) -> None:
        self.slots = order.slots + ahead
        self._order, self._folder, self._tell = order, folder, tell
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._waiting: dict[str, asyncio.Future[Kept]] = {}
        self._failed: BaseException | None = None
        self._told = 0

    async def start(self) -> None:
        """
        Raises:
            RunError: the run cannot be played there.
            WorkerLost: it died at once.
        """
        await self.close()
        self._failed, self._told = None, 0
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "mlb_env.bench.station", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        self._order = replace(self._order, log=own_log(self._folder))
        self._send(self._order)
        match await self._next():
            case ("refused", str(why)):
                raise RunError(why)
        self._reader = asyncio.create_task(self._listen())

    async def play(self, job: Job, recorded: Sequence[Call]) -> Kept:
        if self._failed is not None:
            raise WorkerLost
        self._waiting[job.name] = asyncio.get_running_loop().create_future()
        try:
            self._send(("play", job.name, tuple(recorded)))
            return await self._waiting[job.name]
        finally:
            self._waiting.pop(job.name, None)

    def halt(self, why: str) -> None:
        if self._failed is None and self._process is not None:
            self._send(("halt", why))

    def spare(self) -> Worker:
        return Process(replace(self._order, slots=1), self._folder, self._tell)

    def _send(self, message: object) -> None:
        assert self._process is not None and self._process.stdin is not None
        self._process.stdin.write(pack(message))

    async def _next(self) -> Any:
        assert self._process is not None and self._process.stdout is not None
        try:
            return await take(self._process.stdout)
        except EOFError:
            raise WorkerLost from None

    async def _listen(self) -> None:
        try:
            while True:
                match await self._next():
                    case ("call", Call() as call):
                        self._told += 1
                        self._tell(call)
                    case ("kept", str(name), Kept() as made):
                        self._settle(name, made)
                    case ("stopped", str(name), RunStops() as error):
                        self._settle(name, error)
        except WorkerLost as error:
            self._failed = error
            self._read_rest()
            for name in list(self._waiting):
                self._settle(name, error)

    def _read_rest(self) -> None:
        """The calls that it wrote down and could not tell any more."""
        assert self._order.log is not None
        for call in CallLog(self._order.log).read()[self._told :]:
            self._tell(call)

    def _settle(self, name: str, result: Kept | BaseException) -> None:
        future = self._waiting.get(name)
        if future is None or future.done():
            return
        if isinstance(result, BaseException):
            future.set_exception(result)
        else:
            future.set_result(result)

    async def close(self) -> None:
        if self._process is None:
            return
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        self._process = self._reader = None
