"""What an agent does in one turn, and what it sees next. Both convert to and from OpenAI chat messages without loss."""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import field_validator

from .base import Lang, Model
from .jsontext import BadJson, clean, parse_json


class ToolCall(Model):
    """One tool call. `arguments` is JSON text as it came, perhaps malformed: the episode answers it with an error."""

    name: str
    arguments: str = "{}"
    id: str = ""

    @field_validator("arguments", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        return clean(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))

    @field_validator("name", "id", mode="before")
    @classmethod
    def _writable(cls, value: Any) -> Any:
        return clean(value) if isinstance(value, str) else value

    @classmethod
    def of(cls, tool: str, /, **arguments: Any) -> ToolCall:
        """A tool call from keyword arguments."""
        return cls(name=tool, arguments=json.dumps(arguments, ensure_ascii=False))


class Action(Model):
    """Speech (`content`), tool calls, or both. `error`: why the text could not be read as an action."""

    content: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    error: str = ""

    @field_validator("content", "error", mode="before")
    @classmethod
    def _writable(cls, value: Any) -> Any:
        return clean(value) if isinstance(value, str) else value

    @classmethod
    def from_text(cls, text: str) -> Action:
        """Plain speech, or a JSON object `{"content": ..., "tool_calls": [{"name": ..., "arguments": {...}}]}`.

        Any other JSON (an extraction answer, say) is plain speech. An object that names `tool_calls` but cannot be read
        becomes an action with an `error`, which the episode answers.
        """
        stripped = text.strip()
        if not ((stripped.startswith("{") and '"tool_calls"' in stripped) or stripped.startswith('{"content"')):
            return cls(content=text)
        try:
            data = parse_json(stripped)
        except BadJson as error:
            return cls(content="", error=f"the action is not valid JSON: {error}")
        if not isinstance(data, dict) or not set(data) <= {"content", "tool_calls"}:
            return cls(content=text)
        calls = data.get("tool_calls") or []
        content = data.get("content") or ""
        good = isinstance(calls, list) and all(isinstance(c, dict) and isinstance(c.get("name"), str) for c in calls)
        if not good or not isinstance(content, str):
            return cls(error='an action is {"content": text, "tool_calls": [{"name": text, "arguments": object}]}')
        return cls(
            content=content,
            tool_calls=tuple(
                ToolCall(name=c["name"], arguments=c.get("arguments", {}), id=str(c.get("id") or "")) for c in calls
            ),
        )

    def to_text(self) -> str:
        """The inverse of `from_text`: plain speech where there are no tool calls."""
        if not self.tool_calls:
            return self.content
        calls = []
        for call in self.tool_calls:
            try:
                arguments = parse_json(call.arguments)
                if json.dumps(arguments, ensure_ascii=False) != call.arguments:
                    arguments = call.arguments  # keep the text as it came
            except BadJson:
                arguments = call.arguments
            calls.append({"name": call.name, "arguments": arguments} | ({"id": call.id} if call.id else {}))
        return json.dumps({"content": self.content, "tool_calls": calls}, ensure_ascii=False)

    @classmethod
    def from_message(cls, message: dict[str, Any]) -> Action:
        """From an OpenAI assistant message."""
        calls = message.get("tool_calls") or ()
        content = message.get("content") or ""
        if isinstance(content, list):  # OpenAI's list of parts: the text parts are what was said
            content = "".join(part.get("text", "") for part in content if part.get("type") == "text")
        return cls(
            content=content,
            tool_calls=tuple(
                ToolCall(name=c["function"]["name"], arguments=c["function"]["arguments"], id=c.get("id") or "") for c in calls
            ),
        )

    def to_message(self) -> dict[str, Any]:
        """As an OpenAI assistant message."""
        message: dict[str, Any] = {"role": "assistant", "content": self.content}
        if self.tool_calls:
            message["tool_calls"] = [
                {"id": c.id, "type": "function", "function": {"name": c.name, "arguments": c.arguments}} for c in self.tool_calls
            ]
        return message


Speaker = Literal["task", "patient", "scene", "agent", "tool", "system"]


class Message(Model):
    """One message of a dialogue. `turn` counts the agent's actions (0: before the first); `minute` is the episode clock."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str
    speaker: Speaker
    turn: int
    minute: int = 0
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    name: str | None = None

    def to_openai(self) -> dict[str, Any]:
        """As an OpenAI chat message."""
        if self.role == "assistant":
            return Action(content=self.content, tool_calls=self.tool_calls).to_message()
        if self.role == "tool":
            return {"role": "tool", "tool_call_id": self.tool_call_id or "", "content": self.content}
        return {"role": self.role, "content": self.content}


class Observation(Model):
    """What is new since the last action: the patient's words, what can be seen, tool results, notices."""

    messages: tuple[Message, ...]

    @property
    def text(self) -> str:
        """The observation as one text, as the Gymnasium face shows it."""
        lines = []
        for m in self.messages:
            lines.append(f"[{m.name}] {m.content}" if m.role == "tool" else m.content)
        return "\n".join(lines)

    def to_openai(self) -> list[dict[str, Any]]:
        """As OpenAI messages: tool results first, then one user message with the rest."""
        tools = [m.to_openai() for m in self.messages if m.role == "tool"]
        rest = "\n".join(m.content for m in self.messages if m.role != "tool")
        return tools + ([{"role": "user", "content": rest}] if rest or not tools else [])


class Briefing(Model):
    """What an agent is told before the first observation. Nothing here depends on the truth of the case."""

    task: str
    policy: str
    tools: tuple[dict[str, Any], ...]  # OpenAI function definitions
    lang: Lang
    dimension: str
    dataset: str
    max_turns: int
