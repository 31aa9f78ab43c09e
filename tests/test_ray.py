"""A run on a Ray cluster (the extra `ray`): the bytes of a local run, also where a node is lost on the way."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlb_env.bench.budget import Budget, BudgetSpent
from mlb_env.bench.calls import CALLS
from mlb_env.bench.runner import RunResult, aresume, arun
from mlb_env.bench.settings import ModelConfig, RunSettings
from mlb_env.errors import UserError
from mlb_env.serve.mock import MockServer, MockSettings
from tests.run_kit import FILES

pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings("ignore")]  # Ray warns of its own
needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed: pip install 'mlb-env[ray]'")
SCENARIOS = ("maguidance-p01", "maguidance-p02", "maguidance-p03", "mainspection-p05", "mamedication-p03", "mainspection-p06")


@pytest.fixture
def cluster() -> Iterator[Any]:
    """Two nodes of one CPU each, and the head with none."""
    import ray
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    nodes = [made.add_node(num_cpus=1) for _ in range(2)]
    made.wait_for_nodes()
    ray.init(address=made.address, log_to_driver=False)
    made.workers = nodes
    yield made
    ray.shutdown()
    made.shutdown()


def content(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in (*FILES, "run.json")}


def settings(server: MockServer) -> RunSettings:
    model = ModelConfig(model="m", base_url=server.url, retries=0, key_variable="NO_KEY_NEEDED")
    return RunSettings.of(agent="chat", scenario=SCENARIOS, lang="en", model=model, trials=3)


def run(given: RunSettings, out: Path, **hows: Any) -> RunResult:
    return asyncio.run(arun(given, out=out, **hows))


@needs_ray
def test_a_node_is_lost_and_the_run_is_complete_and_the_same(cluster: Any, tmp_path: Path) -> None:
    with MockServer(MockSettings(latency_s=0.05, turns=6)) as server:
        run(settings(server), tmp_path / "local")
        alone = server.counters.requests
        seen: list[int] = []

        async def work() -> None:
            task = asyncio.create_task(arun(settings(server), out=tmp_path / "ray", executor="ray", workers=2, concurrency=4,
                                            progress=lambda done, total, ungraded: seen.append(done)))  # fmt: skip
            while len(seen) < 4 and not task.done():
                await asyncio.sleep(0.02)
            assert not task.done(), task
            await asyncio.to_thread(cluster.remove_node, cluster.workers[0], allow_graceful=False)
            await task

        asyncio.run(work())
        again = server.counters.requests - 2 * alone
    assert content(tmp_path / "local") == content(tmp_path / "ray")
    assert 0 <= again <= 4, "more was asked again than was in flight"
    assert not (tmp_path / "ray" / CALLS).exists()


@needs_ray
def test_offline_episodes_and_budgets_on_a_cluster(cluster: Any, tmp_path: Path) -> None:
    given = RunSettings.of(dataset=("CMExam", "MAGuidance"), lang="both")
    run(given, tmp_path / "local")
    run(given, tmp_path / "ray", executor="ray", workers=2)
    assert content(tmp_path / "local") == content(tmp_path / "ray")
    with MockServer(MockSettings(latency_s=0.01, turns=5)) as server:
        whole = run(settings(server), tmp_path / "whole").summary.usage["agent"]
        alone = server.counters.requests
        with pytest.raises(BudgetSpent):
            run(settings(server), tmp_path / "cut", executor="ray", workers=2, concurrency=4, budget=Budget(tokens=whole.tokens // 3))
        assert server.counters.requests < 2 * alone
        asyncio.run(aresume(tmp_path / "cut", executor="ray", workers=1))
        assert server.counters.requests <= 2 * alone + 4
    assert content(tmp_path / "whole") == content(tmp_path / "cut")


@needs_ray
def test_a_cluster_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--executor ray: the cluster at .* cannot be reached"):
        run(RunSettings.of(limit=1), tmp_path / "run", executor="ray", address="127.0.0.1:1", workers=1)


@pytest.mark.skipif(importlib.util.find_spec("ray") is not None, reason="Ray is installed")
def test_without_ray_the_extra_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"pip install 'mlb-env\[ray\]'"):
        run(RunSettings.of(limit=1), tmp_path / "run", executor="ray", workers=1)
