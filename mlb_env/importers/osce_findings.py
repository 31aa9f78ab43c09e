"""Vital signs, examination findings and tests of an OSCE case."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from .. import codes
from ..spec.base import LL, L
from ..spec.case import Availability, ExamFinding, Result, Test, Vitals
from .osce_facts import ABSENT_TEXT, flat
from .osce_tables import clean, is_group, manoeuvre, regions, test_code

_NORMAL = re.compile(
    r"(?:normal\b(?!.*\b(?:but|except|however)\b)|unremarkable|within normal|no\b|non-?tender|clear\b|intact"
    r"|alert and oriented|soft, non)",
    re.IGNORECASE,
)
_CELSIUS = re.compile(r"(\d{2}(?:\.\d+)?)\s*°?\s*C\b")
_FAHRENHEIT = re.compile(r"(\d{2,3}(?:\.\d+)?)\s*°?\s*F\b")
_PLAIN = re.compile(  # a number with its unit, and nothing else
    r"\d[\d.,/]*\s*(?:mm ?Hg|bpm|beats/min|breaths/min|/min|%|kg"
    r"|°C(?: \(\d+(?:\.\d+)?°F\))?|°F \(\d+(?:\.\d+)?°C\))?"
)
TURNAROUND_MIN = 30  # the source gives no times


@dataclass
class Found:
    """What a part of the case came to, and what was left out of it."""

    exam: list[ExamFinding] = field(default_factory=list)
    tests: list[Test] = field(default_factory=list)
    vitals: Vitals | None = None
    empty: int = 0  # the source says not done, not available
    no_region: int = 0
    unlisted: int = 0


# --- vital signs --------------------------------------------------------------------------------------------------------


def vitals(value: Any, found: Found) -> None:
    """Put the reading of the vital signs into `found`; what is more than a number stays as text in its state."""
    numbers: dict[str, Any] = {}
    said: list[str] = []
    for path, text in flat(value):
        name = ", ".join(clean(key) for key in path)
        if ABSENT_TEXT.match(text):
            found.empty += 1
            continue
        read = _vital(name.lower(), text)
        if read is None or read[0] in numbers or not _PLAIN.fullmatch(text):
            said.append(f"{name}: {text}" if name else text)
        if read is not None:
            numbers.setdefault(*read)
    if numbers or said:
        found.vitals = Vitals(t=0, **numbers, state=L(en="; ".join(said) or "as recorded"))


def _vital(name: str, text: str) -> tuple[str, Any] | None:
    """The field of Vitals and the value that a vital sign gives; None if it gives no number we have a field for."""
    if "temperature" in name:
        if m := _CELSIUS.search(text):
            return "T", float(m.group(1))
        m = _FAHRENHEIT.search(text)
        return ("T", round((float(m.group(1)) - 32) / 1.8, 1)) if m else None
    if name in ("blood pressure", "bp"):
        m = re.search(r"\b(\d{2,3}/\d{2,3})\b", text)
        return ("BP", m.group(1)) if m else None
    if name in ("heart rate", "pulse", "pulse rate", "hr"):
        return _whole("HR", r"^\s*(\d{2,3})\b(?!\s*[-–])", text)
    if name in ("respiratory rate", "respirations", "rr"):
        return _whole("RR", r"^\s*(\d{1,3})\b(?!\s*[-–])", text)
    if "saturation" in name or "oximetry" in name or name == "spo2":
        return _whole("SpO2", r"^\s*(\d{2,3})\s*%", text)
    if name == "weight":
        m = re.match(r"\s*(\d+(?:\.\d+)?)\s*kg\b", text)
        return ("weight", float(m.group(1))) if m else None
    if "consciousness" in name:
        return "consciousness", L(en=text)
    return None


def _whole(key: str, pattern: str, text: str) -> tuple[str, int] | None:
    m = re.search(pattern, text)
    return (key, int(m.group(1))) if m else None


# --- examination --------------------------------------------------------------------------------------------------------


def examination(value: dict[str, Any], found: Found) -> None:
    """Put the vital signs and the findings into `found`, under the regions that their keys name."""
    for section, inner in value.items():
        if "vital" in str(section).lower():
            vitals(inner, found)
            continue
        for path, text in flat({str(section): inner}):
            if ABSENT_TEXT.match(text):
                found.empty += 1
                continue
            where = regions(path)
            found.no_region += not where
            label = ", ".join(clean(key) for key in path[1:]) or clean(path[0])
            for region in where or ("general",):
                found.exam.append(
                    ExamFinding(
                        id=f"e{len(found.exam) + 1:03d}", region=region, manoeuvre=manoeuvre(path),
                        finding=L(en=f"{label}: {text}"), normal=_NORMAL.match(text) is not None,
                    )
                )  # fmt: skip


# --- tests --------------------------------------------------------------------------------------------------------------


def tests(value: dict[str, Any], found: Found) -> None:
    """Put the tests into `found`. Results of the same library test are one test; keys that only group tests are opened."""
    results: dict[str, list[tuple[str, str]]] = {}
    names: dict[str, list[str]] = {}
    for name, analyte, text in _walk(value):
        if ABSENT_TEXT.match(text):
            found.empty += 1
            continue
        code = test_code(name) or _slug(name)
        results.setdefault(code, []).append((analyte, text))
        if name not in names.setdefault(code, []):
            names[code].append(name)
    for code, lines in results.items():
        listed = codes.tests().get(code)
        found.unlisted += listed is None
        own = names[code] if listed else names[code][1:]
        other = tuple(n for n in own if test_code(n) is None)
        found.tests.append(
            Test(
                id=f"t{len(found.tests) + 1:03d}", code=code, name=L(en=listed.en if listed else names[code][0]),
                synonyms=LL(en=other), availability=Availability(turnaround_min=TURNAROUND_MIN),
                results=tuple(Result(analyte=L(en=analyte), value=text) for analyte, text in dict.fromkeys(lines)),
                grade="optional", why=L(en="The source gives its result and does not grade it."),
            )
        )  # fmt: skip


def _walk(value: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """(test, analyte, text) of nested results."""
    for key, inner in value.items():
        name = clean(str(key))
        if isinstance(inner, dict) and is_group(name) and not _only_findings(inner):
            yield from _walk(inner)
            continue
        for path, text in flat(inner):
            yield name, ", ".join(clean(k) for k in path) or (name if test_code(name) else "Result"), text


def _only_findings(value: dict[str, Any]) -> bool:
    plain = ("findings", "result", "results", "note", "impression", "interpretation")
    return all(clean(str(key)).lower() in plain for key in value)


def _slug(name: str) -> str:
    slug = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")[:70].strip("_") or "test"
    return slug if slug not in codes.tests() else f"{slug}_source"
