"""Patients whose words come from elsewhere: a model, a person, a transcript. What is said is the mind's decision all the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from random import Random

from ..effects import AskHuman, ChatReply, ChatRequest, Failure, Flow, HumanReply, ModelSettings
from ..errors import SimulatorFailed
from ..spec.action import Message
from ..spec.base import Lang
from ..spec.persona import Persona
from ..spec.trajectory import Telling, Trajectory, Usage
from .guard import Fault, Licence, check, omitted
from .ledger import Ledger
from .mind import Part
from .offline import OfflinePatient, conveyed, joined
from .world import World

ATTEMPTS = 3  # wordings asked of the model for one reply
MEMORY = 6  # earlier exchanges that the model is shown

AGAIN = {
    "zh": "这句话不能用：{faults}。请按要求重说一遍，只说该说的内容。",
    "en": "That cannot be used: {faults}. Say it again by the rules, with nothing but the given content.",
}
LEVELS = {
    "lay": {"zh": "文化不高，只用日常话，听不懂医学词", "en": "everyday words only, no medical terms"},
    "plain": {"zh": "普通人的话", "en": "plain words"},
    "professional": {"zh": "懂医学，可以用术语", "en": "knows medicine and may use its terms"},
}
NOTHING = {"zh": "（没有）", "en": "(nothing)"}


class GuardedPatient(OfflinePatient):
    """Common to patients whose words are checked against what may be said."""

    def licence(self, asked: str, parts: Iterable[Part]) -> Licence:
        """What the reply to `asked` may draw on."""
        mind, chosen = self.mind, list(parts)
        now = conveyed(chosen)
        world = mind.world
        known = tuple(world.facts[e.fact] for e in mind.ledger.entries if e.fact in world.facts and e.fact not in now)
        return Licence(world, self.lang, tuple(world.facts[f] for f in now), tuple(dict.fromkeys(known)), asked, joined(chosen, self.lang))


class ModelPatient(GuardedPatient):
    """A model words the parts in persona; the guard checks, asks again with the reason, and in the end the offline wording stands.

    Neither the diagnosis nor any fact that is not out is in the prompt (`prompts/patient.<lang>.md`).
    """

    def __init__(self, world: World, persona: Persona, lang: Lang, rng: Random, ledger: Ledger, settings: ModelSettings) -> None:
        super().__init__(world, persona, lang, rng, ledger)
        self._settings = settings
        self._seed = rng.randrange(2**31)
        self._talk: list[tuple[str, str]] = []
        self.usage = Usage()

    def word(self, asked: str, parts: list[Part], turn: int) -> Flow[str]:
        """Ask the model for a wording until one passes the guard.

        Raises:
            SimulatorFailed: the endpoint failed for good; the episode stays ungraded.
        """
        shown = [p for p in parts if p.kind == "document"]  # a document is handed over, not retold
        spoken = [p for p in parts if p.kind != "document"]
        licence = self.licence(asked, parts)
        messages = self._messages(asked, spoken, licence)
        refused: list[str] = []
        said = ""
        while spoken and len(refused) < ATTEMPTS:
            request = ChatRequest("patient", self._settings, tuple(messages), (), self._seed + turn)
            (reply,) = yield (request,)
            if isinstance(reply, Failure):
                raise SimulatorFailed(f"the model that plays the patient failed: {reply.reason}")
            if not isinstance(reply, ChatReply):
                raise SimulatorFailed("a request to the model that plays the patient was answered by something that is no model")
            self.usage = self.usage.plus(reply.prompt_tokens, reply.completion_tokens)
            text = reply.content.strip()
            faults = check(text, licence) or omitted(text, licence)
            if not faults:
                said = text
                break
            refused.append("; ".join(map(str, faults)))
            why = "; ".join(_told_to_model(f, self.lang) for f in faults)
            messages += [{"role": "assistant", "content": text or "…"}, {"role": "user", "content": AGAIN[self.lang].format(faults=why)}]
        by = "model" if said or not spoken else "fallback"
        said = said or joined(spoken, self.lang)
        self._talk.append((asked, said))
        self.tellings.append(Telling(turn=turn, facts=conveyed(parts), by=by, refused=tuple(refused)))
        return joined([Part(said), *shown], self.lang)

    def _messages(self, asked: str, parts: list[Part], licence: Licence) -> list[dict[str, str]]:
        lang, persona, case = self.lang, self.mind.persona, self.mind.world.case
        template = (files(__package__) / "prompts" / f"patient.{lang}.md").read_text(encoding="utf-8")
        known = [f.told[lang][0] for f in licence.known if f.told[lang]]
        system = template.format(
            person=_person(self.mind.world, lang), persona=f"{persona.label[lang]}：{persona.description[lang]}" if lang == "zh" else
            f"{persona.label[lang]}: {persona.description[lang]}", language=LEVELS[persona.language][lang],
            known="\n".join(f"- {t}" for t in known) or NOTHING[lang], now="\n".join(f"- {p.text}" for p in parts if p.text) or NOTHING[lang],
        )  # fmt: skip
        messages = [{"role": "system", "content": system}]
        assert case is not None
        for doctor, patient in self._talk[-MEMORY:]:
            messages += [{"role": "user", "content": doctor}, {"role": "assistant", "content": patient}]
        return [*messages, {"role": "user", "content": asked}]


def _told_to_model(fault: Fault, lang: Lang) -> str:
    """The fault in the language of the prompt, without any content of the case."""
    words = {
        "leak": ("说了这次不该说的内容", "it says something that is not to be said now"), "invention": ("添加了没有给出的内容", "it adds something that was not given"),
        "contradiction": ("与给出的内容相反", "it says the opposite of what was given"), "diagnosis": ("说出了诊断", "it names a diagnosis"),
        "role": ("没有以患者身份说话", "it does not speak as the patient"), "language": ("没有用规定的语言", "it is not in the language asked for"),
        "empty": ("没有内容", "it is empty"), "length": ("太长", "it is too long"), "omission": ("漏了要说的内容", "it leaves out what was to be said"),
    }  # fmt: skip
    return words[fault.kind][0 if lang == "zh" else 1]


def _person(world: World, lang: Lang) -> str:
    person = world.case.person
    zh = lang == "zh"
    unit = {"year": ("岁", "years"), "month": ("个月", "months"), "day": ("天", "days")}[person.age.unit][0 if zh else 1]
    sex = {"female": ("女", "female"), "male": ("男", "male")}.get(person.sex_at_birth or "", ("", ""))[0 if zh else 1]
    speaker = person.informant.relation[lang]
    return f"{person.age.value}{unit}，{sex}；说话的人：{speaker}" if zh else f"{person.age.value} {unit}, {sex}; speaking: {speaker}"


class HumanPatient(GuardedPatient):
    """A person at the keyboard words the parts. An empty line takes the offline wording. What the guard doubts is recorded, not stopped."""

    def open(self) -> str:
        self._opening = super().open()
        return self._opening

    def word(self, asked: str, parts: list[Part], turn: int) -> Flow[str]:
        zh, offline = self.lang == "zh", joined(parts, self.lang)
        shown = f"\n医生：{asked}\n可以说：{offline}" if zh else f"\nDoctor: {asked}\nYou may say: {offline}"
        if not self.tellings:  # the first words are said for the person, who has to know them
            who = ("：" if zh else ": ").join((self.mind.persona.label[self.lang], self.mind.persona.description[self.lang]))
            shown = (f"您扮演患者（{who}）。\n您已经说了：{self._opening}" if zh else f"You play the patient ({who}).\nYou have said: {self._opening}") + shown
        (reply,) = yield (AskHuman("patient", shown, "患者（回车用上面的话）> " if zh else "Patient (Enter: the words above) > "),)
        if isinstance(reply, Failure):
            raise SimulatorFailed(f"the person who plays the patient cannot be asked: {reply.reason}")
        if not isinstance(reply, HumanReply):
            raise SimulatorFailed("a question to the person who plays the patient was answered by something else")
        typed = reply.text.strip()
        licence = self.licence(asked, parts)
        doubts = tuple(map(str, check(typed, licence) or omitted(typed, licence))) if typed else ()
        self.tellings.append(Telling(turn=turn, facts=conveyed(parts), by="person" if typed else "rules", doubts=doubts))
        return typed or offline


class ReplayedPatient(GuardedPatient):
    """The patient's words of a recorded episode, as long as the agent's words call for the same content; then the offline wording.

    A reply is replayed where the recorded one conveyed the same facts in the same turn; where it did not, the episode has parted from
    its record, which the telling says (`rules` in place of `replay`).
    """

    def __init__(self, world: World, persona: Persona, lang: Lang, rng: Random, ledger: Ledger, recorded: Trajectory) -> None:
        super().__init__(world, persona, lang, rng, ledger)
        self._opening = next((m.content for m in recorded.messages if m.speaker == "patient" and m.turn == 0), None)
        self._said: Mapping[int, Message] = {}
        for message in recorded.messages:
            if message.speaker == "patient" and message.turn and message.turn not in self._said:
                self._said = {**self._said, message.turn: message}
        self._facts = {t.turn: t.facts for t in reversed(recorded.tellings)}

    def open(self) -> str:
        offline = super().open()
        return self._opening or offline

    def word(self, asked: str, parts: list[Part], turn: int) -> Flow[str]:
        facts = conveyed(parts)
        same = turn in self._said and self._facts.get(turn) == facts
        text = self._said[turn].content if same else joined(parts, self.lang)
        self.tellings.append(Telling(turn=turn, facts=facts, by="replay" if same else "rules"))
        return text
        yield ()  # makes this a generator


@dataclass(frozen=True)
class Casting:
    """Who plays the patient of one episode."""

    make: Callable[[World, Persona, Lang, Random, Ledger], OfflinePatient] = OfflinePatient


def cast_patient(spec: str, settings: ModelSettings | None, recorded: Trajectory | None) -> Casting:
    """`offline`, `llm:<model>`, `human`, or `replay:<run>` (with the recorded episode; None: it was not recorded, played offline)."""
    kind = spec.partition(":")[0]
    if kind == "llm":
        assert settings is not None
        model = settings
        return Casting(lambda w, p, lang, rng, led: ModelPatient(w, p, lang, rng, led, model))
    if kind == "human":
        return Casting(HumanPatient)
    if kind == "replay" and recorded is not None:
        episode = recorded
        return Casting(lambda w, p, lang, rng, led: ReplayedPatient(w, p, lang, rng, led, episode))
    return Casting()
