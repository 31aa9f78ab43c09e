"""`mlb judge sft`: train a judge of your own on people's labels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import UserError
from . import refusal

if TYPE_CHECKING:
    from ..judge.labels import Labelled
    from ..judge.sft import Training

PARTS = ("tune", "held", "all")
VLLM_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # --max-lora-rank takes these


def group() -> typer.Typer:
    """The commands under `mlb judge sft`."""
    app = typer.Typer(no_args_is_help=True, help="Train a judge of your own on people's labels (LoRA).")
    app.callback()(lambda: None)
    app.command("data")(data)
    app.command("train")(train)
    return app


def data(
    labels: Annotated[list[Path], typer.Argument(help="Labelled dialogues (.jsonl), K-QA's NLI_medical_annotator.csv, or with --run reviews.")],
    out: Annotated[Path, typer.Option(help="The training file to write (.jsonl).")],
    run: Annotated[Path | None, typer.Option(help="The run that LABELS are reviews of (mlb judge review).")] = None,
    part: Annotated[str, typer.Option(help="Which part of a set: tune, held or all. What is trained on can measure nothing any more.")] = "tune",
    lang: Annotated[str | None, typer.Option(help="Only zh or en. Default: both.")] = None,
    validation: Annotated[float, typer.Option(help="Share of the dialogues kept for validation; at least one of a language. 0: none.", min=0, max=0.5)] = 0.05,
    seed: Annotated[int, typer.Option(help="Of the split.")] = 0,
) -> None:
    """Build the training file: the judge's own prompts with the answers that people's labels imply."""
    import hashlib

    from ..judge.sftdata import build, write_examples
    from ..spec.base import LANGS

    if lang is not None and lang not in LANGS:
        raise UserError(f"--lang {lang}: there are {' and '.join(LANGS)}")
    if part not in PARTS:
        raise UserError(f"--part {part}: there are {', '.join(PARTS)}")
    if out.exists():
        raise UserError(f"'{out}' is there already; name a new file for --out")
    labelled = [d for d in (_reviewed(labels, run) if run is not None else _sets(labels, part)) if lang in (None, d.lang)]
    if not labelled:
        raise UserError(f"the labels hold nothing in {lang}")
    built = build(labelled, validation=validation, seed=seed)
    try:
        write_examples(out, built.examples)
    except OSError as error:
        raise refusal(f"'{out}'", error) from None
    for split in ("train", "validation"):
        own = [e for e in built.examples if e.split == split]
        print(f"{split:<11}{len(own):>6} examples, {len({e.dialogue for e in own})} dialogues, {sum(e.label == 'met' for e in own)} met, "
              f"{sum(e.label == 'unmet' for e in own)} unmet")  # fmt: skip
    if unnamed := sum(e.evidence == "all" for e in built.examples):
        print(f"{unnamed} answers name all turns of the agent, because nobody named the turns that decide")
    if built.undecidable:
        print(f"{built.undecidable} windows are left out: nobody named the turns that decide")
    if run is None and part != "tune":
        print("the part 'held' is in it: it cannot measure the judge any more")
    print(f"wrote {out} (sha256 {hashlib.sha256(out.read_bytes()).hexdigest()})\nnow: mlb judge sft train {out} --model FOLDER --out FOLDER")


def _sets(labels: list[Path], part: str) -> list[Labelled]:
    from ..judge.labels import read_labels

    found = [d for path in labels for d in read_labels(path)]
    chosen = [d.labelled() for d in found if part in ("all", d.part)]
    if not chosen:
        raise UserError(f"the labels hold nothing in the part '{part}'; all of it is '{found[0].part}': ask for it with --part {found[0].part}")
    return chosen


def _reviewed(labels: list[Path], run: Path) -> list[Labelled]:
    from ..bench.review import open_run, read_review
    from ..judge.labels import from_review

    for path in labels:
        if not path.is_file():
            raise UserError(f"'{path}': no such file")
    opened = open_run(run)
    verdicts = {q.key: q.verdict for q in opened.questions}
    found = from_review([label for path in labels for label in read_review(path)], opened.trajectories, opened.criteria, verdicts)
    if not found:
        raise UserError(f"{', '.join(map(str, labels))}: no label of met or unmet that a majority agrees on")
    return found


def train(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="The training file (mlb judge sft data).")],
    model: Annotated[Path, typer.Option(help="Folder of the base model: a chat model in transformers' format. Nothing is downloaded.")],
    out: Annotated[Path, typer.Option(help="The folder to write: adapter/, training.json, README.md, with --merge merged/.")],
    merge: Annotated[bool, typer.Option("--merge", help="Also write the whole model with the adapter in it.")] = False,
    rank: Annotated[int, typer.Option(help="LoRA: rank.", min=1)] = 16,
    alpha: Annotated[float, typer.Option(help="LoRA: alpha.")] = 32,
    dropout: Annotated[float, typer.Option(help="LoRA: dropout.")] = 0.05,
    targets: Annotated[str, typer.Option(help="LoRA: the layers, all-linear or names joined by commas.")] = "all-linear",
    epochs: Annotated[float, typer.Option(help="How often all examples.")] = 3,
    learning_rate: Annotated[float, typer.Option(help="The highest; cosine with a warm-up of 3 %.")] = 1e-4,
    batch: Annotated[int, typer.Option(help="Examples at once.", min=1)] = 1,
    accumulation: Annotated[int, typer.Option(help="Batches for one step.", min=1)] = 16,
    max_length: Annotated[int, typer.Option(help="Tokens of one example; longer ones are left out and counted.", min=16)] = 8192,
    checkpointing: Annotated[bool, typer.Option(help="Less memory for more time.")] = True,
    seed: Annotated[int, typer.Option(help="Of the adapter's first weights and the order of the examples.")] = 0,
) -> None:
    """Train a LoRA adapter on a training file (needs the extra `sft`; a GPU for anything but a toy)."""
    from pydantic import ValidationError

    from ..catalog.read import say
    from ..judge.sft import Settings
    from ..judge.sft import train as fit

    try:
        settings = Settings(rank=rank, alpha=alpha, dropout=dropout, targets=targets, epochs=epochs, learning_rate=learning_rate, batch=batch,
                            accumulation=accumulation, max_length=max_length, checkpointing=checkpointing, seed=seed)  # fmt: skip
    except ValidationError as error:
        problem, loc = say(error)
        raise UserError(f"--{str(loc[0]).replace('_', '-')}: {problem}") from None
    made = fit(data, model, out, settings, merge=merge, say=lambda text: print(text, flush=True))
    print("\n".join(_next(made, model, out)))


def _next(made: Training, model: Path, out: Path) -> list[str]:
    """How to serve and measure what was trained."""
    name = "judge-sft"
    lines = [f"wrote {out}", "", "serve it:"]
    if made.merged:
        lines.append(f"  vllm serve {out / 'merged'} --served-model-name {name}")
    else:
        rank = next((r for r in VLLM_RANKS if r >= made.settings.rank), made.settings.rank)
        lines.append(f"  vllm serve {model} --enable-lora --max-lora-rank {rank} --lora-modules {name}={out / 'adapter'}")
    return [*lines, "measure it on labels that it has not seen:",
            f"  mlb judge agree LABELS --judge llm:{name} --judge-base-url http://127.0.0.1:8000/v1 --part held"]  # fmt: skip
