"""The null agent: says nothing, does nothing. Silence must earn nothing."""

from __future__ import annotations

from mlb_env.agent import AgentContext
from mlb_env.spec.action import Action, Briefing, Observation


def make(context: AgentContext) -> NullAgent:
    return NullAgent()


class NullAgent:
    def reset(self, briefing: Briefing) -> None:
        """Nothing to remember."""

    def act(self, observation: Observation) -> Action:
        return Action()
