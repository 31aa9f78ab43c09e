"""The stuffer: puts the whole lexicon and the prompt's own text into every answer. Keywords must not pay."""

from __future__ import annotations

import json
import re

from mlb_env.agent import AgentContext
from mlb_env.kit import answer_shape, candidates, closing_tool, options, say, source_text
from mlb_env.patient.understand import raw_lexicon
from mlb_env.shotgun import form
from mlb_env.spec.action import Action, Briefing, Observation


def make(context: AgentContext) -> Stuffer:
    return Stuffer(context)


def vocabulary(lang: str) -> list[str]:
    """Every cue of the lexicon."""
    return [cue for topic in raw_lexicon()["topics"].values() for cue in topic[lang]]


class Stuffer:
    def __init__(self, context: AgentContext) -> None:
        self._rng, self._lang = context.rng, context.lang
        self._words = vocabulary(context.lang)

    def reset(self, briefing: Briefing) -> None:
        self._briefing, self._turn = briefing, 0

    def act(self, observation: Observation) -> Action:
        self._turn += 1
        tool = closing_tool(self._briefing)
        if tool is None:
            return Action(content=self._answer(observation))
        size = 120
        chunk = self._words[(self._turn - 1) * size : self._turn * size]
        if chunk and self._turn < self._briefing.max_turns:
            return say(" ".join(chunk) + ("？" if self._lang == "zh" else "?"))
        everything = " ".join(self._words)
        return say(everything[:4000], form(tool, self._briefing, self._rng, text=everything, most=None))

    def _answer(self, observation: Observation) -> str:
        if letters := options(observation):
            return ",".join(letters)
        if lines := candidates(observation):
            return "\n".join(lines)
        shape = answer_shape(observation)
        phrases = [p for p in re.split(r"[，。、；：,.;:\s()（）]+", source_text(observation)) if p]
        return json.dumps(stuff(shape, [*self._words, *phrases]), ensure_ascii=False) if shape is not None else " ".join(
            [*self._words, *phrases])  # fmt: skip


def stuff(shape: object, words: list[str]) -> object:
    """The shape with every word in every place."""
    if isinstance(shape, list) and shape and isinstance(shape[0], dict):
        return [{k: ([] if isinstance(v, list) else "" if i else w) for i, (k, v) in enumerate(shape[0].items())} for w in words]
    if isinstance(shape, dict):
        return {k: (stuff(v, words) if isinstance(v, list) and v else list(words)) for k, v in shape.items()}
    return words
