"""What a person is asked to label of a run, in which order, and where the labels are kept: one line each, written at once."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random

from ..catalog.load import open_catalog
from ..catalog.read import read_jsonl
from ..errors import UserError
from ..judge.derive import rubric_of
from ..judge.labels import Labelled, ReviewLabel, from_review, read_labels
from ..spec.rubric import Criterion, Rubric, Verdict
from ..spec.trajectory import Trajectory
from .store import read_header, read_judgements, read_trajectories

Key = tuple[str, str]  # dataset, episode


@dataclass(frozen=True)
class Question:
    """One criterion of one episode, with what the judges said of it (shown after the label only, and never who they were)."""

    trajectory: Trajectory
    criterion: Criterion
    verdict: Verdict

    @property
    def key(self) -> tuple[str, str, str]:
        return (self.trajectory.dataset, self.trajectory.episode, self.criterion.id)

    @property
    def disputed(self) -> bool:
        return len({v.verdict for v in self.verdict.votes}) > 1


@dataclass(frozen=True)
class RunToReview:
    """A run with its rubrics."""

    trajectories: Mapping[Key, Trajectory]
    rubrics: Mapping[Key, Rubric]
    criteria: Mapping[Key, Mapping[str, Criterion]]
    questions: tuple[Question, ...]


def open_run(folder: Path) -> RunToReview:
    """A run with its rubrics, and the criteria of it that need meaning as questions.

    Raises:
        UserError: not a finished run, or a scenario of it is no longer there.
    """
    header = read_header(folder)
    catalog = open_catalog(header.settings.scenarios, bundled=not header.settings.scenarios)
    plays = {(name, p.id): p for name, own in catalog.plays.items() for p in own}
    trajectories, rubrics, criteria, questions = {}, {}, {}, []
    for trajectory, judgement in zip(read_trajectories(folder), read_judgements(folder), strict=True):
        play = plays.get((trajectory.dataset, trajectory.scenario))
        if play is None:
            raise UserError(f"'{folder}': the scenario '{trajectory.scenario}' of {trajectory.dataset} is no longer there")
        key = (trajectory.dataset, trajectory.episode)
        trajectories[key] = trajectory
        rubrics[key] = rubric_of(play)
        criteria[key] = {c.id: c for c in rubrics[key].criteria}
        verdicts = {v.criterion: v for v in judgement.verdicts}
        if not trajectory.failure:
            questions += [Question(trajectory, c, verdicts[c.id]) for c in criteria[key].values() if c.by == "meaning" and c.id in verdicts]
    return RunToReview(trajectories, rubrics, criteria, tuple(questions))


def chosen(run: RunToReview, *, disputed: bool, sample: int | None, seed: int) -> list[Question]:
    """What is asked: everything, only what the judges differ on, or a seeded sample; always in the same order for a seed, so that several
    people label the same, dialogue by dialogue."""
    found = [q for q in run.questions if q.disputed or not disputed]
    if sample is not None and sample < len(found):
        found = Random(f"{seed}/review").sample(found, sample)
    order = {key: i for i, key in enumerate(run.trajectories)}
    return sorted(found, key=lambda q: (order[q.trajectory.dataset, q.trajectory.episode], q.criterion.id))


def read_review(file: Path) -> list[ReviewLabel]:
    """The labels so far; none where the file is not there yet.

    Raises:
        ContentError: a broken line.
    """
    return read_jsonl(file, ReviewLabel) if file.exists() else []


def keep(file: Path, label: ReviewLabel) -> None:
    """Append one label; it is on the disk when this returns.

    Raises:
        OSError: it cannot be written.
    """
    with file.open("a", encoding="utf-8", newline="\n") as stream:
        stream.write(json.dumps(label.model_dump(mode="json"), ensure_ascii=False) + "\n")
        stream.flush()
        os.fsync(stream.fileno())


def part_of_review(labels: Path, part: str | None) -> list[ReviewLabel]:
    """The labels of a review, or of one half of its episodes.

    Raises:
        UserError: a broken file, or nothing in that half.
    """
    found = [label for label in read_review(labels) if part is None or label.part == part]
    if not found:
        raise UserError(f"{labels} has no labels" + (f" in the part '{part}'; there are tune and held" if part else ""))
    return found


def labelled_set(labels: Path, run: Path | None, part: str | None) -> list[Labelled]:
    """What a judge is measured on: a labelled set, or the review of a run.

    Raises:
        UserError: a broken file, or nothing in it that can be used.
    """
    if run is not None:
        reviewed = open_run(run)
        found = from_review(part_of_review(labels, part), reviewed.trajectories, reviewed.criteria)
        if not found:
            raise UserError(f"{labels} holds no label of met or unmet that a majority agrees on")
        return found
    found = [d.labelled() for d in read_labels(labels) if part is None or d.part == part]
    if not found:
        raise UserError(f"{labels} has nothing in the part '{part}'; there are tune and held")
    return found
