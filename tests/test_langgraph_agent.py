"""The LangGraph doctor against a real HTTP server: the same behaviour as the chat agent, and the exported graph."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from mlb_env.agent import AgentContext, load_agent
from mlb_env.catalog.load import content_root
from mlb_env.effects import ChatReply, Effect, ModelSettings, Reply
from mlb_env.errors import AgentFailed, UserError
from mlb_env.llm.endpoint import ModelEdge
from mlb_env.spec.action import Action, Briefing, Message, Observation
from mlb_env.spec.trajectory import Usage
from tests.openai_server import Behaviour, OpenAIServer, calls, error, text

ROOT = Path(__file__).parents[1]
TOOL = {"type": "function", "function": {"name": "wait", "parameters": {"type": "object", "properties": {}}}}
BRIEFING = Briefing(
    task="Be a doctor.",
    policy="Propose only.",
    tools=(TOOL,),
    lang="en",
    dimension="SmartCare",
    dataset="MADiagnosis",
    max_turns=9,
)


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    prefixes = ("OPENAI_", "LANGSMITH_", "LANGCHAIN_", "MLB_")
    for name in [n for n in os.environ if n.startswith(prefixes) or n.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    yield


def saw(*said: str, results: tuple[tuple[str, str], ...] = ()) -> Observation:
    tools = [Message(role="tool", content=t, speaker="tool", turn=1, tool_call_id=i, name="wait") for i, t in results]
    return Observation(messages=(*tools, *(Message(role="user", content=s, speaker="patient", turn=1) for s in said)))


def run(server: OpenAIServer, use: Callable[[Any], Awaitable[None]], seed: int = 1) -> Any:
    """Make a doctor, use it, and hand it back."""

    async def go() -> Any:
        async with ModelEdge() as edge:
            settings = ModelSettings(model="m", base_url=server.url, retries=0, timeout_s=5)
            doctor: Any = load_agent("langgraph", content=content_root())(
                AgentContext("langgraph", "en", Random(seed), model=settings, edge=edge)
            )
            doctor.reset(BRIEFING)
            await use(doctor)
            return doctor

    return asyncio.run(go())


def exported() -> Callable[[], Any]:
    """The factory that langgraph.json names."""
    config = json.loads((ROOT / "langgraph.json").read_text(encoding="utf-8"))
    path, _, attribute = config["graphs"]["doctor"].partition(":")
    factory: Callable[[], Any] = load_agent(str(ROOT / path), content=content_root()).__globals__[attribute]  # type: ignore[attr-defined]
    return factory


def test_a_dialogue_grows_by_what_is_new() -> None:
    actions: list[Action] = []

    async def use(doctor: Any) -> None:
        actions.append(await doctor.act(saw("A pale man.", "My chest hurts.")))
        actions.append(await doctor.act(saw("It still hurts.", results=(("a1", "5 minutes have passed."),))))

    with OpenAIServer(calls(("wait", {"minutes": 5}, "a1"), content="One moment."), text("Where does it hurt?")) as server:
        doctor = run(server, use)
    assert [(c.name, c.arguments, c.id) for c in actions[0].tool_calls] == [("wait", '{"minutes": 5}', "a1")]
    assert actions[1] == Action(content="Where does it hurt?")
    assert server.requests[0].body["tools"] == [TOOL]
    assert server.requests[0].body["seed"] == server.requests[1].body["seed"]
    assert server.requests[1].body["messages"] == [
        {"role": "system", "content": "Be a doctor.\n\nPropose only."},
        {"role": "user", "content": "A pale man.\nMy chest hurts."},
        actions[0].to_message(),
        {"role": "tool", "tool_call_id": "a1", "content": "5 minutes have passed."},
        {"role": "user", "content": "It still hurts."},
    ]
    assert doctor.usage == Usage(calls=2, prompt_tokens=20, completion_tokens=10)


def test_it_sends_what_the_chat_agent_sends() -> None:
    """One model, one score: the two harnesses are the same conversation."""
    from mlb_env.effects import drive

    script = (calls(("wait", '{"cut": ', None)), text("<think>x</think>Where?"), text("ok"))
    observations = (saw("a"), saw("b", results=(("call_1", "malformed"),)), saw("c"))

    async def use(doctor: Any) -> None:
        for observation in observations:
            await doctor.act(observation)

    with OpenAIServer(*script) as graph_server:
        run(graph_server, use)
    with OpenAIServer(*script) as chat_server, ModelEdge() as edge:
        settings = ModelSettings(model="m", base_url=chat_server.url, retries=0)
        chat: Any = load_agent("chat", content=content_root())(AgentContext("chat", "en", Random(1), model=settings))
        chat.reset(BRIEFING)
        for observation in observations:
            drive(chat.act(observation), edge)
    assert [r.body for r in graph_server.requests] == [r.body for r in chat_server.requests]


def test_a_new_episode_starts_empty() -> None:
    async def use(doctor: Any) -> None:
        await doctor.act(saw("first"))
        doctor.reset(BRIEFING)
        assert doctor.usage == Usage()
        await doctor.act(saw("second"))

    with OpenAIServer(forever=lambda _: text("ok")) as server:
        run(server, use)
    assert [m["content"] for m in server.requests[1].body["messages"]] == ["Be a doctor.\n\nPropose only.", "second"]


def test_a_long_episode_calls_the_model_once_a_turn() -> None:
    async def use(doctor: Any) -> None:
        for turn in range(40):
            await doctor.act(saw(str(turn)))

    with OpenAIServer(forever=lambda _: text("ok")) as server:
        assert run(server, use).usage.calls == len(server.requests) == 40
    assert len(server.requests[-1].body["messages"]) == 1 + 40 + 39


@pytest.mark.parametrize(
    ("fault", "reason"),
    [(error(500), "failed in one attempt (500)"), (error(400, "maximum context length is 9"), "longer than its context")],
)
def test_a_model_that_fails_fails_the_agent_with_the_reason(fault: Behaviour, reason: str) -> None:
    async def use(doctor: Any) -> None:
        with pytest.raises(AgentFailed) as failed:
            await doctor.act(saw("a"))
        assert reason in str(failed.value)

    with OpenAIServer(fault) as server:
        assert run(server, use).usage == Usage()


def test_episodes_overlap() -> None:
    async def go() -> int:
        most = now = 0

        class Slow:
            def perform(self, effects: tuple[Effect, ...]) -> tuple[Reply, ...]:
                raise AssertionError("not in an event loop")

            async def aperform(self, effects: tuple[Effect, ...]) -> tuple[Reply, ...]:
                nonlocal most, now
                now += 1
                most = max(most, now)
                await asyncio.sleep(0.1)
                now -= 1
                return (ChatReply("ok"),)

        context = AgentContext("langgraph", "en", Random(1), model=ModelSettings(model="m"), edge=Slow())
        doctors: list[Any] = [load_agent("langgraph", content=content_root())(context) for _ in range(10)]
        for doctor in doctors:
            doctor.reset(BRIEFING)
        await asyncio.gather(*(doctor.act(saw("a")) for doctor in doctors))
        return most

    assert asyncio.run(go()) == 10


# --- the exported graph ---------------------------------------------------------------------------------------------


@pytest.mark.checkout
def test_the_exported_graph_runs_with_a_platforms_checkpointer(monkeypatch: pytest.MonkeyPatch) -> None:
    from langgraph.checkpoint.memory import InMemorySaver
    from langgraph.types import Command

    with OpenAIServer(calls(("wait", {}, "a1")), text("Where?")) as server:
        monkeypatch.setenv("MLB_MODEL", "m")
        monkeypatch.setenv("MLB_BASE_URL", server.url)
        graph = exported()()
        graph.checkpointer = InMemorySaver()
        config = {"configurable": {"thread_id": "1"}}
        result = graph.invoke({"messages": [{"role": "user", "content": "It hurts."}], "tools": [TOOL]}, config)
        assert result["__interrupt__"][0].value["tool_calls"] == [{"name": "wait", "arguments": "{}", "id": "a1"}]
        result = graph.invoke(Command(resume="done"), config)  # plain text, as typed in a studio, answers the call
        assert result["__interrupt__"][0].value["content"] == "Where?"
    assert server.requests[1].body["messages"][-1] == {"role": "tool", "tool_call_id": "a1", "content": "done"}


@pytest.mark.checkout
def test_the_exported_graph_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="MLB_MODEL is not set"):
        exported()()
    monkeypatch.setenv("MLB_MODEL", "m")
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(UserError, match="OPENAI_API_KEY is not set"):
        exported()()
