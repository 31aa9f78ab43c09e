"""`mlb report --html`: runs as one self-contained page that needs no network: leaderboard, figures, and every dialogue with its verdicts.
What stands after # in its address is searched for: report.html#maguidance-p01.en.0 opens that episode.

Everything from a run is escaped; the page's own policy forbids it to load anything. It works without its script (which only filters).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from ..bench.store import RunHeader, read_judgements, read_trajectories
from ..bench.summary import Group, Summary
from ..catalog.load import open_catalog
from ..catalog.play import Play
from ..judge.derive import rubric_of
from ..spec.action import ToolCall
from ..spec.base import L
from ..spec.rubric import Judgement, Verdict
from ..spec.scenario import DIMENSIONS
from ..spec.trajectory import Trajectory
from .table import notes

Run = tuple[Path, RunHeader, Summary]
MARK = {"met": "✓", "unmet": "✗", "not_applicable": "–", "not_judged": "?", "ungraded": "!"}
STYLE = """
:root{color-scheme:light dark;--fg:#1b1f24;--dim:#57606a;--bg:#fff;--soft:#f3f4f6;--line:#d0d7de;--bar:#2f6fb0;--bad:#b42318;--good:#1a7f37}
@media(prefers-color-scheme:dark){:root{--fg:#e6edf3;--dim:#9aa4ae;--bg:#0f1318;--soft:#1a2028;--line:#343d47;--bar:#6aa9e9;--bad:#ff8d85;--good:#5bd178}}
*{box-sizing:border-box}body{margin:0 auto;max-width:72rem;padding:1.5rem;font:16px/1.5 system-ui,"Noto Sans CJK SC","PingFang SC",sans-serif;color:var(--fg);background:var(--bg)}
h1{font-size:1.6rem;margin:.2rem 0}h2{font-size:1.25rem;margin:2rem 0 .5rem;border-bottom:1px solid var(--line)}h3{font-size:1rem;margin:1.2rem 0 .4rem}
.dim{color:var(--dim)}.wide{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums}caption{text-align:left;color:var(--dim);padding:.2rem 0}
th,td{padding:.25rem .7rem;border-bottom:1px solid var(--line);text-align:right;white-space:nowrap}th:first-child,td:first-child{text-align:left}thead th{border-bottom:2px solid var(--line)}
.note{background:var(--soft);border-left:4px solid var(--bar);padding:.5rem .8rem;margin:.4rem 0}.filters{display:flex;flex-wrap:wrap;gap:.8rem;align-items:end;margin:.6rem 0}
label{display:grid;font-size:.85rem;color:var(--dim)}input,select{font:inherit;color:inherit;background:var(--bg);border:1px solid var(--line);border-radius:4px;padding:.25rem .5rem}
details.e{border:1px solid var(--line);border-radius:6px;margin:.4rem 0;padding:0 .8rem}details.e>summary{cursor:pointer;padding:.4rem 0;display:flex;gap:1rem;flex-wrap:wrap}
th.sub{font-weight:400;padding-left:1.8rem}.s{font-weight:600;min-width:3.5rem}.m{margin:.35rem 0;padding:.3rem .6rem;border-radius:6px;white-space:pre-wrap;overflow-wrap:anywhere}.m b{font-size:.8rem;color:var(--dim);display:block;font-weight:600}
.agent{background:var(--soft);margin-left:2rem}.patient{border:1px solid var(--line);margin-right:2rem}.tool,.system,.scene,.task{font-size:.85rem;color:var(--dim)}
.v{display:grid;grid-template-columns:1.5rem 7rem 1fr;gap:.2rem .6rem;margin:.2rem 0}.unmet{color:var(--bad)}.met{color:var(--good)}svg text{fill:var(--fg);font-size:12px}[hidden]{display:none!important}
"""
SCRIPT = """
const q=document.getElementById('q'),d=document.getElementById('d'),h=document.getElementById('h'),o=document.getElementById('o'),n=document.getElementById('n');
const all=[...document.querySelectorAll('details.e')],list=document.getElementById('list');
function run(){const t=q.value.trim().toLowerCase();let k=0;for(const e of all){const s=e.dataset.score;
const ok=(!d.value||e.dataset.set===d.value)&&(!h.checked||e.dataset.harm==='1')&&(!t||e.textContent.toLowerCase().includes(t));e.hidden=!ok;k+=ok}
n.textContent=k+' of '+all.length+' episodes';
const by={given:(a,b)=>a.dataset.i-b.dataset.i,low:(a,b)=>(a.dataset.score||2)-(b.dataset.score||2),high:(a,b)=>(b.dataset.score||-1)-(a.dataset.score||-1),long:(a,b)=>b.dataset.turns-a.dataset.turns}[o.value];
all.sort(by).forEach(e=>list.append(e))}
[q,d,h,o].forEach(e=>e.addEventListener('input',run));
q.value=decodeURIComponent(location.hash.slice(1));run();
const hit=all.filter(e=>!e.hidden);if(hit.length===1)hit[0].open=true;
"""


def page(runs: Sequence[Run]) -> Iterator[str]:
    """The page, in pieces. With several runs: the leaderboard and each run's figures; dialogues of the first run only.

    Raises:
        UserError: a run is not finished, or its scenarios are not there any more.
    """
    title = "mlb-env: " + (runs[0][0].name if len(runs) == 1 else f"{len(runs)} runs")
    yield (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'\">"
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><header><h1>{escape(title)}</h1>"
        '<p class="dim">Medical language-model agents in simulated clinical episodes. Research use only; not a medical device. The content was not reviewed '
        "by a clinician.</p></header><main>"
    )
    if len(runs) > 1:
        yield _board(runs)
    for run in runs:
        yield from _figures(run)
    yield from _episodes(runs[0])
    yield "</main></body></html>\n"


def _number(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _interval(group: Group) -> str:
    return f"{group.ci95[0]:.3f} – {group.ci95[1]:.3f}" if group.ci95 else "–"


def _table(caption: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f'<th scope="col">{escape(h)}</th>' for h in heads)
    body = "".join(f'<tr><th scope="row"{" class=sub" if r[0].startswith(" ") else ""}>{escape(r[0].strip())}</th>' + "".join(f"<td>{escape(c)}</td>" for c in r[1:]) + "</tr>" for r in rows)
    return f'<div class="wide"><table><caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _who(header: RunHeader) -> str:
    settings = header.settings
    return settings.agent + (f" · {settings.model.model}" if settings.model else "")


def _board(runs: Sequence[Run]) -> str:
    dims = [d for d in DIMENSIONS if any(d in s.dimensions for _, _, s in runs)]
    ordered = sorted(runs, key=lambda r: -(r[2].overall.score if r[2].overall.score is not None else -1))
    rows = [
        [str(folder.name), _who(h), h.edition, _number(s.overall.score), _interval(s.overall),
         *(_number(s.dimensions[d].score if d in s.dimensions else None) for d in dims), f"{s.coverage:.0%}", f"{s.overall.criteria_judged:.0%}"]
        for folder, h, s in ordered
    ]  # fmt: skip
    heads = ["run", "agent", "edition", "overall", "95 % interval", *dims, "coverage", "judged"]
    mixed = len({h.edition for _, h, _ in runs}) > 1 or len({str(sorted(h.content.items())) for _, h, _ in runs}) > 1
    warning = '<p class="note">These runs did not play the same content; their figures cannot be compared one to one.</p>' if mixed else ""
    return f"<h2>Leaderboard</h2>{_table('Overall is the mean of the dimensions.', heads, rows)}{warning}"


def _figures(run: Run) -> Iterator[str]:
    folder, header, summary = run
    settings = header.settings
    yield f"<h2>{escape(folder.name)}</h2>"
    yield (f'<p class="dim">agent {escape(_who(header))} · judge {escape(settings.judge)} · patient {escape(settings.patient)} · seed {settings.seed} · '
           f"{settings.trials} trial{'s' if settings.trials > 1 else ''} · edition {escape(header.edition)} · mlb-env {escape(header.versions['mlb-env'])}</p>")  # fmt: skip
    yield _bars([("overall", summary.overall), *summary.dimensions.items()])
    home = {t.dataset: t.dimension for t in read_trajectories(folder)}
    groups = [(name, g) for dimension, own in summary.dimensions.items()
              for name, g in [(dimension, own), *((f"  {n}", g) for n, g in summary.datasets.items() if home[n] == dimension)]]  # fmt: skip
    rows = [[name, _number(g.score), _interval(g), str(g.n), str(g.scored), f"{g.criteria_judged:.0%}"] for name, g in groups]
    yield _table("Scores by dimension and dataset; the interval clusters by case family.", ["", "score", "95 % interval", "episodes", "scored", "judged"], rows)
    harms = [[grade, str(r.count), str(r.acts), str(r.omissions), f"{r.harmed} of {r.episodes}", _number(r.per_100, 1)] for grade, r in summary.harms.items()]
    if harms:
        yield _table("Harms by grade (S4 the worst).", ["grade", "count", "acts", "omissions", "episodes", "per 100"], harms)
    yield "".join(f'<p class="note">{escape(line)}</p>' for line in notes(header, summary, folder))


def _bars(groups: Sequence[tuple[str, Group]]) -> str:
    """Scores as bars from 0 to 1 with their intervals; the table below says the same in figures."""
    left, width, step = 120, 480, 26
    parts = [f'<svg role="img" aria-label="Scores by dimension, as in the table below" viewBox="0 0 680 {step * len(groups) + 24}" width="100%" style="max-width:680px">']
    for x in (0, 0.25, 0.5, 0.75, 1):
        parts.append(f'<line x1="{left + x * width}" x2="{left + x * width}" y1="0" y2="{step * len(groups)}" stroke="var(--line)"/>'
                     f'<text x="{left + x * width}" y="{step * len(groups) + 16}" text-anchor="middle">{x:g}</text>')  # fmt: skip
    for i, (name, group) in enumerate(groups):
        y = i * step + 4
        parts.append(f'<text x="{left - 8}" y="{y + 14}" text-anchor="end">{escape(name)}</text>')
        if group.score is None:
            parts.append(f'<text x="{left + 6}" y="{y + 14}">no score</text>')
            continue
        parts.append(f'<rect x="{left}" y="{y}" width="{group.score * width:.1f}" height="18" fill="var(--bar)"/>')
        if group.ci95:
            low, high = (left + v * width for v in group.ci95)
            parts.append(f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{y + 9}" y2="{y + 9}" stroke="var(--fg)" stroke-width="2"/>')
        parts.append(f'<text x="{left + width + 10}" y="{y + 14}">{group.score:.3f}</text>')
    return "".join(parts) + "</svg>"


def _episodes(run: Run) -> Iterator[str]:
    folder, header, _ = run
    plays = {(name, p.id): p for name, own in _catalog(header).items() for p in own}
    pairs = list(zip(read_trajectories(folder), read_judgements(folder), strict=True))
    options = "".join(f'<option value="{escape(n)}">{escape(n)}</option>' for n in dict.fromkeys(t.dataset for t, _ in pairs))
    yield f"<h2>Episodes of {escape(folder.name)}</h2>" + _scatter(pairs)
    yield ('<div class="filters"><label>search<input id="q" type="search" placeholder="words, ids, verdicts"></label>'
           f'<label>dataset<select id="d"><option value="">all</option>{options}</select></label>'
           '<label>order<select id="o"><option value="given">as played</option><option value="low">lowest first</option><option value="high">highest first'
           '</option><option value="long">longest first</option></select></label>'
           '<label>harm only<input id="h" type="checkbox"></label><output id="n" class="dim" aria-live="polite"></output></div><div id="list">')  # fmt: skip
    for i, (trajectory, judgement) in enumerate(pairs):
        play = plays.get((trajectory.dataset, trajectory.scenario))
        texts = {c.id: c.text for c in rubric_of(play).criteria} if play else {}
        yield _episode(i, trajectory, judgement, texts)
    yield f"</div><script>{SCRIPT}</script>"


def _catalog(header: RunHeader) -> dict[str, list[Play]]:
    return open_catalog(header.settings.scenarios, bundled=not header.settings.scenarios).plays


def _scatter(pairs: Sequence[tuple[Trajectory, Judgement]]) -> str:
    """Score against turns, for episodes of more than one turn."""
    points = [(t.turns, j.score.value, t.episode) for t, j in pairs if t.turns > 1 and j.score.value is not None]
    if len(points) < 3:
        return ""
    most = max(x for x, _, _ in points)
    dots = "".join(f'<circle cx="{40 + 500 * x / most:.1f}" cy="{10 + 150 * (1 - y):.1f}" r="4" fill="var(--bar)" fill-opacity=".6"><title>{escape(name)}: '
                   f"{y:.3f}, {x} turns</title></circle>" for x, y, name in points)  # fmt: skip
    return (f'<svg role="img" aria-label="Score against turns, {len(points)} episodes" viewBox="0 0 560 200" width="100%" style="max-width:560px">'
            f'<line x1="40" x2="540" y1="160" y2="160" stroke="var(--line)"/><line x1="40" x2="40" y1="10" y2="160" stroke="var(--line)"/>'
            f'<text x="34" y="15" text-anchor="end">1</text><text x="34" y="164" text-anchor="end">0</text><text x="540" y="178" text-anchor="end">{most} turns'
            f'</text><text x="40" y="178">score against turns</text>{dots}</svg>')  # fmt: skip


def _episode(i: int, t: Trajectory, j: Judgement, texts: dict[str, L]) -> str:
    score = j.score.value
    harms = " ".join(h.grade for h in j.score.harms)
    head = (f'<summary><span class="s">{_number(score)}</span><span>{escape(t.episode)}</span><span class="dim">{escape(t.dataset)} · {t.turns} turn{"" if t.turns == 1 else "s"} · '
            f"{escape(t.stop_reason)}{' · ' + escape(t.persona) if t.persona else ''}</span>"
            + (f'<span class="unmet">harm {harms}</span>' if harms else "") + "</summary>")  # fmt: skip
    said = "".join(f'<div class="m {escape(m.speaker)}"><b>T{m.turn} {escape(m.speaker)}{_calls(m.tool_calls)}</b>{escape(m.content)}</div>'
                   for m in t.messages if m.content or m.tool_calls)  # fmt: skip
    failure = f'<p class="unmet">{escape(j.score.ungraded)}</p>' if j.score.ungraded else ""
    verdicts = "".join(_verdict(v, texts.get(v.criterion), t) for v in j.verdicts if v.verdict != "not_applicable")
    return (f'<details class="e" data-i="{i}" data-set="{escape(t.dataset)}" data-score="{"" if score is None else score}" data-turns="{t.turns}" '
            f'data-harm="{int(bool(harms))}" lang="{t.lang}">{head}{failure}<h3>Dialogue</h3>{said}<h3>Verdicts</h3>{verdicts}</details>')  # fmt: skip


def _calls(calls: Sequence[ToolCall]) -> str:
    return "".join(f" → {escape(c.name)} {escape(c.arguments[:300])}" for c in calls)


def _verdict(v: Verdict, text: L | None, t: Trajectory) -> str:
    turns = f" (turn {', '.join(map(str, v.evidence))})" if v.evidence else ""
    reason = f" {v.reason}" if v.reason and v.verdict != "not_judged" else ""
    shown = text[t.lang] if text else v.criterion
    gate = f" · gate {v.gate}" if v.gate else ""
    by = f" · {v.judge}" if v.judge not in ("", "rules") else ""
    return (f'<div class="v {v.verdict}"><span aria-hidden="true">{MARK[v.verdict]}</span><span>{escape(v.verdict)}</span><span>{escape(shown)}'
            f'<span class="dim"> [{escape(v.criterion)} · {escape(v.kind)} · weight {v.weight:g}{escape(gate)}{escape(by)}]{escape(reason + turns)}</span></span></div>')  # fmt: skip
