"""`mlb report --html`: runs as one self-contained page that needs no network: leaderboard, charts, how far the figures can be trusted, groups, each run's
figures, and every dialogue with its verdicts. What stands after # in its address is searched for: report.html#maguidance-p01.en.0 opens that episode.

Everything from a run is escaped; the page's own policy forbids it to load anything. It works without its script (which only filters).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from string import ascii_uppercase

from ..bench.leaderboard import Leaderboard, Run, Standing, in_order, leaderboard
from ..bench.store import read_groups, read_judgements, read_trajectories
from ..bench.summary import GROUPINGS
from ..spec.scenario import DIMENSIONS
from ..spec.trajectory import Trajectory
from .htmlepisodes import episodes
from .htmlkit import Html, folded, interval, number, table
from .svg import STYLES, Point, Series, bars, radar, scatter, sign
from .table import agent_label, notes, percent, span

Named = Sequence[tuple[str, Run]]  # with the letter that names the run throughout the page; none where there is one run
_GROUPS = {"specialty": "Specialty", "lang": "Language", "persona": "Persona", "difficulty": "Difficulty"}
_SHORT = 12  # groups that are shown without unfolding them


def page(runs: Sequence[Run], *, dialogues: bool = True) -> Iterator[str]:
    """The page, in pieces; runs stand in order of their score.

    Raises:
        UserError: a run is not finished, or its scenarios are not there any more.
    """
    title = "mlb-env: " + (runs[0][0].name if len(runs) == 1 else f"{len(runs)} runs")
    named = [(_key(i) if len(runs) > 1 else "", run) for i, run in enumerate(in_order(runs))]
    parts = {"leaderboard": "Leaderboard", "charts": "Charts", "trust": "Reliability", "groups": "Groups", "figures": "Figures", "dialogues": "Dialogues"}
    if len(runs) == 1:
        parts["leaderboard"] = "Result"
    if not dialogues:
        del parts["dialogues"]
    style = (files(__package__) / "report.css").read_text(encoding="utf-8")
    yield (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'\">"
        f"<title>{escape(title)}</title><style>{style}</style></head><body><header><h1>{escape(title)}</h1>"
        '<p class="dim">Medical language-model agents in simulated clinical episodes. Research use only; not a medical device. The content was not reviewed '
        f'by a clinician.</p><nav aria-label="Parts of this page"><ul>{"".join(f"<li><a href=#{i}>{n}</a></li>" for i, n in parts.items())}</ul></nav></header><main>'
    )
    yield _board(leaderboard(runs), named)
    yield from _charts(named)
    yield from _reliability(named)
    yield from _groups(named)
    yield '<section><h2 id="figures">Figures of each run</h2>'
    for key, run in named:
        yield from _figures(key, run)
    yield "</section>"
    if dialogues:
        yield from episodes(named, (files(__package__) / "report.js").read_text(encoding="utf-8"))
    yield "</main></body></html>\n"


def _key(i: int) -> str:
    """A, B ... Z, AA, AB ..."""
    return (_key(i // 26 - 1) if i >= 26 else "") + ascii_uppercase[i % 26]


def _name(key: str, folder: Path) -> str:
    return f"{key} {folder.name}".strip()


# --- leaderboard --------------------------------------------------------------------------------------------------------


def _board(board: Leaderboard, named: Named) -> str:
    dims = [d for d in DIMENSIONS if any(d in s.dimensions for s in board.runs)]
    editions = len({s.edition for s in board.runs}) > 1
    scores, efforts = [], []
    for i, ((key, run), s) in enumerate(zip(named, board.runs, strict=True)):
        label = f"{agent_label(run[1])}{f' · edition {s.edition}' if editions else ''}"
        name = f"{sign(i, key) if len(named) > 1 else ''} {escape(run[0].name)}".strip()
        scores.append([Html(f'{name}<br><span class="dim">{escape(label)}</span>'), number(s.score), interval(s.ci95), number(s.micro),
                       *(number(s.dimensions.get(d)) for d in dims)])  # fmt: skip
        efforts.append([Html(name), percent(s.coverage), percent(s.judged), str(s.episodes), f"{s.turns:.1f}", "–" if s.tokens is None else f"{s.tokens:,}",
                        number(s.cost, 2)])  # fmt: skip
    first = table("Scores from 0 to 1, best first. Overall is the mean of the dimensions, items alike the mean of all items.",
                  ["run", "overall", "95 % interval", "items alike", *dims], scores)  # fmt: skip
    second = table("Turns are the mean of the episodes; tokens and cost are of the agent's model over the whole run (–: none known).",
                   ["run", "coverage", "judged", "episodes", "turns", "tokens", "US$"], efforts)  # fmt: skip
    references = table(f"Published by MLB's authors, as shares of 1: {board.reference_note}. A ? is not known.", ["model", "overall", *DIMENSIONS], [
        [r.model, *("?" if v is None else number(v) for v in (r.score, *(r.dimensions.get(d) for d in DIMENSIONS)))] for r in board.references])  # fmt: skip
    sources = "".join(f'<p class="dim">Source: {escape(s)}.</p>' for s in dict.fromkeys(r.source for r in board.references))
    return (f'<section><h2 id="leaderboard">{"Leaderboard" if len(named) > 1 else "Result"}</h2>{first}{second}' + "".join(f'<p class="note">{escape(w)}</p>' for w in board.warnings)
            + f"<h3>Reference: another item set, not comparable</h3>{references}{sources}</section>")  # fmt: skip


# --- charts -------------------------------------------------------------------------------------------------------------


def _charts(named: Named) -> Iterator[str]:
    drawn = named[:STYLES]
    series = [Series(key, run[0].name, {d: (g.score, g.ci95) for d, g in run[2].dimensions.items()}) for key, run in drawn]
    dims = [d for d in DIMENSIONS if any(d in s.scores for s in series)]
    series = [Series(s.key, s.name, {d: s.scores.get(d, (None, None)) for d in dims}) for s in series]
    whole = [Series(s.key, s.name, {"overall": (run[2].overall.score, run[2].overall.ci95), **s.scores}) for s, (_, run) in zip(series, drawn, strict=True)]
    yield '<section><h2 id="charts">Charts</h2>'
    if len(named) > 1:
        yield f'<ul class="legend">{"".join(f"<li>{sign(i, key)} {escape(run[0].name)}</li>" for i, (key, run) in enumerate(named))}</ul>'
    if len(named) > len(drawn):
        yield f'<p class="note">Bars and radar show the best {STYLES} of {len(named)} runs; all of them are in the leaderboard.</p>'
    yield '<div class="charts">' + bars("bars", "Scores by dimension", whole)
    yield radar("radar", "Profile over the dimensions", series)
    yield from _one_run(named[0][1]) if len(named) == 1 else _many_runs(named)
    yield "</div></section>"


def _many_runs(named: Named) -> Iterator[str]:
    """A point a run: its score against its turns and its cost."""
    standings = leaderboard([run for _, run in named]).runs
    scored = [(i, key, run[0].name, s) for i, ((key, run), s) in enumerate(zip(named, standings, strict=True)) if s.score is not None]
    if scored:
        yield scatter("turns", "Score against turns", "agent turns an episode", [_point(i, key, name, s, s.turns) for i, key, name, s in scored])
    priced = [(i, key, name, s) for i, key, name, s in scored if s.cost is not None]
    if priced:
        yield scatter("cost", "Score against cost", "US$ an episode", [_point(i, key, name, s, (s.cost or 0.0) / s.episodes) for i, key, name, s in priced], 4)
    if unpriced := [key for _, key, _, s in scored if s.cost is None]:
        yield f'<p class="note">Score against cost: no cost is known of {", ".join(unpriced)} (no model was called by the engine, or no price of it is known).</p>'


def _point(i: int, key: str, name: str, s: Standing, x: float) -> Point:
    return Point(x, s.score or 0.0, i, f"{key} {name}", key, s.ci95)


def _one_run(run: Run) -> Iterator[str]:
    """A point an episode of more than one turn."""
    folder = run[0]
    played = [(t, j.score.value) for t, j in zip(read_trajectories(folder), read_judgements(folder), strict=True) if j.score.value is not None]
    talks = [(t, v) for t, v in played if t.turns > 1]
    dims: list[str] = [d for d in DIMENSIONS if any(t.dimension == d for t, _ in talks)]
    signs = f'<ul class="legend">{"".join(f"<li>{sign(i, d)}</li>" for i, d in enumerate(dims))}</ul>'
    if len(talks) >= 3:
        yield "<div>" + scatter("turns", "Score against turns, episodes of several turns", "agent turns", [Point(t.turns, v, dims.index(t.dimension), t.episode) for t, v in talks], 0)
        yield signs + "</div>"
    priced = [(c, v, t) for t, v in talks if (c := _cost(t)) is not None]
    if len(priced) >= 3:
        yield "<div>" + scatter("cost", "Score against cost, episodes of several turns", "US$", [Point(c, v, dims.index(t.dimension), t.episode) for c, v, t in priced], 4)
        yield signs + "</div>"
    elif talks:
        yield '<p class="note">Score against cost: no cost is known (no model was called by the engine, or no price of it is known).</p>'


def _cost(t: Trajectory) -> float | None:
    return t.usage["agent"].cost if "agent" in t.usage else None


# --- reliability --------------------------------------------------------------------------------------------------------


def _reliability(named: Named) -> Iterator[str]:
    """What stands between the figures and the truth: what failed, what nobody judged, how the patients and the judges did."""
    yield '<section><h2 id="trust">Reliability</h2>'
    rows = []
    for key, (folder, header, summary) in named:
        o = summary.overall
        rows.append([_name(key, folder), percent(summary.coverage), str(o.ungraded), percent(o.criteria_judged), str(o.clusters),
                     "–" if summary.detectable is None else f"{summary.detectable:.3f}", str(summary.trials), header.settings.judge])  # fmt: skip
    heads = ["run", "coverage", "ungraded", "judged", "families", "detectable difference", "trials", "judge"]
    yield table("Coverage: share of episodes that no failure left ungraded. Judged: share of the rubrics' weight that was decided. Detectable difference: of overall, "
                "between two runs of this size, unpaired (80 % power, two-sided 5 %).", heads, rows)  # fmt: skip
    yield "<h3>Judges of meaning</h3>" + _judges(named)
    yield "<h3>Simulated patients</h3>" + _patients(named)
    yield "<h3>Why episodes are ungraded</h3>"
    reasons = [[_name(key, run[0]), str(n), reason] for key, run in named for reason, n in run[2].failures.items()]
    yield table("A failure is never scored as 0.", ["run", "episodes", "reason"], [[*r[:2], r[2][:200]] for r in reasons]) if reasons else "<p>None is.</p>"
    yield "</section>"


def _judges(named: Named) -> str:
    rows = []
    for key, (folder, header, _) in named:
        s, measured = header.settings, header.settings.calibration
        if s.meaning:
            rows.append([_name(key, folder), ", ".join(s.meaning), s.judge_vote if len(s.meaning) > 1 else "–", _alike(folder) if len(s.meaning) > 1 else "–",
                         number(measured.kappa) if measured else "not measured", number(measured.kappa_low) if measured else "–", str(measured.items) if measured else "–",
                         percent(measured.coverage) if measured else "–", "yes" if measured and measured.passes() else "no"])  # fmt: skip
    if not rows:
        return "<p>No model judged: what needs meaning is not judged.</p>"
    heads = ["run", "models", "vote", "judges agree", "kappa with people", "lower bound", "labels", "decided", "may be believed"]
    return table("Kappa is Cohen's, of the joint verdict with people's labels (mlb judge agree); uncalibrated judges are not to be relied on.", heads, rows)


def _alike(folder: Path) -> str:
    """Share of the verdicts with several votes on which all votes are the same."""
    voted = [{x.verdict for x in v.votes} for j in read_judgements(folder) for v in j.verdicts if len(v.votes) > 1]
    return f"{percent(sum(len(x) == 1 for x in voted) / len(voted))} of {len(voted)}" if voted else "–"


def _patients(named: Named) -> str:
    rows = [
        [_name(key, run[0]), run[1].settings.patient, f"{p.replies:,}", f"{p.facts:,}", f"{p.unparsed:,}", f"{p.repeated:,}", f"{p.refused:,}", f"{p.fallbacks:,}", f"{p.doubts:,}"]
        for key, run in named if (p := run[2].patients)
    ]  # fmt: skip
    if not rows:
        return "<p>No patient spoke.</p>"
    heads = ["run", "patient", "replies", "facts told", "questions not understood", "asked again", "wordings sent back", "fallbacks", "doubted replies"]
    return table("Faults of the simulator, not of the agent; mlb patients audit RUN looks closer.", heads, rows)


# --- groups and figures -------------------------------------------------------------------------------------------------


def _groups(named: Named) -> Iterator[str]:
    found = [(key, run[0].name, read_groups(run[0], run[2])) for key, run in named]
    yield ('<section><h2 id="groups">By specialty, language, persona and difficulty</h2><p class="dim">Each group is scored as overall is, over its own episodes: groups '
           "differ in their datasets, too, not only in what they are named for.</p>")  # fmt: skip
    for by in GROUPINGS:
        values = list(dict.fromkeys(v for _, _, g in found for v in g.get(by, {})))
        if not values:
            continue
        heads = [by, "episodes", *(f"{key} {name}".strip() if key else "score (95 % interval)" for key, name, _ in found)]
        rows = []
        for value in values:
            own = [g.get(by, {}).get(value) for _, _, g in found]
            rows.append([value, span([g.n for g in own if g]), *(f"{number(g.score)} ({interval(g.ci95)})" if g else "–" for g in own)])
        made = table(f"Scores with 95 % intervals by {by}.", heads, rows)
        yield f"<h3>{_GROUPS[by]}</h3>" + (made if len(values) <= _SHORT else folded(f"{len(values)} of them", made))
    yield "</section>"


def _figures(key: str, run: Run) -> Iterator[str]:
    folder, header, summary = run
    settings = header.settings
    yield f"<h3>{escape(_name(key, folder))}</h3>"
    yield (f'<p class="dim">agent {escape(agent_label(header))} · judge {escape(settings.judge)} · patient {escape(settings.patient)} · seed {settings.seed} · '
           f"{settings.trials} trial{'s' if settings.trials > 1 else ''} · edition {escape(header.edition)} · mlb-env {escape(header.versions['mlb-env'])}</p>")  # fmt: skip
    yield "".join(f'<p class="note">{escape(line)}</p>' for line in notes(header, summary, folder))
    home = {t.dataset: t.dimension for t in read_trajectories(folder)}
    groups = [("overall", summary.overall), *([("all items alike", summary.micro)] if summary.micro else []),
              *((name, g) for dimension, own in summary.dimensions.items()
                for name, g in [(dimension, own), *((f"  {n}", g) for n, g in summary.datasets.items() if home[n] == dimension)])]  # fmt: skip
    rows = [[name, number(g.score), interval(g.ci95), str(g.n), str(g.scored), percent(g.criteria_judged), str(g.clusters)] for name, g in groups]
    figures = table("Scores by dimension and dataset; the interval clusters by case family.", ["", "score", "95 % interval", "episodes", "scored", "judged", "families"], rows)
    yield folded("Scores by dimension and dataset", figures, opened=not key)
    harms = [[grade, str(r.count), str(r.acts), str(r.omissions), f"{r.harmed} of {r.episodes}", number(r.per_100, 1)] for grade, r in summary.harms.items()]
    if harms:
        yield table("Harms by grade (S4 the worst).", ["grade", "count", "acts", "omissions", "episodes", "per 100"], harms)
