"""What many tests share: the bundled catalog, and a way to play an agent over plays without any runner."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable
from random import Random

import pytest

from mlb_env.agent import PRIVILEGED, AgentContext, load_agent
from mlb_env.catalog.load import Catalog, content_root, open_catalog
from mlb_env.catalog.play import Play
from mlb_env.episode import Episode
from mlb_env.judge.grade import grade
from mlb_env.spec.action import Action
from mlb_env.spec.base import Lang
from mlb_env.spec.rubric import Judgement
from mlb_env.spec.trajectory import Trajectory


def pytest_configure() -> None:
    """Hear Ctrl-C in the processes that tests start, also where the tests were started in the background, which ignores it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


Played = list[tuple[Trajectory, Judgement]]


@pytest.fixture(scope="session")
def catalog() -> Catalog:
    return open_catalog()


@pytest.fixture(scope="session")
def interactive(catalog: Catalog) -> list[Play]:
    return catalog.select(dimension=["SmartServ", "SmartCare"])


@pytest.fixture(scope="session")
def static(catalog: Catalog) -> list[Play]:
    return catalog.select(dimension=["MedKQA", "MedSE", "MedRU"])


def play_one(agent: str, play: Play, lang: Lang, seed: int = 0, persona: str | None = None) -> tuple[Trajectory, Judgement]:
    """One episode of a bundled offline agent, and its judgement."""
    episode = Episode(play, lang=lang, seed=seed, persona=persona)
    factory = load_agent(agent, content=content_root())
    gold = play if agent in PRIVILEGED else None
    player = factory(AgentContext(agent, lang, Random(f"{seed}/{episode.name}/agent"), gold=gold))
    player.reset(episode.briefing)
    observation = episode.reset()
    while not episode.over:
        action = player.act(observation)
        assert isinstance(action, Action)
        observation = episode.step(action)
    trajectory = episode.trajectory()
    return trajectory, grade(trajectory, play)


@pytest.fixture(scope="session")
def play_all() -> Callable[..., Played]:
    """Play an agent over plays; results are kept for the session, since episodes are deterministic."""
    memo: dict[tuple[str, str, int, tuple[str, ...]], Played] = {}

    def run(agent: str, plays: Iterable[Play], lang: Lang, seed: int = 0) -> Played:
        chosen = list(plays)
        key = (agent, lang, seed, tuple(p.id for p in chosen))
        if key not in memo:
            memo[key] = [play_one(agent, p, lang, seed) for p in chosen]
        return memo[key]

    return run
