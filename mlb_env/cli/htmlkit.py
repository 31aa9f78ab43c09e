"""Small pieces of the report page: figures as text, tables, and text that is already HTML."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from ..bench.stats import Interval


class Html(str):
    """Text that is HTML already and is not escaped again."""

    __slots__ = ()


def text(value: str) -> str:
    """As HTML."""
    return value if isinstance(value, Html) else escape(value)


def number(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def interval(value: Interval | None, digits: int = 3) -> str:
    return f"{value[0]:.{digits}f} – {value[1]:.{digits}f}" if value else "–"


def table(caption: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table that scrolls by itself where the screen is narrow, with the keyboard, too. A first cell that begins with a blank stands in."""
    head = "".join(f'<th scope="col">{text(h)}</th>' for h in heads)
    body = "".join(
        f'<tr><th scope="row"{" class=sub" if r[0].startswith(" ") else ""}>{text(r[0]).strip()}</th>' + "".join(f"<td>{text(c)}</td>" for c in r[1:]) + "</tr>"
        for r in rows
    )
    return (f'<div class="wide" tabindex="0" role="region" aria-label="{escape(caption)}"><table><caption><span>{escape(caption)}</span></caption><thead><tr>{head}</tr>'
            f"</thead><tbody>{body}</tbody></table></div>")  # fmt: skip


def folded(label: str, inside: str, opened: bool = False) -> str:
    """What is there, and shown on demand."""
    return f"<details class=\"f\"{' open' if opened else ''}><summary>{escape(label)}</summary>{inside}</details>"
