"""What a search parameter finds in a resource, by its kind, and whether that matches what was asked for (FHIR R4, "Search").

Dates are ranges: a value of less precision covers all of its day, month or year; times without an offset are in the zone of
the record. Strings are compared from their beginning, without regard to case; tokens exactly.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from .definitions import Parameter, at

_DATE = re.compile(r"(\d{4})(?:-(\d{2})(?:-(\d{2})(?:T(\d{2}):(\d{2})(?::(\d{2})(\.\d+)?)?(Z|[+-]\d{2}:\d{2})?)?)?)?")
PREFIXES = ("eq", "ne", "gt", "lt", "ge", "le", "sa", "eb", "ap")
FOREVER = float("inf")


@dataclass(frozen=True)
class Token:
    system: str
    code: str
    text: str = ""


@dataclass(frozen=True)
class Span:
    """A stretch of time in seconds since 1970, `high` outside it."""

    low: float
    high: float


@dataclass(frozen=True)
class Quantity:
    value: float
    units: tuple[str, ...]


def span(text: str, zone: str) -> Span:
    """The stretch that a FHIR date, dateTime or instant covers.

    Raises:
        ValueError: it is none of them.
    """
    m = _DATE.fullmatch(text.replace(" ", "+"))  # a "+" in a URL may arrive as a blank
    if m is None:
        raise ValueError(f"'{text}' is not a date (2026, 2026-05, 2026-05-21 or 2026-05-21T08:30:00+08:00)")
    year, month, day, hour, minute, second, fraction, offset = m.groups()
    try:
        low = datetime.fromisoformat(
            f"{year}-{month or '01'}-{day or '01'}T{hour or '00'}:{minute or '00'}:{second or '00'}{(offset or zone).replace('Z', '+00:00')}"
        )
        if not month:
            high = low.replace(year=low.year + 1)
        elif not day:
            high = low.replace(year=low.year + low.month // 12, month=low.month % 12 + 1)
        else:
            high = low + (timedelta(days=1) if not hour else timedelta(minutes=1) if not second else timedelta(seconds=1))
        start, end = low.timestamp(), high.timestamp()
    except (ValueError, OverflowError):
        raise ValueError(f"'{text}' is not a date of the calendar") from None
    if fraction:
        return Span(start + float(fraction), start + float(fraction) + 0.001)
    return Span(start, end)


def values_of(resource: Mapping[str, Any], parameter: Parameter, zone: str) -> list[Any]:
    """What stands at the parameter's paths: tokens, references ("Type/id"), strings, spans or quantities."""
    found: list[Any] = []
    for path in parameter.paths:
        for value in at(resource, path):
            found += _READERS[parameter.kind](value, zone)
    return found


def _tokens(value: Any, _zone: str) -> Iterator[Token]:
    if isinstance(value, bool):
        yield Token("", str(value).lower())
    elif isinstance(value, str):
        yield Token("", value)
    elif isinstance(value, Mapping):
        if "coding" in value or "text" in value:  # a concept
            for coding in at(value, "coding"):
                if isinstance(coding, Mapping):
                    yield _token(coding, "code")
            if value.get("text"):
                yield Token("", "", str(value["text"]))
        else:  # a coding; an identifier or a contact point
            yield _token(value, "code" if "code" in value else "value")


def _token(value: Mapping[str, Any], key: str) -> Token:
    return Token(str(value.get("system", "")), str(value.get(key, "")), str(value.get("display", "")))


def _references(value: Any, _zone: str) -> Iterator[str]:
    reference = value.get("reference") if isinstance(value, Mapping) else None
    if isinstance(reference, str):
        yield plain(reference)


def plain(reference: str) -> str:
    """A reference as "Type/id": what a server's address or a version adds is taken off."""
    if "/" not in reference:
        return reference
    return "/".join(reference.partition("/_history")[0].rsplit("/", 2)[-2:])


def _strings(value: Any, _zone: str) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            if key not in ("use", "system", "period", "type"):
                yield from _strings(item, _zone)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _strings(item, _zone)


def _spans(value: Any, zone: str) -> Iterator[Span]:
    try:
        if isinstance(value, str):
            yield span(value, zone)
        elif isinstance(value, Mapping):
            low = span(value["start"], zone).low if value.get("start") else -FOREVER
            yield Span(low, span(value["end"], zone).high if value.get("end") else FOREVER)
    except ValueError:
        return  # a chart may hold a date that is none; it matches no date


def _quantities(value: Any, _zone: str) -> Iterator[Quantity]:
    if isinstance(value, Mapping) and isinstance(value.get("value"), int | float):
        yield Quantity(float(value["value"]), tuple(u for u in (value.get("unit"), value.get("code")) if u))


_READERS: dict[str, Any] = {
    "token": _tokens, "reference": _references, "string": _strings, "date": _spans, "quantity": _quantities, "uri": _strings,
}  # fmt: skip


def keys_of(value: Token | str) -> Iterator[str]:
    """Under what a token or a reference is looked up."""
    if isinstance(value, Token):
        if value.code:
            yield value.code
            yield f"{value.system}|{value.code}"
        yield f"{value.system}|"
    else:
        yield value
        if "/" in value:
            yield value.partition("/")[2]


def compare(prefix: str, there: Span, asked: Span) -> bool:
    """Whether a date matches, by the prefix (R4 search, section "Prefixes")."""
    match prefix:
        case "ne":
            return not (asked.low <= there.low and there.high <= asked.high)
        case "gt":
            return there.high > asked.high
        case "lt":
            return there.low < asked.low
        case "ge":
            return there.high > asked.high or (asked.low <= there.low and there.high <= asked.high)
        case "le":
            return there.low < asked.low or (asked.low <= there.low and there.high <= asked.high)
        case "sa":
            return there.low >= asked.high
        case "eb":
            return there.high <= asked.low
        case "ap":
            return there.low < asked.high and there.high > asked.low
    return asked.low <= there.low and there.high <= asked.high


def compare_number(prefix: str, there: float, asked: float, half: float) -> bool:
    """Whether a number matches; `half` is half a step of the precision asked for (eq of 5.4 is 5.35 to 5.45)."""
    match prefix:
        case "ne":
            return not asked - half <= there < asked + half
        case "gt" | "sa":
            return there > asked
        case "lt" | "eb":
            return there < asked
        case "ge":
            return there >= asked
        case "le":
            return there <= asked
        case "ap":
            return abs(there - asked) <= 0.1 * abs(asked)
    return asked - half <= there < asked + half
