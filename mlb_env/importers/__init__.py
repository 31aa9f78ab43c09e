"""Importers: content in others' formats becomes a folder of scenarios and patients that can be played like our own.

A converter takes the source and an empty folder, writes into it and returns a report. What cannot be imported is reported.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from ..catalog.load import open_catalog
from ..errors import RunError, UserError
from .report import ImportReport, Skipped

__all__ = ["FORMATS", "ImportReport", "Skipped", "import_content"]

FORMATS: dict[str, str] = {  # format -> "module:function", imported when it is used
    "mlb-release": "mlb_env.importers.mlb_release:convert",
    "agentclinic": "mlb_env.importers.agentclinic:convert",
    "medagentbench": "mlb_env.importers.medagentbench:convert",
}


def import_content(format: str, src: Path, out: Path) -> ImportReport:
    """Convert `src` into the content folder `out`, which is made whole or not at all.

    Args:
        format: a key of FORMATS.
        src: file or folder in that format.
        out: a folder that does not exist yet, or an empty one.

    Raises:
        UserError: an unknown format; a source that is not there or holds nothing that can be imported; `out` in use.
        RunError: the result cannot be written.
    """
    if format not in FORMATS:
        raise UserError(f"there is no import format '{format}' (there are: {', '.join(sorted(FORMATS))})")
    if not src.exists():
        raise UserError(f"the source '{src}' does not exist")
    if out.exists() and not out.is_dir():
        raise UserError(f"'{out}' is a file; name a new folder")
    if out.is_dir() and any(out.iterdir()):
        raise UserError(f"the folder '{out}' is not empty; name a new one, or empty it")
    module, _, function = FORMATS[format].partition(":")
    convert: Callable[[Path, Path], ImportReport] = getattr(import_module(module), function)
    try:
        out.absolute().parent.mkdir(parents=True, exist_ok=True)
        holder = Path(tempfile.mkdtemp(prefix=f".{out.name}-import-", dir=out.absolute().parent))
    except OSError as error:
        raise UserError(f"'{out}' cannot be written ({error.strerror}); name another folder") from None
    try:
        work = holder / "content"
        work.mkdir()
        report = convert(src, work)
        if not report.written:
            raise UserError(_nothing(src, report))
        try:
            open_catalog([work], bundled=False)
        except UserError as error:
            raise UserError(f"what was made of '{src}' cannot be loaded: {str(error).replace(str(work), str(out))}") from None
        if out.is_dir():
            out.rmdir()
        work.rename(out)
    except OSError as error:
        raise RunError(f"'{out}' cannot be written ({error.strerror}); nothing was left there") from None
    finally:
        shutil.rmtree(holder, ignore_errors=True)
    return report


def _nothing(src: Path, report: ImportReport) -> str:
    first = "; ".join(f"{s.where}: {s.reason}" for s in report.skipped[:3])
    more = f" (and {len(report.skipped) - 3} more)" if len(report.skipped) > 3 else ""
    return f"nothing in '{src}' can be imported as {report.format}" + (f": {first}{more}" if first else "")
