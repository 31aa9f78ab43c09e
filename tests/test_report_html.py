"""`mlb report --html`: one page that needs nothing, says what the run says, and lets nothing in a dialogue act; looked at in a real browser."""

from __future__ import annotations

import re
import shutil
import subprocess
from html.parser import HTMLParser
from importlib.resources import files
from itertools import combinations, pairwise
from pathlib import Path

import pytest

import mlb_env
from mlb_env import Action
from mlb_env.bench.settings import Calibration, ModelConfig
from mlb_env.bench.store import read_header, read_judgements, read_summary
from mlb_env.bench.summary import Spent
from mlb_env.cli.html import page
from mlb_env.cli.svg import STYLES, Point, Series, bars, marker, radar, scatter, sign
from mlb_env.spec.rubric import Vote

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


def test_the_page_is_well_formed_and_loads_nothing(run: Path, tmp_path: Path) -> None:
    text = written(run, to=tmp_path / "r.html")
    tags = Tags()
    tags.feed(text)
    assert not tags.open
    assert sum(t == "script" for t, _ in tags.seen) == 1 and not any(t in ("link", "img", "iframe", "object") for t, _ in tags.seen)
    assert not any(k in ("src", "onerror") for _, a in tags.seen for k in a) and "default-src 'none'" in text
    assert ATTACK not in text and "头痛" in text
    ids = [str(a["id"]) for _, a in tags.seen if "id" in a]
    assert len(ids) == len(set(ids)) and all(str(a["href"]).removeprefix("#") in ids for _, a in tags.seen if "href" in a)


def test_the_page_can_be_read_without_seeing_it_and_used_without_a_mouse(run: Path, tmp_path: Path) -> None:
    text = written(run, to=tmp_path / "r.html")
    tags = Tags()
    tags.feed(text)
    drawn = [a for t, a in tags.seen if t == "svg" and a.get("aria-hidden") != "true"]
    ids = {a["id"]: t for t, a in tags.seen if "id" in a}
    assert drawn and all([ids[name] for name in str(a["aria-labelledby"]).split()] == ["title", "desc"] for a in drawn)
    figures = re.findall(r"<figure>.*?</figure>", text, re.DOTALL)
    assert len(figures) == len(drawn) and all("<table>" in f for f in figures)
    assert sum(t == "label" for t, _ in tags.seen) == sum(t in ("input", "select") for t, _ in tags.seen) == len(re.findall(r"<label[^>]*>(?:(?!</label>).)*<(?:input|select)", text))
    levels = [int(t[1]) for t, _ in tags.seen if re.fullmatch(r"h[1-6]", t)]
    assert levels[0] == 1 and levels.count(1) == 1 and all(later <= earlier + 1 for earlier, later in pairwise(levels))
    assert all(a.get("tabindex") == "0" and a.get("aria-label") for t, a in tags.seen if a.get("class") == "wide")


def test_what_is_said_is_marked_with_its_language_and_the_page_around_it_is_english(run: Path, tmp_path: Path) -> None:
    text = written(run, to=tmp_path / "r.html")
    assert '<html lang="en">' in text and '<details lang="' not in text
    chinese = re.search(r'<details class="e"[^>]*>(?:(?!</details>).)*maguidance-p06\.zh\.0.*?</details>', text, re.DOTALL)
    assert chinese and '<span lang="zh">' in chinese[0] and '<span lang="en">' not in chinese[0]


def test_it_says_what_the_run_says(run: Path, tmp_path: Path) -> None:
    text = written(run, to=tmp_path / "r.html")
    summary = read_summary(run)
    assert f"{summary.overall.score:.3f}" in text and text.count('<details class="e"') == summary.overall.n
    for name, group in summary.datasets.items():
        assert re.search(rf">{name}</th><td>{group.score:.3f}</td>", text)
    for by, groups in summary.groups.items():
        for value, group in groups.items():
            assert re.search(rf">{value}</th><td>{group.n}</td><td>{group.score:.3f} ", text), (by, value)


def test_several_runs_make_a_leaderboard_and_other_content_is_pointed_out(run: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    mlb_env.run("oracle", dataset="MAGuidance", lang="en", out=other)
    text = written(run, other, to=tmp_path / "r.html")
    assert "Leaderboard" in text and "cannot be compared one to one" in text
    board = text[text.index('id="leaderboard"') : text.index('id="charts"')]
    assert board.index("<b>A</b> other") < board.index("<b>B</b> attack") and board.count("1.000 – 1.000") == 1
    assert "Kimi-K2-Instruct</th><td>0.773</td><td>?</td><td>?</td><td>0.878</td><td>0.613</td><td>?</td>" in board and "not comparable" in board
    assert text.count('<details class="e"') == sum(read_summary(f).overall.n for f in (run, other))
    assert '<details class="e"' not in "".join(page([(f, read_header(f), read_summary(f)) for f in (run, other)], dialogues=False))


def priced(source: Path, folder: Path, score: float, cost: float | None) -> Path:
    """A copy of a run with another score, and a cost or none."""
    shutil.copytree(source, folder)
    summary = read_summary(source)
    spent = Spent(calls=3, prompt_tokens=900, completion_tokens=100, tokens=1000, cost=cost)
    changed = summary.model_copy(update={"overall": summary.overall.model_copy(update={"score": score, "ci95": None}), "usage": {"agent": spent}})
    (folder / "summary.json").write_text(changed.model_dump_json(), encoding="utf-8")
    return folder


def test_score_against_cost_is_drawn_where_the_cost_is_known_and_said_to_be_unknown_where_it_is_not(run: Path, tmp_path: Path) -> None:
    folders = [priced(run, tmp_path / name, score, cost) for name, score, cost in (("dear", 0.9, 52.0), ("cheap", 0.5, 5.2), ("unknown", 0.7, None))]
    text = written(*folders, to=tmp_path / "r.html")
    cost = re.search(r'<figure><figcaption>Score against cost.*?</figure>', text, re.DOTALL)
    n = read_summary(run).overall.n
    assert cost and f"A dear</th><td>0.900</td><td>–</td><td>{52 / n:.4f}</td>" in cost[0] and "C cheap" in cost[0] and "unknown" not in cost[0]
    assert "no cost is known of B" in text and "<td>1,000</td><td>52.00</td>" in text
    assert "no cost is known" in written(run, to=tmp_path / "one.html")


def test_what_failed_and_who_judged_stands_in_the_reliability_part(tmp_path: Path) -> None:
    class Failing(Attacker):
        def act(self, observation: object) -> Action:
            raise ValueError("<b>out of order</b>")

    mlb_env.run(lambda _: Failing(), dataset="CMExam", limit=3, out=tmp_path / "f")
    text = written(tmp_path / "f", to=tmp_path / "r.html")
    trust = text[text.index('id="trust"') : text.index('id="groups"')]
    assert "<td>0 %</td><td>3</td>" in trust and "out of order" in trust and "<b>out of order" not in text and "No model judged" in trust and "No patient spoke" in trust


def test_several_judges_are_shown_with_how_often_they_agree_and_whether_people_were_asked(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "judged"
    shutil.copytree(run, folder)
    header = read_header(run)
    measured = Calibration(judges=("m1/h", "m2/h"), labels="x", items=120, coverage=0.95, kappa=0.71, kappa_low=0.55, f1=0.8)
    settings = header.settings.model_copy(update={"judge": "rules+llm:m1+llm:m2", "judge_models": (ModelConfig(model="m1"), ModelConfig(model="m2")),
                                                  "calibration": measured})  # fmt: skip
    (folder / "run.json").write_text(header.model_copy(update={"settings": settings}).model_dump_json(), encoding="utf-8")
    judgements = list(read_judgements(run))
    votes = [(Vote(judge="m1", verdict="met"), Vote(judge="m2", verdict=v)) for v in ("met", "met", "met", "unmet")]
    voted = [v.model_copy(update={"votes": pair}) for v, pair in zip(judgements[-1].verdicts, votes, strict=False)]
    judgements[-1] = judgements[-1].model_copy(update={"verdicts": (*voted, *judgements[-1].verdicts[4:])})
    (folder / "verdicts.jsonl").write_text("".join(j.model_dump_json() + "\n" for j in judgements), encoding="utf-8")
    text = written(folder, to=tmp_path / "r.html")
    assert "<td>m1, m2</td><td>majority</td><td>75 % of 4</td><td>0.710</td><td>0.550</td><td>120</td><td>95 %</td><td>yes</td>" in text


# --- charts -------------------------------------------------------------------------------------------------------------


def test_a_radar_breaks_its_line_where_there_is_no_score_and_needs_three_axes() -> None:
    def profile(**scores: float | None) -> Series:
        return Series("A", "run", {name: (value, None) for name, value in scores.items()})

    assert radar("r", "t", [profile(a=0.5, b=0.5)]) == ""
    assert radar("r", "t", [profile(a=0.5, b=0.5, c=0.5, d=0.5)]).count('<line class="l0"') == 4
    assert radar("r", "t", [profile(a=0.5, b=None, c=0.5, d=0.5)]).count('<line class="l0"') == 2
    assert ">–</td>" in radar("r", "t", [profile(a=0.5, b=None, c=0.5)])


def test_a_missing_score_is_no_bar_of_length_0() -> None:
    drawn = bars("b", "t", [Series("A", "x", {"MedKQA": (None, None)}), Series("B", "y", {"MedKQA": (0.0, None)})])
    assert drawn.count("<rect") == 1 and "no score" in drawn


def test_labels_of_points_that_lie_together_do_not_lie_upon_each_other() -> None:
    drawn = scatter("s", "t", "turns", [Point(5 + i / 100, 0.5, i, f"run {i}", "ABCDEF"[i]) for i in range(6)])
    places = [(float(x), float(y)) for x, y in re.findall(r'<text x="([\d.]+)" y="([\d.]+)" text-anchor="start" class=halo>', drawn)]
    assert len(places) == 6 and all(abs(a[1] - b[1]) >= 13 or abs(a[0] - b[0]) >= 8 for a, b in combinations(places, 2))


@pytest.mark.parametrize("most", [0.0, 0.0003, 0.07, 1.0, 3.2, 38, 999, 12345])
def test_axes_have_a_few_round_ticks_and_hold_every_point(most: float) -> None:
    drawn = scatter("s", "t", "turns", [Point(most, 0.5, 0, "run")])
    x = float(re.findall(r'<circle class="c0" cx="([\d.]+)"', drawn)[0])
    assert 40 <= x <= 440.1 and 2 <= len(re.findall(r'text-anchor="middle" class=dim', drawn)) <= 8


def test_series_differ_in_shape_and_dash_and_their_colours_stand_out_in_both_themes() -> None:
    assert len({re.sub(r"c\d", "", marker(0, 0, i)) for i in range(STYLES)}) == len({re.sub(r"[cl]\d", "", sign(i, "A")) for i in range(STYLES)}) == STYLES
    themes = (files("mlb_env.cli") / "report.css").read_text(encoding="utf-8").split("@media(prefers-color-scheme:dark)")
    for theme in (themes[0], themes[1].split("}}")[0]):
        colours = dict(re.findall(r"--([a-z0-9]+):(#[0-9a-f]{3,6})", theme))
        assert all(contrast(colours[f"c{i}"], colours["bg"]) >= 3 for i in range(STYLES))
        assert all(contrast(colours[name], colours["bg"]) >= 4.5 for name in ("fg", "dim", "accent", "bad", "good"))


def contrast(one: str, other: str) -> float:
    """WCAG's contrast of two colours."""

    def luminance(colour: str) -> float:
        digits = colour[1:] if len(colour) == 7 else "".join(c * 2 for c in colour[1:])
        parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
        return sum(w * (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4) for w, p in zip((0.2126, 0.7152, 0.0722), parts, strict=True))

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


# --- in a browser -------------------------------------------------------------------------------------------------------


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
    assert f"{total} of {total} episodes" in dom(file.as_uri() + "#charts")  # the name of a part is not searched for


@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")
@pytest.mark.parametrize(("field", "value", "left"), [("r", "B", "run B"), ("d", "CMExam", "of CMExam"), ("v", "met", "with met"), ("q", "p06", "about p06")])
def test_in_a_browser_each_field_leaves_the_episodes_it_names(run: Path, tmp_path: Path, field: str, value: str, left: str) -> None:
    assert BROWSER is not None
    best = tmp_path / "best"
    mlb_env.run("oracle", dataset=["CMExam", "MAGuidance"], lang="en", limit=20, out=best)
    file = tmp_path / "r.html"
    text = written(run, best, to=file)
    step = f"<script>const f=document.getElementById('{field}');f.value='{value}';f.dispatchEvent(new Event('input'))</script></main>"
    file.write_text(text.replace("</main>", step), encoding="utf-8")
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=3000", "--dump-dom", file.as_uri()]
    dom = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    episodes = {e[0]: e[1] for e in re.findall(r'(<details class="e"[^>]*>)<summary>.*?<span>([a-z0-9.-]+)</span>', dom)}
    shown = [(tag, name) for tag, name in episodes.items() if "hidden" not in tag]
    wanted = {"r": lambda tag, name: 'data-run="B"' in tag, "d": lambda tag, name: 'data-set="CMExam"' in tag,
              "v": lambda tag, name: re.search(r'data-verdicts="([a-z_ ]* )?met[ "]', tag), "q": lambda tag, name: "-p06" in name}[field]  # fmt: skip
    assert shown and all(wanted(*e) for e in shown) and len(shown) == sum(bool(wanted(*e)) for e in episodes.items()), left
    assert f"{len(shown)} of {len(episodes)} episodes" in dom
