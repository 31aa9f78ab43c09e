"""Reads a judge model's reply. It gives the verdict that the reply unmistakably states, or says why there is none; it never guesses.

One JSON object, alone, in one code fence, after a <think> block, or after a lead-in that states no verdict. No word outside the three, no
second object, no unknown field: "NOT satisfied" and {"met": "false"} are no verdicts.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Literal

Word = Literal["met", "unmet", "not_applicable"]
WORDS: tuple[Word, ...] = ("met", "unmet", "not_applicable")
LONGEST = 20_000  # characters of a reply that are read
_THINK = re.compile(r"\A\s*<think>.*?</think>", re.DOTALL | re.IGNORECASE)
_FENCE = re.compile(r"\A```(?:json|JSON)?[ \t]*\n(.*?)\n?```\Z", re.DOTALL)
_STATES = re.compile(r"[<>]|\b(?:un)?met\b|not[_ ]applicable|satisf|fulfil|verdict|criteri|满足|达到|符合|不适用|判定|结论|标准|未", re.IGNORECASE)
_KEYS = {"verdict", "confidence", "evidence", "reason"}


@dataclass(frozen=True)
class Ruling:
    """What a reply states. `evidence`: turns; `confidence`: 0 to 1, None where not given."""

    verdict: Word
    confidence: float | None = None
    evidence: tuple[int, ...] = ()
    reason: str = ""


@dataclass(frozen=True)
class Unreadable:
    """Why a reply states no verdict."""

    why: str


def bare(reply: str) -> str | Unreadable:
    """A reply without what surrounds it: white space, a <think> block."""
    text = reply.strip().removeprefix("\ufeff").strip()
    if not text:
        return Unreadable("the reply is empty")
    if len(text) > LONGEST:
        return Unreadable(f"the reply has {len(text)} characters")
    return _THINK.sub("", text).strip()


def read(reply: str) -> Ruling | Unreadable:
    """The ruling in a reply, or why there is none."""
    text = bare(reply)
    if isinstance(text, Unreadable):
        return text
    start = text.find("{")
    fence = text.find("```")
    if fence >= 0 and (start < 0 or fence < start):
        start = fence
    if start < 0:
        return Unreadable("there is no JSON object in the reply")
    lead, rest = text[:start].strip(), text[start:].strip()
    if len(lead) > 200 or _STATES.search(lead):
        return Unreadable("words beside the JSON object say something of their own")
    if rest.startswith("```"):
        fenced = _FENCE.match(rest)
        if fenced is None:
            return Unreadable("the code fence is not closed, or something follows it")
        rest = fenced.group(1).strip()
    return _ruling(rest)


def _ruling(text: str) -> Ruling | Unreadable:
    try:
        value = json.loads(text, object_pairs_hook=_once, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        return Unreadable(f"not one JSON object ({error})")
    if not isinstance(value, dict):
        return Unreadable("not a JSON object")
    if unknown := set(value) - _KEYS:
        return Unreadable(f"unknown field {sorted(unknown)[0][:40]!r}")
    word = value.get("verdict")
    word = word.strip().lower() if isinstance(word, str) else word
    if word not in WORDS:
        return Unreadable(f"the verdict is {str(word)[:40]!r}, not one of {', '.join(WORDS)}")
    confidence, evidence, reason = value.get("confidence"), value.get("evidence", []), value.get("reason", "")
    if confidence is not None and (isinstance(confidence, bool) or not isinstance(confidence, int | float) or not 0 <= confidence <= 1):
        return Unreadable("the confidence is not a number from 0 to 1")
    if not isinstance(evidence, list) or any(isinstance(e, bool) or not isinstance(e, int) for e in evidence):
        return Unreadable("the evidence is not a list of turn numbers")
    if not isinstance(reason, str):
        return Unreadable("the reason is not a text")
    return Ruling(word, None if confidence is None else float(confidence), tuple(evidence), reason.strip()[:500])


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({k for k, _ in pairs}) != len(pairs):
        raise ValueError("a field stands twice")
    return dict(pairs)


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is no JSON number")
