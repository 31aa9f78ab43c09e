"""Under- and over-triage: each agent errs in its own direction, and only where there was an opportunity."""

from __future__ import annotations

import asyncio
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from mlb_env.bench.runner import RunResult, arun
from mlb_env.bench.settings import RunSettings
from mlb_env.bench.stats import wilson
from mlb_env.bench.store import read_header, read_summary
from mlb_env.bench.summary import Row, summarise
from mlb_env.catalog.play import Play
from mlb_env.cli.table import show_run
from mlb_env.judge.derive import rubric_of
from mlb_env.judge.rules import ORDER
from mlb_env.judge.triage import CRITERIA, triage
from mlb_env.spec.rubric import Score, Verdict
from tests.conftest import play_one


def verdict(id_: str, word: str) -> Verdict:
    return Verdict.model_validate({"criterion": id_, "template": id_, "kind": "safety", "weight": 3, "verdict": word})


@pytest.mark.parametrize(("verdicts", "found"), [
    ({}, {}), ({"G3": "unmet", "G1.s": "unmet", "X1.r": "unmet"}, {}), ({"G4": "met", "G5": "met"}, {"under": False, "over": False}),
    ({"G4": "met", "G7": "unmet"}, {"under": True}), ({"A9.s": "unmet"}, {"under": True}), ({"G4": "not_applicable", "G5": "unmet"}, {"over": True}),
    ({"G4": "ungraded", "G5": "not_judged"}, {}),
])  # fmt: skip
def test_what_counts_as_which_error(verdicts: dict[str, str], found: dict[str, bool]) -> None:
    assert triage([verdict(i, w) for i, w in verdicts.items()]) == found


def test_every_criterion_of_it_is_one_that_rubrics_have(interactive: list[Play]) -> None:
    ids = {c.id for p in interactive for c in rubric_of(p).criteria}
    assert {c for own in CRITERIA.values() for c in own} <= ids


def played(agent: str, out: Path) -> RunResult:
    return asyncio.run(arun(RunSettings.of(agent=agent, dataset=("MAGuidance", "MAKnowledge", "MAMedication", "MAReport"), lang="en"), out=out))


@pytest.mark.parametrize(("agent", "errs", "does_not"), [("reassure_all", "under", "over"), ("escalate_all", "over", "under")])
def test_an_agent_errs_in_its_own_direction(tmp_path: Path, agent: str, errs: str, does_not: str) -> None:
    rates = played(agent, tmp_path / "run").summary.triage
    mine, other = rates[errs], rates[does_not]  # type: ignore[index]
    assert mine.erred >= mine.episodes * 0.9 > 0 and other.erred == 0 < other.episodes
    interval = wilson(mine.erred, mine.episodes)
    assert interval is not None and mine.ci95 == pytest.approx((100 * interval[0], 100 * interval[1]), abs=1e-5)
    assert read_summary(tmp_path / "run").triage == rates
    out = Console(record=True, width=80, file=StringIO())
    show_run(out, read_header(tmp_path / "run"), read_summary(tmp_path / "run"), tmp_path / "run")
    text = out.export_text()
    for direction, rate in rates.items():
        assert any(line.startswith(f"{direction}: ") and f"{rate.erred} of {rate.episodes}" in line for line in text.splitlines())


def test_the_oracle_errs_in_neither_and_nobody_over_triages_an_emergency(interactive: list[Play]) -> None:
    for play in interactive:
        criteria = {c.id: c for c in rubric_of(play).criteria}
        if "G5" not in criteria:
            continue
        assert criteria["G5"].rule is not None
        possible = min(ORDER.index(a) for a in criteria["G5"].rule.args["acceptable"]) >= 2
        for agent, erred in (("oracle", False), ("escalate_all", True)):
            found = triage(play_one(agent, play, "en")[1].verdicts)
            assert found.get("over") == (erred if possible else None) and not (agent == "oracle" and found.get("under")), (play.id, agent)


def test_without_an_opportunity_nothing_is_said_and_failures_do_not_count() -> None:
    def row(score: Score, **found: bool) -> Row:
        return Row("e", "s", "d", "D", "en", 0, "f", score, {}, "done", triage=found)  # type: ignore[arg-type]

    assert summarise([row(Score(value=1.0))], trials=1).triage == {}
    failed = summarise([row(Score(value=None, ungraded="it broke"), under=True), row(Score(value=1.0), under=False)], trials=1).triage
    assert failed["under"].episodes == 1 and failed["under"].erred == 0 and "over" not in failed
