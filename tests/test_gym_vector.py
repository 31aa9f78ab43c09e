"""Many episodes at once: Gymnasium's own vector environments, and ours, which overlaps model calls."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import data_equivalence
from gymnasium.vector import AutoresetMode, VectorEnv

from mlb_env.effects import ChatReply, ChatRequest, Effect, Failure, Flow, ModelSettings, Reply
from mlb_env.envs.env import MlbEnv
from mlb_env.envs.vector import MlbVectorEnv
from mlb_env.errors import UserError
from mlb_env.patient.offline import OfflinePatient
from mlb_env.spec.action import Action
from tests.openai_server import Behaviour, OpenAIServer, Request, text

SAME = AutoresetMode.SAME_STEP
WORDS = ("您好，哪里不舒服？", "什么时候开始的？", "有没有发热？")
IN_PROCESS: list[tuple[str, dict[str, Any]]] = [
    ("sync", {"vector_kwargs": {"autoreset_mode": SAME}}),
    ("vector_entry_point", {}),
]
KINDS = [
    *IN_PROCESS,
    ("async", {"vector_kwargs": {"shared_memory": False, "autoreset_mode": SAME, "context": "spawn"}}),
]


def made(kind: str, extra: dict[str, Any], n: int = 3, **keywords: Any) -> VectorEnv[Any, Any, Any]:
    return gymnasium.make_vec("mlb/SmartCare-v0", num_envs=n, vectorization_mode=kind, lang="zh", **extra, **keywords)


def walk(env: VectorEnv[Any, Any, Any], steps: int) -> Iterator[Any]:
    """What an environment gives from a seed on, over the ends of episodes."""
    yield env.reset(seed=3)
    for turn in range(steps):
        yield env.step((WORDS[turn % 3],) * env.num_envs)
    env.close()


@pytest.mark.parametrize(("kind", "extra"), KINDS)
def test_every_vector_environment_steps_over_the_ends_of_episodes(kind: str, extra: dict[str, Any]) -> None:
    env = made(kind, extra, max_turns=4)
    assert env.metadata["autoreset_mode"] is SAME
    observations, infos = env.reset(seed=3)
    assert observations in env.observation_space and all(observations) and all(infos["task"])
    ended = 0
    for _ in range(12):
        observations, rewards, terminated, truncated, infos = env.step(WORDS)
        assert observations in env.observation_space and len(set(map(type, observations))) == 1 and all(observations)
        assert rewards.dtype == np.float64 and terminated.dtype == truncated.dtype == np.bool_
        over = terminated | truncated
        assert ("final_obs" in infos) == over.any()
        for i in np.flatnonzero(over):
            ended += 1
            assert infos["final_obs"][i] and infos["final_info"]["stop_reason"][i] == "max_turns"
            assert infos["final_info"]["graded"][i] and infos["turn"][i] == 0 and infos["task"][i]
        assert all(t == "" for t in infos["task"][~over])
    assert ended == 9
    env.close()


def test_ours_gives_what_the_sync_environment_gives() -> None:
    runs = [list(walk(made(kind, extra, max_turns=3), 10)) for kind, extra in IN_PROCESS]
    assert len(runs[0]) == 11
    for sync, ours in zip(*runs, strict=True):
        assert data_equivalence(sync, ours, exact=True)


def test_without_a_mode_make_vec_takes_ours() -> None:
    env = gymnasium.make_vec("mlb/SmartServ-v0", num_envs=2)
    assert isinstance(env, MlbVectorEnv)
    env.close()


def test_shared_memory_is_refused_loudly_and_never_lies() -> None:
    with pytest.raises(ValueError, match="shared_memory"):
        made("async", {"vector_kwargs": {"context": "spawn"}})


def test_actions_may_be_typed_and_differ_between_environments() -> None:
    env = made("vector_entry_point", {}, n=2, dataset="MADiagnosis")
    assert isinstance(env, MlbVectorEnv)
    env.reset(seed=0)
    close = '{"content": "", "tool_calls": [{"name": "submit_diagnosis", "arguments": {"primary": {"name": "x"}, "certainty": "possible"}}]}'
    _, _, terminated, _, infos = env.step((Action(content="有没有发热？"), close))
    assert list(terminated) == [False, True] and list(infos["_final_info"]) == [False, True]
    ended = env.envs[1].unwrapped
    assert isinstance(ended, MlbEnv)
    assert ended.trajectory().stop_reason == "concluded"  # not lost by the automatic reset
    with pytest.raises(ValueError, match="1 actions for 2"):
        env.step(("有没有发热？",))
    env.close()


def test_some_episodes_can_be_reset_by_a_mask() -> None:
    env = made("vector_entry_point", {}, n=3)
    before, _ = env.reset(seed=1)
    env.step(WORDS)
    observations, infos = env.reset(seed=1, options={"reset_mask": np.array([False, True, False])})
    assert observations[1] == before[1] and list(infos["_turn"]) == [False, True, False]
    assert observations[0] != before[0]
    env.close()


def test_the_step_limit_truncates_as_time_limit_does() -> None:
    env = gymnasium.make_vec("mlb/SmartCare-v0", num_envs=2, vectorization_mode="vector_entry_point", max_episode_steps=2)
    env.reset(seed=0)
    hello = ("Hello?", "Hello?")
    assert not env.step(hello)[3].any()
    *_, truncated, infos = env.step(hello)
    assert truncated.all() and list(infos["final_info"]["stop_reason"]) == ["", ""] and list(infos["turn"]) == [0, 0]
    assert not env.step(hello)[3].any()
    env.close()


def test_rendering_shows_each_dialogue() -> None:
    env = made("vector_entry_point", {}, n=2, render_mode="ansi")
    env.reset(seed=0)
    env.step(WORDS[:2])
    first, second = env.render() or ("", "")
    assert WORDS[0] in first and WORDS[1] in second
    env.close()


def test_a_users_mistake_is_the_same_one_sentence() -> None:
    with pytest.raises(UserError, match="dataset 'Nope'"):
        gymnasium.make_vec("mlb/SmartCare-v0", num_envs=2, vectorization_mode="vector_entry_point", dataset="Nope")


# --- model calls -----------------------------------------------------------------------------------------------------


class SlowEdge:
    """An endpoint that needs a moment, and counts how many calls it has open at once."""

    def __init__(self) -> None:
        self.open = self.most = self.calls = 0
        self.threads: set[int] = set()
        self.loops: set[int] = set()

    def perform(self, effects: tuple[Effect, ...]) -> tuple[Reply, ...]:
        raise AssertionError("a vector environment calls models asynchronously")

    async def aperform(self, effects: tuple[Effect, ...]) -> tuple[Reply, ...]:
        self.calls += 1
        self.open += 1
        self.most = max(self.most, self.open)
        self.threads.add(threading.get_ident())
        self.loops.add(id(asyncio.get_running_loop()))
        await asyncio.sleep(0.05)
        self.open -= 1
        request = effects[0]
        assert isinstance(request, ChatRequest)
        return (ChatReply(content=f"answer to {request.messages[0]['content']}"),)


def _talks_to_a_model(self: OfflinePatient, text: str, *, turn: int, minute: int) -> Flow[str]:
    """A patient that needs one model call for words like 什么, two for others, none for 再见."""
    said = ""
    for _ in range(0 if "再见" in text else 1 if "什么" in text else 2):
        request = ChatRequest(role="patient", settings=ModelSettings("m"), messages=({"role": "user", "content": text},))
        (reply,) = yield (request,)
        assert not isinstance(reply, Failure)
        said = getattr(reply, "content", "")
    return said or "bye"


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> SlowEdge:
    monkeypatch.setattr(OfflinePatient, "reply", _talks_to_a_model)
    return SlowEdge()


def test_model_calls_of_many_episodes_overlap(slow: SlowEdge) -> None:
    env = made("vector_entry_point", {}, n=16, dataset="MADiagnosis", edge=slow)
    env.reset(seed=0)
    actions = tuple(("有没有发热？", "什么时候开始的？", "再见。")[i % 3] for i in range(16))
    start = time.monotonic()
    for _ in range(2):
        observations, *_ = env.step(actions)
        assert [o.splitlines()[0] for o in observations] == ["bye" if "再见" in a else f"answer to {a}" for a in actions]
    assert time.monotonic() - start < 16 * 0.05  # one after the other: 2.4 s
    assert (slow.calls, slow.most) == (2 * (6 * 2 + 5), 11)
    assert len(slow.loops) == len(slow.threads) == 1 and threading.get_ident() not in slow.threads
    env.close()
    assert not any(t.name == "mlb-env model calls" for t in threading.enumerate())


def test_256_environments_with_a_model_patient_ask_their_endpoint_together() -> None:
    """The endpoint answers nobody until all have asked."""
    arrived, everybody = itertools.count(1), threading.Event()

    def wait_for_all(request: Request) -> Behaviour:
        if next(arrived) == 256:
            everybody.set()
        assert everybody.wait(60)
        return text("昨天开始的。")

    with OpenAIServer(forever=wait_for_all) as server:
        model = ModelSettings("m", server.url, "NO_KEY_NEEDED", retries=0)
        env = made("vector_entry_point", {}, n=256, dataset="MADiagnosis", patient="llm:m", patient_model=model)
        env.reset(seed=0)
        env.step(("什么时候开始的？",) * 256)
        assert everybody.is_set() and len(server.requests) >= 256
        env.close()
    assert not any(t.name == "mlb-env model calls" for t in threading.enumerate())


def test_no_event_loop_is_made_where_nothing_needs_a_model() -> None:
    env = made("vector_entry_point", {}, n=2)
    env.reset(seed=0)
    env.step(WORDS[:2])
    assert not any(t.name == "mlb-env model calls" for t in threading.enumerate())
    env.close()


def test_it_steps_inside_a_running_event_loop(slow: SlowEdge) -> None:
    env = made("vector_entry_point", {}, n=2, dataset="MADiagnosis", edge=slow)

    async def notebook() -> Any:
        env.reset(seed=0)
        return env.step(("什么时候开始的？",) * 2)[0]

    assert all("answer to" in text for text in asyncio.run(notebook()))
    env.close()


def test_a_bug_of_an_edge_reaches_the_caller(slow: SlowEdge, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(effects: tuple[Effect, ...]) -> tuple[Reply, ...]:
        raise ZeroDivisionError("in the edge")

    monkeypatch.setattr(slow, "aperform", broken)
    env = made("vector_entry_point", {}, n=3, dataset="MADiagnosis", edge=slow)
    env.reset(seed=0)
    with pytest.raises(ZeroDivisionError, match="in the edge"):
        env.step(WORDS)
    env.close()
