"""The dumper: asks every topic, proposes every test, selects every candidate; where one value is wanted it draws one."""

from __future__ import annotations

import json
import re
from typing import Any

from mlb_env import codes
from mlb_env.agent import AgentContext
from mlb_env.kit import answer_shape, candidates, closing_tool, options, say, source_text
from mlb_env.patient.understand import ask_for
from mlb_env.shotgun import form
from mlb_env.spec.action import Action, Briefing, Observation, ToolCall
from mlb_env.spec.base import Lang


def make(context: AgentContext) -> Dumper:
    return Dumper(context)


def spans(text: str, lang: Lang) -> list[str]:
    """Every span of a text: up to 10 characters of Chinese, up to 5 words of English."""
    units = list(text) if lang == "zh" else text.split()
    glue = "" if lang == "zh" else " "
    longest = 10 if lang == "zh" else 5
    found = {glue.join(units[i : i + n]).strip(" ，。；,.;") for n in range(1, longest + 1) for i in range(len(units) - n + 1)}
    return sorted(s for s in found if s)


class Dumper:
    def __init__(self, context: AgentContext) -> None:
        self._rng, self._lang = context.rng, context.lang

    def reset(self, briefing: Briefing) -> None:
        self._briefing = briefing
        self._topics = list(codes.topics())
        self._tools = {t["function"]["name"] for t in briefing.tools}
        self._turn = 0

    def act(self, observation: Observation) -> Action:
        tool = closing_tool(self._briefing)
        if tool is None:
            return Action(content=self._answer(observation))
        self._turn += 1
        per_turn = 1 + len(codes.topics()) // max(1, self._briefing.max_turns - 2)
        now, self._topics = self._topics[:per_turn], self._topics[per_turn:]
        if now and self._turn < self._briefing.max_turns:
            return say(" ".join(ask_for(t, self._lang) for t in now), *self._everything())
        return say("。" if self._lang == "zh" else ".", self._form(tool))

    def _everything(self) -> list[ToolCall]:
        """Every examination and every test, once."""
        if self._turn != 1:
            return []
        calls = []
        if "examine" in self._tools:
            calls += [ToolCall.of("examine", region=r) for r in codes.regions()]
        if "propose_test" in self._tools:
            calls += [ToolCall.of("propose_test", name=t, body_part="-") for t in codes.tests()]
        if "propose_action" in self._tools:
            calls += [ToolCall.of("propose_action", act=a) for a in codes.acts()]
        if "escalate" in self._tools:
            calls += [ToolCall.of("escalate", disposition=d) for d in ("D1", "D2")]
        return calls

    def _form(self, tool: str) -> ToolCall:
        call = form(tool, self._briefing, self._rng, text="-", most=None)
        data: dict[str, Any] = json.loads(call.arguments)
        if tool == "propose_tests":
            data["tests"] = [{"name": t, "body_part": "-", "priority": "now", "reason": "", "rests_on": ["T0"]}
                             for t in list(codes.tests())[:60]]  # fmt: skip
        if tool == "write_record":
            for field, value in data.items():
                if isinstance(value, list):
                    data[field] = [{"text": "-", "topic": t, "state": s} for t in codes.topics() for s in ("present", "denied")]
        return ToolCall.of(tool, **data)

    def _answer(self, observation: Observation) -> str:
        if letters := options(observation):
            return ",".join(letters)
        if lines := candidates(observation):
            return "\n".join(lines)
        shape = answer_shape(observation)
        if shape is None:
            return source_text(observation)
        everything = spans(source_text(observation), self._lang)
        if isinstance(shape, list):
            keys = list(shape[0])
            return json.dumps([{keys[0]: s, keys[1]: "", keys[2]: [], keys[3]: []} for s in everything], ensure_ascii=False)
        key = next(iter(shape))
        if shape[key]:
            relation, head, tail = shape[key][0]
            phrases = [p for p in re.split(r"[，。、；：,.;:()（）\n]+", source_text(observation)) if p.strip()][:12]
            names = re.split(r"、|, ", re.split(r"：|names: ", self._briefing.task, maxsplit=1)[-1].split("。")[0])
            return json.dumps({key: [{relation: r, head: a, tail: b} for r in names for a in phrases for b in phrases]},
                              ensure_ascii=False)  # fmt: skip
        return json.dumps(dict.fromkeys(shape, everything), ensure_ascii=False)
