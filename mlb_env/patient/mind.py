"""The mind of a simulated patient: what it says to a turn of speech, decided before anyone puts it into words.

It answers from atomic facts, by the disclosure conditions of the case, and enters each into the ledger. Whoever words it
(templates, a model, a person) is given these parts and nothing else: what is not among them cannot be said. What the case
does not hold is answered by the closed- and open-world rules (docs/patients.md). Deterministic given its generator.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from random import Random
from typing import Any, Literal

from .. import codes
from ..record.world import report_table
from ..spec.base import Lang
from ..spec.case import Condition, Fact
from ..spec.persona import Manner, Persona
from ..spec.trajectory import Answer, PatientEvent
from .advice import advised
from .ledger import Ledger
from .phrases import PHRASES
from .understand import Heard
from .world import World

SPOKEN_ON_TOPIC: frozenset[Condition] = frozenset({"opening", "open_question", "direct_question", "volunteered_when_topic_near",
                                                   "observed", "evolves"})  # fmt: skip
GUARDED_GROUPS = ("history", "context", "critical")
MISHEARD_AT_MOST = 2
MANY_QUESTIONS = 4

PartKind = Literal["fact", "answer", "document", "teach_back", "question", "manner", "filler"]


@dataclass(frozen=True)
class Part:
    """One thing to say, in the offline wording. `facts`: the facts it conveys; the other kinds convey none of the case's."""

    text: str
    facts: tuple[str, ...] = ()
    kind: PartKind = "answer"


class Mind:
    """What one simulated person knows, has said and feels in one episode."""

    def __init__(self, world: World, persona: Persona, lang: Lang, rng: Random, ledger: Ledger) -> None:
        self.world, self.persona, self.lang, self.ledger = world, persona, lang, ledger
        self._rng = rng
        self._said: dict[str, int] = {}  # fact -> how often this person said it
        self._first: dict[str, int] = {}  # fact -> the wording it was said in first
        self._now: set[str] = set()  # facts said in this turn
        self._alone = not world.case.person.informant.present
        self._framed = False
        self._taught = 0
        self._asked_own: set[str] = set()
        self._tension, self._guard, self._misheard = persona.tension, persona.guarded, 0
        self._reacted: set[Manner] = set()
        self._forgot: set[str] = set()
        self._answered = 0
        self.answers: list[Answer] = []
        self.events: list[PatientEvent] = []

    # --- what the patient calls -------------------------------------------------------------------------------------

    def open(self) -> str:
        """The opening words. The facts marked `opening` are out with them, the `observed` ones too."""
        case = self.world.case
        for fact in case.facts:
            if fact.disclosure.condition == "opening":
                self.ledger.disclose(fact, turn=0, minute=0, route="opening", condition="opening")
                self._said[fact.id] = 0
            elif fact.disclosure.condition == "observed":
                self.ledger.disclose(fact, turn=0, minute=0, route="observed", condition="observed")
        return self._rng.choice(case.opening[self.lang])

    def reassure(self) -> None:
        """The person is alone, and knows why sensitive things are asked (benches and tests; an agent has to bring it about)."""
        self._alone = self._framed = True

    def evolve(self, facts: Iterable[Fact], *, turn: int, minute: int) -> list[Part]:
        """What the person says by themself when these facts come out."""
        self._now = set()
        said = []
        for fact in facts:
            if self.ledger.disclose(fact, turn=turn, minute=minute, route="evolves", condition="evolves"):
                said.append(self._word(fact))
        return said

    def enter(self, state: str, *, turn: int, minute: int) -> None:
        """The course moved to another state."""
        self._event("state", turn, minute, state)

    def listen(self, text: str, *, turn: int, minute: int) -> None:
        """Take in what the agent says, also when no answer follows: what it tells the person to do is remembered."""
        for plan in advised(text):
            self._event("understood", turn, minute, plan)

    def answer(self, text: str, *, turn: int, minute: int) -> list[Part]:
        """What to say to one turn of speech, in order; never empty."""
        self._now = set()
        if self._too_long(text):
            self._misheard += 1
            self._note(turn, "", "misheard")
            return [self._phrase("misheard")]
        heard = self.world.hear(text)
        felt = self._feel(heard, turn, minute)
        parts: list[Part] = []
        if "private" in heard.acts and not self._alone and self.world.case.person.informant.may_leave:
            self._alone = True
            self._event("left_room", turn, minute)
            parts.append(self._phrase("left_room"))
        if "normalising" in heard.acts and not self._framed:
            self._framed = True
            self._event("framed", turn, minute)
        if "teach_back" in heard.acts:
            parts += self._teach_back(turn, minute)
        if "show_document" in heard.acts and (shown := self._show(heard.asks, turn, minute)):
            parts += shown
            heard = replace(heard, asks=tuple(a for a in heard.asks if a not in ("report_document", "medicine_box")))
        answered = self._answers(heard, turn, minute) if not parts or heard.asks else []
        parts += answered
        if answered:
            parts = self._dress(parts)
        spoken = [*felt, *parts] or [self._nothing(heard, turn)]
        return [*spoken, *self._own_question(turn, minute)]

    # --- manner -----------------------------------------------------------------------------------------------------

    def _too_long(self, text: str) -> bool:
        """Hard of hearing: a turn longer than what is caught."""
        limit = self.persona.hears
        if limit is None or self._misheard >= MISHEARD_AT_MOST:
            return False
        return (len(text) if self.lang == "zh" else 2 * len(text.split())) > limit

    def _feel(self, heard: Heard, turn: int, minute: int) -> list[Part]:
        """What the agent's manner does: tension falls or rises, and the person says so."""
        persona, parts = self.persona, []
        manners: list[Manner] = [m for m in ("empathy", "dismissive", "jargon", "scolding") if m in heard.acts]
        if len(heard.asks) >= MANY_QUESTIONS:
            manners.append("many_questions")
        if "empathy" in heard.acts or "giving_reason" in heard.acts:
            self._guard = 0
        before = self._tension
        for manner in manners:
            change = -1 if manner == "empathy" else 1 if manner in persona.irritants else 0
            self._tension = min(3, max(0, self._tension + change))
            if manner in persona.reactions and manner not in self._reacted:
                self._reacted.add(manner)
                self._event("reacted", turn, minute, manner)
                parts.append(self._choice(persona.reactions[manner][self.lang]))
        if self._tension == 3 and persona.vents[self.lang] and (before < 3 or turn == 1):
            self._event("reacted", turn, minute, "vents")
            parts.append(self._choice(persona.vents[self.lang]))
        if before > 0 == self._tension and persona.settles[self.lang]:
            self._event("reacted", turn, minute, "settles")
            parts.append(self._choice(persona.settles[self.lang]))
        return parts

    def _keeps_back(self, key: str, turn: int) -> Part | None:
        """A guarded person asks why; a forgetful one has to be asked again."""
        fact = self.world.facts.get(key[5:]) if key.startswith("fact:") else None
        topic = fact.topic if fact else key
        known = codes.topics().get(topic)
        if known is None or known.group not in GUARDED_GROUPS or topic in ("identity", "allergy"):
            return None
        if self._guard > 0:
            self._guard -= 1
            self._note(turn, topic, "guarded")
            return self._phrase("guarded")
        if self.persona.recall < 1 and topic not in self._forgot and self.world.by_topic.get(topic):
            self._forgot.add(topic)
            if self._rng.random() >= self.persona.recall:
                self._note(turn, topic, "hesitated")
                return self._phrase("hesitated")
        return None

    # --- answering --------------------------------------------------------------------------------------------------

    def _answers(self, heard: Heard, turn: int, minute: int) -> list[Part]:
        parts: list[Part] = []
        # a cue of the case's own adds nothing where its topic was asked as such
        asks = [a for a in heard.asks if not a.startswith("fact:") or self.world.facts[a[5:]].topic not in heard.asks]
        # when, where and how of a symptom beside the main complaint is told with that symptom
        if beside := [t for t in heard.about if t not in self.world.complaint and t in self.world.by_topic]:
            asks = [*beside, *(a for a in asks if a not in codes.topics() or codes.topics()[a].group != "attribute")]
        for key in asks[self.persona.max_answers :]:
            self._note(turn, key, "too_many")
        for key in asks[: self.persona.max_answers]:
            kept = self._keeps_back(key, turn)
            parts += [kept] if kept else self._on(key, turn, minute, narrow="regular" in heard.acts)
        if "complaint" in heard.acts:
            parts += [p for f in self.world.case.facts if f.disclosure.condition == "opening" for p in self._tell([f], f.topic, turn, minute)]
        elif not asks and (heard.acts & {"open", "anything_else"}):
            parts += self._tell_more(turn, minute)
        if len(asks) > self.persona.max_answers:
            parts.append(self._phrase("too_many"))
        if parts:
            self._answered += 1
            if self._answered == 2 and self.persona.theory[self.lang]:
                parts.append(self._choice(self.persona.theory[self.lang]))
        return parts

    def _on(self, key: str, turn: int, minute: int, *, narrow: bool = False) -> list[Part]:
        """The answer on one topic ("fact:<id>" for a cue of the case's own). `narrow`: nothing of the topics below it."""
        if key.startswith("fact:"):
            fact = self.world.facts[key[5:]]
            return self._tell([fact], fact.topic, turn, minute)
        own = [f for f in self.world.by_topic.get(key, ()) if f.disclosure.condition not in ("chart_only",)]
        below = [
            f
            for child in self.world.children.get(key, ())
            for f in self.world.by_topic.get(child, ())
            if f.polarity == "present" and f.disclosure.condition in SPOKEN_ON_TOPIC and f.id not in self.ledger
        ]
        if narrow and own:
            below = []
        said = self._tell(own, key, turn, minute) if own else []
        if below:
            said += self._tell(below[:2], key, turn, minute)
        if not own and not below:
            return [self._unwritten(key, turn)]
        return said + (self._volunteer(key, turn, minute) if said else [])

    def _tell(self, facts: list[Fact], topic: str, turn: int, minute: int) -> list[Part]:
        """The answer from these facts of one topic: what is new, or, where nothing is, the known again in other words."""
        new: list[Part] = []
        known: list[Fact] = []
        beyond: list[str] = []
        held = False
        for fact in facts:
            if any(later in self.ledger for later in self.world.replaced_by.get(fact.id, ())):
                continue
            if fact.disclosure.condition == "unknown_to_patient" or (fact.polarity == "unknown" and not fact.told[self.lang]):
                beyond.append("not_known")
                continue
            route = self._open_route(fact)
            if route is None and fact.disclosure.condition in ("examination", "test"):
                beyond.append("cannot_tell")
            elif route is None:
                held = held or fact.disclosure.condition != "evolves"
            elif not fact.told[self.lang]:
                beyond.append("cannot_tell")
            else:
                said = fact.id in self._said
                fixes = said and self.ledger.state(fact.id) == "told" and "question" in fact.correct_by
                self.ledger.disclose(fact, turn=turn, minute=minute, route="patient", condition=route, corrected=fixes)
                if fact.id in self._now:
                    continue
                if said and not fixes:
                    known.append(fact)
                else:
                    new.append(self._word(fact))
        if new:
            return new
        if known:
            self._note(turn, topic, "repeated")
            return [self._word(f) for f in known]
        if not held and not beyond:
            # nothing of it has come about yet, or all of it was said a moment ago, in this turn
            return [] if any(f.id in self.ledger for f in facts) else [self._unwritten(topic, turn)]
        kind = "held_back" if held else beyond[0]
        self._note(turn, topic, kind)
        return [self._phrase(kind)]

    def _open_route(self, fact: Fact) -> Condition | None:
        """The disclosure condition that is met when the fact's topic was asked about; None if none is."""
        if fact.id in self.ledger:
            return fact.disclosure.condition
        if fact.disclosure.condition == "evolves" or (fact.disclosure.after and fact.disclosure.after not in self.ledger):
            return None
        for condition in (fact.disclosure.condition, *fact.disclosure.also):
            if condition in SPOKEN_ON_TOPIC or condition == "specific_question":
                return condition
            if condition == "sensitive_question" and self._alone and self._framed:
                return condition
            if condition == "alone" and self._alone:
                return condition
        return None

    def _word(self, fact: Fact) -> Part:
        """The next wording of a fact; asked again, other words for the same content."""
        corrected = self.ledger.state(fact.id) == "corrected" and fact.corrected
        wordings = (fact.corrected if corrected and fact.corrected else fact.told)[self.lang]
        count = self._said.get(fact.id, 0)
        self._said[fact.id] = count + 1
        if fact.id not in self._first:
            self._first[fact.id] = self._rng.randrange(len(wordings))
        first = self._first[fact.id]
        self._now.add(fact.id)
        return Part(wordings[(first + count) % len(wordings)], (fact.id,), "fact")

    def _tell_more(self, turn: int, minute: int) -> list[Part]:
        """Asked openly: the next two facts that an open question brings out."""
        more = [
            f
            for f in self.world.case.facts
            if f.id not in self.ledger
            and f.polarity == "present"
            and {"open_question", "volunteered_when_topic_near"} & {f.disclosure.condition, *f.disclosure.also}
            and f.told[self.lang]
            and (not f.disclosure.after or f.disclosure.after in self.ledger)
        ][:2]
        for fact in more:
            self.ledger.disclose(fact, turn=turn, minute=minute, route="patient", condition="open_question")
        return [self._word(f) for f in more] or [self._phrase("nothing_more")]

    def _volunteer(self, topic: str, turn: int, minute: int) -> list[Part]:
        """One fact that is near the topic and is said unasked."""
        if not self.persona.volunteers:
            return []
        known = codes.topics()
        here = known.get(topic)
        for fact in self.world.case.facts:
            if fact.disclosure.condition != "volunteered_when_topic_near" or fact.id in self.ledger or not here:
                continue
            there = known[fact.topic]
            near = there.parent == here.id or here.parent == there.id or (
                here.group == there.group and (here.system == there.system or here.group in ("attribute", "general", "ice"))
            )
            if near and fact.told[self.lang] and (not fact.disclosure.after or fact.disclosure.after in self.ledger):
                self.ledger.disclose(fact, turn=turn, minute=minute, route="patient", condition="volunteered_when_topic_near")
                return [self._word(fact)]
        return []

    def _unwritten(self, topic: str, turn: int) -> Part:
        """The honest answer where the case holds nothing on a topic (clinical design 0.4)."""
        known = codes.topics()[topic]
        if known.group == "symptom" and known.system not in self.world.case.complaint.systems:
            self._note(turn, topic, "default_negative")
            return self._phrase("default_negative", label=known.label(self.lang))
        self._note(turn, topic, "not_known")
        recalled = known.group == "history" and known.field in ("past_history", "family_history")
        return self._phrase("not_that_i_know" if recalled else "not_known")

    # --- other things a patient does --------------------------------------------------------------------------------

    def _show(self, asks: tuple[str, ...], turn: int, minute: int) -> list[Part]:
        """Show what was asked for by name: the report, or the medicine boxes. "Show me everything" names nothing."""
        case = self.world.case
        parts: list[Part] = []
        if "report_document" in asks and case.report:
            shown = [self.world.facts[case.report.shown_by], *self.world.by_topic.get("report_document", ())]
            for fact in shown:
                self.ledger.disclose(fact, turn=turn, minute=minute, route="document", condition="document")
                self._said.setdefault(fact.id, 0)
            ids = tuple(dict.fromkeys(f.id for f in shown))
            parts.append(Part(report_table(case, case.report, self.lang) + "\n", ids, "document"))
            self._event("document", turn, minute, "report")
        known = codes.topics()
        documents = [f for f in case.facts if "document" in (f.disclosure.condition, *f.disclosure.also)]
        boxes = [f for f in documents if known[f.topic].group == "critical" or f.topic in ("medicine_box", "drug_dose")]
        boxes += [f for f in self.world.by_topic.get("medicine_box", ()) if f not in boxes]
        papers = [f for f in documents if f not in boxes and not (case.report and f.id == case.report.shown_by)]
        told = []
        for fact in [*(boxes if "medicine_box" in asks else ()), *(papers if "report_document" in asks else ())]:
            if fact.topic == "report_document" and case.report:
                continue  # the table was shown
            fixes = self.ledger.state(fact.id) == "told" and bool({"document", "photo"} & set(fact.correct_by))
            self.ledger.disclose(fact, turn=turn, minute=minute, route="document", condition="document", corrected=fixes)
            told.append(self._word(fact) if fact.told[self.lang] else Part(fact.truth[self.lang], (fact.id,), "fact"))
        if told:
            items = ("" if self.lang == "zh" else " ").join(p.text for p in told)
            parts.append(Part(self._phrase("shows", items=items).text, tuple(f for p in told for f in p.facts), "document"))
            self._event("document", turn, minute, "medicine_box" if "medicine_box" in asks else "documents")
        return parts or [self._phrase("show_what")]

    def _teach_back(self, turn: int, minute: int) -> list[Part]:
        education = self.world.case.education
        if not education:
            return []
        self._taught += 1
        if self._taught == 1:
            self._event("teach_back_wrong", turn, minute)
            return [Part(education.teach_back.wrong_answer[self.lang], kind="teach_back")]
        self._event("teach_back_right", turn, minute)
        return [Part(education.teach_back.right_answer[self.lang], kind="teach_back")]

    def _own_question(self, turn: int, minute: int) -> list[Part]:
        for question in self.world.case.mind.questions_patient_asks:
            if question.when <= turn and question.id not in self._asked_own:
                self._asked_own.add(question.id)
                self._event("question", turn, minute, question.id)
                return [Part(question.text[self.lang], kind="question")]
        return []

    def _nothing(self, heard: Heard, turn: int) -> Part:
        if heard.question:
            self._note(turn, "", "unparsed")
            return self._phrase("unparsed")
        return self._phrase("acknowledge")

    # --- wording ----------------------------------------------------------------------------------------------------

    def _dress(self, parts: list[Part]) -> list[Part]:
        """The persona's fillers around an answer; they carry no fact."""
        persona, lang = self.persona, self.lang
        if persona.lead[lang] and self._rng.random() < persona.filler_rate:
            parts = [Part(self._rng.choice(persona.lead[lang]), kind="filler"), *parts]
        if persona.tail[lang] and self._rng.random() < persona.filler_rate:
            parts = [*parts, Part(self._rng.choice(persona.tail[lang]), kind="filler")]
        return parts

    def _choice(self, wordings: tuple[str, ...]) -> Part:
        return Part(self._rng.choice(wordings), kind="manner")

    def _phrase(self, name: str, **slots: str) -> Part:
        return Part(self._rng.choice(PHRASES[name][self.lang]).format(**slots))

    def _note(self, turn: int, topic: str, kind: Any) -> None:
        self.answers.append(Answer(turn=turn, topic=topic, kind=kind))

    def _event(self, kind: Any, turn: int, minute: int, id_: str = "") -> None:
        self.events.append(PatientEvent(turn=turn, minute=minute, kind=kind, id=id_))
