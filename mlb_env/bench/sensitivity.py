"""How far the scores and ranks of runs depend on what the rubric's makers chose: weights, caps of harms, the share of the process.

Saved verdicts are scored again with judge/score.py; nothing is judged anew. In each draw every weight is multiplied with a number of its own,
uniform from 0.5 to 2, the same for all runs. Beside the draws stand single changes of the formula: caps off, caps at half, process share 0
and 0.5.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Literal

import numpy as np

from ..errors import UserError
from ..judge.score import CAPS, OURS, Formula, score
from ..spec.base import Model
from ..spec.rubric import Judgement
from .store import RunHeader, read_header, read_judgements, read_summary, read_trajectories
from .summary import Row, overall

LOW, HIGH = 0.5, 2.0  # what a weight is multiplied with
By = Literal["criterion", "template"]
Key = tuple[str, str, str]  # dataset, scenario ("" by template), criterion or template
VARIANTS: dict[str, Formula] = {
    "caps off": Formula(caps={}), "caps at half": Formula(caps={grade: cap / 2 for grade, cap in CAPS.items()}),
    "process share 0": Formula(process_share=0.0), "process share 0.5": Formula(process_share=0.5),
}  # fmt: skip


class RunRange(Model):
    """The overall score of a run: as it is, over the draws (lowest, 5 %, 95 %, highest), and with each single change."""

    run: str
    score: float
    lowest: float
    low: float
    high: float
    highest: float
    variants: dict[str, float | None]


class PairOrder(Model):
    """Two runs: `difference` a - b as it is, `kept`: share of the draws in which it has the same sign, `variants`: whether it keeps it."""

    a: str
    b: str
    difference: float
    kept: float
    variants: dict[str, bool]


class Ranks(Model):
    """Kendall's tau-b between the ranks as they are and those of each draw: mean, 5 %, lowest; `same`: share of the draws in which no
    pair changes its order. `variants`: tau with each single change. Null where it is not defined (all runs score alike)."""

    mean: float | None
    low: float | None
    lowest: float | None
    same: float
    variants: dict[str, float | None]


class Sensitivity(Model):
    """`by`: whether each criterion has a draw of its own, or all of one template (G4, M5 ...) share theirs. `ranks` null with one run."""

    draws: int
    seed: int
    by: By
    episodes: int
    judges: tuple[str, ...]
    runs: tuple[RunRange, ...]
    pairs: tuple[PairOrder, ...]
    ranks: Ranks | None


def sensitivity(folders: Sequence[Path], *, draws: int = 200, seed: int = 0, by: By = "criterion") -> Sensitivity:
    """Score saved verdicts again under other weights and caps.

    Args:
        seed: of the draws.

    Raises:
        UserError: not finished runs, runs of other episodes or content, a run without a score, the same run twice.
    """
    if len({f.resolve() for f in folders}) != len(folders):
        raise UserError("a run is named twice; each can be ranked once")
    headers = [_header(folder) for folder in folders]
    runs = [list(zip(_rows(folder), read_judgements(folder), strict=True)) for folder in folders]
    _alike(folders, headers, runs)
    names = [str(f) for f in folders]
    base: list[float] = []
    for folder, run in zip(folders, runs, strict=True):
        found = _overall(run, OURS, {}, by)
        if found is None:
            raise UserError(f"'{folder}' has no overall score, so there is nothing that could change")
        base.append(found)
    keys = sorted({_key(j, v.criterion, v.template, by) for run in runs for _, j in run for v in j.verdicts})
    rng = np.random.default_rng(seed)
    drawn: list[list[float]] = []
    for _ in range(draws):
        factors = dict(zip(keys, rng.uniform(LOW, HIGH, len(keys)).tolist(), strict=True))
        drawn.append([value for run in runs if (value := _overall(run, OURS, factors, by)) is not None])
    variants = {name: [_overall(run, formula, {}, by) for run in runs] for name, formula in VARIANTS.items()}
    return Sensitivity(
        draws=draws, seed=seed, by=by, episodes=len(runs[0]), judges=tuple(h.settings.judge for h in headers),
        runs=tuple(_range(name, base[i], [d[i] for d in drawn], {n: v[i] for n, v in variants.items()}) for i, name in enumerate(names)),
        pairs=tuple(_pair(names, i, k, base, drawn, variants) for i, k in combinations(range(len(names)), 2)),
        ranks=_ranks(base, drawn, variants) if len(names) > 1 else None,
    )  # fmt: skip


def tau_b(one: Sequence[float | None], other: Sequence[float | None]) -> float | None:
    """Kendall's tau-b of two lists of scores; None where a list has no order at all (Kendall, Biometrika 1945;33:239)."""
    total = ties_one = ties_other = n = 0
    for i, k in combinations(range(len(one)), 2):
        x, y = _sign(one[i], one[k]), _sign(other[i], other[k])
        n += 1
        total += x * y
        ties_one += x == 0
        ties_other += y == 0
    bottom = ((n - ties_one) * (n - ties_other)) ** 0.5
    return total / bottom if bottom else None


def _sign(a: float | None, b: float | None) -> int:
    x, y = (-1.0 if v is None else v for v in (a, b))
    return (x > y) - (x < y)


def _header(folder: Path) -> RunHeader:
    read_summary(folder)  # a finished run
    return read_header(folder)


def _rows(folder: Path) -> list[Row]:
    return [Row.of(t, j) for t, j in zip(read_trajectories(folder), read_judgements(folder), strict=True)]


def _alike(folders: Sequence[Path], headers: Sequence[RunHeader], runs: Sequence[Sequence[tuple[Row, Judgement]]]) -> None:
    """Ranks are of runs over the same episodes of the same content."""
    first = {(r.dataset, r.episode) for r, _ in runs[0]}
    for folder, header, run in zip(folders, headers, runs, strict=True):
        if header.edition != headers[0].edition or header.content != headers[0].content:
            raise UserError(f"'{folder}' and '{folders[0]}' played different content; only runs over the same scenarios have ranks")
        if {(r.dataset, r.episode) for r, _ in run} != first:
            raise UserError(f"'{folder}' and '{folders[0]}' did not play the same episodes; play one of them again with the other's settings")


def _key(judgement: Judgement, criterion: str, template: str, by: By) -> Key:
    return (judgement.dataset, judgement.scenario, criterion) if by == "criterion" else (judgement.dataset, "", template)


def _overall(run: Sequence[tuple[Row, Judgement]], formula: Formula, factors: Mapping[Key, float], by: By) -> float | None:
    rows = []
    for row, judgement in run:
        own = {v.criterion: factors[_key(judgement, v.criterion, v.template, by)] for v in judgement.verdicts} if factors else {}
        found = score(judgement.verdicts, failure=judgement.score.ungraded, counts=judgement.score.counts, formula=replace(formula, factors=own))
        rows.append(replace(row, score=found))
    return overall(rows)


def _range(run: str, value: float, drawn: Sequence[float], variants: dict[str, float | None]) -> RunRange:
    low, high = np.percentile(drawn, [5, 95])
    return RunRange(run=run, score=value, lowest=min(drawn), low=round(float(low), 6), high=round(float(high), 6), highest=max(drawn), variants=variants)


def _pair(names: Sequence[str], i: int, k: int, base: Sequence[float], drawn: Sequence[Sequence[float]],
          variants: Mapping[str, Sequence[float | None]]) -> PairOrder:  # fmt: skip
    order = _sign(base[i], base[k])
    kept = sum(_sign(d[i], d[k]) == order for d in drawn)
    return PairOrder(a=names[i], b=names[k], difference=round(base[i] - base[k], 6) + 0.0, kept=round(kept / len(drawn), 6),
                     variants={n: _sign(v[i], v[k]) == order for n, v in variants.items()})  # fmt: skip


def _ranks(base: Sequence[float], drawn: Sequence[Sequence[float]], variants: Mapping[str, Sequence[float | None]]) -> Ranks:
    taus = [tau for d in drawn if (tau := tau_b(base, d)) is not None]
    pairs = list(combinations(range(len(base)), 2))
    same = sum(all(_sign(base[i], base[k]) == _sign(d[i], d[k]) for i, k in pairs) for d in drawn)
    return Ranks(
        mean=round(sum(taus) / len(taus), 6) if taus else None, low=round(float(np.percentile(taus, 5)), 6) if taus else None,
        lowest=round(min(taus), 6) if taus else None, same=round(same / len(drawn), 6),
        variants={n: tau if (tau := tau_b(base, v)) is None else round(tau, 6) for n, v in variants.items()},
    )  # fmt: skip
