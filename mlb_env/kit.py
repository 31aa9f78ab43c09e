"""Small helpers for writing agents: what a prompt of ours looks like, and how to put an action together."""

from __future__ import annotations

import json
import re
from typing import Any

from .spec.action import Action, Briefing, Observation, ToolCall

_OPTION = re.compile(r"^([A-Z])[.．、]\s*(.+)$", re.MULTILINE)
CLOSING = ("close", "propose_tests", "submit_diagnosis", "write_record")


def closing_tool(briefing: Briefing) -> str | None:
    """The closing form's tool of an interactive dataset; None for a single-step item."""
    names = {t["function"]["name"] for t in briefing.tools}
    return next((n for n in CLOSING if n in names), None)


def options(observation: Observation) -> dict[str, str]:
    """The lettered options of a multiple-choice prompt: letter -> text, in order. Empty for other prompts."""
    return dict(_OPTION.findall(observation.text))


def candidates(observation: Observation) -> list[str]:
    """The candidate lines of a normalisation prompt; empty for other prompts."""
    lines = observation.text.splitlines()
    heads = [i for i, line in enumerate(lines) if line.startswith(("候选标准词", "Candidates"))]
    if not heads:
        return []
    rest = lines[heads[-1] + 1 :]
    return [line for line in rest if line.strip() and not line.startswith(("归一化术语", "Normalised term"))]


def source_text(observation: Observation) -> str:
    """The text of an extraction prompt."""
    found = re.search(r"(?:文本：|Text:)\n(.*?)\n\n(?:输出格式|Output format)", observation.text, re.DOTALL)
    return found.group(1) if found else observation.text


def answer_shape(observation: Observation) -> Any:
    """The JSON shape that an extraction prompt shows as its output format; None for other prompts."""
    found = re.search(r"(?:输出格式：|Output format: )(.*)", observation.text)
    return json.loads(found.group(1)) if found else None


def say(content: str, *calls: ToolCall) -> Action:
    """Speech with tool calls."""
    return Action(content=content, tool_calls=tuple(calls))
