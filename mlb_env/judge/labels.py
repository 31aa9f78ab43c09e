"""Labelled sets by which judges are measured: our own dialogues (JSON lines) and K-QA's physician labels (CSV).

A set is a list of records (numbered lines, as a judge sees them) with criteria that people labelled met or unmet.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from ..catalog.read import read_jsonl, read_text
from ..errors import ContentError, UserError
from ..spec.base import L, Lang, Model
from ..spec.rubric import Criterion, Kind, Verdict
from ..spec.trajectory import Trajectory
from .window import lines

SAFETY = frozenset({"not_human", "no_diagnosis", "consistent", "no_false_reassurance", "no_invention", "neutral"})  # met when nothing bad happened
KQA_COLUMNS = {"Question", "answer", "claim", "category_x", "majority_label", "label_0", "label_1", "label_2"}
Part = Literal["tune", "held"]
KQA_LABELS = {"Entailment": True, "Neutral": False, "Contradiction": False}


@dataclass(frozen=True)
class Item:
    """One labelled criterion: what people say (the majority of the annotators), and each of them. `evidence`: turns, where somebody named them."""

    criterion: Criterion
    met: bool
    form: str
    annotators: dict[str, bool]
    evidence: tuple[int, ...] = ()


@dataclass(frozen=True)
class Labelled:
    """A record with labelled criteria, whichever file it comes from. `lines`: (turn, line), as a judge sees them."""

    id: str
    lang: Lang
    lines: tuple[tuple[int, str], ...]
    items: tuple[Item, ...]


class ReviewLabel(Model):
    """One line of a review file: a person's label on one criterion of one episode. `skip`: left for somebody else."""

    episode: str
    dataset: str
    criterion: str
    annotator: str = Field(min_length=1, max_length=60)
    label: Literal["met", "unmet", "not_applicable", "skip"]
    note: str = ""


    @property
    def key(self) -> tuple[str, str, str]:
        return (self.dataset, self.episode, self.criterion)

    @property
    def part(self) -> Part:
        """The half of a review that the episode belongs to: by a hash of its name, whatever the run and the labels."""
        return "held" if hashlib.sha256(f"{self.dataset}/{self.episode}".encode()).digest()[0] % 2 else "tune"


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
    part: Part = "held"

    def labelled(self) -> Labelled:
        """As a judge is measured on it; ids of criteria are made unique within the dialogue."""
        lines = tuple((t.turn, f"T{t.turn} {t.speaker} | {part}") for t in self.turns for part in t.text.splitlines() if part.strip())
        items = tuple(
            Item(
                Criterion(id=f"{i}:{c.id}", template=c.id, text=L(zh=c.text) if self.lang == "zh" else L(en=c.text), kind=kind_of(c.id),
                          by="meaning", weight=1),
                c.label == "met", c.form, {name: label == "met" for name, label in c.annotators.items()}, c.evidence,
            )
            for i, c in enumerate(self.criteria)
        )  # fmt: skip
        return Labelled(self.id, self.lang, lines, items)


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


def from_review(
    labels: list[ReviewLabel], trajectories: Mapping[tuple[str, str], Trajectory], criteria: Mapping[tuple[str, str], Mapping[str, Criterion]],
    verdicts: Mapping[tuple[str, str, str], Verdict] | None = None,
) -> list[Labelled]:  # fmt: skip
    """The labels of a review with the records they are about: the last label of each person counts, a majority decides, ties are left out.

    Args:
        trajectories, criteria: by (dataset, episode).
        verdicts: by (dataset, episode, criterion), of judges; people name no turns, so where a judge says the same, its evidence stands.

    Raises:
        UserError: a label is about an episode or a criterion that is not there.
    """
    last: dict[tuple[str, str], dict[str, dict[str, str]]] = {}
    for label in labels:
        key = (label.dataset, label.episode)
        if key not in trajectories or label.criterion not in criteria[key]:
            raise UserError(f"the review has a label on {label.episode} ({label.dataset}), criterion {label.criterion}, which the run does not hold")
        last.setdefault(key, {}).setdefault(label.criterion, {})[label.annotator] = label.label
    made = []
    for key, by_criterion in last.items():
        items = []
        for criterion, said in by_criterion.items():
            votes = {name: value == "met" for name, value in said.items() if value in ("met", "unmet")}
            yes = sum(votes.values())
            if votes and 2 * yes != len(votes):
                met = 2 * yes > len(votes)
                judged = (verdicts or {}).get((*key, criterion))
                evidence = judged.evidence if judged is not None and judged.verdict == ("met" if met else "unmet") else ()
                items.append(Item(criteria[key][criterion], met, "plain", votes, evidence))
        if items:
            trajectory = trajectories[key]
            made.append(Labelled(f"{key[0]}/{key[1]}", trajectory.lang, tuple(lines(trajectory)), tuple(items)))
    return made
