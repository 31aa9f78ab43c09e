"""`mlb grade`, `mlb report`, `mlb compare`: what runs came to."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import UserError
from . import refusal

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from ..bench.compare import Comparison, Difference
    from ..bench.store import RunHeader
    from ..bench.summary import Summary

Json = Annotated[bool, typer.Option("--json", help="As JSON.")]


def grade(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a finished run.")],
    write: Annotated[bool, typer.Option("--write", help="Replace the run's verdicts and summary.")] = False,
    out: Annotated[Path | None, typer.Option("--out", help="Write the run with the new verdicts to this new folder.")] = None,
    judge: Annotated[str | None, typer.Option(help="rules (the default), rules+llm:MODEL, rules+learned, several joined by +, or llm:MODEL alone.")] = None,
    judge_base_url: Annotated[str | None, typer.Option(help="Endpoint of the judge's models; more under `judge` in --config.")] = None,
    judge_protocol: Annotated[str | None, typer.Option(help="How models judge: rubric (JSON with evidence, the default) or mlb "
                                                            "(MLB's one-word verdicts).")] = None,
    judge_vote: Annotated[str | None, typer.Option(help="Several judges: majority (the default) or unanimous.")] = None,
    calibration: Annotated[Path | None, typer.Option(help="A measurement of the judge: mlb judge agree --save.")] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file with model settings, section `judge`.")] = None,
    estimate: Annotated[bool, typer.Option("--estimate", help="Say how many calls of judges' models it takes, and ask none.")] = False,
) -> None:
    """Judge saved trajectories again, by rules or by models; without --write or --out nothing is changed."""
    import asyncio

    from ..bench.regrade import aregrade
    from ..bench.regrade import estimate as cost_of
    from ..bench.settings import RunSettings, judge_config, judge_flags
    from .table import console, show_run

    if write and out is not None:
        raise UserError("--write and --out exclude each other")
    given = {"judge": judge, "judge_vote": judge_vote,
             "judge_models": judge_config(judge, judge_flags(judge_base_url, judge_protocol), config) or None}  # fmt: skip
    given = {k: v for k, v in given.items() if v is not None}
    if calibration is not None:
        from .run import calibrated

        given["calibration"] = calibrated(calibration, given)
    settings = RunSettings.of(**given)
    if settings.judge == "none":
        raise UserError("--judge none: there is nothing to judge with; leave it out for the rules")
    if estimate:
        if not settings.judge_models:
            raise UserError(f"--estimate: --judge {settings.judge} asks no model; add --judge rules+llm:MODEL")
        print(cost_of(run, settings))
        return
    new = asyncio.run(aregrade(run, settings, before=lambda cost: print(f"estimate: {cost}", file=sys.stderr)))
    if out is not None:
        new.copy(out)
    elif write:
        new.write()
    show = console()
    show_run(show, new.header, new.summary, out or run)
    for name in new.content_changed:
        show.print(f"note    the content of {name} has changed since the run; the verdicts above are by what it is now")
    done = f"written to {out}" if out else "written" if write else "nothing written (--write or --out DIR keeps them)"
    changed = f"{len(new.changed)} of {len(new.judgements)} judgements differ from the saved ones" if new.changed else (
        f"all {len(new.judgements)} judgements are identical to the saved ones"
    )  # fmt: skip
    if not new.saved:
        changed = f"{len(new.judgements)} judgements made, as there were none"
    show.print(f"grade   {changed}; {done}")
    if new.summary.overall.ungraded:
        raise typer.Exit(1)


def merge(
    shards: Annotated[list[Path], typer.Argument(metavar="SHARD...", help="The finished runs of all parts (mlb run --shard 1/4, 2/4 ...).")],
    out: Annotated[Path, typer.Option("--out", help="The folder of the whole run; must not exist.")],
) -> None:
    """Put the shards of a run together: the same files as of a run in one piece."""
    from ..bench.merge import merged
    from ..bench.store import read_header
    from .table import console, show_run

    summary = merged(shards, out)
    show_run(console(), read_header(out), summary, out)
    if summary.overall.ungraded:
        raise typer.Exit(1)


# --- report -------------------------------------------------------------------------------------------------------------


def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of finished runs.")],
    by: Annotated[str | None, typer.Option("--by", help="Figures by specialty, lang, persona or difficulty, too.")] = None,
    csv_file: Annotated[Path | None, typer.Option("--csv", help="Write the figures to this CSV file, too.")] = None,
    html: Annotated[Path | None, typer.Option("--html", help="Write one self-contained page: leaderboard, charts, figures, and every dialogue with its verdicts.")] = None,
    dialogues: Annotated[bool, typer.Option("--dialogues/--no-dialogues", help="Whether the page holds the dialogues, too.")] = True,
    as_json: Json = False,
) -> None:
    """One run: its table again. Several: a leaderboard."""
    from ..bench.store import read_header, read_summary
    from ..bench.summary import GROUPINGS
    from .table import console, show_run

    if by is not None and by not in GROUPINGS:
        raise UserError(f"--by {by}: figures are by {', '.join(GROUPINGS[:-1])} or {GROUPINGS[-1]}")
    found = [(folder, read_header(folder), read_summary(folder)) for folder in runs]
    if csv_file is not None:
        _write_csv(csv_file, found)
    if html is not None:
        _write_html(html, found, dialogues)
    if as_json:
        rows = [{"run": str(f), "header": h.model_dump(mode="json"), "summary": s.model_dump(mode="json")} for f, h, s in found]
        print(json.dumps(rows, ensure_ascii=False, indent=2))
    elif len(found) == 1:
        folder, header, summary = found[0]
        show_run(console(), header, summary, folder)
    else:
        _leaderboards(console(), found)
    if by is not None and not as_json:
        _show_groups(console(), found, by)


def _show_groups(out: Console, found: list[tuple[Path, RunHeader, Summary]], by: str) -> None:
    """Runs of an older version have no groups in their summary; theirs are counted from the episodes."""
    from ..bench.store import read_groups
    from .table import by_group

    groups = [(folder.name, read_groups(folder, summary).get(by, {})) for folder, _, summary in found]
    out.print()
    if any(own for _, own in groups):
        out.print(by_group(groups, by))
        out.print("Each is scored as overall is, over its own episodes: they differ in datasets, too, not only in what they are named for.", style="dim")
    else:
        out.print(f"No episode has a {by}.")


def _write_html(file: Path, found: list[tuple[Path, RunHeader, Summary]], dialogues: bool) -> None:
    from .html import page

    try:
        with file.open("w", encoding="utf-8", newline="\n") as stream:
            stream.writelines(page(found, dialogues=dialogues))
    except OSError as error:
        raise refusal(f"'{file}'", error) from None


def _leaderboards(out: Console, found: list[tuple[Path, RunHeader, Summary]]) -> None:
    """One board for each edition: they are never set side by side."""
    from ..bench.leaderboard import in_order, warnings

    editions = list(dict.fromkeys(h.edition for _, h, _ in found))
    for edition in editions:
        own = in_order([x for x in found if x[1].edition == edition])
        out.print()
        if len(editions) > 1:
            out.print(f"edition {edition}", style="bold")
        out.print(_board(own))
        for line in warnings(own):
            out.print(line, style="yellow")


def _board(own: list[tuple[Path, RunHeader, Summary]]) -> Table:
    from rich.table import Table

    from .table import agent_label, interval, number, percent

    dimensions = list(dict.fromkeys(d for _, _, s in own for d in s.dimensions))
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("agent", overflow="fold")
    table.add_column("overall", justify="right", style="bold", no_wrap=True)
    table.add_column("95 % interval", justify="right", no_wrap=True)
    for name in dimensions:
        table.add_column(name.removeprefix("Smart"), justify="right", no_wrap=True)
    table.add_column("cover", justify="right", no_wrap=True)
    table.add_column("run", overflow="fold", style="dim")
    for folder, header, summary in own:
        scores = [number(g.score if (g := summary.dimensions.get(d)) else None, 2) for d in dimensions]
        o = summary.overall
        table.add_row(agent_label(header), number(o.score), interval(o.ci95, 2), *scores, percent(summary.coverage), str(folder))
    return table


def _write_csv(path: Path, found: list[tuple[Path, RunHeader, Summary]]) -> None:
    """One line a run and group: overall, each dimension, each dataset, the mean of all items, each specialty, language, persona, difficulty."""
    from ..bench.export import cell

    head = ["run", "agent", "model", "edition", "lang", "seed", "trials", "coverage", "group", "name", "score", "low", "high", "n",
            "scored", "ungraded", "criteria_judged", "score_lenient"]  # fmt: skip
    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(head)
            for folder, header, summary in found:
                s = header.settings
                start: list[Any] = [str(folder), s.agent, s.model.model if s.model else "", header.edition, s.lang or "", s.seed,
                                    s.trials, summary.coverage]  # fmt: skip
                groups = [("overall", "overall", summary.overall), *(("dimension", n, g) for n, g in summary.dimensions.items()),
                          *(("dataset", n, g) for n, g in summary.datasets.items()), *([("micro", "micro", summary.micro)] if summary.micro else []),
                          *((by, n, g) for by, own in summary.groups.items() for n, g in own.items())]  # fmt: skip
                for kind, name, g in groups:
                    low, high = g.ci95 or (None, None)
                    row = [*start, kind, name, g.score, low, high, g.n, g.scored, g.ungraded, g.criteria_judged, g.score_lenient]
                    writer.writerow([cell(value) for value in row])
    except OSError as error:
        raise refusal(f"--csv {path}:", error) from None


# --- compare ------------------------------------------------------------------------------------------------------------


def compare(
    a: Annotated[Path, typer.Argument(metavar="A", help="The folder of a finished run.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="Another one, over the same scenarios.")],
    as_json: Json = False,
) -> None:
    """Is B better than A? Paired over common episodes, with intervals and p values by case family."""
    from ..bench.compare import compare as compared
    from .table import console

    found = compared(a, b)
    if as_json:
        print(json.dumps(found.model_dump(mode="json"), ensure_ascii=False, indent=2))
        return
    show = console()
    show.print(f"\nA = {a}\nB = {b}\n", soft_wrap=True)
    show.print(_differences(found))
    show.print(_power(found.overall))
    show.print("\nB − A over common items; w/l/t: items won, lost, tied by B; p by flipping the signs of whole families.", style="dim")
    if found.only_a or found.only_b or found.unscored:
        show.print(f"Left out: {found.only_a} episodes only in A, {found.only_b} only in B, {found.unscored} without a score in "
                   "one of them.")  # fmt: skip


def _power(d: Difference) -> str:
    """What such a comparison can find at all: without it, "no difference" says nothing."""
    if d.detectable is None:
        return "\nPower: cannot be told (" + ("one family only" if d.clusters < 2 else "the families do not differ in B − A") + ")."
    found = f"\nPower: with these {d.clusters} families a true difference of {d.detectable:.3f} is found in 80 % of such comparisons (two-sided 5 %)"
    return found + ("." if abs(d.difference) >= d.detectable or d.p < 0.05 else "; a smaller one may be there and stay unseen.")


def _differences(found: Comparison) -> Table:
    from rich.table import Table

    from .table import number

    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("", no_wrap=True)
    for name in ("items", "A", "B", "B − A", "95 % interval", "p", "p Holm", "w/l/t"):
        table.add_column(name, justify="right", no_wrap=True)
    rows = [*((f"  {n}", d, "") for n, d in found.datasets.items()), ("overall", found.overall, "bold")]
    for name, d, style in rows:
        low_high = f"{d.ci95[0]:+.2f} – {d.ci95[1]:+.2f}" if d.ci95 else "–"
        table.add_row(name, str(d.items), number(d.a), number(d.b), f"{d.difference:+.3f}", low_high, _p(d.p),
                      _p(d.p_holm) if d.p_holm is not None else "", f"{d.wins}/{d.losses}/{d.ties}", style=style)  # fmt: skip
    return table


def _p(value: float) -> str:
    return "<0.001" if value < 0.001 else f"{value:.3f}"
