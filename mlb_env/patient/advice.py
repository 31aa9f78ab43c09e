"""What a patient takes away from being told what to do: stay at home, see a doctor, or seek urgent care.

The impression goes into the trajectory as the patient's own event; rules read that, never the text. Only plain wordings count, so
that an impression is missed rather than invented: a judge for meaning looks at the rest.
"""

from __future__ import annotations

import re
from functools import lru_cache
from importlib.resources import files
from typing import Literal, get_args

import yaml

from ..spec.base import LL, Model
from .understand import Matcher, sentences

Plan = Literal["home", "visit", "urgent"]
_NEAR = {"zh": 5, "en": 14}  # characters before a cue in which a negator undoes it


class AdviceCues(Model):
    """The file lexicon/advice.yaml."""

    advice: dict[Plan, LL]
    negators: LL
    conditions: LL


@lru_cache(maxsize=1)
def _cues() -> tuple[Matcher, re.Pattern[str], re.Pattern[str]]:
    text = (files(__package__) / "lexicon" / "advice.yaml").read_text(encoding="utf-8")
    book = AdviceCues.model_validate(yaml.load(text, Loader=yaml.CSafeLoader))
    assert set(book.advice) == set(get_args(Plan))
    return Matcher({str(plan): cues for plan, cues in book.advice.items()}), _any(book.negators), _any(book.conditions)


def _any(words: LL) -> re.Pattern[str]:
    """One of the words: Chinese anywhere, English as whole words."""
    longest = sorted(words.en, key=len, reverse=True)
    return re.compile("|".join([*sorted(words.zh, key=len, reverse=True), rf"\b(?:{'|'.join(longest)})\b"]))


def advised(text: str) -> tuple[Plan, ...]:
    """The plans that a turn of speech plainly tells the patient, in order, without repeats. Questions tell nothing."""
    matcher, negator, condition = _cues()
    plans: dict[Plan, None] = {}
    for sentence, mark in sentences(text.lower()):
        if mark in ("?", "？") or condition.search(sentence):
            continue
        for hit in matcher.find(sentence):
            near = _NEAR["en" if sentence[hit.start].isascii() and sentence[hit.start].isalpha() else "zh"]
            if not negator.search(sentence[max(0, hit.start - near) : hit.start]):
                plans[_plan(hit.key)] = None
    return tuple(plans)


def _plan(key: str) -> Plan:
    return next(plan for plan in get_args(Plan) if plan == key)
