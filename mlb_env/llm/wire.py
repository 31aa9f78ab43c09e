"""The OpenAI chat-completions wire format: what is sent, how an answer is read, and what a failure is called.

Nothing here touches the network. An answer is read as plain JSON, field by field: what an endpoint leaves out or gets wrong
becomes a `Failure` with its reason, never an exception and never an invented value. No reason ever holds a key.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from ..effects import ChatReply, ChatRequest, Failure, ModelSettings
from ..spec.action import ToolCall

OPENAI_HOST = "api.openai.com"
_SURROGATE = re.compile("[\ud800-\udfff]")
_OVERFLOW = re.compile(
    r"context[ _-]?(length|window|size|limit)|maximum context|exceeds? the (available )?context|prompt is too long|"
    r"(input|prompt).{0,40}too (long|many tokens)|too many (input )?tokens",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Speaker:
    """Who is asked, for the reasons of failures. `key` is known only so that it can be taken out of a server's words."""

    role: str
    settings: ModelSettings
    host: str
    key: str = field(repr=False, default="")

    def __str__(self) -> str:
        return f"the {self.role}'s model '{self.settings.model}' at {self.host}"

    @property
    def attempts(self) -> str:
        n = self.settings.retries + 1
        return f"after {n} attempts" if n > 1 else "in one attempt"

    def quote(self, text: object) -> str:
        """A server's words on one line, without the key, short enough for one sentence."""
        line = " ".join(clean(str(text)).split())
        if len(self.key) > 4:  # "none" and the like are no secrets, and ordinary words
            line = line.replace(self.key, "[key]")
        return line if len(line) <= 300 else line[:300] + "…"


def host_of(url: str) -> str:
    """Host and port of a base URL; user names and passwords in it are left out."""
    return urlsplit(url).netloc.rpartition("@")[2]


def clean(text: str) -> str:
    """Text that can be written as UTF-8: half surrogate pairs, which JSON can carry, become the replacement character."""
    return _SURROGATE.sub("\ufffd", text)


def body(request: ChatRequest, host: str) -> dict[str, Any]:
    """The JSON body of a request. What is not set is not sent; `extra_body` has the last word.

    OpenAI's own newer models refuse `max_tokens`, many other servers know nothing else: the name goes by the host.
    """
    settings = request.settings
    sent: dict[str, Any] = {"model": settings.model, "messages": [_sendable(m) for m in request.messages]}
    if request.tools:
        sent["tools"] = list(request.tools)
    if settings.max_tokens is not None:
        sent["max_completion_tokens" if host == OPENAI_HOST else "max_tokens"] = settings.max_tokens
    if settings.temperature is not None:
        sent["temperature"] = settings.temperature
    if request.seed is not None:
        sent["seed"] = request.seed
    return sent | settings.extra_body


def _sendable(message: dict[str, Any]) -> dict[str, Any]:
    """Some servers refuse a null content beside tool calls; all take the empty text."""
    return {**message, "content": ""} if message.get("content") is None else message


# --- answers ---------------------------------------------------------------------------------------------------------


def read(data: object, speaker: Speaker) -> ChatReply | Failure:
    """The reply in a 200 answer.

    Args:
        data: the decoded JSON; text where the server did not declare JSON.
        speaker: who was asked.
    """
    if isinstance(data, str):
        try:
            data = json.loads(data)
        except (ValueError, RecursionError):
            return not_json(speaker)
    if not isinstance(data, dict):
        return not_json(speaker)
    choices = data.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        if data.get("error"):  # some gateways report the upstream's error with status 200
            return Failure(f"{speaker} answered with an error: {speaker.quote(_message(data['error']))}")
        return Failure(f"{speaker} answered without choices")
    message = choices[0].get("message")
    if not isinstance(message, dict):
        return Failure(f"{speaker} answered with a choice that holds no message")
    calls = _calls(message.get("tool_calls"))
    if calls is None:
        return Failure(f"{speaker} answered with tool calls that are not in OpenAI's form")
    content, thinking = _content(message)
    refusal = _text(message.get("refusal"))
    usage = data.get("usage") if isinstance(data.get("usage"), dict) else {}
    assert isinstance(usage, dict)
    return ChatReply(
        content=content or refusal,
        tool_calls=calls,
        thinking=thinking,
        refusal=refusal,
        finish_reason=_text(choices[0].get("finish_reason")) or ("tool_calls" if calls else "stop"),
        prompt_tokens=_count(usage.get("prompt_tokens")),
        completion_tokens=_count(usage.get("completion_tokens")),
    )


def split_thinking(text: str) -> tuple[str, str]:
    """(thinking, speech). Thinking is `<think>...</think>` at the start; one that never ends is thinking to the end.

    Chat templates that write the opening tag themselves leave a reply that starts inside the block: then everything up to
    a lone `</think>` is thinking.
    """
    if not text.lstrip().startswith("<think>"):
        before, tag, after = text.partition("</think>")
        return (before.strip(), after.strip()) if tag and "<think>" not in before else ("", text)
    thoughts = []
    while text.lstrip().startswith("<think>"):
        thought, _, text = text.lstrip().removeprefix("<think>").partition("</think>")
        thoughts.append(thought.strip())
    return "\n".join(t for t in thoughts if t), text.strip()


def _content(message: dict[str, Any]) -> tuple[str, str]:
    """(speech, thinking) of a message: content as text or as parts, and whatever field the server puts thoughts in."""
    thoughts = [_text(message.get("reasoning_content")) or _text(message.get("reasoning"))]
    content = message.get("content")
    if isinstance(content, list):  # typed parts
        parts = [p for p in content if isinstance(p, dict)]
        content = "".join(_text(p.get("text")) for p in parts)
    thought, speech = split_thinking(_text(content))
    return speech, "\n".join(t for t in (*thoughts, thought) if t)


def _calls(calls: object) -> tuple[ToolCall, ...] | None:
    """The tool calls, their arguments as they came, even if they were cut; None where they have another form."""
    if calls is None:
        return ()
    if not isinstance(calls, list):
        return None
    made = []
    for call in calls:
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict):
            return None
        arguments = function.get("arguments")
        if arguments is None:
            arguments = "{}"
        elif not isinstance(arguments, str):
            arguments = json.dumps(arguments, ensure_ascii=False)
        made.append(ToolCall(name=_text(function.get("name")), arguments=clean(arguments), id=_text(call.get("id"))))
    return tuple(made)


def _text(value: object) -> str:
    return clean(value) if isinstance(value, str) else ""


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


# --- failures --------------------------------------------------------------------------------------------------------


def not_json(speaker: Speaker) -> Failure:
    return Failure(
        f"{speaker} answered with something that is not JSON; check that the base URL leads to an OpenAI-compatible API"
    )


def refused(status: int, answer: object, speaker: Speaker) -> Failure:
    """The failure behind an HTTP status. `answer` is the decoded body, or its text."""
    said = _message(answer)
    words = "" if said.lstrip().startswith("<") else speaker.quote(said)  # an HTML page says nothing to a reader
    if status == 401:  # servers quote parts of the key here, so their words are left out
        return Failure(f"{speaker} refused the key in {speaker.settings.key_variable} (401)")
    detail = f": {words}" if words else ""
    if status in (400, 413, 422) and _overflows(answer, said):
        return Failure(f"{speaker} was given a conversation longer than its context ({status}){detail}")
    match status:
        case 403:
            return Failure(f"{speaker} may not be used with the key in {speaker.settings.key_variable} (403){detail}")
        case 404:
            return Failure(f"{speaker} was not found (404); check the model's name and the base URL{detail}")
        case 429:
            return Failure(f"{speaker} was over its rate limit or quota {speaker.attempts} (429){detail}")
        case _ if status >= 500 or status in (408, 409):
            return Failure(f"{speaker} failed {speaker.attempts} ({status}){detail}")
        case _:
            return Failure(f"{speaker} refused the request ({status}){detail}")


def unreachable(cause: BaseException | None, speaker: Speaker) -> Failure:
    """No answer came: the connection was refused, dropped, or could not be made."""
    why = (
        speaker.quote(cause) if cause is not None and str(cause) else type(cause).__name__ if cause is not None else "no answer"
    )
    return Failure(f"{speaker} could not be reached {speaker.attempts}: {why}")


def too_slow(speaker: Speaker) -> Failure:
    return Failure(f"{speaker} did not answer within {speaker.settings.timeout_s:g} s {speaker.attempts}")


def _message(answer: object) -> str:
    """An error body's own words; bodies come as {"error": {...}}, {...}, {"detail": ...} or text."""
    if isinstance(answer, dict):
        inner = answer.get("error") or answer
        if isinstance(inner, dict):
            inner = inner.get("message") or inner.get("detail") or inner
        answer = inner
    return answer if isinstance(answer, str) else "" if answer is None else json.dumps(answer, ensure_ascii=False, default=str)


def _overflows(answer: object, said: str) -> bool:
    """Endpoints name an overflow by a code, or only in their words."""
    inner = answer.get("error") or answer if isinstance(answer, dict) else {}
    names = {str(inner.get("code")), str(inner.get("type"))} if isinstance(inner, dict) else set()
    return bool(names & {"context_length_exceeded", "exceed_context_size_error"}) or bool(_OVERFLOW.search(said))
