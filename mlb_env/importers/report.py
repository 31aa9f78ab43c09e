"""What an import came to: what was written, what was left out and why. Nothing is left out in silence."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from ..spec.base import Model


class Skipped(Model):
    """One thing that could not be imported. `where`: file and item."""

    where: str
    reason: str


class ImportReport(Model):
    """The account of one import. `written`: dataset -> number of items or scenarios."""

    format: str
    written: dict[str, int]
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass
class Tally:
    """Collects what a converter reports. `count` adds up what would otherwise be one note for each item."""

    written: dict[str, int] = field(default_factory=dict)
    skipped: list[Skipped] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def skip(self, where: str, reason: str) -> None:
        self.skipped.append(Skipped(where=where, reason=reason))

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def count(self, what: str, number: int = 1) -> None:
        self.counts[what] += number

    def report(self, format_: str) -> ImportReport:
        counted = [f"{what}: {number}" for what, number in self.counts.items()]
        return ImportReport(
            format=format_, written=dict(self.written), skipped=tuple(self.skipped), notes=(*self.notes, *counted)
        )
