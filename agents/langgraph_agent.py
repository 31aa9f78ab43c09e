"""`langgraph`: the doctor as a plain LangGraph StateGraph over OpenAI message dicts, and as `graph()` for langgraph.json.

    START -> think -> act -> think -> ...

`think` is the only node that calls the model; `act` does nothing but hand the action out by `interrupt` and take in what
came of it, because LangGraph runs an interrupted node again when it goes on. Same policy as `chat`: a context that overflows
fails the episode; nothing is cut silently.
"""

# No `from __future__ import annotations` here: LangGraph evaluates the annotations of State, and a loader need not have
# put this module where it would look the names up.

import operator
import os
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

from mlb_env.agent import AgentContext
from mlb_env.effects import ChatReply, ChatRequest, Edge, ModelSettings
from mlb_env.errors import UserError
from mlb_env.llm.conversation import action_of, answered, model_of, opening, remembered, summed
from mlb_env.llm.endpoint import ModelEdge
from mlb_env.spec.action import Action, Briefing, Observation
from mlb_env.spec.trajectory import Usage

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig
    from langgraph.graph.state import CompiledStateGraph

    Compiled = CompiledStateGraph[Any, Any, Any, Any]

_STEPS = 10  # one turn takes two; stated, because LangGraph's own limit differs between versions


class State(TypedDict, total=False):
    """What a graph's checkpoint holds. `messages` and `tools` in OpenAI's form; `action` is what `think` decided."""

    messages: Annotated[list[dict[str, Any]], operator.add]
    tools: list[dict[str, Any]]
    seed: int | None
    action: dict[str, Any]
    usage: dict[str, Any]


def build(settings: ModelSettings, edge: Edge, *, saver: Any = None) -> "Compiled":
    """The doctor's graph.

    Args:
        settings: the model.
        edge: carries the model calls out.
        saver: the checkpointer that an interrupted graph goes on from; None where the platform brings its own.
    """
    from langchain_core.runnables import RunnableLambda
    from langgraph.graph import START, StateGraph
    from langgraph.types import interrupt

    def request(state: State) -> ChatRequest:
        return ChatRequest("agent", settings, tuple(state["messages"]), tuple(state.get("tools") or ()), state.get("seed"))

    def decided(reply: ChatReply, state: State) -> State:
        action = action_of(reply, state["messages"])
        usage = summed(Usage.model_validate(state.get("usage") or {}), reply)
        return {"messages": [remembered(action)], "action": action.model_dump(mode="json"), "usage": usage.model_dump()}

    def think(state: State) -> State:
        return decided(answered(edge.perform((request(state),))[0]), state)

    async def athink(state: State) -> State:
        return decided(answered((await edge.aperform((request(state),)))[0]), state)

    def act(state: State) -> State:
        return {"messages": _observed(interrupt(state["action"]), state["action"])}

    builder = StateGraph(State)
    builder.add_node("think", RunnableLambda(think, afunc=athink))
    builder.add_node("act", act)
    builder.add_edge(START, "think")
    builder.add_edge("think", "act")
    builder.add_edge("act", "think")
    return builder.compile(checkpointer=saver)


def _observed(answer: Any, action: dict[str, Any]) -> list[dict[str, Any]]:
    """What a graph is resumed with: OpenAI messages, or plain text (typed in a studio), which answers every open call."""
    if isinstance(answer, list):
        return answer
    calls = action["tool_calls"]
    results = [{"role": "tool", "tool_call_id": call["id"], "content": str(answer)} for call in calls]
    return results or [{"role": "user", "content": str(answer)}]


def graph() -> "Compiled":
    """The doctor for `langgraph.json`. MLB_MODEL names the model, MLB_BASE_URL (optional) the endpoint.

    Raises:
        UserError: MLB_MODEL is not set, or the endpoint's key is missing.
    """
    model = os.environ.get("MLB_MODEL")
    if not model:
        raise UserError("the environment variable MLB_MODEL is not set; set it to the name of the model")
    settings = ModelSettings(model=model, base_url=os.environ.get("MLB_BASE_URL") or None)
    ModelEdge.check(settings)
    return build(settings, ModelEdge())


class LangGraphAgent:
    """One episode of the doctor's graph, kept in memory. `usage` is what its replies cost so far."""

    def __init__(self, context: AgentContext) -> None:
        from langgraph.checkpoint.memory import InMemorySaver

        self._rng = context.rng
        self._saver = InMemorySaver()
        self._graph = build(model_of(context.model, context.name), context.edge, saver=self._saver)
        self._config: RunnableConfig = {"configurable": {"thread_id": "episode"}, "recursion_limit": _STEPS}
        self.usage = Usage()

    def reset(self, briefing: Briefing) -> None:
        self._saver.delete_thread("episode")  # checkpoints grow with the square of the turns
        self._start: State | None = {
            "messages": opening(briefing),
            "tools": list(briefing.tools),
            "seed": self._rng.getrandbits(31),
        }
        self.usage = Usage()

    async def act(self, observation: Observation) -> Action:
        """The graph runs on until it hands out its next action.

        Raises:
            AgentFailed: the model failed.
        """
        from langgraph.types import Command

        given: Any = Command(resume=observation.to_openai())
        if self._start is not None:
            given = {**self._start, "messages": self._start["messages"] + observation.to_openai()}
            self._start = None
        result = await self._graph.ainvoke(given, self._config, durability="exit")
        self.usage = Usage.model_validate(result["usage"])
        return Action.model_validate(result["__interrupt__"][0].value)


def make(context: AgentContext) -> LangGraphAgent:
    """A fresh LangGraph doctor.

    Raises:
        UserError: the context names no model.
    """
    return LangGraphAgent(context)
