"""How fast an endpoint is asked: rate limits, calls at once, slowing down where it says that it is overloaded."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass

import pytest

from mlb_env.effects import ChatReply, ChatRequest, ModelSettings
from mlb_env.llm.endpoint import ModelEdge
from mlb_env.llm.pace import Gate, Pace, Paces
from mlb_env.serve.mock import MockServer, MockSettings
from tests.openai_server import OpenAIServer, error, text


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def let_in(gate: Gate, clock: Clock, seconds: float, *, tokens: float = 0.0, used: tuple[int, int] | None = None) -> int:
    """Calls that begin, and end at once, within so many seconds."""
    end, count = clock.now + seconds, 0
    while clock.now < end:
        wait = gate.enter(tokens)
        if wait == 0:
            count += 1
            gate.leave(well=True, expected=tokens, used=used)
        else:
            clock.now += min(wait, end - clock.now) + 1e-9
    return count


@pytest.mark.parametrize("limit", [30, 600])
def test_not_more_requests_begin_than_the_limit_allows(limit: int) -> None:
    clock = Clock()
    gate = Gate(Pace(requests_per_minute=limit), clock)
    assert limit - 1 <= let_in(gate, clock, 60) <= limit + max(1, limit / 60) + 1
    assert limit - 1 <= let_in(gate, clock, 60) <= limit + 1
    clock.now += 3600  # a rest saves up for one second and no more
    assert let_in(gate, clock, 60) <= limit + max(1, limit / 60) + 1


def test_tokens_are_counted_as_the_endpoint_counts_them_where_the_guess_was_wrong() -> None:
    clock = Clock()
    gate = Gate(Pace(tokens_per_minute=60_000), clock)
    let_in(gate, clock, 60, tokens=10, used=(900, 100))
    assert 58 <= let_in(gate, clock, 60, tokens=10, used=(900, 100)) <= 62, "1,000 tokens a call, 60,000 a minute"


def test_a_further_attempt_counts_as_a_request() -> None:
    clock = Clock()
    gate = Gate(Pace(requests_per_minute=60), clock)
    assert gate.enter(0) == 0
    for _ in range(9):
        gate.again()
    assert gate.enter(0) == pytest.approx(9, abs=1.1)


def test_not_more_calls_are_under_way_than_said() -> None:
    gate = Gate(Pace(in_flight=2), Clock())
    assert gate.enter(0) == gate.enter(0) == 0
    assert gate.enter(0) == math.inf
    gate.leave(well=False)
    assert gate.enter(0) == 0


def test_an_overloaded_endpoint_is_asked_less_at_once_and_more_again_as_calls_go_well() -> None:
    clock = Clock()
    gate = Gate(clock=clock)
    for _ in range(100):
        gate.enter(0)
    for _ in range(30):
        gate.saw(429, None)
    assert gate.limit == pytest.approx(80), "one burst of refusals shrinks it once"
    clock.now = 5
    gate.saw(503, None)
    assert gate.limit == pytest.approx(64)
    gate.saw(500, None)
    assert gate.limit == pytest.approx(64), "an error is no overload"
    for _ in range(36):
        gate.leave(well=True)
    assert 64 < gate.limit < 68
    for _ in range(64):
        gate.leave(well=False)
    assert gate.limit < 68, "what fails lets nobody in"


@pytest.mark.parametrize(("asked", "wait"), [(7.0, 7.0), (1e9, 60.0), (-3.0, 0.0), (math.nan, 0.0), (None, 0.0)])
def test_nothing_begins_while_the_endpoint_asks_for_a_pause(asked: float | None, wait: float) -> None:
    gate = Gate(clock=Clock(100.0))
    gate.saw(429, asked)
    assert gate.enter(0) == pytest.approx(wait)


def test_limits_are_found_by_address_and_shared_among_processes() -> None:
    paces = Paces(every=Pace(in_flight=5), endpoints={"http://a/v1": Pace(requests_per_minute=100), "default": Pace(tokens_per_minute=10)})
    assert paces.of("http://a/v1/").requests_per_minute == 100
    assert paces.of(None).tokens_per_minute == 10 and paces.of("http://b/v1").in_flight == 5
    half = paces.shared(2)
    assert half.of("http://a/v1").requests_per_minute == 50 and half.of("http://b").in_flight == 2 and paces.shared(9).every.in_flight == 1


def request(url: str, retries: int = 0) -> ChatRequest:
    return ChatRequest("agent", ModelSettings("m", url, "NO_KEY_NEEDED", retries=retries), ({"role": "user", "content": "hi"},))


@pytest.mark.parametrize("way", ["async", "sync"])
def test_a_real_endpoint_sees_no_more_calls_at_once_than_allowed(way: str) -> None:
    with MockServer(MockSettings(latency_s=0.02)) as server:
        edge = ModelEdge(paces=Paces(every=Pace(in_flight=2)))
        asked = tuple(request(server.url) for _ in range(12))

        async def together() -> tuple[object, ...]:
            try:
                if way == "async":
                    return await edge.aperform(asked)
                return tuple(await asyncio.gather(*(asyncio.to_thread(lambda r=r: edge.perform((r,))[0]) for r in asked)))
            finally:
                await edge.aclose()

        got = asyncio.run(together())
        assert all(isinstance(reply, ChatReply) for reply in got) and len(got) == 12
        assert server.counters.most == 2


def test_a_refusal_with_a_pause_holds_the_others_back_too() -> None:
    with OpenAIServer(error(429, "slow down", headers={"Retry-After": "1"}), text("yes")) as server:
        edge = ModelEdge()

        async def one_then_others() -> float:
            first = asyncio.create_task(edge.aperform((request(server.url, retries=2),)))
            while not server.requests:
                await asyncio.sleep(0.005)
            await asyncio.sleep(0.1)  # the refusal has come by now
            _, gate = next(iter(edge._async_clients[asyncio.get_running_loop()].values()))
            wait = gate.enter(0)
            await first
            await edge.aclose()
            return wait

        assert 0 < asyncio.run(one_then_others()) <= 1
