"""The random agent: seeded choices among legal answers; its score is chance."""

from __future__ import annotations

import json

from mlb_env.agent import AgentContext
from mlb_env.kit import answer_shape, candidates, closing_tool, options, say, source_text
from mlb_env.patient.understand import ask_for, lexicon
from mlb_env.shotgun import random_form
from mlb_env.spec.action import Action, Briefing, Observation


def make(context: AgentContext) -> RandomAgent:
    return RandomAgent(context)


class RandomAgent:
    def __init__(self, context: AgentContext) -> None:
        self._rng, self._lang = context.rng, context.lang

    def reset(self, briefing: Briefing) -> None:
        self._briefing = briefing
        self._left = self._rng.randint(2, 8)

    def act(self, observation: Observation) -> Action:
        tool = closing_tool(self._briefing)
        if tool is None:
            return Action(content=self._answer(observation))
        self._left -= 1
        if self._left > 0:
            return say(ask_for(self._rng.choice(sorted(lexicon().topics)), self._lang))
        return say("好的。" if self._lang == "zh" else "All right.", random_form(tool, self._briefing, self._rng))

    def _answer(self, observation: Observation) -> str:
        if letters := options(observation):
            return self._rng.choice(list(letters))
        if lines := candidates(observation):
            return self._rng.choice(lines)
        if answer_shape(observation) is not None:
            words = source_text(observation).replace("，", " ").replace("。", " ").split()
            return json.dumps({"?": self._rng.sample(words, min(3, len(words)))}, ensure_ascii=False)
        return self._rng.choice(["是", "否"] if self._lang == "zh" else ["Yes.", "No."])
