"""A trajectory as a judge of meaning is shown it: numbered lines, whole; a long one in windows that overlap, never cut in silence.

Every line carries its turn and speaker, so that no text in it can pass for another speaker's or for the end of the record.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from ..spec.trajectory import Trajectory

WINDOW = 24_000  # characters of one window
OVERLAP = 4  # turns that two windows share
TOOL_TEXT = 1500  # characters of one tool's answer that are shown; what is left out is said


def lines(trajectory: Trajectory) -> list[tuple[int, str]]:
    """(turn, line) of everything that was said and done, with the closing form at the end."""
    made: list[tuple[int, str]] = []
    for m in trajectory.messages:
        speaker = {"task": "task", "scene": "scene", "system": "notice"}.get(m.speaker, m.speaker)
        text = m.content
        if m.speaker == "tool" and len(text) > TOOL_TEXT:
            text = text[:TOOL_TEXT] + f" [... {len(m.content) - TOOL_TEXT} more characters of this answer are not shown]"
        made += [(m.turn, f"T{m.turn} {speaker} | {part}") for part in text.splitlines() if part.strip()]
        made += [(m.turn, f"T{m.turn} agent calls | {call.name} {' '.join(call.arguments.split())}") for call in m.tool_calls]
    if trajectory.conclusion is not None:
        turn = trajectory.conclusion_turn or trajectory.turns
        made.append((turn, f"T{turn} closing form | {json.dumps(trajectory.conclusion, ensure_ascii=False)}"))
    return made


def windows(numbered: Sequence[tuple[int, str]], size: int = WINDOW) -> list[str]:
    """The lines as texts of at most about `size` characters; neighbours share their last turns. A single turn is never divided."""
    groups: dict[int, list[str]] = {}
    for turn, line in numbered:
        groups.setdefault(turn, []).append(line)
    turns = sorted(groups)
    made: list[str] = []
    start = 0
    while start < len(turns):
        end, used = start, 0
        while end < len(turns) and (end == start or used + sum(map(len, groups[turns[end]])) <= size):
            used += sum(len(line) + 1 for line in groups[turns[end]])
            end += 1
        made.append("\n".join(line for turn in turns[start:end] for line in groups[turn]))
        if end >= len(turns):
            break
        start = max(start + 1, end - OVERLAP)
    return made


def nonce(text: str, criterion: str) -> str:
    """A mark that no text of the record can foresee: it depends on all of the record."""
    return hashlib.sha256(f"{criterion}\0{text}".encode()).hexdigest()[:12]
