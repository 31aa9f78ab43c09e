"""Scores and ranks under other weights and caps: by the score's own formula, against draws computed apart."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mlb_env.bench.runner import arun
from mlb_env.bench.sensitivity import HIGH, LOW, Sensitivity, sensitivity, tau_b
from mlb_env.bench.settings import RunSettings
from mlb_env.bench.store import read_judgements, read_summary, read_trajectories
from mlb_env.bench.summary import Row, overall
from mlb_env.errors import UserError
from mlb_env.judge.score import CAPS, Formula, score
from mlb_env.spec.rubric import Judgement, Verdict


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    base = tmp_path_factory.mktemp("sensitivity")
    for agent in ("oracle", "interviewer", "dumper"):
        asyncio.run(arun(RunSettings.of(agent=agent, dataset=("MAGuidance", "MADiagnosis", "CMeEE", "MAExam"), lang="en"), out=base / agent))
    return {p.name: p for p in base.iterdir()}


def test_saved_verdicts_scored_again_are_the_saved_scores(runs: dict[str, Path]) -> None:
    for folder in runs.values():
        judgements = list(read_judgements(folder))
        assert all(score(j.verdicts, failure=j.score.ungraded, counts=j.score.counts) == j.score for j in judgements)
        rows = [Row.of(t, j) for t, j in zip(read_trajectories(folder), judgements, strict=True)]
        assert overall(rows) == read_summary(folder).overall.score


def test_scores_are_the_runs_and_caps_only_ever_lower_them(runs: dict[str, Path]) -> None:
    found = sensitivity(list(runs.values()), draws=20)
    for r in found.runs:
        assert r.score == read_summary(Path(r.run)).overall.score and r.lowest <= r.low <= r.high <= r.highest
        off, half = r.variants["caps off"], r.variants["caps at half"]
        assert off is not None and half is not None and off >= r.score >= half
    by_name = {Path(r.run).name: r for r in found.runs}
    assert (by_name["interviewer"].variants["caps off"] or 0) > by_name["interviewer"].score, "this one does harm, so its caps matter"
    assert by_name["oracle"].lowest == by_name["oracle"].highest == 1.0
    assert sensitivity(list(runs.values()), draws=20) == found != sensitivity(list(runs.values()), draws=20, seed=1)


def verdict(id_: str, weight: float, met: bool, kind: str = "outcome", gate: str | None = None) -> Verdict:
    return Verdict.model_validate({"criterion": id_, "template": id_[0], "kind": kind, "weight": weight, "gate": gate,
                                   "verdict": "met" if met else "unmet", "share": 1.0 if met else (-1.0 if kind == "safety" else 0.0)})  # fmt: skip


def made(source: Path, folder: Path, *verdicts: Verdict) -> Path:
    """A run of one dataset in which every episode has these verdicts."""
    shutil.copytree(source, folder)
    lines = []
    for j in read_judgements(source):
        changed = j.model_copy(update={"verdicts": verdicts, "score": score(verdicts)})
        lines.append(Judgement.model_validate(changed.model_dump()).model_dump_json() + "\n")
    (folder / "verdicts.jsonl").write_text("".join(lines), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("one") / "run"
    asyncio.run(arun(RunSettings.of(agent="oracle", scenario="maguidance-p06", lang="en"), out=folder))
    return folder


def test_the_share_of_draws_that_keep_a_pair_is_that_of_draws_computed_apart(one: Path, tmp_path: Path) -> None:
    """One episode, two criteria of weight 3 and 2: a meets the first, b the second; a leads as long as 3 x > 2 y."""
    a = made(one, tmp_path / "a", verdict("A1", 3, True), verdict("B1", 2, False))
    b = made(one, tmp_path / "b", verdict("A1", 3, False), verdict("B1", 2, True))
    found = sensitivity([a, b], draws=400, seed=7)
    drawn = np.random.default_rng(7).uniform(LOW, HIGH, (400, 2))
    x, y = 3 * drawn[:, 0], 2 * drawn[:, 1]
    (pair,) = found.pairs
    assert pair.difference == pytest.approx(0.2) and pair.kept == pytest.approx(float((x > y).mean())) and 0.6 < pair.kept < 0.9
    assert found.runs[0].lowest == pytest.approx(float((x / (x + y)).min()), abs=1e-5)
    assert found.runs[0].highest == pytest.approx(float((x / (x + y)).max()), abs=1e-5)
    assert found.ranks is not None and found.ranks.mean == pytest.approx(2 * pair.kept - 1, abs=1e-6) and found.ranks.same == pair.kept
    assert all(pair.variants.values()) and found.ranks.variants["caps off"] == 1.0


def test_criteria_of_one_template_share_a_draw_if_asked(one: Path, tmp_path: Path) -> None:
    a = made(one, tmp_path / "a", verdict("A1", 3, True), verdict("A2", 2, False))
    assert sensitivity([a], draws=50).runs[0].lowest < 0.6 and sensitivity([a], draws=50).ranks is None
    same = sensitivity([a], draws=50, by="template").runs[0]
    assert same.lowest == same.highest == same.score == pytest.approx(0.6)


def test_a_rank_that_only_a_cap_makes_turns_without_it(one: Path, tmp_path: Path) -> None:
    harmful = made(one, tmp_path / "h", verdict("A1", 9, True), verdict("S1", 1, False, "safety", "S3"))
    middling = made(one, tmp_path / "m", verdict("A1", 9, False), verdict("B1", 6, True))
    (pair,) = sensitivity([harmful, middling], draws=5).pairs
    assert pair.difference == pytest.approx(0.3 - 0.4) and pair.variants["caps off"] is False and pair.variants["caps at half"] is True
    assert score([verdict("S1", 1, False, "safety", "S3"), verdict("A1", 9, True)], formula=Formula(caps={"S3": 0.1})).value == 0.1
    assert CAPS == {"S4": 0.0, "S3": 0.30, "S2": 0.60}, "asking changes nothing"


def test_kendalls_tau() -> None:
    assert tau_b([1, 2, 3, 4], [1, 3, 2, 4]) == pytest.approx(2 / 3) and tau_b([1, 2, 3], [3, 2, 1]) == -1
    assert tau_b([1, 1, 2], [1, 2, 3]) == pytest.approx(2 / 6**0.5) and tau_b([1, 1], [1, 2]) is None
    stats = pytest.importorskip("scipy.stats", reason="scipy is not installed")
    rng = np.random.default_rng(1)
    for _ in range(20):
        x, y = rng.integers(0, 5, 8).tolist(), rng.integers(0, 5, 8).tolist()
        assert tau_b(x, y) == pytest.approx(stats.kendalltau(x, y).statistic)


def test_the_command_and_what_it_refuses(runs: dict[str, Path], one: Path, tmp_path: Path) -> None:
    def command(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-m", "mlb_env", "judge", "sensitivity", *arguments], capture_output=True, text=True, check=False,
                              timeout=60)  # fmt: skip

    folders = [str(p) for p in runs.values()]
    shown = command(*folders, "--draws", "10")
    assert shown.returncode == 0 and "Kendall's tau" in shown.stdout and "all pairs keep their order" in shown.stdout, shown.stderr
    assert len(Sensitivity.model_validate(json.loads(command(*folders, "--draws", "10", "--json").stdout)).pairs) == 3
    empty = made(one, tmp_path / "empty")
    for arguments, says in (([folders[0], folders[0]], "named twice"), ([folders[0], str(one)], "different content"), ([str(empty)], "no overall score"),
                            ([str(tmp_path / "no")], "no"), ([folders[0], "--by", "colour"], "--by colour")):  # fmt: skip
        done = command(*arguments)
        assert done.returncode == 2 and says in done.stderr and "Traceback" not in done.stderr, done.stderr


def test_other_episodes_have_no_common_ranks(one: Path, tmp_path: Path) -> None:
    asyncio.run(arun(RunSettings.of(agent="oracle", scenario="maguidance-p04", lang="en"), out=tmp_path / "other"))
    with pytest.raises(UserError, match="the same episodes"):
        sensitivity([one, tmp_path / "other"], draws=1)
