"""The model edge against a real HTTP server: what is sent, what is read, and what every fault of the wire becomes."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mlb_env.effects import AskHuman, ChatReply, ChatRequest, Edge, Effect, Failure, HumanReply, ModelSettings, Reply
from mlb_env.errors import UserError
from mlb_env.llm import wire
from mlb_env.llm.endpoint import ModelEdge
from tests.openai_server import Behaviour, OpenAIServer, calls, completion, drop, error, hang, raw, text

KEY = "sk-very-secret-0123456789"
TOOL = {"type": "function", "function": {"name": "wait", "parameters": {"type": "object", "properties": {}}}}


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in [n for n in os.environ if n.startswith(("OPENAI_", "LANGSMITH_")) or n.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    yield


def _sync(*effects: Effect, ask: Callable[[AskHuman], str] | None = None) -> tuple[Reply, ...]:
    with ModelEdge(ask=ask) as edge:
        return edge.perform(effects)


def _async(*effects: Effect, ask: Callable[[AskHuman], str] | None = None) -> tuple[Reply, ...]:
    async def go() -> tuple[Reply, ...]:
        async with ModelEdge(ask=ask) as edge:
            return await edge.aperform(effects)

    return asyncio.run(go())


@pytest.fixture(params=[_sync, _async], ids=["sync", "async"])
def perform(request: pytest.FixtureRequest) -> Callable[..., tuple[Reply, ...]]:
    """Both ways of carrying effects out: every behaviour below holds for both."""
    way: Callable[..., tuple[Reply, ...]] = request.param
    return way


Perform = Callable[..., tuple[Reply, ...]]


def chat(url: str | None, *, retries: int = 0, timeout_s: float = 5.0, seed: int | None = None,
         messages: tuple[dict[str, Any], ...] = ({"role": "user", "content": "你好"},), tools: tuple[dict[str, Any], ...] = (),
         **settings: Any) -> ChatRequest:  # fmt: skip
    made = ModelSettings(model="m", base_url=url, retries=retries, timeout_s=timeout_s, **settings)
    return ChatRequest("agent", made, messages, tools, seed)


def answer(perform: Perform, *script: Behaviour, **request: Any) -> Reply:
    with OpenAIServer(*script) as server:
        return perform(chat(server.url, **request))[0]


def reply(perform: Perform, *script: Behaviour, **request: Any) -> ChatReply:
    got = answer(perform, *script, **request)
    assert isinstance(got, ChatReply), got
    return got


def failure(perform: Perform, *script: Behaviour, **request: Any) -> str:
    got = answer(perform, *script, **request)
    assert isinstance(got, Failure), got
    assert KEY not in got.reason and "\n" not in got.reason
    assert "the agent's model 'm' at 127.0.0.1:" in got.reason
    return got.reason


# --- what is sent ---------------------------------------------------------------------------------------------------


def test_a_request_sends_what_is_set_and_nothing_else(perform: Perform) -> None:
    with OpenAIServer(text("a"), text("b")) as server:
        perform(chat(server.url, max_tokens=None))
        perform(
            chat(server.url, max_tokens=7, temperature=0.5, seed=11, tools=(TOOL,), extra_body={"top_k": 1, "temperature": 0.1})
        )
    bare, full = server.requests
    assert bare.path == "/v1/chat/completions"
    assert bare.headers["authorization"] == f"Bearer {KEY}"
    assert bare.body == {"model": "m", "messages": [{"role": "user", "content": "你好"}]}
    assert full.body == {
        "model": "m", "messages": [{"role": "user", "content": "你好"}], "tools": [TOOL],
        "max_tokens": 7, "temperature": 0.1, "seed": 11, "top_k": 1,
    }  # fmt: skip


def test_content_beside_tool_calls_is_empty_text_not_null(perform: Perform) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "wait", "arguments": "{}"}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    with OpenAIServer(text("a")) as server:
        perform(chat(server.url, messages=(message,)))
    assert server.requests[0].body["messages"] == [{"role": "assistant", "content": "", "tool_calls": [call]}]
    assert message["content"] is None  # the caller's own message is left as it is


def test_openai_itself_is_sent_max_completion_tokens() -> None:
    request = chat(None, max_tokens=9)
    assert wire.body(request, "api.openai.com")["max_completion_tokens"] == 9
    assert "max_tokens" not in wire.body(request, "api.openai.com")


def test_replies_come_in_the_order_of_the_effects(perform: Perform) -> None:
    def echo(request: Any) -> Behaviour:
        said = request.body["messages"][0]["content"]
        return Behaviour(text(said).payload, wait_s=0.15 if said == "0" else 0.0)

    with OpenAIServer(forever=echo) as server:
        asked = [chat(server.url, messages=({"role": "user", "content": str(i)},)) for i in range(5)]
        got = perform(asked[0], AskHuman("agent", "", ""), *asked[1:], ask=lambda _: "human")
    assert [r.content if isinstance(r, ChatReply) else r for r in got] == ["0", HumanReply("human"), "1", "2", "3", "4"]


def test_asynchronous_effects_overlap() -> None:
    with OpenAIServer(forever=lambda _: Behaviour(text("ok").payload, wait_s=0.3)) as server:
        asked = [chat(server.url) for _ in range(20)]
        started = time.monotonic()
        assert all(isinstance(r, ChatReply) for r in _async(*asked))
    assert time.monotonic() - started < 3.0  # one after the other they would take six


def test_an_edge_serves_many_event_loops_and_both_ways_and_lives_on_after_a_close() -> None:
    with OpenAIServer(forever=lambda _: text("ok")) as server:
        edge = ModelEdge()

        async def once() -> Reply:
            try:
                return (await edge.aperform((chat(server.url),)))[0]
            finally:
                await edge.aclose()

        assert [type(asyncio.run(once())) for _ in range(2)] == [ChatReply, ChatReply]
        assert isinstance(edge.perform((chat(server.url),))[0], ChatReply)
        edge.close()
        assert isinstance(edge.perform((chat(server.url),))[0], ChatReply)
        edge.close()


def test_connections_are_reused() -> None:
    with OpenAIServer(forever=lambda _: text("ok")) as server, ModelEdge() as edge:
        edge.perform((chat(server.url),))
        (client,) = edge._clients.values()
        edge.perform((chat(server.url, temperature=1.0, timeout_s=9),))
        assert list(edge._clients.values()) == [client]


# --- what is read ---------------------------------------------------------------------------------------------------


def test_a_text_reply(perform: Perform) -> None:
    assert reply(perform, text("早上好")) == ChatReply(content="早上好", prompt_tokens=10, completion_tokens=5)


def test_tool_calls_keep_their_ids_and_arguments(perform: Perform) -> None:
    got = reply(perform, calls(("wait", {"minutes": 5}, "a1"), ("list_slots", '{"department": "心内科"}', None)), tools=(TOOL,))
    assert [(c.name, c.arguments, c.id) for c in got.tool_calls] == [
        ("wait", '{"minutes": 5}', "a1"), ("list_slots", '{"department": "心内科"}', ""),
    ]  # fmt: skip
    assert (got.content, got.finish_reason) == ("", "tool_calls")


def test_cut_arguments_come_as_they_are(perform: Perform) -> None:
    got = reply(perform, calls(("wait", '{"minutes": ', "a1"), finish_reason="length"))
    assert (got.tool_calls[0].arguments, got.finish_reason) == ('{"minutes": ', "length")


def test_arguments_as_an_object_or_missing_are_read(perform: Perform) -> None:
    functions = [{"name": "wait", "arguments": {"minutes": 5}}, {"name": "wait"}]
    got = reply(perform, completion({"content": None, "tool_calls": [{"function": f} for f in functions]}))
    assert [c.arguments for c in got.tool_calls] == ['{"minutes": 5}', "{}"]


@pytest.mark.parametrize(
    ("content", "thinking", "speech"),
    [
        ("<think>pain?</think>\n\nWhere?", "pain?", "Where?"),
        ("\n<think>a</think><think>b</think>Hello", "a\nb", "Hello"),
        ("<think>never ends", "never ends", ""),
        ("<think></think>Hello", "", "Hello"),
        ("thoughts\n</think>\nHello", "thoughts", "Hello"),
        ("I say <think>this</think>.", "", "I say <think>this</think>."),
        ("  plain  ", "", "  plain  "),
    ],
)
def test_thinking_is_kept_apart(content: str, thinking: str, speech: str) -> None:
    got = reply(_sync, text(content))
    assert (got.thinking, got.content) == (thinking, speech)


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_reasoning_fields_are_thinking(perform: Perform, field: str) -> None:
    got = reply(perform, text("Where?", **{field: "pain?"}))
    assert (got.thinking, got.content) == ("pain?", "Where?")


def test_content_in_parts_is_read(perform: Perform) -> None:
    parts = [{"type": "text", "text": "Where "}, {"type": "text", "text": "exactly?"}]
    assert reply(perform, completion({"content": parts})).content == "Where exactly?"


def test_a_refusal_is_content_and_refusal(perform: Perform) -> None:
    got = reply(perform, completion({"content": None, "refusal": "I can't help with that."}))
    assert got.content == got.refusal == "I can't help with that."


def test_a_filtered_reply_is_empty_and_says_why(perform: Perform) -> None:
    got = reply(perform, completion({"content": None}, finish_reason="content_filter"))
    assert (got.content, got.finish_reason) == ("", "content_filter")


def test_a_message_with_nothing_in_it_is_an_empty_reply(perform: Perform) -> None:
    assert reply(perform, completion({})).content == ""


@pytest.mark.parametrize("usage", [{}, {"prompt_tokens": None, "completion_tokens": "5"}])
def test_usage_that_is_not_reported_is_none(usage: dict[str, Any]) -> None:
    got = reply(_sync, completion({"content": "a"}, usage=usage))
    assert (got.prompt_tokens, got.completion_tokens) == (None, None)


def test_json_under_another_content_type_is_read(perform: Perform) -> None:
    answer = text("ok")
    assert reply(perform, Behaviour(answer.payload, content_type="text/plain")).content == "ok"


def test_half_characters_become_the_replacement_character(perform: Perform) -> None:
    got = reply(perform, calls(("wait", '"\ud83d"', "a\ud83d"), content="\ud83d!"))
    assert got.content == "\ufffd!"
    assert got.tool_calls[0].arguments == '"\ufffd"'
    json.dumps([got.content, got.tool_calls[0].id], ensure_ascii=False).encode()


# --- retries --------------------------------------------------------------------------------------------------------


def test_a_rate_limit_is_waited_out_as_long_as_the_server_says(perform: Perform) -> None:
    started = time.monotonic()
    limited = error(429, "slow down", headers={"Retry-After": "0.2"})
    assert reply(perform, limited, text("ok"), retries=1).content == "ok"
    assert 0.2 <= time.monotonic() - started < 3


@pytest.mark.parametrize("first", [error(500), error(503), error(408), error(409), drop()])
def test_what_may_pass_is_tried_again(first: Behaviour) -> None:
    assert reply(_sync, first, text("ok"), retries=1).content == "ok"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_what_will_not_pass_is_not_tried_again(status: int) -> None:
    failure(_sync, error(status), text("ok"), retries=1)


def test_a_timeout_is_tried_again(perform: Perform) -> None:
    assert reply(perform, hang(), text("ok"), retries=1, timeout_s=0.3).content == "ok"


# --- failures -------------------------------------------------------------------------------------------------------


def test_a_refused_connection_is_a_failure(perform: Perform) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (got,) = perform(chat(f"http://127.0.0.1:{port}/v1"))
    assert isinstance(got, Failure)
    assert f"the agent's model 'm' at 127.0.0.1:{port} could not be reached in one attempt: " in got.reason


def test_a_dropped_connection_is_a_failure(perform: Perform) -> None:
    assert "could not be reached" in failure(perform, drop())


def test_a_hanging_endpoint_is_a_failure(perform: Perform) -> None:
    started = time.monotonic()
    assert "did not answer within 0.2 s in one attempt" in failure(perform, hang(), timeout_s=0.2)
    assert time.monotonic() - started < 3


def test_an_endless_trickle_is_given_up_where_effects_overlap(monkeypatch: pytest.MonkeyPatch) -> None:
    """A timeout of the package counts silence only; a server that sends a blank now and then would hold an episode forever."""
    monkeypatch.setattr("mlb_env.llm.endpoint._GRACE_S", 0.1)

    async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n")
        try:
            while True:
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.05)
        except ConnectionError:
            writer.close()

    async def go() -> Reply:
        server = await asyncio.start_server(trickle, "127.0.0.1", 0)
        async with ModelEdge() as edge:
            port = server.sockets[0].getsockname()[1]
            got = (await edge.aperform((chat(f"http://127.0.0.1:{port}/v1", timeout_s=0.3),)))[0]
        await asyncio.sleep(0.2)  # the server notices
        server.close()
        return got

    got = asyncio.run(go())
    assert isinstance(got, Failure) and "did not answer within 0.3 s" in got.reason


def test_a_rate_limit_that_stays_is_a_failure(perform: Perform) -> None:
    limited = error(429, "quota exceeded", headers={"Retry-After": "0.05"})
    assert "was over its rate limit or quota after 2 attempts (429): quota exceeded" in failure(
        perform, limited, limited, retries=1
    )


def test_a_server_error_is_a_failure(perform: Perform) -> None:
    assert "failed in one attempt (500): it broke" in failure(perform, error(500))


def test_the_page_of_a_broken_gateway_is_left_out(perform: Perform) -> None:
    page = raw("<html><body>502 Bad Gateway</body></html>", status=502, content_type="text/html")
    assert failure(perform, page).endswith("failed in one attempt (502)")


def test_a_refused_key_is_named_by_its_variable_and_never_shown(perform: Perform) -> None:
    reason = failure(perform, error(401, f"Incorrect API key provided: {KEY[:8]}...{KEY[-4:]}"))
    assert reason.endswith("refused the key in OPENAI_API_KEY (401)")


def test_a_key_in_a_servers_words_is_taken_out(perform: Perform) -> None:
    assert "(403): [key] may not use this" in failure(perform, error(403, f"{KEY} may not use this"))


def test_an_unknown_model_is_a_failure(perform: Perform) -> None:
    assert "was not found (404); check the model's name and the base URL: no such model" in failure(
        perform, error(404, "no such model")
    )


@pytest.mark.parametrize(
    "overflow",
    [
        error(400, "This model's maximum context length is 8192 tokens.", code="context_length_exceeded"),
        error(400, "request (9000 tokens) exceeds the available context size (4096 tokens)", type="exceed_context_size_error"),
        error(400, "prompt is too long: 210000 tokens > 200000 maximum"),
        raw('{"object":"error","message":"maximum context length is 4096 tokens"}', status=400),
    ],
)
def test_a_context_overflow_says_so(overflow: Behaviour) -> None:
    assert "was given a conversation longer than its context (400)" in failure(_sync, overflow)


def test_another_bad_request_is_quoted(perform: Perform) -> None:
    assert "refused the request (400): tools are not supported" in failure(perform, error(400, "tools are not supported"))


@pytest.mark.parametrize(
    "odd",
    [
        raw("<html>login</html>", content_type="text/html"),
        raw("<html>login</html>"),
        raw('{"choices": [{"mess'),
        raw(""),
        raw("[" * 100_000),
        raw("[]"),
        raw("null"),
    ],
)
def test_an_answer_that_is_no_completion_is_a_failure(odd: Behaviour) -> None:
    assert "is not JSON; check that the base URL" in failure(_sync, odd)


@pytest.mark.parametrize(
    ("odd", "reason"),
    [
        (raw('{"choices": []}'), "answered without choices"),
        (raw("{}"), "answered without choices"),
        (raw('{"error": {"message": "upstream is down"}}'), "answered with an error: upstream is down"),
        (raw('{"choices": [{"finish_reason": "stop"}]}'), "holds no message"),
        (raw('{"choices": [{"message": {"tool_calls": [{"id": "1"}]}}]}'), "not in OpenAI's form"),
    ],
)
def test_a_completion_with_nothing_to_read_is_a_failure(odd: Behaviour, reason: str) -> None:
    assert reason in failure(_sync, odd)


def test_a_request_that_is_no_json_is_a_failure(perform: Perform) -> None:
    assert "cannot be written as JSON" in failure(perform, extra_body={"when": object()})


def test_one_failure_leaves_the_other_replies_alone(perform: Perform) -> None:
    with OpenAIServer(forever=lambda r: error(500) if r.body["model"] == "bad" else text("ok")) as server:
        bad = ChatRequest("judge", ModelSettings(model="bad", base_url=server.url, retries=0), ())
        got = perform(chat(server.url), bad, chat(server.url))
    assert [type(r) for r in got] == [ChatReply, Failure, ChatReply]
    assert "the judge's model 'bad'" in str(got[1])


# --- keys and addresses ---------------------------------------------------------------------------------------------


def test_the_default_endpoint_needs_a_key(perform: Perform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    expected = "the environment variable OPENAI_API_KEY is not set; set it, or name another with --key-variable"
    with pytest.raises(UserError, match=expected):
        ModelEdge.check(ModelSettings(model="m"))
    assert perform(chat(None)) == (Failure(expected),)


def test_an_endpoint_of_ones_own_needs_no_key(perform: Perform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    with OpenAIServer(text("ok")) as server:
        ModelEdge.check(ModelSettings(model="m", base_url=server.url))
        assert isinstance(perform(chat(server.url))[0], ChatReply)
    assert server.requests[0].headers["authorization"] == "Bearer none"


def test_another_key_variable_is_used(perform: Perform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTHER_KEY", "sk-other\n")
    with OpenAIServer(text("ok")) as server:
        perform(chat(server.url, key_variable="OTHER_KEY"))
    assert server.requests[0].headers["authorization"] == "Bearer sk-other"


def test_a_key_that_cannot_be_one_is_refused_without_showing_it(perform: Perform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-密钥")
    (got,) = perform(chat(None))
    assert isinstance(got, Failure) and "holds characters that no key has" in got.reason and "sk-" not in got.reason


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://x/v1", "http://", "http://host:port/v1", ""])
def test_an_address_that_is_none_is_refused(perform: Perform, url: str) -> None:
    with pytest.raises(UserError, match="is no address; give one like"):
        ModelEdge.check(ModelSettings(model="m", base_url=url))
    assert isinstance(perform(chat(url))[0], Failure)


def test_a_password_in_the_address_is_not_shown() -> None:
    assert wire.host_of("http://user:pass@host:81/v1") == "host:81"


# --- the person -----------------------------------------------------------------------------------------------------


def test_a_person_is_asked(perform: Perform) -> None:
    asked: list[AskHuman] = []

    def ask(question: AskHuman) -> str:
        asked.append(question)
        return "Where does it hurt?"

    question = AskHuman("agent", "Doctor, my chest...", "you> ")
    assert perform(question, ask=ask) == (HumanReply("Where does it hurt?"),)
    assert asked == [question]


def test_nobody_to_ask_and_input_that_ended_are_failures(perform: Perform) -> None:
    def ended(_: AskHuman) -> str:
        raise EOFError

    question = AskHuman("agent", "", "")
    assert perform(question) == (Failure("the agent is a person, and nobody can be asked in this session"),)
    assert perform(question, ask=ended) == (Failure("the agent is a person, and the input has ended"),)


def test_the_edge_is_an_edge() -> None:
    edge: Edge = ModelEdge()
    assert edge.perform(()) == ()
