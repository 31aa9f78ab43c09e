"""Sentence embeddings for the learned judge, where the extra `embed` is installed: any model that sentence-transformers loads, by name or folder."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from ..errors import UserError
from .relate import Floats

KEPT = 1 << 14  # embeddings that are kept: one passage is read for many criteria
PROBE = "The doctor asked the patient a question. 医生问了病人一个问题。"
NEAR = 0.999  # cosine from which two embeddings of PROBE come from the same model


class Embedder:
    """Text -> vector of length 1, the same every time.

    Args:
        name: a model's name or folder, as it is kept in the judge's file.
        model: what encodes: `encode(list of texts) -> (texts, dimensions)`.
    """

    def __init__(self, name: str, model: Any) -> None:
        self.name = name
        self._model = model
        self._kept: OrderedDict[str, Floats] = OrderedDict()

    def __call__(self, texts: Sequence[str]) -> Floats:
        """The embeddings, (texts, dimensions)."""
        if new := [t for t in dict.fromkeys(texts) if t not in self._kept]:
            made = np.asarray(self._model.encode(new, normalize_embeddings=True, show_progress_bar=False), dtype=np.float64)
            self._kept.update(zip(new, made, strict=True))
        found = []
        for text in texts:
            self._kept.move_to_end(text)
            found.append(self._kept[text])
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return np.array(found)

    def check(self, probe: Floats, where: str) -> None:
        """Whether this is the model that a judge was trained with.

        Raises:
            UserError: it gives other embeddings.
        """
        own = self([PROBE])[0]
        if own.shape != probe.shape or float(own @ probe) < NEAR:
            raise UserError(f"'{where}' was trained with other embeddings than '{self.name}' gives now; train it again with mlb judge train --embeddings")


@lru_cache(maxsize=2)
def embedder(name: str) -> Embedder:
    """The embeddings of a model.

    Raises:
        UserError: the extra is not installed, or there is no such model.
    """
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise UserError("sentence embeddings need sentence-transformers: pip install 'mlb-env[embed]'") from error
    try:
        return Embedder(name, SentenceTransformer(name, device="cpu"))
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(f"the embedding model '{name}' cannot be loaded: {str(error).splitlines()[0] if str(error) else type(error).__name__}") from error
