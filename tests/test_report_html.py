"""`mlb report --html`: one page that needs nothing, says what the run says, and lets nothing in a dialogue act; looked at in a real browser."""

from __future__ import annotations

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

import mlb_env
from mlb_env import Action
from mlb_env.bench.store import read_header, read_summary
from mlb_env.cli.html import page

BROWSER = next((found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None)
ATTACK = "</div><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\"> & 头痛"


class Attacker:
    def reset(self, briefing: object) -> None:
        """Nothing to remember."""

    def act(self, observation: object) -> Action:
        return Action(content=ATTACK)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("html") / "attack"
    mlb_env.run(lambda _: Attacker(), dataset=["CMExam", "MAGuidance"], lang="both", max_turns=3, out=folder)
    return folder


def written(*folders: Path, to: Path) -> str:
    to.write_text("".join(page([(f, read_header(f), read_summary(f)) for f in folders])), encoding="utf-8")
    return to.read_text(encoding="utf-8")


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in ("meta", "input", "line", "rect", "circle", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("line", "rect", "circle"):
            assert self.open and self.open.pop() == tag


def test_the_page_is_well_formed_loads_nothing_and_has_names_for_its_fields(run: Path, tmp_path: Path) -> None:
    text = written(run, to=tmp_path / "r.html")
    tags = Tags()
    tags.feed(text)
    assert not tags.open
    assert sum(t == "script" for t, _ in tags.seen) == 1 and not any(t in ("link", "img", "iframe", "object") for t, _ in tags.seen)
    assert not any(k in ("src", "href", "onerror") for _, a in tags.seen for k in a) and "default-src 'none'" in text
    assert ATTACK not in text and "头痛" in text
    assert text.count("<label>") == 4 and 'lang="en"' in text and all(a.get("aria-label") for t, a in tags.seen if t == "svg")


def test_it_says_what_the_run_says(run: Path, tmp_path: Path) -> None:
    text = written(run, to=tmp_path / "r.html")
    summary = read_summary(run)
    assert f"{summary.overall.score:.3f}" in text and text.count('<details class="e"') == summary.overall.n
    for name, group in summary.datasets.items():
        assert re.search(rf">{name}</th><td>{group.score:.3f}</td>", text)


def test_several_runs_make_a_leaderboard_and_other_content_is_pointed_out(run: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    mlb_env.run("null", dataset="MAGuidance", lang="en", out=other)
    text = written(run, other, to=tmp_path / "r.html")
    assert "Leaderboard" in text and text.count("<h2>") == 4 and "cannot be compared one to one" in text


@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")
def test_in_a_browser_it_filters_opens_and_is_not_taken_over(run: Path, tmp_path: Path) -> None:
    file = tmp_path / "r.html"
    written(run, to=file)
    assert BROWSER is not None

    def dom(address: str) -> str:
        command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", address]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout

    whole, total = dom(file.as_uri()), read_summary(run).overall.n
    assert f"{total} of {total} episodes" in whole and "<title>mlb-env: attack</title>" in whole
    one = dom(file.as_uri() + "#maguidance-p06.zh.0")
    assert f"1 of {total} episodes" in one and len(re.findall(r'<details class="e"[^>]* hidden=""', one)) == total - 1
    assert len(re.findall(r'<details class="e"[^>]* open=""', one)) == 1
