"""Scenarios: one task each. Static items are one step; interactive scenarios are a task on a patient case."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from .base import LL, Difficulty, Id, L, Lang, Model, Provenance, Review, Split
from .case import Chart
from .rubric import Criterion

Dimension = Literal["MedKQA", "MedSE", "MedRU", "SmartServ", "SmartCare"]
DIMENSIONS: tuple[Dimension, ...] = ("MedKQA", "MedSE", "MedRU", "SmartServ", "SmartCare")
Form = Literal["choice", "open", "extraction", "normalisation", "keypoints", "record", "interactive"]
Extraction = Literal["entities", "events", "relations", "terms"]


class Budget(Model):
    """When an episode is truncated: agent turns, episode minutes, malformed actions."""

    turns: int = Field(default=30, ge=1)
    minutes: int = Field(default=240, ge=1)
    malformed: int = Field(default=5, ge=1)


class Mark(Model):
    """One mark of an open answer. `low`/`high`: MLB's own range (-1/0 risk, 0/1 quality)."""

    id: Id
    text: L
    kind: Literal["risk", "quality"]
    reported_only: bool = False


class Dataset(Model):
    """The task definition of one dataset: scenarios/<dimension>/<dataset>.yaml.

    `prompt` has the slots ${question}, ${options}, ${text}, ${phrase}, ${candidates}.
    """

    name: str
    dimension: Dimension
    edition: str = "ours"
    form: Form
    title: L
    task: L  # what the agent is told
    policy: L | None = None  # the role's rules, interactive only
    prompt: L | None = None
    extraction: Extraction | None = None
    keys: dict[str, L] = {}  # neutral key -> key of the JSON answer in each language
    values: dict[str, L] = {}  # neutral value -> value of the JSON answer (relations, states)
    marks: tuple[Mark, ...] = ()
    role: Literal["service_desk", "clinical_assistant", "scribe", "clinician"] | None = None
    tools: tuple[Id, ...] = ()
    budget: Budget = Budget()
    mlb: dict[str, Any] = {}  # facts on the MLB set of that name: n, metric, origin
    provenance: Provenance | None = None


class ScenarioBase(Model):
    """What every scenario has."""

    id: Id
    family: Id
    split: Split = "test"
    specialty: str = "general_practice"
    difficulty: Difficulty = "medium"
    provenance: Provenance
    review: tuple[Review, ...] = ()


class ChoiceItem(ScenarioBase):
    """A multiple-choice item; options without letters, `answer` letters by position."""

    question: L
    options: LL
    answer: tuple[Annotated[str, Field(pattern=r"^[A-Z]$")], ...] = Field(min_length=1)
    form: Literal["single", "multiple"]
    explanation: L | None = None
    category: str | None = None

    @model_validator(mode="after")
    def _consistent(self) -> ChoiceItem:
        for lang in self.options.langs:
            n = len(self.options[lang])
            if n < 2 or n > 26:
                raise ValueError(f"{n} options in {lang}; 2 to 26 are possible")
            if any(ord(a) - 65 >= n for a in self.answer):
                raise ValueError(f"an answer letter is beyond the {n} options in {lang}")
        if len(set(self.answer)) != len(self.answer):
            raise ValueError("an answer letter stands twice")
        if self.form == "single" and len(self.answer) != 1:
            raise ValueError("a single-answer item has exactly one answer letter")
        return self

    @property
    def langs(self) -> tuple[Lang, ...]:
        return tuple(lang for lang in self.question.langs if lang in self.options.langs)


class OpenItem(ScenarioBase):
    """An open question. `expect` and `norms` are for the judge of meaning only."""

    question: L
    category: str | None = None
    expect: L | None = None
    norms: tuple[L, ...] = ()

    @property
    def langs(self) -> tuple[Lang, ...]:
        return self.question.langs


class ExtractionItem(ScenarioBase):
    """A text with its gold in neutral keys, per language."""

    text: L
    gold: dict[Lang, Any]

    @property
    def langs(self) -> tuple[Lang, ...]:
        return tuple(lang for lang in self.text.langs if lang in self.gold)


class NormalisationItem(ScenarioBase):
    """A phrase and the candidate lines; `gold` is one of them (terms joined by ##)."""

    phrase: L
    candidates: LL
    gold: L

    @model_validator(mode="after")
    def _consistent(self) -> NormalisationItem:
        for lang in self.gold.langs:
            if self.gold[lang] not in self.candidates[lang]:
                raise ValueError(f"the gold line in {lang} is not one of the candidates")
        return self

    @property
    def langs(self) -> tuple[Lang, ...]:
        return tuple(lang for lang in self.phrase.langs if lang in self.candidates.langs and lang in self.gold.langs)


class KeyPoint(Model):
    """One point that the answer has to contain, under a topic (a field of the JSON answer). Decided by meaning."""

    topic: str
    text: L


class KeyPointItem(ScenarioBase):
    """An open task graded by key points (MLB's own form of the SmartCare sets; made by the importer)."""

    question: L
    points: tuple[KeyPoint, ...] = Field(min_length=1)

    @property
    def langs(self) -> tuple[Lang, ...]:
        return self.question.langs


class GoldCall(Model):
    """A tool call of the reference solution. In a text of its arguments, nothing is filled in: it is what the oracle sends."""

    name: Id
    arguments: dict[str, Any] = {}


class RecordTask(ScenarioBase):
    """A task in the record, without a patient to talk to: an instruction, a world of FHIR resources, and what is to be true at the end.

    `now`: the instant at which the episode begins. `world`: the file of resources (one FHIR JSON a line) beside the dataset's file.
    `gold`: a reference solution, for the oracle only.
    """

    instruction: L
    context: L | None = None
    now: str = Field(pattern=r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}([+-]\d{2}:\d{2}|Z)$")
    world: str = Field(pattern=r"^[A-Za-z0-9._-]+\.ndjson$")
    criteria: tuple[Criterion, ...] = Field(min_length=1)
    gold: tuple[GoldCall, ...] = ()

    @property
    def langs(self) -> tuple[Lang, ...]:
        return self.instruction.langs


class InteractiveScenario(Model):
    """A task on a patient case: scenarios/<dimension>/<dataset>/<id>.yaml. Most of its rubric is derived from the case."""

    id: Id
    case: Id
    case_version: str
    variant: Literal["dialogue", "transcript"] = "dialogue"
    title: L
    personas: tuple[Id, ...] = ("plain",)
    budget: Budget | None = None
    task_note: L | None = None  # added to the dataset's task
    chart: Chart | None = None  # added to the case's chart: a trap that only this scenario has
    written: tuple[Criterion, ...] = ()
    not_applicable: dict[str, str] = {}  # criterion id or template -> reason
    difficulty: Difficulty | None = None


Item = ChoiceItem | OpenItem | ExtractionItem | NormalisationItem | KeyPointItem | RecordTask
