"""One episode: reset, then step by step until the agent concludes (terminated) or a budget ends (truncated).

This is the state machine of the product. A static scenario is one step: the prompt, then the answer. An interactive one is
a dialogue: in each turn the agent speaks, calls tools, or both; the patient answers from the ledger, tools run on the
episode's own record, the clock moves, the patient's condition follows. The episode never sees a rubric.

    episode = Episode(play, lang="zh", seed=0)
    observation = episode.reset()
    while not episode.over:
        observation = episode.step(agent_action)
    trajectory = episode.trajectory()
"""

from __future__ import annotations

from datetime import datetime, timedelta
from random import Random
from typing import Any, Literal

from .catalog.play import Play
from .desk import Desk, RecordFailed
from .effects import Edge, Flow, NoEdge, adrive, drive
from .errors import MlbError, UserError
from .patient.ledger import Ledger
from .patient.offline import OfflinePatient
from .patient.worded import Casting, ModelPatient
from .patient.world import World
from .prompts import briefing, item_prompt
from .record.end import base_of
from .record.session import Answer, Session
from .record.store import Store
from .record.world import instant
from .spec.action import Action, Briefing, Message, Observation, ToolCall
from .spec.base import Lang
from .spec.forms import CLOSING
from .spec.scenario import RecordTask
from .spec.trajectory import StopReason, Trajectory, Usage
from .toolbox import Toolbox
from .tools import RecordTools, names_of

MAX_CALLS = 160  # tool calls in one action; the test library, region list and act list fit in it


class EpisodeOver(MlbError):
    """`step` was called after the end; call `reset` first."""


class Episode:
    """One play of a scenario with a seed.

    Args:
        play: the scenario (`mlb_env.load(...)` gives it).
        lang: `zh` or `en`; the scenario has to exist in it.
        seed: fixes persona and every random draw.
        persona: id of a persona; None: drawn from those the scenario allows.
        max_turns: overrides the scenario's turn budget.
        trial: number of the repetition, part of the episode's name.
        edge: carries effects out; the offline patient needs none.
        patient: who plays the patient; None: the offline patient.
        record_tools: the record's tools as `task`-shaped functions, as the raw `fhir` ones, or `both`.
        record: the address of a FHIR server that stands in for the store of a record task; None: the store.

    Raises:
        UserError: the scenario does not exist in `lang`, or has no such persona.
    """

    def __init__(
        self, play: Play, *, lang: Lang = "en", seed: int = 0, persona: str | None = None, max_turns: int | None = None,
        trial: int = 0, edge: Edge | None = None, patient: Casting | None = None, record_tools: RecordTools = "task",
        record: str | None = None,
    ) -> None:  # fmt: skip
        if lang not in play.langs:
            raise UserError(f"the scenario '{play.id}' does not exist in '{lang}'; it exists in {', '.join(play.langs)}")
        self.play, self.lang, self.seed, self.trial = play, lang, seed, trial
        if record is not None and play.interactive:
            raise UserError(f"the scenario '{play.id}' brings its own chart; an external record (--record) is for tasks in the record "
                            "(mlb import medagentbench)")  # fmt: skip
        self.max_turns = max_turns or (play.budget.turns if play.steps else 1)
        self._record_tools, self._record = record_tools, record
        self._edge: Edge = edge or NoEdge()
        self._casting = patient or Casting()
        self._wanted_persona = persona
        self._stop: StopReason | None = None
        self._messages: list[Message] = []

    @property
    def name(self) -> str:
        """`<scenario>.<lang>.<trial>`: the episode's name in run folders."""
        return f"{self.play.id}.{self.lang}.{self.trial}"

    @property
    def over(self) -> bool:
        return self._stop is not None

    @property
    def terminated(self) -> bool:
        """The agent concluded, or answered a single-step item."""
        return self._stop == "concluded"

    @property
    def truncated(self) -> bool:
        """A budget ended, or something failed."""
        return self._stop is not None and self._stop != "concluded"

    @property
    def stop_reason(self) -> StopReason | None:
        return self._stop

    @property
    def briefing(self) -> Briefing:
        """What the agent is told at the start; the same for every scenario of a dataset."""
        key = f"briefing:{self.lang}:{self.max_turns}:{self._record_tools}"
        if key not in self.play.memo:
            self.play.memo[key] = briefing(self.play, self.lang, self.max_turns, self._record_tools)
        made: Briefing = self.play.memo[key]
        return made

    @property
    def now(self) -> str:
        """The instant of the episode's clock, as FHIR writes it ("" without a record)."""
        return self._store.clock(self.minute) if self._desk is not None else ""

    @property
    def answer(self) -> Answer | None:
        """What the record's store answered to the last raw FHIR call; None where the last call was another one."""
        return self._desk.answer if self._desk is not None else None

    def publish_record(self, url: str) -> None:
        """Give the record's answers absolute addresses, for a server in front of it."""
        if self._desk is not None:
            self._desk.publish(url)

    @property
    def messages(self) -> tuple[Message, ...]:
        """All messages so far."""
        return tuple(self._messages)

    # --- reset ------------------------------------------------------------------------------------------------------

    def reset(self) -> Observation:
        """Start over. Returns the first observation: the item's prompt, or the patient's opening."""
        self._stop, self._failure, self._concluded_at = None, "", (0, 0)
        self.turn = self.minute = self.malformed = 0
        self._messages = []
        self._ledger = Ledger()
        self._usage: dict[str, Usage] = {}
        self._desk: Desk | None = None
        self._patient: OfflinePatient | None = None
        self._persona: str | None = None
        rng = Random(f"{self.seed}/{self.play.id}/{self.lang}/{self.trial}")
        brief = self.briefing
        self._add("system", "\n\n".join(t for t in (brief.task, brief.policy) if t), "task")
        mark = len(self._messages)
        if self.play.interactive:
            self._reset_interactive(rng)
        else:
            if self.play.task is not None:
                self._desk = self._open_record(self.play.task)
            self._add("user", item_prompt(self.play, self.lang), "task")
        return Observation(messages=tuple(self._messages[mark:]))

    def _open_record(self, task: RecordTask) -> Desk:
        """The desk of a record task, on its own copy of the world."""
        play = self.play
        assert play.dataset.role is not None
        begin = datetime.fromisoformat(task.now)
        self._store = Store(base_of(play, self.lang), lambda minute: (begin + timedelta(minutes=minute)).isoformat())
        tools = names_of(play.dataset.tools, self._record_tools)
        return Desk(tools, Session(self._store, play.dataset.role), self.lang, self._record)

    def _reset_interactive(self, rng: Random) -> None:
        play = self.play
        assert play.case is not None and play.scenario is not None
        world = self._world()
        self._persona = self._wanted_persona or rng.choice(play.scenario.personas)
        if self._persona not in play.personas:
            raise UserError(f"there is no persona '{self._persona}'; there are {', '.join(play.personas)}")
        case = play.case
        self._store = Store(base_of(play, self.lang), lambda minute: instant(case, minute))
        self._desk = Toolbox(world, play.dataset, self._store, self._ledger, self.lang, names_of(play.dataset.tools, self._record_tools))
        self._patient = self._casting.make(world, play.personas[self._persona], self.lang, rng, self._ledger)
        self._course = play.case.course.states[0].id if play.case.course.states else None
        if play.scenario.variant == "transcript":
            self._show_transcript()
        else:
            self._add("user", play.case.observed[self.lang], "scene")
            self._add("user", self._patient.open(), "patient")

    def _world(self) -> World:
        assert self.play.case is not None
        if "world" not in self.play.memo:
            self.play.memo["world"] = World(self.play.case)
        world: World = self.play.memo["world"]
        return world

    def _show_transcript(self) -> None:
        """The fixed-transcript variant: the dialogue has been held; its facts are out."""
        assert self.play.case is not None
        world, zh = self._world(), self.lang == "zh"
        who = {"doctor": "医生" if zh else "Doctor", "patient": "患者" if zh else "Patient"}
        lines = []
        for line in self.play.case.record.transcript:
            lines.append(f"{who[line.speaker]}{'：' if zh else ': '}{line.text[self.lang]}")
            for fact in line.facts:
                self._ledger.disclose(world.facts[fact], turn=0, minute=0, route="transcript", condition="direct_question")
        self._add("user", "\n".join(lines), "scene")

    # --- step -------------------------------------------------------------------------------------------------------

    def step(self, action: Action | str) -> Observation:
        """Carry out one action, synchronously. Text is read by `Action.from_text`.

        Raises:
            EpisodeOver: the episode has ended.
        """
        return drive(self.flow(action), self._edge)

    async def astep(self, action: Action | str) -> Observation:
        """Carry out one action; model calls of the simulators overlap with those of other episodes."""
        return await adrive(self.flow(action), self._edge)

    def flow(self, action: Action | str) -> Flow[Observation]:
        """One step as a flow of effects: the one implementation behind `step` and `astep`."""
        if self._stop is not None:
            raise EpisodeOver("the episode is over; call reset first")
        if isinstance(action, str):
            action = Action.from_text(action)
        if not isinstance(action, Action):
            raise UserError(f"an action is a text or an mlb_env.Action, not {type(action).__name__}")
        self.turn += 1
        calls = tuple(c if c.id else ToolCall(name=c.name, arguments=c.arguments, id=f"call_{self.turn}_{i}")
                      for i, c in enumerate(action.tool_calls, 1))  # fmt: skip
        self._messages.append(
            Message(role="assistant", content=action.content, speaker="agent", turn=self.turn, minute=self.minute, tool_calls=calls)
        )
        mark = len(self._messages)
        if self.play.interactive:
            yield from self._interact(action, calls)
        elif self._desk is not None:
            yield from self._work(self._desk, action, calls)
        else:
            self._stop = "concluded"
        return Observation(messages=tuple(self._messages[mark:]))

    def _call_all(self, desk: Desk, action: Action, calls: tuple[ToolCall, ...]) -> Flow[tuple[bool, int]]:
        """Carry the calls out, in order, up to a conclusion. Returns whether something was malformed, and the minutes they took."""
        zh, cost = self.lang == "zh", 0
        bad = bool(action.error) or not (action.content.strip() or calls)
        if bad:
            self._add("user", action.error or ("请说话，或调用一个工具。" if zh else "Say something, or call a tool."), "system")
        if len(calls) > MAX_CALLS:
            bad = True
            text = f"一次最多 {MAX_CALLS} 个工具调用，其余未执行。" if zh else f"At most {MAX_CALLS} tool calls in one action; the rest were not carried out."
            self._add("user", text, "system")
        for call in calls[:MAX_CALLS]:
            name, done = yield from desk.call(call, turn=self.turn, minute=self.minute)
            cost += done.minutes
            bad = bad or done.refused == "malformed"
            self._messages.append(
                Message(role="tool", content=done.text, speaker="tool", turn=self.turn, minute=self.minute,
                        tool_call_id=call.id, name=name)
            )  # fmt: skip
            if desk.conclusion is not None:
                break
        self.malformed += bad
        return bad, cost

    def _work(self, desk: Desk, action: Action, calls: tuple[ToolCall, ...]) -> Flow[None]:
        """One step of a task in the record."""
        try:
            _, cost = yield from self._call_all(desk, action, calls)
        except RecordFailed as error:
            self.fail(str(error))
            return
        if not calls and action.content.strip():
            zh = self.lang == "zh"
            self._add("user", "这里没有人对话；请使用工具，完成后调用 finish。" if zh else "Nobody is here to talk to; use the tools, and call finish when done.",
                      "system")  # fmt: skip
        self.minute += cost + 1
        self._end(desk)

    def _interact(self, action: Action, calls: tuple[ToolCall, ...]) -> Flow[None]:
        toolbox, patient, case = self._desk, self._patient, self.play.case
        assert isinstance(toolbox, Toolbox) and patient is not None and case is not None and self.play.scenario is not None
        closing = any(c.name in CLOSING for c in calls)
        bad, cost = yield from self._call_all(toolbox, action, calls)
        cost += case.course.time_cost.turn
        talks = self.play.scenario.variant == "dialogue"
        if action.content.strip() and talks:
            patient.listen(action.content, turn=self.turn, minute=self.minute)
        if action.content.strip() and toolbox.conclusion is None and talks and not (closing and bad):
            said = yield from patient.reply(action.content, turn=self.turn, minute=self.minute)
            self._add("user", said, "patient")
        elif action.content.strip() and not talks and toolbox.conclusion is None:
            zh = self.lang == "zh"
            self._add("user", "（对话已结束，请根据记录撰写病历。）" if zh else "(The dialogue has ended; write the note.)", "system")
        self.minute += cost
        if toolbox.conclusion is None:
            self._move_on(toolbox, patient)
        self._end(toolbox)

    def _move_on(self, toolbox: Toolbox, patient: OfflinePatient) -> None:
        """Time has passed: facts evolve, the course moves, results come in."""
        world = self._world()
        due = [f for f in world.evolving if (f.disclosure.at_min or 0) <= self.minute and f.id not in self._ledger]
        for said in patient.evolve(due, turn=self.turn, minute=self.minute):
            self._add("user", said, "patient")
        course = world.case.course
        for transition in course.transitions:
            if transition.source != self._course:
                continue
            acted = transition.act in toolbox.acts if transition.act else False
            late = transition.at_min is not None and self.minute >= transition.at_min
            if acted if transition.when == "act" else late if transition.when == "time" else late and not acted:
                self._course = transition.target
                state = next(s for s in course.states if s.id == transition.target)
                patient.enter(state.id, turn=self.turn, minute=self.minute)
                toolbox.enter(state, self.minute)
                self._add("user", state.talk[self.lang], "scene")
                for said in patient.evolve([world.facts[f] for f in state.facts], turn=self.turn, minute=self.minute):
                    self._add("user", said, "patient")
                break
        for notice in toolbox.due(self.minute):
            self._add("user", notice, "system")

    def _end(self, desk: Desk) -> None:
        budget = self.play.budget
        if desk.conclusion is not None:
            self._concluded_at = (self.turn, self.minute)
            self._stop = "concluded"
        elif self.malformed > budget.malformed:
            self._stop = "max_malformed"
        elif self.turn >= self.max_turns:
            self._stop = "max_turns"
        elif self.minute >= budget.minutes:
            self._stop = "max_minutes"

    def fail(self, reason: str) -> None:
        """End the episode because something failed (an endpoint, an agent): it stays without a score."""
        self._stop, self._failure = "failed", reason

    def stop(self, reason: Literal["max_tokens", "max_cost"]) -> None:
        """Truncate the episode because a budget kept outside it ended. It is judged as it stands."""
        self._stop = reason

    def spend(self, role: str, usage: Usage) -> None:
        """Record what a role's model calls cost in this episode."""
        self._usage[role] = usage

    def _add(self, role: Any, content: str, speaker: Any) -> None:
        self._messages.append(Message(role=role, content=content, speaker=speaker, turn=self.turn, minute=self.minute))

    # --- record of it all -------------------------------------------------------------------------------------------

    def trajectory(self) -> Trajectory:
        """The full record of the episode so far.

        Raises:
            MlbError: the episode has not ended.
        """
        if self._stop is None:
            raise MlbError("the episode has not ended yet; there is no trajectory to hand out")
        play, desk, patient = self.play, self._desk, self._patient
        conclusion = desk.conclusion if desk else None
        if isinstance(patient, ModelPatient) and patient.usage.calls:
            self.spend("patient", patient.usage)
        return Trajectory(
            episode=self.name, scenario=play.id, dataset=play.dataset.name, dimension=play.dataset.dimension,
            edition=play.dataset.edition, lang=self.lang, seed=self.seed, trial=self.trial, family=play.family,
            split=play.split, specialty=play.specialty, difficulty=play.difficulty,
            case=play.case.id if play.case else None, case_version=play.case.version if play.case else None,
            persona=self._persona, content_hash=play.content_hash, messages=tuple(self._messages),
            ledger=tuple(self._ledger.entries), answers=tuple(patient.answers) if patient else (),
            patient_events=tuple(patient.events) if patient else (),
            tellings=tuple(patient.tellings) if patient else (), tools=tuple(desk.events) if desk else (),
            record_changes=tuple(desk.changes) if desk else (), conclusion=conclusion,
            conclusion_turn=self._concluded_at[0] if conclusion is not None else None,
            conclusion_minute=self._concluded_at[1] if conclusion is not None else None,
            stop_reason=self._stop, failure=self._failure, turns=self.turn, minutes=self.minute, malformed=self.malformed,
            usage=self._usage,
        )  # fmt: skip
