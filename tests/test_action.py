"""Actions and observations: plain speech or JSON, and OpenAI messages, without loss."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlb_env.spec.action import Action, Message, Observation, ToolCall


@pytest.mark.parametrize(
    "text",
    ["您好，哪里不舒服？", "", "  spaces kept  ", '{"症状": ["发热"]}', "[1, 2]", "{not json", '{"answer": "A"}', "A\nB", "😷"],
)
def test_any_other_text_is_plain_speech(text: str) -> None:
    assert Action.from_text(text) == Action(content=text)


def test_a_json_object_with_tool_calls_is_read() -> None:
    action = Action.from_text('{"content": "hi", "tool_calls": [{"name": "examine", "arguments": {"region": "heart"}}]}')
    assert action.content == "hi" and json.loads(action.tool_calls[0].arguments) == {"region": "heart"}


@pytest.mark.parametrize(
    "text", ['{"tool_calls": [}', '{"tool_calls": "x"}', '{"tool_calls": [{"arguments": {}}]}', '{"content": 5, "tool_calls": []}']
)
def test_a_broken_action_says_what_is_wrong(text: str) -> None:
    assert Action.from_text(text).error


names = st.text(min_size=1, max_size=20)
calls = st.lists(
    st.builds(ToolCall, name=names, id=st.text(max_size=8), arguments=st.one_of(st.text(max_size=30), st.just('{"a": [1, "二"]}'))),
    max_size=3,
).map(tuple)


@given(st.text(max_size=60), calls)
def test_openai_messages_round_trip(content: str, tool_calls: tuple[ToolCall, ...]) -> None:
    action = Action(content=content, tool_calls=tool_calls)
    assert Action.from_message(action.to_message()) == action
    assert Action.from_message(json.loads(json.dumps(action.to_message()))) == action


@given(st.text(max_size=60), calls.filter(len))
def test_text_round_trips_where_there_are_tool_calls(content: str, tool_calls: tuple[ToolCall, ...]) -> None:
    action = Action(content=content, tool_calls=tool_calls)
    assert Action.from_text(action.to_text()) == action


def test_an_observation_becomes_tool_messages_and_one_user_message() -> None:
    observation = Observation(messages=(
        Message(role="tool", content="[]", speaker="tool", turn=1, tool_call_id="c1", name="search_records"),
        Message(role="user", content="Since this morning.", speaker="patient", turn=1),
    ))  # fmt: skip
    assert observation.to_openai() == [
        {"role": "tool", "tool_call_id": "c1", "content": "[]"}, {"role": "user", "content": "Since this morning."}
    ]  # fmt: skip
    assert observation.text == "[search_records] []\nSince this morning."
