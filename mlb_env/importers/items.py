"""One item of the MLB release becomes one item of ours, by the form of its dataset."""

from __future__ import annotations

import json
import re
import unicodedata
from typing import Any

from ..spec.base import LL, L, Provenance
from ..spec.jsontext import BadJson, parse_json
from ..spec.scenario import (
    ChoiceItem,
    Dataset,
    ExtractionItem,
    Form,
    Item,
    KeyPoint,
    KeyPointItem,
    NormalisationItem,
    OpenItem,
)
from .options import explicit, letters, split

_CANDIDATES = re.compile(r"(?:\s|\\n)*候选标准词\s*[:：]")


class Bad(Exception):
    """An item that cannot be imported; the message says why. It never leaves the importer."""


Raw = dict[str, Any]
Added = dict[str, set[str]]


def make(form: Form, ours: Dataset, id_: str, raw: Raw, provenance: Provenance, added: Added) -> Item:
    """The item `raw` of dataset `ours` in our form. Names outside our lists are put into `added`.

    Raises:
        Bad: it cannot be imported.
        pydantic.ValidationError: our model refuses it.
    """
    base: Raw = {"id": id_, "family": id_, "provenance": provenance}
    match form:
        case "choice":
            return _choice(base, raw)
        case "normalisation":
            return _normalisation(base, raw)
        case "extraction":
            gold = _gold(ours, _data(raw.get("answer")), added)
            return ExtractionItem(**base, text=L(zh=raw["question"]), gold={"zh": gold})
        case "keypoints":
            return KeyPointItem(**base, question=L(zh=raw["question"]), points=_points(_data(raw.get("answer"))))
        case _:
            return OpenItem(**base, question=L(zh=raw["question"]))


def _choice(base: Raw, raw: Raw) -> ChoiceItem:
    if raw.get("options") is not None:
        stem, options = raw["question"].strip(), explicit(raw["options"])
    else:
        found = split(raw["question"])
        stem, options = found if found else ("", None)
    if not options:
        raise Bad("no options A, B, ... were found")
    if not stem:
        raise Bad("there is no text before the options")
    if not all(options):
        raise Bad("an option is empty")
    answer = letters(raw.get("answer"))
    if not answer:
        raise Bad(f"the answer {_short(raw.get('answer'))} is not a list of letters")
    form = "single" if len(answer) == 1 else "multiple"
    return ChoiceItem(**base, question=L(zh=stem), options=LL(zh=options), answer=answer, form=form)


def _normalisation(base: Raw, raw: Raw) -> NormalisationItem:
    phrase, listed = raw["question"], raw.get("options")
    if listed is None:
        parts = _CANDIDATES.split(phrase, maxsplit=1)
        if len(parts) != 2:
            raise Bad("there are no candidates (no '候选标准词：' in the question and no options)")
        phrase, listed = parts
    if isinstance(listed, str):
        listed = listed.replace("\\n", "\n").split("\n")
    if not isinstance(listed, list) or not all(isinstance(c, str) for c in listed):
        raise Bad("the candidates are not a list of lines")
    candidates = tuple(c.strip() for c in listed if c.strip())
    gold = raw.get("answer")
    if isinstance(gold, list) and all(isinstance(g, str) for g in gold):
        gold = "##".join(gold)
    if not isinstance(gold, str) or gold.strip() not in candidates:
        raise Bad(f"the answer {_short(gold)} is not one of the candidates")
    return NormalisationItem(**base, phrase=L(zh=phrase.strip()), candidates=LL(zh=candidates), gold=L(zh=gold.strip()))


# --- extraction ---------------------------------------------------------------------------------------------------------


def _data(answer: Any) -> Any:
    """The answer as data; a text that holds JSON is read."""
    if isinstance(answer, str) and answer.strip()[:1] in ("{", "["):
        try:
            return parse_json(answer)
        except BadJson:
            return answer
    return answer


def _gold(ours: Dataset, answer: Any, added: Added) -> Any:
    match ours.extraction:
        case "terms":
            return _strings(_only(answer))
        case "entities":
            if not isinstance(answer, dict):
                raise Bad("the answer is not an object of entity classes")
            gold: dict[str, list[str]] = {key: [] for key in ours.keys}
            for key, value in answer.items():
                gold.setdefault(_neutral(ours.keys, key, added["keys"]), []).extend(_strings(value))
            return gold
        case "relations":
            fields = {"relation", "head", "tail"}
            found = [_record(ours, r, fields) for r in _records(_only(answer))]
            if any(set(r) != fields or not all(isinstance(v, str) and v for v in r.values()) for r in found):
                raise Bad("a relation lacks its name, head or tail")
            return [{**r, "relation": _neutral(ours.values, r["relation"], added["values"])} for r in found]
        case _:
            return [_event(ours, r, added) for r in _records(answer)]


def _event(ours: Dataset, raw: Raw, added: Added) -> Raw:
    record = _record(ours, raw, set(ours.keys))
    subject, status = record.get("subject"), record.get("status") or ""
    if not isinstance(subject, str) or not subject or not isinstance(status, str):
        raise Bad("an event has no subject, or its status is no text")
    return {
        "subject": subject, "status": _neutral(ours.values, status, added["values"]) if status else "",
        "descriptors": _strings(record.get("descriptors", [])), "sites": _strings(record.get("sites", [])),
    }  # fmt: skip


def _record(ours: Dataset, raw: Raw, fields: set[str]) -> Raw:
    """A record by our keys. Stray quotes in a key (they occur in the release) are set aside."""
    names = {_plain(text.zh or ""): key for key, text in ours.keys.items() if key in fields}
    record: Raw = {}
    for key, value in raw.items():
        ours_key = names.get(_plain(key))
        if ours_key is None:
            raise Bad(f"the answer has an unknown key {_short(key)}")
        record[ours_key] = value
    return record


def _plain(name: str) -> str:
    return unicodedata.normalize("NFKC", name).strip().strip("'\"‘’“”").strip()


def _neutral(table: dict[str, L], name: str, added: set[str]) -> str:
    """Our name for a name of the authors; a name that is not in our list stays as it is and is noted."""
    wanted = _plain(name)
    for key, text in table.items():
        if _plain(text.zh or "") == wanted:
            return key
    added.add(wanted)
    return wanted


def _only(answer: Any) -> Any:
    """The list inside an object with a single key, or the answer itself."""
    return next(iter(answer.values())) if isinstance(answer, dict) and len(answer) == 1 else answer


def _strings(value: Any) -> list[str]:
    value = [value] if isinstance(value, str) and value else [] if value in (None, "") else value
    if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
        raise Bad("the answer holds something that is not a list of texts")
    return value


def _records(value: Any) -> list[Raw]:
    if not isinstance(value, list) or not all(isinstance(v, dict) for v in value):
        raise Bad("the answer is not a list of objects")
    return value


# --- key points ---------------------------------------------------------------------------------------------------------


def _points(answer: Any) -> tuple[KeyPoint, ...]:
    """The entries of the gold answer, under their field names."""
    if not isinstance(answer, dict):
        raise Bad("the answer is not an object")
    texts = [(topic, text) for topic, value in answer.items() for text in _strings(value) if text.strip()]
    points = [KeyPoint(topic=topic, text=L(zh=text)) for topic, text in texts]
    if not points:
        raise Bad("the answer holds no key point")
    return tuple(points)


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:57] + "..."
