"""The README and the docs tell the truth: their examples run, their commands exist, their transcripts are what the engine plays."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from mlb_env.catalog.load import Catalog, content_root

ROOT = content_root()
pytestmark = pytest.mark.checkout


def mlb(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "mlb_env", *arguments], capture_output=True, text=True, check=False, encoding="utf-8")


def blocks(file: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / file).read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("code", blocks("README.md"))
def test_the_loop_of_the_readme_runs(code: str) -> None:
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "True" in done.stdout  # graded


def test_every_command_the_docs_name_exists() -> None:
    texts = [p.read_text(encoding="utf-8") for p in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))]
    named = {m for t in texts for m in re.findall(r"(?:^    |`)mlb ([a-z]+)", t, re.MULTILINE)}
    assert {"run", "replay", "check", "import", "compare"} <= named
    for command in named:
        assert mlb(command, "--help").returncode == 0, command


def test_every_option_the_readme_names_exists() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for command, line in re.findall(r"^    mlb ((?:patients |record |serve |judge )?[a-z]+)(.*)$", text, re.MULTILINE):
        shown = mlb(*command.split(), "--help").stdout
        for option in re.findall(r"(--[a-z-]+)", line.split("#")[0]):
            assert option in shown, (command, option)


def test_links_of_the_docs_lead_somewhere() -> None:
    for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for link in re.findall(r"\]\(([^)#:]+)\)", path.read_text(encoding="utf-8")):
            assert (path.parent / link).exists(), (path.name, link)


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_one_full_transcript_of_each_case_is_what_the_engine_plays_today(catalog: Catalog, tmp_path: Path, lang: str) -> None:
    """Renew with: make transcripts."""
    run = tmp_path / "run"
    assert mlb("run", "--agent", "oracle", "--dataset", "MADiagnosis", "--lang", lang, "--out", str(run)).returncode == 0
    for play in catalog.plays["MADiagnosis"]:
        assert play.case is not None
        case = play.case.id + play.id.removeprefix("madiagnosis-")[3:]  # "-injected" of a trap
        shown = mlb("replay", str(run), f"{play.id}.{lang}.0", "--plain").stdout
        kept = (ROOT / "docs" / "transcripts" / f"{case}.{lang}.txt").read_text(encoding="utf-8")
        assert shown == kept, f"{case}: run make transcripts"
