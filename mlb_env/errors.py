"""The errors of mlb-env. Every error a user can cause derives from `MlbError` and reads as one clear sentence."""

from __future__ import annotations


class MlbError(Exception):
    """Base of all errors raised by mlb-env."""


class UserError(MlbError):
    """A mistake in what the user gave: an option, a file, a name. The command line shows it and exits with 2."""


class ContentError(UserError):
    """A content file that cannot be used.

    Args:
        problem: what is wrong, and how to mend it.
        path: the file.
        line: 1-based line, if known.
        field: dotted path of the field, if known.
    """

    def __init__(self, problem: str, *, path: str, line: int | None = None, field: str | None = None) -> None:
        self.problem, self.path, self.line, self.field = problem, path, line, field
        where = path + (f", line {line}" if line else "") + (f", field '{field}'" if field else "")
        super().__init__(f"{where}: {problem}")


class RunError(MlbError):
    """A run that cannot go on (disk full, folder in use). What was finished is kept and can be resumed."""


class RunStops(RunError):
    """Raised inside an episode by what has to stop the whole run; the episode is not kept, and is gone on with when the run is resumed."""


class AgentFailed(MlbError):
    """The agent's model failed, or answered nothing that can be used; the episode stays ungraded, with this reason."""


class SimulatorFailed(MlbError):
    """Whoever plays the patient (a model, a person) failed; the episode stays ungraded, with this reason: it is not the agent's fault."""
