"""A run in parts on several machines ends as a run in one piece; an agent that blocks does not hold the others up."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import mlb_env
from mlb_env import Action
from mlb_env.bench.merge import merged
from mlb_env.errors import UserError

FILES = ("run.json", "trajectories.jsonl", "verdicts.jsonl", "summary.json")
SELECTION: dict[str, Any] = {"dataset": ["CMExam", "MAGuidance"], "lang": "both", "trials": 2}


def shard(folder: Path, part: str | None, **more: Any) -> Path:
    mlb_env.run("random", out=folder, **({"shard": part} if part else {}), **{**SELECTION, **more})
    return folder


def test_shards_put_together_are_the_run_in_one_piece(tmp_path: Path) -> None:
    whole = shard(tmp_path / "whole", None)
    parts = [shard(tmp_path / f"part{i}", f"{i}/3") for i in (1, 2, 3)]
    summary = merged([parts[2], parts[0], parts[1]], tmp_path / "merged")  # in any order
    assert summary.overall.n > 30
    for name in FILES:
        assert (tmp_path / "merged" / name).read_bytes() == (whole / name).read_bytes(), name


def test_what_does_not_belong_together_is_refused(tmp_path: Path) -> None:
    one, two = shard(tmp_path / "a", "1/2", dataset="MAGuidance"), shard(tmp_path / "b", "2/2", dataset="MAGuidance")
    for folders, says in (([one], "1 of 2 shards are missing: 2/2"), ([one, two, one], "the same shard"),
                          ([one, shard(tmp_path / "c", "2/2", dataset="MAGuidance", seed=5)], "not shards of one run"),
                          ([shard(tmp_path / "d", None, dataset="MAGuidance"), one], "run without --shard")):  # fmt: skip
        with pytest.raises(UserError, match=says):
            merged(folders, tmp_path / "out")
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("part", "says"), [("3/2", "at most that"), ("0/2", "--shard"), ("x", "--shard"), ("1/9999", "at most")])
def test_a_shard_that_there_is_not_is_one_sentence(part: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=says):
        mlb_env.run("null", dataset="MAGuidance", shard=part, out=tmp_path / "r")


def test_the_command_merges_and_shows_the_table(tmp_path: Path) -> None:
    parts = [shard(tmp_path / f"p{i}", f"{i}/2", dataset="MAGuidance") for i in (1, 2)]
    command = [sys.executable, "-m", "mlb_env", "merge", *map(str, parts), "--out", str(tmp_path / "m")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0 and "MAGuidance" in done.stdout and "overall" in done.stdout


class Meeting:
    """Waits until all eight episodes are under way: possible only where none holds the others up."""

    blocking = True

    def __init__(self, everybody: threading.Barrier) -> None:
        self._everybody = everybody

    def reset(self, briefing: Any) -> None:
        """Nothing to remember."""

    def act(self, observation: Any) -> Action:
        self._everybody.wait(timeout=60)
        return Action(content="A")


def test_an_agent_that_blocks_runs_in_a_thread_where_it_says_so(tmp_path: Path) -> None:
    everybody = threading.Barrier(8)
    result = mlb_env.run(lambda _: Meeting(everybody), dataset="CMExam", lang="en", limit=8, concurrency=8, out=tmp_path / "threads")
    assert result.ungraded == 0 and result.summary.overall.n == 8
    mlb_env.run(lambda _: Quick(), dataset="CMExam", lang="en", limit=8, out=tmp_path / "inline")
    assert (tmp_path / "threads" / "trajectories.jsonl").read_bytes() == (tmp_path / "inline" / "trajectories.jsonl").read_bytes()


class Quick:
    def reset(self, briefing: Any) -> None:
        """Nothing to remember."""

    def act(self, observation: Any) -> Action:
        return Action(content="A")
