"""FHIR R4 search over a store: tokens, references, strings, dates with prefixes, quantities; sorting, paging, includes.

A parameter, modifier or value that is not known is an error that says what there is: a search that silently ignored it would
answer another question than the one asked.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, quote

from .definitions import Parameter
from .store import Store, searchable
from .values import PREFIXES, Quantity, Span, Token, compare, compare_number, keys_of, plain, span

DEFAULT_COUNT, MAX_COUNT = 50, 1000
_COMMAS = re.compile(r"(?<!\\),")
_NUMBER = re.compile(r"([+-]?\d+(?:\.(\d+))?)(?:[eE]([+-]?\d+))?")
_PREFIXED = re.compile(rf"({'|'.join(PREFIXES)})?(.*)", re.DOTALL)


class BadSearch(Exception):
    """The search cannot be carried out; the text says why and what would do. `code`: a FHIR issue type."""

    def __init__(self, text: str, code: str = "invalid") -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True)
class Found:
    """One page of a search. `matches` and `included` are references; `total` counts all matches."""

    kind: str
    matches: tuple[str, ...]
    included: tuple[str, ...]
    total: int
    offset: int
    count: int
    query: tuple[tuple[str, str], ...]  # without paging

    @property
    def more(self) -> bool:
        return self.count > 0 and self.offset + self.count < self.total

    def address(self, offset: int) -> str:
        """The relative address of a page: "Observation?code=x&_count=50&_offset=50"."""
        pairs = [*self.query, ("_count", str(self.count)), *([("_offset", str(offset))] if offset else [])]
        return f"{self.kind}?" + "&".join(f"{quote(k, safe=':_')}={quote(v, safe='|,:')}" for k, v in pairs)


Matches = Callable[[str], bool]


def parse_query(query: str) -> list[tuple[str, str]]:
    """The pairs of a query string.

    Raises:
        BadSearch: it is not one, or is not UTF-8.
    """
    try:
        return parse_qsl(query.removeprefix("?"), keep_blank_values=True, strict_parsing=bool(query.removeprefix("?")), errors="strict",
                         max_num_fields=100)  # fmt: skip
    except ValueError:
        raise BadSearch(f"'{query[:80]}' is not a query such as patient=self&code=718-7") from None


def search(store: Store, kind: str, query: Sequence[tuple[str, str]], *, allowed: Matches | None = None) -> Found:
    """One page of the resources of a type that match every parameter.

    Args:
        query: names with values, as in the URL. Values parted by commas are alternatives. `_count` 0 to 1000 (50 unless told), `_offset`,
            `_sort`, `_include`, `_revinclude`, `_summary=count`.
        allowed: what the searcher may see; None: everything. The rest is as if it were not there.

    Raises:
        BadSearch: a parameter, modifier or value is not known.
    """
    known = searchable(kind)
    count, offset, sorting, includes, kept = DEFAULT_COUNT, 0, "", [], []
    indexed: list[tuple[Parameter, str]] = []
    tests: list[Matches] = []
    for name, value in query:
        match name:
            case "_count":
                count = min(_whole(name, value), MAX_COUNT)
                continue
            case "_offset":
                offset = _whole(name, value)
                continue
            case "_format" | "_pretty":
                if name == "_format" and "json" not in value:
                    raise BadSearch(f"_format={value} is not served, JSON is (leave _format out)", "not-supported")
                continue
        kept.append((name, value))
        if name == "_sort":
            sorting = value
        elif name in ("_include", "_revinclude"):
            includes.append((name, value))
        elif name == "_summary":
            if value not in ("count", "false"):
                raise BadSearch(f"_summary={value} is not served; count and false are", "not-supported")
            count = 0 if value == "count" else count
        elif name == "_total":
            if value not in ("none", "estimate", "accurate"):
                raise BadSearch(f"_total={value} is not one of none, estimate, accurate")
        else:
            parameter, modifier = _parameter(kind, known, name)
            if not modifier and parameter.kind in ("token", "reference"):
                indexed.append((parameter, value))
            else:
                tests.append(_test(store, parameter, modifier, value))
    hits = [r for r in _candidates(store, kind, indexed) if all(test(r) for test in tests)]
    if allowed is not None:
        hits = [r for r in hits if allowed(r)]
    if sorting:
        hits = _sorted(store, kind, known, hits, sorting)
    page = tuple(hits[offset : offset + count])
    more = tuple(r for r in _included(store, kind, known, page, includes) if allowed is None or allowed(r))
    return Found(kind, page, more, len(hits), offset, count, tuple(kept))


def _candidates(store: Store, kind: str, indexed: Sequence[tuple[Parameter, str]]) -> list[str]:
    """The resources that match the indexed parameters, in order: by the base's index, and one by one what this episode wrote."""
    if not indexed:
        return list(store.references(kind))
    few = set.intersection(*(_looked_up(store, kind, parameter, value) for parameter, value in indexed))
    written = [r for r, resource in store.overlay.items() if resource is not None and r.startswith(kind + "/")]
    if store.overlay:
        few = few - store.overlay.keys()
        tests = [_test(store, parameter, "", value) for parameter, value in indexed]
        written = [r for r in written if all(test(r) for test in tests)]
        few |= {r for r in written if r in store.base.resources}
    order = store.base.by_type.get(kind, [])
    there = [r for r in order if r in few] if len(few) > 1 else list(few)
    return there + [r for r in written if r not in store.base.resources]


def _whole(name: str, value: str) -> int:
    if not value.isdecimal() or len(value) > 9:
        raise BadSearch(f"{name}={value[:40]} is not a whole number of 0 or more")
    return int(value)


def _parameter(kind: str, known: dict[str, Parameter], name: str) -> tuple[Parameter, str]:
    stem, _, modifier = name.partition(":")
    if "." in stem or stem == "_has":
        raise BadSearch(f"'{name}': chained search is not served; search {kind} by reference, then read what it refers to", "not-supported")
    if stem not in known:
        listed = ", ".join(sorted(known))
        raise BadSearch(f"{kind} has no search parameter '{stem[:60]}'; it has: {listed} (and _sort, _count, _include, _revinclude)")
    parameter = known[stem]
    allowed = {"missing"} | {"token": {"not", "text"}, "string": {"exact", "contains"}, "reference": {"Patient"}}.get(parameter.kind, set())
    if modifier and modifier not in allowed:
        raise BadSearch(f"'{stem}' has no modifier '{modifier[:40]}'; it has: {', '.join(sorted(allowed))}", "not-supported")
    return parameter, modifier


def _alternatives(value: str) -> list[str]:
    return [v.replace("\\,", ",") for v in _COMMAS.split(value)]


def _key(parameter: Parameter, asked: str) -> str:
    if parameter.kind == "reference":
        return plain(asked)
    return asked.strip()


def _looked_up(store: Store, kind: str, parameter: Parameter, value: str) -> set[str]:
    _not_empty(parameter, value)
    found = [store.base.having(kind, parameter, _key(parameter, asked)) for asked in _alternatives(value)]
    return found[0] if len(found) == 1 else set().union(*found)


def _not_empty(parameter: Parameter, value: str) -> None:
    if not value.strip():
        raise BadSearch(f"'{parameter.name}' has no value; give one, or leave the parameter out")


def _test(store: Store, parameter: Parameter, modifier: str, value: str) -> Matches:
    """What tells whether a resource matches one parameter."""
    _not_empty(parameter, value)
    if modifier == "missing":
        if value not in ("true", "false"):
            raise BadSearch(f"{parameter.name}:missing={value[:40]} has to be true or false")
        return lambda reference: (not store.values(reference, parameter)) is (value == "true")
    ones = [_one(parameter, modifier, asked, store.base.zone) for asked in _alternatives(value)]
    if modifier == "not":
        return lambda reference: not any(one(v) for v in store.values(reference, parameter) for one in ones)
    return lambda reference: any(one(v) for v in store.values(reference, parameter) for one in ones)


def _one(parameter: Parameter, modifier: str, asked: str, zone: str) -> Callable[[Any], bool]:
    """What tells whether one value matches one alternative."""
    match parameter.kind:
        case "token" if modifier == "text":
            wanted = asked.casefold()
            return lambda token: wanted in token.text.casefold()
        case "token":
            key = asked.strip()
            if key.startswith("|"):
                return lambda token: token == Token("", key[1:], token.text)
            return lambda token: key in keys_of(token)
        case "reference":
            key = plain(f"Patient/{asked}" if modifier == "Patient" and "/" not in asked else asked)
            return lambda reference: key in keys_of(reference)
        case "string" | "uri":
            folded = asked.casefold()
            if modifier == "exact":
                return lambda text: bool(text == asked)
            if modifier == "contains":
                return lambda text: folded in text.casefold()
            return lambda text: bool(text.casefold().startswith(folded))
        case "date":
            prefix, rest = _split(asked)
            try:
                stretch = span(rest, zone)
            except ValueError as error:
                raise BadSearch(f"{parameter.name}={asked[:60]}: {error}") from None
            return lambda there: isinstance(there, Span) and compare(prefix, there, stretch)
        case "quantity":
            prefix, rest = _split(asked)
            number, *tail = rest.split("|")
            m = _NUMBER.fullmatch(number)
            if m is None:
                raise BadSearch(f"{parameter.name}={asked[:60]}: '{number[:40]}' is not a number (gt5.4||mmol/L)")
            half = 0.5 * 10.0 ** (int(m.group(3) or 0) - len(m.group(2) or ""))
            unit = tail[-1] if tail else ""
            target = float(number)
            return lambda q: isinstance(q, Quantity) and (not unit or unit in q.units) and compare_number(prefix, q.value, target, half)


def _split(asked: str) -> tuple[str, str]:
    m = _PREFIXED.fullmatch(asked.strip())
    assert m is not None
    return m.group(1) or "eq", m.group(2)


def _sorted(store: Store, kind: str, known: dict[str, Parameter], hits: list[str], by: str) -> list[str]:
    """Sorted by one or several parameters; what has no value comes last."""
    for name in reversed(by.split(",")):
        stem = name.removeprefix("-")
        if stem not in known:
            raise BadSearch(f"_sort={name[:60]}: {kind} has no search parameter '{stem[:60]}'; it has: {', '.join(sorted(known))}")
        keyed = [(min((_rank(v) for v in store.values(r, known[stem])), default=None), r) for r in hits]
        if name.startswith("-"):
            keyed = [(max((_rank(v) for v in store.values(r, known[stem])), default=None), r) for r in hits]
        there = [pair for pair in keyed if pair[0] is not None]
        there.sort(key=lambda pair: pair[0], reverse=name.startswith("-"))  # type: ignore[arg-type,return-value]
        hits = [r for _, r in there] + [r for key, r in keyed if key is None]
    return hits


def _rank(value: Any) -> Any:
    match value:
        case Token():
            return value.code or value.text
        case Span():
            return value.low
        case Quantity():
            return value.value
    return value


def _included(
    store: Store, kind: str, known: dict[str, Parameter], page: Sequence[str], wanted: Sequence[tuple[str, str]]
) -> tuple[str, ...]:
    """What the matches refer to (_include=Type:parameter), and what refers to them (_revinclude=Type:parameter)."""
    found: dict[str, None] = {}
    for name, value in wanted:
        source, _, stem = value.partition(":")
        stem = stem.partition(":")[0]
        table = known if source == kind else searchable(source)
        if name == "_include" and source != kind:
            raise BadSearch(f"_include={value[:60]} has to begin with {kind}:")
        if stem not in table or table[stem].kind != "reference":
            listed = ", ".join(f"{source}:{p.name}" for p in table.values() if p.kind == "reference")
            raise BadSearch(f"{name}={value[:60]} is not one of {listed}")
        if name == "_include":
            for match in page:
                found |= dict.fromkeys(r for r in store.values(match, table[stem]) if r in store)
        else:
            matches = set(page)
            found |= dict.fromkeys(r for r in store.references(source) if matches & set(store.values(r, table[stem])))
    return tuple(r for r in found if r not in page)


def bundle(store: Store, found: Found, base_url: str = "") -> str:
    """A page as a searchset Bundle, JSON. Addresses are relative without `base_url`."""
    root = base_url.rstrip("/") + "/" if base_url else ""
    entries = [
        f'{{"fullUrl":{_quoted(root + reference)},"resource":{store.text(reference)},"search":{{"mode":"{mode}"}}}}'
        for mode, references in (("match", found.matches), ("include", found.included))
        for reference in references
    ]
    links = [("self", found.offset)]
    if found.more:
        links.append(("next", found.offset + found.count))
    if found.offset and found.count:
        links.append(("previous", max(0, found.offset - found.count)))
    listed = ",".join(f'{{"relation":"{relation}","url":{_quoted(root + found.address(offset))}}}' for relation, offset in links)
    tail = f',"entry":[{",".join(entries)}]' if entries else ""
    return f'{{"resourceType":"Bundle","type":"searchset","total":{found.total},"link":[{listed}]{tail}}}'


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
