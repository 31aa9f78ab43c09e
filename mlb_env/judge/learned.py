"""The learned judge: a small trained model that decides criteria of meaning offline, the same every time, or says that it cannot.

For each kind of criterion (`aspects.py`) a cue model over hashed n-grams knows how a passage sounds in which the thing happens; a logistic head
weighs the cues with how far what was said covers the criterion (`relate.py`). Trained by `mlb judge train` (`fit.py`). In a band of probability
around one half it abstains: the verdict is then `not_judged`.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError
from ..spec.base import Lang
from ..spec.rubric import Criterion, Vote
from .aspects import BAD, CONTENT, GROUPS, aspect_of
from .embed import Embedder, embedder
from .relate import NAMES, Floats, Meaning, Turn, ngrams, relation, said, width

TOUCHED = 0.05  # share of a criterion's n-grams, by weight, under which a passage does not touch it
NOTHING = 0.05  # probability of what nothing speaks for
UNKNOWN = "the learned judge was not trained on criteria of this kind"


@dataclass(frozen=True)
class Cues:
    """How passages sound in which an aspect's event happens. `weights`: (buckets, aspects); `scale`, `bias`: one for each aspect; `idf`: of each n-gram.

    With sentence embeddings (`embed`), `dense` is the same from them: (dimensions + 1, aspects), the last row the bias.
    """

    aspects: tuple[str, ...]
    weights: Any
    scale: Any
    bias: Any
    idf: Floats
    embed: Embedder | None = None
    dense: Floats | None = None

    def relation(self, criterion: str, aspect: str, turns: Sequence[Turn], lang: Lang) -> tuple[Floats, int]:
        """`relate.relation` with these cues."""
        meaning = Meaning(self.embed, lambda found: self.meant(found, aspect)) if self.embed is not None else None
        return relation(criterion, turns, lang, self.idf, lambda text: self.odds(text, aspect, lang), meaning)

    def meant(self, found: Floats, aspect: str) -> Floats:
        """Log-odds of the event for each embedding; 0 where there is no model of it."""
        if self.dense is None or aspect not in self.aspects:
            return np.zeros(len(found))
        column = self.dense[:, self.aspects.index(aspect)]
        odds: Floats = found @ column[:-1] + column[-1]
        return odds

    def odds(self, text: str, aspect: str, lang: Lang) -> float:
        """Log-odds that the event happens in a passage; 0 where there is no model of it."""
        if aspect not in self.aspects or not (found := ngrams(text, lang)):
            return 0.0 if aspect not in self.aspects else -6.0
        column = self.aspects.index(aspect)
        grams = np.array(found)
        idf = self.idf[grams]
        values = idf / np.sqrt(np.dot(idf, idf))
        return float(values @ self.weights[grams, column].astype(np.float64) * self.scale[column] + self.bias[column])


@dataclass(frozen=True)
class LearnedModel:
    """One language's model. `head`, `content`: weights of `design`, for conduct and for contents; `band`: no verdict where the probability is as near to one half as that."""

    lang: Lang
    cues: Cues
    known: tuple[str, ...]
    head: Floats
    content: Floats
    band: float
    sha: str = ""

    def vector(self, criterion: str, aspect: str, turns: Sequence[Turn]) -> tuple[Floats, int]:
        """What the head weighs, and the turn that weighs most."""
        own, turn = self.cues.relation(criterion, aspect, turns, self.lang)
        return design(own, aspect, self.known), turn

    def chance(self, criterion: str, aspect: str, turns: Sequence[Turn]) -> tuple[float, int]:
        """Probability that the event happened, and the turn that weighs most."""
        made, turn = self.vector(criterion, aspect, turns)
        if turn < 0:
            return 0.0, turn  # where nothing was said nothing happened
        return probability(made, self.content if aspect == CONTENT else self.head), turn

    def vote(self, criterion: Criterion, numbered: Sequence[tuple[int, str]], name: str) -> Vote:
        """The verdict on one criterion."""
        aspect = aspect_of(criterion)
        if aspect is None or aspect not in self.known:
            return Vote(judge=name, verdict="not_judged", reason=UNKNOWN)
        text = criterion.text[self.lang]
        chance, turn = self.chance(text, aspect, said(numbered, text, self.lang))
        confidence = round(max(chance, 1 - chance), 4)
        if abs(chance - 0.5) < self.band:
            return Vote(judge=name, verdict="not_judged", confidence=confidence, reason=f"the learned judge is not sure (probability {chance:.2f})")
        happened = chance > 0.5
        good = happened is (aspect not in BAD)
        return Vote(judge=name, verdict="met" if good else "unmet", confidence=confidence, evidence=(turn,) if happened and turn > 0 else ())


def probability(made: Floats, head: Floats) -> float:
    """That the event happened. Where no passage sounds like it and none touches the criterion, it did not, whatever the head makes of the rest."""
    chance = float(1 / (1 + np.exp(-made @ head)))
    cue, coverage = made[NAMES.index("cue, best passage")], made[NAMES.index("coverage, best passage")]
    return min(chance, NOTHING) if cue <= 0 and coverage < TOUCHED else chance


def design(own: Floats, aspect: str, known: Sequence[str]) -> Floats:
    """The input of the head of conduct: the features, once for all and once for the aspect's group, and which aspect it is. That of the head of contents:
    the features alone, for what a passage covers says little of conduct, and all of a content."""
    if aspect == CONTENT:
        return np.append(own, 1.0)
    groups = [own if aspect in members else np.zeros_like(own) for members in GROUPS.values()]
    return np.concatenate([own, *groups, np.array([float(aspect == k) for k in known]), np.ones(1)])


@dataclass(frozen=True)
class LearnedJudge:
    """The learned judge of a folder (`mlb judge train --out`), or the one that comes with the package (None)."""

    folder: Path | None = None

    @property
    def label(self) -> str:
        return "learned" if self.folder is None else f"learned:{self.folder}"

    def name(self, lang: Lang) -> str:
        """What goes into every verdict: the hash of the model."""
        short = "learned" if self.folder is None else f"learned:{self.folder.name}"
        return f"{short}@{load(self.folder, lang).sha[:8]}"

    def vote(self, criterion: Criterion, numbered: Sequence[tuple[int, str]], lang: Lang) -> Vote:
        """The verdict on one criterion, with the turn that shows it."""
        return load(self.folder, lang).vote(criterion, numbered, self.name(lang))


@lru_cache(maxsize=8)
def load(folder: Path | None, lang: Lang) -> LearnedModel:
    """A trained model.

    Raises:
        UserError: there is none, or the file is no such model.
    """
    name = f"learned.{lang}.npz"
    if folder is not None:
        return read(folder / name, lang)
    with as_file(files(__package__) / "models" / name) as path:
        return read(path, lang)


def read(path: Path, lang: Lang) -> LearnedModel:
    """The model in a file.

    Raises:
        UserError: it is not there, or no such model.
    """
    try:
        content = path.read_bytes()
        data = np.load(io.BytesIO(content), allow_pickle=False)
        cues = Cues(tuple(str(a) for a in data["aspects"]), data["weights"], data["scale"].astype(np.float64), data["bias"].astype(np.float64),
                    data["idf"].astype(np.float64))  # fmt: skip
        if "dense" in data:
            embed = embedder(str(data["embeddings"]))
            embed.check(data["probe"].astype(np.float64), str(path))
            cues = replace(cues, embed=embed, dense=data["dense"].astype(np.float64))
        made = LearnedModel(lang, cues, tuple(str(k) for k in data["known"]), data["head"].astype(np.float64), data["content"].astype(np.float64), float(data["band"]),
                            hashlib.sha256(content).hexdigest())  # fmt: skip
    except FileNotFoundError:
        raise UserError(f"'{path}' is not there: no learned judge of {lang}; train one with mlb judge train LABELS --out FOLDER") from None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"'{path}': not a learned judge that mlb judge train wrote ({error})") from None
    own = np.zeros(width(cues.embed is not None))
    if len(made.content) != len(design(own, CONTENT, ())) or len(made.head) != len(design(own, "", made.known)):
        raise UserError(f"'{path}': a learned judge of another version; train it again with mlb judge train")
    return made
