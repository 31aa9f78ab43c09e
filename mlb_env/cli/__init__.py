"""The command line: parse, show, exit codes. No logic of its own.

Exit codes: 0 done; 1 done with episodes that a failure left ungraded, or failed checks; 2 the user's mistake; 130 interrupted.
"""

from __future__ import annotations

import sys


def main() -> None:
    """The entry point `mlb`."""
    from ..errors import MlbError, UserError
    from .app import build

    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal that cannot show Chinese must not end the run
    try:
        build()(prog_name="mlb")
    except UserError as error:
        _say(error)
        sys.exit(2)
    except MlbError as error:
        _say(error)
        sys.exit(1)


def _say(error: Exception) -> None:
    """One line on stderr; what came from a user's file cannot drive the terminal."""
    text = " ".join(str(error).split())
    print("mlb: " + "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text), file=sys.stderr)
