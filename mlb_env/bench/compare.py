"""Two runs over the same scenarios, pair by pair: is the difference more than chance?

Pairs are items (a scenario in one language); an item's score is the mean over the trials that both runs have a score for.
The overall difference weighs as the overall score does: dimensions alike, in them datasets alike, in them items alike. An
extraction item counts with its own F1 here, so that it can be paired.
"""

from __future__ import annotations

from pathlib import Path

from ..errors import UserError
from ..spec.base import Model
from ..spec.rubric import Judgement
from .stats import Interval, Tally, ci95, detectable, holm, sign_flip, standard_error
from .store import TRAJECTORIES, VERDICTS, RunHeader, read_header, read_judgements, read_summary, read_trajectories


class Difference(Model):
    """B minus A. `wins`: items where B is better. `p`: two-sided, by flipping the signs of whole families; `p_holm`: the
    same, corrected for the number of datasets. `se`: of the paired difference, by cluster. `detectable`: the smallest true difference
    that these pairs show with 80 % power at a two-sided 5 %; null where it cannot be told."""

    items: int
    clusters: int
    a: float
    b: float
    difference: float
    ci95: Interval | None
    p: float
    p_holm: float | None
    wins: int
    losses: int
    ties: int
    se: float | None = None
    detectable: float | None = None


class Comparison(Model):
    """`only_a`, `only_b`: episodes that only that run has. `unscored`: common episodes without a score in one of them."""

    a: str
    b: str
    overall: Difference
    datasets: dict[str, Difference]
    only_a: int
    only_b: int
    unscored: int


class _Pair(Model):
    dataset: str
    dimension: str
    family: str
    a: float
    b: float

    @property
    def d(self) -> float:
        return self.b - self.a


def compare(a: Path, b: Path) -> Comparison:
    """Compare two finished runs.

    Raises:
        UserError: not a finished run; other editions or other content; no episode that both have a score for.
    """
    headers = []
    for folder in (a, b):
        read_summary(folder)
        headers.append(read_header(folder))
    _comparable(a, b, *headers)
    mine, theirs = (_judgements(folder, header) for folder, header in zip((a, b), headers, strict=True))
    pairs, unscored = _pairs(mine, theirs)
    if not pairs:
        raise UserError(f"'{a}' and '{b}' have no episode in common that both have a score for")
    weights = _weights(pairs)
    by_set: dict[str, list[_Pair]] = {}
    for pair in pairs:
        by_set.setdefault(pair.dataset, []).append(pair)
    datasets = {name: _difference(own, [1 / len(own)] * len(own)) for name, own in by_set.items()}
    corrected = holm([d.p for d in datasets.values()])
    return Comparison(
        a=str(a), b=str(b), overall=_difference(pairs, weights),
        datasets={n: d.model_copy(update={"p_holm": round(p, 6)}) for (n, d), p in zip(datasets.items(), corrected, strict=True)},
        only_a=len(mine.keys() - theirs.keys()), only_b=len(theirs.keys() - mine.keys()), unscored=unscored,
    )  # fmt: skip


def _judgements(folder: Path, header: RunHeader) -> dict[str, Judgement]:
    """The judgements of a run by episode; what is compared must be the whole run."""
    played = [t.episode for t in read_trajectories(folder)]
    judged = {j.episode: j for j in read_judgements(folder)}
    if len(played) != header.episodes:
        raise UserError(f"'{folder}/{TRAJECTORIES}' holds {len(played)} episodes, but the run had {header.episodes}; "
                        "the file is damaged, play the run again")  # fmt: skip
    if played != [*judged]:
        raise UserError(f"'{folder}/{VERDICTS}' is not of the episodes that were played; "
                        f"`mlb grade {folder} --write` makes it again")  # fmt: skip
    return judged


def _comparable(a: Path, b: Path, one: RunHeader, other: RunHeader) -> None:
    if one.edition != other.edition:
        raise UserError(f"'{a}' is of the edition '{one.edition}', '{b}' of '{other.edition}'; editions are never compared")
    changed = [n for n in one.content if n in other.content and one.content[n] != other.content[n]]
    if changed:
        raise UserError(f"'{a}' and '{b}' played different content of {', '.join(changed)}; run one of them again")


def _pairs(mine: dict[str, Judgement], theirs: dict[str, Judgement]) -> tuple[list[_Pair], int]:
    """One pair for each common item with a score in both, and how many common episodes lack one."""
    trials: dict[tuple[str, str, str], list[tuple[Judgement, float, float]]] = {}
    unscored = 0
    for name, one in mine.items():
        if (other := theirs.get(name)) is None:
            continue
        x, y = one.score.value, other.score.value
        if x is None or y is None:
            unscored += 1
        else:
            trials.setdefault((one.dataset, one.scenario, one.lang), []).append((one, x, y))
    pairs = [
        _Pair(dataset=own[0][0].dataset, dimension=own[0][0].dimension, family=own[0][0].family,
              a=sum(t[1] for t in own) / len(own), b=sum(t[2] for t in own) / len(own))
        for own in trials.values()
    ]  # fmt: skip
    return pairs, unscored


def _weights(pairs: list[_Pair]) -> list[float]:
    """Each item's weight in the overall score."""
    items: dict[str, int] = {}
    sets: dict[str, set[str]] = {}
    for pair in pairs:
        items[pair.dataset] = items.get(pair.dataset, 0) + 1
        sets.setdefault(pair.dimension, set()).add(pair.dataset)
    return [1 / (len(sets) * len(sets[p.dimension]) * items[p.dataset]) for p in pairs]


def _difference(pairs: list[_Pair], weights: list[float]) -> Difference:
    tallies: dict[str, dict[str, Tally]] = {}
    clusters: dict[str, float] = {}
    for pair, weight in zip(pairs, weights, strict=True):
        tallies.setdefault(pair.dimension, {}).setdefault(pair.dataset, Tally()).add(pair.family, pair.d, 1.0)
        clusters[pair.family] = clusters.get(pair.family, 0.0) + weight * pair.d
    parts = [list(sets.values()) for sets in tallies.values()]
    interval, se = ci95(parts), standard_error(parts)
    least = detectable(se, len(clusters))
    a, b = (sum(w * v for w, v in zip(weights, values, strict=True)) for values in ([p.a for p in pairs], [p.b for p in pairs]))
    return Difference(
        items=len(pairs), clusters=len(clusters), a=round(a, 6), b=round(b, 6), difference=round(b - a, 6) + 0.0,
        ci95=(round(interval[0], 6) + 0.0, round(interval[1], 6) + 0.0) if interval else None,
        p=round(sign_flip(clusters), 6), p_holm=None,
        wins=sum(p.d > 0 for p in pairs), losses=sum(p.d < 0 for p in pairs), ties=sum(p.d == 0 for p in pairs),
        se=None if se is None else round(se, 6), detectable=None if least is None else round(least, 6),
    )  # fmt: skip
