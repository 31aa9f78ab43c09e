"""Where episodes are played outside the process that keeps the run: in other processes of this machine, or on the nodes of a Ray cluster.

A station makes the plan of the run for itself and checks that it stands on the same ground. It is told episodes by name, with the calls that
were made for them before, and hands back what is kept. New calls are told at once, so that none is lost with the station.

As a program (`python -m mlb_env.bench.station`) it talks by pickled messages over its standard input and output with the process that started it.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import pickle
import signal
import struct
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import MlbError, RunStops
from ..llm.pace import Paces
from .calls import Call, CallLog, Calls
from .episodes import kept
from .plan import LateEdge, describe, make_plan, other_ground
from .settings import RunSettings
from .store import Kept, RunHeader

log = logging.getLogger("mlb_env.run")
LENGTH = struct.Struct(">I")


@dataclass(frozen=True)
class Order:
    """What a station is told first: the run, the limits that are its share, how many episodes it plays at once, and a file for its calls, where it
    shares a disk with the run."""

    settings: RunSettings
    header: RunHeader
    paces: Paces
    slots: int
    log: Path | None = None


@dataclass
class _Tell:
    """Writes new calls down, and hands them on."""

    to: Callable[[Call], None]
    log: CallLog | None

    def add(self, call: Call) -> None:
        if self.log is not None:
            self.log.add(call)
        self.to(call)


@dataclass
class Station:
    """Plays episodes of one run.

    Raises:
        MlbError: on making it: the run cannot be played here, or the content, agent or version here is another one.
    """

    order: Order
    tell: Callable[[Call], None]
    calls: Calls = field(init=False)

    def __post_init__(self) -> None:
        self._edge = LateEdge(paces=self.order.paces)
        self._plan = make_plan(self.order.settings, edge=self._edge)
        if problem := other_ground(self.order.header, self._plan.header):
            raise MlbError(f"a worker stands on other ground: {problem}")
        self._jobs = {job.name: job for job in self._plan.jobs}
        self._pool = ThreadPoolExecutor(self.order.slots)
        self.calls = Calls(_Tell(self.tell, CallLog(self.order.log) if self.order.log else None))
        gc.freeze()  # the content stays: without this the collector walks through all of it again and again

    async def play(self, name: str, recorded: Sequence[Call]) -> Kept:
        """One episode.

        Raises:
            RunStops: it is not kept, as the run has to stop.
        """
        job = self._jobs[name]
        for call in recorded:
            self.calls.remember(call)
        own = self.calls.edge(self._edge, name, job.trial)
        made = await kept(self._plan, job, own, self._pool)
        if own.stopped is not None:
            raise own.stopped
        self.calls.forget(name)
        return made

    def halt(self, why: str) -> None:
        """Begin no further call."""
        self.calls.halted = why


# --- as a program -------------------------------------------------------------------------------------------------------


def pack(message: object) -> bytes:
    """A message as it goes over a pipe."""
    data = pickle.dumps(message)
    return LENGTH.pack(len(data)) + data


async def take(stream: asyncio.StreamReader) -> Any:
    """The next message.

    Raises:
        EOFError: there is none any more.
    """
    try:
        head = await stream.readexactly(LENGTH.size)
        return pickle.loads(await stream.readexactly(LENGTH.unpack(head)[0]))
    except (asyncio.IncompleteReadError, ConnectionError):
        raise EOFError from None


def main() -> None:
    """Take the order, then episodes, until the input ends."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what an agent prints must not get among the messages
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that keeps the run; it closes the input

    def send(*message: object) -> None:
        out.write(pack(message))
        out.flush()

    try:
        asyncio.run(_serve(send))
    except (EOFError, BrokenPipeError):  # nobody is there any more
        os._exit(0)


async def _serve(send: Callable[..., None]) -> None:
    inbox = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(inbox), sys.stdin)
    order: Order = await take(inbox)
    try:
        station = Station(order, lambda call: send("call", call))
    except MlbError as error:
        send("refused", str(error))
        return
    send("ready")
    free = asyncio.Semaphore(order.slots)  # some are handed out ahead, so that none waits for the pipe

    async def one(name: str, recorded: Sequence[Call]) -> None:
        async with free:
            try:
                send("kept", name, await station.play(name, recorded))
            except RunStops as error:
                send("stopped", name, error)
            except Exception as error:  # a mistake of ours: what the agent does wrong ends its episode only
                log.exception("%s: the worker failed", name)
                send("stopped", name, RunStops(f"a worker failed in {name}: {describe(error)}"))
            await asyncio.sleep(0)  # an offline episode never waits: let the others in

    playing: set[asyncio.Task[None]] = set()
    while True:
        match await take(inbox):
            case ("play", str(name), recorded):
                task = asyncio.create_task(one(name, recorded))
                playing.add(task)
                task.add_done_callback(playing.discard)
            case ("halt", str(why)):
                station.halt(why)


if __name__ == "__main__":
    main()
