"""`mlb play`: a person plays the agent, sees what an agent sees, and a slip of the keyboard costs nothing."""

from __future__ import annotations

import functools
import io
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from mlb_env.catalog import load
from mlb_env.cli import play as module
from mlb_env.cli.play import NotCalled, convert, play, read_call
from mlb_env.errors import UserError
from mlb_env.judge.grade import grade
from mlb_env.spec.forms import CLOSING, FORMS
from mlb_env.spec.trajectory import Trajectory
from mlb_env.tools import definition

DIAGNOSIS = "madiagnosis-p01"
_loaded = functools.lru_cache(maxsize=None)(load.open_catalog)  # the real content, read once for all tests of this file


@pytest.fixture(autouse=True)
def _quick_catalog(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "open_catalog", lambda extra=(), **options: _loaded(tuple(extra), **options))


class Player:
    """Plays with the given keys and returns what the screen showed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys

    def __call__(self, *lines: str, **options: Any) -> str:
        self._monkeypatch.setattr(sys, "stdin", io.StringIO("".join(line + "\n" for line in lines)))
        play(**options)
        return self._capsys.readouterr().out


@pytest.fixture
def player(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Player:
    return Player(monkeypatch, capsys)


FORM = ("/form", "acute inferior myocardial infarction", "I21.1", "definite", "", "aortic dissection", "", "the ECG", "R1", "", "",
        "right-sided", "", "yes")  # fmt: skip


# --- single-step tasks --------------------------------------------------------------------------------------------------


def test_a_single_step_task_ends_with_the_answer_its_verdict_and_score(player: Player) -> None:
    item = _loaded().select(dataset=["CMExam"])[0]
    answer = ",".join(item.item.answer)  # type: ignore[union-attr]
    out = player(answer, scenario=item.id)
    assert "| ✓ letters (weight 1) Exactly the right option letters" in out and "= 1.000" in out.splitlines()[-1]
    assert "= 0.000" in player("none of them", scenario=item.id).splitlines()[-1]


def test_json_may_be_typed_over_several_lines(player: Player, tmp_path: Path) -> None:
    item = _loaded().select(dataset=["CMeEE"])[0]
    player('{"a":', "[1,", "2]}", scenario=item.id, save=tmp_path / "t.json")
    saved = Trajectory.model_validate_json((tmp_path / "t.json").read_bytes())
    assert saved.messages[-1].content == '{"a":\n[1,\n2]}' and saved.stop_reason == "concluded"


# --- a dialogue ---------------------------------------------------------------------------------------------------------


def test_a_dialogue_is_spoken_examined_concluded_by_the_form_and_scored(player: Player, tmp_path: Path) -> None:
    out = player("When did it start?", "/tool examine vitals", "/add examine abdomen", "Any allergies?", *FORM,
                 scenario=DIAGNOSIS, save=tmp_path / "t.json", seed=4)  # fmt: skip
    t = Trajectory.model_validate_json((tmp_path / "t.json").read_bytes())
    assert [(e.name, e.turn) for e in t.tools if e.name != "result"] == [("examine", 2), ("examine", 3), ("submit_diagnosis", 4)]
    assert (t.stop_reason, t.turns, t.malformed, t.seed) == ("concluded", 4, 0, 4)
    assert t.conclusion is not None and t.conclusion["primary"] == {"name": "acute inferior myocardial infarction", "code": "I21.1"}
    assert t.conclusion["differential"] == ["aortic dissection"]
    assert t.conclusion["grounds"] == [{"text": "the ECG", "rests_on": ["R1"]}]
    assert t.conclusion["immediate_actions"] == ["right_sided_ecg"]
    value = grade(t, _loaded().select(scenario=[DIAGNOSIS])[0]).score.value
    assert value is not None and out.splitlines()[-2].endswith(f"= {value:.3f}") and out.splitlines()[-1].startswith("Saved: ")
    patient = [m.content for m in t.messages if m.speaker == "patient"]
    assert all(f"| {said}" in out for said in patient) and len(patient) == 3
    assert "T02  tool        | examine: E1 " in out


def test_the_ledger_stays_hidden_from_the_player(player: Player) -> None:
    out = player("When did it start?", "/ledger", "/quit", scenario=DIAGNOSIS)
    assert "There is no such command" in out and "learned" not in out and "hpi." not in out


def test_a_typing_mistake_is_answered_on_the_spot_and_costs_no_turn(player: Player, tmp_path: Path) -> None:
    out = player("", "/nope", "/tool", "/tool nothing", "/tool examine {broken", "/tool examine region=nowhere", "/tool examine place=x",
                 '/tool examine "open', "/tool wait soon", "/clock", "/quit", scenario=DIAGNOSIS, save=tmp_path / "t.json")  # fmt: skip
    assert "Say something, or type /help." in out and "There is no such command; /help" in out
    assert out.count("Not sent: ") == 7
    for reason in ("there is no tool 'nothing'", "not valid JSON", "'nowhere' is not one of the codes", "examine has no field 'place'",
                   'a " is not closed', "'soon' is not a whole number"):  # fmt: skip
        assert reason in out
    assert "0 of 40 turns used, minute 0 of " in out
    t = Trajectory.model_validate_json((tmp_path / "t.json").read_bytes())
    assert (t.turns, t.malformed) == (0, 0)


def test_tools_are_listed_described_and_their_codes_searched(player: Player) -> None:
    out = player("/tools", "/tools examine", "/tools examine abdo", "/tools nix", "/help", "/quit", scenario=DIAGNOSIS)
    assert "submit_diagnosis (concludes the episode; /form fills it in)" in out and "  region [manoeuvre]" in out
    assert "codes; add a word to search them" in out and "    abdomen  abdomen" in out and "There is no tool 'nix'" in out
    assert "/tool NAME key=value" in out


def test_a_line_that_begins_with_two_slashes_is_speech(player: Player, tmp_path: Path) -> None:
    player("//help me understand", "/quit", scenario=DIAGNOSIS, save=tmp_path / "t.json")
    t = Trajectory.model_validate_json((tmp_path / "t.json").read_bytes())
    assert [m.content for m in t.messages if m.speaker == "agent"] == ["/help me understand"]


# --- the form -----------------------------------------------------------------------------------------------------------


def test_codes_are_searched_by_word_listed_and_picked_by_number(player: Player) -> None:
    out = player("/form", "x", "", "2", "", "", "", "ct", "zzz", "?", "call_120", "", "/cancel", "/quit", scenario=DIAGNOSIS)
    assert "  = probable" in out and "nothing matches" in out and "call_120  " in out and "  = call_120 " in out
    assert "immediate_actions:\n  - call_120\n" in out and "The form was not sent." in out


def test_a_field_can_be_filled_in_again_before_sending_and_needed_fields_are_asked_for(player: Player, tmp_path: Path) -> None:
    out = player("/form", "", "first", "", "", "3", "", "", "", "", "primary", "second", "", "maybe", "yes",
                 scenario=DIAGNOSIS, save=tmp_path / "t.json")  # fmt: skip
    t = Trajectory.model_validate_json((tmp_path / "t.json").read_bytes())
    assert t.conclusion is not None and t.conclusion["primary"]["name"] == "second"
    assert out.count("This field is needed") == 2 and "Type yes, /cancel, or one of primary" in out


def test_numbers_yes_or_no_and_optional_parts_of_a_form_are_read(player: Player, tmp_path: Path) -> None:
    play_ = _loaded().select(dataset=["MAMedication"])[0]
    player("Please go to the clinic.", "/form", "D4", "cardiology", "a point", "", "aspirin", "continue", "a lot", "100", "", "",
           "", "", "y", "cardiology", "D4", "", "no", "yes", scenario=play_.id, save=tmp_path / "t.json")  # fmt: skip
    form = Trajectory.model_validate_json((tmp_path / "t.json").read_bytes()).conclusion
    assert form is not None and form["drugs"] == [{"name": "aspirin", "action": "continue", "mg_per_dose": 100.0, "mg_per_day": None}]
    assert form["follow_up"]["department"] == "cardiology" and form["handed_over"] is False and form["points"] == ["a point"]


@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize("tool", sorted(CLOSING))
def test_every_code_of_every_closing_form_can_be_found_by_its_label(tool: str, lang: Any) -> None:
    def walk(schema: Any) -> Any:
        if isinstance(schema, dict):
            if "enum" in schema and "description" in schema:
                yield schema
            for inner in schema.values():
                yield from walk(inner)
        elif isinstance(schema, list):
            for inner in schema:
                yield from walk(inner)

    for field in walk(definition(tool, lang)["function"]["parameters"]):
        assert all(module.labels(field).values()), field["enum"]
        assert list(module.labels(field)) == list(field["enum"])


# --- leaving ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keys", [("When did it start?",), ("When did it start?", "/quit"), ("/form", "half a form")])
def test_leaving_early_is_polite_and_leaves_no_score(player: Player, keys: tuple[str, ...], tmp_path: Path) -> None:
    out = player(*keys, scenario=DIAGNOSIS, save=tmp_path / "t.json")
    assert f"== the end, {DIAGNOSIS}, failed ==" in out and "stays without a score" in out and "score =" not in out
    assert Trajectory.model_validate_json((tmp_path / "t.json").read_bytes()).stop_reason == "failed"


def test_the_end_of_input_while_choosing_plays_nothing(player: Player) -> None:
    assert player("q").endswith("Nothing was played.\n")
    assert player().endswith("Nothing was played.\n")


def test_ctrl_c_ends_with_130_and_keeps_what_was_to_be_saved(tmp_path: Path) -> None:
    code = "import typer; from mlb_env.cli.play import play; app = typer.Typer(); app.command()(play); app()"
    env = {**os.environ, "PYTHONPATH": str(Path(module.__file__).parents[2]), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-c", code, DIAGNOSIS, "--save", str(tmp_path / "t.json")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env) as process:
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        process.stdin.write(b"When did it start?\n")
        process.stdin.flush()
        while not process.stdout.readline().startswith(b"T01  patient"):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        assert b"Traceback" not in process.stderr.read()
    assert Trajectory.model_validate_json((tmp_path / "t.json").read_bytes()).failure == "interrupted at the keyboard"


# --- choosing -----------------------------------------------------------------------------------------------------------


def test_a_scenario_is_chosen_from_lists_by_number_or_name(player: Player) -> None:
    out = player("Nope", "CMExam", "99", "2", "A")
    assert "Give a number from 1 to 22 (q leaves)." in out and "Give a number from 1 to 15" in out
    assert f"== the end, {_loaded().select(dataset=['CMExam'])[1].id}, concluded ==" in out


def test_the_list_of_interactive_scenarios_does_not_tell_the_diagnosis(player: Player) -> None:
    out = player("3", "/quit", dataset="MADiagnosis")
    listed, _, after = out.partition("== the end")
    for each in _loaded().select(dataset=["MADiagnosis"]):
        assert each.id not in listed and each.scenario is not None and each.case is not None
        assert str(each.scenario.title.en) not in listed and each.case.observed["en"][:40] in listed
    assert _loaded().select(dataset=["MADiagnosis"])[2].id in after


def test_language_and_persona_are_as_chosen(player: Player, tmp_path: Path) -> None:
    play_ = _loaded().select(scenario=[DIAGNOSIS])[0]
    persona = sorted(set(play_.personas))[-1]
    player("/quit", scenario=DIAGNOSIS, lang="zh", persona=persona, save=tmp_path / "t.json")
    t = Trajectory.model_validate_json((tmp_path / "t.json").read_bytes())
    assert (t.lang, t.persona) == ("zh", persona)


# --- a user's mistakes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"scenario": "nope"}, "no scenario 'nope'"), ({"dataset": "Nope"}, "no dataset 'Nope'"),
        ({"scenario": DIAGNOSIS, "lang": "fr"}, "--lang fr"), ({"scenario": DIAGNOSIS, "persona": "nobody"}, "no persona 'nobody'"),
        ({"scenario": "cmexam-001", "persona": "plain"}, "single-step task"),
        ({"scenario": DIAGNOSIS, "dataset": "CMExam"}, f"no scenario '{DIAGNOSIS}'"),
    ],
)  # fmt: skip
def test_what_does_not_exist_is_named(player: Player, options: dict[str, Any], named: str) -> None:
    with pytest.raises(UserError, match=named):
        player("A", **options)


def test_a_file_is_never_overwritten_and_a_missing_folder_is_named_before_playing(player: Player, tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text("mine")
    with pytest.raises(UserError, match="exists already"):
        player("A", scenario="cmexam-001", save=tmp_path / "t.json")
    with pytest.raises(UserError, match=r"the folder of .* does not exist"):
        player("A", scenario="cmexam-001", save=tmp_path / "no" / "t.json")
    assert (tmp_path / "t.json").read_text() == "mine"


# --- tool calls as typed ------------------------------------------------------------------------------------------------


TOOLS = {name: definition(name, "en")["function"] for name in FORMS}


@pytest.mark.parametrize(
    ("typed", "arguments"),
    [
        ('propose_test name="chest CT" body_part=chest', '{"name": "chest CT", "body_part": "chest"}'),
        ("propose_test chest CT", '{"name": "chest CT"}'),
        ('verify_identity name="O\'Neill" phone_last4=0012', '{"name": "O\'Neill", "phone_last4": "0012"}'),
        ("wait 30", '{"minutes": 30}'),
        ("wait minutes=30", '{"minutes": 30}'),
        ('examine {"region": "abdomen"}', '{"region": "abdomen"}'),
        ("close disposition=D2 department=emergency return_signs=fainting,breathlessness handed_over=yes",
         '{"disposition": "D2", "department": "emergency", "return_signs": ["fainting", "breathlessness"], "handed_over": true}'),
        ('close disposition=D2 department=emergency drugs="[{}]"', None),
    ],
)  # fmt: skip
def test_tool_calls_are_read_as_typed(typed: str, arguments: str | None) -> None:
    if arguments is None:
        with pytest.raises(NotCalled, match=r"drugs\.0\.name"):
            read_call(typed, TOOLS)
    else:
        assert read_call(typed, TOOLS).arguments == arguments


def test_a_value_that_is_not_of_its_type_is_refused() -> None:
    for text, kind in (("x", "number"), ("1.5", "integer"), ("perhaps", "boolean"), ("{", "object"), ("[", "array")):
        with pytest.raises(NotCalled, match="is not"):
            convert(text, {"type": kind, "items": {"type": "string"}})


def test_typer_offers_the_command() -> None:
    app = typer.Typer()
    app.command()(play)
    assert typer.main.get_command(app).name == "play"
