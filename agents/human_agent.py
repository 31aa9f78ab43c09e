"""`human`: a person at the keyboard plays the agent. Plain lines are speech; a line `/tool {json}` is a tool call."""

from __future__ import annotations

import json
from typing import Any

from mlb_env.agent import AgentContext
from mlb_env.effects import AskHuman, Failure, Flow, HumanReply
from mlb_env.errors import AgentFailed
from mlb_env.spec.action import Action, Briefing, Observation, ToolCall
from mlb_env.spec.base import L, Lang

PROMPT = L(zh="你> ", en="you> ")
HELP = L(
    zh='直接输入就是说话。/工具名 {"参数": 值} 调用工具。/tools 列出工具，/help 显示本说明。以 // 开头可说出以 / 开头的话。',
    en='Type to speak. /tool_name {"argument": value} calls a tool. /tools lists the tools, /help shows this. '
    "Start with // to say something that begins with a slash.",
)
NO_TOOLS = L(zh="这个任务没有工具，直接回答即可。", en="This task has no tools; just answer.")
EMPTY = L(zh="请输入要说的话，或 /help 查看说明。", en="Say something, or type /help.")
UNKNOWN = L(zh="没有名为 %s 的工具；/tools 列出全部工具。", en="There is no tool %s; /tools lists them all.")
BAD_JSON = L(
    zh='参数须是 JSON 对象，例如 /%s {"参数": "值"}（%s）。',
    en='The arguments have to be a JSON object, as in /%s {"argument": "value"} (%s).',
)


class HumanAgent:
    """One episode of a person."""

    def __init__(self, context: AgentContext) -> None:
        self._context = context

    def reset(self, briefing: Briefing) -> None:
        self._lang: Lang = briefing.lang
        self._tools: dict[str, dict[str, Any]] = {t["function"]["name"]: t["function"] for t in briefing.tools}
        self._intro = "\n\n".join(t for t in (briefing.task, briefing.policy, HELP[self._lang]) if t) + "\n\n"

    def act(self, observation: Observation) -> Flow[Action]:
        """Ask until the person says something or calls a tool.

        Raises:
            AgentFailed: nobody can be asked, or the input has ended.
        """
        shown, self._intro = self._intro + observation.text, ""
        while True:
            replies = yield (AskHuman("agent", shown, PROMPT[self._lang]),)
            reply = replies[0]
            if isinstance(reply, Failure):
                raise AgentFailed(reply.reason)
            assert isinstance(reply, HumanReply)
            done = self._read(reply.text.strip())
            if isinstance(done, Action):
                return done
            shown = done

    def _read(self, line: str) -> Action | str:
        """The action in a line, or what to show before asking again."""
        if not line:
            return EMPTY[self._lang]
        if line.startswith("//") or not line.startswith("/"):
            return Action(content=line.removeprefix("/") if line.startswith("//") else line)
        name, _, arguments = line[1:].partition(" ")
        if name == "help":
            return HELP[self._lang]
        if name == "tools":
            return "\n".join(self._describe(t) for t in self._tools.values()) or NO_TOOLS[self._lang]
        if name not in self._tools:
            return UNKNOWN[self._lang] % (name or "/")
        try:
            if not isinstance(json.loads(arguments.strip() or "{}"), dict):
                raise ValueError(arguments.strip())
        except (ValueError, RecursionError) as error:
            return BAD_JSON[self._lang] % (name, error)
        return Action(tool_calls=(ToolCall(name=name, arguments=arguments.strip() or "{}"),))

    def _describe(self, tool: dict[str, Any]) -> str:
        """One tool on one line: how to call it, what it does. Arguments that may be left out are in brackets."""
        parameters = tool.get("parameters") or {}
        required = parameters.get("required", ())
        names = ", ".join(n if n in required else f"[{n}]" for n in parameters.get("properties", {}))
        return f"/{tool['name']} {{{names}}}  {tool.get('description', '')}"


def make(context: AgentContext) -> HumanAgent:
    """A fresh human agent."""
    return HumanAgent(context)
