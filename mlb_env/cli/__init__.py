"""The command line: parse, show, exit codes. No logic of its own.

Exit codes: 0 done; 1 done with episodes that a failure left ungraded, or failed checks, or a full disk; 2 the user's mistake;
130 interrupted.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..errors import MlbError

_LONGEST = 700  # characters of an error that are shown: a name may be as long as somebody likes
_FULL = (errno.ENOSPC, errno.EDQUOT)


def main() -> None:
    """The entry point `mlb`."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal that cannot show Chinese must not end the run
    code: str | int | None = 0
    try:
        try:
            code = _run()
        finally:
            sys.stdout.flush()  # here a failing output is still one sentence
    except OSError as error:
        code = _refused(error)
    sys.exit(code)


def refusal(what: str, error: OSError) -> MlbError:
    """The error for a file that could not be written: the user's mistake, unless the disk is full."""
    from ..errors import RunError, UserError

    return (RunError if error.errno in _FULL else UserError)(f"{what} cannot be written ({error.strerror})")


def _run() -> str | int | None:
    """Run the command; its exit code."""
    from ..errors import MlbError, UserError
    from .app import build

    try:
        build()(prog_name="mlb")
    except SystemExit as ended:
        return ended.code
    except UserError as error:
        _say(str(error))
        return 2
    except MlbError as error:
        _say(str(error))
        return 1
    return 0


def _refused(error: OSError) -> int:
    """The operating system refused something that nobody nearer knew what to say of: a path too long, an output that is full."""
    if sys.stdout is not None:
        with contextlib.suppress(OSError, ValueError):  # so that Python's own last flush does not complain
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if error.errno == errno.EPIPE:  # a reader that has seen enough (`| head`)
        return 1
    name = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else str(error.filename or "")
    short = name if len(name) <= 60 else name[:57] + "..."
    _say((f"'{short}' cannot be used: " if short else "the output cannot be written: ") + (error.strerror or str(error)))
    return 1 if error.errno in _FULL else 2


def _say(text: str) -> None:
    """One line on stderr; what came from a user's file cannot drive the terminal."""
    text = " ".join(text.split())
    if len(text) > _LONGEST:
        text = f"{text[: _LONGEST * 2 // 3]} ... {text[-_LONGEST // 3 :]}"
    shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    with contextlib.suppress(OSError):  # where stderr is full, too, the exit code has to do
        print("mlb: " + shown, file=sys.stderr)
