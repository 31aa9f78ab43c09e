"""Runs as tables for other tools: one row an episode, or one row a verdict; as CSV, JSON or Parquet."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Literal, get_args

from ..errors import UserError
from ..spec.base import Model
from ..spec.rubric import Judgement
from ..spec.trajectory import Trajectory, Usage
from .store import VERDICTS, read_judgements, read_trajectories

Format = Literal["csv", "json", "parquet"]
What = Literal["episodes", "verdicts"]
FORMATS: tuple[Format, ...] = get_args(Format)
WHATS: tuple[What, ...] = get_args(What)
_BATCH = 5000  # rows that are held at once for Parquet


class EpisodeRow(Model):
    """One episode. `calls` to `cost`: of the agent's model; cost in US dollars, empty where unknown. `harms_s4` to `harms_s1`: by grade."""

    run: str
    episode: str
    scenario: str
    dataset: str
    dimension: str
    edition: str
    lang: str
    trial: int
    family: str
    split: str
    specialty: str
    persona: str | None
    difficulty: str
    score: float | None
    ungraded: str
    criteria_judged: float
    harms_s4: int
    harms_s3: int
    harms_s2: int
    harms_s1: int
    turns: int
    minutes: int
    malformed: int
    calls: int
    prompt_tokens: int
    completion_tokens: int
    tokens: int
    cost: float | None
    stop_reason: str
    judge: str


class VerdictRow(Model):
    """One criterion of one episode. `evidence`: agent turns, parted by spaces. `votes`: how many judges of meaning voted."""

    run: str
    episode: str
    scenario: str
    dataset: str
    dimension: str
    lang: str
    trial: int
    criterion: str
    template: str
    kind: str
    weight: float
    gate: str | None
    harm: str | None
    verdict: str
    share: float
    judge: str
    confidence: float | None
    votes: int
    evidence: str
    reported_only: bool
    reason: str


def episode_rows(folder: Path) -> Iterator[EpisodeRow]:
    """The episodes of a finished run, in scenario order.

    Raises:
        UserError: not finished; a line that cannot be read; verdicts of other episodes.
    """
    for t, j in _pairs(folder):
        grades = [h.grade for h in j.score.harms]
        used = t.usage.get("agent", Usage())
        yield EpisodeRow(
            run=folder.name, episode=t.episode, scenario=t.scenario, dataset=t.dataset, dimension=t.dimension, edition=t.edition, lang=t.lang,
            trial=t.trial, family=t.family, split=t.split, specialty=t.specialty, persona=t.persona, difficulty=t.difficulty, score=j.score.value,
            ungraded=j.score.ungraded, criteria_judged=j.score.criteria_judged, harms_s4=grades.count("S4"), harms_s3=grades.count("S3"),
            harms_s2=grades.count("S2"), harms_s1=grades.count("S1"), turns=t.turns, minutes=t.minutes, malformed=t.malformed, calls=used.calls,
            prompt_tokens=used.prompt_tokens, completion_tokens=used.completion_tokens, tokens=used.prompt_tokens + used.completion_tokens,
            cost=used.cost, stop_reason=t.stop_reason, judge=j.judge,
        )  # fmt: skip


def verdict_rows(folder: Path) -> Iterator[VerdictRow]:
    """The verdicts of a finished run, in scenario order.

    Raises:
        UserError: not finished; a line that cannot be read.
    """
    for j in read_judgements(folder):
        for v in j.verdicts:
            yield VerdictRow(
                run=folder.name, episode=j.episode, scenario=j.scenario, dataset=j.dataset, dimension=j.dimension, lang=j.lang, trial=j.trial,
                criterion=v.criterion, template=v.template, kind=v.kind, weight=v.weight, gate=v.gate, harm=v.harm, verdict=v.verdict,
                share=v.share, judge=v.judge, confidence=v.confidence, votes=len(v.votes), evidence=" ".join(map(str, v.evidence)),
                reported_only=v.reported_only, reason=v.reason,
            )  # fmt: skip


def export(folders: Sequence[Path], what: What, form: Format, file: Path) -> int:
    """Write the rows of some finished runs to a file; how many.

    Raises:
        UserError: not a finished run; Parquet without pyarrow.
        OSError: the file cannot be written.
    """
    kind: type[Model] = EpisodeRow if what == "episodes" else VerdictRow
    rows: Iterator[Model] = (row for folder in folders for row in (episode_rows(folder) if what == "episodes" else verdict_rows(folder)))
    if form == "parquet":
        return _write_parquet(file, kind, rows)
    first = next(rows, None)  # a run that is not finished is told before a file is made
    whole = rows if first is None else _with(first, rows)
    return write_csv(file, tuple(kind.model_fields), whole) if form == "csv" else _write_json(file, whole)


def cell(value: Any) -> Any:
    """A value as a CSV cell. A spreadsheet takes text that begins with = + - @ or a tab for a formula, so such text gets an apostrophe
    before it; line ends become \\n. JSON and Parquet hold the text as it is."""
    if not isinstance(value, str):
        return value
    text = value.replace("\r\n", "\n").replace("\r", "\n")
    return "'" + text if text.lstrip(" \n").startswith(("=", "+", "-", "@", "\t")) else text


def write_csv(file: Path, heads: Sequence[str], rows: Iterable[Model]) -> int:
    """UTF-8 without a byte order mark, lines end in \\n; how many rows."""
    count = 0
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(heads)
        for count, row in enumerate(rows, start=1):  # noqa: B007  the last one is the number of rows
            writer.writerow([cell(getattr(row, head)) for head in heads])
    return count


def _pairs(folder: Path) -> Iterator[tuple[Trajectory, Judgement]]:
    judgements = read_judgements(folder)
    for trajectory in read_trajectories(folder):
        judgement = next(judgements, None)
        if judgement is None or judgement.episode != trajectory.episode:
            raise UserError(f"'{folder}/{VERDICTS}' is not of the episodes that were played; `mlb grade {folder} --write` makes it again")
        yield trajectory, judgement


def _with(first: Model, rest: Iterable[Model]) -> Iterator[Model]:
    yield first
    yield from rest


def _write_json(file: Path, rows: Iterable[Model]) -> int:
    """An array with one object a line."""
    count = 0
    with file.open("w", encoding="utf-8", newline="\n") as stream:
        for count, row in enumerate(rows, start=1):
            stream.write(("[\n" if count == 1 else ",\n") + json.dumps(row.model_dump(mode="json"), ensure_ascii=False))
        stream.write("\n]\n" if count else "[]\n")
    return count


def _write_parquet(file: Path, kind: type[Model], rows: Iterator[Model]) -> int:
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError:
        raise UserError("--format parquet needs pyarrow, which is not installed; pip install 'mlb-env[parquet]', or choose csv or json") from None
    types = {str: pyarrow.string(), int: pyarrow.int64(), float: pyarrow.float64(), bool: pyarrow.bool_()}
    fields = []
    for name, field in kind.model_fields.items():
        parts = get_args(field.annotation) or (field.annotation,)
        fields.append(pyarrow.field(name, types[parts[0]], nullable=type(None) in parts))
    schema = pyarrow.schema(fields)
    batch = [row.model_dump() for row in islice(rows, _BATCH)]
    count = 0
    with pyarrow.parquet.ParquetWriter(str(file), schema) as writer:
        while batch:
            writer.write_table(pyarrow.Table.from_pylist(batch, schema=schema))
            count += len(batch)
            batch = [row.model_dump() for row in islice(rows, _BATCH)]
    return count
