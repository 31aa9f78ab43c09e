"""The statistics of a benchmark: cluster bootstrap, clustered standard errors and power, Wilson intervals, pass@k, paired permutation,
Holm's correction.

Everything is seeded with a fixed seed and summed in a fixed order, so that the same episodes give the same figures.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1000
SEED = 20260106
ALPHA, POWER = 0.05, 0.8  # of the smallest difference that is likely to be found
EXACT_UP_TO = 14  # clusters: below this every sign pattern is tried (2^14), above it a seeded sample of them
PERMUTATIONS = 10_000
CI_METHOD = (
    f"percentile bootstrap of clusters (case or item families), {RESAMPLES} resamples, seed {SEED}; "
    "null with fewer than 2 clusters; of width 0 where all clusters score alike"
)
Interval = tuple[float, float]
Floats = NDArray[np.float64]


@dataclass
class Tally:
    """The sums behind one dataset's score, by cluster. The score is the sum of `top` over the sum of `bottom`.

    A mean: top is the sum of the items' scores, bottom their number. A pooled F1: top is 2 TP, bottom 2 TP + FP + FN; where
    all of them are 0, both sets are empty everywhere and the score is 1.
    """

    top: dict[str, float] = field(default_factory=dict)
    bottom: dict[str, float] = field(default_factory=dict)

    def add(self, cluster: str, top: float, bottom: float) -> None:
        self.top[cluster] = self.top.get(cluster, 0.0) + top
        self.bottom[cluster] = self.bottom.get(cluster, 0.0) + bottom

    @property
    def score(self) -> float | None:
        """None where nothing was added."""
        if not self.top:
            return None
        bottom = sum(self.bottom.values())
        return sum(self.top.values()) / bottom if bottom else 1.0


def mean(values: Sequence[float | None]) -> float | None:
    """The mean of those that are there; None where none is."""
    present = [v for v in values if v is not None]
    return sum(present) / len(present) if present else None


def ci95(groups: Sequence[Sequence[Tally]]) -> Interval | None:
    """The 95 % interval of the mean over groups of the mean over their tallies' scores; families are resampled once for all.

    Args:
        groups: dimensions, each with its datasets' tallies; `[[tally]]` for one dataset.

    Returns:
        (low, high), or None with fewer than 2 clusters.
    """
    groups = [[t for t in group if t.top] for group in groups]
    groups = [group for group in groups if group]
    clusters = sorted({c for group in groups for tally in group for c in tally.top})
    if len(clusters) < 2:
        return None
    rng = np.random.default_rng(SEED)
    chunk = max(1, 4_000_000 // len(clusters))  # bounds memory for large runs
    drawn = []
    for start in range(0, RESAMPLES, chunk):
        size = min(chunk, RESAMPLES - start)
        weights = rng.multinomial(len(clusters), np.full(len(clusters), 1 / len(clusters)), size=size).astype(np.float64)
        drawn.append(_mean([_mean([_resampled(t, clusters, weights) for t in group]) for group in groups]))
    low, high = np.percentile(np.concatenate(drawn), [2.5, 97.5])
    return float(low), float(high)


def _resampled(tally: Tally, clusters: Sequence[str], weights: Floats) -> Floats:
    """The tally's score in each resample; NaN where none of its clusters was drawn."""
    top, bottom, here = (
        (weights * np.array([values.get(c, 0.0) for c in clusters])).sum(axis=1)
        for values in (tally.top, tally.bottom, dict.fromkeys(tally.top, 1.0))
    )
    scores: Floats = np.where(bottom > 0, top / np.where(bottom > 0, bottom, 1.0), 1.0)
    return np.where(here > 0, scores, np.nan)


def _mean(columns: Sequence[Floats]) -> Floats:
    """The mean of what is not NaN; a dataset whose clusters were not drawn is left out of that resample."""
    table = np.stack(columns)
    there = ~np.isnan(table)
    count = there.sum(axis=0)
    total = np.where(there, table, 0.0).sum(axis=0)
    return np.where(count > 0, total / np.where(count > 0, count, 1), np.nan)


def standard_error(groups: Sequence[Sequence[Tally]]) -> float | None:
    """The clustered standard error of the score that `ci95` is the interval of, by linearisation.

    The score is sum_s W_s T_s / B_s over datasets s (W_s = 1 / (dimensions x datasets of its dimension); T, B: sums of top and bottom).
    A cluster c moves it by u_c = sum_s W_s (t_sc - T_s/B_s * b_sc) / B_s, and SE^2 = G/(G-1) * sum_c u_c^2 over G clusters: the cluster-robust
    variance of a weighted mean (Miller, "Adding Error Bars to Evals", arXiv 2411.00640), here also of a ratio.

    Returns:
        None with fewer than 2 clusters.
    """
    groups = [[t for t in group if t.top] for group in groups]
    groups = [group for group in groups if group]
    moves: dict[str, float] = {c: 0.0 for group in groups for tally in group for c in tally.top}
    if len(moves) < 2:
        return None
    for group in groups:
        for tally in group:
            bottom = sum(tally.bottom.values())
            if not bottom:
                continue
            score = sum(tally.top.values()) / bottom
            for c, top in tally.top.items():
                moves[c] += (top - score * tally.bottom[c]) / (bottom * len(group) * len(groups))
    return math.sqrt(len(moves) / (len(moves) - 1) * sum(moves[c] ** 2 for c in sorted(moves)))


def detectable(se: float | None, clusters: int) -> float | None:
    """The smallest true difference that a two-sided test at 5 % finds with 80 % power: (t[0.975] + t[0.8]) * SE, both with G - 1 degrees of
    freedom over G clusters (Bloom, "Minimum detectable effects", Evaluation Review 1995;19:547); with many clusters 2.80 * SE.

    Args:
        se: the standard error of the difference.

    Returns:
        None where the error is unknown, or 0: clusters that are all alike say nothing on how they vary.
    """
    if se is None or se < 1e-9 or clusters < 2:
        return None
    return (t_quantile(1 - ALPHA / 2, clusters - 1) + t_quantile(POWER, clusters - 1)) * se


def t_quantile(p: float, df: int) -> float:
    """Student's t at p >= 0.5, by bisection of its distribution (Abramowitz and Stegun 26.7.3 and 26.7.4); above 300 the normal one."""
    if df > 300:
        return NormalDist().inv_cdf(p)
    low, high = 0.0, 1e4
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if (1 + _within(middle, df)) / 2 < p else (low, middle)
    return (low + high) / 2


def _within(t: float, df: int) -> float:
    """The chance that Student's t lies within -t and t."""
    angle = math.atan(t / math.sqrt(df))
    odd = df % 2
    term, total = (math.cos(angle) if odd else 1.0), 0.0
    for k in range(2 + odd, df + 1, 2):
        total += term
        term *= (k - 1) / k * math.cos(angle) ** 2
    return 2 / math.pi * (angle + math.sin(angle) * total) if odd else math.sin(angle) * total


def wilson(hits: int, n: int) -> Interval | None:
    """Wilson's 95 % interval of a proportion; None without trials."""
    if n == 0:
        return None
    z = 1.959963984540054
    p = hits / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def pass_at_k(successes: int, n: int, k: int) -> float:
    """The chance that at least one of k trials, drawn from n without putting back, is a success."""
    return (math.comb(n, k) - math.comb(n - successes, k)) / math.comb(n, k)


def pass_hat_k(successes: int, n: int, k: int) -> float:
    """The chance that all of k trials, drawn from n without putting back, are successes."""
    return math.comb(successes, k) / math.comb(n, k)


def sign_flip(by_cluster: Mapping[str, float]) -> float:
    """The two-sided p of a paired difference, by flipping the signs of whole clusters.

    Exact with few clusters, else over a seeded sample of sign patterns.

    Args:
        by_cluster: each cluster's contribution to the difference (they sum to it).
    """
    values = np.array([by_cluster[c] for c in sorted(by_cluster) if by_cluster[c] != 0.0])
    if not len(values):
        return 1.0
    seen = abs(float(values.sum())) * (1 - 1e-9)  # equal sums in another order must count as equal
    if len(values) <= EXACT_UP_TO:
        signs = np.array(list(product((1.0, -1.0), repeat=len(values))))
        return float((np.abs((signs * values).sum(axis=1)) >= seen).mean())
    rng = np.random.default_rng(SEED)
    hits, chunk = 0, max(1, 4_000_000 // len(values))
    for start in range(0, PERMUTATIONS, chunk):
        size = min(chunk, PERMUTATIONS - start)
        signs = rng.integers(0, 2, size=(size, len(values))) * 2.0 - 1.0
        hits += int((np.abs((signs * values).sum(axis=1)) >= seen).sum())
    return (1 + hits) / (1 + PERMUTATIONS)


def holm(ps: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p values, in the order given."""
    order = sorted(range(len(ps)), key=lambda i: ps[i])
    adjusted = [0.0] * len(ps)
    running = 0.0
    for rank, i in enumerate(order):
        running = max(running, min(1.0, (len(ps) - rank) * ps[i]))
        adjusted[i] = running
    return adjusted
