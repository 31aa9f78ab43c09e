"""Trains the learned judge: `mlb judge train` (needs the extra `train`).

Two steps. Cue models, one for each aspect and language, from our own example passages (`examples/<lang>.yaml`) and from passages that people named as evidence. Then
one head for both languages, from labelled criteria. The head is fitted on cues that have not seen the dialogue they are read from, and what is reported is
cross-validated by dialogue with both steps inside.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import as_file, files
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from ..catalog.read import parse_yaml
from ..errors import UserError
from ..patient.topicmodel import BUCKETS
from ..spec.base import LANGS, L, Lang, Model
from ..spec.rubric import Criterion
from .agreement import Estimate, Pair, estimates
from .aspects import ASPECTS, BAD, CONTENT, aspect_of
from .embed import PROBE, Embedder
from .labels import Item, Labelled, read_labels
from .learned import Cues, LearnedModel, design, probability
from .relate import Floats, ngrams, said

STRENGTH = 30.0  # inverse regularisation of the cues; this, HEAD and MADE_UP by cross-validation over the part tune
HEAD = 0.3  # of the head
DENSE = 10.0  # of the cues by embedding
FOLDS = 5
OTHERS = 0.3  # weight of another aspect's passages as counterexamples
UNSURE = 0.06  # share of the cross-validated criteria that are nearest to one half: there the judge abstains
MADE_UP = 0.1  # weight of a made-up counterexample in the head
SPECIFIC = frozenset({"why", "safety_net", "side_effects", "own_question", "no_invention", "no_false_reassurance"})  # another dialogue does not fulfil these
TALK: dict[Lang, tuple[str, ...]] = {
    "zh": ("您好。", "请稍等。", "好的，请继续说。", "请问您多大年纪？", "谢谢，我记下了。", "请带好您的证件。"),
    "en": ("Hello.", "One moment, please.", "All right, go on.", "How old are you?", "Thank you, I have noted that.", "Please bring your card."),
}
KIN = (frozenset({"safety_net", "side_effects"}), frozenset({"why", "own_question", "side_effects", "no_diagnosis"}), frozenset({"no_diagnosis", "no_false_reassurance", "no_invention"}))


class Passages(Model):
    """Passages in which the event of an aspect happens, and passages that look alike and in which it does not."""

    does: Annotated[tuple[str, ...], Field(min_length=1)]
    lacks: Annotated[tuple[str, ...], Field(min_length=1)]


class Point(Model):
    """A criterion of the aspect `content` with passages that say it, and passages that do not."""

    criterion: str
    does: tuple[str, ...]
    lacks: tuple[str, ...]


class Examples(Model):
    """The file of examples of one language."""

    aspects: dict[str, Passages]
    points: tuple[Point, ...] = ()


def examples(lang: Lang) -> Examples:
    """Our own examples."""
    file = files(__package__) / "examples" / f"{lang}.yaml"
    made = Examples.model_validate(parse_yaml(file.read_text(encoding="utf-8"), f"examples/{lang}.yaml"))
    if unknown := set(made.aspects) - set(ASPECTS):
        raise UserError(f"examples/{lang}.yaml: unknown aspects {', '.join(sorted(unknown))} (see mlb_env/judge/aspects.py)")
    return made


def dialogues(lang: Lang) -> list[Labelled]:
    """Our own labelled dialogues (written and labelled by a language model, checked by nobody licensed).

    Without their criteria of the kind `content`: most are wrong in one word, which is beyond n-grams, and they would teach to distrust what a passage covers.
    """
    with as_file(files(__package__) / "examples" / f"dialogues.{lang}.jsonl") as path:
        found = [d.labelled() for d in read_labels(path)]
    return [replace(d, items=tuple(i for i in d.items if aspect_of(i.criterion) != CONTENT)) for d in found]


@dataclass(frozen=True)
class Row:
    """One labelled criterion. `shown`: (passage, whether the event happens in it) for the cues."""

    group: str
    lang: Lang
    aspect: str
    item: Item
    lines: tuple[tuple[int, str], ...]
    happened: bool
    shown: tuple[tuple[str, bool], ...]

    @property
    def text(self) -> str:
        return self.item.criterion.text[self.lang]


def rows(labelled: Sequence[Labelled]) -> list[Row]:
    """What can be learned from labelled criteria: those of an aspect that the judge knows."""
    made = []
    for dialogue in labelled:
        for item in dialogue.items:
            aspect = aspect_of(item.criterion)
            if aspect is None:
                continue
            happened = item.met is (aspect not in BAD)
            turns = said(dialogue.lines, item.criterion.text[dialogue.lang], dialogue.lang)
            shown = tuple((t.text, happened) for t in turns if t.turn in item.evidence) if aspect != CONTENT else ()
            made.append(Row(dialogue.id, dialogue.lang, aspect, item, dialogue.lines, happened, shown))
    return made


def of_points(found: Examples, lang: Lang) -> list[Row]:
    """Our own examples of contents, each a record of one turn."""
    made = []
    for number, point in enumerate(found.points):
        for happened, passages in ((True, point.does), (False, point.lacks)):
            for place, passage in enumerate(passages):
                criterion = Criterion(id=f"p{number}", template=CONTENT, text=L(zh=point.criterion) if lang == "zh" else L(en=point.criterion),
                                      kind="outcome", by="meaning", weight=1)  # fmt: skip
                lines = ((1, f"T1 agent | {passage}"),)
                made.append(Row(f"point-{lang}-{number}-{place // 2}", lang, CONTENT, Item(criterion, happened, "plain", {}), lines, happened, ()))
    return made


def foreign(data: Sequence[Row]) -> list[Row]:
    """Made-up counterexamples for the head: a criterion beside the record of another dialogue, and beside small talk. Nothing of the kind happened there."""
    made = []
    records = {r.group: r for r in data if not is_point(r)}
    for number, row in enumerate(data):
        if is_point(row):
            continue
        others = [r for g, r in sorted(records.items()) if g != row.group and r.lang == row.lang]
        if row.aspect in SPECIFIC and others:
            made.append(replace(row, lines=others[number % len(others)].lines, happened=False, shown=()))
        told = tuple(line for line in row.lines if " patient | " in line[1])
        talk = TALK[row.lang][number % len(TALK[row.lang])]
        made.append(replace(row, lines=tuple(sorted((*told, *((turn, f"T{turn} agent | {talk}") for turn, _ in told)))), happened=False, shown=()))
    return made


# --- cues ---------------------------------------------------------------------------------------------------------------


def cues(found: Examples, more: Sequence[Row], lang: Lang, embed: Embedder | None = None) -> Cues:
    """The cue models of one language, with sentence embeddings where `embed` is given."""
    from sklearn.linear_model import LogisticRegression

    own = [r for r in more if r.lang == lang]
    aspects = tuple(sorted(found.aspects))
    texts = [p for a in found.aspects.values() for p in (*a.does, *a.lacks)] + [p for r in own for p, _ in r.shown] + [r.text for r in own]
    seen: Floats = np.zeros(BUCKETS)
    for text in texts:
        seen[list(ngrams(text, lang))] += 1
    idf = np.log((1 + len(texts)) / (1 + seen)) + 1
    weights = np.zeros((BUCKETS, len(aspects)))
    bias = np.zeros(len(aspects))
    dense: Floats | None = None
    for column, aspect in enumerate(aspects):
        kin: set[str] = set().union(*(k for k in KIN if aspect in k)) | {aspect}
        data = [(p, True, 1.0) for p in found.aspects[aspect].does] + [(p, False, 1.0) for p in found.aspects[aspect].lacks]
        data += [(p, yes, 1.0) for r in own if r.aspect == aspect for p, yes in r.shown]
        data += [(p, False, OTHERS) for other in aspects if other not in kin for p in found.aspects[other].does]
        x = _matrix([p for p, _, _ in data], lang, idf)
        y = np.array([yes for _, yes, _ in data])
        share = np.array([w for _, _, w in data])
        share = np.where(y, share * share[~y].sum() / max(share[y].sum(), 1e-9), share)
        model = LogisticRegression(C=STRENGTH, solver="liblinear", dual=True, max_iter=2000, random_state=0).fit(x, y, sample_weight=share)
        weights[:, column], bias[column] = model.coef_[0], model.intercept_[0]
        if embed is not None:
            vectors = embed([p for p, _, _ in data])
            dense = np.zeros((vectors.shape[1] + 1, len(aspects))) if dense is None else dense
            model = LogisticRegression(C=DENSE, max_iter=2000, random_state=0).fit(vectors, y, sample_weight=share)
            dense[:-1, column], dense[-1, column] = model.coef_[0], model.intercept_[0]
    scale = np.abs(weights).max(axis=0) / 127
    return Cues(aspects, np.round(weights / scale).astype(np.int8), scale, bias, idf, embed, dense)


def _matrix(texts: Sequence[str], lang: Lang, idf: Floats) -> Any:
    from scipy.sparse import csr_matrix

    columns = [ngrams(t, lang) for t in texts]
    values = [idf[list(c)] / np.sqrt(np.dot(idf[list(c)], idf[list(c)])) if c else np.empty(0) for c in columns]
    pointers = np.cumsum([0, *(len(c) for c in columns)])
    flat = np.concatenate([np.array(c, dtype=int) for c in columns])
    return csr_matrix((np.concatenate(values), flat, pointers), shape=(len(texts), BUCKETS))


# --- head ---------------------------------------------------------------------------------------------------------------


def vector(row: Row, found: Cues, known: Sequence[str]) -> Floats:
    """What the head sees of a row."""
    own, _ = found.relation(row.text, row.aspect, said(row.lines, row.text, row.lang), row.lang)
    return design(own, row.aspect, known)


def folds(rows_: Sequence[Row], count: int, seed: int = 0) -> list[set[str]]:
    """The groups, dealt out."""
    groups = sorted({r.group for r in rows_})
    order = np.random.default_rng(seed).permutation(len(groups))
    return [{groups[i] for i in order[k::count]} for k in range(count)]


Reader = Callable[[Sequence[Row]], Cues]


def unseen(train: Sequence[Row], read: Reader, known: Sequence[str], count: int) -> Floats:
    """The rows' vectors, each by cues that have not seen its group."""
    made: list[Floats] = [np.empty(0)] * len(train)
    for fold in folds(train, count):
        found = read([r for r in train if r.group not in fold])
        for number, row in enumerate(train):
            if row.group in fold:
                made[number] = vector(row, found, known)
    return np.array(made)


def fitted(data: Sequence[Row], read: Reader, known: Sequence[str], count: int) -> Floats:
    """The head, from rows and made-up counterexamples."""
    every = [*data, *foreign(data)]
    share = np.array([1.0] * len(data) + [MADE_UP] * (len(every) - len(data)))
    y = np.array([r.happened for r in every])
    share[y] *= float(share[~y].sum() / share[~y & (np.arange(len(y)) < len(data))].sum())  # the share of yes stays that of the labels
    return head(unseen(every, read, known, count), y, share)


def head(x: Floats, y: Any, share: Floats) -> Floats:
    """Weights of the head, on the features as they are (the scaling is folded in)."""
    from sklearn.linear_model import LogisticRegression

    mean, spread = x.mean(axis=0), x.std(axis=0)
    mean[-1], spread = 0.0, np.where(spread < 1e-9, 1.0, spread)
    model = LogisticRegression(C=HEAD, max_iter=5000, fit_intercept=True).fit((x - mean) / spread, y, sample_weight=share)
    weights: Floats = model.coef_[0] / spread
    weights[-1] += model.intercept_[0] - float(weights @ mean)
    return weights


@dataclass(frozen=True)
class Trained:
    """Models by language, and what cross-validation says of them. `pairs`, `chances`: of every labelled criterion, unseen."""

    models: dict[Lang, LearnedModel]
    pairs: tuple[tuple[Row, float], ...]
    figures: dict[str, Estimate]
    by: dict[str, tuple[int, dict[str, Estimate]]]
    coverage: float
    brier: float


def train(
    labelled: Sequence[Labelled], *, count: int = FOLDS, embed: Mapping[Lang, Embedder] = MappingProxyType({})
) -> Trained:
    """Fit on our own examples and dialogues, and on labelled criteria.

    Args:
        embed: sentence embeddings, for the languages that are to have them.

    Raises:
        UserError: scikit-learn is not installed, or there is too little to learn from.
    """
    try:
        import sklearn  # noqa: F401
    except ImportError as e:
        raise UserError("training needs scikit-learn: pip install 'mlb-env[train]'") from e
    every = rows([*(d for lang in LANGS for d in dialogues(lang)), *labelled])
    if len({r.group for r in every if r.aspect != CONTENT}) < count:
        raise UserError(f"too few labelled dialogues to learn from: {count} at least, of kinds {', '.join(ASPECTS)}")
    parts = {lang: _one([r for r in every if r.lang == lang and r.aspect != CONTENT], lang, count, embed.get(lang)) for lang in LANGS}
    contents = [*(r for r in every if r.aspect == CONTENT), *(r for lang in LANGS for r in of_points(examples(lang), lang))]
    weights, chances = _contents(contents, {lang: part.model for lang, part in parts.items()}, count)
    models = {lang: replace(part.model, content=weights[part.model.cues.embed is not None]) for lang, part in parts.items()}
    return _measured(models, [*(pair for part in parts.values() for pair in part.chances), *chances])


@dataclass(frozen=True)
class _Part:
    """One language: the model, and the chance of each row, unseen."""

    model: LearnedModel
    chances: list[tuple[Row, float]]


def _one(data: Sequence[Row], lang: Lang, count: int, embed: Embedder | None) -> _Part:
    """Conduct, in one language."""
    own = examples(lang)
    known = (*sorted({r.aspect for r in data}), CONTENT)

    def reader(some: Sequence[Row]) -> Cues:
        return cues(own, some, lang, embed)

    chances: Floats = np.zeros(len(data))
    for fold in folds(data, count, seed=1):
        rest = [r for r in data if r.group not in fold]
        weights = fitted(rest, reader, known, count)
        found = reader(rest)
        for i, row in enumerate(data):
            if row.group in fold:
                chances[i] = probability(vector(row, found, known), weights)
    band = float(np.quantile(np.abs(chances - 0.5), UNSURE)) if data else 0.0
    model = LearnedModel(lang, reader(data), known, fitted(data, reader, known, count), np.empty(0), band)
    return _Part(model, [(row, float(c)) for row, c in zip(data, chances, strict=True)])


def _contents(data: Sequence[Row], models: Mapping[Lang, LearnedModel], count: int) -> tuple[dict[bool, Floats], list[tuple[Row, float]]]:
    """The head of contents, for languages without and with embeddings, and the chance of each row, unseen. Few rows: both languages learn from all they can."""
    weights: dict[bool, Floats] = {}
    chances: dict[int, float] = {}
    for embedded in sorted({m.cues.embed is not None for m in models.values()}):
        own = [i for i, r in enumerate(data) if (models[r.lang].cues.embed is not None) is embedded]
        x = np.array([vector(data[i], models[data[i].lang].cues, ()) for i in own])
        y, share = np.array([data[i].happened for i in own]), np.ones(len(own))
        for fold in folds([data[i] for i in own], count, seed=1):
            outside = np.array([data[i].group in fold for i in own])
            part = head(x[~outside], y[~outside], share[~outside])
            chances |= {own[k]: probability(x[k], part) for k in np.flatnonzero(outside)}
        weights[embedded] = head(x, y, share)
    return weights, [(row, chances[i]) for i, row in enumerate(data)]


def is_point(row: Row) -> bool:
    """Whether a row is of our own examples of contents, not of a labelled dialogue."""
    return row.group.startswith("point-")


def _measured(models: dict[Lang, LearnedModel], chances: Sequence[tuple[Row, float]]) -> Trained:
    pairs: list[Pair] = []
    groups: dict[str, list[Pair]] = {}
    for row, chance in chances:
        if abs(chance - 0.5) < models[row.lang].band:
            continue
        pair = Pair(row.group, row.item.met, bool(chance > 0.5) is (row.aspect not in BAD))
        if not is_point(row):
            pairs.append(pair)
        names = [f"examples {row.lang}"] if is_point(row) else [f"lang {row.lang}", f"aspect {row.aspect}", f"form {row.item.form}"]
        for name in names:
            groups.setdefault(name, []).append(pair)
    labelled = sum(not is_point(row) for row, _ in chances)
    return Trained(
        models, tuple(chances), estimates(pairs), {k: (len(v), estimates(v)) for k, v in sorted(groups.items())},
        len(pairs) / labelled if labelled else 0.0, float(np.mean([(c - r.happened) ** 2 for r, c in chances])),
    )  # fmt: skip


def write(model: LearnedModel, folder: Path) -> str:
    """Write one language's model; returns its sha256. The same model gives the same bytes."""
    made = io.BytesIO()
    c = model.cues
    more: dict[str, Any] = {}
    if c.embed is not None and c.dense is not None:
        more = {"embeddings": np.array(c.embed.name), "probe": c.embed([PROBE])[0].astype(np.float32), "dense": c.dense.astype(np.float32)}
    np.savez_compressed(
        made, aspects=np.array(c.aspects), weights=c.weights, scale=c.scale.astype(np.float32), bias=c.bias.astype(np.float32), idf=c.idf.astype(np.float16),
        known=np.array(model.known), head=model.head, content=model.content, band=np.float64(model.band), **more,
    )  # fmt: skip
    content = made.getvalue()
    (folder / f"learned.{model.lang}.npz").write_bytes(content)
    return hashlib.sha256(content).hexdigest()


# --- what is kept -------------------------------------------------------------------------------------------------------


class Figure(Model):
    """A figure with its 95 % interval (bootstrap over dialogues)."""

    value: float | None
    low: float | None = None
    high: float | None = None


class Card(Model):
    """What a learned judge was made of, and what cross-validation says of it. `models`, `sources`: sha256 by language, by name of the file."""

    models: dict[str, str]
    sources: dict[str, str]
    aspects: tuple[str, ...]
    labelled: int
    points: int
    band: float
    coverage: float
    brier: float
    figures: dict[str, Figure]
    by: dict[str, dict[str, float | None]]


def save(made: Trained, folder: Path, sources: Mapping[str, str]) -> Card:
    """Write models, card.json and README.md."""
    hashes = {str(lang): write(model, folder) for lang, model in made.models.items()}
    names = [name for lang in LANGS for name in (f"{lang}.yaml", f"dialogues.{lang}.jsonl")]
    own = {f"examples/{name}": hashlib.sha256((files(__package__) / "examples" / name).read_bytes()).hexdigest() for name in names}
    model = next(iter(made.models.values()))
    points = sum(is_point(r) for r, _ in made.pairs)
    card = Card(
        models=hashes, sources={**own, **sources}, aspects=model.known, labelled=len(made.pairs) - points, points=points, band=round(model.band, 4),
        coverage=round(made.coverage, 4), brier=round(made.brier, 4),
        figures={n: Figure(value=_round(e.value), low=_round(e.low), high=_round(e.high)) for n, e in made.figures.items()},
        by={k: {"n": n, **{f: _round(e[f].value) for f in ("accuracy", "F1", "kappa")}} for k, (n, e) in made.by.items()},
    )  # fmt: skip
    (folder / "card.json").write_text(card.model_dump_json(indent=1) + "\n", encoding="utf-8", newline="\n")
    (folder / "README.md").write_text(_readme(card), encoding="utf-8", newline="\n")
    return card


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _readme(card: Card) -> str:
    rows_ = "\n".join(f"| {n} | {_shown(f.value)} | {_shown(f.low)} – {_shown(f.high)} |" for n, f in card.figures.items())
    parts = "\n".join(f"| {k} | {v['n']:.0f} | {_shown(v['accuracy'])} | {_shown(v['F1'])} | {_shown(v['kappa'])} |" for k, v in card.by.items())
    return f"""# A learned judge

Made by `mlb judge train`. Decides criteria of {", ".join(card.aspects)}; of all others it says nothing.

Data: {", ".join(card.sources)} ({card.labelled} labelled criteria, {card.points} pairs of a content and a passage); the part `held` was not used.

Cross-validated by dialogue, on the labelled criteria, {card.coverage:.0%} of them decided, Brier score {card.brier:.3f}:

| figure | value | 95 % interval |
|---|---|---|
{rows_}

| part | n | accuracy | F1 | kappa |
|---|---|---|---|---|
{parts}

Limits. Words, not understanding: an unusual wording, a quotation, the right word about the wrong drug, or a sentence that is taken back later can mislead it. Our own
dialogues were written and labelled by a language model, and more than half of their labels are of such tricky forms on purpose. Figures of the cross-validation are of
data like the training data. Not for clinical use.
"""


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
