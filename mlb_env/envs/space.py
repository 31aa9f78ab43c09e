"""A text space for any Unicode text, bounded by length only.

Gymnasium's own `Text` names every character of its alphabet: 46 MB and a repr of a million characters for all of Unicode,
and under shared memory it returns constant observations without an error. This space costs nothing, and shared memory
refuses it loudly (pass `shared_memory=False` to AsyncVectorEnv).
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces.utils import is_space_dtype_shape_equiv
from gymnasium.vector.utils import batch_differing_spaces, create_empty_array

# Samples are speech: nothing here reads as a tool call.
WORDS = (
    "您好", "请问", "什么时候开始的", "哪里不舒服", "有没有发热", "疼吗", "药物过敏", "谢谢", "嗯", "，", "？", "。",
    "hello", "when", "did it start", "fever", "pain", "any allergies", "thank you", "naïve", "37.5 ℃", "?", ",", ".",
    "🙂", "🩺", "👩‍⚕️", "💊",
)  # fmt: skip
MAX_WORDS = 8


class UnicodeText(gymnasium.Space[str]):
    """All texts of at most `max_length` characters.

    Args:
        max_length: the longest text, in characters; at least 1.
        seed: of `sample`.
    """

    def __init__(self, max_length: int, seed: int | np.random.Generator | None = None) -> None:
        if max_length < 1:
            raise ValueError(f"max_length is {max_length}; a text space needs at least 1 character")
        self.max_length = max_length
        super().__init__(shape=None, dtype=None, seed=seed)

    @property
    def is_np_flattenable(self) -> bool:
        """Texts have no fixed form as an array."""
        return False

    def sample(self, mask: Any | None = None, probability: Any | None = None) -> str:
        """A few words of Chinese and English and emoji, by the space's own generator.

        Raises:
            ValueError: a mask was given; there is nothing to mask.
        """
        if mask is not None or probability is not None:
            raise ValueError("UnicodeText.sample takes neither a mask nor a probability")
        count = int(self.np_random.integers(1, MAX_WORDS + 1))
        return " ".join(WORDS[i] for i in self.np_random.integers(0, len(WORDS), count))[: self.max_length]

    def contains(self, x: Any) -> bool:
        """Whether `x` is a text and not too long."""
        return isinstance(x, str) and len(x) <= self.max_length

    def __eq__(self, other: object) -> bool:
        return isinstance(other, UnicodeText) and self.max_length == other.max_length

    def __hash__(self) -> int:
        return hash((UnicodeText, self.max_length))

    def __repr__(self) -> str:
        return f"UnicodeText({self.max_length})"


# Vector environments hold a batch of texts as a tuple. `batch_space` and `concatenate` do so for every space that is not
# an array. `iterate` must not be registered: over a tuple of texts it would then walk the characters.


@create_empty_array.register(UnicodeText)
def _empty(space: UnicodeText, n: int = 1, fn: Any = None) -> tuple[str, ...]:
    return ("",) * n


@batch_differing_spaces.register(UnicodeText)  # Gymnasium dispatches this one on the type of the first space
def _differing(spaces: list[UnicodeText]) -> gymnasium.spaces.Tuple[Any]:  # type: ignore[misc]
    return gymnasium.spaces.Tuple([deepcopy(space) for space in spaces])


@is_space_dtype_shape_equiv.register(UnicodeText)
def _equivalent(space: UnicodeText, other: Any) -> bool:
    return isinstance(other, UnicodeText)
