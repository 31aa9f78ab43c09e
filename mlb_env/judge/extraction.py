"""Scoring of answers that are option letters or JSON: exact sets, and micro-F1 with a lenient figure beside it.

Strict: an item counts when it equals a gold item whole (entities with their class, events with all four attributes, relations
as triples), as PromptCBLUE defines it. Lenient: one-to-one, the class or relation right and the strings overlapping (one
holds the other); for events, subject and status right. Names are compared after normalisation of width and case.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

from ..codes.names import normalise
from ..spec.base import Lang
from ..spec.jsontext import BadJson, parse_json
from ..spec.rubric import Counts
from .rules import rule
from .seen import Finding, Seen, partly

_LETTERS = re.compile(r"^[\s\[\(（【'\"]*([A-Za-z](?:[\s,，、;；和及&/.'\"]*[A-Za-z])*)[\s\]\)）】.。'\"]*$")
_FINAL = re.compile(r"^(?:\*\*)?(?:the\s+)?(?:final\s+)?(?:answer|答案|最终答案|正确答案|选项)(?:\s+is|是|为)?\s*[:：]?\s*(?:\*\*)?\s*(.+?)(?:\*\*)?$",
                    re.IGNORECASE)  # fmt: skip
_FENCE = re.compile(r"^```[a-zA-Z]*\n(.*?)\n?```$", re.DOTALL)


def last_answer(seen: Seen) -> str:
    """The agent's last words."""
    spoken = [m.content for m in seen.trajectory.messages if m.speaker == "agent"]
    return spoken[-1] if spoken else ""


def read_letters(text: str, options: int) -> frozenset[str] | None:
    """The option letters of an answer, or None where it has no readable form.

    Readable: the whole reply is letters; JSON with "answer"; or lines of the form "Answer: B, C", all giving the same set.
    Letters inside prose are never picked out.
    """
    text = text.strip()
    fenced = _FENCE.match(text)
    text = fenced.group(1).strip() if fenced else text
    try:
        data = parse_json(text)
        if isinstance(data, dict) and set(data) & {"answer", "答案"}:
            value = data.get("answer", data.get("答案"))
            text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    except BadJson:
        data = None  # not JSON: read as text
    allowed = {chr(65 + i) for i in range(options)}
    whole = _letter_set(text, allowed)
    if whole is not None:
        return whole
    found = [_letter_set(m.group(1), allowed) for line in text.splitlines() if (m := _FINAL.match(line.strip()))]
    if found and all(f is not None and f == found[0] for f in found):
        return found[0]
    return None


def _letter_set(text: str, allowed: set[str]) -> frozenset[str] | None:
    matched = _LETTERS.match(text)
    if not matched:
        return None
    if re.search(r"[a-z]", matched.group(1)) and re.search(r"[A-Za-z]{2}", matched.group(1)):
        return None  # a word, not letters
    letters = re.findall(r"[A-Za-z]", matched.group(1))
    chosen = {x.upper() for x in letters}
    return frozenset(chosen) if chosen <= allowed and len(letters) == len(chosen) else None


@rule
def letters(seen: Seen, answer: Sequence[str], options: int) -> Finding:
    """Exactly the right set of option letters."""
    given = read_letters(last_answer(seen), options)
    if given is None:
        return partly(0, "no option letters could be read from the answer", 1)
    return partly(float(given == set(answer)), "" if given == set(answer) else f"answered {','.join(sorted(given))}", 1)


def read_json(text: str) -> Any:
    """The JSON of an answer (a code fence around it is allowed); None where there is none."""
    text = text.strip()
    fenced = _FENCE.match(text)
    try:
        return parse_json(fenced.group(1) if fenced else text)
    except BadJson:
        return None


def _strings(value: Any) -> list[str]:
    """The strings of a list that hold more than punctuation."""
    return [v for v in value if isinstance(v, str) and normalise(v)] if isinstance(value, list) else []


def items_of(form: str, data: Any, keys: Mapping[str, str], values: Mapping[str, str]) -> set[tuple[Hashable, ...]]:
    """The set of items of an answer in one language's keys; what does not fit the schema is left out.

    Args:
        form: entities, events, relations or terms.
        data: the parsed JSON.
        keys: neutral key -> key in the answer.
        values: neutral value -> value in the answer.
    """
    n = normalise
    back = {n(shown): neutral for neutral, shown in values.items()}
    made: set[tuple[Hashable, ...]] = set()
    if form == "entities" and isinstance(data, dict):
        for neutral, shown in keys.items():
            made |= {(neutral, n(s)) for s in _strings(data.get(shown))}
    elif form == "terms" and isinstance(data, dict):
        made |= {("term", n(s)) for s in _strings(data.get(keys["terms"]))}
    elif form == "relations" and isinstance(data, dict):
        rows = data.get(keys["relations"])
        for r in rows if isinstance(rows, list) else []:
            parts = _strings([r.get(keys[k]) for k in ("relation", "head", "tail")]) if isinstance(r, dict) else []
            if len(parts) == 3:
                made.add((back.get(n(parts[0]), n(parts[0])), n(parts[1]), n(parts[2])))
    elif form == "events" and isinstance(data, list):
        for e in data:
            subject = e.get(keys["subject"]) if isinstance(e, dict) else None
            if isinstance(subject, str) and normalise(subject):
                status = str(e.get(keys["status"]) or "")
                made.add((back.get(n(status), n(status)), n(subject),
                          frozenset(n(s) for s in _strings(e.get(keys["descriptors"]))),
                          frozenset(n(s) for s in _strings(e.get(keys["sites"])))))  # fmt: skip
    return made


def gold_items(form: str, gold: Any) -> set[tuple[Hashable, ...]]:
    """The set of items of a gold annotation in neutral keys."""
    neutral = {k: k for k in ("relation", "head", "tail", "subject", "status", "descriptors", "sites")}
    if form == "entities":
        return items_of(form, gold, {k: k for k in gold}, {})
    if form == "terms":
        return items_of(form, {"terms": list(gold)}, {"terms": "terms"}, {})
    if form == "relations":
        return {(g["relation"], normalise(g["head"]), normalise(g["tail"])) for g in gold}
    return {(g["status"], *t[1:]) for g in gold for t in items_of(form, [g], neutral, {})}


def count(given: set[tuple[Hashable, ...]], gold: set[tuple[Hashable, ...]], form: str) -> Counts:
    """True and false positives and negatives, strict and lenient."""
    tp = len(given & gold)
    left = sorted(gold - given, key=str)
    lenient = tp
    for item in sorted(given - gold, key=str):
        match = next((g for g in left if _near(item, g, form)), None)
        if match is not None:
            left.remove(match)
            lenient += 1
    return Counts(tp=tp, fp=len(given) - tp, fn=len(gold) - tp,
                  lenient_tp=lenient, lenient_fp=len(given) - lenient, lenient_fn=len(gold) - lenient)  # fmt: skip


def _near(a: tuple[Hashable, ...], b: tuple[Hashable, ...], form: str) -> bool:
    if a[0] != b[0]:
        return False
    if form == "events":
        return a[1] == b[1]
    return all(_overlap(str(x), str(y)) for x, y in zip(a[1:], b[1:], strict=True))


def _overlap(x: str, y: str) -> bool:
    """One holds the other, and is at least half as long: single characters overlap with nothing but themselves."""
    short, long = sorted((x, y), key=len)
    return short in long and 2 * len(short) >= len(long)


def f1(tp: float, fp: float, fn: float) -> float:
    """F1 of counts; both sets empty is 1."""
    return 1.0 if tp + fp + fn == 0 else 2 * tp / (2 * tp + fp + fn)


def _found(seen: Seen, counts: Counts, readable: bool) -> Finding:
    seen.memo["counts"] = counts
    value = f1(counts.tp, counts.fp, counts.fn) if readable else 0.0
    lenient = f1(counts.lenient_tp, counts.lenient_fp, counts.lenient_fn)
    return partly(value, f"strict F1 {value:.3f}, lenient {lenient:.3f}" if readable else "no JSON answer could be read", 1)


@rule
def extraction(
    seen: Seen, form: str, gold: Mapping[Lang, Any], keys: Mapping[str, Mapping[Lang, str | None]],
    values: Mapping[str, Mapping[Lang, str | None]],
) -> Finding:  # fmt: skip
    """Strict micro-F1 of one extraction answer; the counts go to the score."""
    lang = seen.trajectory.lang
    data = read_json(last_answer(seen))
    given = items_of(form, data, _in(keys, lang), _in(values, lang))
    return _found(seen, count(given, gold_items(form, gold[lang]), form), data is not None)


def _in(labels: Mapping[str, Mapping[Lang, str | None]], lang: Lang) -> dict[str, str]:
    other: Lang = "en" if lang == "zh" else "zh"
    return {k: v.get(lang) or v.get(other) or k for k, v in labels.items()}


@rule
def terms(seen: Seen, gold: Mapping[Lang, str]) -> Finding:
    """Micro-F1 over the ##-joined terms of the chosen lines."""
    given = _terms(last_answer(seen).splitlines())
    wanted = _terms([gold[seen.trajectory.lang]])
    return _found(seen, count(given, wanted, "terms"), True)


def _terms(lines: Iterable[str]) -> set[tuple[Hashable, ...]]:
    return {("term", normalise(t)) for line in lines for t in line.split("##") if t.strip()}
