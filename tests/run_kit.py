"""What the tests of runs share: a tiny content folder, tiny agents, and the command line as a process of its own."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

import mlb_env
from mlb_env.catalog import load
from mlb_env.cli import main
from mlb_env.spec.case import PatientCase

PACKAGE = Path(mlb_env.__file__).resolve().parent.parent
FILES = ("trajectories.jsonl", "verdicts.jsonl", "summary.json")

QUICK = """
from mlb_env import Action

class Quick:
    '''Answers A to every item; waits a little where the test asks for it.'''
    def __init__(self, context):
        self.rng = context.rng
    def reset(self, briefing):
        self.dataset = briefing.dataset
    def act(self, observation):
        return Action(content=self.rng.choice("AB"))

def make(context):
    return Quick(context)
"""

SLOW = """
import asyncio
from pathlib import Path
from mlb_env import Action

GATE = Path(__file__).with_name("gate")

class Slow:
    '''Ends out of order; while the file `gate` stands beside this one, only the first seven items are answered.'''
    def __init__(self, context):
        self.rng = context.rng
    def reset(self, briefing):
        pass
    async def act(self, observation):
        await asyncio.sleep(self.rng.random() / 200)
        while GATE.exists() and not observation.text.startswith(tuple(f"question {i}?" for i in range(7))):
            await asyncio.sleep(0.01)
        return Action(content=self.rng.choice("AB"))

make = Slow
"""

FAILING = """
from mlb_env import Action

class Failing:
    def reset(self, briefing):
        pass
    def act(self, observation):
        if "question 2?" in observation.text:
            raise TypeError("bad operand\\nin two lines")
        if "question 4?" in observation.text:
            return 7
        return "A"

def make(context):
    return Failing()
"""


_cases: dict[tuple[str, int], Any] = {}


@pytest.fixture(autouse=True)
def bundled_cases_are_parsed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parsing the bundled cases is most of the time of a tiny run; models do not change, so these tests share them."""
    real = load.read_yaml

    def read(path: Path, model: type[Any]) -> Any:
        key = (str(path), path.stat().st_mtime_ns if path.is_file() else 0)
        if model is not PatientCase or not key[1]:
            return real(path, model)
        if key not in _cases:
            _cases[key] = real(path, model)
        return _cases[key]

    monkeypatch.setattr(load, "read_yaml", read)


def choice_item(number: int, **changed: Any) -> dict[str, Any]:
    """A choice item whose answer is A; two neighbours share a family."""
    item: dict[str, Any] = {
        "id": f"tiny-{number:03d}", "family": f"family-{number // 2}", "question": {"en": f"question {number}?"},
        "options": {"en": ["right", "wrong", "wrong, too"]}, "answer": ["A"], "form": "single",
        "provenance": {"author_kind": "researcher", "author": "tests", "date": "2026-11-22", "licence": "Apache-2.0",
                       "method": "made for tests"},
    }  # fmt: skip
    return item | changed


def write_content(folder: Path, *, items: int = 24, dataset: str = "CMExam", **head: Any) -> Path:
    """A content folder with one dataset of choice items."""
    place = folder / "MedKQA"
    place.mkdir(parents=True, exist_ok=True)
    definition = {"name": dataset, "dimension": "MedKQA", "form": "choice", "edition": "tiny", "title": {"en": "tiny"},
                  "task": {"en": "Answer with a letter."}, "prompt": {"en": "${question}\n${options}"}} | head  # fmt: skip
    (place / f"{dataset}.yaml").write_text(json.dumps(definition), encoding="utf-8")
    lines = [json.dumps(choice_item(n)) for n in range(items)]
    (place / f"{dataset}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def write_mine(folder: Path) -> Path:
    """A content folder with a case of one's own (a copy) and a scenario on it, without a task definition."""
    root = load.content_root()
    case = (root / "patients" / "cardiology" / "inferior_stemi.yaml").read_text(encoding="utf-8")
    scenario = (root / "scenarios" / "SmartCare" / "MADiagnosis" / "inferior-stemi.yaml").read_text(encoding="utf-8")
    places = {"patients/cardiology/my.yaml": re.sub(r"^id: .*$", "id: my-case", case, count=1, flags=re.MULTILINE),
              "scenarios/SmartCare/MADiagnosis/my.yaml": re.sub(
                  r"^case: .*$", "case: my-case", re.sub(r"^id: .*$", "id: my-scenario", scenario, flags=re.MULTILINE),
                  flags=re.MULTILINE)}  # fmt: skip
    for place, text in places.items():
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_text(text, encoding="utf-8")
    return folder


def write_agent(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


def environment(**more: str) -> dict[str, str]:
    """The environment of a child process: our package, no key, no colour, 80 columns."""
    dropped = ("OPENAI", "MLB_", "LANGSMITH", "COLUMNS", "LINES", "FORCE_COLOR", "TTY_")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(dropped)}
    return kept | {"PYTHONPATH": str(PACKAGE), "PYTHONWARNINGS": "error"} | more


def start(*args: object, cwd: Path, **more: Any) -> subprocess.Popen[str]:
    """Start `mlb args` as a process."""
    return subprocess.Popen([sys.executable, "-m", "mlb_env", *map(str, args)], cwd=cwd, env=environment(), text=True,
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8",
                            **more)  # fmt: skip


def mlb(*args: object, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run `mlb args` to its end."""
    return subprocess.run([sys.executable, "-m", "mlb_env", *map(str, args)], cwd=cwd, env=environment(**env), text=True,
                          stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8", timeout=120)  # fmt: skip


def contents(folder: Path) -> dict[str, bytes]:
    """The result files of a finished run."""
    return {name: (folder / name).read_bytes() for name in FILES}


def call(*args: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """As `mlb`, without a process of its own: quicker, where only exit code and output matter."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.chdir(cwd)
        patch.setattr(sys, "argv", ["mlb", *map(str, args)])
        for name in [k for k in os.environ if k.startswith(("OPENAI", "MLB_"))]:
            patch.delenv(name)
        patch.setenv("COLUMNS", "80")
        with pytest.raises(SystemExit) as ended:
            main()
            raise SystemExit(0)
    code = ended.value.code
    assert code is None or isinstance(code, int)
    return subprocess.CompletedProcess([*map(str, args)], code or 0, out.getvalue(), err.getvalue())
