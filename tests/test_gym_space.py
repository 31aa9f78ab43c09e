"""The text space: any Unicode, bounded by length, cheap, and loud where Gymnasium's own would lie."""

from __future__ import annotations

import pickle
from copy import deepcopy
from typing import Any

import pytest
from gymnasium.spaces import Text, Tuple
from gymnasium.vector.utils import batch_differing_spaces, batch_space, concatenate, create_empty_array, iterate

from mlb_env.envs.space import UnicodeText
from mlb_env.spec.action import Action


@pytest.mark.parametrize("text", ["", "hello", "哪里不舒服？", "🩺👩‍⚕️", "𠮷", "a\nb\tc", "‏عربي", "x" * 20])
def test_every_text_up_to_the_length_is_in_it(text: str) -> None:
    assert text in UnicodeText(20)


@pytest.mark.parametrize("other", ["x" * 21, b"hello", None, 3, ["a"], {"content": "a"}])
def test_nothing_else_is_in_it(other: Any) -> None:
    assert other not in UnicodeText(20)


def test_samples_are_seeded_contained_and_varied() -> None:
    one, two, short = UnicodeText(500, seed=7), UnicodeText(500, seed=7), UnicodeText(3, seed=7)
    samples = [one.sample() for _ in range(200)]
    assert samples == [two.sample() for _ in range(200)]
    assert all(text in one for text in samples) and len(set(samples)) > 150
    assert all(short.sample() in short for _ in range(50))


def test_a_sample_is_speech_and_never_a_tool_call() -> None:
    space = UnicodeText(500, seed=1)
    for _ in range(500):
        action = Action.from_text(space.sample())
        assert action.content and not action.tool_calls and not action.error


def test_masks_are_refused() -> None:
    with pytest.raises(ValueError, match="neither a mask"):
        UnicodeText(5).sample(mask=(1, None))


def test_equality_repr_and_pickling() -> None:
    space = UnicodeText(100, seed=3)
    assert space == UnicodeText(100) != UnicodeText(101) and space != Text(100)
    assert hash(space) == hash(UnicodeText(100))
    assert repr(space) == "UnicodeText(100)"
    again = pickle.loads(pickle.dumps(space))
    assert again == space and again.sample() == space.sample()
    assert len(pickle.dumps(space)) < 2000
    assert not space.is_np_flattenable


def test_a_length_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="max_length is 0"):
        UnicodeText(0)


def test_json_keeps_the_texts() -> None:
    space = UnicodeText(100)
    assert space.from_jsonable(space.to_jsonable(["头疼", "🙂"])) == ["头疼", "🙂"]


def test_a_batch_is_a_tuple_of_texts() -> None:
    space = UnicodeText(100, seed=5)
    batch = batch_space(space, 3)
    assert isinstance(batch, Tuple) and batch.sample() in batch
    empty = create_empty_array(space, 3)
    assert empty == ("", "", "") and empty in batch
    joined = concatenate(space, ["头疼", "b", "🙂"], empty)
    assert joined == ("头疼", "b", "🙂") and joined in batch
    assert list(iterate(batch, joined)) == ["头疼", "b", "🙂"]  # the texts, not their characters
    assert deepcopy(batch) == batch
    assert ("x" * 50, "y" * 9) in batch_differing_spaces([UnicodeText(50), UnicodeText(9)])
