"""The stepping benchmark measures what it says: different questions, really matched, in both languages."""

from __future__ import annotations

import itertools
import runpy
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import pytest

import mlb_env
from mlb_env.patient.understand import lexicon
from mlb_env.spec.base import Lang

SCRIPT = Path(mlb_env.__file__).parents[1] / "benchmarks" / "stepping.py"
pytestmark = pytest.mark.skipif(not SCRIPT.is_file(), reason="the benchmarks are in a checkout, not in the wheel")


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_no_question_comes_twice_and_all_topics_are_asked(lang: Lang) -> None:
    bench: dict[str, Any] = runpy.run_path(str(SCRIPT))
    asked = list(itertools.islice(bench["questions"](lang, lexicon(), Random(0)), 20_000))
    assert len(set(asked)) == len(asked)
    joined = "\n".join(asked)
    missing = [t for t, entry in lexicon().topics.items() if not any(cue in joined for cue in getattr(entry, lang))]
    assert not missing


def test_it_runs_and_a_floor_that_is_not_reached_fails() -> None:
    arguments = [sys.executable, str(SCRIPT), "--steps", "400", "--floor"]
    path = {"PYTHONPATH": str(SCRIPT.parents[1])}
    done = subprocess.run([*arguments, "1"], capture_output=True, text=True, env=path, check=False)
    assert done.returncode == 0, done.stderr
    assert "400 questions, 400 different" in done.stdout and "steps/s" in done.stdout and "understood" in done.stdout
    assert subprocess.run([*arguments, "1e12"], capture_output=True, text=True, env=path, check=False).returncode == 1
