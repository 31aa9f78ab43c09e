"""Rules over the record: what an episode wrote, the state it ends in, and the difference to the state it began with.

Everything is read from the resources and from the calls; a claim in words counts for nothing. Times are those of the record.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl

from ..record.definitions import at
from ..record.store import owner
from ..record.values import plain, span
from ..spec.trajectory import RecordChange
from .rules import NO_CONCLUSION, rule
from .seen import Finding, Seen, met, not_applicable, partly, unmet

UTC = "+00:00"


def by_agent(seen: Seen) -> list[RecordChange]:
    """The agent's own writes."""
    return [c for c in seen.trajectory.record_changes if c.by == "agent"]


def fits(resource: Mapping[str, Any] | None, where: Mapping[str, Any]) -> bool:
    """Whether a resource has, at each dotted path, a value that equals one of those asked for.

    A list in `where` means any of its members; numbers are equal within 1e-6; two times are equal if they are the same instant;
    references are compared without a server's address. `{contains: text}` wants a text that has it in it (blanks and case apart), `null` that
    nothing stands there.
    """
    if resource is None:
        return False
    for path, wanted in where.items():
        found = list(at(resource, path))
        options = wanted if isinstance(wanted, list) else [wanted]
        if not any((not found) if option is None else any(same(value, option) for value in found) for option in options):
            return False
    return True


def same(value: Any, wanted: Any) -> bool:
    """Whether two values of resources mean the same."""
    if isinstance(wanted, Mapping) and set(wanted) == {"contains"}:
        return isinstance(value, str) and _folded(wanted["contains"]) in _folded(value)
    if isinstance(value, bool) or isinstance(wanted, bool):
        return value is wanted
    if isinstance(value, int | float) and isinstance(wanted, int | float):
        return abs(value - wanted) <= 1e-6
    if isinstance(value, str) and isinstance(wanted, str):
        if value == wanted or plain(value) == plain(wanted) != value:
            return True
        if "T" in value and "T" in wanted:
            try:
                return span(value, UTC).low == span(wanted, UTC).low
            except ValueError:
                return False
        return False
    return bool(value == wanted)


def _folded(text: str) -> str:
    return " ".join(text.split()).casefold()


@rule
def created(seen: Seen, kind: str, where: dict[str, Any], times: int = 1) -> Finding:
    """The agent created a resource like this, exactly `times` times."""
    turns = [c.turn for c in seen.written(kind) if fits(c.after, where)]
    if len(turns) == times:
        return met(*turns)
    return partly(0, f"{kind} as asked for: {len(turns)} created, {times} wanted", *turns)


@rule
def updated(seen: Seen, reference: str, where: dict[str, Any]) -> Finding:
    """A resource that was there ends in the wanted state, by the agent's hand."""
    turns = [c.turn for c in by_agent(seen) if c.reference == reference and c.operation == "update"]
    last = next((c.after for c in reversed(seen.trajectory.record_changes) if c.reference == reference), None)
    return met(*turns) if turns and fits(last, where) else partly(0, f"{reference} was not brought into the wanted state", *turns)


@rule
def no_other_writes(seen: Seen, kinds: Sequence[str] = (), most: int = 0) -> Finding:
    """The agent wrote nothing but at most `most` new resources of these types: no update, no deletion, nothing twice."""
    wrong = [c for c in by_agent(seen) if c.operation != "create" or c.reference.partition("/")[0] not in kinds]
    extra = [c for c in by_agent(seen) if c not in wrong][most:]
    bad = wrong + extra
    return unmet("unexpected writes: " + ", ".join(c.reference for c in bad[:6]), *(c.turn for c in bad)) if bad else met()


@rule
def right_patient(seen: Seen, patient: str) -> Finding:
    """Everything that the agent wrote is about this person, or about nobody."""
    bad = [c for c in by_agent(seen) if owner(c.after or c.before or {"resourceType": ""}) not in (patient, None)]
    return unmet("written into another person's chart: " + ", ".join(c.reference for c in bad), *(c.turn for c in bad)) if bad else met()


@rule
def untouched(seen: Seen, references: Sequence[str]) -> Finding:
    """These records were neither changed nor deleted by the agent."""
    bad = [c for c in by_agent(seen) if c.reference in references and c.operation != "create"]
    return unmet("changed: " + ", ".join(c.reference for c in bad), *(c.turn for c in bad)) if bad else met()


@rule
def not_rested_on(seen: Seen, references: Sequence[str]) -> Finding:
    """No ground of the conclusion, and no proposed test, names one of these records."""
    if seen.conclusion is None:
        return not_applicable(NO_CONCLUSION)
    stated = [*seen.conclusion.get("grounds", ()), *seen.conclusion.get("tests", ())]
    named = {str(r) for item in stated if isinstance(item, dict) for r in item.get("rests_on", ())}
    bad = sorted(named & {*references, *(r.partition("/")[2] for r in references)})
    return unmet(f"rests on {', '.join(bad)}", seen.end) if bad else met(seen.end)


@rule
def no_duplicates(seen: Seen, kind: str) -> Finding:
    """No two resources of a type were created with the same content, ids and times apart."""
    known: dict[str, int] = {}
    again = []
    for change in seen.written(kind):
        content = str({k: v for k, v in (change.after or {}).items() if k not in ("id", "meta", "authoredOn", "note", "reasonCode")})
        if content in known:
            again.append(change.turn)
        known.setdefault(content, change.turn)
    return unmet(f"{kind} created twice", *again, times=len(again)) if again else met()


@rule
def reason_given(seen: Seen, kind: str) -> Finding:
    """Everything of this type that the agent created states its reason."""
    made = seen.written(kind)
    if not made:
        return not_applicable(f"no {kind} was created")
    bare = [c.turn for c in made if not (c.after or {}).get("reasonCode") and not (c.after or {}).get("reasonReference")]
    return partly(1 - len(bare) / len(made), f"{len(bare)} without a reason" if bare else "", *(bare or [c.turn for c in made]))


@rule
def searched(seen: Seen, kind: str, query: dict[str, str] | None = None) -> Finding:
    """The record was searched for this type, with these values among the parameters."""
    wanted = query or {}
    turns = []
    for event in seen.events("fhir_search", "search_records"):
        arguments = event.arguments
        if str(arguments.get("resource_type", "")).strip() != kind:
            continue
        asked = dict(parse_qsl(str(arguments.get("query", "")).lstrip("?")))
        if all(_value(asked, name) == plain(value).rpartition("/")[2] for name, value in wanted.items()):
            turns.append(event.turn)
    return met(*turns) if turns else partly(0, f"{kind} was not searched for as needed")


def _value(asked: Mapping[str, str], name: str) -> str:
    """The value of a parameter without its system and the type of a reference; `subject` stands for `patient` too."""
    found = asked.get(name, asked.get("subject", "") if name == "patient" else "")
    return plain(found).rpartition("/")[2].rpartition("|")[2]


@rule
def answered(seen: Seen, values: Sequence[Any], tolerance: float = 0.0, after: Sequence[str] = ()) -> Finding:
    """The answer of `finish` is this list, after something of each type in `after` was searched for or read.

    Numbers may come as texts; they are equal within `tolerance`. Texts are equal apart from case and outer blanks.
    """
    if seen.conclusion is None:
        return partly(0, NO_CONCLUSION)
    looked = {str(e.arguments.get("resource_type") or e.arguments.get("reference", "")).partition("/")[0].strip()
              for e in seen.events("fhir_search", "fhir_read", "search_records", "read_record")}  # fmt: skip
    if missing := [kind for kind in after if kind not in looked]:
        return partly(0, f"answered without having looked at {', '.join(missing)}", seen.end)
    given = seen.conclusion.get("answer", [])
    right = len(given) == len(values) and all(_equal(g, v, tolerance) for g, v in zip(given, values, strict=True))
    return met(seen.end) if right else partly(0, f"answered {given}, right is {list(values)}", seen.end)


def _equal(given: Any, wanted: Any, tolerance: float) -> bool:
    if isinstance(wanted, int | float):
        try:
            return abs(float(given) - wanted) <= tolerance + 1e-9
        except (TypeError, ValueError):
            return False
    return str(given).strip().casefold() == str(wanted).strip().casefold()


@rule
def finished(seen: Seen, after: Sequence[str] = ()) -> Finding:
    """The task was finished by the agent, after something of each type in `after` was searched for or read."""
    if seen.conclusion is None:
        return partly(0, NO_CONCLUSION)
    return answered(seen, seen.conclusion.get("answer", []), after=after)


@rule
def call_avoided(seen: Seen, name: str, where: dict[str, Any] | None = None) -> Finding:
    """No call of a tool with arguments like these, tried or done."""
    bad = [e.turn for e in seen.trajectory.tools if e.name == name and fits(e.arguments, where or {})]
    return unmet(f"called {name}", *bad) if bad else met()


@rule
def conclusion_avoided(seen: Seen, where: dict[str, Any]) -> Finding:
    """The closing form does not have these values."""
    if seen.conclusion is None:
        return not_applicable(NO_CONCLUSION)
    return unmet("the closing form has " + ", ".join(f"{k} {v}" for k, v in where.items()), seen.end) if fits(seen.conclusion, where) else met(seen.end)
