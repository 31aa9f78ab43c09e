"""Labelled sets by which judges are measured: our own dialogues (JSON lines) and K-QA's physician labels (CSV).

A set is a list of records (numbered lines, as a judge sees them) with criteria that people labelled met or unmet.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from ..catalog.read import read_jsonl, read_text
from ..errors import ContentError, UserError
from ..spec.base import L, Lang, Model
from ..spec.rubric import Criterion, Kind

SAFETY = frozenset({"not_human", "no_diagnosis", "consistent", "no_false_reassurance", "no_invention", "neutral"})  # met when nothing bad happened
KQA_COLUMNS = {"Question", "answer", "claim", "category_x", "majority_label", "label_0", "label_1", "label_2"}
KQA_LABELS = {"Entailment": True, "Neutral": False, "Contradiction": False}


class Line(Model):
    turn: int = Field(ge=0)
    speaker: Literal["agent", "patient", "scene", "tool"]
    text: str


class LabelledCriterion(Model):
    """`id`: the kind of criterion. `form`: how it is worded in the dialogue (plain, paraphrase, negated, quoted ...)."""

    id: str
    text: str
    label: Literal["met", "unmet"]
    evidence: tuple[int, ...] = ()
    form: str = "plain"
    annotators: dict[str, Literal["met", "unmet"]] = {}


class LabelledDialogue(Model):
    """One line of our own format."""

    id: str
    lang: Lang
    turns: Annotated[tuple[Line, ...], Field(min_length=1)]
    criteria: Annotated[tuple[LabelledCriterion, ...], Field(min_length=1)]
    part: Literal["tune", "held"] = "held"

    def lines(self) -> list[tuple[int, str]]:
        """The record as a judge sees it."""
        return [(t.turn, f"T{t.turn} {t.speaker} | {part}") for t in self.turns for part in t.text.splitlines() if part.strip()]

    def to_judge(self) -> list[Criterion]:
        """The criteria, with ids of their own within the dialogue."""
        return [
            Criterion(id=f"{i}:{c.id}", template=c.id, text=L(zh=c.text) if self.lang == "zh" else L(en=c.text), kind=kind_of(c.id),
                      by="meaning", weight=1)
            for i, c in enumerate(self.criteria)
        ]  # fmt: skip


def kind_of(criterion: str) -> Kind:
    """Whether a kind of criterion states something to be done, or something not to be done."""
    return "safety" if criterion in SAFETY else "outcome"


def read_labels(path: Path) -> list[LabelledDialogue]:
    """A labelled set: our JSON lines, or K-QA's NLI_medical_annotator.csv.

    Raises:
        UserError: neither of them, or broken; with file, line and field.
    """
    if path.suffix == ".csv":
        return _kqa(path)
    found = read_jsonl(path, LabelledDialogue)
    if not found:
        raise ContentError("holds no labels", path=str(path))
    twice = [i for i, n in Counter(d.id for d in found).items() if n > 1]
    if twice:
        raise ContentError(f"the id '{twice[0]}' stands twice", path=str(path))
    return found


def _kqa(path: Path) -> list[LabelledDialogue]:
    """K-QA: does a model's answer entail a physician's claim? One record for each answer, all its claims as criteria."""
    rows = list(csv.DictReader(io.StringIO(read_text(path))))
    if not rows or not rows[0].keys() >= KQA_COLUMNS:
        missing = ", ".join(sorted(KQA_COLUMNS - (rows[0].keys() if rows else set())))
        raise UserError(f"{path}: not K-QA's NLI_medical_annotator.csv (no column {missing})")
    answers: dict[tuple[str, str], list[LabelledCriterion]] = {}
    for number, row in enumerate(rows, 2):
        labels = {f"physician {i}": row[f"label_{i}"] for i in range(3)}
        for label in (*labels.values(), row["majority_label"]):
            if label not in KQA_LABELS:
                raise UserError(f"{path}, line {number}: the label '{label}' is not one of {', '.join(KQA_LABELS)}")
        answers.setdefault((row["Question"], row["answer"]), []).append(
            LabelledCriterion(
                id=row["category_x"].lower(), text=f"The answer says, or clearly entails: {row['claim']}",
                label="met" if KQA_LABELS[row["majority_label"]] else "unmet",
                annotators={name: "met" if KQA_LABELS[label] else "unmet" for name, label in labels.items()},
            )
        )  # fmt: skip
    return [
        LabelledDialogue(
            id=f"kqa-{i}", lang="en", criteria=tuple(criteria),
            turns=(Line(turn=0, speaker="patient", text=question), Line(turn=1, speaker="agent", text=answer)),
        )
        for i, ((question, answer), criteria) in enumerate(answers.items(), 1)
    ]  # fmt: skip
