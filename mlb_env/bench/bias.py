"""Does a judge change its verdicts for what should not matter? The same labelled criteria are put again, each time with one thing changed.

    again     nothing but the seed: how often the judge differs from itself; what the others are to be held against
    place     the criterion stands after the record in place of before it (position)
    order     several criteria of one call in the reverse order (position); only where the protocol puts several in a call
    length    the agent's turns are padded with sentences that say nothing (verbosity)

With m the first verdicts and c the changed ones, over the criteria decided both times: flipped is the share with m != c, shift is the share of
met in c less that in m. Intervals: bootstrap over dialogues (judge/agreement.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random
from typing import Literal

from ..effects import Edge, adrive
from ..judge.agreement import Pair, estimates
from ..judge.labels import Labelled
from ..judge.meaning import Decision, ModelJudge, decide
from ..judge.padding import padded
from ..spec.base import Model
from ..spec.trajectory import Usage

Change = Literal["again", "place", "order", "length"]
CHANGES: tuple[Change, ...] = ("again", "place", "order", "length")
DECIDED = ("met", "unmet")
SEED = 1000  # further from the first seed than a judge asks again


class Bound(Model):
    """A share or a difference with its 95 % interval."""

    value: float | None
    low: float | None
    high: float | None


class Effect(Model):
    """What one change did. `pairs`: criteria decided both times; `lost`: decided at first and not with the change; `to_met`, `to_unmet`:
    verdicts that flipped, by direction."""

    change: Change
    pairs: int
    lost: int
    to_met: int
    to_unmet: int
    flipped: Bound
    shift: Bound


class Bias(Model):
    """A judge's effects. `decided`: criteria with a verdict at first, `met`: share of them met; `left_out`: changes that this judge and these
    labels give no occasion for, with the reason."""

    judge: tuple[str, ...]
    items: int
    decided: int
    met: float | None
    effects: tuple[Effect, ...]
    left_out: dict[str, str]
    usage: Usage


async def bias(labelled: Sequence[Labelled], judge: ModelJudge, edge: Edge, rng: Random, *, changes: Sequence[Change] = CHANGES, concurrency: int = 8) -> Bias:
    """Put every labelled criterion to one judge as it is, and once for each change.

    Args:
        rng: draws the sentences of the padding.
    """
    gate = asyncio.Semaphore(concurrency)
    fill = {d.id: rng.random() for d in labelled}

    async def one(dialogue: Labelled, asked: ModelJudge, change: Change | None) -> tuple[dict[str, Decision], Usage]:
        lines = padded(dialogue.lines, dialogue.lang, Random(fill[dialogue.id])) if change == "length" else dialogue.lines
        criteria = [i.criterion for i in ungated(dialogue).items]
        async with gate:
            return await adrive(decide(criteria, lines, [asked], dialogue.lang, seed=SEED if change == "again" else 0), edge)

    left_out = no_occasion(labelled, judge)
    variants: dict[Change, ModelJudge] = {"place": replace(judge, last=True), "order": replace(judge, turned=True)}
    usage = Usage()

    async def all_(change: Change | None) -> list[dict[str, Decision]]:
        nonlocal usage
        asked = variants.get(change, judge) if change else judge
        found = await asyncio.gather(*(one(d, asked, change) for d in labelled))
        for _, used in found:
            usage = Usage(calls=usage.calls + used.calls, prompt_tokens=usage.prompt_tokens + used.prompt_tokens,
                          completion_tokens=usage.completion_tokens + used.completion_tokens)  # fmt: skip
        return [decided for decided, _ in found]

    first = await all_(None)
    effects = [_effect(change, labelled, first, await all_(change)) for change in changes if change not in left_out]
    verdicts = [d.verdict for by in first for d in by.values() if d.verdict in DECIDED]
    return Bias(
        judge=tuple(judge.name(lang) for lang in sorted({d.lang for d in labelled})), items=sum(len(d.items) for d in labelled), decided=len(verdicts),
        met=round(verdicts.count("met") / len(verdicts), 6) if verdicts else None, effects=tuple(effects), left_out={c: w for c, w in left_out.items() if c in changes}, usage=usage,
    )  # fmt: skip


def no_occasion(labelled: Sequence[Labelled], judge: ModelJudge) -> dict[str, str]:
    """The changes that these labels and this judge give no occasion for, with the reason."""
    several = any(len(b) > 1 for d in labelled for b in judge.batches([i.criterion for i in d.items]))
    return {} if several else {"order": "no call of this judge on these labels holds several criteria"}


def ungated(dialogue: Labelled) -> Labelled:
    """The same labels without gates: a serious gate is not asked of a single judge, and here no score is made."""
    return replace(dialogue, items=tuple(replace(i, criterion=i.criterion.model_copy(update={"gate": None})) for i in dialogue.items))


def _effect(change: Change, labelled: Sequence[Labelled], first: Sequence[dict[str, Decision]], then: Sequence[dict[str, Decision]]) -> Effect:
    pairs, lost = [], 0
    for dialogue, before, after in zip(labelled, first, then, strict=True):
        for id_, decision in before.items():
            if decision.verdict in DECIDED and after[id_].verdict in DECIDED:
                pairs.append(Pair(dialogue.id, decision.verdict == "met", after[id_].verdict == "met"))
            elif decision.verdict in DECIDED:
                lost += 1
    found = estimates(pairs, FIGURES)
    bounds = {name: Bound(value=_six(e.value), low=_six(e.low), high=_six(e.high)) for name, e in found.items()}
    return Effect(change=change, pairs=len(pairs), lost=lost, to_met=sum(p.judge and not p.people for p in pairs),
                  to_unmet=sum(p.people and not p.judge for p in pairs), **bounds)  # fmt: skip


def _flipped(a: float, b: float, c: float, d: float) -> float | None:
    n = a + b + c + d
    return (b + c) / n if n else None


def _shift(a: float, b: float, c: float, d: float) -> float | None:
    n = a + b + c + d
    return (b - c) / n if n else None


FIGURES: dict[str, Callable[[float, float, float, float], float | None]] = {"flipped": _flipped, "shift": _shift}


def _six(value: float | None) -> float | None:
    return None if value is None else round(value, 6) + 0.0
