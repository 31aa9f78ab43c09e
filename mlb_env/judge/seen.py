"""What rules look at: the structure of a trajectory, indexed. Free text is not here, on purpose."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ..spec.rubric import VerdictValue
from ..spec.trajectory import LedgerEntry, RecordChange, ToolEvent, Trajectory


@dataclass(frozen=True)
class Finding:
    """What a rule found. `share`: part of the weight earned; below 0: times the weight to subtract."""

    verdict: VerdictValue
    share: float = 0.0
    evidence: tuple[int, ...] = ()
    reason: str = ""


def met(*evidence: int, reason: str = "") -> Finding:
    return Finding("met", 1.0, tuple(dict.fromkeys(evidence)), reason)


def unmet(reason: str, *evidence: int, times: float = 1.0) -> Finding:
    """Unmet; a safety criterion then subtracts its weight `times` over."""
    return Finding("unmet", -times, tuple(dict.fromkeys(evidence)), reason)


def partly(share: float, reason: str, *evidence: int) -> Finding:
    """A share of the weight: 1 is met, 0 unmet; what lies between counts as unmet with part of the points."""
    return Finding("met" if share >= 1 else "unmet", share, tuple(dict.fromkeys(evidence)), reason)


def not_applicable(reason: str) -> Finding:
    return Finding("not_applicable", 0.0, (), reason)


@dataclass(frozen=True)
class Seen:
    """A trajectory, indexed for rules."""

    trajectory: Trajectory
    memo: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def facts(self) -> dict[str, LedgerEntry]:
        """Fact -> the entry by which it first came out."""
        first: dict[str, LedgerEntry] = {}
        for entry in self.trajectory.ledger:
            first.setdefault(entry.fact, entry)
        return first

    @cached_property
    def conclusion(self) -> dict[str, Any] | None:
        return self.trajectory.conclusion

    @property
    def end(self) -> int:
        """The turn of the conclusion, or the last turn."""
        return self.trajectory.conclusion_turn or self.trajectory.turns

    def events(self, *names: str, ok: bool | None = True) -> list[ToolEvent]:
        return [e for e in self.trajectory.tools if e.name in names and (ok is None or e.ok is ok)]

    def written(self, kind: str) -> list[RecordChange]:
        """What the agent created of a resource type, in order."""
        return [c for c in self.trajectory.record_changes if c.operation == "create" and c.by == "agent" and c.reference.startswith(kind + "/")]

    @cached_property
    def refs(self) -> dict[str, int]:
        """Case ids of tests, findings and resources that were returned -> turn."""
        found: dict[str, int] = {}
        for event in self.trajectory.tools:
            if event.ok:
                for ref in event.refs:
                    found.setdefault(ref, event.turn)
        return found

    @cached_property
    def labels(self) -> set[str]:
        """Everything that can be cited: labels shown, and T0 to T<last turn in which the patient spoke>."""
        shown = {label for event in self.trajectory.tools if event.ok for label in event.labels}
        turns = {f"T{m.turn}" for m in self.trajectory.messages if m.speaker in ("patient", "scene")}
        return shown | turns

    @cached_property
    def spoke(self) -> tuple[int, ...]:
        """Agent turns with speech, up to the conclusion."""
        return tuple(
            m.turn for m in self.trajectory.messages if m.speaker == "agent" and m.content.strip() and m.turn <= self.end
        )
