"""`mlb export` and `mlb leaderboard`: the tables say what the run folder says, and can be read back."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path

import pytest

import mlb_env
from mlb_env import Action
from mlb_env.bench.export import EpisodeRow, VerdictRow, cell, episode_rows, verdict_rows
from mlb_env.bench.leaderboard import Published, leaderboard, published, read_runs
from mlb_env.bench.store import read_judgements, read_summary, read_trajectories
from mlb_env.errors import UserError

from .run_kit import call

FORMULA = '=HYPERLINK("http://x","头痛")\r\n+1'


class Breaking:
    """Fails on some items, with a text that a spreadsheet would take for a formula."""

    def reset(self, briefing: object) -> None:
        """Nothing to remember."""

    def act(self, observation: object) -> Action:
        raise ValueError(FORMULA)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("export")
    mlb_env.run("interviewer", dataset=["CMExam", "MAGuidance"], lang="zh", limit=18, out=base / "r")
    mlb_env.run("oracle", dataset=["CMExam", "MAGuidance"], lang="zh", limit=18, out=base / "best")
    mlb_env.run(lambda _: Breaking(), dataset="CMExam", limit=2, out=base / "broken")
    return base


def test_one_row_an_episode_with_what_the_trajectory_and_the_judgement_say(folder: Path) -> None:
    rows = list(episode_rows(folder / "r"))
    played = list(read_trajectories(folder / "r"))
    assert [r.episode for r in rows] == [t.episode for t in played]
    talk = next(r for r in rows if r.dataset == "MAGuidance")
    t = next(t for t in played if t.episode == talk.episode)
    assert (talk.run, talk.specialty, talk.persona, talk.difficulty, talk.turns) == ("r", t.specialty, t.persona, t.difficulty, t.turns)
    harms = sum(len(j.score.harms) for j in read_judgements(folder / "r"))
    assert sum(r.harms_s1 + r.harms_s2 + r.harms_s3 + r.harms_s4 for r in rows) == harms


def test_csv_reads_back_to_the_same_rows(folder: Path) -> None:
    assert call("export", "r", "best", "--out", "e.csv", cwd=folder).stdout == "36 episodes written to e.csv\n"
    with (folder / "e.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    made = [*episode_rows(folder / "r"), *episode_rows(folder / "best")]
    assert [EpisodeRow.model_validate({k: v or (None if k in ("score", "persona", "cost") else v) for k, v in r.items()}) for r in rows] == made


def test_json_reads_back_to_the_same_verdicts(folder: Path) -> None:
    assert call("export", "r", "--what", "verdicts", "--out", "v.json", cwd=folder).returncode == 0
    rows = [VerdictRow.model_validate(r) for r in json.loads((folder / "v.json").read_text(encoding="utf-8"))]
    assert rows == list(verdict_rows(folder / "r"))
    assert len(rows) == sum(len(j.verdicts) for j in read_judgements(folder / "r"))


@pytest.mark.parametrize("what", ["episodes", "verdicts"])
def test_parquet_reads_back_to_the_same_rows_with_types(folder: Path, what: str) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed (the extra parquet)")
    assert call("export", "r", "--what", what, "--out", f"{what}.parquet", cwd=folder).returncode == 0
    table = parquet.read_table(folder / f"{what}.parquet")
    made = list(episode_rows(folder / "r") if what == "episodes" else verdict_rows(folder / "r"))
    assert table.to_pylist() == [r.model_dump() for r in made]
    assert str(table.schema.field("trial").type) == "int64" and not table.schema.field("scenario").nullable


def test_parquet_without_pyarrow_is_one_sentence_that_names_the_extra(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    done = call("export", "r", "--out", "p.parquet", cwd=folder)
    assert done.returncode == 2 and "pip install 'mlb-env[parquet]'" in done.stderr and not (folder / "p.parquet").exists()


@pytest.mark.parametrize(("text", "written"), [("=1+1", "'=1+1"), ("+x", "'+x"), ("-x", "'-x"), ("@x", "'@x"), (" =x", "' =x"), ("\t=x", "'\t=x"),
                                               ("a=b", "a=b"), ("头痛", "头痛"), ("a\r\nb\rc", "a\nb\nc"), (-0.5, -0.5), (None, None)])  # fmt: skip
def test_no_text_becomes_a_formula_in_a_spreadsheet_and_numbers_stay_numbers(text: object, written: object) -> None:
    assert cell(text) == written


def test_what_a_failing_agent_says_is_harmless_in_csv_and_itself_in_json(folder: Path) -> None:
    for form in ("csv", "json"):
        assert call("export", "broken", "--out", f"b.{form}", cwd=folder).returncode == 0
    with (folder / "b.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 and all(r["ungraded"] and not r["ungraded"].startswith(tuple("=+-@")) and r["score"] == "" for r in rows)
    assert [r["ungraded"] for r in json.loads((folder / "b.json").read_text(encoding="utf-8"))] == [r.ungraded for r in episode_rows(folder / "broken")]


@pytest.mark.parametrize(("arguments", "words"), [
    (["r", "--out", "x.txt"], "csv, json, parquet"), (["r", "--out", "x"], "--format (none)"), (["r", "--out", "x.csv", "--what", "turns"], "episodes and verdicts"),
    (["nothing", "--out", "x.csv"], "no such folder"), (["r", "--out", "no/such/x.csv"], "cannot be written"),
])  # fmt: skip
def test_mistakes_are_one_sentence_and_leave_no_file(folder: Path, arguments: list[str], words: str) -> None:
    done = call("export", *arguments, cwd=folder)
    assert done.returncode == 2 and words in done.stderr and not list(folder.glob("x*"))


# --- leaderboard --------------------------------------------------------------------------------------------------------


def test_the_board_has_the_best_run_first_with_the_figures_of_its_summary(folder: Path) -> None:
    board = leaderboard(read_runs([folder / "r", folder / "best"]))
    assert [Path(s.run).name for s in board.runs] == ["best", "r"] and [s.rank for s in board.runs] == [1, 2]
    summary = read_summary(folder / "r")
    second = board.runs[1]
    assert (second.score, second.ci95, second.coverage, second.micro) == (
        summary.overall.score, summary.overall.ci95, summary.coverage, summary.micro.score if summary.micro else 0)  # fmt: skip
    assert second.cost is None and second.turns == summary.turns and not board.warnings


def test_published_figures_stand_apart_say_that_they_are_not_comparable_and_guess_nothing(folder: Path) -> None:
    board = leaderboard(read_runs([folder / "r"]))
    kimi = next(r for r in board.references if r.model == "Kimi-K2-Instruct")
    assert (kimi.score, kimi.dimensions) == (0.773, {"MedRU": 0.878, "SmartServ": 0.613})
    assert "2601.06193" in kimi.source and "another item set" in board.reference_note and "not comparable" in board.reference_note
    shown = call("leaderboard", "r", "best", cwd=folder).stdout
    assert "not comparable" in shown and shown.index("best") < shown.index("interviewer") < shown.index("Kimi-K2-Instruct")
    line = next(line for line in shown.splitlines() if line.startswith("Kimi-K2-Instruct"))
    assert line.split() == ["Kimi-K2-Instruct", "0.773", "?", "?", "0.878", "0.613", "?"]
    assert "Kimi" not in call("leaderboard", "r", "--no-references", cwd=folder).stdout


def test_the_board_as_csv_says_row_by_row_what_is_comparable(folder: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(call("leaderboard", "r", "best", "--csv", cwd=folder).stdout)))
    assert [(r["rank"], r["comparable"], r["run"] or r["model"]) for r in rows[:3]] == [("1", "yes", "best"), ("2", "yes", "r"), ("", "no", "Kimi-K2-Instruct")]
    assert rows[2]["MedKQA"] == "" and rows[2]["MedRU"] == "0.878"
    assert [s["run"] for s in json.loads(call("leaderboard", "r", "best", "--json", cwd=folder).stdout)["runs"]] == ["best", "r"]


def test_the_board_fits_eighty_columns_and_names_every_run(folder: Path) -> None:
    shown = call("leaderboard", "r", "best", "broken", cwd=folder).stdout
    assert max(map(len, shown.splitlines())) <= 80 and all(f" {name} " in shown for name in ("r", "best", "broken"))
    assert "did not play the same content" in " ".join(shown.split())


def test_a_published_figure_without_a_source_is_refused() -> None:
    data = published().model_dump()
    data["sources"] = ()
    with pytest.raises(ValueError, match="no such source"):
        Published.model_validate(data)


def test_the_board_takes_finished_runs_only(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a run folder"):
        read_runs([tmp_path / "none"])
