"""The claimer: a calibration agent that says the work is done and does none of it. What is only claimed must earn nothing."""

from __future__ import annotations

from mlb_env.agent import AgentContext
from mlb_env.kit import say
from mlb_env.spec.action import Action, Briefing, Observation, ToolCall
from mlb_env.spec.base import Lang

CLAIM = {
    "zh": "已经查阅病历，并已按要求完成全部写入，无需其他操作。",
    "en": "I have looked everything up and written everything as asked; nothing else is needed.",
}


def make(context: AgentContext) -> Claimer:
    return Claimer(context.lang)


class Claimer:
    """Claims, and finishes where there is a form that takes an answer and nothing else."""

    def __init__(self, lang: Lang) -> None:
        self._lang = lang

    def reset(self, briefing: Briefing) -> None:
        self._finish = any(t["function"]["name"] == "finish" for t in briefing.tools)

    def act(self, observation: Observation) -> Action:
        return say(CLAIM[self._lang], *([ToolCall.of("finish", answer=[CLAIM[self._lang]])] if self._finish else []))
