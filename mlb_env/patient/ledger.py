"""The ledger: which fact is known to the agent, since when, by which route. One per episode, shared by all simulators."""

from __future__ import annotations

from ..spec.case import Condition, Fact
from ..spec.trajectory import LedgerEntry, Route


class Ledger:
    """Facts that are out. The engine alone writes here; nothing that is not here may be said by a patient."""

    def __init__(self) -> None:
        self.entries: list[LedgerEntry] = []
        self._told: dict[str, str] = {}

    def __contains__(self, fact: str) -> bool:
        return fact in self._told

    def state(self, fact: str) -> str | None:
        """`truth`, `told` (what the speaker believes or admits) or `corrected`; None while it is not out."""
        return self._told.get(fact)

    def disclose(self, fact: Fact, *, turn: int, minute: int, route: Route, condition: Condition, corrected: bool = False) -> bool:
        """Enter a fact. Returns whether that told anything new."""
        spoken = route in ("patient", "opening", "evolves", "document", "transcript")
        told = "corrected" if corrected else "told" if spoken and fact.told_status != "accurate" else "truth"
        if self._told.get(fact.id) in (told, "truth", "corrected"):
            return False
        self._told[fact.id] = told
        self.entries.append(
            LedgerEntry(
                fact=fact.id, topic=fact.topic, turn=turn, minute=minute, route=route, condition=condition, told=told
            )
        )
        return True
