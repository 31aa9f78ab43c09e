"""The command line from outside: what it prints, where it writes, how it ends."""

from __future__ import annotations

import csv
import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import mlb_env
from mlb_env.catalog.load import content_root
from mlb_env.cli.dialogue import _call, width_of
from mlb_env.cli.play import NotCalled, read_call
from mlb_env.spec.action import ToolCall

from .run_kit import (  # noqa: F401  the fixture is used by being here
    FAILING,
    QUICK,
    bundled_cases_are_parsed_once,
    call,
    contents,
    environment,
    mlb,
    write_agent,
    write_content,
    write_mine,
)  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with content, agents and three finished runs: good and poor over the same content, and one of all datasets."""
    place = tmp_path_factory.mktemp("place")
    write_content(place / "content")
    write_agent(place / "quick.py", QUICK)
    write_agent(place / "failing.py", FAILING)
    (place / "empty").mkdir()
    (place / "bad.yaml").write_text("id: [broken\n", encoding="utf-8")
    mlb_env.run("oracle", scenarios=place / "content", out=place / "good")
    mlb_env.run(str(place / "quick.py"), scenarios=place / "content", out=place / "poor")
    mlb_env.run("oracle", scenarios=place / "content", scenario="tiny-000", out=place / "first")
    mlb_env.run("oracle", scenarios=place / "content", scenario="tiny-001", out=place / "second")
    mlb_env.run("null", out=place / "all")
    return place


# --- help and names -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command", ["run", "replay", "play", "list", "show", "check", "schema", "grade", "report", "leaderboard", "compare", "export", "import"]
)
def test_every_command_has_help(place: Path, command: str) -> None:
    done = call(command, "--help", cwd=place)
    assert done.returncode == 0 and "Usage: mlb " + command in done.stdout and not done.stderr


def test_run_has_the_promised_options(place: Path) -> None:
    shown = mlb("run", "--help", cwd=place, COLUMNS="200").stdout
    for name in ("agent", "model", "base-url", "dimension", "dataset", "scenario", "scenarios", "lang", "limit", "trials", "seed",
                 "concurrency", "patient", "persona", "judge", "out", "resume", "retry-ungraded", "config"):  # fmt: skip
        assert re.search(rf"--{name}\b", shown), name


def test_the_version(place: Path) -> None:
    assert re.fullmatch(r"mlb-env \d+\.\d+\.\d+\n", mlb("--version", cwd=place).stdout)
    assert mlb_env.__version__ == mlb("--version", cwd=place).stdout.split()[1]


# --- the user's mistakes ------------------------------------------------------------------------------------------------

MISTAKES: list[tuple[str, list[str]]] = [
    ("Nope", ["run", "--dataset", "Nope", "--out", "x"]),
    ("bad.yaml", ["run", "--scenarios", "bad.yaml", "--out", "x"]),
    ("nonexistent", ["run", "--scenarios", "nonexistent", "--out", "x"]),
    ("nope", ["run", "--agent", "nope", "--out", "x"]),
    ("no-file.py", ["run", "--agent", "no-file.py", "--out", "x"]),
    ("agent ':'", ["run", "--agent", ":", "--out", "x"]),
    ("agent '.a:b'", ["run", "--agent", ".a:b", "--out", "x"]),
    ("--dataset", ["run", "--dataset", "", "--out", "x"]),
    ("--scenario ", ["run", "--scenario", ",", "--out", "x"]),
    ("--dimension", ["list", "--dimension", ""]),
    ("--extra-body", ["run", "--agent", "chat", "--model", "m", "--extra-body", "9" * 5000, "--out", "x"]),
    ("--extra-body", ["run", "--agent", "chat", "--model", "m", "--extra-body", "[" * 50_000, "--out", "x"]),
    ("no_module", ["run", "--agent", "no_module:make", "--out", "x"]),
    ("OPENAI_API_KEY", ["run", "--agent", "chat", "--model", "m", "--limit", "1", "--out", "x"]),
    ("--model NAME", ["run", "--agent", "chat", "--limit", "1", "--out", "x"]),
    ("--agent chat", ["run", "--model", "m", "--limit", "1", "--out", "x"]),  # would measure the baseline under a model's name
    ("--limit", ["run", "--limit", "-1", "--out", "x"]),
    ("--limit", ["run", "--limit", "many", "--out", "x"]),
    ("--trials", ["run", "--trials", "0", "--out", "x"]),
    ("--concurrency", ["run", "--concurrency", "0", "--out", "x"]),
    ("--lang", ["run", "--lang", "fr", "--out", "x"]),
    ("--judge", ["run", "--judge", "oracle", "--out", "x"]),
    ("no such patient", ["run", "--patient", "nurse", "--out", "x"]),
    ("add --patient llm:MODEL", ["run", "--patient-base-url", "http://localhost:1/v1", "--out", "x"]),
    ("--persona", ["run", "--persona", "grumpy", "--out", "x"]),
    ("--base-url", ["run", "--agent", "quick.py", "--base-url", "http://localhost:1/v1", "--out", "x"]),
    ("--extra-body", ["run", "--agent", "chat", "--model", "m", "--extra-body", "{", "--out", "x"]),
    ("extra-body", ["run", "--agent", "chat", "--model", "m", "--extra-body", "[]", "--out", "x"]),
    ("temperature", ["run", "--agent", "chat", "--model", "m", "--temperature", "-1", "--out", "x"]),
    ("bad.yaml", ["run", "--config", "bad.yaml", "--out", "x"]),
    ("empty", ["run", "--limit", "1", "--out", "empty"]),
    ("empty", ["run", "--resume", "empty"]),
    ("nonexistent", ["run", "--resume", "nonexistent"]),
    ("--retry-ungraded", ["run", "--retry-ungraded", "--out", "x"]),
    ("--resume", ["run", "--resume", "good", "--out", "x"]),
    ("--no-such-option", ["run", "--no-such-option"]),
    ("empty", ["replay", "empty"]),
    ("empty", ["grade", "empty"]),
    ("nonexistent", ["grade", "nonexistent"]),
    ("bad.yaml", ["grade", "bad.yaml"]),
    ("empty", ["report", "empty"]),
    ("empty", ["compare", "empty", "empty"]),
    ("empty", ["compare", "good", "empty"]),
    ("in common", ["compare", "first", "second"]),
    ("editions", ["compare", "good", "all"]),
    ("bad.yaml", ["check", "bad.yaml"]),
    ("nonexistent", ["check", "nonexistent"]),
    ("empty", ["check", "empty"]),
    ("empty", ["import", "mlb-release", "empty", "--out", "x"]),
    ("no-format", ["import", "no-format", "empty", "--out", "x"]),
    ("nope", ["list", "nope"]),
    ("Nope", ["list", "scenarios", "--dataset", "Nope"]),
    ("maguidance", ["show", "maguidance-nope"]),
    ("--gold", ["show", "cmexam-001", "--json"]),
    ("nope", ["schema", "nope"]),
    ("nope", ["nope"]),
]


@pytest.mark.parametrize(("culprit", "arguments"), MISTAKES, ids=[" ".join(a[:3]) + f" ({c})" for c, a in MISTAKES])
def test_a_mistake_is_one_sentence_that_names_the_culprit_and_exit_2(place: Path, culprit: str, arguments: list[str]) -> None:
    done = call(*arguments, cwd=place)
    assert done.returncode == 2, done.stderr
    assert culprit in done.stderr and "Traceback" not in done.stderr
    assert not (place / "x").exists()


def test_a_mistake_of_ours_to_find_is_a_single_line(place: Path) -> None:
    assert mlb("run", "--dataset", "Nope", cwd=place).stderr.count("\n") == 1


def test_control_characters_in_a_name_do_not_reach_the_terminal(place: Path) -> None:
    done = mlb("run", "--dataset", "Nope\x1b[31m", cwd=place)
    assert done.returncode == 2 and "\x1b" not in done.stderr


LONG = "n" * 5000


@pytest.mark.parametrize("arguments", [
    ["replay", LONG], ["run", "--scenarios", LONG], ["run", "--out", LONG], ["run", "--resume", LONG],
    ["run", "--agent", LONG + ".py"], ["run", "--config", LONG], ["check", LONG], ["report", LONG],
    ["report", "good", "--csv", LONG], ["compare", "good", LONG], ["grade", LONG], ["grade", "good", "--out", LONG],
    ["import", "mlb-release", LONG, "--out", "x"], ["import", "mlb-release", "content", "--out", LONG],
    ["play", "maguidance-p01", "--save", LONG], ["list", "--scenarios", LONG], ["schema", "--out", LONG],
], ids=lambda a: " ".join(a).replace(LONG, "LONG"))  # fmt: skip
def test_a_path_that_no_file_system_takes_is_one_short_sentence(place: Path, arguments: list[str]) -> None:
    done = call(*arguments, cwd=place)
    assert done.returncode == 2 and done.stderr.startswith("mlb: ") and "nnn" in done.stderr, done.stderr
    assert done.stderr.count("\n") == 1 and len(done.stderr) < 900


@pytest.mark.parametrize("arguments", ["list", "report good", "list --json", "replay good", "schema case"])
def test_a_full_output_is_one_sentence_and_exit_1(place: Path, arguments: str) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([sys.executable, "-m", "mlb_env", *arguments.split()], cwd=place, env=environment(), stdout=full,
                              stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, timeout=60)  # fmt: skip
    assert (done.returncode, done.stderr) == (1, "mlb: the output cannot be written: No space left on device\n")


def test_a_file_on_a_full_device_is_one_sentence(place: Path) -> None:
    done = call("report", "good", "--csv", "/dev/full", cwd=place)
    assert done.returncode == 1 and "/dev/full" in done.stderr and done.stderr.count("\n") == 1


# --- run ----------------------------------------------------------------------------------------------------------------


def test_one_episode_is_not_several(place: Path) -> None:
    done = call("run", "--scenarios", "content", "--agent", "oracle", "--limit", 1, "--out", "only", cwd=place)
    assert done.stderr == "writing to only: 1 episode\n" and "1 episode " in done.stdout + " " and "1 episodes" not in done.stdout
    assert "\n1 episode." in call("replay", "only", cwd=place).stdout


def test_a_run_ends_with_a_table_and_says_where_the_files_are(place: Path) -> None:
    done = mlb("run", "--agent", "null", "--dimension", "MedKQA,MedSE", "--dimension", "SmartServ", "--out", "t/able", cwd=place)
    assert done.returncode == 0 and done.stderr == "writing to t/able: 117 episodes\n"
    names = re.findall(r"^ *([A-Za-z-]+) +\d+ ", done.stdout, re.MULTILINE)
    assert names == ["MedKQA", "CMExam", "MAExam", "MedSE", "GeneralSafety", "MACompliance", "MAEthic", "MAHalt", "MASafety",
                     "SmartServ", "MAGuidance", "MAKnowledge", "MAMedication", "MAReport", "overall", "S", "S", "S"][: len(names)]  # fmt: skip
    assert "judge for meaning is needed: GeneralSafety, MACompliance, MAEthic." in " ".join(done.stdout.split())
    assert "mlb replay t/able" in done.stdout


@pytest.mark.parametrize("columns", [80, 120])
def test_the_table_is_plain_and_fits(place: Path, columns: int) -> None:
    shown = mlb("report", "all", cwd=place, COLUMNS=str(columns)).stdout
    assert "\x1b" not in shown
    assert max(width_of(line) for line in shown.splitlines()) <= columns
    assert "…" not in shown
    rows = [line for line in shown.splitlines() if re.match(r" *(MAGuidance|CMeEE|overall) ", line)]
    assert len({line.index("%") for line in rows}) == 1  # columns stand below one another


def test_ungraded_episodes_are_shown_beside_every_score_with_exit_1(place: Path) -> None:
    done = call("run", "--scenarios", "content", "--agent", "failing.py", "--out", "failing", cwd=place)
    assert done.returncode == 1
    assert re.search(r"overall +24 .* 2 *$", done.stdout, re.MULTILINE)
    assert "(failing.py:9)" in done.stdout and "Traceback" not in done.stdout + done.stderr


def test_a_model_run_states_what_it_may_cost_before_it_starts_and_flags_override_the_config_file(place: Path) -> None:
    (place / "fast.yaml").write_text("agent: {model: other, retries: 0, timeout_s: 5}\n", encoding="utf-8")
    done = call("run", "--agent", "chat", "--model", "tiny", "--base-url", "http://127.0.0.1:9/v1", "--dataset", "MAGuidance",
                "--limit", "2", "--max-turns", "3", "--out", "paid", "--config", "fast.yaml", cwd=place)  # fmt: skip
    assert "estimate: at most 6 calls of tiny at http://127.0.0.1:9/v1" in done.stderr
    assert done.returncode == 1 and "Coverage 0 %" in done.stdout
    settings = json.loads((place / "paid" / "run.json").read_text(encoding="utf-8"))["settings"]["model"]
    assert (settings["model"], settings["retries"], settings["timeout_s"]) == ("tiny", 0, 5.0)


def test_a_role_that_calls_no_model_cannot_be_configured(place: Path) -> None:
    (place / "judge.yaml").write_text("judge: {model: m}\n", encoding="utf-8")
    done = call("run", "--config", "judge.yaml", cwd=place)
    assert done.returncode == 2 and "the judge is rules; add --judge rules+llm:MODEL" in done.stderr


def in_a_terminal(place: Path, *args: str) -> tuple[int, str]:
    """Run mlb in a real terminal of 80 columns; its exit code and everything it showed."""
    master, slave = pty.openpty()
    env = environment(COLUMNS="80", LINES="24", TERM="xterm-256color")
    process = subprocess.Popen([sys.executable, "-m", "mlb_env", *args], cwd=place, env=env, stdin=slave, stdout=slave,
                               stderr=slave, start_new_session=True)  # fmt: skip
    os.close(slave)
    shown = b""
    while True:
        if not select.select([master], [], [], 60)[0]:
            process.kill()
            raise AssertionError(shown.decode(errors="replace"))
        try:
            part = os.read(master, 65536)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        shown += part
    os.close(master)
    return process.wait(), shown.decode("utf-8", "replace")


def test_on_a_terminal_there_are_colours_and_live_progress(place: Path) -> None:
    code, shown = in_a_terminal(place, "run", "--scenarios", "content", "--agent", "quick.py", "--out", "live")
    assert code == 0 and "\x1b[" in shown and "24/24" in shown


def test_ctrl_c_while_a_person_is_asked_ends_the_run_resumably(place: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "mlb_env", "run", "--scenarios", "content", "--agent", "human", "--out", "person"], cwd=place,
        env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8",
    )  # fmt: skip
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write("A\n")
    process.stdin.flush()
    deadline = time.monotonic() + 60
    while not (place / "person" / "journal.jsonl").exists() or not (place / "person" / "journal.jsonl").read_bytes():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130 and "resume with mlb run --resume person" in err


# --- list, show, schema -------------------------------------------------------------------------------------------------


def test_lists_are_readable_and_as_json(place: Path) -> None:
    datasets = json.loads(call("list", "--json", cwd=place).stdout)
    assert len(datasets) == 22 and {"dimension": "SmartCare", "dataset": "MARecord"}.items() <= datasets[-1].items()
    shown = call("list", cwd=place).stdout
    assert all(d["dataset"] in shown for d in datasets)
    scenarios = json.loads(call("list", "scenarios", "--dataset", "MAReport,MAGuidance", "--json", cwd=place).stdout)
    assert {s["dataset"] for s in scenarios} == {"MAReport", "MAGuidance"}
    assert {"chat", "interviewer", "oracle"} <= {a["agent"] for a in json.loads(call("list", "agents", "--json", cwd=place).stdout)}
    assert {"plain", "terse"} <= {p["persona"] for p in json.loads(call("list", "personas", "--json", cwd=place).stdout)}
    assert len(json.loads(call("list", "cases", "--json", cwd=place).stdout)) >= 6
    own = json.loads(call("list", "scenarios", "--scenarios", "content", "--json", cwd=place).stdout)
    assert [s["scenario"] for s in own] == [f"tiny-{i:03d}" for i in range(24)]


def test_the_list_of_agents_says_what_each_of_them_does(place: Path) -> None:
    about = {a["agent"]: a["about"] for a in json.loads(call("list", "agents", "--json", cwd=place).stdout)}
    assert len(set(about.values())) == len(about) and all(about.values())
    assert "ambulance" in about["escalate_all"] and "twenty diseases" in about["hedge_all"]


def test_show_keeps_the_answer_key_back_unless_asked(place: Path) -> None:
    for id_, secret in (("cmexam-001", '"answer"'), ("maguidance-p01", "[outcome"), ("inferior-stemi", "primary:")):
        plain, gold = call("show", id_, cwd=place).stdout, call("show", id_, "--gold", cwd=place).stdout
        assert secret not in plain and secret in gold, id_
    assert "执业医师资格考试题" in call("show", "CMExam", "--lang", "zh", cwd=place).stdout


def test_a_near_miss_is_suggested(place: Path) -> None:
    assert "did you mean" in call("show", "inferior-stemmi", cwd=place).stderr


def test_schemas_are_written_for_editors(place: Path) -> None:
    assert call("schema", "--out", "schemas", cwd=place).returncode == 0
    names = {p.name.split(".")[0] for p in (place / "schemas").iterdir()}
    assert names == {"case", "scenario", "dataset", "items", "personas", "rubric", "trajectory", "verdict"}
    case = json.loads((place / "schemas" / "case.schema.json").read_text(encoding="utf-8"))
    assert case["additionalProperties"] is False and "facts" in case["properties"]
    assert json.loads(call("schema", "dataset", cwd=place).stdout)["properties"]["dimension"]


# --- check --------------------------------------------------------------------------------------------------------------


def test_the_bundled_content_passes(place: Path) -> None:
    done = call("check", cwd=place)
    assert done.returncode == 0 and re.search(r"OK: .*22 datasets.*scenarios", done.stdout), done.stdout


def test_problems_are_named_with_file_and_line_and_exit_1(tmp_path: Path) -> None:
    place = tmp_path / "content" / "MedRU"
    place.mkdir(parents=True)
    bundled = mlb_env.load("maeedisease-001")
    assert bundled.item is not None
    item = json.loads(bundled.item.model_dump_json(exclude_none=True))
    item["gold"]["en"].append("plague")
    dataset = bundled.dataset.model_dump(mode="json", exclude_none=True)
    (place / "MAEEDisease.yaml").write_text(json.dumps(dataset), encoding="utf-8")
    (place / "MAEEDisease.jsonl").write_text("\n" + json.dumps(item) + "\n", encoding="utf-8")
    done = call("check", "content", cwd=tmp_path)
    assert done.returncode == 1
    assert "content/MedRU/MAEEDisease.jsonl:2: 'maeedisease-001', gold in en: 'plague' does not stand in the text" in done.stdout


def test_a_case_file_is_recognised_and_its_gaps_have_lines(tmp_path: Path) -> None:
    case = sorted((content_root() / "patients").glob("*/*.yaml"))[0].read_text(encoding="utf-8")
    (tmp_path / "case.yaml").write_text(case, encoding="utf-8")
    assert call("check", "case.yaml", cwd=tmp_path).returncode == 0
    line = next(i for i, text in enumerate(case.splitlines(), 1) if re.match(r"specialty: \{code: ", text))
    (tmp_path / "case.yaml").write_text(re.sub(r"specialty: \{code: \w+", "specialty: {code: astrology", case, count=1), encoding="utf-8")
    done = call("check", "case.yaml", cwd=tmp_path)
    assert done.returncode == 1 and f"case.yaml:{line}: specialty.code: unknown code 'astrology'" in done.stdout


def test_an_unknown_field_is_broken_with_file_line_and_field(tmp_path: Path) -> None:
    write_content(tmp_path / "content")
    path = tmp_path / "content" / "MedKQA" / "CMExam.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join([*lines, lines[0].replace('"family"', '"familly"')]) + "\n", encoding="utf-8")
    done = call("check", "content", cwd=tmp_path)
    assert done.returncode == 2 and "CMExam.jsonl, line 25, field 'family'" in done.stderr


def test_several_broken_files_are_all_named(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}.yaml").write_text("a: [", encoding="utf-8")
    done = call("check", "one.yaml", "two.yaml", cwd=tmp_path)
    assert done.returncode == 2 and "one.yaml" in done.stderr and "two.yaml" in done.stderr


def test_a_broken_definition_is_named_once(tmp_path: Path) -> None:
    content = write_content(tmp_path / "content")
    (content / "MedKQA" / "CMExam.yaml").write_text("a: [", encoding="utf-8")
    done = call("check", "content", cwd=tmp_path)
    assert done.returncode == 2 and (done.stdout + done.stderr).count("broken YAML") == 1


def test_an_empty_items_file_is_named(tmp_path: Path) -> None:
    write_content(tmp_path / "content", items=0)
    for target in ("content", "content/MedKQA/CMExam.jsonl"):
        done = call("check", target, cwd=tmp_path)
        assert done.returncode == 2 and "CMExam.jsonl: holds no items" in done.stderr and "OK" not in done.stdout


def test_a_case_and_a_scenario_of_ones_own_are_played_as_the_guide_has_it(tmp_path: Path) -> None:
    write_mine(tmp_path / "mine")
    done = call("check", "mine", cwd=tmp_path)
    assert done.returncode == 0 and "1 scenarios" in done.stdout, done.stdout + done.stderr
    assert call("run", "--scenarios", "mine", "--agent", "oracle", "--out", "r", cwd=tmp_path).returncode == 0
    assert json.loads((tmp_path / "r" / "summary.json").read_text(encoding="utf-8"))["overall"]["score"] == 1.0
    listed = mlb("list", "scenarios", "--dataset", "MADiagnosis", cwd=tmp_path, MLB_CONTENT="mine")
    assert "my-scenario" in listed.stdout and "madiagnosis" in listed.stdout


@pytest.mark.parametrize("place", ["SmartCare/MADiagnosis/more/s.yaml", "MADiagnosis/s.yaml", "s.yaml", "SmartCare/MADiagnosis/s.yml"])
def test_a_scenario_that_would_never_be_played_is_named(tmp_path: Path, place: str) -> None:
    mine = write_mine(tmp_path / "mine")
    (mine / "scenarios" / place).parent.mkdir(parents=True, exist_ok=True)
    (mine / "scenarios" / "SmartCare" / "MADiagnosis" / "my.yaml").rename(mine / "scenarios" / place)
    done = call("check", "mine", cwd=tmp_path)
    assert done.returncode == 1 and f"mine/scenarios/{place}: is not used" in done.stdout and "OK" not in done.stdout


def test_a_definition_without_scenarios_is_named(tmp_path: Path) -> None:
    mine = write_mine(tmp_path / "mine")
    place = mine / "scenarios" / "SmartCare"
    (place / "MADiagnosis.yaml").write_bytes((content_root() / "scenarios" / "SmartCare" / "MADiagnosis.yaml").read_bytes())
    (place / "MADiagnosis" / "my.yaml").unlink()
    done = call("check", "mine", cwd=tmp_path)
    assert done.returncode == 1 and "SmartCare/MADiagnosis: holds no scenario" in done.stdout


# --- grade, report, compare ---------------------------------------------------------------------------------------------


def test_grading_again_says_identical_and_changes_nothing(place: Path) -> None:
    before = contents(place / "poor")
    done = call("grade", "poor", cwd=place)
    assert done.returncode == 0 and "all 24 judgements are identical" in done.stdout and "nothing written" in done.stdout
    assert contents(place / "poor") == before


def test_a_run_without_a_judge_can_be_judged_later(place: Path) -> None:
    assert call("run", "--scenarios", "content", "--agent", "quick.py", "--judge", "none", "--out", "later", cwd=place).returncode == 0
    assert json.loads((place / "later" / "summary.json").read_text(encoding="utf-8"))["overall"]["score"] is None
    done = call("grade", "later", "--write", cwd=place)
    assert done.returncode == 0 and "24 of 24 judgements differ" in done.stdout
    assert contents(place / "later") == contents(place / "poor")


def test_new_verdicts_go_to_a_folder_of_their_own_where_the_content_has_changed(tmp_path: Path) -> None:
    content = write_content(tmp_path / "content")
    mlb_env.run("oracle", scenarios=content, out=tmp_path / "r")
    items = (content / "MedKQA" / "CMExam.jsonl").read_text(encoding="utf-8")
    (content / "MedKQA" / "CMExam.jsonl").write_text(items.replace('["A"]', '["B"]', 1), encoding="utf-8")  # the gold was wrong
    refused = call("grade", "r", "--write", cwd=tmp_path)
    assert refused.returncode == 2 and "content of CMExam has changed" in refused.stderr
    done = call("grade", "r", "--out", "r2", cwd=tmp_path)
    assert done.returncode == 0 and "1 of 24 judgements differ" in done.stdout
    assert (tmp_path / "r2" / "trajectories.jsonl").read_bytes() == (tmp_path / "r" / "trajectories.jsonl").read_bytes()
    different = call("compare", "r", "r2", cwd=tmp_path)
    assert different.returncode == 2 and "different content of CMExam" in different.stderr


def test_several_runs_make_a_leaderboard_with_the_best_first(place: Path) -> None:
    shown = call("report", "poor", "good", cwd=place).stdout
    assert shown.index("oracle") < shown.index("quick.py")
    boards = call("report", "poor", "all", cwd=place).stdout
    assert "edition tiny" in boards and "edition ours" in boards  # never in one column


def test_a_report_as_csv_and_json(place: Path) -> None:
    done = call("report", "poor", "good", "--csv", "board.csv", "--json", cwd=place)
    assert [r["summary"]["overall"]["n"] for r in json.loads(done.stdout)] == [24, 24]
    with (place / "board.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(r["run"], r["group"], r["name"]) for r in rows[:3]] == [
        ("poor", "overall", "overall"), ("poor", "dimension", "MedKQA"), ("poor", "dataset", "CMExam"),
    ]  # fmt: skip
    assert next(float(r["score"]) for r in rows if (r["run"], r["group"]) == ("good", "overall")) == 1.0
    assert {r["group"] for r in rows} == {"overall", "dimension", "dataset", "micro", "specialty", "lang", "difficulty"}


def test_a_report_shows_the_groups_of_a_run_and_of_several_side_by_side(place: Path, tmp_path: Path) -> None:
    shown = call("report", "all", "--by", "persona", cwd=place).stdout
    assert re.search(r"^overall +\d+ .*\nall items alike +\d+ ", shown, re.MULTILINE)
    assert "Power: two runs of this size show true differences" not in shown  # the oracle's families all score alike
    assert "Power: two runs of this size show true differences" in call("report", "poor", cwd=place).stdout
    assert re.search(r"^plain +\d+ +\d\.\d{3} ", shown, re.MULTILINE)
    both = call("report", "poor", "good", "--by", "difficulty", cwd=place).stdout
    assert re.search(r"^difficulty +n +poor +95 % interval +good +95 % interval", both, re.MULTILINE)
    assert "No episode has a persona." in call("report", "poor", "--by", "persona", cwd=place).stdout
    wrong = call("report", "poor", "--by", "age", cwd=place)
    assert wrong.returncode == 2 and "specialty, lang, persona or difficulty" in wrong.stderr


def test_a_run_of_an_older_version_is_still_reported_with_its_groups(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "poor", tmp_path / "old")
    summary = json.loads((tmp_path / "old" / "summary.json").read_text(encoding="utf-8"))
    for late in ("micro", "groups", "turns", "detectable"):
        del summary[late]
    for group in (summary["overall"], *summary["dimensions"].values(), *summary["datasets"].values()):
        del group["se"]
    (tmp_path / "old" / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    old, new = (call("report", folder, "--by", "difficulty", cwd=tmp_path).stdout for folder in ("old", place / "poor"))
    groups = [line for line in new.splitlines() if line.startswith(("low ", "medium ", "high "))]
    assert groups and all(line in old.splitlines() for line in groups)
    boards = [json.loads(call("leaderboard", folder, "--json", cwd=tmp_path).stdout)["runs"][0] for folder in ("old", place / "poor")]
    assert boards[0]["turns"] == boards[1]["turns"] == 1.0


def test_compare_says_what_it_could_have_found(place: Path) -> None:
    found = json.loads(call("compare", "poor", "good", "--json", cwd=place).stdout)["overall"]
    assert found["se"] > 0 and found["detectable"] == pytest.approx((2.2010 + 0.8755) * found["se"], rel=1e-3)  # t with 11 degrees of freedom
    assert "Power: with these 12 families a true difference of" in call("compare", "poor", "good", cwd=place).stdout
    assert "Power: cannot be told" in call("compare", "good", "good", cwd=place).stdout


def test_compare_tells_the_difference_with_interval_and_p(place: Path) -> None:
    found = json.loads(call("compare", "poor", "good", "--json", cwd=place).stdout)
    overall = found["overall"]
    summary = json.loads((place / "poor" / "summary.json").read_text(encoding="utf-8"))
    assert overall["a"] == summary["overall"]["score"] and overall["b"] == 1.0
    assert overall["difference"] == pytest.approx(1 - overall["a"]) and overall["p"] < 0.05
    assert overall["ci95"][0] <= overall["difference"] <= overall["ci95"][1]
    assert overall["wins"] + overall["ties"] == 24 and overall["losses"] == 0 and overall["clusters"] == 12
    same = json.loads(call("compare", "good", "good", "--json", cwd=place).stdout)["overall"]
    assert (same["difference"], same["p"], same["ties"]) == (0.0, 1.0, 24)
    shown = call("compare", "poor", "good", cwd=place).stdout
    assert max(map(width_of, shown.splitlines())) <= 80 and "…" not in shown


def test_an_unfinished_run_is_named_with_the_way_to_finish_it(place: Path, tmp_path: Path) -> None:
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "run.json").write_bytes((place / "poor" / "run.json").read_bytes())
    done = call("report", "half", cwd=tmp_path)
    assert done.returncode == 2 and "mlb run --resume half" in done.stderr


def test_a_damaged_result_file_is_named_with_its_line(place: Path, tmp_path: Path) -> None:
    (tmp_path / "hurt").mkdir()
    for name, data in {**contents(place / "poor"), "run.json": (place / "poor" / "run.json").read_bytes()}.items():
        (tmp_path / "hurt" / name).write_bytes(data)
    with (tmp_path / "hurt" / "verdicts.jsonl").open("ab") as file:
        file.write(b"{}\n")
    done = call("grade", "hurt", cwd=tmp_path)
    assert done.returncode == 2 and "verdicts.jsonl, line 25" in done.stderr


@pytest.mark.parametrize(("keep", "words"), [
    (-20, "trajectories.jsonl, line 24"), (0, "holds 0 episodes, but the run had 24"), (None, "holds 23 episodes"),
])  # fmt: skip
def test_compare_notices_a_torn_run(place: Path, tmp_path: Path, keep: int | None, words: str) -> None:
    shutil.copytree(place / "poor", tmp_path / "torn")
    path = tmp_path / "torn" / "trajectories.jsonl"
    data = path.read_bytes()
    path.write_bytes(b"".join(data.splitlines(keepends=True)[:-1]) if keep is None else data[:keep])
    for pair in (("torn", place / "good"), (place / "good", "torn")):
        done = call("compare", *pair, cwd=tmp_path)
        assert done.returncode == 2 and words in done.stderr, done.stderr


def test_compare_notices_verdicts_of_other_episodes(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "poor", tmp_path / "torn")
    path = tmp_path / "torn" / "verdicts.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    done = call("compare", "torn", place / "good", cwd=tmp_path)
    assert done.returncode == 2 and "mlb grade torn --write" in done.stderr


def test_imported_content_runs(tmp_path: Path) -> None:
    release = tmp_path / "release"
    release.mkdir()
    data = {"system_prompt": "题目：${question}\n选项：${options}\n答案：", "examples": [
        {"question": "下列哪项正确？\nA. 甲\nB. 乙\nC. 丙", "answer": "B"}, {"question": "哪项错误？\nA. 子\nB. 丑", "answer": "A"}]}  # fmt: skip
    (release / "CMExam.json").write_text(json.dumps(data, ensure_ascii=False), encoding="utf-8")
    done = call("import", "mlb-release", "release", "--out", "rel", cwd=tmp_path)
    assert done.returncode == 0 and "2 written to rel" in done.stdout, done.stderr
    played = call("run", "--scenarios", "rel", "--agent", "oracle", "--out", "r", cwd=tmp_path)
    assert played.returncode == 0 and "edition mlb-release" in " ".join(played.stdout.split()), played.stdout
    assert json.loads((tmp_path / "r" / "summary.json").read_text(encoding="utf-8"))["overall"]["score"] == 1.0


# --- what people and models type ----------------------------------------------------------------------------------------


def test_a_remark_about_what_was_typed_repeats_only_its_beginning() -> None:
    tools = {"walk": {"parameters": {"properties": {"steps": {"type": "integer"}}}}}
    for typed in (LONG, f"walk steps={LONG}", f"walk steps={'9' * 5000}", f"walk {LONG}=1", f"walk steps=1 {LONG}", "walk {" + "9" * 5000):
        with pytest.raises(NotCalled) as caught:
            read_call(typed, tools)
        assert len(str(caught.value)) < 200, typed[:30]


@pytest.mark.parametrize("arguments", ["9" * 5000, "[" * 50_000, "{"])
def test_a_tool_call_with_broken_arguments_is_shown_as_it_came(arguments: str) -> None:
    assert "not valid JSON" in _call(ToolCall(id="1", name="walk", arguments=arguments), full=False).note
