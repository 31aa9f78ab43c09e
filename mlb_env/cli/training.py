"""`mlb judge train`: train a learned judge, the small model that decides criteria of meaning offline."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import UserError
from ..spec.base import LANGS, Lang
from . import refusal

if TYPE_CHECKING:
    from ..judge.embed import Embedder
    from ..judge.fit import Trained


def train(
    labels: Annotated[list[Path], typer.Argument(help="Labelled dialogues (.jsonl); of each only the part `tune`.")],
    out: Annotated[Path, typer.Option("--out", help="The folder to write; must not exist.")],
    embeddings: Annotated[list[str] | None, typer.Option(
        help="Sentence embeddings as further features (extra embed): a sentence-transformers model, by name or folder; en=MODEL for one language only.")] = None,
    kqa: Annotated[Path | None, typer.Option(help="K-QA's NLI_medical_annotator.csv, to learn from, too. What it has seen cannot measure it any more.")] = None,
) -> None:
    """Train a learned judge on labelled criteria and our own examples; then mlb run --judge rules+learned:FOLDER."""
    import hashlib

    from ..judge import fit
    from ..judge.labels import read_labels

    if out.exists():
        raise UserError(f"'{out}' is there already; name a new folder for --out")
    labelled = [d.labelled() for path in labels for d in read_labels(path) if path.suffix != ".csv" and d.part == "tune"]
    if kqa is not None:
        labelled += [d.labelled() for d in read_labels(kqa)]
    embed = _embedders(embeddings or [])
    if not labelled:
        raise UserError("the labels hold no part 'tune'; what is held is for measuring")
    made = fit.train(labelled, embed=embed)
    sources = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (*labels, *([kqa] if kqa else []))}
    try:
        out.mkdir(parents=True)
        card = fit.save(made, out, sources)
    except OSError as error:
        raise refusal(f"'{out}'", error) from None
    _show(made)
    print("models   " + ", ".join(f"{lang} {sha[:8]}" for lang, sha in card.models.items()) + f"\nwrote    {out}; now: mlb judge agree LABELS --judge learned:{out}")


def _embedders(given: list[str]) -> dict[Lang, Embedder]:
    from ..judge.embed import embedder

    named: dict[Lang, str] = {}
    for text in given:
        lang = next((lang for lang in LANGS if text.startswith(f"{lang}=")), None)
        name = text if lang is None else text.removeprefix(f"{lang}=")
        if not name:
            raise UserError(f"--embeddings '{text}': no model named; use --embeddings MODEL or --embeddings en=MODEL")
        named.update(dict.fromkeys([lang] if lang else LANGS, name))
    return {lang: embedder(name) for lang, name in named.items()}


def _show(made: Trained) -> None:
    for name in ("accuracy", "precision", "recall", "F1", "kappa"):
        e = made.figures[name]
        value = "–" if e.value is None else f"{e.value:.3f}"
        between = "" if e.low is None or e.high is None else f"  ({e.low:.3f} – {e.high:.3f})"
        print(f"{name:<10}{value}{between}")
    print(f"cross-validated by dialogue over {len(made.pairs)} rows; {made.coverage:.0%} of the labelled criteria decided")
