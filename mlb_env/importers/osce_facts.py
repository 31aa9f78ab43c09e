"""The facts of an OSCE case: what its patient actor knows, sentence by sentence, each under the topics the sentence names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from .. import codes
from ..patient.understand import Matcher
from ..spec.base import LL, L
from ..spec.case import Condition, Disclosure, Fact
from .osce_tables import clean

Polarity = Literal["present", "absent"]

_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z0-9\"'])")
_NEGATION = re.compile(r"\b(?:no|not|never|none|nor|without|denies|denied|denying|negative|absence of)\b")
_TURN = re.compile(r"[;:]|\b(?:but|however|although|though|except|reports|has|had|with|notes|noted)\b(?!out)")
ABSENT_TEXT = re.compile(  # the source says that it has nothing there
    r"(?:none reported|none provided|unknown|n/?a\b|non-?applicable|pending|data not|no data|no specific lab"
    r"|not (?:yet )?(?:indicated|performed|available|applicable|specified|provided|done|assessed|reported|necessary|required"
    r"|obtained))",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Section:
    """A part of the patient actor: by which condition its facts come out, and the topic where none is named."""

    key: str
    condition: Condition
    topic: str
    prefer: tuple[str, ...] = ()  # record fields whose topics are preferred


SECTIONS: tuple[Section, ...] = (
    Section("History", "open_question", "course"),
    Section("Symptoms", "open_question", "associated"),
    Section("Past_Medical_History", "direct_question", "past_illness", ("past_history", "family_history")),
    Section("Current_Medications", "direct_question", "drug", ("past_history",)),
    Section("Medications", "direct_question", "drug", ("past_history",)),
    Section("Family_History", "direct_question", "family", ("family_history",)),
    Section("Social_History", "direct_question", "course", ("personal_history", "marital_history")),
    Section("Review_of_Systems", "direct_question", "course"),
)  # fmt: skip
KNOWN_KEYS = frozenset({"Demographics", *(s.key for s in SECTIONS)})


@dataclass
class Told:
    """The facts of one case and what was left out of them."""

    facts: list[Fact] = field(default_factory=list)
    complaint: str = ""
    named_diagnosis: int = 0
    empty: int = 0
    unplaced: int = 0  # sentences whose topic is not known


def sentences(text: str) -> list[str]:
    """The sentences of a text, each with its full stop."""
    parts = [part.strip() for part in _SENTENCE.split(re.sub(r"\s+", " ", text).strip())]
    return [part if part[-1] in ".!?" else part + "." for part in parts if part]


def flat(value: Any) -> Iterator[tuple[tuple[str, ...], str]]:
    """The texts in a nested value, each with the keys that lead to it; a list of texts is one text."""
    if isinstance(value, dict):
        for key, inner in value.items():
            for path, text in flat(inner):
                yield (str(key), *path), text
    elif isinstance(value, list) and any(isinstance(v, dict | list) for v in value):
        for inner in value:
            yield from flat(inner)
    elif isinstance(value, list):
        if text := "; ".join(str(v).strip() for v in value if str(v).strip()):
            yield (), text
    elif value is not None and str(value).strip():
        yield (), str(value).strip()


def facts_of(
    actor: dict[str, Any], cues: Matcher, reveals: re.Pattern[str], concerns: frozenset[str | None] = frozenset({None})
) -> Told:
    """The facts of a patient actor. A sentence that `reveals` matches names the diagnosis and is left out.

    `concerns`: the values of a topic's `applies` that concern the person (None: everybody).
    Returns the facts in order of the source; the complaint is the primary symptom, else the first sentence of the history.
    """
    told = Told()
    known = frozenset(t.id for t in codes.topics().values() if t.applies in concerns and t.group not in ("ice", "context"))
    symptoms = actor.get("Symptoms")
    primary = symptoms.get("Primary_Symptom") if isinstance(symptoms, dict) else symptoms if isinstance(symptoms, str) else None
    seen: set[str] = set()
    if isinstance(primary, str) and primary.strip() and not reveals.search(primary):
        told.complaint = primary.strip().rstrip(".")
        opening = Section("Symptoms", "opening", "course")
        _add(told, f"{told.complaint}.", opening, cues, known, seen)
    elif isinstance(primary, str) and reveals.search(primary):
        told.named_diagnosis += 1
    for section in SECTIONS:
        value = actor.get(section.key)
        if section.key == "Symptoms" and isinstance(value, dict):
            value = {key: inner for key, inner in value.items() if key != "Primary_Symptom"}
        for sentence in _sentences_of(section, value):
            if ABSENT_TEXT.match(sentence) or ABSENT_TEXT.match(sentence.partition(": ")[2]):
                told.empty += 1
            elif reveals.search(sentence):
                told.named_diagnosis += 1
            else:
                if not told.complaint:
                    told.complaint = sentence.rstrip(".")
                    _add(told, sentence, Section(section.key, "opening", "course"), cues, known, seen)
                    continue
                _add(told, sentence, section, cues, known, seen)
    return told


def _sentences_of(section: Section, value: Any) -> Iterator[str]:
    if isinstance(value, list):  # each entry on its own
        for entry in value:
            yield from _sentences_of(section, entry)
    elif isinstance(value, dict):
        for key, inner in value.items():
            if isinstance(inner, str):
                named = section.key != "Symptoms"
                first, *others = sentences(inner) or [""]
                yield from ([f"{clean(key)}: {first}" if named else first, *others] if first else [])
            else:
                yield from _sentences_of(section, inner)
    elif isinstance(value, str):
        yield from sentences(value)


def _add(told: Told, sentence: str, section: Section, cues: Matcher, known: frozenset[str], seen: set[str]) -> None:
    if sentence.lower() in seen:
        return
    seen.add(sentence.lower())
    topics = _topics(sentence, section, cues, known)
    if not topics:
        told.unplaced += 1
        topics = {section.topic: "absent" if _NEGATION.match(sentence.lower()) else "present"}
    for place, (topic, polarity) in enumerate(topics.items()):
        # one sentence is one open answer; under its other topics it comes out when they are asked about
        condition: Condition = section.condition if place == 0 or section.condition == "opening" else "direct_question"
        told.facts.append(
            Fact(
                id=f"f{len(told.facts) + 1:03d}", topic=topic, polarity=polarity, truth=L(en=sentence), told=LL(en=(sentence,)),
                disclosure=Disclosure(condition=condition),
            )
        )  # fmt: skip


def _topics(sentence: str, section: Section, cues: Matcher, allowed: frozenset[str]) -> dict[str, Polarity]:
    """The topics a sentence names with their polarity, those of the section's own record fields first.

    Attributes (when, where, how bad) count only where nothing else is named: they belong to a symptom.
    """
    known, lower = codes.topics(), sentence.lower()
    found: dict[str, Polarity] = {}
    for hit in cues.find(lower):
        if hit.key in allowed and hit.key not in found:
            found[hit.key] = "absent" if _negated(lower, hit.start) else "present"
    things = {t: p for t, p in found.items() if known[t].group != "attribute"}
    chosen = things or found
    return dict(sorted(chosen.items(), key=lambda pair: known[pair[0]].field not in section.prefer))


def _negated(text: str, at: int) -> bool:
    """Whether a negation stands before `at` in the same clause."""
    before = text[:at]
    turns = list(_TURN.finditer(before))
    return _NEGATION.search(before, turns[-1].end() if turns else 0) is not None
