"""The effects: the closed list of what touches the world, and the two drivers that carry them out.

Simulators, judges and agents that need the world are generators that yield a tuple of requests and receive the replies in
the same order; a failure is a reply, not an exception. The same generator is driven synchronously (`drive`) and
asynchronously (`adrive`). Caching, recording, retrying and accounting belong to the `Edge` behind the drivers, nowhere else.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeVar

from .spec.action import ToolCall

T = TypeVar("T")


@dataclass(frozen=True)
class ModelSettings:
    """How one role (agent, patient, judge) talks to its model endpoint.

    `base_url` None: the openai package's default. `key_variable`: the environment variable that holds the key.
    `timeout_s` bounds one attempt; `retries` counts further attempts after a retryable failure. `usd_prompt`, `usd_completion`: US dollars for a
    million tokens.
    """

    model: str
    base_url: str | None = None
    key_variable: str = "OPENAI_API_KEY"
    temperature: float | None = None
    max_tokens: int | None = 2048
    timeout_s: float = 120.0
    retries: int = 3
    extra_body: dict[str, Any] = field(default_factory=dict)
    usd_prompt: float | None = None
    usd_completion: float | None = None


@dataclass(frozen=True)
class ChatRequest:
    """One chat completion. `messages` and `tools` in OpenAI's form; `role` is who asks."""

    role: str
    settings: ModelSettings
    messages: tuple[dict[str, Any], ...]
    tools: tuple[dict[str, Any], ...] = ()
    seed: int | None = None


@dataclass(frozen=True)
class ChatReply:
    """What the model answered. `thinking` is kept apart from `content`. Token counts are None where not reported."""

    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    thinking: str = ""
    refusal: str = ""
    finish_reason: str = "stop"
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


@dataclass(frozen=True)
class AskHuman:
    """A question to the person at the keyboard: `shown` is what is new, `prompt` what is asked for."""

    role: str
    shown: str
    prompt: str


@dataclass(frozen=True)
class HumanReply:
    text: str


@dataclass(frozen=True)
class RecordRequest:
    """An interaction with an external FHIR server. `path` is relative to `base_url`, with its query; `body` is JSON or empty."""

    base_url: str
    method: Literal["GET", "POST", "PUT"]
    path: str
    body: str = ""


@dataclass(frozen=True)
class RecordReply:
    """What the server answered: HTTP status, body, and the id of what was created, from the Location header."""

    status: int
    body: str
    created: str = ""


@dataclass(frozen=True)
class Failure:
    """An effect that failed for good, with its reason in one sentence."""

    reason: str


Effect = ChatRequest | AskHuman | RecordRequest
Reply = ChatReply | HumanReply | RecordReply | Failure
Flow = Generator[tuple[Effect, ...], tuple[Reply, ...], T]


class Edge(Protocol):
    """Carries effects out. `perform` blocks; `aperform` overlaps."""

    def perform(self, effects: tuple[Effect, ...]) -> tuple[Reply, ...]: ...

    async def aperform(self, effects: tuple[Effect, ...]) -> tuple[Reply, ...]: ...


class NoEdge:
    """The edge of a purely offline session: every effect fails, saying so."""

    def perform(self, effects: tuple[Effect, ...]) -> tuple[Reply, ...]:
        return tuple(Failure("no model endpoint was configured for this session") for _ in effects)

    async def aperform(self, effects: tuple[Effect, ...]) -> tuple[Reply, ...]:
        return self.perform(effects)


def drive(flow: Flow[T], edge: Edge) -> T:
    """Run a flow to its end, carrying its effects out synchronously."""
    try:
        effects = next(flow)
        while True:
            effects = flow.send(edge.perform(effects))
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]


async def adrive(flow: Flow[T], edge: Edge) -> T:
    """Run a flow to its end; the effects of one request overlap."""
    try:
        effects = next(flow)
        while True:
            effects = flow.send(await edge.aperform(effects))
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]
