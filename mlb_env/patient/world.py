"""What a simulator needs of a case, compiled once and shared by all its episodes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

from .. import codes
from ..spec.base import Lang
from ..spec.case import Fact, PatientCase
from .understand import Heard, Matcher, hear, matcher, questioning, topic_words, words

HEARD_MOST, HEARD_LONGEST = 4096, 2000  # how many things said to one person are kept, and of what length at most


def _words_of(*texts: str | None) -> set[str]:
    return set().union(*(words(t) for t in texts if t))


@dataclass(frozen=True)
class World:
    """A case with its indexes. Nothing here changes during an episode."""

    case: PatientCase

    @cached_property
    def facts(self) -> dict[str, Fact]:
        return {fact.id: fact for fact in self.case.facts}

    @cached_property
    def by_topic(self) -> dict[str, tuple[Fact, ...]]:
        """Facts by their own topic, in file order."""
        index: dict[str, list[Fact]] = {}
        for fact in self.case.facts:
            index.setdefault(fact.topic, []).append(fact)
        return {topic: tuple(facts) for topic, facts in index.items()}

    @cached_property
    def complaint(self) -> frozenset[str]:
        """The topics of what the person comes with."""
        return frozenset(f.topic for f in self.case.facts if f.disclosure.condition == "opening")

    @cached_property
    def replaced_by(self) -> dict[str, tuple[str, ...]]:
        """Fact -> the facts after which it no longer holds."""
        index: dict[str, list[str]] = {}
        for fact in self.case.facts:
            for old in fact.replaces:
                index.setdefault(old, []).append(fact.id)
        return {fact: tuple(later) for fact, later in index.items()}

    @cached_property
    def children(self) -> dict[str, tuple[str, ...]]:
        """Topic -> topics whose parent it is."""
        index: dict[str, list[str]] = {}
        for topic in codes.topics().values():
            if topic.parent:
                index.setdefault(topic.parent, []).append(topic.id)
        return {topic: tuple(ids) for topic, ids in index.items()}

    @cached_property
    def cues(self) -> Matcher:
        """The lexicon with the case's own cues."""
        return matcher({f"fact:{f.id}": f.askable for f in self.case.facts if f.askable.zh or f.askable.en})

    def hear(self, text: str) -> Heard:
        """What was said to this person (`understand.hear`), looked up where it was said before: trials and agents repeat themselves."""
        if len(text) > HEARD_LONGEST:
            return self._narrowed(hear(text, self.cues, self.by_topic), text)
        if (heard := self._heard.get(text)) is None:
            if len(self._heard) >= HEARD_MOST:
                self._heard.clear()
            heard = self._heard[text] = self._narrowed(hear(text, self.cues, self.by_topic), text)
        return heard

    def _narrowed(self, heard: Heard, text: str) -> Heard:
        """Of several facts on one topic those that the question speaks of; where it speaks of none, all."""
        asks: list[str] = []
        for ask in heard.asks:
            facts = [f for f in self.by_topic.get(ask, ()) if f.disclosure.condition != "evolves"]
            spoken = words(text) if len(facts) > 1 else set()
            named = [f for f in facts if spoken & self._spoken_of[f.id]]
            asks += [f"fact:{f.id}" for f in named] if 0 < len(named) < len(facts) else [ask]
        return replace(heard, asks=tuple(dict.fromkeys(asks)))

    @cached_property
    def _spoken_of(self) -> dict[str, set[str]]:
        """Fact -> the words of its own: its cues, and what it says in words that name neither its topic nor a sibling nor any common question."""
        said = {f.id: _words_of(f.truth.zh, f.truth.en, *f.told.zh, *f.told.en) - questioning() - topic_words(f.topic) for f in self.case.facts}
        own = {f.id: said[f.id] | _words_of(*f.askable.zh, *f.askable.en) - questioning() for f in self.case.facts}
        return {f.id: own[f.id].difference(*(own[g.id] for g in self.by_topic[f.topic] if g.id != f.id)) for f in self.case.facts}

    @cached_property
    def _heard(self) -> dict[str, Heard]:
        return {}

    @cached_property
    def evolving(self) -> tuple[Fact, ...]:
        """Facts that come out by themselves at a minute."""
        timed = [f for f in self.case.facts if "evolves" in (f.disclosure.condition, *f.disclosure.also)]
        return tuple(sorted((f for f in timed if f.disclosure.at_min is not None), key=lambda f: f.disclosure.at_min or 0))

    def label(self, topic: str, lang: Lang) -> str:
        return codes.topics()[topic].label(lang)
