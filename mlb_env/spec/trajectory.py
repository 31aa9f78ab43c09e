"""The trajectory: the full record of one episode, and one line of trajectories.jsonl.

It does not say which agent played: the judge must not know.
"""

from __future__ import annotations

from typing import Any, Literal

from .action import Message
from .base import Lang, Model

StopReason = Literal["concluded", "max_turns", "max_minutes", "max_malformed", "max_tokens", "max_cost", "failed"]
Route = Literal["opening", "patient", "document", "observed", "chart", "examination", "test", "evolves", "transcript"]


class LedgerEntry(Model):
    """A fact became known to the agent: when, by which route, under which disclosure condition.

    `told`: what was conveyed is the truth, or what the speaker believes (`told` differs from `truth`).
    """

    fact: str
    topic: str
    turn: int
    minute: int
    route: Route
    condition: str
    told: Literal["truth", "told", "corrected"] = "truth"


class Answer(Model):
    """A question that no fact answered, or one asked again.

    default_negative: closed world "no"; not_known: open world; cannot_tell: needs an examiner; held_back: the condition
    of the fact was not met; unparsed: not understood; too_many: more questions than the patient answers at once;
    repeated: the fact was out already; misheard: the turn was too long to be caught; guarded: met with "why do you ask?";
    hesitated: did not come to mind yet.
    """

    turn: int
    topic: str
    kind: Literal["default_negative", "not_known", "cannot_tell", "held_back", "unparsed", "too_many", "repeated",
                  "misheard", "guarded", "hesitated"]  # fmt: skip


class PatientEvent(Model):
    """Something the patient did besides answering. teach_back_*: asked to repeat in own words, and did so wrongly or
    rightly; left_room: the third person went out; question: asked a question of their own (`id`); state: the course
    moved on (`id`); document: showed a document; framed: the agent normalised and explained a sensitive question; understood:
    took away what to do (`id`: home, visit or urgent); reacted: answered the agent's manner (`id`: which)."""

    turn: int
    minute: int
    kind: Literal["teach_back_wrong", "teach_back_right", "left_room", "question", "state", "document", "framed", "understood",
                  "reacted"]  # fmt: skip
    id: str = ""


class Telling(Model):
    """What one utterance of the patient conveyed: the facts in it, new or repeated, and who put it into words.

    rules: the case's own wordings; model: a model's wording that passed the guard; fallback: the case's wordings after the model's were
    refused; person: typed by a person; replay: taken from a transcript. `refused`: why wordings were refused, in order.
    `doubts`: what the guard found in a wording that was spoken all the same (a person's, a transcript's).
    """

    turn: int
    facts: tuple[str, ...] = ()
    by: Literal["rules", "model", "fallback", "person", "replay"]
    refused: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()


class ToolEvent(Model):
    """One tool call as it was carried out. `refused`: out of role or without the right to it, or stopped by an alert of the prescribing
    software. `alerts`: the alerts that a prescription raised, stopped or not."""

    turn: int
    minute: int
    name: str
    arguments: dict[str, Any]
    ok: bool
    error: str = ""
    refused: Literal["", "role", "identity", "foreign", "malformed", "alert"] = ""
    alerts: tuple[str, ...] = ()
    refs: tuple[str, ...] = ()  # ids of tests, findings or resources that the call returned, as the case names them
    labels: tuple[str, ...] = ()  # what the agent saw in their place (E1, R2, Condition/c1), in the same order


class RecordChange(Model):
    """One write to the episode's copy of the record. `by`: the agent; the scripted clinician, who signs or rejects; or the hospital's
    systems, which file results."""

    turn: int
    minute: int
    operation: Literal["create", "update", "delete"]
    reference: str  # "Appointment/a1"
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None
    by: Literal["agent", "clinician", "system"] = "agent"


class Usage(Model):
    """Model calls of one role in one episode; `cost` in US dollars where prices are known."""

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float | None = None

    def plus(self, prompt: int | None, completion: int | None) -> Usage:
        """With one more call; counts that an endpoint does not report add nothing."""
        return Usage(calls=self.calls + 1, prompt_tokens=self.prompt_tokens + (prompt or 0),
                     completion_tokens=self.completion_tokens + (completion or 0), cost=self.cost)  # fmt: skip


class Trajectory(Model):
    """Everything that happened in one episode."""

    episode: str  # "<scenario>.<lang>.<trial>"
    scenario: str
    dataset: str
    dimension: str
    edition: str
    lang: Lang
    seed: int
    trial: int
    family: str
    split: str
    specialty: str
    difficulty: str
    case: str | None = None
    case_version: str | None = None
    persona: str | None = None
    content_hash: str
    messages: tuple[Message, ...]
    ledger: tuple[LedgerEntry, ...] = ()
    answers: tuple[Answer, ...] = ()
    patient_events: tuple[PatientEvent, ...] = ()
    tellings: tuple[Telling, ...] = ()
    tools: tuple[ToolEvent, ...] = ()
    record_changes: tuple[RecordChange, ...] = ()
    conclusion: dict[str, Any] | None = None
    conclusion_turn: int | None = None
    conclusion_minute: int | None = None
    stop_reason: StopReason
    failure: str = ""  # why an episode failed: it stays without a score
    turns: int
    minutes: int
    malformed: int = 0
    usage: dict[str, Usage] = {}
