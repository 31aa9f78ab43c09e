"""`mlb judge bias`, `sensitivity`, `diff`: how far a judge, the ranks by a rubric, and two gradings of a run may be believed."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import UserError

if TYPE_CHECKING:
    from rich.table import Table

    from ..bench.bias import Bias, Bound
    from ..bench.diff import Diff
    from ..bench.sensitivity import Sensitivity

Json = Annotated[bool, typer.Option("--json", help="As JSON.")]
WHAT = {
    "again": "asked again as it was", "place": "criterion after the record", "order": "criteria in reverse order",
    "length": "agent's turns padded",
}  # fmt: skip


def bias(
    labels: Annotated[Path, typer.Argument(help="Labelled dialogues (.jsonl), or K-QA's NLI_medical_annotator.csv.")],
    judge: Annotated[str, typer.Option(help="llm:MODEL, one judge.")],
    judge_base_url: Annotated[str | None, typer.Option(help="Endpoint of the judge's model; more under `judge` in --config.")] = None,
    judge_protocol: Annotated[str | None, typer.Option(help="How the model judges: rubric (the default) or mlb.")] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file with model settings, section `judge`.")] = None,
    run: Annotated[Path | None, typer.Option(help="The run that LABELS is a review of (mlb judge review).")] = None,
    under_test: Annotated[str | None, typer.Option(help="The model whose runs are judged: says whether it is of the judge's family. "
                                                        "Default: that of --run.")] = None,
    part: Annotated[str | None, typer.Option(help="Only this part of the set: tune or held.")] = None,
    seed: Annotated[int, typer.Option(help="Draws the padding.")] = 0,
    concurrency: Annotated[int, typer.Option(help="Dialogues at once.", min=1)] = 8,
    as_json: Json = False,
) -> None:
    """Does a judge change its verdicts for what should not matter: where the criterion stands, the order of criteria, the length of the talk?"""
    from random import Random

    from ..bench.bias import CHANGES, no_occasion, ungated
    from ..bench.bias import bias as measure
    from ..bench.review import labelled_set
    from ..bench.settings import RunSettings, judge_config, judge_flags
    from ..bench.store import read_header
    from ..judge.estimate import of_labels
    from ..judge.meaning import ModelJudge
    from ..llm.endpoint import ModelEdge
    from .table import family

    settings = RunSettings.of(judge=judge, judge_models=judge_config(judge, judge_flags(judge_base_url, judge_protocol), config))
    bench = settings.bench()
    model = bench.models[0] if len(bench.models) == 1 else None
    if bench.rules or not isinstance(model, ModelJudge):
        raise UserError(f"--judge {judge}: bias is of one judge of meaning; give one llm:MODEL")
    labelled = labelled_set(labels, run, part)
    ModelEdge.check(model.settings)
    if under_test is None and run is not None:
        tested = read_header(run).settings.model
        under_test = tested.model if tested else None

    rounds = 1 + len(CHANGES) - len(no_occasion(labelled, model))
    print(f"estimate: {of_labels(map(ungated, labelled), bench.models, rounds)}", file=sys.stderr)

    async def work() -> Bias:
        edge = ModelEdge()
        try:
            return await measure(labelled, model, edge, Random(f"{seed}/bias"), concurrency=concurrency)
        finally:
            await edge.aclose()

    found = asyncio.run(work())
    if as_json:
        print(json.dumps(found.model_dump(mode="json"), ensure_ascii=False, indent=2))
    else:
        _show_bias(found)
        if under_test is None:
            print("family   not known: name the model under test with --under-test MODEL")
        elif family(under_test) == family(model.settings.model):
            print(f"family   {under_test} and the judge {model.settings.model} are of one family: it may favour its like")
        else:
            print(f"family   {under_test} and the judge {model.settings.model} are of two families by their names")
    if not found.decided:
        raise typer.Exit(1)


def _show_bias(found: Bias) -> None:
    from rich.table import Table

    from .table import console

    out = console()
    share = "–" if found.met is None else f"{found.met:.0%}"
    out.print(f"{', '.join(found.judge)}: {found.items} labelled criteria, {found.decided} decided, {share} of them met", highlight=False, markup=False)
    table: Table = Table(box=None, pad_edge=False)
    table.add_column("changed")
    for name in ("n", "flipped", "95 % interval", "to met", "to unmet", "shift of met", "95 % interval", "lost"):
        table.add_column(name, justify="right")
    for e in found.effects:
        table.add_row(WHAT[e.change], str(e.pairs), _share(e.flipped.value), _between(e.flipped), str(e.to_met), str(e.to_unmet),
                      _share(e.shift.value, signed=True), _between(e.shift, signed=True), str(e.lost))  # fmt: skip
    out.print(table)
    for change, why in found.left_out.items():
        out.print(f"not measured: {WHAT[change]} ({why})", highlight=False)
    out.print("What the judge flips when asked again as it was is its noise; a bias is what a change flips beyond it, or a shift whose interval "
              "leaves out 0.", style="dim")  # fmt: skip
    usage = found.usage
    out.print(f"{usage.calls} calls, {usage.prompt_tokens} + {usage.completion_tokens} tokens", highlight=False)


def _share(value: float | None, *, signed: bool = False) -> str:
    return "–" if value is None else f"{value:+.1%}" if signed else f"{value:.1%}"


def _between(bound: Bound, *, signed: bool = False) -> str:
    return "–" if bound.low is None or bound.high is None else f"{_share(bound.low, signed=signed)} to {_share(bound.high, signed=signed)}"


def sensitivity(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of finished runs over the same scenarios.")],
    draws: Annotated[int, typer.Option(help="How many times all weights are drawn.", min=1, max=100_000)] = 200,
    seed: Annotated[int, typer.Option(help="Of the draws.", min=0)] = 0,
    by: Annotated[str, typer.Option(help="criterion: each criterion has a draw of its own; template: all of one template (G4 ...) share it.")] = "criterion",
    as_json: Json = False,
) -> None:
    """How far scores and ranks depend on the rubric's weights and caps: saved verdicts, scored again many times."""
    from ..bench.sensitivity import sensitivity as measure

    if by not in ("criterion", "template"):
        raise UserError(f"--by {by}: weights are drawn by criterion or by template")
    found = measure(runs, draws=draws, seed=seed, by="template" if by == "template" else "criterion")
    if as_json:
        print(json.dumps(found.model_dump(mode="json"), ensure_ascii=False, indent=2))
    else:
        _show_sensitivity(found)


def _show_sensitivity(found: Sensitivity) -> None:
    from rich.table import Table

    from .table import console, number

    out = console()
    out.print(f"{found.episodes} episodes; {found.draws} draws of all weights × 0.5 to 2, by {found.by}, seed {found.seed}", highlight=False)
    variants = list(found.runs[0].variants)
    table: Table = Table(box=None, pad_edge=False)
    table.add_column("run", overflow="fold")
    for name in ("score", "5 % to 95 %", "lowest to highest", *variants):
        table.add_column(name, justify="right")
    for r in sorted(found.runs, key=lambda r: -r.score):
        table.add_row(r.run, number(r.score), f"{r.low:.3f} – {r.high:.3f}", f"{r.lowest:.3f} – {r.highest:.3f}",
                      *(number(r.variants[v]) for v in variants))  # fmt: skip
    out.print(table)
    if found.ranks is None:
        return
    pairs: Table = Table(box=None, pad_edge=False)
    pairs.add_column("pair", overflow="fold")
    for name in ("difference", "order kept", *variants):
        pairs.add_column(name, justify="right")
    for p in found.pairs:
        pairs.add_row(f"{p.a} − {p.b}", f"{p.difference:+.3f}", f"{p.kept:.1%}", *("kept" if p.variants[v] else "turned" for v in variants))
    out.print(pairs)
    ranks = found.ranks
    out.print(f"Kendall's tau with the ranks as they are: mean {number(ranks.mean)}, 5 % {number(ranks.low)}, lowest {number(ranks.lowest)}; "
              f"all pairs keep their order in {ranks.same:.1%} of the draws", highlight=False)  # fmt: skip
    out.print("tau with one change: " + ", ".join(f"{name} {number(tau)}" for name, tau in ranks.variants.items()), highlight=False)
    if len(set(found.judges)) > 1:
        out.print(f"These runs were judged by different judges ({', '.join(dict.fromkeys(found.judges))}): their scores are not comparable.", style="yellow")


def diff(
    a: Annotated[Path, typer.Argument(metavar="RUN_A", help="A graded run.")],
    b: Annotated[Path, typer.Argument(metavar="RUN_B", help="The same trajectories, graded otherwise: mlb grade RUN_A --judge ... --out RUN_B.")],
    as_json: Json = False,
) -> None:
    """Two gradings of the same trajectories: which criteria changed, how far they agree, what became of the scores."""
    from ..bench.diff import diff as differing

    found = differing(a, b)
    if as_json:
        print(json.dumps(found.model_dump(mode="json"), ensure_ascii=False, indent=2))
    else:
        _show_diff(found)


SHOWN = 20  # templates and episodes that are listed; all are in --json


def _show_diff(found: Diff) -> None:
    from rich.table import Table

    from .table import console, number

    out = console()
    out.print(f"A = {found.a} ({found.judge_a})\nB = {found.b} ({found.judge_b})\n{found.episodes} episodes, {found.overall.criteria} criteria, "
              f"{found.overall.changed} with another verdict", highlight=False, markup=False, soft_wrap=True)  # fmt: skip
    if found.only_a or found.only_b:
        out.print(f"left out: {found.only_a} criteria only in A, {found.only_b} only in B (the rubric was another)", highlight=False)
    table: Table = Table(box=None, pad_edge=False)
    table.add_column("", overflow="fold")
    for name in ("criteria", "changed", "both decided", "kappa", "95 % interval", "score A", "score B"):
        table.add_column(name, justify="right")
    for name, part in (("overall", found.overall), *found.datasets.items()):
        scores = found.scores.get(name)
        low_high = "–" if part.low is None or part.high is None else f"{part.low:.3f} – {part.high:.3f}"
        table.add_row(name, str(part.criteria), str(part.changed), str(part.pairs), number(part.kappa), low_high,
                      number(scores.a if scores else None), number(scores.b if scores else None))  # fmt: skip
    out.print(table)
    changed = sorted(((n, p) for n, p in found.templates.items() if p.changed), key=lambda pair: (-pair[1].changed, pair[0]))
    for name, part in changed[:SHOWN]:
        said = ", ".join(f"{n} × {what}" for what, n in part.changes.items())
        out.print(f"{name}: {part.changed} of {part.criteria}: {said}", highlight=False, markup=False)
    if len(changed) > SHOWN:
        out.print(f"and {len(changed) - SHOWN} more templates; all are in --json")
    if found.moved:
        out.print(f"{len(found.moved)} episodes with another score:", highlight=False)
    for m in found.moved[:SHOWN]:
        out.print(f"  {m.episode} ({m.dataset})  {number(m.a)} -> {number(m.b)}", highlight=False, markup=False)
    if len(found.moved) > SHOWN:
        out.print(f"  and {len(found.moved) - SHOWN} more; all are in --json")
    if not found.overall.changed:
        out.print("no verdict differs")
