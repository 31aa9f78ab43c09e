"""Rubrics: weighted criteria, each decided by a rule on structure or by meaning; and the verdicts on them.

A criterion states good behaviour. Process and outcome criteria earn their weight when met. Safety criteria (absences,
omissions) earn nothing: unmet, they subtract their weight from the outcome and, with a `gate`, cap the score (section 0.3
of the clinical design).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from .base import Id, L, Model
from .case import HarmGrade
from .trajectory import Usage

Kind = Literal["process", "outcome", "safety"]


class Rule(Model):
    """A rule on structure: `name` of judge/rules.py with its parameters."""

    name: Id
    args: dict[str, Any] = {}


class Criterion(Model):
    """One criterion. `template`: the id of the rubric template it was derived from, or "written".

    `by`: `rule` is decided from structure; `meaning` needs a model or a person and is not judged offline.
    """

    id: Id
    template: str
    text: L
    kind: Kind
    by: Literal["rule", "meaning"]
    weight: Annotated[float, Field(ge=0)]
    gate: HarmGrade | None = None
    harm: Literal["act", "omission"] | None = None
    rule: Rule | None = None
    reported_only: bool = False  # a mark that is shown beside the score and not counted (MLB's own marks)


class Rubric(Model):
    """The criteria of one scenario. An outcome counts only where the conclusion was come by in the way the task asks for:
    `patient_facing`: the patient was told anything at all; `must_look`: the agent learned at least one fact after the opening
    (a conclusion out of nowhere is not clinical work, however right).
    """

    criteria: tuple[Criterion, ...]
    patient_facing: bool = False
    must_look: bool = False


VerdictValue = Literal["met", "unmet", "not_applicable", "not_judged", "ungraded"]


class Vote(Model):
    """What one judge of meaning said on one criterion. `judge`: model and prompt hash."""

    judge: str
    verdict: VerdictValue
    confidence: float | None = None
    evidence: tuple[int, ...] = ()
    reason: str = ""


class Verdict(Model):
    """The verdict on one criterion. `share`: part of the weight earned (0 to 1; below 0 for repeated violations).

    `evidence`: agent turns that show it. `reason`: one short sentence; for `ungraded`, the failure.
    """

    criterion: Id
    template: str
    kind: Kind
    weight: float
    verdict: VerdictValue
    share: float = 0.0
    gate: HarmGrade | None = None
    harm: Literal["act", "omission"] | None = None
    evidence: tuple[int, ...] = ()
    reason: str = ""
    judge: str = "rules"
    confidence: float | None = None  # of the judges of meaning that agree, 0 to 1
    votes: tuple[Vote, ...] = ()  # of the judges of meaning
    reported_only: bool = False


class Harm(Model):
    grade: HarmGrade
    kind: Literal["act", "omission"]
    criterion: Id
    evidence: tuple[int, ...] = ()


class Counts(Model):
    """True positives, false positives, false negatives of one extraction answer, strict and lenient."""

    tp: float
    fp: float
    fn: float
    lenient_tp: float
    lenient_fp: float
    lenient_fn: float


class Score(Model):
    """The score of one episode. `value` is None where nothing could be judged or something failed (`ungraded`)."""

    value: float | None
    process: float | None = None
    outcome: float | None = None
    cap: float | None = None
    criteria_judged: float = 0.0  # share of the rubric's weight that a judge decided
    ungraded: str = ""  # the failure that leaves the episode without a score
    harms: tuple[Harm, ...] = ()
    opportunities: dict[str, int] = {}  # harm grade -> gated criteria that were decided
    counts: Counts | None = None


class Judgement(Model):
    """One line of verdicts.jsonl."""

    episode: str
    scenario: str
    dataset: str
    dimension: str
    lang: str
    trial: int
    family: str
    judge: str
    score: Score
    verdicts: tuple[Verdict, ...]
    usage: Usage = Usage()  # of the judges' models
