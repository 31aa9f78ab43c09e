"""What every agent over a chat model does alike: the first message, reading a reply as an action, counting tokens."""

from __future__ import annotations

import json
from typing import Any

from ..effects import ChatReply, Failure, ModelSettings, Reply
from ..errors import AgentFailed, UserError
from ..spec.action import Action, Briefing, ToolCall
from ..spec.trajectory import Usage


def model_of(settings: ModelSettings | None, agent: str) -> ModelSettings:
    """The model settings of an agent that needs some.

    Raises:
        UserError: there are none.
    """
    if settings is None:
        raise UserError(f"agent '{agent}' needs a model: give --model NAME (and --base-url for another endpoint)")
    return settings


def opening(briefing: Briefing) -> list[dict[str, Any]]:
    """The system message: task and policy."""
    text = "\n\n".join(t for t in (briefing.task, briefing.policy) if t)
    return [{"role": "system", "content": text}] if text else []


def answered(reply: Reply) -> ChatReply:
    """The model's reply.

    Raises:
        AgentFailed: the model failed, its context overflowed included: nothing is cut silently, the episode stays ungraded.
    """
    if isinstance(reply, Failure):
        raise AgentFailed(reply.reason)
    if not isinstance(reply, ChatReply):
        raise AgentFailed("a chat request was answered by something that is no model")
    return reply


def action_of(reply: ChatReply, messages: list[dict[str, Any]]) -> Action:
    """The reply as an action. Tool calls without an id, or with one used before in `messages` or in this reply, are named
    `call_<n>`: tool results refer to their call by it."""
    used = {call["id"] for message in messages for call in message.get("tool_calls", ())}
    n, calls = len(used), []
    for call in reply.tool_calls:
        name = call.id
        while not name or name in used:
            n += 1
            name = f"call_{n}"
        used.add(name)
        calls.append(ToolCall(name=call.name, arguments=call.arguments, id=name))
    return Action(content=reply.content, tool_calls=tuple(calls))


def remembered(action: Action) -> dict[str, Any]:
    """The action as an assistant message of the history that is sent again.

    Servers refuse a history whose tool arguments are not a JSON object, and would fail the episode over a mistake of the
    model that the episode answers by itself: such arguments are sent as `{"malformed": <the text>}`.
    """
    message = action.to_message()
    for call in message.get("tool_calls", ()):
        if not _is_object(call["function"]["arguments"]):
            call["function"]["arguments"] = json.dumps({"malformed": call["function"]["arguments"]}, ensure_ascii=False)
    return message


def summed(usage: Usage, reply: ChatReply) -> Usage:
    """`usage` with one more reply."""
    return usage.plus(reply.prompt_tokens, reply.completion_tokens)


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False
