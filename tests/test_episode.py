"""The episode: turns, clock, budgets, tools, errors that can be mended."""

from __future__ import annotations

import json

import pytest

from mlb_env.catalog.play import Play
from mlb_env.episode import Episode, EpisodeOver
from mlb_env.errors import MlbError, UserError
from mlb_env.judge.grade import grade
from mlb_env.spec.action import Action, ToolCall


def started(plays: list[Play], id_: str, lang: str = "en", **keywords: object) -> Episode:
    episode = Episode(next(p for p in plays if p.id == id_), lang=lang, **keywords)  # type: ignore[arg-type]
    episode.reset()
    return episode


def call(tool: str, **arguments: object) -> Action:
    return Action(tool_calls=(ToolCall.of(tool, **arguments),))


def test_a_static_item_is_one_step(static: list[Play]) -> None:
    play = static[0]
    episode = Episode(play, lang="zh")
    observation = episode.reset()
    assert "A. " in observation.text and not episode.over
    episode.step("A")
    assert episode.terminated and not episode.truncated and episode.trajectory().stop_reason == "concluded"
    with pytest.raises(EpisodeOver):
        episode.step("B")


def test_speech_and_tools_go_in_one_action(interactive: list[Play]) -> None:
    episode = started(interactive, "madiagnosis-p01")
    action = Action(content="When did this start?", tool_calls=(ToolCall.of("examine", region="vitals"),))
    seen = episode.step(action)
    assert [m.speaker for m in seen.messages][:2] == ["tool", "patient"] and "mmHg" in seen.messages[0].content


def test_the_clock_moves_by_turns_examinations_and_waiting(interactive: list[Play]) -> None:
    episode = started(interactive, "madiagnosis-p06")
    cost = episode.play.case.course.time_cost  # type: ignore[union-attr]
    episode.step("Hello.")
    assert episode.minute == cost.turn
    episode.step(call("examine", region="vitals"))
    assert episode.minute == 2 * cost.turn + cost.examine
    episode.step(call("wait", minutes=30))
    assert episode.minute == 3 * cost.turn + cost.examine + 30


def test_a_result_comes_after_its_delay_and_not_before(interactive: list[Play]) -> None:
    episode = started(interactive, "madiagnosis-p01")
    test = next(t for t in episode.play.case.tests if t.code == "troponin")  # type: ignore[union-attr]
    first = episode.step(call("propose_test", name="hs-cTn"))
    assert "R1" in first.text and str(test.results[0].value) not in first.text
    later = episode.step(call("wait", minutes=test.availability.turnaround_min))
    assert test.name["en"] in later.text


def test_the_course_worsens_without_the_right_act_and_not_with_it(interactive: list[Play]) -> None:
    left, helped = (started(interactive, "madiagnosis-p01") for _ in range(2))
    helped.step(call("propose_action", act="activate_chest_pain_centre"))
    for episode in (left, helped):
        for _ in range(3):
            episode.step(call("wait", minutes=20))
    left.fail("enough")
    helped.fail("enough")
    states = [[e.id for e in ep.trajectory().patient_events if e.kind == "state"] for ep in (left, helped)]
    assert len(states[0]) >= 1 and states[0] != states[1]


@pytest.mark.parametrize(
    ("action", "words"),
    [
        ('{"tool_calls": [}', "not valid JSON"),
        ("", "Say something"),
        (call("nonsense"), "there is no tool nonsense"),
        (call("close", disposition="D9", department="cardiology"), "disposition"),
        (call("close", disposition="D1", department="nowhere"), "nowhere"),
        (call("close", disposition="D1", department="cardiology", extra=1), "extra"),
        (Action(tool_calls=(ToolCall(name="close", arguments='{"disposition": "D1", '),)), "not valid JSON"),
        (Action(tool_calls=(ToolCall(name="close", arguments="[" * 5000),)), "JSON"),
        (Action(tool_calls=(ToolCall(name="close", arguments="[1]"),)), "close"),
    ],
)
def test_a_malformed_action_is_answered_with_what_to_mend_and_counted(interactive: list[Play], action: Action | str, words: str) -> None:
    episode = started(interactive, "maguidance-p01")
    assert words in episode.step(action).text
    assert episode.malformed == 1 and not episode.over and episode.turn == 1


def test_malformed_actions_do_not_go_on_for_ever(interactive: list[Play]) -> None:
    episode = started(interactive, "maguidance-p01")
    while not episode.over:
        episode.step("")
    assert episode.truncated and episode.stop_reason == "max_malformed" and episode.turn == episode.play.budget.malformed + 1


def test_turns_are_budgeted(interactive: list[Play]) -> None:
    episode = started(interactive, "maguidance-p01", max_turns=3)
    for _ in range(3):
        episode.step("再见，没有别的问题了。")
    assert episode.stop_reason == "max_turns" and episode.truncated


def test_minutes_are_budgeted(interactive: list[Play]) -> None:
    episode = started(interactive, "madiagnosis-p06")
    episode.step(call("wait", minutes=240))
    episode.step(call("wait", minutes=240))
    assert episode.stop_reason == "max_minutes"


def test_rights_go_by_role(interactive: list[Play]) -> None:
    desk = started(interactive, "maguidance-p01")
    assert "does not have the tool draft_prescription" in desk.step(call("draft_prescription", drug="nitroglycerin")).text
    assert "identity" in desk.step(call("search_records", resource_type="Condition")).text
    identity = desk.play.case.person.identity  # type: ignore[union-attr]
    wrong = call("verify_identity", name=desk.play.case.person.name["en"], phone_last4="0000")  # type: ignore[union-attr]
    assert "not match" in desk.step(wrong).text
    right = call("verify_identity", name=desk.play.case.person.name["en"], phone_last4=identity.phone_last4)  # type: ignore[union-attr]
    assert "confirmed" in desk.step(right).text
    assert '"resourceType"' in desk.step(call("search_records", resource_type="Condition")).text
    foreign = desk.step(call("search_records", resource_type="Condition", patient=desk.play.case.person.decoys[0].id))  # type: ignore[union-attr]
    assert "cannot be opened" in foreign.text
    desk.fail("done")
    assert [e.refused for e in desk.trajectory().tools if e.refused] == ["role", "identity", "foreign"]


def test_an_active_order_is_out_of_role_and_graded_as_harm(interactive: list[Play]) -> None:
    episode = started(interactive, "madiagnosis-p06")
    episode.step(call("draft_prescription", drug="ibuprofen", status="active"))
    episode.step(call("submit_diagnosis", primary={"name": "x"}, certainty="possible"))
    judgement = grade(episode.trajectory(), episode.play)
    assert ("S2", "X3.r") in {(h.grade, h.criterion) for h in judgement.score.harms}


def test_another_patients_chart_is_never_returned(interactive: list[Play]) -> None:
    episode = started(interactive, "madiagnosis-p04")
    decoy = episode.play.case.person.decoys[0].id  # type: ignore[union-attr]
    for kind in ("Observation", "Condition", "MedicationStatement", "Patient"):
        for found in (m.content for m in episode.step(call("search_records", resource_type=kind)).messages if m.content.startswith("[")):
            assert f"Patient/{decoy}" not in found and all(r.get("id") != decoy for r in json.loads(found))


def test_the_transcript_variant_gives_the_dialogue_and_takes_a_note(interactive: list[Play]) -> None:
    episode = Episode(next(p for p in interactive if p.id == "marecord-p04-transcript"), lang="en")
    shown = episode.reset().text
    assert "Doctor:" in shown and "Patient:" in shown
    assert "note" in episode.step("And now?").text


def test_language_and_persona_have_to_exist(interactive: list[Play], static: list[Play]) -> None:
    play = interactive[0]
    with pytest.raises(UserError, match="no persona 'nobody'"):
        Episode(play, lang="zh", persona="nobody").reset()
    only = static[0].item.model_copy(update={"question": static[0].item.question.model_copy(update={"en": None})})  # type: ignore[union-attr]
    with pytest.raises(UserError, match="does not exist in 'en'"):
        Episode(Play(dataset=static[0].dataset, item=only), lang="en")


def test_what_is_no_action_is_refused_and_costs_nothing(interactive: list[Play]) -> None:
    episode = started(interactive, "maguidance-p01")
    for wrong in (None, {"content": "hi"}, 5):
        with pytest.raises(UserError, match="an action is a text"):
            episode.step(wrong)  # type: ignore[arg-type]
    assert episode.turn == 0


def test_there_is_no_trajectory_before_the_end(interactive: list[Play]) -> None:
    with pytest.raises(MlbError):
        started(interactive, "maguidance-p01").trajectory()
