"""The dialogues of the report page: each episode with what was said, done and judged, and the fields to find it by."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape

from ..bench.leaderboard import Run
from ..bench.store import RunHeader, read_judgements, read_trajectories
from ..catalog.load import open_catalog
from ..catalog.play import Play
from ..judge.derive import rubric_of
from ..spec.action import ToolCall
from ..spec.base import L
from ..spec.rubric import Judgement, Verdict
from ..spec.trajectory import Trajectory
from .htmlkit import number

_MARK = {"met": "✓", "unmet": "✗", "not_applicable": "–", "not_judged": "?", "ungraded": "!"}
_ORDERS = {"given": "as played", "low": "lowest first", "high": "highest first", "long": "longest first"}
Plays = Mapping[tuple[str, str], Play]


def episodes(runs: Sequence[tuple[str, Run]], script: str) -> Iterator[str]:
    """The section with all episodes of all runs, in pieces. `runs`: with the letter that names each."""
    datasets = list(dict.fromkeys(name for _, (_, _, summary) in runs for name in summary.datasets))
    chosen = [] if len(runs) == 1 else [("r", "run", {key: f"{key} {run[0].name}" for key, run in runs})]
    yield '<section><h2 id="dialogues">Dialogues</h2><div class="filters"><label>search<input id="q" type="search" placeholder="words, ids, verdicts"></label>'
    for name, label, options in [
        *chosen, ("d", "dataset", {n: n for n in datasets}),
        ("v", "with a verdict", {"unmet": "unmet", "met": "met", "not_judged": "not judged", "ungraded": "ungraded"}),
    ]:  # fmt: skip
        yield f'<label>{label}<select id="{name}"><option value="">all</option>{_options(options)}</select></label>'
    yield (f'<label>order<select id="o">{_options(_ORDERS)}</select></label><label class="check"><input id="h" type="checkbox">harm only</label>'
           '<output id="n" class="dim" aria-live="polite"></output></div><div id="list">')  # fmt: skip
    known: dict[tuple[str, ...], Plays] = {}
    i = 0
    for key, (folder, header, _) in runs:
        plays = known.setdefault(header.settings.scenarios, {}) or _plays(header)
        known[header.settings.scenarios] = plays
        for trajectory, judgement in zip(read_trajectories(folder), read_judgements(folder), strict=True):
            play = plays.get((trajectory.dataset, trajectory.scenario))
            texts = {c.id: c.text for c in rubric_of(play).criteria} if play else {}
            yield _episode(i, key, trajectory, judgement, texts)
            i += 1
    yield f"</div><script>{script}</script></section>"


def _options(options: Mapping[str, str]) -> str:
    return "".join(f'<option value="{escape(value)}">{escape(label)}</option>' for value, label in options.items())


def _plays(header: RunHeader) -> Plays:
    catalog = open_catalog(header.settings.scenarios, bundled=not header.settings.scenarios)
    return {(name, p.id): p for name, own in catalog.plays.items() for p in own}


def _episode(i: int, key: str, t: Trajectory, j: Judgement, texts: Mapping[str, L]) -> str:
    score, grades = j.score.value, " ".join(h.grade for h in j.score.harms)
    about = [t.dataset, f"{t.turns} turn{'' if t.turns == 1 else 's'}", t.stop_reason, t.specialty, t.difficulty, *([t.persona] if t.persona else [])]
    head = (f'<summary><span class="s">{number(score)}</span>{f"<b>{escape(key)}</b>" if key else ""}<span>{escape(t.episode)}</span>'
            f'<span class="dim">{escape(" · ".join(about))}</span>' + (f'<span class="unmet">harm {grades}</span>' if grades else "") + "</summary>")  # fmt: skip
    said = "".join(
        f'<div class="m {escape(m.speaker)}"><b>T{m.turn} {escape(m.speaker)}{_calls(m.tool_calls)}</b><span lang="{t.lang}">{escape(m.content)}</span></div>'
        for m in t.messages if m.content or m.tool_calls
    )  # fmt: skip
    failure = f'<p class="ungraded">{escape(j.score.ungraded)}</p>' if j.score.ungraded else ""
    verdicts = "".join(_verdict(v, texts.get(v.criterion), t) for v in j.verdicts if v.verdict != "not_applicable")
    kinds = dict.fromkeys(v.verdict for v in j.verdicts) | ({"ungraded": None} if j.score.ungraded else {})
    return (f'<details class="e" data-i="{i}" data-run="{escape(key)}" data-set="{escape(t.dataset)}" data-score="{"" if score is None else score}" data-turns="{t.turns}" '
            f'data-harm="{int(bool(grades))}" data-verdicts="{" ".join(kinds)}">{head}{failure}<h3>Dialogue</h3>{said}<h3>Verdicts</h3>{verdicts}</details>')  # fmt: skip


def _calls(calls: Sequence[ToolCall]) -> str:
    return "".join(f" → {escape(c.name)} {escape(c.arguments[:300])}" for c in calls)


def _verdict(v: Verdict, text: L | None, t: Trajectory) -> str:
    turns = f" (turn {', '.join(map(str, v.evidence))})" if v.evidence else ""
    reason = f" {v.reason}" if v.reason and v.verdict != "not_judged" else ""
    shown = f'<span lang="{t.lang if t.lang in text.langs else text.langs[0]}">{escape(text[t.lang])}</span>' if text else escape(v.criterion)
    gate = f" · gate {v.gate}" if v.gate else ""
    by = f" · {v.judge}" if v.judge not in ("", "rules") else ""
    return (f'<div class="v {v.verdict}"><span aria-hidden="true">{_MARK[v.verdict]}</span><span>{escape(v.verdict.replace("_", " "))}</span><span>{shown}'
            f'<span class="dim"> [{escape(v.criterion)} · {escape(v.kind)} · weight {v.weight:g}{escape(gate)}{escape(by)}]{escape(reason + turns)}</span></span></div>')  # fmt: skip
