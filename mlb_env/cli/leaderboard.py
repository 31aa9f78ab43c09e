"""`mlb leaderboard`: many runs in one order, and the published figures of MLB apart from them."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import UserError

if TYPE_CHECKING:
    from rich.table import Table

    from ..bench.leaderboard import Leaderboard, Standing


def leaderboard(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of finished runs.")],
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="As CSV.")] = False,
    references: Annotated[bool, typer.Option("--references/--no-references", help="With MLB's published figures, marked as such.")] = True,
) -> None:
    """Runs by their overall score, with cost, tokens and turns; MLB's published figures stand apart."""
    from ..bench.leaderboard import leaderboard as made
    from ..bench.leaderboard import read_runs
    from .table import console

    if as_json and as_csv:
        raise UserError("--json and --csv exclude each other")
    board = made(read_runs(runs))
    if not references:
        board = board.model_copy(update={"references": ()})
    if as_json:
        print(json.dumps(board.model_dump(mode="json"), ensure_ascii=False, indent=2))
        return
    if as_csv:
        _print_csv(board)
        return
    out = console()
    for edition in dict.fromkeys(s.edition for s in board.runs):
        own = [s for s in board.runs if s.edition == edition]
        out.print(f"\nedition {edition}", style="bold")
        for table in _tables(own, out.width):
            out.print(table)
            out.print()
    for line in board.warnings:
        out.print(line, style="yellow")
    if board.references:
        out.print(f"\nPublished by MLB's authors: {board.reference_note}.", style="bold")
        out.print(_references(board))
        for source in dict.fromkeys(r.source for r in board.references):
            out.print(f"Source: {source}. A ? is not known.", style="dim")


def _tables(runs: list[Standing], width: int) -> list[Table]:
    """One table where there is room for it, else scores and costs one below the other."""
    from .table import interval, number, percent

    dimensions = list(dict.fromkeys(d for s in runs for d in s.dimensions))
    names = [(str(s.rank), s.run) for s in runs]
    agents = [(Path(s.agent).name if s.agent.endswith(".py") else s.agent) + (f" ({s.model})" if s.model else "") for s in runs]
    scores: list[tuple[str, ...]] = [("overall", "95 % interval", *(d.removeprefix("Smart") for d in dimensions)),
              *((number(s.score), interval(s.ci95, 2), *(number(s.dimensions.get(d), 2) for d in dimensions)) for s in runs)]  # fmt: skip
    costs: list[tuple[str, ...]] = [("micro", "cover", "judged", "turns", "tokens", "US$"),
             *((number(s.micro), percent(s.coverage), percent(s.judged), f"{s.turns:.1f}", "–" if s.tokens is None else f"{s.tokens:,}",
                number(s.cost, 2)) for s in runs)]  # fmt: skip
    if width >= 130:
        return [_table(names, agents, [(*a, *b) for a, b in zip(scores, costs, strict=True)])]
    return [_table(names, agents, scores), _table(names, None, costs)]


def _table(names: list[tuple[str, str]], agents: list[str] | None, figures: list[tuple[str, ...]]) -> Table:
    from rich.table import Table

    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("", justify="right", no_wrap=True)
    table.add_column("run", overflow="fold")
    if agents is not None:
        table.add_column("agent", overflow="fold")
    for name in figures[0]:
        table.add_column(name, justify="right", no_wrap=True)
    for i, ((rank, run), row) in enumerate(zip(names, figures[1:], strict=True)):
        table.add_row(rank, run, *([] if agents is None else [agents[i]]), *row)
    return table


def _references(board: Leaderboard) -> Table:
    from rich.table import Table

    from ..spec.scenario import DIMENSIONS

    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("model (published)")
    for name in ("overall", *DIMENSIONS):
        table.add_column(name, justify="right")
    for r in board.references:
        table.add_row(r.model, *("?" if v is None else f"{v:.3f}" for v in (r.score, *(r.dimensions.get(d) for d in DIMENSIONS))))
    return table


def _print_csv(board: Leaderboard) -> None:
    """The runs, best first, then the published figures, with the column `comparable` saying which is which."""
    from ..bench.export import cell
    from ..spec.scenario import DIMENSIONS

    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["rank", "comparable", "run", "agent", "model", "edition", "lang", "patient", "judge", "episodes", "score", "low", "high", "micro",
                     *DIMENSIONS, "coverage", "judged", "tokens", "cost", "turns", "note"])  # fmt: skip

    def put(*values: Any) -> None:
        writer.writerow([cell(v) for v in values])

    for s in board.runs:
        low, high = s.ci95 or (None, None)
        put(s.rank, "yes", s.run, s.agent, s.model, s.edition, s.lang, s.patient, s.judge, s.episodes, s.score, low, high, s.micro,
            *(s.dimensions.get(d) for d in DIMENSIONS), s.coverage, s.judged, s.tokens, s.cost, s.turns, "")  # fmt: skip
    for r in board.references:
        put(None, "no", None, None, r.model, "published", "zh", None, None, None, r.score, None, None, None, *(r.dimensions.get(d) for d in DIMENSIONS),
            None, None, None, None, None, f"{board.reference_note}; {r.source}")  # fmt: skip
