"""Measures the rules against people: the criteria of a run that a rule decides, with labels by somebody who read the episode and not the code."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

from ..errors import UserError
from ..judge.agreement import among_people
from ..judge.grade import judge
from ..judge.labels import Item, Labelled, ReviewLabel
from ..judge.meaning import Decision
from ..spec.trajectory import Usage
from .agree import Agreement, compared
from .review import RunToReview, open_run, part_of_review

CriterionKey = tuple[str, str, str]  # dataset, episode, criterion


def agree_rules(labels: Path, run: Path, part: str | None = None) -> Agreement:
    """The rules of today on the saved episodes, beside the labels.

    The last label of each person counts, and a majority of the three words; what people differ on is left out. What both sides call met or unmet goes
    into the figures; `not_applicable` is counted apart, and lowers the coverage where the rules alone say so.

    Raises:
        UserError: a broken file; a label on what the run does not hold; no label on a criterion that a rule decides.
    """
    opened = open_run(run)
    said = _said(part_of_review(labels, part), opened)
    if not said:
        raise UserError(f"{labels} has no label on a criterion that a rule decides")
    settled = {key: word for key, by in said.items() if (word := _majority(list(by.values()))) is not None}
    by_episode: dict[tuple[str, str], list[CriterionKey]] = {}
    for key in settled:
        by_episode.setdefault(key[:2], []).append(key)
    labelled, decided = [], []
    both = rules = people = 0
    for episode, keys in by_episode.items():
        trajectory, rubric = opened.trajectories[episode], opened.rubrics[episode]
        verdicts = {v.criterion: v for v in judge(trajectory, rubric).verdicts}
        for key in keys:
            by_rule, by_people = verdicts[key[2]].verdict == "not_applicable", settled[key] == "not_applicable"
            both, rules, people = both + (by_rule and by_people), rules + (by_rule and not by_people), people + (by_people and not by_rule)
        items = tuple(Item(opened.criteria[episode][key[2]], settled[key] == "met", "plain", _votes(said[key]))
                      for key in keys if settled[key] != "not_applicable")  # fmt: skip
        if items:
            labelled.append(Labelled("/".join(episode), trajectory.lang, (), items))
            decided.append({i.criterion.id: Decision(verdicts[i.criterion.id].verdict, reason=verdicts[i.criterion.id].reason) for i in items})
    found = compared(labelled, [decided], Usage(), ())
    undecided = dict(found.undecided)
    if differ := len(said) - len(settled):
        undecided["people differ"] = differ
    names = sorted({name for by in said.values() for name in by})
    columns = [[_votes(by).get(name) for by in said.values()] for name in names]  # with what people differ on
    return replace(found, people=among_people(columns), undecided=undecided, not_applicable=(both, rules, people))


def _said(labels: list[ReviewLabel], opened: RunToReview) -> dict[CriterionKey, dict[str, str]]:
    """Criterion -> annotator -> the last label, of the criteria that a rule decides."""
    said: dict[CriterionKey, dict[str, str]] = {}
    for label in labels:
        episode = (label.dataset, label.episode)
        if episode not in opened.trajectories or label.criterion not in opened.criteria[episode]:
            raise UserError(f"the review has a label on {label.episode} ({label.dataset}), criterion {label.criterion}, which the run does not hold")
        if opened.criteria[episode][label.criterion].by == "rule" and label.label != "skip":
            said.setdefault(label.key, {})[label.annotator] = label.label
    return said


def _majority(words: list[str]) -> str | None:
    word, times = Counter(words).most_common(1)[0]
    return word if 2 * times > len(words) else None


def _votes(by: dict[str, str]) -> dict[str, bool]:
    return {name: word == "met" for name, word in by.items() if word != "not_applicable"}
