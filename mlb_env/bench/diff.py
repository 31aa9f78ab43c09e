"""Two gradings of the same trajectories, criterion by criterion: what changed from which verdict to which, and what it does to the scores."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from ..errors import UserError
from ..judge.agreement import FIGURES, Pair, estimates
from ..spec.base import Model
from ..spec.rubric import Judgement, Verdict
from .store import read_header, read_judgements, read_summary, read_trajectories

DECIDED = ("met", "unmet")
Changes = dict[str, int]  # "met -> unmet": how many


class Part(Model):
    """The verdicts of the whole, a dataset or a template. `pairs`: criteria decided (met or unmet) both times, on which `kappa` (95 %
    interval: bootstrap over case families) is computed; null where it is not defined."""

    criteria: int
    changed: int
    pairs: int
    kappa: float | None
    low: float | None
    high: float | None
    changes: Changes


class Moved(Model):
    """The score of one episode in both gradings; null where it has none."""

    dataset: str
    episode: str
    a: float | None
    b: float | None


class Scores(Model):
    a: float | None
    b: float | None


class Diff(Model):
    """`only_a`, `only_b`: criteria that only one grading has (the rubric was another). `templates`: by dataset and template, `G4 (MAGuidance)`.
    `moved`: episodes whose score differs, furthest first."""

    a: str
    b: str
    judge_a: str
    judge_b: str
    episodes: int
    overall: Part
    datasets: dict[str, Part]
    templates: dict[str, Part]
    only_a: int
    only_b: int
    scores: dict[str, Scores]
    moved: tuple[Moved, ...]


def diff(a: Path, b: Path) -> Diff:
    """Compare two gradings.

    Raises:
        UserError: not finished runs, or their trajectories are not the same.
    """
    summaries = [read_summary(folder) for folder in (a, b)]
    headers = [read_header(folder) for folder in (a, b)]
    _same(a, b)
    first, then = (list(read_judgements(folder)) for folder in (a, b))
    for folder, own in ((a, first), (b, then)):
        if [(j.dataset, j.episode) for j in own] != [(t.dataset, t.episode) for t in read_trajectories(folder)]:
            raise UserError(f"the verdicts of '{folder}' are not of the episodes that were played; `mlb grade {folder} --write` makes them again")
    rows: list[tuple[Judgement, Verdict, Verdict]] = []
    only_a = only_b = 0
    moved = []
    for one, other in zip(first, then, strict=True):
        mine, theirs = ({v.criterion: v for v in j.verdicts} for j in (one, other))
        only_a, only_b = only_a + len(mine.keys() - theirs.keys()), only_b + len(theirs.keys() - mine.keys())
        rows += [(one, v, theirs[id_]) for id_, v in mine.items() if id_ in theirs]
        if one.score.value != other.score.value:
            moved.append(Moved(dataset=one.dataset, episode=one.episode, a=one.score.value, b=other.score.value))
    datasets, templates = {j.dataset for j in first}, {(j.dataset, v.template) for j, v, _ in rows}
    names = [("overall", summaries[0].overall, summaries[1].overall),
             *((n, g, summaries[1].datasets[n]) for n, g in summaries[0].datasets.items() if n in summaries[1].datasets)]  # fmt: skip
    return Diff(
        a=str(a), b=str(b), judge_a=headers[0].settings.judge, judge_b=headers[1].settings.judge, episodes=len(first), overall=_part(rows),
        datasets={name: _part([r for r in rows if r[0].dataset == name]) for name in sorted(datasets)},
        templates={f"{t} ({d})": _part([r for r in rows if (r[0].dataset, r[1].template) == (d, t)]) for d, t in sorted(templates)},
        only_a=only_a, only_b=only_b, scores={name: Scores(a=x.score, b=y.score) for name, x, y in names},
        moved=tuple(sorted(moved, key=lambda m: (-_far(m), m.dataset, m.episode))),
    )  # fmt: skip


def _same(a: Path, b: Path) -> None:
    """Refuses gradings of other trajectories."""
    mine, theirs = read_trajectories(a), read_trajectories(b)
    while True:
        one, other = next(mine, None), next(theirs, None)
        if one is None and other is None:
            return
        if one is None or other is None:
            raise UserError(f"'{a}' and '{b}' hold different numbers of episodes; only two gradings of the same trajectories have a difference "
                            "(mlb grade RUN --judge ... --out NEW)")  # fmt: skip
        if one != other:
            raise UserError(f"the episode {one.episode} of '{a}' is not the one that '{b}' holds in its place; only two gradings of the same "
                            "trajectories have a difference (two runs: mlb compare)")  # fmt: skip


def _part(rows: Sequence[tuple[Judgement, Verdict, Verdict]]) -> Part:
    changes = _counted(f"{x.verdict} -> {y.verdict}" for _, x, y in rows if x.verdict != y.verdict)
    pairs = [Pair(j.family, x.verdict == "met", y.verdict == "met") for j, x, y in rows if x.verdict in DECIDED and y.verdict in DECIDED]
    kappa = estimates(pairs, {"kappa": FIGURES["kappa"]})["kappa"]
    value, low, high = (None if v is None else round(v, 6) + 0.0 for v in (kappa.value, kappa.low, kappa.high))
    return Part(criteria=len(rows), changed=sum(changes.values()), pairs=len(pairs), kappa=value, low=low, high=high, changes=changes)


def _counted(values: Iterable[str]) -> Changes:
    counted: Changes = {}
    for value in values:
        counted[value] = counted.get(value, 0) + 1
    return dict(sorted(counted.items(), key=lambda pair: (-pair[1], pair[0])))


def _far(moved: Moved) -> float:
    """How far a score moved; one that appeared or went away moved furthest."""
    return 2.0 if moved.a is None or moved.b is None else abs(moved.b - moved.a)
