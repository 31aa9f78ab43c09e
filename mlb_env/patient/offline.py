"""The offline patient: answers from atomic facts, by the disclosure conditions of the case, in Chinese or English.

Deterministic given its generator. It remembers: a fact keeps its content when asked again, in other words. It never says
what the ledger does not allow, and what the case does not hold is answered by the closed- and open-world rules
(docs/patients.md). It is written as a flow, like every patient, though it needs no effects.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from random import Random
from typing import Any

from .. import codes
from ..effects import Flow
from ..record.world import report_table
from ..spec.base import Lang
from ..spec.case import Condition, Fact
from ..spec.persona import Persona
from ..spec.trajectory import Answer, PatientEvent
from .advice import advised
from .ledger import Ledger
from .phrases import PHRASES
from .understand import Heard, hear
from .world import World

SPOKEN_ON_TOPIC: frozenset[Condition] = frozenset({"opening", "open_question", "direct_question", "volunteered_when_topic_near",
                                                   "observed", "evolves"})  # fmt: skip


class OfflinePatient:
    """One simulated person in one episode."""

    def __init__(self, world: World, persona: Persona, lang: Lang, rng: Random, ledger: Ledger) -> None:
        self._world, self._persona, self._lang, self._ledger = world, persona, lang, ledger
        self._rng = rng
        self._said: dict[str, int] = {}  # fact -> how often this person said it
        self._first: dict[str, int] = {}  # fact -> the wording it was said in first
        self._now: set[str] = set()  # facts said in this turn
        self._alone = not world.case.person.informant.present
        self._framed = False
        self._taught = 0
        self._asked_own: set[str] = set()
        self.answers: list[Answer] = []
        self.events: list[PatientEvent] = []

    # --- what the episode calls -------------------------------------------------------------------------------------

    def open(self) -> str:
        """The opening words. The facts marked `opening` are out with them, the `observed` ones too."""
        case = self._world.case
        for fact in case.facts:
            if fact.disclosure.condition == "opening":
                self._ledger.disclose(fact, turn=0, minute=0, route="opening", condition="opening")
                self._said[fact.id] = 0
            elif fact.disclosure.condition == "observed":
                self._ledger.disclose(fact, turn=0, minute=0, route="observed", condition="observed")
        return self._rng.choice(case.opening[self._lang])

    def listen(self, text: str, *, turn: int, minute: int) -> None:
        """Take in what the agent says, also when no answer follows: what it tells the person to do is remembered."""
        for plan in advised(text):
            self._event("understood", turn, minute, plan)

    def reply(self, text: str, *, turn: int, minute: int) -> Flow[str]:
        """The answer to one turn of speech. A flow without effects: it ends at once."""
        return self._answer(text, turn, minute)
        yield ()  # makes this a generator

    def evolve(self, facts: Iterable[Fact], *, turn: int, minute: int) -> list[str]:
        """What the person says by themself when these facts come out."""
        said = []
        for fact in facts:
            if self._ledger.disclose(fact, turn=turn, minute=minute, route="evolves", condition="evolves"):
                said.append(self._word(fact))
        return said

    def enter(self, state: str, *, turn: int, minute: int) -> None:
        """The course moved to another state."""
        self._event("state", turn, minute, state)

    # --- understanding ----------------------------------------------------------------------------------------------

    def _answer(self, text: str, turn: int, minute: int) -> str:
        heard = hear(text, self._world.cues)
        self._now = set()
        parts: list[str] = []
        if "private" in heard.acts and not self._alone and self._world.case.person.informant.may_leave:
            self._alone = True
            self._event("left_room", turn, minute)
            parts.append(self._phrase("left_room"))
        if "normalising" in heard.acts and not self._framed:
            self._framed = True
            self._event("framed", turn, minute)
        if "teach_back" in heard.acts and (taught := self._teach_back(turn, minute)):
            parts.append(taught)
        if "show_document" in heard.acts and (shown := self._show(heard.asks, turn, minute)):
            parts.append(shown)
            heard = replace(heard, asks=tuple(a for a in heard.asks if a not in ("report_document", "medicine_box")))
        answered = self._answers(heard, turn, minute) if not parts or heard.asks else []
        parts += answered
        if not parts:
            parts.append(self._nothing(heard, turn))
        elif answered:
            parts = self._dress(parts)
        parts += self._own_question(turn, minute)
        return ("" if self._lang == "zh" else " ").join(parts)

    def _answers(self, heard: Heard, turn: int, minute: int) -> list[str]:
        parts: list[str] = []
        # a cue of the case's own adds nothing where its topic was asked as such
        asks = [a for a in heard.asks if not a.startswith("fact:") or self._world.facts[a[5:]].topic not in heard.asks]
        for key in asks[self._persona.max_answers :]:
            self._note(turn, key, "too_many")
        for key in asks[: self._persona.max_answers]:
            if said := self._on(key, turn, minute):
                parts.append(said)
        if not asks and (heard.acts & {"open", "anything_else"}):
            parts += self._tell_more(turn, minute)
        if len(asks) > self._persona.max_answers:
            parts.append(self._phrase("too_many"))
        return parts

    def _on(self, key: str, turn: int, minute: int) -> str:
        """The answer on one topic ("fact:<id>" for a cue of the case's own)."""
        if key.startswith("fact:"):
            fact = self._world.facts[key[5:]]
            return self._tell([fact], fact.topic, turn, minute)
        own = [f for f in self._world.by_topic.get(key, ()) if f.disclosure.condition not in ("chart_only",)]
        below = [
            f
            for child in self._world.children.get(key, ())
            for f in self._world.by_topic.get(child, ())
            if f.polarity == "present" and f.disclosure.condition in SPOKEN_ON_TOPIC and f.id not in self._ledger
        ]
        said = self._tell(own, key, turn, minute) if own else ""
        if below:
            said = self._join(said, self._tell(below[:2], key, turn, minute))
        if not own and not below:
            return self._unwritten(key, turn)
        near = self._volunteer(key, turn, minute) if said else ""
        return self._join(said, near)

    # --- telling ----------------------------------------------------------------------------------------------------

    def _tell(self, facts: list[Fact], topic: str, turn: int, minute: int) -> str:
        """The answer from these facts of one topic: what is new, or, where nothing is, the known again in other words."""
        new: list[str] = []
        known: list[Fact] = []
        beyond: list[str] = []
        held = False
        for fact in facts:
            if fact.disclosure.condition == "unknown_to_patient" or (fact.polarity == "unknown" and not fact.told[self._lang]):
                beyond.append("not_known")
                continue
            route = self._open_route(fact)
            if route is None and fact.disclosure.condition in ("examination", "test"):
                beyond.append("cannot_tell")
            elif route is None:
                held = True
            elif not fact.told[self._lang]:
                beyond.append("cannot_tell")
            else:
                said = fact.id in self._said
                fixes = said and self._ledger.state(fact.id) == "told" and "question" in fact.correct_by
                self._ledger.disclose(fact, turn=turn, minute=minute, route="patient", condition=route, corrected=fixes)
                if fact.id in self._now:
                    continue
                if said and not fixes:
                    known.append(fact)
                else:
                    new.append(self._word(fact))
        if new:
            return self._join(*new)
        if known:
            self._note(turn, topic, "repeated")
            return self._join(*(self._word(f) for f in known))
        if not held and not beyond:
            return ""  # all of it was said a moment ago, in this turn
        kind = "held_back" if held else beyond[0]
        self._note(turn, topic, kind)
        return self._phrase(kind)

    def _open_route(self, fact: Fact) -> Condition | None:
        """The disclosure condition that is met when the fact's topic was asked about; None if none is."""
        if fact.id in self._ledger:
            return fact.disclosure.condition
        if fact.disclosure.after and fact.disclosure.after not in self._ledger:
            return None
        for condition in (fact.disclosure.condition, *fact.disclosure.also):
            if condition in SPOKEN_ON_TOPIC or condition == "specific_question":
                return condition
            if condition == "sensitive_question" and self._alone and self._framed:
                return condition
            if condition == "alone" and self._alone:
                return condition
        return None

    def _word(self, fact: Fact) -> str:
        """The next wording of a fact; asked again, other words for the same content."""
        corrected = self._ledger.state(fact.id) == "corrected" and fact.corrected
        wordings = (fact.corrected if corrected and fact.corrected else fact.told)[self._lang]
        count = self._said.get(fact.id, 0)
        self._said[fact.id] = count + 1
        if fact.id not in self._first:
            self._first[fact.id] = self._rng.randrange(len(wordings))
        first = self._first[fact.id]
        self._now.add(fact.id)
        return wordings[(first + count) % len(wordings)]

    def _tell_more(self, turn: int, minute: int) -> list[str]:
        """Asked openly: the next two facts that an open question brings out."""
        more = [
            f
            for f in self._world.case.facts
            if f.id not in self._ledger
            and f.polarity == "present"
            and {"open_question", "volunteered_when_topic_near"} & {f.disclosure.condition, *f.disclosure.also}
            and f.told[self._lang]
            and (not f.disclosure.after or f.disclosure.after in self._ledger)
        ][:2]
        for fact in more:
            self._ledger.disclose(fact, turn=turn, minute=minute, route="patient", condition="open_question")
        return [self._word(f) for f in more] or [self._phrase("nothing_more")]

    def _volunteer(self, topic: str, turn: int, minute: int) -> str:
        """One fact that is near the topic and is said unasked."""
        if not self._persona.volunteers:
            return ""
        known = codes.topics()
        here = known.get(topic)
        for fact in self._world.case.facts:
            if fact.disclosure.condition != "volunteered_when_topic_near" or fact.id in self._ledger or not here:
                continue
            there = known[fact.topic]
            near = there.parent == here.id or here.parent == there.id or (
                here.group == there.group and (here.system == there.system or here.group in ("attribute", "general", "ice"))
            )
            if near and fact.told[self._lang] and (not fact.disclosure.after or fact.disclosure.after in self._ledger):
                self._ledger.disclose(fact, turn=turn, minute=minute, route="patient", condition="volunteered_when_topic_near")
                return self._word(fact)
        return ""

    def _unwritten(self, topic: str, turn: int) -> str:
        """The honest answer where the case holds nothing on a topic (clinical design 0.4)."""
        known = codes.topics()[topic]
        if known.group == "symptom" and known.system not in self._world.case.complaint.systems:
            self._note(turn, topic, "default_negative")
            return self._phrase("default_negative", label=known.label(self._lang))
        self._note(turn, topic, "not_known")
        recalled = known.group == "history" and known.field in ("past_history", "family_history")
        return self._phrase("not_that_i_know" if recalled else "not_known")

    # --- other things a patient does --------------------------------------------------------------------------------

    def _show(self, asks: tuple[str, ...], turn: int, minute: int) -> str:
        """Show what was asked for by name: the report, or the medicine boxes. "Show me everything" names nothing."""
        case = self._world.case
        parts: list[str] = []
        if "report_document" in asks and case.report:
            shown = [self._world.facts[case.report.shown_by], *self._world.by_topic.get("report_document", ())]
            for fact in shown:
                self._ledger.disclose(fact, turn=turn, minute=minute, route="document", condition="document")
                self._said.setdefault(fact.id, 0)
            parts.append(report_table(case, case.report, self._lang))
            self._event("document", turn, minute, "report")
        known = codes.topics()
        documents = [f for f in case.facts if "document" in (f.disclosure.condition, *f.disclosure.also)]
        boxes = [f for f in documents if known[f.topic].group == "critical" or f.topic in ("medicine_box", "drug_dose")]
        boxes += [f for f in self._world.by_topic.get("medicine_box", ()) if f not in boxes]
        papers = [f for f in documents if f not in boxes and not (case.report and f.id == case.report.shown_by)]
        told = []
        for fact in [*(boxes if "medicine_box" in asks else ()), *(papers if "report_document" in asks else ())]:
            if fact.topic == "report_document" and case.report:
                continue  # the table was shown
            fixes = self._ledger.state(fact.id) == "told" and bool({"document", "photo"} & set(fact.correct_by))
            self._ledger.disclose(fact, turn=turn, minute=minute, route="document", condition="document", corrected=fixes)
            told.append(self._word(fact) if fact.told[self._lang] else fact.truth[self._lang])
        if told:
            parts.append(self._phrase("shows", items=self._join(*told)))
            self._event("document", turn, minute, "medicine_box" if "medicine_box" in asks else "documents")
        return "\n".join(parts) or self._phrase("show_what")

    def _teach_back(self, turn: int, minute: int) -> str:
        education = self._world.case.education
        if not education:
            return ""
        self._taught += 1
        if self._taught == 1:
            self._event("teach_back_wrong", turn, minute)
            return education.teach_back.wrong_answer[self._lang]
        self._event("teach_back_right", turn, minute)
        return education.teach_back.right_answer[self._lang]

    def _own_question(self, turn: int, minute: int) -> list[str]:
        for question in self._world.case.mind.questions_patient_asks:
            if question.when <= turn and question.id not in self._asked_own:
                self._asked_own.add(question.id)
                self._event("question", turn, minute, question.id)
                return [question.text[self._lang]]
        return []

    def _nothing(self, heard: Heard, turn: int) -> str:
        if heard.question:
            self._note(turn, "", "unparsed")
            return self._phrase("unparsed")
        return self._phrase("acknowledge")

    # --- wording ----------------------------------------------------------------------------------------------------

    def _dress(self, parts: list[str]) -> list[str]:
        """The persona's fillers around an answer; they carry no fact."""
        persona, lang = self._persona, self._lang
        if persona.lead[lang] and self._rng.random() < persona.filler_rate:
            parts = [self._rng.choice(persona.lead[lang]), *parts]
        if persona.tail[lang] and self._rng.random() < persona.filler_rate:
            parts = [*parts, self._rng.choice(persona.tail[lang])]
        return parts

    def _phrase(self, name: str, **slots: str) -> str:
        wordings = PHRASES[name][self._lang]
        return self._rng.choice(wordings).format(**slots)

    def _join(self, *parts: str) -> str:
        return ("" if self._lang == "zh" else " ").join(p for p in parts if p)

    def _note(self, turn: int, topic: str, kind: Any) -> None:
        self.answers.append(Answer(turn=turn, topic=topic, kind=kind))

    def _event(self, kind: Any, turn: int, minute: int, id_: str = "") -> None:
        self.events.append(PatientEvent(turn=turn, minute=minute, kind=kind, id=id_))
