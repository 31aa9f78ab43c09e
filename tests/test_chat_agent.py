"""The chat agent and the human agent, driven synchronously and asynchronously, against a real HTTP server."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import pytest

from mlb_env.agent import AgentContext, load_agent
from mlb_env.catalog.load import content_root
from mlb_env.effects import AskHuman, Flow, ModelSettings, adrive, drive
from mlb_env.errors import AgentFailed, UserError
from mlb_env.llm.endpoint import ModelEdge
from mlb_env.spec.action import Action, Briefing, Message, Observation
from mlb_env.spec.trajectory import Usage
from tests.openai_server import OpenAIServer, calls, error, raw, text

TOOL = {
    "type": "function",
    "function": {
        "name": "wait",
        "description": "Let some minutes pass.",
        "parameters": {"type": "object", "properties": {"minutes": {"type": "integer"}}, "required": ["minutes"]},
    },
}


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in [n for n in os.environ if n.startswith(("OPENAI_", "LANGSMITH_")) or n.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    yield


def briefing(*, tools: tuple[dict[str, Any], ...] = (TOOL,), lang: Any = "en") -> Briefing:
    return Briefing(
        task="Be a doctor.",
        policy="Propose only.",
        tools=tools,
        lang=lang,
        dimension="SmartCare",
        dataset="MADiagnosis",
        max_turns=9,
    )


def saw(*said: str, results: tuple[tuple[str, str], ...] = ()) -> Observation:
    """An observation: tool results (call id, text), then words."""
    tools = [Message(role="tool", content=t, speaker="tool", turn=1, tool_call_id=i, name="wait") for i, t in results]
    return Observation(messages=(*tools, *(Message(role="user", content=s, speaker="patient", turn=1) for s in said)))


def _drive(flow: Flow[Action], ask: Callable[[AskHuman], str] | None = None) -> Action:
    with ModelEdge(ask=ask) as edge:
        return drive(flow, edge)


def _adrive(flow: Flow[Action], ask: Callable[[AskHuman], str] | None = None) -> Action:
    async def go() -> Action:
        async with ModelEdge(ask=ask) as edge:
            return await adrive(flow, edge)

    return asyncio.run(go())


Play = Callable[..., Action]


@pytest.fixture(params=[_drive, _adrive], ids=["sync", "async"])
def play(request: pytest.FixtureRequest) -> Play:
    way: Play = request.param
    return way


def agent(name: str, url: str | None = None, *, seed: int = 1, **settings: Any) -> Any:
    model = ModelSettings(model="m", base_url=url, retries=0, timeout_s=5, **settings) if url else None
    return load_agent(name, content=content_root())(AgentContext(name, "en", Random(seed), model=model))


# --- chat -----------------------------------------------------------------------------------------------------------


def test_a_dialogue_grows_by_what_is_new(play: Play) -> None:
    with OpenAIServer(calls(("wait", {"minutes": 5}, "a1"), content="One moment."), text("Where does it hurt?")) as server:
        doctor = agent("chat", server.url)
        doctor.reset(briefing())
        first = play(doctor.act(saw("A pale man.", "My chest hurts.")))
        second = play(doctor.act(saw("It still hurts.", results=(("a1", "5 minutes have passed."),))))
    assert (first.content, [(c.name, c.arguments, c.id) for c in first.tool_calls]) == (
        "One moment.", [("wait", '{"minutes": 5}', "a1")],
    )  # fmt: skip
    assert second == Action(content="Where does it hurt?")
    assert server.requests[0].body["tools"] == [TOOL]
    assert server.requests[1].body["messages"] == [
        {"role": "system", "content": "Be a doctor.\n\nPropose only."},
        {"role": "user", "content": "A pale man.\nMy chest hurts."},
        first.to_message(),
        {"role": "tool", "tool_call_id": "a1", "content": "5 minutes have passed."},
        {"role": "user", "content": "It still hurts."},
    ]


def test_a_task_without_tools_sends_none(play: Play) -> None:
    with OpenAIServer(text("B")) as server:
        doctor = agent("chat", server.url)
        doctor.reset(briefing(tools=()))
        assert play(doctor.act(saw("Which? A, B, C"))) == Action(content="B")
    assert "tools" not in server.requests[0].body


def test_calls_without_an_id_of_their_own_get_one(play: Play) -> None:
    one, twice = ("wait", {"minutes": 1}, None), ("wait", {"minutes": 2}, "x")
    with OpenAIServer(calls(one, twice, twice), calls(one, twice)) as server:
        doctor = agent("chat", server.url)
        doctor.reset(briefing())
        ids = [[c.id for c in play(doctor.act(saw("..."))).tool_calls] for _ in range(2)]
    assert ids == [["call_1", "x", "call_2"], ["call_4", "call_5"]]  # a used "x" would name two calls


def test_the_seed_is_drawn_once_per_episode_and_follows_the_agents_own(play: Play) -> None:
    with OpenAIServer(forever=lambda _: text("ok")) as server:
        for seed in (1, 1, 2):
            doctor = agent("chat", server.url, seed=seed)
            doctor.reset(briefing())
            play(doctor.act(saw("a")))
            play(doctor.act(saw("b")))
    seeds = [r.body["seed"] for r in server.requests]
    assert seeds[0] == seeds[1] == seeds[2] == seeds[3] != seeds[4] == seeds[5]
    assert all(0 <= s < 2**31 for s in seeds)


def test_usage_is_summed_over_the_episode_and_starts_anew_with_the_next(play: Play) -> None:
    with OpenAIServer(forever=lambda _: text("ok")) as server:
        doctor = agent("chat", server.url)
        doctor.reset(briefing())
        for _ in range(3):
            play(doctor.act(saw("a")))
        assert doctor.usage == Usage(calls=3, prompt_tokens=30, completion_tokens=15)
        doctor.reset(briefing())
        assert doctor.usage == Usage()


def test_thinking_is_neither_said_nor_sent_back(play: Play) -> None:
    with OpenAIServer(text("<think>angina?</think>Where?"), text("ok")) as server:
        doctor = agent("chat", server.url)
        doctor.reset(briefing())
        assert play(doctor.act(saw("a"))) == Action(content="Where?")
        play(doctor.act(saw("b")))
    assert "angina" not in json.dumps(server.requests[1].body)


def test_cut_arguments_reach_the_episode_as_they_came_and_the_server_as_json(play: Play) -> None:
    with OpenAIServer(calls(("wait", '{"minutes": ', "a1"), finish_reason="length"), text("ok")) as server:
        doctor = agent("chat", server.url)
        doctor.reset(briefing())
        assert play(doctor.act(saw("a"))).tool_calls[0].arguments == '{"minutes": '
        play(doctor.act(saw(results=(("a1", "malformed"),))))
    sent = server.requests[1].body["messages"][2]["tool_calls"][0]["function"]["arguments"]
    assert json.loads(sent) == {"malformed": '{"minutes": '}


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (error(500), "failed in one attempt (500)"),
        (error(400, "too long", code="context_length_exceeded"), "longer than its context"),
        (raw("<html>"), "is not JSON"),
    ],
)
def test_a_model_that_fails_fails_the_agent_with_the_reason(play: Play, fault: Any, reason: str) -> None:
    with OpenAIServer(fault) as server:
        doctor = agent("chat", server.url)
        doctor.reset(briefing())
        with pytest.raises(AgentFailed) as failed:
            play(doctor.act(saw("a")))
    assert reason in str(failed.value)
    assert doctor.usage == Usage()


@pytest.mark.parametrize("name", ["chat", "langgraph"])
def test_an_agent_without_a_model_says_what_to_give(name: str) -> None:
    with pytest.raises(UserError, match=rf"agent '{name}' needs a model: give --model NAME \(and --base-url"):
        agent(name)


# --- human ----------------------------------------------------------------------------------------------------------


class Keyboard:
    """Types the lines given and keeps what was shown."""

    def __init__(self, *lines: str) -> None:
        self._lines = iter(lines)
        self.shown: list[str] = []

    def __call__(self, question: AskHuman) -> str:
        self.shown.append(question.shown + question.prompt)
        try:
            return next(self._lines)
        except StopIteration:
            raise EOFError from None


def test_a_person_reads_the_task_once_and_speaks(play: Play) -> None:
    person, keyboard = agent("human"), Keyboard("Where?", "  Since when?")
    person.reset(briefing())
    assert play(person.act(saw("It hurts.")), keyboard) == Action(content="Where?")
    assert play(person.act(saw("Here.")), keyboard) == Action(content="Since when?")
    assert keyboard.shown[0].startswith("Be a doctor.\n\nPropose only.\n\n") and keyboard.shown[0].endswith("It hurts.you> ")
    assert keyboard.shown[1] == "Here.you> "


def test_a_person_calls_a_tool(play: Play) -> None:
    person, keyboard = agent("human"), Keyboard('/wait {"minutes": 5}')
    person.reset(briefing())
    (call,) = play(person.act(saw("a")), keyboard).tool_calls
    assert (call.name, call.arguments) == ("wait", '{"minutes": 5}')


def test_a_person_is_helped_and_asked_again(play: Play) -> None:
    keyboard = Keyboard("", "/help", "/tools", "/nothing", "/wait {", "/wait [1]", "//wait is a word")
    person = agent("human")
    person.reset(briefing())
    assert play(person.act(saw("a")), keyboard) == Action(content="/wait is a word")
    _, empty, helped, tools, unknown, broken, no_object = keyboard.shown
    assert empty.startswith("Say something, or type /help.")
    assert helped.startswith("Type to speak.")
    assert tools == "/wait {minutes}  Let some minutes pass.you> "
    assert unknown.startswith("There is no tool nothing; /tools lists them all.")
    assert "have to be a JSON object" in broken and "have to be a JSON object" in no_object


def test_a_person_is_helped_in_the_language_of_the_task(play: Play) -> None:
    person, keyboard = agent("human"), Keyboard("/tools", "B")
    person.reset(briefing(tools=(), lang="zh"))
    assert play(person.act(saw("选哪个？")), keyboard) == Action(content="B")
    assert keyboard.shown[1] == "这个任务没有工具，直接回答即可。你> "


def test_input_that_ends_fails_the_agent(play: Play) -> None:
    person = agent("human")
    person.reset(briefing())
    with pytest.raises(AgentFailed, match="the input has ended"):
        play(person.act(saw("a")), Keyboard())
