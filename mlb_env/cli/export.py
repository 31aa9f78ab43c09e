"""`mlb export`: runs as tables for other tools."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import UserError
from . import refusal


def export(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of finished runs.")],
    out: Annotated[Path, typer.Option("--out", help="The file to write; one that is there is replaced.")],
    form: Annotated[str | None, typer.Option("--format", help="csv, json or parquet; by default what --out ends with.")] = None,
    what: Annotated[str, typer.Option("--what", help="episodes: one row each; verdicts: one row a criterion.")] = "episodes",
) -> None:
    """Write one row an episode, or one row a verdict, as CSV, JSON or Parquet."""
    from ..bench.export import FORMATS, WHATS
    from ..bench.export import export as exported

    wanted = form or out.suffix.removeprefix(".")
    chosen = next((f for f in FORMATS if f == wanted), None)
    if chosen is None:
        raise UserError(f"--format {wanted or '(none)'}: there are {', '.join(FORMATS)}; give one of them, or an --out that ends with it")
    kind = next((w for w in WHATS if w == what), None)
    if kind is None:
        raise UserError(f"--what {what}: there are {' and '.join(WHATS)}")
    try:
        count = exported(runs, kind, chosen, out)
    except OSError as error:
        raise refusal(f"--out {out}:", error) from None
    print(f"{count:,} {kind if count != 1 else kind.removesuffix('s')} written to {out}")
