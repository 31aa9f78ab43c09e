"""`chat`: any model behind an OpenAI-compatible endpoint, with tool calls where the task has tools.

The message list grows by what is new in each turn and is sent whole. Stated policy for a context that overflows: the episode
fails and stays ungraded; nothing is cut silently.
"""

from __future__ import annotations

from typing import Any

from mlb_env.agent import AgentContext
from mlb_env.effects import ChatRequest, Flow
from mlb_env.llm.conversation import action_of, answered, model_of, opening, remembered, summed
from mlb_env.spec.action import Action, Briefing, Observation
from mlb_env.spec.trajectory import Usage


class ChatAgent:
    """One episode of a chat model. `usage` is what its replies cost so far."""

    def __init__(self, context: AgentContext) -> None:
        self._settings = model_of(context.model, context.name)
        self._rng = context.rng
        self.usage = Usage()

    def reset(self, briefing: Briefing) -> None:
        self._messages: list[dict[str, Any]] = opening(briefing)
        self._tools = briefing.tools
        self._seed = self._rng.getrandbits(31)  # once: one episode, one seed
        self.usage = Usage()

    def act(self, observation: Observation) -> Flow[Action]:
        """One chat completion.

        Raises:
            AgentFailed: the model failed.
        """
        self._messages += observation.to_openai()
        replies = yield (ChatRequest("agent", self._settings, tuple(self._messages), self._tools, self._seed),)
        reply = answered(replies[0])
        self.usage = summed(self.usage, reply)
        action = action_of(reply, self._messages)
        self._messages.append(remembered(action))
        return action


def make(context: AgentContext) -> ChatAgent:
    """A fresh chat agent.

    Raises:
        UserError: the context names no model.
    """
    return ChatAgent(context)
