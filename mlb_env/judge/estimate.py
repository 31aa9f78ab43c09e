"""What judging will cost, before anything is asked: how many calls, and about how many prompt tokens.

Calls are counted on the very prompts that will be sent, without those that an unreadable reply adds (at most twice as many again). Tokens are
a rule of thumb, for no tokenizer is at hand: one for a Chinese character, one for four other characters.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..catalog.play import Play
from ..spec.base import Lang
from ..spec.rubric import Criterion
from ..spec.trajectory import Trajectory
from .derive import rubric_of
from .grade import Bench, asked
from .labels import Labelled
from .meaning import ATTEMPTS, Judge, questions
from .window import lines

_WIDE = re.compile(r"[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef]")


@dataclass(frozen=True)
class Cost:
    """Calls, and prompt tokens, of judging."""

    calls: int = 0
    prompt_tokens: int = 0

    def plus(self, other: Cost) -> Cost:
        return Cost(self.calls + other.calls, self.prompt_tokens + other.prompt_tokens)

    def __str__(self) -> str:
        return (f"{self.calls:,} judge calls, about {self.prompt_tokens:,} prompt tokens (at most {ATTEMPTS} times as many calls if replies cannot "
                "be read)")  # fmt: skip


def tokens(text: str) -> int:
    """About how many tokens a text has."""
    wide = len(_WIDE.findall(text))
    return wide + -(-(len(text) - wide) // 4)


def putting(criteria: Sequence[Criterion], numbered: Sequence[tuple[int, str]], judges: Sequence[Judge], lang: Lang) -> Cost:
    """The cost of putting criteria to judges."""
    asks = questions(criteria, numbered, judges, lang)
    return Cost(len(asks), sum(tokens(m["content"]) for ask in asks for m in ask.messages))


def of_trajectories(played: Iterable[tuple[Trajectory, Play]], bench: Bench) -> Cost:
    """The cost of judging what was played."""
    cost = Cost()
    for trajectory, play in played:
        cost = cost.plus(putting(asked(trajectory, rubric_of(play), bench), lines(trajectory), bench.models, trajectory.lang))
    return cost


def of_labels(labelled: Iterable[Labelled], judges: Sequence[Judge], times: int = 1) -> Cost:
    """The cost of measuring judges on labels."""
    cost = Cost()
    for d in labelled:
        cost = cost.plus(putting([i.criterion for i in d.items], d.lines, judges, d.lang))
    return Cost(cost.calls * times, cost.prompt_tokens * times)


def of_plays(plays: Iterable[tuple[Play, Lang]], bench: Bench) -> Cost:
    """The least cost of judging what has not been played yet: one window an episode, and the prompts without the dialogue."""
    cost = Cost()
    for play, lang in plays:
        criteria = [c for c in rubric_of(play).criteria if not bench.decides(c)]
        cost = cost.plus(putting(criteria, [(0, "")], bench.models, lang))
    return cost
