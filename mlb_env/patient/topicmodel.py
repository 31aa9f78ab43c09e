"""The topic model: which topic a sentence asks about, where the lexicon has no word for it.

Linear support vectors, with margins made into probabilities, over hashed n-grams (characters in Chinese; words and parts of words in English), trained by
`mlb patients train` on the phrasings of `phrasings/`. Inference is a gather and a sum in numpy. The class `none` stands for
sentences that ask nothing of a medical history.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from itertools import pairwise
from types import MappingProxyType
from typing import Any
from zlib import crc32

from ..errors import MlbError
from ..spec.base import Lang

BUCKETS = 1 << 15
NONE = "none"
_NOT_WORD = re.compile(r"\W+")
_WORDS = re.compile(r"[a-z0-9]+(?:'[a-z]+)?")


def features(text: str, lang: Lang) -> list[int]:
    """The hashed n-grams of a sentence, each once, in ascending order."""
    grams: set[str] = set()
    if lang == "zh":
        chars = "^" + _NOT_WORD.sub("", text.lower()) + "$"
        for n in (1, 2, 3):
            grams.update(chars[i : i + n] for i in range(len(chars) - n + 1))
    else:
        words = _WORDS.findall(text.lower().replace("’", "'"))
        grams.update(words)
        grams.update(f"{a} {b}" for a, b in pairwise(words))
        for word in words:
            padded = f"<{word}>"
            for n in (3, 4, 5):
                grams.update("#" + padded[i : i + n] for i in range(len(padded) - n + 1))
    return sorted({crc32(gram.encode()) % BUCKETS for gram in grams})


@dataclass(frozen=True)
class TopicModel:
    """`weights`: (BUCKETS, topics) int8 with one `scale` for each topic; `idf`: weight of each n-gram; `bias`: one for each topic."""

    lang: Lang
    topics: tuple[str, ...]
    weights: Any
    scale: Any
    bias: Any
    idf: Any

    def probabilities(self, text: str) -> dict[str, float]:
        """Topic -> probability (they sum to 1), the likeliest first; only those of at least 0.01."""
        import numpy as np

        found = features(text, self.lang)
        if not found:
            return {NONE: 1.0}
        idf = self.idf[found]
        values = idf / np.sqrt(np.dot(idf, idf))
        logits = values @ self.weights[found].astype(np.float32) * self.scale + self.bias
        chances = np.exp(logits - logits.max())
        chances /= chances.sum()
        best = np.flatnonzero(chances >= 0.01)
        return {self.topics[i]: float(chances[i]) for i in best[np.argsort(-chances[best], kind="stable")]}


@lru_cache(maxsize=2)
def topic_model(lang: Lang) -> TopicModel:
    """The bundled model of one language.

    Raises:
        MlbError: its file is missing from the installation.
    """
    import numpy as np

    file = files(__package__) / "models" / f"topics.{lang}.npz"
    if not file.is_file():
        raise MlbError(f"the topic model '{file.name}' is missing from this installation; make it by `mlb patients train`")
    with file.open("rb") as stream:
        data = np.load(stream, allow_pickle=False)
        return TopicModel(
            lang, tuple(str(t) for t in data["topics"]), data["weights"], data["scale"], data["bias"],
            data["idf"].astype(np.float32),
        )  # fmt: skip


@lru_cache(maxsize=1 << 14)  # agents ask many patients the same
def chances(text: str, lang: Lang) -> Mapping[str, float]:
    """The bundled model's `probabilities`, looked up where the sentence was asked before."""
    return MappingProxyType(topic_model(lang).probabilities(text))
