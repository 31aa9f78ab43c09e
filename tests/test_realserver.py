"""The edge and the agents against a third-party server: llama.cpp's own, from the package xllamacpp, with a local model.

    pip install xllamacpp && python -m pytest -n 0 -m realserver tests/test_realserver.py

The model is tests/tinymodel/tiny.gguf (0.2 million weights, made by tests/tinymodel/make.py): it calls the tool `wait` when the last
message says so, asks questions, and concludes. MLB_GGUF names another one. Skipped, saying so, where the package is missing.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

import mlb_env
from mlb_env.agent import AgentContext, load_agent
from mlb_env.catalog.load import content_root
from mlb_env.effects import ChatReply, ChatRequest, Failure, ModelSettings, drive
from mlb_env.llm.endpoint import ModelEdge
from mlb_env.spec.action import Action, Briefing, Message, Observation, ToolCall

GGUF = os.environ.get("MLB_GGUF") or str(Path(__file__).parent / "tinymodel" / "tiny.gguf")
pytestmark = [
    pytest.mark.realserver,
    pytest.mark.skipif(importlib.util.find_spec("xllamacpp") is None, reason="the package xllamacpp is not installed"),
    pytest.mark.skipif(not Path(GGUF).is_file(), reason=f"there is no model file {GGUF}"),
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
CONTEXT = 8192


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The base URL of a llama.cpp server with the model of MLB_GGUF."""
    import xllamacpp  # type: ignore[import-not-found,unused-ignore]

    params = xllamacpp.CommonParams()
    params.model.path = GGUF
    params.n_ctx, params.n_parallel, params.port, params.use_jinja, params.warmup = CONTEXT, 1, 0, True, False
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    server = xllamacpp.Server(params)
    yield f"{server.listening_address}/v1"
    del server


def settings(url: str, **more: Any) -> ModelSettings:
    return ModelSettings(model="local", base_url=url, key_variable="MLB_NO_KEY", retries=0, **({"max_tokens": 64, "temperature": 0.0} | more))


def saw(said: str, *results: tuple[str, str]) -> Observation:
    tools = [Message(role="tool", content=t, speaker="tool", turn=1, tool_call_id=i, name="wait") for i, t in results]
    return Observation(messages=(*tools, Message(role="user", content=said, speaker="patient", turn=1)))


def answers(action: Action) -> list[tuple[str, str]]:
    return [(c.id, "5 minutes have passed.") for c in action.tool_calls]


def test_a_chat_is_answered_and_counted(url: str) -> None:
    request = ChatRequest("agent", settings(url, max_tokens=16), ({"role": "user", "content": "Hello"},), seed=1)
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


# --- what the model itself produces -------------------------------------------------------------------------------------


def asked_to_wait() -> tuple[dict[str, Any], ...]:
    return ({"role": "system", "content": "Be a doctor."}, {"role": "user", "content": "It hurts."},
            {"role": "assistant", "content": "Where does it hurt?"}, {"role": "user", "content": "please wait a minute"})  # fmt: skip


def test_a_tool_call_is_produced_and_parsed(url: str) -> None:
    with ModelEdge() as edge:
        (reply,) = edge.perform((ChatRequest("agent", settings(url), asked_to_wait(), (TOOL,), 1),))
    assert isinstance(reply, ChatReply), reply
    assert [c.name for c in reply.tool_calls] == ["wait"] and reply.finish_reason == "tool_calls"
    assert json.loads(reply.tool_calls[0].arguments) == {"minutes": 5}


def test_a_tools_result_is_answered_in_words(url: str) -> None:
    from mlb_env.llm.conversation import remembered

    call = ToolCall(name="wait", arguments='{"minutes": 5}', id="call_1")
    messages = (*asked_to_wait(), remembered(Action(content="", tool_calls=(call,))),
                {"role": "tool", "tool_call_id": "call_1", "content": "5 minutes have passed."})  # fmt: skip
    with ModelEdge() as edge:
        (reply,) = edge.perform((ChatRequest("agent", settings(url), messages, (TOOL,), 1),))
    assert isinstance(reply, ChatReply), reply
    assert reply.content.strip() and not reply.tool_calls


def test_the_same_seed_gives_the_same_words(url: str) -> None:
    request = ChatRequest("agent", settings(url, temperature=1.0), ({"role": "user", "content": "It hurts."},), seed=5)
    with ModelEdge() as edge:
        first, again = edge.perform((request,))[0], edge.perform((request,))[0]
    assert isinstance(first, ChatReply) and isinstance(again, ChatReply) and first.content == again.content


def test_sixteen_at_once_are_all_answered(url: str) -> None:
    async def go() -> Any:
        async with ModelEdge() as edge:
            requests = tuple(ChatRequest("agent", settings(url), ({"role": "user", "content": f"It hurts {i}."},), seed=i) for i in range(16))
            return await edge.aperform(requests)

    assert all(isinstance(reply, ChatReply) for reply in asyncio.run(go()))


def test_a_server_that_is_gone_is_one_sentence() -> None:
    with ModelEdge() as edge:
        (reply,) = edge.perform((ChatRequest("agent", settings("http://127.0.0.1:9/v1"), ({"role": "user", "content": "Hello"},)),))
    assert isinstance(reply, Failure) and "127.0.0.1:9" in reply.reason and "Traceback" not in reply.reason


# --- whole episodes -----------------------------------------------------------------------------------------------------

EPISODES = ["maguidance-p06", "madiagnosis-p04", "mainspection-p01", "maknowledge-p03"]


@pytest.mark.parametrize("agent", ["chat", "langgraph"])
@pytest.mark.parametrize("lang", ["zh", "en"])
def test_an_agent_plays_whole_episodes_with_tools_to_their_conclusion(url: str, tmp_path: Path, agent: str, lang: Any) -> None:
    result = mlb_env.run(agent, out=tmp_path / "run", lang=lang, scenario=EPISODES, concurrency=2, max_turns=8,
                         model={"model": "tiny", "base_url": url, "temperature": 0.0, "max_tokens": 64, "retries": 0, "timeout_s": 60})  # fmt: skip
    played = list(result.trajectories())
    assert result.summary.coverage == 1.0 and not any(t.failure for t in played)
    assert sum(t.stop_reason == "concluded" for t in played) >= 2
    assert sum(len(t.tools) for t in played) >= 2 and all(t.usage["agent"].calls == t.turns for t in played)


@pytest.mark.parametrize("agent", ["chat", "langgraph"])
def test_arguments_cut_by_the_token_limit_are_a_correctable_error(url: str, tmp_path: Path, agent: str) -> None:
    """With few tokens llama.cpp hands out tool calls whose arguments end in the middle."""
    result = mlb_env.run(agent, out=tmp_path / "run", lang="en", scenario=EPISODES, max_turns=6,
                         model={"model": "tiny", "base_url": url, "temperature": 0.0, "max_tokens": 14, "retries": 0, "timeout_s": 60})  # fmt: skip
    played = list(result.trajectories())
    assert result.summary.coverage == 1.0 and sum(t.malformed for t in played) > 0


def test_a_patient_worded_by_it_is_guarded(url: str, tmp_path: Path) -> None:
    """A model this small says nothing faithful: the offline wording stands, and the episode is sound."""
    result = mlb_env.run("oracle", out=tmp_path / "run", lang="en", scenario=["maguidance-p01"], patient="llm:tiny",
                         patient_model={"model": "tiny", "base_url": url, "max_tokens": 32, "retries": 0, "timeout_s": 60})  # fmt: skip
    assert result.summary.overall.score == pytest.approx(1.0)
    assert result.summary.patients is not None and result.summary.patients.fallbacks > 0
