"""Understanding what the agent says to the patient, offline, in Chinese and English.

A turn is cut into sentences; questions are matched against the lexicon of topics (longest cue first) and against the
case's own cues. What is not understood stays not understood: nothing is guessed. The lexicon is the folder `lexicon/`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any

import yaml

from .. import codes
from ..spec.base import LL, L, Lang, Model


class TopicCues(Model):
    """`ask`: a good way to ask; the cues are phrases that name the topic inside a question."""

    ask: L
    zh: tuple[str, ...]
    en: tuple[str, ...]


class Lexicon(Model):
    """The topics' cues and the speech acts a patient has to recognise."""

    topics: dict[str, TopicCues]
    acts: dict[str, LL]


ACTS = ("interrogative", "open", "anything_else", "private", "normalising", "teach_back", "show_document", "presence")
_ZH = re.compile(r"[㐀-鿿]")
_SENTENCE = re.compile(r"[。！!？?；;\n]|\.(?:\s|$)")
_WORD = re.compile(r"[a-z0-9]+(?:['’-][a-z0-9]+)*")


@lru_cache(maxsize=1)
def lexicon() -> Lexicon:
    """The bundled lexicon.

    Raises:
        pydantic.ValidationError: never with the bundled file (a test checks it).
    """
    topics: dict[str, Any] = {}
    acts: dict[str, Any] = {}
    for file in sorted(item.name for item in (files(__package__) / "lexicon").iterdir() if item.name.endswith(".yaml")):
        data = yaml.load((files(__package__) / "lexicon" / file).read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
        topics |= data.get("topics", {})
        acts |= data.get("acts", {})
    return Lexicon.model_validate({"topics": topics, "acts": acts})


def stem(word: str) -> str:
    """A light English stem: plural and possessive endings off."""
    word = word.replace("’", "'").removesuffix("'s")
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word


@dataclass(frozen=True)
class Hit:
    """A cue found: `key` is a topic id, "act:<name>" or "fact:<id>"."""

    key: str
    start: int
    end: int


class Matcher:
    """Finds cues, leftmost and longest first: Chinese by characters, English by stemmed words."""

    def __init__(self, cues: dict[str, LL]) -> None:
        zh: dict[str, list[tuple[str, str]]] = {}
        en: dict[str, list[tuple[tuple[str, ...], str]]] = {}
        for key, wordings in cues.items():
            for phrase in wordings.zh:
                zh.setdefault(phrase[:2], []).append((phrase, key))
            for phrase in wordings.en:
                words = tuple(stem(w) for w in _WORD.findall(phrase.lower()))
                if words:
                    en.setdefault(words[0], []).append((words, key))
        for bucket in zh.values():
            bucket.sort(key=lambda pair: -len(pair[0]))
        for words_bucket in en.values():
            words_bucket.sort(key=lambda pair: -len(pair[0]))
        self._zh, self._en = zh, en

    def find(self, text: str) -> list[Hit]:
        """All hits in a (lower-case) sentence, in order of place."""
        hits: list[Hit] = []
        i, n, zh = 0, len(text), self._zh
        while i < n - 1:
            bucket = zh.get(text[i : i + 2])
            if bucket:
                for phrase, key in bucket:
                    if text.startswith(phrase, i):
                        end = i + len(phrase)
                        hits.append(Hit(key, i, end))
                        # the same phrase may stand for several topics
                        hits += [Hit(k, i, end) for p, k in bucket if p == phrase and k != key]
                        i = end - 1
                        break
            i += 1
        words = [(stem(m.group()), m.start(), m.end()) for m in _WORD.finditer(text)]
        i = 0
        while i < len(words):
            options = self._en.get(words[i][0])
            step = 1
            if options:
                for wanted, key in options:
                    k = len(wanted)
                    if i + k <= len(words) and all(words[i + j][0] == wanted[j] for j in range(1, k)):
                        hits.append(Hit(key, words[i][1], words[i + k - 1][2]))
                        hits += [Hit(o, words[i][1], words[i + k - 1][2]) for w, o in options if w == wanted and o != key]
                        step = k
                        break
            i += step
        hits.sort(key=lambda h: h.start)
        return hits


@lru_cache(maxsize=1)
def _base_cues() -> dict[str, LL]:
    book = lexicon()
    cues = {topic: LL(zh=c.zh, en=c.en) for topic, c in book.topics.items()}
    cues |= {f"act:{name}": wordings for name, wordings in book.acts.items()}
    return cues


def matcher(extra: dict[str, LL] | None = None) -> Matcher:
    """A matcher over the lexicon, with further cues (`fact:<id>`) of one case. Build once per case, not per episode."""
    return Matcher({**_base_cues(), **(extra or {})})


@dataclass(frozen=True)
class Heard:
    """What a turn said to the patient. `asks`: topic ids and "fact:<id>", in order, without repeats."""

    asks: tuple[str, ...]
    acts: frozenset[str]
    question: bool  # at least one sentence is a question


def hear(text: str, cues: Matcher) -> Heard:
    """Parse one turn of speech.

    Only topics inside a question count as asked. Where a question names an attribute (when, where, how bad), the symptom
    in it is what the question is about and is not itself asked.
    """
    asks: dict[str, None] = {}
    acts: set[str] = set()
    question = False
    for sentence, mark in _sentences(text.lower()):
        hits = cues.find(sentence)
        named = {h.key[4:] for h in hits if h.key.startswith("act:")}
        acts |= named
        asking = mark in "?？" or "interrogative" in named
        if not asking:
            continue
        question = True
        known = codes.topics()
        topics = [h.key for h in hits if not h.key.startswith("act:")]
        attribute = any(known[t].group == "attribute" and t != "associated" for t in topics if t in known)
        for topic in topics:
            if attribute and topic in known and known[topic].group == "symptom" and "presence" not in named:
                continue
            asks[topic] = None
    return Heard(tuple(asks), frozenset(acts), question)


def _sentences(text: str) -> list[tuple[str, str]]:
    """Sentences with the mark that ends each ("" at the end)."""
    result = []
    start = 0
    for m in _SENTENCE.finditer(text):
        sentence = text[start : m.start()].strip()
        if sentence:
            result.append((sentence, m.group()[:1]))
        start = m.end()
    if text[start:].strip():
        result.append((text[start:].strip(), ""))
    return result


def ask_for(topic: str, lang: Lang) -> str:
    """A good question on a topic."""
    return lexicon().topics[topic].ask[lang]


def is_zh(text: str) -> bool:
    """Whether a text holds Chinese characters."""
    return bool(_ZH.search(text))


def raw_lexicon() -> dict[str, Any]:
    """The lexicon as plain data, for agents that stuff it and for tests."""
    return lexicon().model_dump()
