"""Pads the agent's turns of a record with sentences that say nothing, to see whether a judge prefers length.

The sentences stand in neutral/{zh,en}.txt, one a line: no advice, no question, no feeling, no fact, so that no verdict may change.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from importlib.resources import files
from random import Random

from ..spec.base import Lang

SENTENCES = 4  # added to each turn in which the agent speaks


@lru_cache(maxsize=2)
def sentences(lang: Lang) -> tuple[str, ...]:
    """The neutral sentences of a language."""
    text = (files(__package__) / "neutral" / f"{lang}.txt").read_text(encoding="utf-8")
    return tuple(line for line in text.splitlines() if line.strip())


def padded(numbered: Sequence[tuple[int, str]], lang: Lang, rng: Random) -> list[tuple[int, str]]:
    """The record with `SENTENCES` of them after the agent's last words of each turn; no other line changes."""
    last = {turn: i for i, (turn, line) in enumerate(numbered) if line.startswith(f"T{turn} agent | ")}
    made = []
    for i, (turn, line) in enumerate(numbered):
        made.append((turn, line))
        if last.get(turn) == i:
            made += [(turn, f"T{turn} agent | {sentence}") for sentence in rng.sample(sentences(lang), SENTENCES)]
    return made
