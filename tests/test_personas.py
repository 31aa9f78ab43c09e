"""Personas change how much, when and in which manner a patient speaks, never what is true."""

from __future__ import annotations

from typing import Any

import pytest

from mlb_env.catalog.load import Catalog
from mlb_env.catalog.play import Play
from mlb_env.episode import Episode
from mlb_env.errors import UserError
from mlb_env.patient.audit import audit
from mlb_env.patient.phrases import PHRASES
from mlb_env.spec.action import Action
from mlb_env.spec.base import LANGS, Lang
from mlb_env.spec.trajectory import Trajectory

from .conftest import play_one

PERSONAS = ("plain", "terse", "talkative", "anxious", "angry", "distrustful", "stoic", "low_literacy", "hard_of_hearing", "forgetful_elder",
            "parent", "health_worker", "internet_informed", "hurried")  # fmt: skip


@pytest.fixture
def stemi(catalog: Catalog) -> Play:
    return next(p for p in catalog.select(dataset=["MADiagnosis"]) if p.case and p.case.id == "inferior-stemi")


def talk(play: Play, persona: str, *said: str, lang: Lang = "en", seed: int = 0) -> tuple[list[str], Trajectory]:
    """What the patient answers, turn by turn, and the trajectory."""
    episode = Episode(play, lang=lang, seed=seed, persona=persona)
    episode.reset()
    answers = ["\n".join(m.content for m in episode.step(Action(content=words)).messages if m.speaker == "patient") for words in said]
    episode.stop("max_cost")
    return answers, episode.trajectory()


def is_phrase(name: str, text: str, lang: Lang = "en") -> bool:
    return any(p in text for p in PHRASES[name][lang])


def test_there_are_at_least_twelve(catalog: Catalog) -> None:
    assert set(PERSONAS) == set(catalog.personas) and len(PERSONAS) >= 12


@pytest.mark.parametrize("persona", PERSONAS)
@pytest.mark.parametrize("lang", LANGS)
def test_no_persona_puts_the_gold_out_of_reach(catalog: Catalog, persona: str, lang: Lang) -> None:
    """Whoever asks well, gives reasons and asks again gets everything; and what is said passes the audit."""
    for play in catalog.select(dataset=["MAMedication", "MARecord"]):
        fits = catalog.personas[persona].informants
        assert play.case is not None and play.scenario is not None
        if (fits and play.case.person.informant.kind not in fits) or play.scenario.variant == "transcript":
            continue
        trajectory, judgement = play_one("oracle", play, lang, persona=persona)
        assert judgement.score.value is not None and judgement.score.value >= 0.98, play.id
        assert audit(trajectory, play).lapses == (), play.id


@pytest.mark.parametrize("persona", [p for p in PERSONAS if p != "parent"])
def test_a_persona_tells_the_same_facts(stemi: Play, persona: str) -> None:
    """Asked patiently, every persona ends with the same facts in the ledger as the plain one."""
    patient = ("I understand; I ask to keep you safe.", "When did it start?", "Are you allergic to anything?", "Do you smoke?", "Do you smoke?",
               "Have you had any operations?", "Have you had any operations?")  # fmt: skip
    told = {e.fact for e in talk(stemi, persona, *patient)[1].ledger}
    plain = {e.fact for e in talk(stemi, "plain", *patient)[1].ledger}
    assert {"hpi.onset", "crit.allergy", "soc.tobacco", "pmh.surgery"} <= told & plain


def test_the_hard_of_hearing_catch_short_turns_only(stemi: Play) -> None:
    long = "Before we go any further with all of this I would like you to tell me, as exactly as you possibly can, at what time of the day all of it started for you."
    answers, trajectory = talk(stemi, "hard_of_hearing", long, "When did it start?")
    assert is_phrase("misheard", answers[0]) and not is_phrase("misheard", answers[1])
    assert [a.kind for a in trajectory.answers if a.turn == 1] == ["misheard"]
    assert any(e.fact == "hpi.onset" and e.turn == 2 for e in trajectory.ledger)


def test_the_forgetful_remember_when_asked_again(stemi: Play) -> None:
    for seed in range(20):
        answers, trajectory = talk(stemi, "forgetful_elder", "Have you had any operations?", "Have you had any operations?", seed=seed)
        kinds = {a.turn: a.kind for a in trajectory.answers}
        if kinds.get(1) == "hesitated":
            assert is_phrase("hesitated", answers[0])
            assert any(e.fact == "pmh.surgery" and e.turn == 2 for e in trajectory.ledger)
            return
    pytest.fail("in twenty episodes nothing slipped a forgetful person's mind")


@pytest.mark.parametrize("lead", ["I ask because it helps me keep you safe. ", "I can see how worried you are. "])
def test_the_distrustful_answer_once_there_is_a_reason_or_understanding(stemi: Play, lead: str) -> None:
    answers, trajectory = talk(stemi, "distrustful", "Do you smoke?", f"{lead}Do you smoke?")
    assert is_phrase("guarded", answers[0]) and [a.kind for a in trajectory.answers if a.turn == 1] == ["guarded"]
    assert any(e.fact == "soc.tobacco" and e.turn == 2 for e in trajectory.ledger)
    assert not any(e.fact == "soc.tobacco" and e.turn == 1 for e in trajectory.ledger)


def test_the_angry_let_it_out_and_settle_when_understood(stemi: Play, catalog: Catalog) -> None:
    _, trajectory = talk(stemi, "angry", "When did it start?", "I'm sorry you had to wait, that must be hard.", "I understand.", "I hear you.")
    reactions = [e.id for e in trajectory.patient_events if e.kind == "reacted"]
    assert reactions[0] == "vents" and reactions[-1] == "settles"


def test_jargon_is_objected_to_by_those_who_do_not_know_it(stemi: Play) -> None:
    asked = "Any palpitations or syncope?"
    for persona, objects in (("low_literacy", True), ("health_worker", False)):
        _, trajectory = talk(stemi, persona, asked)
        assert ("jargon" in [e.id for e in trajectory.patient_events if e.kind == "reacted"]) is objects


def test_a_theory_from_the_internet_is_said_and_names_no_disease_of_the_case(stemi: Play) -> None:
    answers, trajectory = talk(stemi, "internet_informed", "When did it start?", "Where is it?", "Do you smoke?")
    assert "online" in answers[1] or "looked it up" in answers[1] or "video" in answers[1]
    assert audit(trajectory, stemi).lapses == ()


def test_a_persona_of_a_parent_speaks_only_for_a_child(catalog: Catalog) -> None:
    import mlb_env

    with pytest.raises(UserError, match="fits only who speaks as parent"):
        mlb_env.run("null", persona="parent", scenario=["maguidance-p01"])


@pytest.mark.parametrize("persona", PERSONAS)
def test_the_same_seed_gives_the_same_words(catalog: Catalog, persona: str) -> None:
    play = next(p for p in catalog.select(dataset=["MAGuidance"]) if p.case and p.case.id == "viral-gastroenteritis")
    said = ("什么时候开始的？", "孩子对什么药过敏吗？", "你想多了吧。", "我理解您的担心。还有别的不舒服吗？")
    once: Any = talk(play, persona, *said, lang="zh", seed=7)
    assert once == talk(play, persona, *said, lang="zh", seed=7)
