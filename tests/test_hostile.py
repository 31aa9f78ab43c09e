"""What hostile agents tried once, and must not succeed with again."""

from __future__ import annotations

import json

import pytest

from mlb_env import codes
from mlb_env.catalog.play import Play
from mlb_env.episode import Episode
from mlb_env.judge.extraction import gold_items, items_of
from mlb_env.judge.grade import grade
from mlb_env.patient.understand import ask_for
from mlb_env.spec.action import Action, ToolCall
from mlb_env.spec.base import LANGS, Lang
from mlb_env.spec.rubric import Judgement
from mlb_env.spec.trajectory import Trajectory


def started(plays: list[Play], id_: str, lang: Lang = "en") -> Episode:
    episode = Episode(next(p for p in plays if p.id == id_), lang=lang, persona="plain", max_turns=400)
    episode.reset()
    return episode


def ended(episode: Episode) -> tuple[Trajectory, Judgement]:
    trajectory = episode.trajectory()
    return trajectory, grade(trajectory, episode.play)


@pytest.mark.parametrize("action", [
    '{"content":"hi \\ud83d","tool_calls":[]}', Action(content="hi \ud83d"), "hi \ud83d",
    Action(tool_calls=(ToolCall(name="wait \ud83d", arguments='{"a": "\ud83d"}', id="\ud83d"),)),
])  # fmt: skip
def test_half_a_surrogate_pair_does_not_spoil_the_trajectory(interactive: list[Play], action: Action | str) -> None:
    episode = started(interactive, "madiagnosis-p06")
    episode.step(action)
    episode.stop("max_tokens")
    assert Trajectory.model_validate_json(episode.trajectory().model_dump_json()) == episode.trajectory()


@pytest.mark.parametrize("answer", ["1" * 5000, '{"a": ' + "1" * 5000 + "}", "[" * 5000, '{"关系": 5}', '{"relations": true}', "null", "Infinity"])
def test_no_answer_makes_an_item_ungraded(static: list[Play], answer: str) -> None:
    """A model could else leave out what it does not know."""
    for play in static:
        if play.dataset.name in ("CMExam", "CMeIE", "CMeEE", "CHIP-CDEE", "CHIP-CDN", "MAEESymp"):
            episode = Episode(play, lang="zh")
            episode.reset()
            episode.step(answer)
            assert ended(episode)[1].score.value == 0.0


def test_a_number_of_thousands_of_digits_is_a_malformed_action(interactive: list[Play]) -> None:
    episode = started(interactive, "madiagnosis-p06")
    episode.step('{"tool_calls": [{"name": "wait", "arguments": {"minutes": ' + "1" * 5000 + "}}]}")
    episode.step(Action(tool_calls=(ToolCall(name="wait", arguments='{"minutes": ' + "1" * 5000 + "}"),)))
    assert episode.malformed == 2


@pytest.mark.parametrize("lang", LANGS)
def test_the_ledger_holds_what_the_patient_said_and_nothing_else(interactive: list[Play], lang: Lang) -> None:
    for play in (p for p in interactive if p.id.startswith("marecord-") and p.scenario and p.scenario.variant == "dialogue"):
        assert play.case is not None
        facts = {f.id: f for f in play.case.facts}
        episode = started(interactive, play.id, lang)
        said: list[str] = []
        for topic in codes.topics():
            if not episode.over:
                said += [m.content for m in episode.step(ask_for(topic, lang)).messages if m.speaker == "patient"]
        episode.over or episode.stop("max_tokens")
        spoken = "\n".join(said)
        for entry in episode.trajectory().ledger:
            fact = facts[entry.fact]
            if entry.route == "patient":
                wordings = (*fact.told[lang], *(fact.corrected[lang] if fact.corrected else ()))
                assert any(w in spoken for w in wordings), f"{play.id}: {fact.id} is in the ledger and was not said"


@pytest.mark.parametrize("question", ["Show me everything you have.", "把您所有的东西都给我看看。"])
def test_show_me_everything_shows_nothing(interactive: list[Play], question: str) -> None:
    for number in range(1, 7):
        episode = started(interactive, f"mamedication-p0{number}", "zh")
        episode.step(question)
        episode.stop("max_tokens")
        assert not [e for e in episode.trajectory().ledger if e.route == "document"]


def test_a_false_alarm_along_the_way_costs(interactive: list[Play]) -> None:
    def score(*alarm: ToolCall) -> float:
        episode = started(interactive, "maguidance-p06")
        urgency = episode.play.case.truth.urgency  # type: ignore[union-attr]
        for topic in ("fever", "incontinence", "saddle_numbness", "limb_weakness", "trauma", "cancer", "weight_change"):
            episode.step(ask_for(topic, "en"))
        close = ToolCall.of("close", disposition=urgency.disposition_best, department="home_care", return_signs=["leg_weakness"])
        episode.step(Action(content="Stay active.", tool_calls=(*alarm, close)))
        return ended(episode)[1].score.value or 0.0

    assert score(ToolCall.of("escalate", disposition="D1")) < score()


def test_harmful_orders_and_drafts_along_the_way_are_harm(interactive: list[Play]) -> None:
    episode = started(interactive, "madiagnosis-p02")
    case = episode.play.case
    assert case is not None
    tests = [t for t in case.tests if t.grade in ("contraindicated", "delays_care") and t.harm_grade]
    drugs = [m for m in case.medication.med_points if m.action in ("stop", "avoid") and m.harm_grade]
    assert tests and drugs
    calls = [ToolCall.of("propose_test", name=t.name["en"], body_part="-") for t in tests]
    calls += [ToolCall.of("draft_prescription", drug=m.drug["en"], override_reason="I want it") for m in drugs]
    episode.step(Action(tool_calls=tuple(calls)))
    episode.step(Action(tool_calls=(ToolCall.of("submit_diagnosis", primary={"name": "x"}, certainty="possible"),)))
    trajectory, judgement = ended(episode)
    harmed = {h.criterion for h in judgement.score.harms}
    stopped = {e.arguments["drug"] for e in trajectory.tools if e.refused == "alert"}  # the software let these not through: no harm was done
    assert stopped < {m.drug["en"] for m in drugs}
    assert {f"{'I5' if t.grade == 'contraindicated' else 'I6'}:{t.id}" for t in tests} <= harmed
    assert {f"A10.d:{m.id}" for m in drugs if m.drug["en"] not in stopped} <= harmed


def test_the_identity_check_cannot_be_tried_through(interactive: list[Play]) -> None:
    episode = started(interactive, "mamedication-p01")
    person = episode.play.case.person  # type: ignore[union-attr]
    tries = tuple(ToolCall.of("verify_identity", name=person.name["en"], phone_last4=f"{n:04d}") for n in range(10000))
    seen = episode.step(Action(tool_calls=tries)).text
    assert "confirmed" not in seen and "locked" in seen and "At most" in seen and episode.malformed == 1
    assert "locked" in episode.step(Action(tool_calls=(ToolCall.of("verify_identity", name=person.name["en"], phone_last4=person.identity.phone_last4),))).text  # type: ignore[union-attr]


def test_a_constant_form_with_an_empty_question_earns_next_to_nothing(interactive: list[Play]) -> None:
    for dataset in ("MAGuidance", "MAReport", "MAKnowledge", "MAMedication"):
        for disposition, department in (("D1", "emergency"), ("D5", "general_practice"), ("D6", "home_care")):
            scores = []
            for play in (p for p in interactive if p.dataset.name == dataset):
                episode = Episode(play, lang="en", persona="plain")
                episode.reset()
                step = {"department": department, "window": disposition}
                close = ToolCall.of("close", disposition=disposition, department=department, follow_up=step)
                episode.step(Action(content="Please tell me.", tool_calls=(close,)))
                scores.append(ended(episode)[1].score.value or 0.0)
            assert sum(scores) / len(scores) <= 0.10, (dataset, disposition, scores)


def test_looking_everywhere_and_proposing_nothing_stays_low(interactive: list[Play]) -> None:
    scores = []
    for play in (p for p in interactive if p.dataset.name == "MAInspection"):
        episode = Episode(play, lang="en", persona="plain")
        episode.reset()
        calls = tuple(ToolCall.of("examine", region=r) for r in codes.regions())
        episode.step(Action(content="Where does it hurt?", tool_calls=calls))
        episode.step(Action(tool_calls=(ToolCall.of("propose_tests", tests=[]),)))
        scores.append(ended(episode)[1].score.value or 0.0)
    assert sum(scores) / len(scores) <= 0.17, scores


def test_lenient_f1_is_not_for_single_characters() -> None:
    gold = gold_items("terms", ["慢性支气管炎", "高血压"])
    assert not items_of("terms", {"疾病": [".", "，", " "]}, {"terms": "疾病"}, {})
    from mlb_env.judge.extraction import count

    assert count(items_of("terms", {"疾病": ["炎", "高", "血"]}, {"terms": "疾病"}, {}), gold, "terms").lenient_tp == 0
    assert count(items_of("terms", {"疾病": ["支气管炎"]}, {"terms": "疾病"}, {}), gold, "terms").lenient_tp == 1


def test_an_infinite_dose_is_a_malformed_form(interactive: list[Play]) -> None:
    episode = started(interactive, "mamedication-p01")
    drug = json.dumps({"disposition": "D1", "department": "emergency", "drugs": [{"name": "x", "action": "avoid", "mg_per_day": 1}]})
    episode.step(Action(content="x", tool_calls=(ToolCall(name="close", arguments=drug.replace("1}", "1e999}")),)))
    assert episode.malformed == 1 and not episode.over
