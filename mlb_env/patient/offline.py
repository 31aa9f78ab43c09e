"""The offline patient: the mind's parts in their own words. Every other patient is this one with another way of wording."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

from ..effects import Flow
from ..spec.base import Lang
from ..spec.case import Fact
from ..spec.persona import Persona
from ..spec.trajectory import Answer, PatientEvent, Telling
from .ledger import Ledger
from .mind import Mind, Part
from .world import World


class OfflinePatient:
    """One simulated person in one episode, deterministic given its generator. Written as a flow, though it needs no effects."""

    def __init__(self, world: World, persona: Persona, lang: Lang, rng: Random, ledger: Ledger) -> None:
        self.mind = Mind(world, persona, lang, rng, ledger)
        self.lang = lang
        self.tellings: list[Telling] = []

    @property
    def answers(self) -> list[Answer]:
        return self.mind.answers

    @property
    def events(self) -> list[PatientEvent]:
        return self.mind.events

    def open(self) -> str:
        """The opening words."""
        return self.mind.open()

    def listen(self, text: str, *, turn: int, minute: int) -> None:
        """Take in what the agent says, also when no answer follows."""
        self.mind.listen(text, turn=turn, minute=minute)

    def reply(self, text: str, *, turn: int, minute: int) -> Flow[str]:
        """The answer to one turn of speech."""
        return (yield from self.word(text, self.mind.answer(text, turn=turn, minute=minute), turn))

    def evolve(self, facts: Iterable[Fact], *, turn: int, minute: int) -> list[str]:
        """What the person says by themself when these facts come out: always in the case's own words."""
        parts = self.mind.evolve(facts, turn=turn, minute=minute)
        if parts:
            self.tellings.append(Telling(turn=turn, facts=conveyed(parts), by="rules"))
        return [p.text for p in parts]

    def enter(self, state: str, *, turn: int, minute: int) -> None:
        """The course moved to another state."""
        self.mind.enter(state, turn=turn, minute=minute)

    def word(self, asked: str, parts: list[Part], turn: int) -> Flow[str]:
        """Put the parts into words, and enter in `tellings` what was conveyed and by whom."""
        self.tellings.append(Telling(turn=turn, facts=conveyed(parts), by="rules"))
        return joined(parts, self.lang)
        yield ()  # makes this a generator


def joined(parts: Iterable[Part], lang: Lang) -> str:
    """The parts in their offline wording."""
    return ("" if lang == "zh" else " ").join(p.text for p in parts if p.text).strip()


def conveyed(parts: Iterable[Part]) -> tuple[str, ...]:
    """The facts in these parts, in order, without repeats."""
    return tuple(dict.fromkeys(f for p in parts for f in p.facts))
