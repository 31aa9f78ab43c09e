"""Charts of the report page as plain SVG: bars, radar, scatter. Every one has a title, a description and its figures as a table; series differ
in marker and dash as well as in colour. All are drawn 460 wide, so that they can still be read on a telephone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from ..bench.stats import Interval
from .htmlkit import Html, folded, interval, number, table

WIDTH = 460
STYLES = 8  # colours, markers and dashes; more series than these are not drawn in one chart
_DASHES = ("", "6 3", "2 3", "9 3 2 3", "1 4", "12 4", "4 2 1 2", "8 2 2 2 2 2")


@dataclass(frozen=True)
class Series:
    """One run (or another kind of thing) in a chart. `key`: the letter that names it throughout the page."""

    key: str
    name: str
    scores: dict[str, tuple[float | None, Interval | None]]


@dataclass(frozen=True)
class Point:
    """`style`: which colour and marker. `label`: beside the point; `name`: in the table and as a tooltip."""

    x: float
    y: float
    style: int
    name: str
    label: str = ""
    ci95: Interval | None = None


def marker(x: float, y: float, style: int, size: float = 5.0, inside: str = "") -> str:
    """The sign of a series: circle, square, triangles, diamond, cross, plus, hexagon."""
    own = f'class="c{style % STYLES}"'
    corners: Sequence[tuple[float, float]]
    match style % STYLES:
        case 0:
            return f'<circle {own} cx="{x:.1f}" cy="{y:.1f}" r="{size:.1f}">{inside}</circle>'
        case 1:
            corners = ((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9))
        case 2:
            corners = ((0, -1.2), (1.1, 0.8), (-1.1, 0.8))
        case 3:
            corners = ((0, -1.3), (1.3, 0), (0, 1.3), (-1.3, 0))
        case 4:
            corners = ((0, 1.2), (1.1, -0.8), (-1.1, -0.8))
        case 5:
            corners = _cross(0.0)
        case 6:
            corners = _cross(math.pi / 4)
        case _:
            corners = tuple((1.15 * math.cos(i * math.pi / 3), 1.15 * math.sin(i * math.pi / 3)) for i in range(6))
    spots = " ".join(f"{x + size * dx:.1f},{y + size * dy:.1f}" for dx, dy in corners)
    return f'<polygon {own} points="{spots}">{inside}</polygon>'


def _cross(turn: float) -> tuple[tuple[float, float], ...]:
    arm = ((-0.4, -1.3), (0.4, -1.3), (0.4, -0.4), (1.3, -0.4), (1.3, 0.4), (0.4, 0.4), (0.4, 1.3), (-0.4, 1.3), (-0.4, 0.4), (-1.3, 0.4), (-1.3, -0.4), (-0.4, -0.4))
    return tuple((x * math.cos(turn) - y * math.sin(turn), x * math.sin(turn) + y * math.cos(turn)) for x, y in arm)


def sign(style: int, key: str) -> Html:
    """A series' line and marker with its letter, for legends and tables."""
    return Html(f'<svg class="sign" aria-hidden="true" focusable="false" width="30" height="14" viewBox="0 0 30 14"><line class="l{style % STYLES}" x1="0" x2="30" y1="7" y2="7" '
                f'stroke-dasharray="{_DASHES[style % STYLES]}"/>{marker(15, 7, style)}</svg> <b>{escape(key)}</b>')  # fmt: skip


def _figure(name: str, title: str, desc: str, height: float, drawn: str, alternative: str) -> str:
    return (f'<figure><figcaption>{escape(title)}</figcaption><svg role="img" aria-labelledby="{name}-t {name}-d" viewBox="0 0 {WIDTH} {height:.0f}" width="100%"><title id="{name}-t">{escape(title)}</title>'
            f'<desc id="{name}-d">{escape(desc)}</desc>{drawn}</svg>{folded("Figures as a table", alternative)}</figure>')  # fmt: skip


def _text(x: float, y: float, said: str, anchor: str = "start", kind: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{f" class={kind}" if kind else ""}>{escape(said)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, kind: str = "grid") -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _axes(series: Sequence[Series]) -> list[str]:
    return list(dict.fromkeys(a for s in series for a in s.scores))


def _scores_table(title: str, series: Sequence[Series]) -> str:
    rows = [[a, *(f"{number(v)} ({interval(ci)})" if v is not None and ci else number(v) for s in series for v, ci in [s.scores.get(a, (None, None))])] for a in _axes(series)]
    return table(title, ["", *(f"{s.key} {s.name}".strip() for s in series)], rows)


# --- bars ---------------------------------------------------------------------------------------------------------------


def bars(name: str, title: str, series: Sequence[Series]) -> str:
    """Scores from 0 to 1 with their 95 % intervals, a group of bars for each axis, a bar for each series."""
    left, right, step = (24 if len(series) > 1 else 4), 48, 17
    width = WIDTH - left - right
    axes, parts, y = _axes(series), [], 0.0
    for axis in axes:
        parts.append(_text(left, y + 15, axis, kind="name"))
        y += 21
        for i, one in enumerate(series):
            value, ci = one.scores.get(axis, (None, None))
            if len(series) > 1:
                parts.append(_text(left - 7, y + 12, one.key, "end"))
            if value is None:
                parts.append(_text(left + 5, y + 12, "no score", kind="dim"))
            else:
                parts.append(f'<rect class="c{i % STYLES}" x="{left}" y="{y + 1:.1f}" width="{max(1.0, value * width):.1f}" height="{step - 4}"/>')
                if ci:
                    ends = [left + v * width for v in ci]
                    for kind in ("halo", "ci"):
                        parts.append(_line(ends[0], y + 7.5, ends[1], y + 7.5, kind))
                        parts += [_line(x, y + 4, x, y + 11, kind) for x in ends]
                parts.append(_text(WIDTH, y + 12, f"{value:.3f}", "end"))
            y += step
        y += 6
    grid = [_line(left + v * width, 0, left + v * width, y) + _text(left + v * width, y + 15, f"{v:g}", "middle", "dim") for v in (0, 0.25, 0.5, 0.75, 1)]
    best = [f"{a}: " + ", ".join(f"{s.key} {number(s.scores.get(a, (None, None))[0])}".strip() for s in series) for a in axes]
    return _figure(name, title, "Bars from 0 to 1 with 95 % intervals as whiskers. " + "; ".join(best) + ".", y + 22, "".join([*grid, *parts]), _scores_table(title, series))


# --- radar --------------------------------------------------------------------------------------------------------------


def radar(name: str, title: str, series: Sequence[Series]) -> str:
    """One axis a dimension from 0 in the middle to 1; where a series has no score its line is broken. Empty with fewer than 3 axes."""
    axes = _axes(series)
    if len(axes) < 3:
        return ""
    middle, centre, radius = WIDTH / 2, 190.0, 145.0
    angles = [-math.pi / 2 + 2 * math.pi * i / len(axes) for i in range(len(axes))]

    def at(i: int, value: float) -> tuple[float, float]:
        return middle + radius * value * math.cos(angles[i]), centre + radius * value * math.sin(angles[i])

    parts = []
    for ring in (0.25, 0.5, 0.75, 1.0):
        parts.append(f'<polygon class="grid" points="{" ".join("{:.1f},{:.1f}".format(*at(i, ring)) for i in range(len(axes)))}"/>')
    for i, axis in enumerate(axes):
        x, y = at(i, 1.0)
        parts.append(_line(middle, centre, x, y))
        lean = math.cos(angles[i])
        anchor = "middle" if abs(lean) < 0.2 else "start" if lean > 0 else "end"
        parts.append(_text(x + 9 * lean, y + (-9 if math.sin(angles[i]) < -0.5 else 16 if math.sin(angles[i]) > 0.5 else 4), axis, anchor, "name"))
    for k, one in enumerate(series):
        spots = [None if (v := one.scores.get(a, (None, None))[0]) is None else at(i, v) for i, a in enumerate(axes)]
        for a, b in zip(spots, [*spots[1:], spots[0]], strict=True):
            if a and b:
                parts.append(f'<line class="l{k % STYLES}" stroke-dasharray="{_DASHES[k % STYLES]}" x1="{a[0]:.1f}" y1="{a[1]:.1f}" x2="{b[0]:.1f}" y2="{b[1]:.1f}"/>')
        parts += [marker(*spot, k, 4.5, f"<title>{escape(f'{one.key} {one.name}, {axes[i]}: {number(one.scores[axes[i]][0])}')}</title>") for i, spot in enumerate(spots) if spot]
    parts += [_text(middle + 4, centre - radius * r + 4, f"{r:g}", kind="dim") for r in (0.25, 0.5, 0.75)]
    desc = f"One axis for each of {', '.join(axes)}, from 0 in the middle to 1. " + ("A broken line: no score on that axis. " if any(len(s.scores) < len(axes) or any(v is None for v, _ in s.scores.values()) for s in series) else "")
    return _figure(name, title, desc + "The figures are in the table below it.", 340, "".join(parts), _scores_table(title, series))


# --- scatter ------------------------------------------------------------------------------------------------------------


def scatter(name: str, title: str, x_name: str, points: Sequence[Point], x_digits: int = 1) -> str:
    """Score against something else that is not negative, with 95 % intervals where there are some."""
    left, top, width, height = 40.0, 12.0, WIDTH - 60.0, 240.0
    ticks = _ticks(max((p.x for p in points), default=1.0))

    def at(x: float, y: float) -> tuple[float, float]:
        return left + width * x / ticks[-1], top + height * (1 - y)

    parts = [_line(left, at(0, v)[1], left + width, at(0, v)[1]) + _text(left - 6, at(0, v)[1] + 4, f"{v:g}", "end", "dim") for v in (0, 0.25, 0.5, 0.75, 1)]
    parts += [_line(at(v, 0)[0], top, at(v, 0)[0], top + height) + _text(at(v, 0)[0], top + height + 17, f"{v:g}", "middle", "dim") for v in ticks]
    parts += [_text(left + width, top + height + 36, x_name, "end", "name"), _text(left + 5, top + 12, "score", kind="name")]
    taken = [(x - 7, y + 4, 14.0) for p in points for x, y in [at(p.x, p.y)]]
    for p in points:
        x, y = at(p.x, p.y)
        if p.ci95:
            parts.append(_line(x, at(0, p.ci95[0])[1], x, at(0, p.ci95[1])[1], f"l{p.style % STYLES}"))
        parts.append(marker(x, y, p.style, 5.0, f"<title>{escape(p.name)}: {p.y:.3f} at {p.x:,.{x_digits}f}</title>"))
        if p.label:
            size = 8.0 * len(p.label)
            start = x + 9 if x + 9 + size <= WIDTH else x - 9 - size
            spot = _free(start, y + 4, size, taken, top + 10, top + height - 2)
            taken.append((start, spot, size))
            parts.append(_text(start, spot, p.label, kind="halo"))
    rows = [[p.name, number(p.y), interval(p.ci95), f"{p.x:,.{x_digits}f}"] for p in points]
    best = max(points, key=lambda p: p.y)
    desc = f"{len(points)} points; {x_name} from 0 to {ticks[-1]:g} across, score from 0 to 1 upwards. Highest: {best.name}, {best.y:.3f} at {best.x:,.{x_digits}f}."
    return _figure(name, title, desc, top + height + 44, "".join(parts), table(title, ["", "score", "95 % interval", x_name], rows))


def _free(x: float, y: float, size: float, taken: Sequence[tuple[float, float, float]], low: float, high: float) -> float:
    """Where a label does not lie upon another, as near to its point as can be."""
    for shift in sorted(range(-20, 21), key=abs):
        place = y + shift * 7.0
        if low <= place <= high and all(abs(place - oy) >= 13 or x + size < ox or ox + other < x for ox, oy, other in taken):
            return place
    return y


def _ticks(most: float) -> list[float]:
    """Four to seven round numbers from 0 to at least `most`."""
    if most <= 0:
        return [0.0, 1.0]
    raw = most / 5
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= raw * 0.999)
    return [round(step * i, 12) for i in range(math.ceil(most / step * 0.999) + 1)]
