"""The offline patient: what comes out by which question, what is answered where the case is silent, and how."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from mlb_env import codes
from mlb_env.catalog.play import Play
from mlb_env.episode import Episode
from mlb_env.patient.advice import advised
from mlb_env.patient.understand import ask_for, hear, lexicon, matcher
from mlb_env.spec.action import Action, ToolCall
from mlb_env.spec.base import LANGS, Lang
from mlb_env.spec.case import Fact

ONE = "madiagnosis-"


def plays(interactive: list[Play]) -> list[Play]:
    """One dialogue of each case, in which the chart is open."""
    return [p for p in interactive if p.id.startswith(ONE)]


def facts(interactive: list[Play], condition: str) -> Iterator[tuple[Play, Fact]]:
    for play in plays(interactive):
        assert play.case is not None
        for fact in play.case.facts:
            if fact.disclosure.condition == condition and not fact.disclosure.after:
                yield play, fact


def known_after(play: Play, *actions: Action | str, lang: Lang = "zh", persona: str = "terse") -> dict[str, str]:
    """Fact -> route, after these actions."""
    episode = Episode(play, lang=lang, persona=persona, max_turns=99)
    episode.reset()
    for action in actions:
        episode.step(action)
    episode.fail("enough")
    return {e.fact: e.route for e in episode.trajectory().ledger}


def test_the_opening_discloses_what_it_says_and_no_more(interactive: list[Play]) -> None:
    for play in plays(interactive):
        assert play.case is not None
        expected = {f.id for f in play.case.facts if f.disclosure.condition in ("opening", "observed")}
        assert set(known_after(play)) == expected


@pytest.mark.parametrize("lang", LANGS)
def test_a_direct_question_brings_the_fact_out(interactive: list[Play], lang: Lang) -> None:
    asked = [(p, f) for p, f in facts(interactive, "direct_question") if f.told[lang]]
    assert len(asked) > 100
    missed = [(p.id, f.id) for p, f in asked if f.id not in known_after(p, ask_for(f.topic, lang), lang=lang)]
    assert missed == []


def test_a_specific_fact_needs_its_own_topic_named(interactive: list[Play]) -> None:
    found = 0
    for play, fact in facts(interactive, "specific_question"):
        parent = codes.topics()[fact.topic].parent
        if parent:
            found += 1
            assert fact.id not in known_after(play, ask_for(parent, "zh")), f"{play.id}: {fact.id} came out on {parent}"
        assert fact.id in known_after(play, ask_for(fact.topic, "zh")), f"{play.id}: {fact.id}"
    assert found >= 5


def test_a_chart_only_fact_comes_out_by_reading_and_not_by_asking(interactive: list[Play]) -> None:
    kinds = ("Condition", "MedicationStatement", "AllergyIntolerance", "DocumentReference", "Observation", "Encounter", "Procedure", "Immunization")
    read = Action(tool_calls=tuple(ToolCall.of("search_records", resource_type=k) for k in kinds))
    for play, fact in facts(interactive, "chart_only"):
        assert fact.id not in known_after(play, ask_for(fact.topic, "zh"))
        assert known_after(play, read).get(fact.id) == "chart", f"{play.id}: {fact.id}"


def test_a_sensitive_fact_needs_privacy_and_framing(interactive: list[Play]) -> None:
    acts = lexicon().acts
    frame = acts["private"].zh[0] + "。" + acts["normalising"].zh[0] + "。"
    for play, fact in [*facts(interactive, "sensitive_question"), *facts(interactive, "alone")]:
        assert play.case is not None
        others = {"direct_question", "open_question", "specific_question"} & set(fact.disclosure.also)
        present = bool(play.case.person.informant.present) or fact.disclosure.condition == "sensitive_question"
        if not others and present and codes.topics()[fact.topic].id not in ("self_harm", "violence", "sexual", "substance"):
            assert fact.id not in known_after(play, ask_for(fact.topic, "zh"))
        assert fact.id in known_after(play, frame, ask_for(fact.topic, "zh")), f"{play.id}: {fact.id}"


@pytest.mark.parametrize(("lang", "question", "kind"), [
    ("zh", "您有没有耳朵痛？", "default_negative"), ("en", "Do you have any ear pain?", "default_negative"),
    ("zh", "这个牛顿第二定律怎么理解？", "unparsed"), ("en", "What is the capital of France?", "unparsed"),
])  # fmt: skip
def test_what_the_case_does_not_hold_is_answered_honestly_and_logged(interactive: list[Play], lang: Lang, question: str, kind: str) -> None:
    play = next(p for p in interactive if p.id == "maguidance-p03")
    episode = Episode(play, lang=lang, persona="plain")
    episode.reset()
    episode.step(question)
    episode.fail("enough")
    assert [a.kind for a in episode.trajectory().answers] == [kind]


def test_critical_topics_are_never_defaults(interactive: list[Play]) -> None:
    for play in plays(interactive):
        episode = Episode(play, lang="zh", persona="plain", max_turns=99)
        episode.reset()
        for topic in (t for t in codes.topics().values() if t.group == "critical"):
            episode.step(ask_for(topic.id, "zh"))
        episode.fail("enough")
        assert not [a for a in episode.trajectory().answers if a.kind == "default_negative"]


def test_several_questions_are_answered_up_to_a_limit(interactive: list[Play]) -> None:
    play = next(p for p in interactive if p.id == "maguidance-p06")
    episode = Episode(play, lang="zh", persona="terse")
    episode.reset()
    episode.step("".join(ask_for(t, "zh") for t in ("allergy", "tobacco", "alcohol", "surgery")))
    episode.fail("enough")
    trajectory = episode.trajectory()
    assert [a.kind for a in trajectory.answers] == ["too_many", "too_many"]


def test_statements_are_not_questions(interactive: list[Play]) -> None:
    cues = matcher()
    assert not hear("我理解您担心胸痛。先休息一下。", cues).asks
    assert not hear("I am sorry that your stomach hurts. Please sit down.", cues).asks
    assert hear("对什么药过敏？抽烟吗？", cues).asks == ("allergy", "tobacco")
    assert hear("Any allergies? Do you smoke?", cues).asks == ("allergy", "tobacco")


def test_an_attribute_question_is_about_the_symptom_and_does_not_ask_it(interactive: list[Play]) -> None:
    assert hear("胸痛是什么时候开始的？", matcher()).asks == ("onset",)


def test_family_history_is_not_the_persons_own(interactive: list[Play]) -> None:
    assert hear("家里人有高血压、糖尿病吗？", matcher()).asks == ("family",)


def test_patients_understand_both_languages_and_answer_in_the_scenarios(interactive: list[Play]) -> None:
    play = next(p for p in interactive if p.id == "maguidance-p06")
    fact = next(f for f in play.case.facts if f.topic == "tobacco")  # type: ignore[union-attr]
    episode = Episode(play, lang="zh", persona="terse")
    episode.reset()
    assert any(w in episode.step("Do you smoke?").text for w in fact.told["zh"])


def test_asked_to_say_it_back_the_wrong_answer_comes_first(interactive: list[Play]) -> None:
    play = next(p for p in interactive if p.id == "maknowledge-p06")
    teach = play.case.education.teach_back  # type: ignore[union-attr]
    episode = Episode(play, lang="en", persona="plain")
    episode.reset()
    ask = lexicon().acts["teach_back"].en[0] + "?"
    assert teach.wrong_answer["en"] in episode.step(ask).text
    assert teach.right_answer["en"] in episode.step(ask).text


def test_a_report_is_shown_when_asked_for_and_its_table_is_the_cases(interactive: list[Play]) -> None:
    for play in (p for p in interactive if p.dataset.name == "MAReport"):
        assert play.case is not None and play.case.report is not None
        episode = Episode(play, lang="zh", persona="plain")
        episode.reset()
        shown = episode.step(lexicon().acts["show_document"].zh[0] + "，" + ask_for("report_document", "zh")).text
        assert all(i.name["zh"] in shown for i in play.case.report.items), play.id


def test_a_finding_brings_out_the_fact_that_it_shows(interactive: list[Play]) -> None:
    found = 0
    for play in plays(interactive):
        assert play.case is not None
        exams = {e.id: e for e in play.case.exam}
        for fact in play.case.facts:
            for ref in fact.disclosure.shown_by:
                found += 1
                look = ToolCall.of("examine", region=exams[ref].region, manoeuvre=exams[ref].manoeuvre)
                assert known_after(play, Action(tool_calls=(look,))).get(fact.id) == "examination"
    assert found >= 3


def test_every_finding_of_a_case_can_be_obtained(interactive: list[Play]) -> None:
    for play in plays(interactive):
        assert play.case is not None
        episode = Episode(play, lang="en", persona="plain", max_turns=99)
        episode.reset()
        for exam in play.case.exam:
            episode.step(Action(tool_calls=(ToolCall.of("examine", region=exam.region, manoeuvre=exam.manoeuvre),)))
        episode.stop("max_tokens")
        assert {e.id for e in play.case.exam} <= {r for event in episode.trajectory().tools for r in event.refs}


@pytest.mark.parametrize(
    ("said", "plans"),
    [
        ("请立即拨打120。", ["urgent"]),
        ("没有大碍，在家休息观察就好。", ["home"]),
        ("不能在家观察，必须马上去医院急诊。", ["urgent"]),
        ("如果加重，请拨打120。", []),
        ("您现在是在家休息吗？", []),
        ("请放心。", []),
        ("明天到门诊复诊。", ["visit"]),
        ("Call an ambulance now.", ["urgent"]),
        ("This is nothing serious; rest at home.", ["home"]),
        ("Do not stay at home. Please see a doctor tomorrow.", ["visit"]),
        ("If it gets worse, call 120.", []),
        ("Don't worry, we will look after you.", []),
    ],
)
def test_the_patient_takes_away_what_it_is_plainly_told_to_do(said: str, plans: list[str]) -> None:
    assert list(advised(said)) == plans


@pytest.mark.parametrize("said", ["您头疼吗，" * 20_000, "apart from " * 10_000, "do you have pain, " * 6_000, "要不要" * 30_000, "？" * 100_000, "\x00�" * 1_000])
def test_endless_or_odd_speech_is_heard_out_in_no_time(said: str) -> None:
    """100,000 characters are the most an environment takes; nothing in them may cost more than reading them does."""
    start = time.process_time()
    hear(said, matcher())
    advised(said)
    assert time.process_time() - start < 10
