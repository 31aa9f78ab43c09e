"""How far a judge agrees with people: the usual figures from two columns of yes and no, each with a clustered bootstrap interval.

`met` is yes. With a = both yes, b = judge only, c = people only, d = both no, n = a + b + c + d:

    accuracy (a+d)/n; precision a/(a+b); recall a/(a+c); specificity d/(b+d); F1 2a/(2a+b+c)
    balanced F1   mean of the F1 of yes and the F1 of no
    kappa         (po - pe)/(1 - pe), pe from both margins (Cohen, Educ Psychol Meas 1960;20:37)
    AC1           (po - pg)/(1 - pg), pg = 2q(1-q), q = mean share of yes (Gwet, Br J Math Stat Psychol 2008;61:29)
    alpha         1 - (2n-1) (b+c)/(2 y m), y and m the numbers of yes and no in both columns together, nominal, two coders
                  (Krippendorff, Content Analysis)

A figure whose denominator is 0 is None.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1000
SEED = 20260106
Figure = Callable[[float, float, float, float], float | None]


def _ratio(top: float, bottom: float) -> float | None:
    return top / bottom if bottom else None


def accuracy(a: float, b: float, c: float, d: float) -> float | None:
    return _ratio(a + d, a + b + c + d)


def precision(a: float, b: float, c: float, d: float) -> float | None:
    return _ratio(a, a + b)


def recall(a: float, b: float, c: float, d: float) -> float | None:
    return _ratio(a, a + c)


def specificity(a: float, b: float, c: float, d: float) -> float | None:
    return _ratio(d, b + d)


def f1(a: float, b: float, c: float, d: float) -> float | None:
    return _ratio(2 * a, 2 * a + b + c)


def balanced_f1(a: float, b: float, c: float, d: float) -> float | None:
    yes, no = f1(a, b, c, d), f1(d, c, b, a)
    return None if yes is None or no is None else (yes + no) / 2


def kappa(a: float, b: float, c: float, d: float) -> float | None:
    n = a + b + c + d
    if not n:
        return None
    expected = ((a + b) * (a + c) + (c + d) * (b + d)) / n**2
    return _ratio((a + d) / n - expected, 1 - expected)


def ac1(a: float, b: float, c: float, d: float) -> float | None:
    n = a + b + c + d
    if not n:
        return None
    q = (2 * a + b + c) / (2 * n)
    expected = 2 * q * (1 - q)
    return _ratio((a + d) / n - expected, 1 - expected)


def alpha(a: float, b: float, c: float, d: float) -> float | None:
    n, yes, no = a + b + c + d, 2 * a + b + c, 2 * d + b + c
    return None if not yes * no else 1 - (2 * n - 1) * (b + c) / (yes * no)


FIGURES: dict[str, Figure] = {
    "accuracy": accuracy, "precision": precision, "recall": recall, "specificity": specificity, "F1": f1, "balanced F1": balanced_f1,
    "kappa": kappa, "AC1": ac1, "alpha": alpha,
}  # fmt: skip


@dataclass(frozen=True)
class Pair:
    """One item: what people said and what the judge said; `group`: items that belong together (one question, one dialogue)."""

    group: str
    people: bool
    judge: bool


@dataclass(frozen=True)
class Estimate:
    value: float | None
    low: float | None = None
    high: float | None = None


def table(pairs: Sequence[Pair]) -> tuple[int, int, int, int]:
    """(both yes, judge only, people only, both no)."""
    a = sum(p.people and p.judge for p in pairs)
    b = sum(p.judge and not p.people for p in pairs)
    c = sum(p.people and not p.judge for p in pairs)
    return a, b, c, len(pairs) - a - b - c


def estimates(pairs: Sequence[Pair], figures: Mapping[str, Figure] = FIGURES) -> dict[str, Estimate]:
    """Each figure with its 95 % interval: percentile bootstrap over groups, 1000 resamples, a fixed seed; no interval under 2 groups."""
    counts: dict[str, list[int]] = {}
    for pair in pairs:
        cell = counts.setdefault(pair.group, [0, 0, 0, 0])
        cell[(0 if pair.people else 1) if pair.judge else (2 if pair.people else 3)] += 1
    cells: NDArray[np.float64] = np.array(list(counts.values()), dtype=float).reshape(-1, 4)
    drawn: NDArray[np.float64] = np.empty((0, 4))
    if len(cells) >= 2:
        rng = np.random.default_rng(SEED)
        drawn = cells[rng.integers(0, len(cells), (RESAMPLES, len(cells)))].sum(axis=1)
    made = {}
    for name, figure in figures.items():
        value = figure(*map(float, table(pairs)))
        sample = [v for row in drawn if (v := figure(*row)) is not None]
        if value is None or not sample:
            made[name] = Estimate(value)
        else:
            low, high = np.percentile(sample, [2.5, 97.5])
            made[name] = Estimate(value, float(low), float(high))
    return made


def among_people(columns: Sequence[Sequence[bool | None]]) -> float | None:
    """The mean kappa of all pairs of annotators over the items that both labelled: what a judge can be expected to reach at most."""
    found = []
    for i, first in enumerate(columns):
        for second in columns[i + 1 :]:
            both = [Pair("", x, y) for x, y in zip(first, second, strict=True) if x is not None and y is not None]
            value = kappa(*map(float, table(both))) if both else None
            if value is not None:
                found.append(value)
    return sum(found) / len(found) if found else None
