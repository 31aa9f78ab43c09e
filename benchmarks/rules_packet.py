"""One episode as a text that a person can label without any code: the case, everything that was said and done, the criteria."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from mlb_env.catalog.play import Play
from mlb_env.spec.base import Lang
from mlb_env.spec.rubric import Criterion
from mlb_env.spec.trajectory import Trajectory

SPEAKERS = {"task": "TASK", "scene": "SCENE", "system": "NOTICE", "agent": "AGENT", "patient": "PATIENT", "tool": "ANSWER OF A TOOL"}


def packet(number: int, trajectory: Trajectory, play: Play, criteria: list[Criterion]) -> str:
    """The whole text."""
    parts = [f"PACKET {number} ({trajectory.dataset}, {trajectory.lang})", "", "=== THE CASE ===", *_case(play, trajectory.lang), "",
             "=== WHAT THE RECORD HOLDS AT THE START (the agent sees of it only what it looks up) ===", *_chart(play), "",
             "=== THE EPISODE ===", *_episode(trajectory), "",
             f"=== {len(criteria)} CRITERIA: packet | criterion id | kind | criterion ===",
             *(f"{number} | {c.id} | {c.kind} | {c.text[trajectory.lang]}" for c in criteria)]  # fmt: skip
    return "\n".join(parts) + "\n"


def _case(play: Play, lang: Lang) -> Iterator[str]:
    case, scenario = play.case, play.scenario
    assert case is not None and scenario is not None
    person = case.person
    yield f"Patient: {person.name[lang]}, {person.sex_at_birth or 'sex unknown'}, {person.age.value} {person.age.unit}(s)" + (
        f", {person.occupation[lang]}" if person.occupation else "")
    yield f"Who speaks: {person.informant.kind} ({person.informant.relation[lang]})"
    yield f"Reason for the visit: {case.mind.reason_for_visit[lang]}"
    yield f"Role of the agent: {(play.dataset.role or '').replace('_', ' ')}; its tools: {', '.join(play.dataset.tools)}"
    if scenario.variant == "transcript":
        yield "The agent gets the transcript of a visit and writes the note from it."


def _chart(play: Play) -> Iterator[str]:
    assert play.case is not None
    added = play.scenario.chart if play.scenario else None
    resources = [*play.case.chart.resources, *(added.resources if added else ())]
    for resource in resources:
        kept = {k: v for k, v in resource.items() if k not in ("resourceType", "id", "meta")}
        yield f"- {resource['resourceType']}/{resource['id']}: {json.dumps(kept, ensure_ascii=False)}"
    if not resources:
        yield "- nothing"


def _episode(trajectory: Trajectory) -> Iterator[str]:
    minutes = {e.turn: e.minute for e in trajectory.ledger} | {e.turn: e.minute for e in trajectory.tools}
    if trajectory.conclusion_turn is not None and trajectory.conclusion_minute is not None:
        minutes[trajectory.conclusion_turn] = trajectory.conclusion_minute
    turn = -1
    for message in trajectory.messages:
        if message.turn != turn:
            turn = message.turn
            yield f"--- T{turn}" + (f" (minute {minutes[turn]})" if turn in minutes else "")
        for line in message.content.splitlines():
            if line.strip():
                yield f"{SPEAKERS[message.speaker]}: {line}"
        for call in message.tool_calls:
            yield from _call(call.name, call.arguments)
    for change in trajectory.record_changes:
        yield f"RECORD CHANGE: in T{change.turn} the {change.by} did {change.operation} {change.reference}"
    if trajectory.conclusion is None:
        yield f"END: no closing form was accepted ({trajectory.stop_reason})"
    else:
        yield f"END: the closing form of T{trajectory.conclusion_turn} was accepted"


def _call(name: str, arguments: str) -> Iterator[str]:
    """A call in one line; a long one field by field."""
    try:
        given: Any = json.loads(arguments)
    except ValueError:
        given = None
    if len(arguments) <= 300 or not isinstance(given, dict):
        yield f"AGENT CALLS {name}: {' '.join(arguments.split())}"
        return
    yield f"AGENT CALLS {name}:"
    for key, value in given.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            yield f"    {key}:"
            yield from (f"      - {json.dumps(item, ensure_ascii=False)}" for item in value)
        else:
            yield f"    {key}: {json.dumps(value, ensure_ascii=False)}"
