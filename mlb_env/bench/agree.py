"""Measures a judge against people's labels: agreement, coverage, consistency with itself, cost."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..effects import Edge, adrive
from ..judge.agreement import Estimate, Pair, among_people, estimates
from ..judge.labels import Labelled
from ..judge.meaning import Decision, Judge, Voting, decide
from ..spec.trajectory import Usage
from .settings import Calibration

DECIDED = ("met", "unmet")


@dataclass(frozen=True)
class Agreement:
    """`by`: the same figures for each kind of criterion, and each form. `undecided`: reasons with their numbers. `not_applicable`, of rules: what
    both, the rules alone and people alone called so."""

    items: int
    pairs: tuple[Pair, ...]
    figures: dict[str, Estimate]
    by: dict[str, tuple[int, dict[str, Estimate]]]
    people: float | None
    repeats: float | None
    undecided: dict[str, int]
    usage: Usage
    judges: tuple[str, ...] = field(default=())
    not_applicable: tuple[int, int, int] | None = None

    @property
    def coverage(self) -> float:
        return len(self.pairs) / self.items if self.items else 0.0

    @property
    def base_rate(self) -> float:
        return sum(p.people for p in self.pairs) / len(self.pairs) if self.pairs else 0.0


async def agree(
    labelled: Sequence[Labelled], judges: Sequence[Judge], edge: Edge, *, voting: Voting = "majority", repeat: int = 1,
    concurrency: int = 8,
) -> Agreement:  # fmt: skip
    """Put every labelled criterion to the judges and compare.

    Args:
        repeat: how often; beyond the first, only to see how often the judges come to the same verdict (other seeds).
    """
    gate = asyncio.Semaphore(concurrency)

    async def one(dialogue: Labelled, seed: int) -> tuple[dict[str, Decision], Usage]:
        async with gate:
            return await adrive(decide([i.criterion for i in dialogue.items], dialogue.lines, judges, dialogue.lang, voting=voting, seed=seed), edge)

    rounds = [await asyncio.gather(*(one(d, 1000 * number) for d in labelled)) for number in range(max(1, repeat))]
    usage = Usage()
    for decided, used in (pair for found in rounds for pair in found):
        del decided
        usage = Usage(calls=usage.calls + used.calls, prompt_tokens=usage.prompt_tokens + used.prompt_tokens,
                      completion_tokens=usage.completion_tokens + used.completion_tokens)  # fmt: skip
    names = tuple(dict.fromkeys(j.name(lang) for lang in sorted({d.lang for d in labelled}) for j in judges))
    return compared(labelled, [[decisions for decisions, _ in found] for found in rounds], usage, names)


def compared(labelled: Sequence[Labelled], rounds: Sequence[Sequence[Mapping[str, Decision]]], usage: Usage, judges: tuple[str, ...]) -> Agreement:
    """The figures from decisions: for each round, for each dialogue, by criterion."""
    pairs: list[Pair] = []
    groups: dict[str, list[Pair]] = {}
    undecided: dict[str, int] = {}
    same = again = items = 0
    for number, dialogue in enumerate(labelled):
        for item in dialogue.items:
            items += 1
            verdicts = [found[number][item.criterion.id] for found in rounds]
            for other in verdicts[1:]:
                again += 1
                same += other.verdict == verdicts[0].verdict
            first = verdicts[0]
            if first.verdict not in DECIDED:
                reason = f"{first.verdict}: {first.reason}"[:120]
                undecided[reason] = undecided.get(reason, 0) + 1
                continue
            pair = Pair(dialogue.id, item.met, first.verdict == "met")
            pairs.append(pair)
            for key in (f"lang {dialogue.lang}", f"kind {item.criterion.template}", f"form {item.form}"):
                groups.setdefault(key, []).append(pair)
    names = sorted({name for d in labelled for item in d.items for name in item.annotators})
    columns = [[item.annotators.get(n) for d in labelled for item in d.items] for n in names]
    return Agreement(
        items=items, pairs=tuple(pairs), figures=estimates(pairs), by={k: (len(v), estimates(v)) for k, v in sorted(groups.items())},
        people=among_people(columns), repeats=same / again if again else None, undecided=undecided, usage=usage, judges=judges,
    )  # fmt: skip


def calibration(found: Agreement, labels: Path) -> Calibration:
    """The record of a measurement."""
    kappa, f1 = found.figures["kappa"], found.figures["F1"]
    return Calibration(judges=found.judges, labels=hashlib.sha256(labels.read_bytes()).hexdigest(), items=found.items, coverage=round(found.coverage, 6),
                       kappa=kappa.value, kappa_low=kappa.low, f1=f1.value)  # fmt: skip
