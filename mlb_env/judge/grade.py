"""The judge: each criterion that a rule decides gets its verdict from structure; what needs meaning is asked of models, or stays not judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..catalog.play import Play
from ..effects import Flow, NoEdge, drive
from ..errors import UserError
from ..patient.audit import spoiled
from ..spec.rubric import Criterion, Judgement, Rubric, Verdict
from ..spec.trajectory import Trajectory, Usage
from . import extraction, state  # noqa: F401  they register their rules
from .derive import rubric_of
from .meaning import Decision, Judge, Voting, decide
from .rules import RULES
from .score import score
from .seen import Finding, Seen, partly
from .window import lines

JUDGE = "rules"


@dataclass(frozen=True)
class Bench:
    """Who judges. `rules`: structure decides what it can; without them the models are asked about everything. `models`: for meaning, by a model or learned."""

    rules: bool = True
    models: tuple[Judge, ...] = ()
    voting: Voting = "majority"

    @property
    def name(self) -> str:
        """ "rules", "rules+llm:m" or "llm:a+llm:b"."""
        return "+".join([*(["rules"] if self.rules else []), *(m.label for m in self.models)])

    def decides(self, criterion: Criterion) -> bool:
        """Whether a rule decides this criterion, and no model is asked."""
        return self.rules and criterion.by == "rule" and criterion.rule is not None


RULES_ONLY = Bench()


def judge(trajectory: Trajectory, rubric: Rubric) -> Judgement:
    """Verdicts and score of one trajectory, by rules."""
    return drive(judging(trajectory, rubric, RULES_ONLY), NoEdge())


def judging(trajectory: Trajectory, rubric: Rubric, bench: Bench) -> Flow[Judgement]:
    """Verdicts and score of one trajectory, as a flow: models are asked where the bench has any."""
    seen = Seen(trajectory)
    failure = trajectory.failure or spoiled(trajectory)
    void = _void(seen, rubric)
    decided: dict[str, Decision] = {}
    usage = Usage()
    if criteria := asked(trajectory, rubric, bench):
        decided, usage = yield from decide(criteria, lines(trajectory), bench.models, trajectory.lang, voting=bench.voting, seed=trajectory.seed)
    verdicts = tuple(_verdict(criterion, seen, void, failure, decided, bench) for criterion in rubric.criteria)
    return Judgement(
        episode=trajectory.episode, scenario=trajectory.scenario, dataset=trajectory.dataset, dimension=trajectory.dimension,
        lang=trajectory.lang, trial=trajectory.trial, family=trajectory.family, judge=bench.name,
        score=score(verdicts, failure=failure, counts=seen.memo.get("counts")), verdicts=verdicts, usage=usage,
    )  # fmt: skip


def asked(trajectory: Trajectory, rubric: Rubric, bench: Bench) -> list[Criterion]:
    """The criteria that are put to the models of a bench: none of an episode that failed, no outcome where none can count."""
    if not bench.models or trajectory.failure or spoiled(trajectory):
        return []
    void = _void(Seen(trajectory), rubric)
    return [c for c in rubric.criteria if not (void and c.kind == "outcome") and not bench.decides(c)]


def _void(seen: Seen, rubric: Rubric) -> str:
    """Why no outcome can count, if so."""
    if seen.conclusion is None:
        return ""
    if rubric.patient_facing and not seen.spoke:
        return "the patient was told nothing"
    learned = any(e.turn > 0 for e in seen.trajectory.ledger)
    return "concluded without having learned anything from the patient or the chart" if rubric.must_look and not learned else ""


def _verdict(criterion: Criterion, seen: Seen, void: str, failure: str, decided: dict[str, Decision], bench: Bench) -> Verdict:
    name, decision = JUDGE, decided.get(criterion.id)
    if failure:
        found = Finding("ungraded", 0.0, (), failure)
    elif decision is not None:
        name = "+".join(v.judge for v in decision.votes)
        share = {"met": 1.0, "unmet": -1.0 if criterion.kind == "safety" else 0.0}.get(decision.verdict, 0.0)
        found = Finding(decision.verdict, share, decision.evidence, decision.reason)
    elif void and criterion.kind == "outcome" and (bench.models or bench.decides(criterion)):
        found = partly(0, void, seen.end)
    elif bench.decides(criterion):
        assert criterion.rule is not None
        found = RULES[criterion.rule.name](seen, **criterion.rule.args)
    else:
        found, name = Finding("not_judged", 0.0, (), "needs a judge for meaning"), ""
    return Verdict(
        criterion=criterion.id, template=criterion.template, kind=criterion.kind, weight=criterion.weight,
        verdict=found.verdict, share=found.share, gate=criterion.gate, harm=criterion.harm, evidence=found.evidence,
        reason=found.reason, judge=name, confidence=decision.confidence if decision else None,
        votes=decision.votes if decision else (), reported_only=criterion.reported_only,
    )  # fmt: skip


def grade(trajectory: Trajectory, play: Play) -> Judgement:
    """Judge a trajectory by the rubric of its scenario, with rules.

    Raises:
        UserError: the trajectory is of another scenario.
    """
    return drive(grading(trajectory, play, RULES_ONLY), NoEdge())


def grading(trajectory: Trajectory, play: Play, bench: Bench) -> Flow[Judgement]:
    """Judge a trajectory by the rubric of its scenario, as a flow.

    Raises:
        UserError: the trajectory is of another scenario.
    """
    if trajectory.scenario != play.id or trajectory.dataset != play.dataset.name:
        raise UserError(f"the trajectory is of '{trajectory.scenario}', not of '{play.id}'")
    return (yield from judging(trajectory, rubric_of(play), bench))


def disagreements(judgements: Sequence[Judgement]) -> list[tuple[Judgement, Verdict]]:
    """The verdicts on which judges of meaning differ: for a person to settle."""
    return [(j, v) for j in judgements for v in j.verdicts if len({vote.verdict for vote in v.votes}) > 1]
