"""Trains the topic model on our own phrasings: `mlb patients train` (needs the extra `train`).

Data: `phrasings/<lang>.yaml` (topic -> questions, and `none` -> sentences that ask nothing), and the lexicon's good questions.
Nothing of the question bench is used.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from .. import codes
from ..errors import UserError
from ..spec.base import Lang
from .topicmodel import BUCKETS, NONE, features
from .understand import ask_for

STRENGTH = 1.0  # inverse regularisation, chosen by cross-validation over the phrasings


def corpus(lang: Lang) -> list[tuple[str, str]]:
    """(sentence, topic or `none`), without repeats, in a fixed order."""
    text = (files(__package__) / "phrasings" / f"{lang}.yaml").read_text(encoding="utf-8")
    listed: dict[str, list[str]] = yaml.load(text, Loader=yaml.CSafeLoader)
    if unknown := set(listed) - set(codes.topics()) - {NONE}:
        raise UserError(f"phrasings/{lang}.yaml: unknown topics {', '.join(sorted(unknown))} (see mlb_env/codes/topics.yaml)")
    pairs = [(str(s), topic) for topic, sentences in listed.items() for s in sentences]
    pairs += [(ask_for(topic, lang), topic) for topic in codes.topics()]
    return list(dict.fromkeys(pairs))


def matrix(sentences: list[str], lang: Lang) -> Any:
    """Binary document-term matrix, (sentences, BUCKETS), sparse."""
    from scipy.sparse import csr_matrix

    columns = [features(s, lang) for s in sentences]
    pointers = [0]
    for column in columns:
        pointers.append(pointers[-1] + len(column))
    flat = [c for column in columns for c in column]
    return csr_matrix(([1.0] * len(flat), flat, pointers), shape=(len(sentences), BUCKETS))


def weigh(counts: Any, idf: Any) -> Any:
    """Weighted by idf, each row of length 1."""
    from sklearn.preprocessing import normalize

    return normalize(counts.multiply(idf).tocsr())


def train(lang: Lang, out: Path, *, folds: int = 5) -> dict[str, float]:
    """Fit and write `topics.<lang>.npz`. Returns the sizes and the cross-validated accuracy on the phrasings.

    Raises:
        UserError: scikit-learn is not installed, or a topic is unknown.
    """
    try:
        import numpy as np
        from sklearn.model_selection import KFold
        from sklearn.svm import LinearSVC
    except ImportError as e:
        raise UserError("training needs scikit-learn: pip install 'mlb-env[train]'") from e

    pairs = corpus(lang)
    counts = matrix([s for s, _ in pairs], lang)
    labels = np.array([t for _, t in pairs])
    seen = np.asarray((counts > 0).sum(axis=0)).ravel()
    idf = np.where(seen > 0, np.log((1 + len(pairs)) / (1 + seen)) + 1, 0.0)
    x = weigh(counts, idf)
    topics = np.unique(labels)
    margins = np.full((len(pairs), len(topics)), -2.0)  # a topic that a fold has not seen is far off
    for rows, others in KFold(folds, shuffle=True, random_state=0).split(x):
        fold = LinearSVC(C=STRENGTH, random_state=0).fit(x[rows], labels[rows])
        margins[np.ix_(others, np.searchsorted(topics, fold.classes_))] = fold.decision_function(x[others])
    right = np.searchsorted(topics, labels)
    # margins become probabilities by one temperature: the one under which the held-out folds are likeliest
    temperature = min(np.arange(2, 30, 0.5), key=lambda t: _surprise(t * margins, right))
    model = LinearSVC(C=STRENGTH, random_state=0).fit(x, labels)
    weights = temperature * model.coef_.T  # (BUCKETS, topics)
    scale = np.abs(weights).max(axis=0) / 127
    out.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        out / f"topics.{lang}.npz", topics=np.array([str(c) for c in model.classes_]), weights=np.round(weights / scale).astype(np.int8),
        scale=scale.astype(np.float32), bias=(temperature * model.intercept_).astype(np.float32), idf=idf.astype(np.float16),
    )  # fmt: skip
    return {"sentences": len(pairs), "topics": len(topics), "accuracy": float((margins.argmax(axis=1) == right).mean()),
            "temperature": float(temperature)}  # fmt: skip


def _surprise(logits: Any, right: Any) -> float:
    """Mean negative log-likelihood of the right topics."""
    import numpy as np

    top = logits.max(axis=1)
    total = top + np.log(np.exp(logits - top[:, None]).sum(axis=1))
    return float((total - logits[np.arange(len(right)), right]).mean())
