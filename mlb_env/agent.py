"""The agent protocol, and how agents are found: by short name, by path, or as `module:attribute`.

An agent file defines `make(context) -> Agent`. `act` may return the action, an awaitable of it, or a flow (a generator
that yields effects: the way to call models through the run's own edge, so that calls are counted, retried and recorded).
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Awaitable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any, Protocol, runtime_checkable

from .effects import Edge, Flow, ModelSettings, NoEdge
from .errors import UserError
from .spec.action import Action, Briefing, Observation
from .spec.base import Lang

NAMES = {
    "chat": "chat_agent", "langgraph": "langgraph_agent", "interviewer": "interviewer", "human": "human_agent",
    "oracle": "oracle", "null": "null_agent", "random": "random_agent", "stuffer": "stuffer", "injector": "injector",
    "dumper": "dumper", "escalate_all": "clinical_policies", "reassure_all": "clinical_policies",
    "order_all": "clinical_policies", "order_none": "clinical_policies", "refuse_all": "clinical_policies",
    "hedge_all": "clinical_policies", "template_record": "clinical_policies", "interrogate_all": "clinical_policies",
    "form_only": "clinical_policies", "contradict": "clinical_policies", "parrot_chart": "clinical_policies",
    "claimer": "claimer",
}  # fmt: skip
PRIVILEGED = frozenset({"oracle", "form_only", "contradict"})  # bundled calibration agents that are given the gold


@dataclass(frozen=True)
class AgentContext:
    """What a new agent is given: its name, language, a seeded generator, model settings, and, for a bundled calibration
    agent only, the gold (`mlb_env.catalog.Play`)."""

    name: str
    lang: Lang
    rng: Random
    model: ModelSettings | None = None
    edge: Edge = field(default_factory=NoEdge)  # for agents that are not flows but call models
    gold: Any = None


@runtime_checkable
class Agent(Protocol):
    """The model under test with its harness; one instance plays one episode.

    Optional attributes: `usage` (what its model calls cost), `blocking` True (its `act` waits by itself, for a client of its own, and is
    run in a thread, so that other episodes go on).
    """

    def reset(self, briefing: Briefing) -> None:
        """A new episode begins."""

    def act(self, observation: Observation) -> Action | Awaitable[Action] | Flow[Action]:
        """The next action."""


class AgentFactory(Protocol):
    """Makes a fresh agent for one episode. `needs_model`: cannot work without model settings."""

    def __call__(self, context: AgentContext) -> Agent: ...


def load_agent(spec: str, *, content: Path) -> AgentFactory:
    """The factory of an agent.

    Args:
        spec: a short name (`chat`), a path (`my_agent.py`), or `module:attribute`.
        content: the folder that holds the bundled `agents/`.

    Raises:
        UserError: no such agent; the file cannot be loaded; it defines no `make`.
    """
    if spec in NAMES:
        return _factory(_from_file(content / "agents" / f"{NAMES[spec]}.py"), "make", spec)
    if spec.endswith(".py"):
        path = Path(spec)
        try:
            found = path.is_file()
        except OSError as error:
            raise UserError(f"agent '{spec[:60]}...' cannot be read ({error.strerror})") from None
        if not found:
            raise UserError(f"agent '{spec}': no such file")
        return _factory(_from_file(path), "make", spec)
    if ":" in spec:
        module, _, attribute = spec.partition(":")
        if not module or module.startswith(".") or not attribute:
            raise UserError(f"agent '{spec}': give module:attribute, for example my_package.agents:make")
        try:
            return _factory(importlib.import_module(module), attribute, spec)
        except ImportError as error:
            raise UserError(f"agent '{spec}': the module '{module}' cannot be imported ({error})") from None
        except (Exception, SystemExit) as error:  # whatever a user's module does when it is loaded
            raise UserError(f"agent '{spec}' cannot be loaded: {type(error).__name__}: {error}") from error
    known = ", ".join(NAMES)
    raise UserError(f"agent '{spec}' is not known; give one of {known}, a path ending in .py, or module:attribute")


def bundled(name: str) -> ModuleType:
    """The module of a bundled agent, by short name."""
    from .catalog.load import content_root

    return _from_file(content_root() / "agents" / f"{NAMES[name]}.py")


def _from_file(path: Path) -> ModuleType:
    """The module of a file, under a name of our own; nothing touches sys.path."""
    name = f"mlb_env_agents.{path.stem}"
    loaded = sys.modules.get(name)
    if loaded is not None and loaded.__file__ == str(path):
        return loaded
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UserError(f"agent '{path}': not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # whatever a user's file does when it is loaded
        del sys.modules[name]
        raise UserError(f"agent '{path}' cannot be loaded: {type(error).__name__}: {error}") from error
    return module


def _factory(module: ModuleType, attribute: str, spec: str) -> AgentFactory:
    factory = getattr(module, attribute, None)
    if not callable(factory):
        raise UserError(f"agent '{spec}': the module has no callable '{attribute}' (define {attribute}(context) -> agent)")
    return factory  # type: ignore[no-any-return]
