"""`mlb import`: other people's benchmarks as folders that `mlb run --scenarios` plays."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def import_(
    format_: Annotated[str, typer.Argument(metavar="FORMAT", help="mlb-release, agentclinic or medagentbench.")],
    source: Annotated[Path, typer.Argument(metavar="SRC", help="The file or folder to read.")],
    out: Annotated[Path, typer.Option("--out", help="The folder to write; must not exist, or be empty.")],
) -> None:
    """Turn a published format into scenarios."""
    from ..importers import import_content
    from .table import console

    report = import_content(format_, source, out)
    shown = console()
    for name, count in report.written.items():
        shown.print(f"{name:<16} {count:>6}")
    for note in report.notes:
        shown.print(f"note: {note}")
    for skipped in report.skipped[:20]:
        shown.print(f"skipped {skipped.where}: {skipped.reason}")
    if len(report.skipped) > 20:
        shown.print(f"and {len(report.skipped) - 20} more skipped")
    shown.print(f"{sum(report.written.values())} written to {out}, {len(report.skipped)} skipped")
    shown.print(f"next: mlb run --scenarios {out}")
