"""`mlb judge`: measure judges against people's labels, list what judges disagree on; `mlb judge sft` trains one (`sft.py`)."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ..errors import UserError
from . import refusal, training, trust

if TYPE_CHECKING:
    from ..bench.agree import Agreement
    from ..bench.review import Question
    from ..judge.agreement import Estimate

Label = Literal["met", "unmet", "not_applicable", "skip"]


def group() -> typer.Typer:
    """The commands under `mlb judge`."""
    from .sft import group as sft

    app = typer.Typer(no_args_is_help=True, help="Measure judges against people's labels, and train one.")
    app.callback()(lambda: None)
    app.command("agree")(agree)
    app.command("review")(review)
    app.command("disagreements")(disagreements)
    app.add_typer(sft(), name="sft")
    app.command("train")(training.train)
    app.command("bias")(trust.bias)
    app.command("sensitivity")(trust.sensitivity)
    app.command("diff")(trust.diff)
    return app


def agree(
    labels: Annotated[Path, typer.Argument(help="Labelled dialogues (.jsonl), or K-QA's NLI_medical_annotator.csv.")],
    judge: Annotated[str, typer.Option(help="llm:MODEL, learned, learned:FOLDER, several joined by + (a panel); or rules, with --run.")],
    judge_base_url: Annotated[str | None, typer.Option(help="Endpoint of the judge's models; more under `judge` in --config.")] = None,
    judge_protocol: Annotated[str | None, typer.Option(help="How models judge: rubric (JSON with evidence, the default) or mlb "
                                                            "(MLB's one-word verdicts).")] = None,
    judge_vote: Annotated[str, typer.Option(help="Several judges: majority or unanimous.")] = "majority",
    config: Annotated[Path | None, typer.Option(help="YAML file with model settings, section `judge`.")] = None,
    run: Annotated[Path | None, typer.Option(help="The run that LABELS is a review of (mlb judge review).")] = None,
    part: Annotated[str | None, typer.Option(help="Only this part of the set: tune or held; of a review, half of the episodes each.")] = None,
    repeat: Annotated[int, typer.Option(help="How often; beyond the first, for consistency with itself.", min=1, max=20)] = 1,
    concurrency: Annotated[int, typer.Option(help="Dialogues at once.", min=1)] = 8,
    save: Annotated[Path | None, typer.Option(help="Write the measurement here, for --calibration of run and grade.")] = None,
) -> None:
    """How far a judge agrees with people: kappa and its like with intervals, by kind; coverage, consistency, cost."""
    from ..bench.agree import agree as measure
    from ..bench.agree import calibration
    from ..bench.review import labelled_set
    from ..bench.settings import RunSettings, judge_config, judge_flags
    from ..judge.estimate import of_labels
    from ..llm.endpoint import ModelEdge

    if judge == "rules":
        _agree_rules(labels, run, part, save)
        return
    if save is not None and save.exists():
        raise UserError(f"'{save}' is there already; name a new file for --save")
    settings = RunSettings.of(judge=judge, judge_vote=judge_vote,
                              judge_models=judge_config(judge, judge_flags(judge_base_url, judge_protocol), config))  # fmt: skip
    bench = settings.bench()
    if bench.rules or not bench.models:
        raise UserError(f"--judge {judge}: labels of meaning are for judges of meaning; give llm:MODEL or learned, or several joined by + "
                        "(or rules alone, for the criteria of a run that rules decide)")  # fmt: skip
    labelled = labelled_set(labels, run, part)
    for model in settings.judge_models:
        ModelEdge.check(model.settings())
    if settings.judge_models:
        print(f"estimate: {of_labels(labelled, bench.models, repeat)}", file=sys.stderr)

    async def work() -> Agreement:
        edge = ModelEdge()
        try:
            return await measure(labelled, bench.models, edge, voting=bench.voting, repeat=repeat, concurrency=concurrency)
        finally:
            await edge.aclose()

    found = asyncio.run(work())
    _show(found, judge)
    if save is not None:
        try:
            save.write_text(calibration(found, labels).model_dump_json(indent=1) + "\n", encoding="utf-8", newline="\n")
        except OSError as error:
            raise refusal(f"'{save}'", error) from None
        print(f"saved    {save}")
    if not found.pairs:
        raise typer.Exit(1)


def _agree_rules(labels: Path, run: Path | None, part: str | None, save: Path | None) -> None:
    """As `agree`, for the criteria that rules decide: nobody is asked, so nothing is repeated or paid for."""
    from ..bench.agreerules import agree_rules

    if run is None:
        raise UserError("--judge rules: rules read the structure of an episode (calls, ledger, record), which dialogues do not hold; give labels of "
                        "a run, and the run with --run")  # fmt: skip
    if save is not None:
        raise UserError("--save: a calibration is of judges of meaning; --judge rules needs none")
    found = agree_rules(labels, run, part)
    _show(found, "rules")
    if not found.pairs:
        raise typer.Exit(1)


def _show(found: Agreement, judge: str) -> None:
    from rich.table import Table

    from .table import console

    out = console()
    out.print(f"{judge}: {found.items} labelled criteria, {len(found.pairs)} decided (coverage {found.coverage:.0%}), "
              f"{found.base_rate:.0%} of them met", highlight=False)  # fmt: skip
    if found.pairs:
        table = Table(box=None, pad_edge=False)
        table.add_column("figure")
        for name in ("value", "95 % interval", "always met"):
            table.add_column(name, justify="right")
        always = _always(found)
        for name, estimate in found.figures.items():
            table.add_row(name, _number(estimate.value), _interval(estimate), _number(always[name].value))
        out.print(table)
        parts = Table(box=None, pad_edge=False)
        parts.add_column("part")
        for name in ("n", "accuracy", "F1", "kappa"):
            parts.add_column(name, justify="right")
        for name, (n, figures) in found.by.items():
            parts.add_row(name, str(n), *(_number(figures[f].value) for f in ("accuracy", "F1", "kappa")))
        out.print(parts)
    if found.people is not None:
        out.print(f"people among themselves: kappa {found.people:.3f} (mean over pairs of annotators)", highlight=False)
    if found.repeats is not None:
        out.print(f"the same verdict when asked again: {found.repeats:.1%}", highlight=False)
    if found.not_applicable is not None:
        both, rules, people = found.not_applicable
        out.print(f"not applicable: {both} by rules and people, {rules} by rules alone, {people} by people alone", highlight=False)
    for reason, number in sorted(found.undecided.items(), key=lambda pair: -pair[1])[:5]:
        out.print(f"not decided: {number} × {reason}", highlight=False, markup=False)
    usage = found.usage
    if not found.judges:
        return
    out.print(f"{usage.calls} calls, {usage.prompt_tokens} + {usage.completion_tokens} tokens; judged by {', '.join(found.judges)}", highlight=False,
              markup=False)  # fmt: skip


def _always(found: Agreement) -> dict[str, Estimate]:
    """The same figures for a judge that says met to everything."""
    from ..judge.agreement import Pair, estimates

    return estimates([Pair(p.group, p.people, True) for p in found.pairs])


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _interval(estimate: Estimate) -> str:
    return "–" if estimate.low is None or estimate.high is None else f"{estimate.low:.3f} – {estimate.high:.3f}"


def review(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a finished run.")],
    annotator: Annotated[str, typer.Option(help="Your id in the labels; no name is needed.")],
    out: Annotated[Path, typer.Option("--out", help="The file of labels; what is there already is gone on with.")],
    disputed: Annotated[bool, typer.Option("--disputed", help="Only what the judges of the run differ on.")] = False,
    sample: Annotated[int | None, typer.Option(help="A sample of so many criteria.", min=1)] = None,
    seed: Annotated[int, typer.Option(help="Of the sample: the same for all annotators.")] = 0,
) -> None:
    """Label what needs meaning, dialogue by dialogue, without seeing which model played or how it was judged."""
    from ..bench.review import chosen, keep, open_run, read_review
    from ..judge.labels import ReviewLabel

    questions = chosen(open_run(run), disputed=disputed, sample=sample, seed=seed)
    mine = {(r.dataset, r.episode, r.criterion) for r in read_review(out) if r.annotator == annotator}
    waiting = [q for q in questions if q.key not in mine]
    print(f"{len(questions)} criteria, {len(questions) - len(waiting)} labelled by {annotator}, {len(waiting)} to go")
    shown = ""
    done = 0
    for number, question in enumerate(waiting, 1):
        if question.trajectory.episode != shown:
            shown = question.trajectory.episode
            _dialogue(question)
        label = _asked(question, f"{number}/{len(waiting)}")
        if label is None:
            break
        try:
            keep(out, ReviewLabel(episode=question.trajectory.episode, dataset=question.trajectory.dataset, criterion=question.criterion.id,
                                  annotator=annotator, label=label))  # fmt: skip
        except OSError as error:
            raise refusal(f"'{out}'", error) from None
        done += 1
    print(f"\n{done} labels written to {out}; go on with the same command" if done < len(waiting) else f"\nall done; the labels are in {out}")


def _dialogue(question: Question) -> None:
    """The record, as a judge sees it."""
    from rich.text import Text

    from ..judge.window import lines
    from .table import console

    out = console()
    out.rule(f"{question.trajectory.dataset}, {question.trajectory.lang}")
    for _, line in lines(question.trajectory):
        head, _, rest = line.partition(" | ")
        style = {"agent": "bold", "patient": "cyan"}.get(head.partition(" ")[2], "dim")
        out.print(Text(f"{head:<16} ") + Text(rest, style=style), soft_wrap=True)


def _asked(question: Question, place: str) -> Label | None:
    """The person's label; None to stop."""
    criterion, lang = question.criterion, question.trajectory.lang
    way = "met when nothing bad happened" if criterion.kind == "safety" else "met when it was done"
    print(f"\n[{place}] {criterion.text[lang]}  ({criterion.kind}: {way})")
    answers: dict[str, Label] = {"m": "met", "u": "unmet", "n": "not_applicable", "s": "skip"}
    while True:
        try:
            typed = input("m met, u unmet, n not applicable, s skip, d dialogue again, q stop > ").strip().lower()
        except (EOFError, KeyboardInterrupt):
            return None
        if typed == "q":
            return None
        if typed == "d":
            _dialogue(question)
        elif typed in answers:
            return answers[typed]
        else:
            print("please type one of the letters")


def disagreements(run: Annotated[Path, typer.Argument(metavar="RUN", help="A run that a panel of models judged.")]) -> None:
    """List the criteria on which the judges of a run differ: for a person to settle."""
    from ..bench.store import read_header, read_judgements
    from ..judge.grade import disagreements as differing

    read_header(run)
    found = differing(list(read_judgements(run)))
    for judgement, verdict in found:
        print(f"{judgement.episode}  {verdict.criterion}  -> {verdict.verdict}")
        for vote in verdict.votes:
            turns = ", ".join(f"T{e}" for e in vote.evidence)
            print(f"    {vote.judge}: {vote.verdict}" + (f" ({turns})" if turns else "") + (f": {vote.reason}" if vote.reason else ""))
    print(f"{len(found)} disagreements; read a dialogue with: mlb replay {run} EPISODE" if found else "the judges of this run disagree on nothing")
