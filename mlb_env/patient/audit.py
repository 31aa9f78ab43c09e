"""How faithful the simulated patient was in an episode, counted from its trajectory and its case.

Words that the rules chose are looked up exactly: the case's own wordings of facts that were not out, the names of the diagnosis,
a "no" to what the case holds. Words that came from elsewhere (a model, a person, a transcript) go through the guard, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from ..catalog.play import Play
from ..errors import UserError
from ..spec.base import Model
from ..spec.case import Fact, PatientCase
from ..spec.persona import Persona
from ..spec.trajectory import Telling, Trajectory
from .guard import Licence, check, omitted
from .world import World


class Lapse(Model):
    """One thing that the patient should not have said or done."""

    turn: int
    kind: str  # leak, diagnosis, contradiction, invention, role, language, omission, persona
    why: str


class EpisodeAudit(Model):
    """The figures of one episode.

    `replies`: utterances of the patient after the opening. `facts`: facts they conveyed, repeats included. `unparsed`: questions that
    were not understood. `faithful`: replies without a leak, an invention, a contradiction, the diagnosis, a broken role or language.
    `conveyed`: facts of `facts` of which the words hold something. `in_persona`: replies that keep to the persona.
    """

    episode: str
    persona: str
    replies: int
    facts: int
    conveyed: int
    faithful: int
    in_persona: int
    unparsed: int
    repeated: int
    refused: int
    fallbacks: int
    lapses: tuple[Lapse, ...]


class Fidelity(Model):
    """A run's patients. precision: share of replies that are faithful; recall: share of the facts entered in the ledger that the words
    hold; adherence: share of replies that keep to the persona. Each is None where there was nothing to count."""

    episodes: int
    replies: int
    precision: float | None
    recall: float | None
    adherence: float | None
    unparsed: int
    repeated: int
    refused: int
    fallbacks: int
    lapses: dict[str, int]


def audit(trajectory: Trajectory, play: Play) -> EpisodeAudit:
    """The audit of one interactive episode.

    Raises:
        UserError: the episode has no patient, or its case or persona is not there.
    """
    if play.case is None or trajectory.case != play.case.id:
        raise UserError(f"{trajectory.episode} has no patient of '{play.id}' to audit")
    if trajectory.persona not in play.personas:
        raise UserError(f"{trajectory.episode}: there is no persona '{trajectory.persona}'")
    world: World = play.memo.setdefault("world", World(play.case))
    persona = play.personas[trajectory.persona]
    lapses: list[Lapse] = []
    replies = facts = conveyed = faithful = in_persona = 0
    texts = _texts(trajectory)
    for telling in trajectory.tellings:
        text = texts.get(telling.turn, "")
        before = {e.fact for e in trajectory.ledger if e.turn <= telling.turn}
        licence = Licence(
            world, trajectory.lang, tuple(world.facts[f] for f in telling.facts if f in world.facts),
            tuple(world.facts[f] for f in sorted(before - set(telling.facts)) if f in world.facts), _asked(trajectory, telling.turn),
        )  # fmt: skip
        found = [*_exact(text, before | set(telling.facts), licence, trajectory), *_guarded(text, telling, licence)]
        manner = _manner(trajectory, telling.turn, persona, world)
        lapses += [*(Lapse(turn=telling.turn, kind=k, why=w) for k, w in found), *(Lapse(turn=telling.turn, kind="persona", why=w) for w in manner)]
        replies += 1
        facts += len(telling.facts)
        missing = omitted(text, licence) if telling.facts else []
        conveyed += len(telling.facts) - (missing[0].why.count(",") + 1 if missing else 0)
        faithful += not found
        in_persona += not manner
    kinds = [a.kind for a in trajectory.answers]
    lapses += [Lapse(turn=a.turn, kind="contradiction", why=f"'{a.topic}' was denied, and the case holds it")
               for a in trajectory.answers if a.kind == "default_negative" and _holds(world.case, a.topic)]  # fmt: skip
    return EpisodeAudit(
        episode=trajectory.episode, persona=persona.id, replies=replies, facts=facts, conveyed=conveyed, faithful=faithful,
        in_persona=in_persona, unparsed=kinds.count("unparsed"), repeated=kinds.count("repeated"),
        refused=sum(len(t.refused) for t in trajectory.tellings), fallbacks=sum(t.by == "fallback" for t in trajectory.tellings),
        lapses=tuple(lapses),
    )  # fmt: skip


def fidelity(audits: Iterable[EpisodeAudit]) -> Fidelity:
    """The figures of a run."""
    chosen = list(audits)

    def share(part: int, whole: int) -> float | None:
        return round(part / whole, 6) if whole else None

    replies, facts = sum(a.replies for a in chosen), sum(a.facts for a in chosen)
    kinds: dict[str, int] = {}
    for lapse in (x for a in chosen for x in a.lapses):
        kinds[lapse.kind] = kinds.get(lapse.kind, 0) + 1
    return Fidelity(
        episodes=len(chosen), replies=replies, precision=share(sum(a.faithful for a in chosen), replies),
        recall=share(sum(a.conveyed for a in chosen), facts), adherence=share(sum(a.in_persona for a in chosen), replies),
        unparsed=sum(a.unparsed for a in chosen), repeated=sum(a.repeated for a in chosen), refused=sum(a.refused for a in chosen),
        fallbacks=sum(a.fallbacks for a in chosen), lapses=dict(sorted(kinds.items())),
    )  # fmt: skip


def spoiled(trajectory: Trajectory) -> str:
    """Why the simulator spoiled an episode (it is then ungraded: not the agent's fault); "" if it did not."""
    for telling in trajectory.tellings:
        grave = [d for d in telling.doubts if d.split(":")[0] in ("leak", "invention", "contradiction", "diagnosis")]
        if grave:
            return f"the simulated patient spoiled the episode in turn {telling.turn}: {grave[0]}"
    return ""


def _texts(trajectory: Trajectory) -> dict[int, str]:
    """Turn -> what the patient said in it."""
    texts: dict[int, str] = {}
    for message in trajectory.messages:
        if message.speaker == "patient":
            texts[message.turn] = f"{texts.get(message.turn, '')}\n{message.content}".strip()
    return texts


def _asked(trajectory: Trajectory, turn: int) -> str:
    return "\n".join(m.content for m in trajectory.messages if m.speaker == "agent" and m.turn == turn)


def _exact(text: str, out: set[str], licence: Licence, trajectory: Trajectory) -> list[tuple[str, str]]:
    """Leaks that can be looked up: a wording of the case's own for a fact that is not out, the diagnosis by name."""
    lang, world = trajectory.lang, licence.world
    allowed = [t for f in out if f in world.facts for t in _wordings(world.facts[f], lang)]
    found = []
    for fact in world.case.facts:
        if fact.id in out:
            continue
        for wording in _wordings(fact, lang):
            if wording in text and not any(wording in other for other in allowed):
                found.append(("leak", f"{fact.id} was said and is not in the ledger"))
                break
    for fact in world.case.facts:
        for old in fact.replaces:
            if fact.id in out and old in world.facts and any(w in text for w in _wordings(world.facts[old], lang) if w not in " ".join(allowed)):
                found.append(("contradiction", f"{old} was told, though {fact.id} replaced it"))
    if diagnosis := _diagnosis(text, licence):
        found.append(("diagnosis", f"'{diagnosis}' was named"))
    return found


def _wordings(fact: Fact, lang: str) -> list[str]:
    texts = fact.told.zh if lang == "zh" else fact.told.en
    corrected = (fact.corrected.zh if lang == "zh" else fact.corrected.en) if fact.corrected else ()
    return [t for t in (*texts, *corrected) if len(t) >= 6]


def _diagnosis(text: str, licence: Licence) -> str:
    """The full name of the primary diagnosis, if it stands in the text and in nothing that may be said."""
    lowered, held = text.lower(), licence.text + licence.asked.lower()
    for diagnosis in licence.world.case.truth.diagnoses:
        if diagnosis.role != "primary":
            continue
        names = diagnosis.acceptable.zh if licence.lang == "zh" else diagnosis.acceptable.en
        for name in (diagnosis.name[licence.lang], *names):
            if len(name) >= 4 and re.search(rf"(?<!\w){re.escape(name.lower())}(?!\w)" if licence.lang == "en" else re.escape(name.lower()), lowered) and name.lower() not in held:
                return name
    return ""


def _guarded(text: str, telling: Telling, licence: Licence) -> list[tuple[str, str]]:
    if telling.by in ("rules", "fallback"):
        return []
    return [(f.kind, f.why) for f in check(text, licence)]


def _manner(trajectory: Trajectory, turn: int, persona: Persona, world: World) -> list[str]:
    """How a reply leaves its persona."""
    told = [e for e in trajectory.ledger if e.turn == turn and e.route == "patient"]
    found = []
    if not persona.volunteers and any(
        e.condition == "volunteered_when_topic_near" and world.facts[e.fact].disclosure.condition != e.condition for e in told if e.fact in world.facts
    ):
        found.append("it volunteered, which this persona does not")
    topics = {e.topic for e in told if e.condition not in ("volunteered_when_topic_near", "open_question")}
    parents = {t for t in topics if not any(t in kids for p, kids in world.children.items() if p in topics)}
    if len(parents) > persona.max_answers:
        found.append(f"it answered {len(parents)} topics, and this persona answers {persona.max_answers}")
    return found


def _holds(case: PatientCase, topic: str) -> bool:
    return any(f.topic == topic and f.polarity == "present" and f.disclosure.condition not in ("evolves", "examination", "test", "chart_only",
                                                                                          "unknown_to_patient") for f in case.facts)  # fmt: skip
