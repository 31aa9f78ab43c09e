"""The edge and the agents against a third-party server: llama.cpp's own, from the package xllamacpp, with a local model.

    MLB_GGUF=model.gguf python -m pytest -n 0 -m realserver tests/test_realserver.py

Any small .gguf with a chat template does. What the model says is not looked at; that every round trip is understood on both
sides is. Skipped, saying so, where the package or the model is missing.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest

from mlb_env.agent import AgentContext, load_agent
from mlb_env.catalog.load import content_root
from mlb_env.effects import ChatReply, ChatRequest, Failure, ModelSettings, drive
from mlb_env.llm.endpoint import ModelEdge
from mlb_env.spec.action import Action, Briefing, Message, Observation, ToolCall

GGUF = os.environ.get("MLB_GGUF", "")
pytestmark = [
    pytest.mark.realserver,
    pytest.mark.skipif(importlib.util.find_spec("xllamacpp") is None, reason="the package xllamacpp is not installed"),
    pytest.mark.skipif(not GGUF.endswith(".gguf"), reason="the environment variable MLB_GGUF names no .gguf file"),
]
TOOL = {
    "type": "function",
    "function": {
        "name": "wait",
        "description": "Let some minutes pass.",
        "parameters": {"type": "object", "properties": {"minutes": {"type": "integer"}}, "required": ["minutes"]},
    },
}
BRIEFING = Briefing(
    task="Be a doctor.", policy="Be brief.", tools=(TOOL,), lang="en", dimension="SmartCare", dataset="MADiagnosis", max_turns=9
)
CONTEXT = 2048


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The base URL of a llama.cpp server with the model of MLB_GGUF."""
    import xllamacpp  # type: ignore[import-not-found,unused-ignore]

    params = xllamacpp.CommonParams()
    params.model.path = GGUF
    params.n_ctx, params.n_parallel, params.port, params.use_jinja, params.warmup = CONTEXT, 1, 0, True, False
    server = xllamacpp.Server(params)
    yield f"{server.listening_address}/v1"
    del server


def settings(url: str, **more: Any) -> ModelSettings:
    return ModelSettings(model="local", base_url=url, key_variable="MLB_NO_KEY", max_tokens=16, retries=0, **more)


def saw(said: str, *results: tuple[str, str]) -> Observation:
    tools = [Message(role="tool", content=t, speaker="tool", turn=1, tool_call_id=i, name="wait") for i, t in results]
    return Observation(messages=(*tools, Message(role="user", content=said, speaker="patient", turn=1)))


def answers(action: Action) -> list[tuple[str, str]]:
    return [(c.id, "5 minutes have passed.") for c in action.tool_calls]


def test_a_chat_is_answered_and_counted(url: str) -> None:
    request = ChatRequest("agent", settings(url), ({"role": "user", "content": "Hello"},), seed=1)
    with ModelEdge() as edge:
        (reply,) = edge.perform((request,))
    assert isinstance(reply, ChatReply), reply
    assert reply.prompt_tokens and reply.completion_tokens and reply.completion_tokens <= 16


@pytest.mark.parametrize("arguments", ['{"minutes": 5}', '{"minutes": ', "[]"])
def test_a_history_with_tool_calls_is_understood_even_if_the_arguments_were_cut(url: str, arguments: str) -> None:
    from mlb_env.llm.conversation import remembered

    called = Action(content="One moment.", tool_calls=(ToolCall(name="wait", arguments=arguments, id="call_1"),))
    messages = (
        {"role": "user", "content": "Hello"}, remembered(called),
        {"role": "tool", "tool_call_id": "call_1", "content": "done"},
    )  # fmt: skip
    with ModelEdge() as edge:
        (reply,) = edge.perform((ChatRequest("agent", settings(url), messages, (TOOL,), 1),))
    assert isinstance(reply, ChatReply), reply


def test_the_chat_agent_plays_on(url: str) -> None:
    doctor: Any = load_agent("chat", content=content_root())(AgentContext("chat", "en", Random(1), model=settings(url)))
    doctor.reset(BRIEFING)
    with ModelEdge() as edge:
        first = drive(doctor.act(saw("It hurts.")), edge)
        drive(doctor.act(saw("Here.", *answers(first))), edge)
    assert doctor.usage.calls == 2 and doctor.usage.completion_tokens > 0


def test_the_langgraph_agent_plays_on(url: str) -> None:
    async def go() -> Any:
        async with ModelEdge() as edge:
            context = AgentContext("langgraph", "en", Random(1), model=settings(url), edge=edge)
            doctor: Any = load_agent("langgraph", content=content_root())(context)
            doctor.reset(BRIEFING)
            first = await doctor.act(saw("It hurts."))
            await doctor.act(saw("Here.", *answers(first)))
            return doctor

    assert asyncio.run(go()).usage.calls == 2


def test_a_context_overflow_says_so(url: str) -> None:
    request = ChatRequest("agent", settings(url), ({"role": "user", "content": "pain " * 4 * CONTEXT},))
    with ModelEdge() as edge:
        (reply,) = edge.perform((request,))
    assert isinstance(reply, Failure) and "longer than its context" in reply.reason
