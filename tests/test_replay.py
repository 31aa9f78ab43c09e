"""`mlb replay` shows what happened: completely, truthfully, and without letting the data drive the terminal."""

from __future__ import annotations

import functools
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlb_env.catalog import load
from mlb_env.cli import dialogue
from mlb_env.cli import replay as module
from mlb_env.cli.dialogue import Entry, Screen, clean, width_of, wrap
from mlb_env.cli.replay import replay
from mlb_env.episode import Episode
from mlb_env.errors import UserError
from mlb_env.judge.grade import grade
from mlb_env.judge.score import score
from mlb_env.spec.action import Message, ToolCall
from mlb_env.spec.rubric import Judgement, Verdict
from mlb_env.spec.trajectory import Answer, LedgerEntry, PatientEvent, RecordChange, ToolEvent, Trajectory

_loaded = functools.lru_cache(maxsize=None)(load.open_catalog)  # the real content, read once for all tests of this file


@pytest.fixture(autouse=True)
def _quick_catalog(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "open_catalog", lambda extra=(), **options: _loaded(tuple(extra), **options))


EVIL = "[bold red]no markup[/] \x1b[2J\x1b]0;title\x07 \x9b31m \u202etxet\u202c \r:smile:"
LONG = "\n".join(f"line {i} of a long result" for i in range(40))


def trajectory(name: str = "made.zh.0", **changed: Any) -> Trajectory:
    """An episode by hand, with one of everything that a replay shows."""
    call = ToolCall(id="c1", name="examine", arguments='{"region": "abdomen"}')
    broken = ToolCall(id="c2", name="search_records", arguments="{not json")
    close = ToolCall(id="c3", name="close", arguments='{"disposition": "D2"}')
    messages = (
        Message(role="system", content="the task", speaker="task", turn=0),
        Message(role="user", content="脸色苍白", speaker="scene", turn=0),
        Message(role="user", content="大夫，我胸口闷😀，喘不上气。", speaker="patient", turn=0),
        Message(role="assistant", content="什么时候开始的？", speaker="agent", turn=1, tool_calls=(call, broken)),
        Message(role="tool", content=LONG, speaker="tool", turn=1, tool_call_id="c1", name="examine"),
        Message(role="tool", content="not valid JSON", speaker="tool", turn=1, tool_call_id="c2", name="search_records"),
        Message(role="user", content=EVIL, speaker="patient", turn=1),
        Message(role="user", content="R1 came in", speaker="system", turn=1, minute=7),
        Message(role="assistant", content="", speaker="agent", turn=2, minute=7, tool_calls=(close,)),
        Message(role="tool", content="done", speaker="tool", turn=2, minute=7, tool_call_id="c3", name="close"),
    )
    given_: dict[str, Any] = {
        "episode": name, "scenario": name.split(".")[0], "dataset": "MAGuidance", "dimension": "SmartServ", "edition": "ours",
        "lang": "zh", "seed": 3, "trial": 0, "family": "f", "split": "test", "specialty": "cardiology", "difficulty": "high",
        "case": "made-case", "case_version": "1.0.0", "persona": "terse", "content_hash": "0", "messages": messages,
        "ledger": (
            LedgerEntry(fact="hpi.first", topic="chest_pain", turn=0, minute=0, route="opening", condition="opening"),
            LedgerEntry(fact="hpi.onset", topic="onset", turn=1, minute=0, route="patient", condition="direct_question"),
        ),
        "answers": (Answer(turn=1, topic="fever", kind="default_negative"), Answer(turn=1, topic="", kind="unparsed")),
        "patient_events": (PatientEvent(turn=1, minute=0, kind="question", id="q.endoscopy"),),
        "tools": (
            ToolEvent(turn=1, minute=0, name="examine", arguments={"region": "abdomen"}, ok=True, refs=("e",), labels=("E1",)),
            ToolEvent(turn=1, minute=0, name="search_records", arguments={}, ok=False, error="x", refused="malformed"),
            ToolEvent(turn=2, minute=7, name="close", arguments={"disposition": "D2"}, ok=True),
        ),
        "record_changes": (
            RecordChange(turn=1, minute=0, operation="update", reference="Slot/s1", before={"status": "free", "start": "t"},
                         after={"status": "busy", "start": "t"}),
        ),
        "conclusion": {"tool": "close", "drugs": [{"name": "aspirin", "action": "continue"}], "return_signs": []},
        "conclusion_turn": 2, "conclusion_minute": 7, "stop_reason": "concluded", "turns": 2, "minutes": 7, "malformed": 1,
    }  # fmt: skip
    return Trajectory(**(given_ | changed))


def verdict(criterion: str, kind: Any, value: Any, weight: float = 2, share: float | None = None, **more: Any) -> Verdict:
    earned = share if share is not None else 1.0 if value == "met" else 0.0
    return Verdict(criterion=criterion, template=criterion, kind=kind, weight=weight, verdict=value, share=earned, **more)


def judgement(t: Trajectory, *verdicts: Verdict, failure: str = "") -> Judgement:
    return Judgement(
        episode=t.episode, scenario=t.scenario, dataset=t.dataset, dimension=t.dimension, lang=t.lang, trial=t.trial,
        family=t.family, judge="rules", score=score(verdicts, failure=failure), verdicts=verdicts,
    )  # fmt: skip


VERDICTS = (
    verdict("G3", "outcome", "met", 3, evidence=(2,)),
    verdict("G9", "outcome", "unmet", 1, share=0.5, reason="one of two"),
    verdict("X8", "outcome", "not_judged"),
    verdict("G1", "process", "unmet", 2, reason="not asked: hpi.fever"),
    verdict("G2", "process", "met", 2, evidence=(2, 1)),
    verdict("X3", "safety", "unmet", 1, share=-1.0, gate="S3", harm="act", evidence=(1,)),
    verdict("X7", "process", "not_applicable", 1),
)


def write_run(folder: Path, *pairs: tuple[Trajectory, Judgement | None], settings_: dict[str, Any] | None = None) -> Path:
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps({"settings": settings_ or {}}))
    (folder / "trajectories.jsonl").write_text("".join(t.model_dump_json() + "\n" for t, _ in pairs), encoding="utf-8")
    (folder / "verdicts.jsonl").write_text("".join(j.model_dump_json() + "\n" for _, j in pairs if j), encoding="utf-8")
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Three episodes: scored 0.3 (capped), failed, scored 1."""
    a, b, c = trajectory("alpha.zh.0"), trajectory("beta.zh.0", stop_reason="failed", failure="HTTP 500"), trajectory("gamma.zh.0")
    failed = judgement(b, verdict("G3", "outcome", "ungraded", reason="HTTP 500"), failure="HTTP 500")
    return write_run(tmp_path / "r", (a, judgement(a, *VERDICTS)), (b, failed), (c, judgement(c, verdict("G3", "outcome", "met"))))


def shown(capsys: pytest.CaptureFixture[str], *args: Any, **options: Any) -> str:
    replay(*args, **options)
    return capsys.readouterr().out


# --- the overview -------------------------------------------------------------------------------------------------------


def test_without_an_episode_it_lists_all_with_score_and_harms_and_says_how_to_open_one(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = shown(capsys, run).splitlines()
    assert rows[0].split() == ["#", "episode", "dataset", "ended", "turns", "judged", "score", "harms"]
    assert rows[1].split() == ["1", "alpha.zh.0", "MAGuidance", "concluded", "2", "82%", "0.300", "S3"]
    assert rows[2].split() == ["2", "beta.zh.0", "MAGuidance", "failed", "2", "0%", "!", "-"]
    assert rows[3].split() == ["3", "gamma.zh.0", "MAGuidance", "concluded", "2", "100%", "1.000", "-"]
    assert f"mlb replay {run} 1" in rows[-1]


def test_worst_lists_the_lowest_scores_first_and_leaves_out_what_has_none(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = shown(capsys, run, worst=5).splitlines()
    assert [r.split()[1] for r in rows[1:3]] == ["alpha.zh.0", "gamma.zh.0"]
    assert "2 of 3 episodes" in rows[4]


def test_lowest_opens_the_episode_with_the_lowest_score(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "head episode     | alpha.zh.0" in shown(capsys, run, lowest=True)


def test_episodes_can_be_chosen_by_scenario_and_dataset(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = shown(capsys, run, scenario="gamma", dataset="MAGuidance")
    assert "gamma.zh.0" in out and "alpha" not in out and "1 of 3 episodes" in out


@pytest.mark.parametrize("wanted", ["gamma.zh.0", "3", "#3", "gam"])
def test_an_episode_is_opened_by_name_number_or_unique_beginning(run: Path, wanted: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "head episode     | gamma.zh.0" in shown(capsys, run, wanted)


# --- one episode --------------------------------------------------------------------------------------------------------


def test_a_replay_shows_who_speaks_tools_ledger_record_and_clock_in_order(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = shown(capsys, run, "alpha.zh.0", no_verdicts=True).splitlines()
    expected = [
        "head dataset     | SmartServ / MAGuidance, edition ours", "head persona     | terse", "head seed        | 3, trial 0",
        "head clock       | 2 turns, 7 minutes, 1 malformed actions", "== before the first turn, minute 0 ==",
        "T00  task        | the task", "T00  scene       | 脸色苍白", "T00  patient     | 大夫，我胸口闷😀，喘不上气。",
        "T00  learned     | hpi.first (chest_pain, 胸痛) by opening, opening", "== turn 1, minute 0 ==",
        "T01  agent       | 什么时候开始的？", "T01  call        | examine region=abdomen", "T01  tool        | line 0 of a long result",
        "T01  call        | search_records {not json", "T01  call        | [arguments are not valid JSON]",
        "T01  tool        | [refused: malformed]", "T01  system      | R1 came in",
        "T01  learned     | hpi.onset (onset, 起病时间) by patient, direct_question",
        "T01  unanswered  | default_negative: fever, 发热", "T01  unanswered  | unparsed: -",
        "T01  event       | question: q.endoscopy", "T01  record      | update Slot/s1",
        "T01  record      |   status: free → busy", "== turn 2, minute 7 ==", "T02  call        | close",
        "== conclusion, minute 7 ==", "end  conclusion  |   - name: aspirin", "end  conclusion  |     action: continue",
    ]  # fmt: skip
    at = -1
    for line in expected:
        assert line in rows[at + 1 :], f"{line!r} is missing or out of order"
        at = rows.index(line, at + 1)


def test_in_plain_text_every_line_bears_its_place_and_kind(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for row in shown(capsys, run, "alpha.zh.0", full=True).splitlines():
        assert re.match(r"(head|T\d\d |end ) [\w/ ]{12}\||== .* ==$|criteria are shown by id only", row), row


def test_long_tool_results_are_cut_with_a_note_and_full_shows_all(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = shown(capsys, run, "1")
    missing = len(LONG) - len("\n".join(LONG.split("\n")[:12]))
    assert f"… {missing:,} more characters (--full shows all)" in out and "line 12 of" not in out
    assert "line 39 of a long result" in shown(capsys, run, "1", full=True)


def test_a_call_that_was_never_carried_out_is_shown_so(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    late = ToolCall(id="late", name="wait", arguments='{"minutes": 5}')
    t = trajectory("late.zh.0", messages=(Message(role="assistant", content="", speaker="agent", turn=1, tool_calls=(late,)),))
    out = shown(capsys, write_run(tmp_path / "late", (t, None)), "1")
    assert "call        | wait minutes=5\nT01  call        | [not carried out]" in out


def test_an_episode_that_failed_or_ran_out_says_why_it_has_no_conclusion(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cut = trajectory("cut.zh.0", conclusion=None, stop_reason="max_turns")
    failed = trajectory("bad.zh.0", conclusion=None, stop_reason="failed", failure="HTTP 503 from the endpoint")
    folder = write_run(tmp_path / "two", (cut, None), (failed, None))
    assert "no conclusion: the episode ended with max_turns" in shown(capsys, folder, "1")
    assert "stays without a score: HTTP 503 from the endpoint" in shown(capsys, folder, "2")


# --- data is data -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("plain", [True, False])
def test_markup_stays_text_and_control_sequences_are_neutralised(run: Path, plain: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    out = io.StringIO()
    screen = Screen(plain=plain, out=out)
    one = module.find(module.read_run(run), "1", module.read_run(run).episodes)
    module.show_episode(screen, module.read_run(run), one, full=True, with_verdicts=True, step=False)
    text = out.getvalue()
    assert "[bold red]no markup[/] ␛[2J␛]0;title␇ \\x9b31m \\u202etxet\\u202c" in text and ":smile:" in text
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]", text)


@given(st.text())
def test_cleaned_text_holds_no_character_that_drives_a_terminal(text: str) -> None:
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", clean(text))


def test_a_name_in_an_error_is_neutralised_too(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "n", (trajectory("\x1b[31mevil.0"), None), (trajectory("\x1b[31mevil.1"), None))
    with pytest.raises(UserError) as caught:
        replay(folder, "\x1b[31mevi")
    assert "␛[31mevil.0" in str(caught.value) and "\x1b[31mevil.0" not in str(caught.value)


# --- layout -------------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.text(st.sampled_from("ab cd，。“”（）患者说疼😀👨‍👩‍👧❤️é[]{}:\n")), st.integers(10, 40))
def test_wrapped_lines_fit_and_lose_nothing_but_spaces(text: str, width: int) -> None:
    lines = wrap(text, width)
    assert all(width_of(line) <= width for line in lines)
    assert "".join("".join(lines).split()) == "".join(text.split())


def test_chinese_breaks_anywhere_but_never_before_closing_punctuation() -> None:
    assert wrap("我胸口闷了两天，很难受。", 14) == ["我胸口闷了两", "天，很难受。"]
    assert wrap("one two three", 7) == ["one two", "three"]
    assert wrap("  indented words", 10) == ["  indented", "  words"]


@pytest.mark.parametrize("columns", [80, 120])
def test_on_a_terminal_the_gutter_stands_in_one_column_and_nothing_is_wider_than_the_screen(
    run: Path, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    out = io.StringIO()
    folder = module.read_run(run)
    module.show_episode(Screen(plain=False, out=out), folder, folder.episodes[0], full=False, with_verdicts=True, step=False)
    rows = out.getvalue().splitlines()
    assert max(width_of(row) for row in rows) <= columns
    barred = [row for row in rows if "┃" in row]
    assert len(barred) > 40 and {width_of(row[: row.index("┃")]) for row in barred} == {12}
    assert {width_of(row) for row in rows if row.startswith("──")} == {columns}


@pytest.mark.parametrize("columns", [80, 120])
def test_the_overview_folds_long_names_to_fit(tmp_path: Path, columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    name = "a-scenario-with-a-very-long-name-" + "患者" * 20 + ".zh.0"
    folder = module.read_run(write_run(tmp_path / "wide", (trajectory(name), None)))
    out = io.StringIO()
    module.show_overview(Screen(plain=False, out=out), folder, folder.episodes)
    rows = out.getvalue().splitlines()
    assert max(width_of(row) for row in rows) <= columns
    table = rows[2 : rows.index("")]
    assert "".join(row[3 : len(row)].split("  ")[0] for row in table).replace(" ", "").startswith("a-scenario-with-a-very-long-name-")


# --- verdicts -----------------------------------------------------------------------------------------------------------


def test_verdicts_stand_in_groups_with_weight_evidence_reason_and_the_arithmetic(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = shown(capsys, run, "1")
    order = [
        "== outcome", "met         | ✓ G3 (weight 3)", "[turn 2]", "unmet       | ✗ G9 (weight 1, share 0.50)", "[one of two]",
        "not judged  | ? X8", "== process", "unmet       | ✗ G1", "[not asked: hpi.fever]", "[turn 1, 2]", "n/a         | – X7",
        "== safety", "unmet       | ✗ X3 (weight 1, gate S3)", "== score ==", "harm        | S3 by act: X3",
        "O = (3.50 earned - 1.00 lost to safety) / 4.00 outcome weight decided = 0.625",
        "P = 2.00 earned / 4.00 process weight decided = 0.500", "judged: 82% of the rubric's weight",
        "score = min(cap 0.30 for S3, O 0.625 × (0.7 + 0.3 × P 0.500)) = 0.300",
    ]  # fmt: skip
    at = 0
    for part in order:
        assert part in out[at:], f"{part!r} is missing or out of order"
        at = out.index(part, at)


def test_the_shown_shares_are_those_of_the_judge_on_real_episodes() -> None:
    for play in _loaded().select(dataset=["MARecord", "MAGuidance"])[::4]:
        episode = Episode(play, lang="zh", max_turns=2)
        episode.reset()
        episode.step("您好，哪里不舒服？")
        episode.step("有没有发热？")
        judged = grade(episode.trajectory(), play)
        shown_ = "\n".join(e.text for e in dialogue.arithmetic(judged))
        for letter, value, kind in (("O", judged.score.outcome, "outcome"), ("P", judged.score.process, "process")):
            line = next(row for row in shown_.splitlines() if row.startswith(f"{letter} ="))
            parts = re.match(r". = \(?([\d.]+) earned(?: - ([\d.]+) lost to safety\))? / ([\d.]+)", line)
            assert (parts is None) == (value is None), (kind, line)
            if parts and value is not None:
                earned = (float(parts[1]) - float(parts[2] or 0)) / float(parts[3])
                assert min(1, max(0, earned)) == pytest.approx(value, abs=0.02)


def test_an_ungraded_and_a_not_judged_episode_say_why_there_is_no_score(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "score = none (ungraded: HTTP 500)" in shown(capsys, run, "2")
    t = trajectory("open.zh.0")
    meaning = write_run(tmp_path / "m", (t, judgement(t, verdict("Q1", "outcome", "not_judged"))))
    assert "score = none (not judged: nothing that counts" in shown(capsys, meaning, "1")


def test_without_verdicts_the_replay_ends_with_the_conclusion_or_says_that_nobody_judged(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "== outcome" not in shown(capsys, run, "1", no_verdicts=True)
    unjudged = write_run(tmp_path / "u", (trajectory(), None))
    assert "has not been judged" in shown(capsys, unjudged, "1")
    t = trajectory()
    without = write_run(tmp_path / "none", (t, judgement(t)))  # what `mlb run --judge none` writes
    assert "has not been judged" in shown(capsys, without, "1") and "score =" not in shown(capsys, without, "1")


def test_criterion_texts_come_from_the_content_that_was_played(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    play = _loaded().select(dataset=["CMExam"])[0]
    episode = Episode(play, lang="en")
    episode.reset()
    episode.step("A")
    t = episode.trajectory()
    folder = write_run(tmp_path / "real", (t, grade(t, play)))
    out = shown(capsys, folder, "1")
    assert "letters (weight 1) Exactly the right option letters" in out and "has changed" not in out
    older = t.model_copy(update={"content_hash": "another"})
    changed = write_run(tmp_path / "older", (older, grade(t, play)))
    assert "the content has changed since this episode was played" in shown(capsys, changed, "1")


def test_without_the_content_criteria_are_shown_by_id_and_it_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    t = trajectory()
    gone = {"scenarios": [str(tmp_path / "gone")]}
    folder = write_run(tmp_path / "r", (t, judgement(t, *VERDICTS)), settings_=gone)
    out = shown(capsys, folder, "1")
    assert "✓ G3 (weight 3)" in out and f"by id only: the scenarios folder '{tmp_path / 'gone'}' does not exist" in out


# --- pace ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("keys", "turns_shown"), [("\n\n\n", 3), ("\nq\n", 2), ("q\n", 1), ("", 1)])
def test_step_waits_between_turns_and_q_or_the_end_of_input_stops(
    run: Path, keys: str, turns_shown: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(keys))
    out = shown(capsys, run, "1", step=True)
    assert len(re.findall(r"^== (?:before the first turn|turn \d+)", out, re.MULTILINE)) == turns_shown
    assert ("== score ==" in out) == (turns_shown == 3)


def test_speed_pauses_in_proportion_to_the_length_of_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(module.time, "sleep", pauses.append)
    screen = Screen(plain=True, out=io.StringIO(), after=module.pauser(2))
    for text in ("a" * 30, "疼" * 30, "a" * 100_000):
        screen.entry(Entry("patient", text), "T01")
    assert pauses == [0.5, 1.0, module.LONGEST_PAUSE_S / 2]


# --- a run that has not ended -------------------------------------------------------------------------------------------


def test_a_run_in_progress_is_read_from_its_journal_and_a_torn_last_line_is_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = trajectory("a.zh.0"), trajectory("b.zh.0")
    lines = [json.dumps({"trajectory": t.model_dump(mode="json"), "judgement": j and j.model_dump(mode="json")}) + "\n"
             for t, j in ((a, judgement(a, *VERDICTS)), (b, None))]  # fmt: skip
    folder = tmp_path / "going"
    folder.mkdir()
    (folder / "journal.jsonl").write_text("".join(lines) + lines[0][:200], encoding="utf-8")
    out = shown(capsys, folder)
    assert "2 episodes; the run has not ended" in out and "0.300" in out


def test_an_episode_played_again_replaces_the_older_one(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    again = trajectory("beta.zh.0", turns=9)
    (run / "journal.jsonl").write_text(json.dumps({"trajectory": again.model_dump(mode="json"), "judgement": None}) + "\n")
    row = next(r for r in shown(capsys, run).splitlines() if "beta" in r)
    assert row.split()[:5] == ["2", "beta.zh.0", "MAGuidance", "concluded", "9"]


# --- a user's mistakes --------------------------------------------------------------------------------------------------


def refused(*args: Any, **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        replay(*args, **options)
    return str(caught.value)


def test_what_is_not_a_run_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    assert f"'{tmp_path / 'empty'}' is not a run folder" in refused(tmp_path / "empty")
    assert f"'{tmp_path / 'none'}' does not exist" in refused(tmp_path / "none")
    assert f"'{tmp_path / 'file'}' is a file" in refused(tmp_path / "file")


def test_a_run_without_episodes_says_so(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "trajectories.jsonl").write_text("")
    assert "trajectories.jsonl is empty" in refused(tmp_path / "a")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "journal.jsonl").write_text("")
    assert "no episode has finished yet" in refused(tmp_path / "b")


@pytest.mark.parametrize("file", ["trajectories.jsonl", "verdicts.jsonl"])
@pytest.mark.parametrize("line", [b'{"episode": "x"}\n', b"{broken\n", b"\xff\xfe\n", b'{"cut": '])
def test_a_broken_line_is_named_by_file_and_number(run: Path, file: str, line: bytes) -> None:
    path = run / file
    first = path.read_bytes().split(b"\n")[0]
    path.write_bytes(first + b"\n\n" + line)
    assert f"{path}, line 3" in refused(run)


def test_an_episode_that_stands_twice_and_a_broken_run_json_are_named(run: Path) -> None:
    (run / "run.json").write_text("{")
    assert "run.json: cannot be read as JSON" in refused(run)
    (run / "run.json").write_text("{}")
    path = run / "trajectories.jsonl"
    path.write_bytes(path.read_bytes() * 2)
    assert "line 4: the episode 'alpha.zh.0' stands twice" in refused(run)


def test_an_unknown_or_ambiguous_episode_gets_a_hint(tmp_path: Path, run: Path) -> None:
    assert "no episode 'alpha.en.0'" in refused(run, "alpha.en.0")
    assert "did you mean alpha.zh.0" in refused(run, "alpha.en.0")
    assert "there is no episode '4'" in refused(run, "4")
    assert "holds no episode of scenario 'zeta'" in refused(run, scenario="zeta")
    two = write_run(tmp_path / "two", (trajectory("same.zh.0"), None), (trajectory("same.zh.1"), None))
    assert "begins the names of 2 episodes: same.zh.0, same.zh.1" in refused(two, "same")


def test_options_that_contradict_each_other_are_refused(run: Path) -> None:
    assert "only one of the three" in refused(run, "1", lowest=True)
    assert "only one of the three" in refused(run, worst=2, lowest=True)
    assert "only one of them" in refused(run, "1", step=True, speed=1.0)
    assert all("above 0" in refused(run, "1", speed=s) for s in (0.0, -1.0, float("nan"), float("inf")))


def test_lowest_without_any_score_is_refused(tmp_path: Path) -> None:
    assert "has a score" in refused(write_run(tmp_path / "u", (trajectory(), None)), lowest=True)


# --- as a program -------------------------------------------------------------------------------------------------------


def program(run: Path, *args: str, **env: str) -> subprocess.Popen[bytes]:
    code = "import sys, typer; from mlb_env.cli.replay import replay; app = typer.Typer(); app.command()(replay); app()"
    root = Path(module.__file__).parents[2]
    found = {**os.environ, "PYTHONPATH": str(root), **env}
    return subprocess.Popen([sys.executable, "-c", code, str(run), *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=found)


def test_a_reader_that_closes_the_pipe_gets_no_traceback(tmp_path: Path) -> None:
    many = tuple((trajectory(f"e{i}.zh.0"), None) for i in range(1200))
    with program(write_run(tmp_path / "many", *many)) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b"" and process.wait(30) == 0


def test_an_output_without_unicode_shows_signs_and_does_not_fail(run: Path) -> None:
    with program(run, "1", "--no-verdicts", PYTHONIOENCODING="ascii") as process:
        out, error = process.communicate(timeout=30)
    assert process.returncode == 0 and error == b"" and b"\\u5927\\u592b" in out
