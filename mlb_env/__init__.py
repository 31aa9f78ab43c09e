"""mlb-env: the environment in which medical language-model agents are benchmarked and trained (MLB).

    import gymnasium, mlb_env
    env = gymnasium.make("mlb/SmartCare-v0")

    result = mlb_env.run("interviewer", dataset="MAGuidance")

The names below are loaded when they are first used, so that the import stays quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .envs.register import register

if TYPE_CHECKING:
    from .api import RunResult, arun, grade, load, run
    from .episode import Episode
    from .errors import MlbError, RunError, UserError
    from .spec.action import Action, Briefing, Observation, ToolCall
    from .spec.rubric import Judgement
    from .spec.trajectory import Trajectory

_HOMES = {
    "run": "api", "arun": "api", "load": "api", "grade": "api", "RunResult": "api", "Episode": "episode",
    "Action": "spec.action", "Observation": "spec.action", "ToolCall": "spec.action", "Briefing": "spec.action",
    "Trajectory": "spec.trajectory", "Judgement": "spec.rubric",
    "MlbError": "errors", "UserError": "errors", "RunError": "errors",
}  # fmt: skip
__all__ = [
    "Action", "Briefing", "Episode", "Judgement", "MlbError", "Observation", "RunError", "RunResult", "ToolCall", "Trajectory",
    "UserError", "arun", "grade", "load", "run",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from .bench.plan import package_version

        return package_version()
    if name not in _HOMES:
        raise AttributeError(f"module 'mlb_env' has no attribute '{name}'")
    value = globals()[name] = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


register()
