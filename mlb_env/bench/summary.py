"""From episodes to summary.json: scores with intervals, coverage, harms, usage. Plain counting, no files, no printing.

Dataset: the pooled strict micro-F1 where answers are extracted, else the mean of the items' scores (an item's score is the
mean over its trials). Dimension: the mean of its datasets with a score. Overall: the mean of the dimensions with a score. A specialty,
language, persona or difficulty: as overall, over its episodes only. Micro: the mean over all items, each weighing the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ..judge.triage import CRITERIA, Direction, triage
from ..spec.base import Model
from ..spec.rubric import Counts, Judgement, Score
from ..spec.trajectory import Trajectory, Usage
from .stats import CI_METHOD, Interval, Tally, ci95, detectable, mean, pass_at_k, pass_hat_k, standard_error, wilson

GROUPINGS = ("specialty", "lang", "persona", "difficulty")  # what Summary.groups is by
_ORDER = {v: i for i, v in enumerate(("zh", "en", "low", "medium", "high"))}  # other values stand in alphabetical order
SUCCESS = 0.99  # an episode with at least this score is a success of pass@k and pass^k


class PatientFigures(Model):
    """How the simulated patients did, beside the model's score (`mlb patients audit` looks closer). `questions`: asked and answered or
    not; `unparsed`: of those, not understood; `refused`: wordings that the guard sent back; `fallbacks`: replies for which the
    offline wording stood in; `doubts`: replies that a person or a transcript worded and the guard doubts."""

    replies: int
    facts: int
    unparsed: int
    repeated: int
    refused: int
    fallbacks: int
    doubts: int

    @classmethod
    def of(cls, trajectories: Iterable[Trajectory]) -> PatientFigures:
        chosen = list(trajectories)
        told = [x for t in chosen for x in t.tellings]
        kinds = [a.kind for t in chosen for a in t.answers]
        return cls(
            replies=len(told), facts=sum(len(x.facts) for x in told), unparsed=kinds.count("unparsed"), repeated=kinds.count("repeated"),
            refused=sum(len(x.refused) for x in told), fallbacks=sum(x.by == "fallback" for x in told),
            doubts=sum(bool(x.doubts) for x in told),
        )  # fmt: skip

    @classmethod
    def total(cls, figures: Iterable[PatientFigures]) -> PatientFigures | None:
        """All of them together; None where there are none."""
        chosen = list(figures)
        names = cls.model_fields
        return cls(**{n: sum(getattr(f, n) for f in chosen) for n in names}) if chosen else None


@dataclass(frozen=True)
class Row:
    """What the summary needs of one episode."""

    episode: str
    scenario: str
    dataset: str
    dimension: str
    lang: str
    trial: int
    family: str
    score: Score
    usage: dict[str, Usage]
    stop_reason: str
    patient: PatientFigures | None = None
    turns: int = 0
    specialty: str = ""
    difficulty: str = ""
    persona: str = ""  # empty where no patient speaks
    triage: Mapping[Direction, bool] = field(default_factory=dict)  # whether the episode erred, where it could have

    @classmethod
    def of(cls, trajectory: Trajectory, judgement: Judgement) -> Row:
        t = trajectory
        return cls(t.episode, t.scenario, t.dataset, t.dimension, t.lang, t.trial, t.family, judgement.score, t.usage,
                   t.stop_reason, PatientFigures.of([t]) if t.tellings else None, t.turns, t.specialty, t.difficulty, t.persona or "",
                   triage(judgement.verdicts))  # fmt: skip

    @property
    def item(self) -> tuple[str, str]:
        return self.scenario, self.lang


class Group(Model):
    """The figures of a dataset, a dimension, another group of episodes or the whole run.

    `n`: episodes played. `scored`: of those, with a score. `ungraded`: of those, left without a score by a failure.
    `criteria_judged`: share of the rubric's weight that a judge decided, over the episodes that did not fail.
    `se`: the standard error of the score, by cluster. `score_lenient`: the lenient F1 of an extraction dataset. `pass_at_k`, `pass_hat_k`: by k, with several trials.
    """

    score: float | None
    ci95: Interval | None
    n: int
    scored: int
    ungraded: int
    criteria_judged: float
    clusters: int
    se: float | None = None
    score_lenient: float | None = None
    pass_at_k: dict[str, float] | None = None
    pass_hat_k: dict[str, float] | None = None


class HarmRate(Model):
    """Harms of one grade. `opportunities`: gated criteria that were decided. `episodes`: with such an opportunity;
    `harmed`: of those, with such a harm; `per_100`: their rate in 100, with Wilson's interval."""

    count: int
    opportunities: int
    episodes: int
    harmed: int
    per_100: float | None
    ci95: Interval | None
    acts: int
    omissions: int


class TriageRate(Model):
    """Triage errors of one direction (judge/triage.py). `episodes`: with the opportunity; `erred`: of those, with the error; `per_100`: their
    rate in 100, with Wilson's interval."""

    episodes: int
    erred: int
    per_100: float
    ci95: Interval


class Spent(Model):
    """Model calls of one role; `cost` in US dollars, null where no price is known."""

    calls: int
    prompt_tokens: int
    completion_tokens: int
    tokens: int
    cost: float | None


class Summary(Model):
    """summary.json. `coverage`: share of episodes that no failure left ungraded. `micro`: every item weighs the same, an extraction item
    with its own F1. `groups`: specialty, lang, persona, difficulty -> value -> its figures. `turns`: of the agent, mean of the episodes.
    `detectable`: the smallest true difference of overall that two runs of this size, compared without pairing, show with 80 % power.
    What came later than the first version is empty or null in the summaries of older runs.
    """

    coverage: float
    overall: Group
    dimensions: dict[str, Group]
    datasets: dict[str, Group]
    harms: dict[str, HarmRate]
    triage: dict[Direction, TriageRate] = {}
    usage: dict[str, Spent]
    stop_reasons: dict[str, int]
    failures: dict[str, int]
    trials: int
    patients: PatientFigures | None = None
    micro: Group | None = None
    groups: dict[str, dict[str, Group]] = {}
    turns: float | None = None
    detectable: float | None = None
    success_threshold: float = SUCCESS
    ci_method: str = CI_METHOD


def summarise(rows: Sequence[Row], *, trials: int) -> Summary:
    """The summary of a run's episodes, which stand in scenario order.

    Args:
        rows: at least one.
        trials: repetitions of each scenario that were asked for.
    """
    overall, dimensions, datasets = _figures(rows, trials)
    return Summary(
        coverage=_round(1 - overall.ungraded / len(rows)), overall=overall,
        dimensions=dimensions, datasets=datasets, harms=_harms(rows), triage=_triage(rows), usage=_usage(rows),
        stop_reasons=_count(r.stop_reason for r in rows),
        failures=_count(r.score.ungraded for r in rows if r.score.ungraded), trials=trials,
        patients=PatientFigures.total(r.patient for r in rows if r.patient),
        micro=_micro(rows, trials), groups=groups_of(rows, trials=trials), turns=_round(sum(r.turns for r in rows) / len(rows)),
        # unpaired: the variances of both runs add up
        detectable=_round_or_none(detectable(None if overall.se is None else 2**0.5 * overall.se, overall.clusters)),
    )  # fmt: skip


def groups_of(rows: Sequence[Row], *, trials: int) -> dict[str, dict[str, Group]]:
    """`Summary.groups`. An episode without a value (no patient speaks, so no persona) is in no group of that kind."""
    made: dict[str, dict[str, Group]] = {}
    for by in GROUPINGS:
        parts: dict[str, list[Row]] = {}
        for row in rows:
            parts.setdefault(str(getattr(row, by)), []).append(row)
        parts.pop("", None)
        if parts:
            made[by] = {v: _figures(parts[v], trials, whole_only=True)[0] for v in sorted(parts, key=lambda v: (_ORDER.get(v, 0), v))}
    return made


def _figures(rows: Sequence[Row], trials: int, whole_only: bool = False) -> tuple[Group, dict[str, Group], dict[str, Group]]:
    """The whole, the dimensions and the datasets of some episodes; with `whole_only` the parts are left without intervals, which cost the most."""
    parts: dict[str, dict[str, list[Row]]] = {}
    for row in rows:
        parts.setdefault(row.dimension, {}).setdefault(row.dataset, []).append(row)
    tallies = {name: _tally(own) for sets in parts.values() for name, own in sets.items()}
    datasets = {name: _dataset(own, tallies[name], trials, bare=whole_only) for sets in parts.values() for name, own in sets.items()}
    dimensions = {
        name: _merge([datasets[d] for d in sets], [[tallies[d] for d in sets]], bare=whole_only) for name, sets in parts.items()
    }
    overall = _merge(list(dimensions.values()), [[tallies[d] for d in sets] for sets in parts.values()])
    return overall, dimensions, datasets


def _micro(rows: Sequence[Row], trials: int) -> Group:
    tally = Tally()
    _add_items(tally, rows)
    return _dataset(rows, tally, trials, pooled=False)


def overall(rows: Iterable[Row]) -> float | None:
    """The overall score alone, as `summarise` has it, without intervals (which take their time)."""
    parts: dict[str, dict[str, list[Row]]] = {}
    for row in rows:
        parts.setdefault(row.dimension, {}).setdefault(row.dataset, []).append(row)
    dimensions = [_round_or_none(mean([_round_or_none(_tally(own).score) for own in sets.values()])) for sets in parts.values()]
    return _round_or_none(mean(dimensions))


def _tally(rows: Sequence[Row], lenient: bool = False) -> Tally:
    """The sums behind a dataset's score, by cluster; ungraded episodes are not in it."""
    tally = Tally()
    if any(r.score.counts for r in rows):
        for r in rows:
            if r.score.counts and r.score.value is not None:
                tp, fp, fn = _triple(r.score.counts, lenient)
                tally.add(r.family, 2 * tp, 2 * tp + fp + fn)
        return tally
    _add_items(tally, rows)
    return tally


def _add_items(tally: Tally, rows: Sequence[Row]) -> None:
    """Each item once, with the mean over its trials."""
    for own in _by_item(rows).values():
        tally.add(own[0].family, sum(_values(own)) / len(own), 1.0)


def _triple(c: Counts, lenient: bool) -> tuple[float, float, float]:
    return (c.lenient_tp, c.lenient_fp, c.lenient_fn) if lenient else (c.tp, c.fp, c.fn)


def _by_item(rows: Iterable[Row]) -> dict[tuple[str, str], list[Row]]:
    """The scored episodes of each item."""
    items: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if row.score.value is not None:
            items.setdefault(row.item, []).append(row)
    return items


def _values(rows: Iterable[Row]) -> list[float]:
    return [r.score.value for r in rows if r.score.value is not None]


def _dataset(rows: Sequence[Row], tally: Tally, trials: int, pooled: bool | None = None, bare: bool = False) -> Group:
    graded = [r for r in rows if not r.score.ungraded]
    pooled = any(r.score.counts for r in rows) if pooled is None else pooled
    return Group(
        score=_round_or_none(tally.score), ci95=None if bare else _interval(ci95([[tally]])), n=len(rows), scored=len(_values(rows)),
        ungraded=len(rows) - len(graded), criteria_judged=_round(mean([r.score.criteria_judged for r in graded]) or 0.0),
        clusters=len(tally.top), se=_round_or_none(standard_error([[tally]])), score_lenient=_round_or_none(_tally(rows, lenient=True).score) if pooled else None,
        pass_at_k=_passes(rows, trials, pass_at_k), pass_hat_k=_passes(rows, trials, pass_hat_k),
    )  # fmt: skip


def _merge(groups: Sequence[Group], tallies: Sequence[Sequence[Tally]], bare: bool = False) -> Group:
    """A dimension of its datasets, or the whole of its dimensions: each part with a score weighs the same."""
    graded = [g for g in groups if g.n > g.ungraded]
    return Group(
        score=_round_or_none(mean([g.score for g in groups])), ci95=None if bare else _interval(ci95(tallies)), n=sum(g.n for g in groups),
        scored=sum(g.scored for g in groups), ungraded=sum(g.ungraded for g in groups),
        criteria_judged=_round(mean([g.criteria_judged for g in graded]) or 0.0),
        clusters=len({c for part in tallies for t in part for c in t.top}), se=_round_or_none(standard_error(tallies)),
        pass_at_k=_mean_of([g.pass_at_k for g in groups]), pass_hat_k=_mean_of([g.pass_hat_k for g in groups]),
    )  # fmt: skip


def _passes(rows: Sequence[Row], trials: int, chance: Callable[[int, int, int], float]) -> dict[str, float] | None:
    """By k, the mean over the items that have at least k graded trials."""
    if trials < 2:
        return None
    counted = [(sum(v >= SUCCESS for v in _values(own)), len(own)) for own in _by_item(rows).values()]
    found = {}
    for k in range(1, trials + 1):
        chances = [chance(hits, n, k) for hits, n in counted if n >= k]
        if chances:
            found[str(k)] = _round(sum(chances) / len(chances))
    return found


def _mean_of(maps: Sequence[dict[str, float] | None]) -> dict[str, float] | None:
    present = [m for m in maps if m]
    if not present:
        return None
    return {k: _round(mean([m.get(k) for m in present]) or 0.0) for k in present[0]}


def _harms(rows: Sequence[Row]) -> dict[str, HarmRate]:
    graded = [r for r in rows if not r.score.ungraded]
    made = {}
    for grade in ("S4", "S3", "S2", "S1"):
        harms = [h for r in graded for h in r.score.harms if h.grade == grade]
        exposed = [r for r in graded if r.score.opportunities.get(grade)]
        if not exposed and not harms:
            continue
        harmed = sum(any(h.grade == grade for h in r.score.harms) for r in exposed)
        interval = wilson(harmed, len(exposed))
        made[grade] = HarmRate(
            count=len(harms), opportunities=sum(r.score.opportunities[grade] for r in exposed), episodes=len(exposed),
            harmed=harmed, per_100=_round(100 * harmed / len(exposed)) if exposed else None,
            ci95=_interval((100 * interval[0], 100 * interval[1]) if interval else None),
            acts=sum(h.kind == "act" for h in harms), omissions=sum(h.kind == "omission" for h in harms),
        )  # fmt: skip
    return made


def _triage(rows: Sequence[Row]) -> dict[Direction, TriageRate]:
    made: dict[Direction, TriageRate] = {}
    for direction in CRITERIA:
        found = [r.triage[direction] for r in rows if not r.score.ungraded and direction in r.triage]
        interval = wilson(sum(found), len(found))
        if interval is not None:
            made[direction] = TriageRate(episodes=len(found), erred=sum(found), per_100=_round(100 * sum(found) / len(found)),
                                         ci95=(_round(100 * interval[0]), _round(100 * interval[1])))  # fmt: skip
    return made


def _usage(rows: Sequence[Row]) -> dict[str, Spent]:
    roles: dict[str, list[Usage]] = {}
    for row in rows:
        for role, usage in row.usage.items():
            roles.setdefault(role, []).append(usage)
    made = {}
    for role, own in sorted(roles.items()):
        costs = [u.cost for u in own]
        prompt, completion = sum(u.prompt_tokens for u in own), sum(u.completion_tokens for u in own)
        made[role] = Spent(
            calls=sum(u.calls for u in own), prompt_tokens=prompt, completion_tokens=completion, tokens=prompt + completion,
            cost=None if any(c is None for c in costs) else _round(sum(c for c in costs if c is not None)),
        )  # fmt: skip
    return made


def _count(values: Iterable[str]) -> dict[str, int]:
    counted: dict[str, int] = {}
    for value in values:
        counted[value] = counted.get(value, 0) + 1
    return dict(sorted(counted.items(), key=lambda pair: (-pair[1], pair[0])))


def _round(value: float) -> float:
    """Six digits: what lies beyond depends on the order of floating-point sums."""
    return round(value, 6) + 0.0


def _round_or_none(value: float | None) -> float | None:
    return None if value is None else _round(value)


def _interval(value: Interval | None) -> Interval | None:
    return None if value is None else (_round(value[0]), _round(value[1]))
