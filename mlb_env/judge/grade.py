"""The judge in its rule form: each criterion that a rule decides gets a verdict; what needs meaning stays not judged."""

from __future__ import annotations

from ..catalog.play import Play
from ..errors import UserError
from ..patient.audit import spoiled
from ..spec.rubric import Criterion, Judgement, Rubric, Verdict
from ..spec.trajectory import Trajectory
from . import extraction, state  # noqa: F401  they register their rules
from .derive import rubric_of
from .rules import RULES
from .score import score
from .seen import Finding, Seen, partly

JUDGE = "rules"


def judge(trajectory: Trajectory, rubric: Rubric) -> Judgement:
    """Verdicts and score of one trajectory, by rules."""
    seen = Seen(trajectory)
    failure = trajectory.failure or spoiled(trajectory)
    void = _void(seen, rubric)
    verdicts = tuple(_verdict(criterion, seen, void, failure) for criterion in rubric.criteria)
    return Judgement(
        episode=trajectory.episode, scenario=trajectory.scenario, dataset=trajectory.dataset, dimension=trajectory.dimension,
        lang=trajectory.lang, trial=trajectory.trial, family=trajectory.family, judge=JUDGE,
        score=score(verdicts, failure=failure, counts=seen.memo.get("counts")), verdicts=verdicts,
    )  # fmt: skip


def _void(seen: Seen, rubric: Rubric) -> str:
    """Why no outcome can count, if so."""
    if seen.conclusion is None:
        return ""
    if rubric.patient_facing and not seen.spoke:
        return "the patient was told nothing"
    learned = any(e.turn > 0 for e in seen.trajectory.ledger)
    return "concluded without having learned anything from the patient or the chart" if rubric.must_look and not learned else ""


def _verdict(criterion: Criterion, seen: Seen, void: str, failure: str) -> Verdict:
    judge_name = JUDGE
    if failure:
        found = Finding("ungraded", 0.0, (), failure)
    elif criterion.by == "meaning" or criterion.rule is None:
        found, judge_name = Finding("not_judged", 0.0, (), "needs a judge for meaning"), ""
    elif void and criterion.kind == "outcome":
        found = partly(0, void, seen.end)
    else:
        found = RULES[criterion.rule.name](seen, **criterion.rule.args)
    return Verdict(
        criterion=criterion.id, template=criterion.template, kind=criterion.kind, weight=criterion.weight,
        verdict=found.verdict, share=found.share, gate=criterion.gate, harm=criterion.harm, evidence=found.evidence,
        reason=found.reason, judge=judge_name, reported_only=criterion.reported_only,
    )  # fmt: skip


def grade(trajectory: Trajectory, play: Play) -> Judgement:
    """Judge a trajectory by the rubric of its scenario.

    Raises:
        UserError: the trajectory is of another scenario.
    """
    if trajectory.scenario != play.id or trajectory.dataset != play.dataset.name:
        raise UserError(f"the trajectory is of '{trajectory.scenario}', not of '{play.id}'")
    return judge(trajectory, rubric_of(play))
