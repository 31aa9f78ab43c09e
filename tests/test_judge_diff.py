"""Two gradings of the same trajectories: every changed verdict is counted where it belongs, and nothing else."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from mlb_env.bench.diff import Diff, diff
from mlb_env.bench.regrade import aregrade
from mlb_env.bench.runner import arun
from mlb_env.bench.settings import RunSettings
from mlb_env.bench.store import read_judgements, read_summary
from mlb_env.judge.agreement import kappa
from tests.openai_server import Behaviour, OpenAIServer, Request, text


def judge(*unmet: str) -> object:
    """A judge that finds everything met but the criteria with these words."""

    def answer(request: Request) -> Behaviour:
        first = request.body["messages"][1]["content"].split("\n")[0]
        word = "unmet" if any(u in first for u in unmet) else "met"
        happened = (word == "met") is ("safety" not in first)
        return text(json.dumps({"verdict": word, "evidence": [1] if happened else []}))

    return answer


@pytest.fixture(scope="module")
def graded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One run by rules, and two gradings by models; the second finds X5 and X6 unmet."""
    base = tmp_path_factory.mktemp("diff")
    asyncio.run(arun(RunSettings.of(agent="oracle", scenario=["maguidance-p06", "maguidance-p04", "mamedication-p06"], lang="en"), out=base / "rules"))
    for name, unmet in (("kind", ()), ("strict", ("own question", "Plain words"))):
        with OpenAIServer(forever=judge(*unmet)) as server:  # type: ignore[arg-type]
            models = [{"model": "j", "base_url": server.url, "retries": 0, "key_variable": "NO_KEY_NEEDED"}]
            asyncio.run(aregrade(base / "rules", RunSettings.of(judge="rules+llm:j", judge_models=models))).copy(base / name)
    return {p.name: p for p in base.iterdir()}


def test_each_change_is_counted_under_its_dataset_and_template(graded: dict[str, Path]) -> None:
    found = diff(graded["kind"], graded["strict"])
    assert found.overall.changes == {"met -> unmet": 6} and found.overall.changed == 6
    assert {n: p.changed for n, p in found.datasets.items()} == {"MAGuidance": 4, "MAMedication": 2}
    assert {n: p.changes for n, p in found.templates.items() if p.changed} == {
        f"{t} ({d})": {"met -> unmet": n} for d, n in (("MAGuidance", 2), ("MAMedication", 1)) for t in ("X5", "X6")
    }  # fmt: skip
    assert diff(graded["strict"], graded["kind"]).overall.changes == {"unmet -> met": 6}
    assert sum(p.criteria for p in found.templates.values()) == found.overall.criteria and (found.only_a, found.only_b) == (0, 0)


def test_kappa_is_that_of_the_verdicts(graded: dict[str, Path]) -> None:
    one, other = ([v.verdict for j in read_judgements(graded[n]) for v in j.verdicts] for n in ("kind", "strict"))
    both = [(x, y) for x, y in zip(one, other, strict=True) if {x, y} <= {"met", "unmet"}]
    cells = [sum(pair == cell for pair in both) for cell in (("met", "met"), ("unmet", "met"), ("met", "unmet"), ("unmet", "unmet"))]
    found = diff(graded["kind"], graded["strict"]).overall
    assert found.pairs == len(both) and found.kappa == pytest.approx(kappa(*map(float, cells)), abs=1e-6)


def test_scores_are_those_of_the_summaries_and_the_furthest_episode_stands_first(graded: dict[str, Path]) -> None:
    found = diff(graded["kind"], graded["strict"])
    assert (found.scores["overall"].a, found.scores["overall"].b) == tuple(read_summary(graded[n]).overall.score for n in ("kind", "strict"))
    assert set(found.scores) == {"overall", "MAGuidance", "MAMedication"} and len(found.moved) == 3
    far = [(m.a or 0) - (m.b or 0) for m in found.moved]
    assert far == sorted(far, reverse=True) and min(far) > 0


def test_what_only_models_decide_changes_from_not_judged(graded: dict[str, Path]) -> None:
    found = diff(graded["rules"], graded["kind"])
    assert set(found.overall.changes) == {"not_judged -> met"} and found.overall.changed > 6 and found.judge_b == "rules+llm:j"


def test_a_grading_does_not_differ_from_itself(graded: dict[str, Path]) -> None:
    found = diff(graded["kind"], graded["kind"])
    assert found.overall.changed == 0 == len(found.moved) and not any(p.changes for p in found.templates.values())


def test_the_command_and_what_it_refuses(graded: dict[str, Path], tmp_path: Path) -> None:
    def command(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-m", "mlb_env", "judge", "diff", *map(str, arguments)], capture_output=True, text=True, check=False,
                              timeout=60)  # fmt: skip

    shown = command(graded["kind"], graded["strict"])
    assert shown.returncode == 0 and "X5 (MAGuidance): 2 of 2: 2 × met -> unmet" in shown.stdout and "3 episodes with another score" in shown.stdout
    assert Diff.model_validate_json(command(graded["kind"], graded["strict"], "--json").stdout).overall.changed == 6
    for name, settings in (("seed", {"seed": 5, "scenario": ["maguidance-p06", "maguidance-p04", "mamedication-p06"]}),
                           ("fewer", {"scenario": ["maguidance-p06"]})):  # fmt: skip
        asyncio.run(arun(RunSettings.of(agent="interviewer", lang="en", **settings), out=tmp_path / name))
        done = command(graded["kind"], tmp_path / name)
        assert done.returncode == 2 and "the same trajectories" in " ".join(done.stderr.split()) and "Traceback" not in done.stderr, done.stderr
