"""Cases change over time: without treatment, by themselves, and after the right act. Talk, vital signs and the ledger follow."""

from __future__ import annotations

import pytest

from mlb_env.catalog.load import Catalog
from mlb_env.episode import Episode
from mlb_env.patient.audit import audit
from mlb_env.spec.action import Action, Observation, ToolCall

DYNAMIC = ("inferior-stemi", "severe-preeclampsia", "viral-gastroenteritis", "warfarin-interaction")


def started(catalog: Catalog, case: str, lang: str = "en") -> Episode:
    play = next(p for p in catalog.select(dataset=["MADiagnosis"]) if p.case and p.case.id == case)
    episode = Episode(play, lang=lang, seed=0, persona="plain")  # type: ignore[arg-type]
    episode.reset()
    return episode


def do(episode: Episode, said: str = "", **tools: dict[str, object]) -> Observation:
    return episode.step(Action(content=said, tool_calls=tuple(ToolCall.of(n, **a).model_copy(update={"id": f"c{n}"}) for n, a in tools.items())))


def vitals(episode: Episode) -> str:
    return next(m.content for m in do(episode, examine={"region": "vitals"}).messages if m.role == "tool")


def heard(observation: Observation) -> str:
    return "\n".join(m.content for m in observation.messages if m.speaker == "patient")


def states(episode: Episode) -> list[str]:
    episode.stop("max_cost")
    return [e.id for e in episode.trajectory().patient_events if e.kind == "state"]


def test_at_least_four_cases_have_a_course(catalog: Catalog) -> None:
    cases = {p.case.id: p.case for p in catalog.select() if p.case}
    assert {c.id for c in cases.values() if c.course.transitions} >= set(DYNAMIC) and len(DYNAMIC) >= 4


@pytest.mark.parametrize(
    ("case", "wait", "state", "fact"),
    [
        ("inferior-stemi", 40, "s-worse", "evo.near_faint"),
        ("severe-preeclampsia", 30, "s-worse", "evo.headache"),
        ("viral-gastroenteritis", 25, "s-later", "evo.wet"),
        ("warfarin-interaction", 30, "s-bleeds", "evo.rebleed"),
    ],
)
@pytest.mark.parametrize("lang", ["zh", "en"])
def test_left_alone_the_patient_changes_and_says_so_unasked(catalog: Catalog, case: str, wait: int, state: str, fact: str, lang: str) -> None:
    episode = started(catalog, case, lang)
    before = vitals(episode)
    said = heard(do(episode, wait={"minutes": wait}))
    after = vitals(episode)
    assert before != after
    own = next(f for f in episode.play.case.facts if f.id == fact)  # type: ignore[union-attr]
    assert any(t in said for t in own.told[lang])  # type: ignore[index]
    assert states(episode)[0] == state
    trajectory = episode.trajectory()
    assert any(e.fact == fact and e.route == "evolves" for e in trajectory.ledger)
    assert audit(trajectory, episode.play).lapses == ()


@pytest.mark.parametrize(
    ("case", "act", "wait"),
    [
        ("inferior-stemi", "call_120", 40), ("inferior-stemi", "activate_chest_pain_centre", 40),
        ("severe-preeclampsia", "transfer_obstetrics", 30), ("viral-gastroenteritis", "oral_rehydration", 30),
    ],
)  # fmt: skip
def test_the_right_act_in_time_takes_the_better_course(catalog: Catalog, case: str, act: str, wait: int) -> None:
    episode = started(catalog, case)
    do(episode, "We act now.", propose_action={"act": act})
    do(episode, wait={"minutes": wait})
    assert states(episode) == ["s-helped"]


def test_a_nosebleed_stops_after_pressure_and_sooner_than_alone(catalog: Catalog) -> None:
    def stopped(*, act: bool) -> int:
        episode = started(catalog, "warfarin-interaction")
        do(episode, wait={"minutes": 27})
        if act:
            do(episode, "Please pinch the soft part of your nose.", propose_action={"act": "nasal_pressure"})
        else:
            do(episode, "How are you?")
        do(episode, wait={"minutes": 20})
        episode.stop("max_cost")
        return next(e.minute for e in episode.trajectory().patient_events if e.id == "s-stopped")

    assert stopped(act=True) < stopped(act=False)


def test_what_no_longer_holds_is_no_longer_told(catalog: Catalog) -> None:
    episode = started(catalog, "severe-preeclampsia")
    asked = "How bad is the headache from 0 to 10?"
    before = heard(do(episode, asked))
    do(episode, wait={"minutes": 30})
    after = heard(do(episode, asked))
    case = episode.play.case
    assert case is not None
    old, new = (next(f for f in case.facts if f.id == i) for i in ("hpi.severity", "evo.headache"))
    assert any(t in before for t in old.told.en) and any(t in after for t in new.told.en)
    assert not any(t in after for t in old.told.en)


def test_before_it_has_come_about_it_is_not_told(catalog: Catalog) -> None:
    episode = started(catalog, "inferior-stemi")
    do(episode, "Have you fainted?")
    episode.stop("max_cost")
    assert not any(e.fact.startswith("evo.") for e in episode.trajectory().ledger)


@pytest.mark.parametrize("case", DYNAMIC)
def test_the_course_is_the_same_for_the_same_seed(catalog: Catalog, case: str) -> None:
    def play() -> str:
        episode = started(catalog, case, "zh")
        for minutes in (15, 15, 15):
            do(episode, "您现在感觉怎么样？", wait={"minutes": minutes})
        episode.stop("max_cost")
        return episode.trajectory().model_dump_json()

    assert play() == play()
