"""Patients worded by a model, a person or a transcript: what is said stays the engine's decision; the guard sees to it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import mlb_env
from mlb_env.catalog.load import Catalog
from mlb_env.catalog.play import Play
from mlb_env.effects import AskHuman, Effect, Failure, HumanReply, ModelSettings, Reply
from mlb_env.episode import Episode
from mlb_env.errors import SimulatorFailed, UserError
from mlb_env.judge.grade import grade
from mlb_env.llm.endpoint import ModelEdge
from mlb_env.patient.audit import audit, fidelity
from mlb_env.patient.guard import Licence, check, omitted
from mlb_env.patient.worded import ATTEMPTS, cast_patient
from mlb_env.patient.world import World
from mlb_env.spec.action import Action, Observation
from mlb_env.spec.trajectory import Trajectory

from .openai_server import Behaviour, OpenAIServer, Request, error, text

REPLIES = [json.loads(line) for line in (Path(__file__).parent / "data" / "replies.jsonl").read_text(encoding="utf-8").splitlines()]


def told(episode: Episode) -> list[str]:
    return [m.content for m in episode.step(Action(content="")).messages if m.speaker == "patient"]


def spoke(observation: Observation) -> str:
    return "\n".join(m.content for m in observation.messages if m.speaker == "patient")


@pytest.fixture
def stemi(catalog: Catalog) -> Play:
    return next(p for p in catalog.select(dataset=["MAGuidance"]) if p.case and p.case.id == "inferior-stemi")


def over_wire(server: OpenAIServer, play: Play, lang: Any = "en", edge: ModelEdge | None = None, **more: Any) -> Episode:
    settings = ModelSettings(model="tiny", base_url=server.url, timeout_s=5, retries=0, **more)
    episode = Episode(play, lang=lang, seed=3, persona="plain", edge=edge, patient=cast_patient("llm:tiny", settings, None))
    episode.reset()
    return episode


def played(episode: Episode, *said: str) -> Trajectory:
    for words in said:
        if not episode.over:
            episode.step(Action(content=words))
    episode.stop("max_cost")
    return episode.trajectory()


# --- the guard ----------------------------------------------------------------------------------------------------------


def test_the_guard_catches_every_planted_fault_and_lets_faithful_replies_through(catalog: Catalog) -> None:
    """162 replies written by an author who had not seen the guard: 90 with one fault each, 72 faithful."""
    worlds = {p.case.id: World(p.case) for p in catalog.select() if p.case}
    passed, refused = [], []
    for r in REPLIES:
        facts = worlds[r["case"]].facts
        licence = Licence(worlds[r["case"]], r["lang"], tuple(facts[f] for f in r["allowed"]), tuple(facts[f] for f in r["known"]), r["asked"])
        found = check(r["reply"], licence)
        if r["fault"] and not found:
            passed.append((r["id"], r["fault"], r["reply"]))
        if not r["fault"] and found:
            refused.append((r["id"], r["reply"], str(found[0])))
    faults, faithful = sum(bool(r["fault"]) for r in REPLIES), sum(not r["fault"] for r in REPLIES)
    assert faults >= 60 and faithful >= 60
    assert passed == []
    assert len(refused) <= 0.05 * faithful, refused


# --- a model's words ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "reply", "says_nothing"),
    [
        ("胃里难受是哪个位置？什么时候开始的？", "医生，我很担心，胃里难受是哪个位置？什么时候开始的？", True),  # what a small model really answered
        ("胃里难受是哪个位置？", "胃里难受是哪个位置？", True), ("胃里难受是哪个位置？", "哪个位置？就是心口窝下面这儿。", False),
    ],
)
def test_a_reply_that_only_repeats_the_question_tells_nothing(stemi: Play, asked: str, reply: str, says_nothing: bool) -> None:
    assert stemi.case is not None
    world = World(stemi.case)
    licence = Licence(world, "zh", (world.facts["hpi.site"],), (world.facts["hpi.discomfort"],), asked)
    assert bool(omitted(reply, licence)) is says_nothing


def test_a_faithful_wording_is_spoken(stemi: Play) -> None:
    with OpenAIServer(text("Oh, it came on out of nowhere, twenty to seven it was.")) as server, ModelEdge() as edge:
        episode = over_wire(server, stemi, edge=edge)
        said = spoke(episode.step(Action(content="When did it start?")))
        episode.stop("max_cost")
        trajectory = episode.trajectory()
    assert said.startswith("Oh, it came on out of nowhere, twenty to seven it was.")
    assert trajectory.tellings[0].by == "model" and "hpi.onset" in trajectory.tellings[0].facts
    assert any(e.fact == "hpi.onset" and e.turn == 1 for e in trajectory.ledger)
    assert trajectory.usage["patient"].calls == 1 and trajectory.usage["patient"].prompt_tokens == 10


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_the_prompt_holds_what_may_be_said_and_neither_the_diagnosis_nor_anything_else(stemi: Play, lang: Any) -> None:
    asked = {"zh": "什么时候开始的？", "en": "When did it start?"}[lang]
    with OpenAIServer(forever=lambda r: text("…")) as server, ModelEdge() as edge:
        episode = over_wire(server, stemi, lang, edge)
        episode.step(Action(content=asked))
        sent = json.dumps(server.requests[0].body["messages"], ensure_ascii=False).lower()
    assert stemi.case is not None
    out = {"hpi.onset", *(f.id for f in stemi.case.facts if f.disclosure.condition in ("opening", "observed"))}
    for fact in stemi.case.facts:
        if fact.id not in out:
            assert not any(t.lower() in sent for t in fact.told[lang]), fact.id
    for diagnosis in stemi.case.truth.diagnoses:
        assert diagnosis.name[lang].lower() not in sent
    for word in ("infarct", "心肌梗死", "stemi", "penicillin", "青霉素"):
        assert word not in sent


def test_a_lying_wording_is_sent_back_with_the_reason_and_the_next_one_is_spoken(stemi: Play) -> None:
    with OpenAIServer(text("At 6:40 this morning. I also take warfarin."), text("Twenty to seven this morning, all of a sudden.")) as server:  # noqa: SIM117
        with ModelEdge() as edge:
            episode = over_wire(server, stemi, edge=edge)
            said = spoke(episode.step(Action(content="When did it start?")))
            again = server.requests[1].body["messages"][-1]["content"]
            episode.stop("max_cost")
            telling = episode.trajectory().tellings[0]
    assert "warfarin" not in said and "seven" in said
    assert "adds something" in again or "not to be said" in again
    assert telling.by == "model" and len(telling.refused) == 1


LIES: dict[str, str] = {
    "invents a drug": "At 6:40. I take warfarin for my heart.",
    "invents a number": "At 6:40, and my pressure was 210 over 130.",
    "leaks": "At 6:40. And I'm allergic to penicillin.",
    "names the diagnosis": "At 6:40. It's an inferior myocardial infarction.",
    "breaks the role": "As an AI language model I can say it began at 6:40.",
    "switches language": "早上六点四十开始的，一下子就难受了。",
    "contradicts": "It came on last night, very gradually.",
    "says nothing": "",
    "leaves it out": "I really don't feel like talking.",
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_a_model_that_keeps_lying_is_replaced_by_the_offline_wording(stemi: Play, lie: str) -> None:
    with OpenAIServer(forever=lambda r: text(lie)) as server, ModelEdge() as edge:
        episode = over_wire(server, stemi, edge=edge)
        said = spoke(episode.step(Action(content="When did it start?")))
        calls = len(server.requests)
        episode.stop("max_cost")
        trajectory = episode.trajectory()
    assert calls == ATTEMPTS
    assert trajectory.tellings[0].by == "fallback" and len(trajectory.tellings[0].refused) == ATTEMPTS
    assert not lie or lie not in said
    assert stemi.case is not None
    onset = next(f for f in stemi.case.facts if f.id == "hpi.onset")
    assert any(t in said for t in onset.told.en)
    assert audit(trajectory, stemi).lapses == ()


def test_seed_and_temperature_reach_the_endpoint(stemi: Play) -> None:
    with OpenAIServer(forever=lambda r: text("…")) as server, ModelEdge() as edge:
        episode = over_wire(server, stemi, edge=edge, temperature=0.3)
        episode.step(Action(content="When did it start?"))
        body = server.requests[0].body
    assert body["temperature"] == 0.3 and isinstance(body["seed"], int)


def test_an_endpoint_that_fails_ends_the_episode_and_is_not_the_agents_fault(stemi: Play) -> None:
    with OpenAIServer(forever=lambda r: error(500)) as server, ModelEdge() as edge:
        episode = over_wire(server, stemi, edge=edge)
        with pytest.raises(SimulatorFailed, match="plays the patient failed"):
            episode.step(Action(content="When did it start?"))


def test_a_run_with_a_patient_model_keeps_the_two_roles_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)

    def offline_words(request: Request) -> Behaviour:
        """A model that repeats what it is to say."""
        system = str(request.body["messages"][0]["content"])
        now = system.rpartition("To say now:")[2]
        return text(" ".join(line.removeprefix("- ") for line in now.splitlines() if line.startswith("- ")) or "…")

    with OpenAIServer(forever=offline_words) as server:
        result = mlb_env.run("oracle", out=tmp_path / "run", lang="en", scenario=["maguidance-p01"], patient="llm:tiny",
                             patient_model={"model": "tiny", "base_url": server.url, "timeout_s": 5})  # fmt: skip
    assert result.summary.coverage == 1.0 and result.summary.overall.score == pytest.approx(1.0)
    assert result.summary.usage["patient"].calls > 0 and "agent" not in result.summary.usage
    assert result.summary.patients is not None and result.summary.patients.replies > 0
    (trajectory,) = result.trajectories()
    assert {"model"} <= {t.by for t in trajectory.tellings} <= {"model", "fallback", "rules"}  # what evolves is in the case's words


def test_a_patient_whose_endpoint_is_down_leaves_the_run_ungraded_with_the_reason(tmp_path: Path) -> None:
    result = mlb_env.run("oracle", out=tmp_path / "run", lang="en", scenario=["maguidance-p01"], patient="llm:tiny",
                         patient_model={"model": "tiny", "base_url": "http://127.0.0.1:9/v1", "timeout_s": 2, "retries": 0})  # fmt: skip
    assert result.summary.overall.score is None and result.summary.coverage == 0
    assert "plays the patient failed" in next(iter(result.summary.failures))


# --- a person's words ---------------------------------------------------------------------------------------------------


class Keyboard:
    """Answers what is asked of the person, and keeps what was shown."""

    def __init__(self, answer: Callable[[AskHuman], str]) -> None:
        self.answer, self.shown = answer, list[str]()

    def perform(self, effects: tuple[Effect, ...]) -> tuple[Reply, ...]:
        return tuple(self._one(e) for e in effects)

    async def aperform(self, effects: tuple[Effect, ...]) -> tuple[Reply, ...]:
        return self.perform(effects)

    def _one(self, effect: Effect) -> Reply:
        if not isinstance(effect, AskHuman):
            return Failure("only a person is here")
        self.shown.append(effect.shown)
        return HumanReply(self.answer(effect))


def at_keyboard(play: Play, answer: Callable[[AskHuman], str]) -> tuple[Episode, Keyboard]:
    keyboard = Keyboard(answer)
    episode = Episode(play, lang="en", seed=3, persona="plain", edge=keyboard, patient=cast_patient("human", None, None))
    episode.reset()
    return episode, keyboard


def test_a_person_is_shown_what_may_be_said_and_words_it(stemi: Play) -> None:
    episode, keyboard = at_keyboard(stemi, lambda ask: "It was twenty to seven, love.")
    said = spoke(episode.step(Action(content="When did it start?")))
    assert said == "It was twenty to seven, love." and "When did it start?" in keyboard.shown[0]
    episode.stop("max_cost")
    assert episode.trajectory().tellings[0].by == "person" and not episode.trajectory().tellings[0].doubts


def test_an_empty_line_takes_the_offline_words(stemi: Play) -> None:
    episode, keyboard = at_keyboard(stemi, lambda ask: "")
    said = spoke(episode.step(Action(content="When did it start?")))
    assert said and said in keyboard.shown[0]


def test_a_person_who_says_what_the_case_does_not_hold_spoils_the_episode_and_not_the_score(stemi: Play) -> None:
    episode, _ = at_keyboard(stemi, lambda ask: "At 6:40. And I've been on warfarin for years.")
    trajectory = played(episode, "When did it start?")
    judged = grade(trajectory, stemi)
    assert judged.score.value is None and "simulated patient spoiled" in (judged.score.ungraded or "")


# --- a transcript's words -----------------------------------------------------------------------------------------------


def test_a_recorded_patient_says_the_same_again_and_parts_where_the_agent_does(stemi: Play) -> None:
    first = Episode(stemi, lang="en", seed=3, persona="plain")
    opening = spoke(first.reset())
    recorded = played(first, "When did it start?", "Are you allergic to anything?")
    again = Episode(stemi, lang="en", seed=99, persona="plain", patient=cast_patient("replay:x", None, recorded))
    assert spoke(again.reset()) == opening
    replayed = played(again, "When did it start?", "Do you smoke?")
    answers = [[m.content for m in t.messages if m.speaker == "patient" and m.turn == 1] for t in (recorded, replayed)]
    assert answers[0] == answers[1]
    assert [t.by for t in replayed.tellings] == ["replay", "rules"]


def test_a_run_replays_the_patients_of_another_run(tmp_path: Path) -> None:
    mlb_env.run("oracle", out=tmp_path / "a", lang="en", scenario=["maguidance-p01"], seed=1)
    result = mlb_env.run("oracle", out=tmp_path / "b", lang="en", scenario=["maguidance-p01"], seed=2, persona="plain",
                         patient=f"replay:{tmp_path / 'a'}")  # fmt: skip
    (trajectory,) = result.trajectories()
    assert "replay" in {t.by for t in trajectory.tellings}
    with pytest.raises(UserError, match="holds no episode maguidance-p02"):
        mlb_env.run("oracle", out=tmp_path / "c", lang="en", scenario=["maguidance-p02"], patient=f"replay:{tmp_path / 'a'}")


# --- what a user may get wrong ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"patient": "doctor"}, "there is no such patient"),
        ({"patient": "llm:"}, "there is no such patient"),
        ({"patient_model": {"model": "m"}}, "calls no model"),
        ({"patient": "llm:a", "patient_model": {"model": "b"}}, "name another model"),
        ({"patient": "replay:/nowhere"}, "nowhere"),
    ],
)
def test_a_patient_that_cannot_be_is_refused_in_one_sentence(tmp_path: Path, settings: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        mlb_env.run("oracle", out=tmp_path / "run", scenario=["maguidance-p01"], **settings)
    assert not (tmp_path / "run").exists()


# --- the audit ----------------------------------------------------------------------------------------------------------


def test_the_audit_finds_what_was_planted_in_a_trajectory(stemi: Play) -> None:
    episode = Episode(stemi, lang="en", seed=3, persona="plain")
    episode.reset()
    clean = played(episode, "When did it start?", "Do you smoke?")
    assert audit(clean, stemi).lapses == () and fidelity([audit(clean, stemi)]).precision == 1.0
    assert stemi.case is not None
    hidden = next(f for f in stemi.case.facts if f.topic == "allergy").told.en[0]
    for planted, kind in ((hidden, "leak"), (stemi.case.truth.diagnoses[0].name.en or "", "diagnosis")):
        messages = [m.model_copy(update={"content": f"{m.content} {planted}"}) if m.speaker == "patient" and m.turn == 1 else m
                    for m in clean.messages]  # fmt: skip
        found = audit(clean.model_copy(update={"messages": tuple(messages)}), stemi)
        assert [x.kind for x in found.lapses] == [kind] and found.lapses[0].turn == 1
        assert (fidelity([found]).precision or 0) < 1


def test_an_audit_is_of_its_own_scenario(stemi: Play, catalog: Catalog) -> None:
    episode = Episode(stemi, lang="en", seed=3)
    episode.reset()
    other = next(p for p in catalog.select(dataset=["MAGuidance"]) if p.id != stemi.id)
    with pytest.raises(UserError, match="has no patient of"):
        audit(played(episode, "Hello?"), other)


def test_an_endless_wording_is_refused_before_it_is_read(stemi: Play) -> None:
    assert stemi.case is not None
    licence = Licence(World(stemi.case), "zh", (), (), "您好")
    assert [f.kind for f in check("头疼" * 50_000, licence)] == ["length"]
    assert [f.kind for f in check("  ", licence)] == ["empty"]
