"""How fast an endpoint is asked: its rate limits, how many calls are under way, and slowing down where it says so.

A `Gate` stands before one endpoint. It lets a call in when the limits of requests and tokens per minute allow it, not more than `in_flight` calls are
under way, and the endpoint has not just asked for a pause. Where the endpoint answers that it is overloaded (429, 503, 529), fewer calls
are let in at once; each call that goes well lets a few more in again (additive increase, multiplicative decrease: Chiu and Jain 1989).
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from pydantic import Field

from ..spec.base import Model

OVERLOADED = frozenset({429, 503, 529})
SHRINK, GROW = 0.8, 4.0  # what is left after an overload; how many calls more after as many went well as are let in at once
_HOLD_S = 1.0  # one burst of refusals shrinks it once
_BURST_S = 1.0  # after a rest, what this time allows may come at once
_POLL_S = 0.05  # of threads that wait; tasks are woken
_REPLY_TOKENS = 200  # expected of a reply, until some have come


class Pace(Model):
    """Limits of one endpoint; None: none."""

    requests_per_minute: float | None = Field(default=None, gt=0)
    tokens_per_minute: float | None = Field(default=None, gt=0)
    in_flight: int | None = Field(default=None, ge=1)


class Paces(Model):
    """Limits by base address ("default": the openai package's default endpoint); `every`: of the endpoints that are not named."""

    every: Pace = Pace()
    endpoints: dict[str, Pace] = {}

    def of(self, url: str | None) -> Pace:
        """The limits of one endpoint."""
        return self.endpoints.get((url or "default").rstrip("/"), self.every)

    def shared(self, parts: int) -> Paces:
        """What one of so many processes may use of them."""

        def share(pace: Pace) -> Pace:
            return Pace(
                requests_per_minute=pace.requests_per_minute and pace.requests_per_minute / parts,
                tokens_per_minute=pace.tokens_per_minute and pace.tokens_per_minute / parts,
                in_flight=pace.in_flight and max(1, pace.in_flight // parts),
            )  # fmt: skip

        return Paces(every=share(self.every), endpoints={url: share(pace) for url, pace in self.endpoints.items()})


@dataclass
class _Rate:
    """So many units a minute. `due`: when what was let in so far is used up; it may run ahead, and the next waits."""

    per_minute: float
    due: float = -math.inf

    def wait(self, now: float) -> float:
        return max(0.0, self.due - now)

    def charge(self, units: float, now: float) -> None:
        self.due = max(self.due, now - _BURST_S) + units * 60 / self.per_minute


@dataclass
class Gate:
    """Before one endpoint. `clock` in seconds; never in an episode's results."""

    pace: Pace = field(default_factory=Pace)
    clock: Callable[[], float] = time.monotonic
    under_way: int = 0
    limit: float = math.inf  # of calls at once, as the endpoint was found to bear
    overloads: int = 0

    def __post_init__(self) -> None:
        self._requests = _Rate(self.pace.requests_per_minute) if self.pace.requests_per_minute else None
        self._tokens = _Rate(self.pace.tokens_per_minute) if self.pace.tokens_per_minute else None
        self._cap = float(self.pace.in_flight or math.inf)
        self._shut_until = self._held_until = -math.inf
        self._mean_reply = float(_REPLY_TOKENS)
        self._lock = threading.Lock()
        self._queue = asyncio.Lock()
        self._left = asyncio.Event()

    # --- the rules --------------------------------------------------------------------------------------------------

    def enter(self, tokens: float) -> float:
        """Let a call in, which is counted from now on, or say how many seconds to wait (inf: until another call has ended).

        Args:
            tokens: about how many its prompt has.
        """
        with self._lock:
            now = self.clock()
            waits = [r.wait(now) for r in (self._requests, self._tokens) if r is not None]
            if (wait := max([self._shut_until - now, *waits])) > 0:
                return wait
            if self.under_way >= max(1.0, min(self._cap, self.limit)):
                return math.inf
            self.under_way += 1
            if self._requests is not None:
                self._requests.charge(1, now)
            if self._tokens is not None:
                self._tokens.charge(tokens + self._mean_reply, now)
            return 0.0

    def leave(self, *, well: bool, expected: float = 0.0, used: tuple[int, int] | None = None) -> None:
        """A call has ended.

        Args:
            well: with a reply.
            expected: the prompt's tokens as `enter` was told.
            used: tokens of the prompt and of the reply, where the endpoint tells them; what was guessed wrong is made up for.
        """
        with self._lock:
            self.under_way -= 1
            if well:
                self.limit += GROW / self.limit
            if used is not None and self._tokens is not None:
                self._tokens.charge(sum(used) - expected - self._mean_reply, self.clock())
                self._mean_reply += 0.1 * (used[1] - self._mean_reply)

    def saw(self, status: int, retry_after: float | None) -> None:
        """An answer's status, of each attempt. An overload lets fewer in, and none for as long as the endpoint asks (a minute at most)."""
        if status not in OVERLOADED:
            return
        with self._lock:
            now = self.clock()
            self.overloads += 1
            if retry_after is not None and math.isfinite(retry_after):
                self._shut_until = max(self._shut_until, now + min(max(retry_after, 0.0), 60.0))
            if now >= self._held_until:
                self.limit = max(1.0, min(self.limit, float(self.under_way)) * SHRINK)
                self._held_until = now + _HOLD_S

    def again(self) -> None:
        """A further attempt of a call that is under way."""
        with self._lock:
            if self._requests is not None:
                self._requests.charge(1, self.clock())

    # --- the two ways to wait ---------------------------------------------------------------------------------------

    async def aenter(self, tokens: float) -> None:
        """Wait for the turn; first come, first served."""
        if not self._queue.locked() and self.enter(tokens) == 0:
            return
        async with self._queue:
            while (wait := self.enter(tokens)) > 0:
                self._left.clear()
                try:
                    async with asyncio.timeout(None if wait == math.inf else wait):
                        await self._left.wait()
                except TimeoutError:
                    continue

    def aleave(self, *, well: bool, expected: float = 0.0, used: tuple[int, int] | None = None) -> None:
        """As `leave`, and the next one is woken."""
        self.leave(well=well, expected=expected, used=used)
        self._left.set()

    def wait(self, tokens: float) -> None:
        """As `aenter`, in a thread."""
        while (wait := self.enter(tokens)) > 0:
            time.sleep(min(wait, _POLL_S))

    def about(self, body: object) -> float:
        """Roughly how many tokens a request has, a quarter of its bytes; 0 where nothing depends on it."""
        return 0.0 if self._tokens is None else len(str(body).encode("utf-8", "replace")) / 4
