"""The wheel carries the content and plays without the checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from mlb_env.catalog.load import content_root

ROOT = content_root()


@pytest.mark.wheel
@pytest.mark.skipif(not (ROOT / "pyproject.toml").is_file(), reason="there is no checkout to build a wheel from")
def test_the_wheel_plays_without_the_checkout(tmp_path: Path) -> None:
    built = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path / "dist"), str(ROOT)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    site, away = tmp_path / "site", tmp_path / "away"
    zipfile.ZipFile(wheel).extractall(site)
    away.mkdir()
    assert (site / "mlb_env" / "py.typed").is_file()
    played = subprocess.run(
        [sys.executable, "-m", "mlb_env", "run", "--agent", "oracle", "--dataset", "MAGuidance,CMExam", "--out", "r"],
        cwd=away, env={**os.environ, "PYTHONPATH": str(site)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert played.returncode == 0, played.stderr
    assert json.loads((away / "r" / "summary.json").read_text(encoding="utf-8"))["overall"]["score"] >= 0.98
    shown = subprocess.run(
        [sys.executable, "-m", "mlb_env", "report", "r", "--html", "r.html"],
        cwd=away, env={**os.environ, "PYTHONPATH": str(site)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert shown.returncode == 0, shown.stderr
    assert "Kimi-K2-Instruct" in (away / "r.html").read_text(encoding="utf-8")  # the page's own files and the published figures are there
    where = subprocess.run(
        [sys.executable, "-c", "from mlb_env.catalog.load import content_root; print(content_root())"],
        cwd=away, env={**os.environ, "PYTHONPATH": str(site)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert Path(where.stdout.strip()) == site / "mlb_env" / "_content"


@pytest.mark.checkout
def test_an_editable_install_reads_the_checkout_itself() -> None:
    package = Path(sys.modules["mlb_env"].__file__ or "").parent
    assert not (package.parent / "pyproject.toml").is_file() or not (package / "_content").exists()


def test_importing_is_quick_and_loads_no_heavy_library() -> None:
    code = "import mlb_env, sys; print([m for m in ('openai', 'langgraph', 'rich', 'typer', 'httpx2', 'httpx') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stdout
