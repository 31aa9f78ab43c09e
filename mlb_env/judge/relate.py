"""What the learned judge looks at: one criterion beside what the agent said, as a short vector of numbers.

Four kinds of sentences are left out before anything is measured, because they are no conduct: those that talk about the evaluation, those in which
the agent reports that it has done what a criterion asks, near-copies of the criterion, and lists of words too long to be spoken.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..patient.topicmodel import features
from ..spec.base import Lang

Floats = NDArray[np.float64]
COPY = 0.6  # share of n-grams in common, of all in either, from which a sentence is a copy of the criterion
LONGEST: dict[Lang, int] = {"zh": 300, "en": 700}  # characters of a sentence that somebody speaks; a longer one is a list of words
CLIP = 6.0  # of a cue's log-odds
_SENTENCES = re.compile(r"(?<=[。！？!?；;])|(?<=\.)\s+|\n+")
_LINE = re.compile(r"\AT\d+ (agent|patient|closing form) \| (.*)\Z", re.DOTALL)
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_EVALUATION = re.compile(
    r"</?record|<\|im_|\[/?INST|\bverdict|\brubric|\bcriteri(?:on|a)\b|\bexaminer|\bgrader|\b(?:scor|grad)(?:ed|ing) (?:as|policy)|\bscoring|\bto the judge\b"
    r"|\b(?:is|as|answer|choose|output is|with) [\"'*]*met\b|end of transcript|\brecord has ended|expected output|ignore (?:the|all) previous|\"evidence\""
    r"|评审|评分|判定|判为|考官|达标|期望输出|记录结束|记录已结束|标准(?:均|都|全部)?已|各项标准|\bmet\b[。，]?|^\s*(?:system|系统|开发者提示|developer note)\s*[:：]|T\d+ agent",
    re.IGNORECASE,
)  # fmt: skip
_REPORT = re.compile(
    r"\bI(?:'ve| have) (?:now |already |fully |just )*(?:explained|checked|named|answered|acknowledged|told|addressed|covered|confirmed|advised|assessed|given)"
    r"|我(?:已|已经|都已)(?:经)?(?:充分|全部|向您|为您)?(?:说明|解释|确认|核实|交代|告知|回答|回应|共情|评估)",
    re.IGNORECASE,
)  # fmt: skip
_FRAME = re.compile(  # how a criterion begins that states a content; what follows is the content
    r"\A(?:The answer says, or clearly entails|Says what it means|Says why|The reason is right|Corrects the [^:]+|Answers the question asked|Chief complaint|Worded rightly"
    r"|讲清含义|讲清原因|理由正确|纠正[^：]+|正确回答所问|主诉|内容正确|引用依据)[:：]\s*"
)  # fmt: skip
_BACK: dict[Lang, re.Pattern[str]] = {
    "zh": re.compile(r"不用(?:复述|说|讲)了|当我没说|收回|改一改|说错了|其实也不一定|没说过|算了|作废|不是那样|前面(?:我)?说|刚才说的不算|忘了它"),
    "en": re.compile(r"\bforget (?:that|it|what)|\btake (?:that|it) back|\bnever mind\b|\bscratch that|\bnow that I think|\bon second thought|\bignore (?:it|that)"
                     r"|\bI (?:never|didn't) sa(?:y|id)|\bactually,? no\b|\bno need (?:any ?more|after all)", re.IGNORECASE),
}  # fmt: skip
_NOT: dict[Lang, re.Pattern[str]] = {
    "zh": re.compile(r"不|没|别|无|未"),
    "en": re.compile(r"\b(?:no|not|never|without|cannot|nothing|none|needn't|hardly)\b|n't\b", re.IGNORECASE),
}


@lru_cache(maxsize=1 << 13)  # one passage is read for many criteria
def ngrams(text: str, lang: Lang) -> tuple[int, ...]:
    """The hashed n-grams of a text."""
    return tuple(features(text, lang))


@dataclass(frozen=True)
class Turn:
    """What the agent said in one turn, in sentences, without what does not count. `before`: what the patient had said just before."""

    turn: int
    sentences: tuple[str, ...]
    before: str

    @property
    def text(self) -> str:
        return " ".join(self.sentences)


def sentences(text: str) -> list[str]:
    """The sentences of a text."""
    return [s.strip() for s in _SENTENCES.split(text) if s and s.strip()]


def counts(sentence: str) -> bool:
    """Whether a sentence is conduct towards the patient: not talk about the evaluation, not a report of what was done."""
    return not _EVALUATION.search(sentence) and not _REPORT.search(sentence)


def said(numbered: Sequence[tuple[int, str]], criterion: str, lang: Lang) -> list[Turn]:
    """The agent's turns, and the closing form, without what does not count."""
    wanted = set(ngrams(criterion, lang))
    made: dict[int, list[str]] = {}
    before: dict[int, str] = {}
    patient = ""
    for turn, line in numbered:
        found = _LINE.match(line)
        if found is None:
            continue
        speaker, text = found.groups()
        if speaker == "patient":
            patient = " ".join(part for part in sentences(text) if counts(part))
            continue
        parts = sentences(text) if speaker == "agent" else [s for value in _strings(text) for s in sentences(value)]
        before.setdefault(turn, patient)
        made.setdefault(turn, []).extend(s for s in parts if len(s) <= LONGEST[lang] and counts(s) and not _copied(s, wanted, lang))
    return [Turn(turn, tuple(own), before[turn]) for turn, own in made.items() if own]


def _strings(form: str) -> Iterator[str]:
    """The texts of a closing form."""
    try:
        waiting: list[Any] = [json.loads(form)]
    except ValueError:
        return
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
        elif isinstance(value, str) and len(value) > 3:
            yield value


def _copied(sentence: str, wanted: set[int], lang: Lang) -> bool:
    own = set(ngrams(sentence, lang))
    return bool(own) and len(own & wanted) >= COPY * len(own | wanted)


def covered(wanted: Sequence[int], own: set[int], idf: Floats) -> float:
    """The weighted share of n-grams that a text has."""
    weights = idf[list(wanted)]
    total = float(weights.sum())
    return float(weights[[g in own for g in wanted]].sum()) / total if total else 0.0


NAMES = (
    "cue, best passage", "cue, best turn", "cue, turn that answers", "cue, turn that covers", "coverage, best passage", "coverage, all turns",
    "coverage, turn that answers", "cue and coverage", "numbers", "negation", "taken back", "said by the patient", "turns",
)  # fmt: skip


EMBEDDED = (
    "cue by embedding, best passage", "cue by embedding, turn that answers", "similarity, best passage", "similarity, turn that answers",
)  # fmt: skip


@dataclass(frozen=True)
class Meaning:
    """`embed`: texts -> (texts, dimensions), rows of length 1. `odds`: those rows -> log-odds of the event."""

    embed: Callable[[Sequence[str]], Floats]
    odds: Callable[[Floats], Floats]


def width(embedded: bool) -> int:
    """How many numbers `relation` gives."""
    return len(NAMES) + len(EMBEDDED) * embedded


def passages(turn: Turn) -> tuple[str, ...]:
    """Its sentences, and each with the one after it."""
    return (*turn.sentences, *(f"{a} {b}" for a, b in pairwise(turn.sentences)))


def relation(
    criterion: str, turns: Sequence[Turn], lang: Lang, idf: Floats, cue: Callable[[str], float], meaning: Meaning | None = None
) -> tuple[Floats, int]:
    """The vector of a criterion beside what was said (in the order of NAMES and, with embeddings, EMBEDDED), and the turn that weighs most (-1: nothing was
    said).

    Args:
        cue: log-odds that a passage does what the kind of criterion is about.
        meaning: sentence embeddings, where the judge has them.
    """
    made, turn, answering = _words(criterion, turns, lang, idf, cue)
    if meaning is None:
        return made, turn
    more = np.zeros(len(EMBEDDED))
    if turns:
        texts = [p for t in turns for p in passages(t)]
        found = meaning.embed([_FRAME.sub("", criterion), *texts])
        here = meaning.embed([turns[answering].text])
        odds = np.clip(meaning.odds(found[1:]), -CLIP, CLIP)
        more[:] = odds.max(), float(np.clip(meaning.odds(here), -CLIP, CLIP)[0]), float((found[1:] @ found[0]).max()), float(here[0] @ found[0])
    else:
        more[:2] = -CLIP
    return np.concatenate([made, more]), turn


def _words(
    criterion: str, turns: Sequence[Turn], lang: Lang, idf: Floats, cue: Callable[[str], float]
) -> tuple[Floats, int, int]:
    """The numbers of NAMES, the turn that weighs most, and the place of the turn that answers what the criterion speaks of."""
    wanted = ngrams(_FRAME.sub("", criterion), lang)
    made = np.zeros(len(NAMES))
    if not turns:
        made[:4] = -CLIP
        return made, -1, -1

    def odds(text: str) -> float:
        return float(np.clip(cue(text), -CLIP, CLIP))

    whole = [odds(t.text) for t in turns]
    cover = [covered(wanted, set(ngrams(t.text, lang)), idf) for t in turns]
    asked = [covered(wanted, set(ngrams(t.before, lang)), idf) for t in turns]
    best_odds, best_cover, joint, where, passage = -CLIP, 0.0, 0.0, 0, turns[0].text
    for number, turn in enumerate(turns):
        for text in passages(turn):
            own, share = odds(text), covered(wanted, set(ngrams(text, lang)), idf)
            best_odds = max(best_odds, own)
            both = share / (1 + np.exp(-own))
            if both > joint:
                joint, where, passage = both, number, text
            best_cover = max(best_cover, share)
    answering = int(np.argmax(asked))
    covering = int(np.argmax(cover))
    numbers = set(_NUMBER.findall(criterion))
    everything = " ".join(t.text for t in turns)
    made[:] = (
        best_odds, max(whole), whole[answering], whole[covering], best_cover, covered(wanted, set(ngrams(everything, lang)), idf), cover[answering], joint,
        sum(n in everything for n in numbers) / len(numbers) if numbers else 1.0,
        float(bool(_NOT[lang].search(passage)) != bool(_NOT[lang].search(criterion))),
        float(any(_BACK[lang].search(t.text) for t in turns[where:])), max(asked), np.log1p(len(turns)),
    )  # fmt: skip
    return made, turns[where].turn, answering
