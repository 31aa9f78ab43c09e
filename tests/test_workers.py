"""A run by several processes, and runs that stop at a budget: the same bytes in the end, and no call paid for twice."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from mlb_env import Action
from mlb_env.bench.budget import Budget, BudgetSpent
from mlb_env.bench.calls import CALLS, Cassette
from mlb_env.bench.runner import RunResult, aresume, arun
from mlb_env.bench.settings import ModelConfig, RunSettings
from mlb_env.errors import RunError, UserError
from mlb_env.serve.mock import MockServer, MockSettings
from tests.run_kit import FILES, write_agent, write_content

SCENARIOS = ("maguidance-p01", "maguidance-p02", "maguidance-p03", "mainspection-p05", "mamedication-p03", "mainspection-p06")


def content(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in (*FILES, "run.json")}


def settings(server: MockServer, **more: Any) -> RunSettings:
    model = ModelConfig(model="m", base_url=server.url, retries=0, key_variable="NO_KEY_NEEDED", **more)
    return RunSettings.of(agent="chat", scenario=SCENARIOS, lang="en", model=model)


def run(given: RunSettings, out: Path, **hows: Any) -> RunResult:
    return asyncio.run(arun(given, out=out, **hows))


# --- processes ----------------------------------------------------------------------------------------------------------


def test_two_processes_write_what_one_writes(tmp_path: Path) -> None:
    given = RunSettings.of(dataset=("CMExam", "MAGuidance", "CHIP-CDN"), lang="both", trials=2)
    run(given, tmp_path / "one")
    seen: list[tuple[int, int, int]] = []
    run(given, tmp_path / "two", workers=2, progress=lambda *now: seen.append(now))
    assert content(tmp_path / "one") == content(tmp_path / "two")
    assert seen[-1][0] == seen[-1][1] == len(seen)


def test_model_calls_made_in_processes_are_journaled_and_the_run_is_the_same(tmp_path: Path) -> None:
    with MockServer(MockSettings(latency_s=0.005, turns=4)) as server:
        run(settings(server), tmp_path / "one")
        alone = server.counters.requests
        run(settings(server), tmp_path / "two", workers=2)
        assert server.counters.requests == 2 * alone
    assert content(tmp_path / "one") == content(tmp_path / "two")
    assert not (tmp_path / "two" / CALLS).exists()


def test_a_process_that_is_killed_loses_no_episode_and_at_most_the_calls_in_flight(tmp_path: Path) -> None:
    with MockServer(MockSettings(latency_s=0.1, turns=6)) as server:
        run(settings(server), tmp_path / "whole")
        alone = server.counters.requests

        async def work() -> None:
            task = asyncio.create_task(arun(settings(server), out=tmp_path / "hurt", workers=2, concurrency=4))
            while server.counters.requests < alone + 12:
                await asyncio.sleep(0.005)
            found = subprocess.run(["pgrep", "-P", str(os.getpid()), "-f", "mlb_env.bench.station"], capture_output=True, text=True, check=True)
            os.kill(int(found.stdout.split()[0]), signal.SIGKILL)
            await task

        asyncio.run(work())
        assert alone <= server.counters.requests - alone <= alone + 2, "two at most were in flight there"
    assert content(tmp_path / "whole") == content(tmp_path / "hurt")


def test_the_run_itself_killed_is_resumed_with_processes_or_without(tmp_path: Path) -> None:
    with MockServer(MockSettings(latency_s=0.03, turns=6)) as server:
        run(settings(server), tmp_path / "whole")
        alone = server.counters.requests
        command = [sys.executable, "-m", "mlb_env", "run", "--agent", "chat", "--model", "m", "--base-url", server.url, "--scenario", ",".join(SCENARIOS),
                   "--lang", "en", "--workers", "2", "--concurrency", "4", "--out", str(tmp_path / "broken")]  # fmt: skip
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while server.counters.requests < alone + 12 and process.poll() is None:
            time.sleep(0.005)
        process.kill()
        process.wait()
        while server.counters.now:  # its processes end by themselves
            time.sleep(0.005)
        asyncio.run(aresume(tmp_path / "broken"))
        assert server.counters.requests - alone <= alone + 4
    whole, broken = content(tmp_path / "whole"), content(tmp_path / "broken")
    assert {n: whole[n] for n in FILES} == {n: broken[n] for n in FILES}


KILLER = """
import os
from mlb_env import Action

class Killer:
    def __init__(self, context):
        pass
    def reset(self, briefing):
        print("an agent may print what it likes")
    def act(self, observation):
        if "question 3?" in observation.text:
            os._exit(9)
        return Action(content="A")

make = Killer
"""


def test_an_episode_that_kills_its_process_each_time_is_ungraded_and_the_others_are_played(tmp_path: Path) -> None:
    given = RunSettings.of(agent=write_agent(tmp_path / "killer.py", KILLER), scenarios=(write_content(tmp_path / "tiny", items=8),))
    result = run(given, tmp_path / "run", workers=2, concurrency=2)
    failures = {j.scenario: j.score.ungraded for j in result.judgements() if j.score.ungraded}
    assert failures == {"tiny-003": "the process that played it died, also when it played nothing else"}
    assert result.summary.overall.scored == 7


DYING = """
import os, sys
if "mlb_env.bench.station" in " ".join(sys.orig_argv):
    os._exit(3)

def make(context):
    raise AssertionError
"""


def test_workers_that_die_at_once_end_the_run_with_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlb_env.bench.plan._try_out", lambda plan, edge: None)
    given = RunSettings.of(agent=write_agent(tmp_path / "dying.py", DYING), scenarios=(write_content(tmp_path / "tiny", items=4),))
    with pytest.raises(RunError, match="the workers die before they have played anything"):
        run(given, tmp_path / "run", workers=2)


def test_processes_refuse_what_they_cannot_do(tmp_path: Path) -> None:
    given = RunSettings.of(limit=1)
    with pytest.raises(UserError, match="workers load the agent by its name"):
        asyncio.run(arun(given, out=tmp_path / "a", workers=2, factory=lambda context: None))  # type: ignore[arg-type,return-value]
    cassette = Cassette(tmp_path / "calls.jsonl")
    with pytest.raises(UserError, match="written by one process"):
        run(given, tmp_path / "a", workers=2, cassette=cassette)
    cassette.log.close()
    for wrong, says in (({"workers": 0}, "--workers: must be at least 1"), ({"address": "auto"}, "add --executor ray")):
        with pytest.raises(UserError, match=says):
            run(given, tmp_path / "a", **wrong)
    assert not (tmp_path / "a").exists()


def test_a_process_on_other_ground_plays_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The content changes between the plan and the start of the processes."""
    folder = write_content(tmp_path / "tiny", items=4)
    given = RunSettings.of(agent="interviewer", scenarios=(folder,))
    with pytest.raises(RunError, match="a worker stands on other ground: the content of CMExam has changed"):
        run(given, tmp_path / "run", workers=2, before=lambda plan, out: write_content(tmp_path / "tiny", items=4, task={"en": "Another task."}) and None)
    assert not (tmp_path / "run" / "summary.json").exists()


# --- budgets ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2])
def test_a_run_stops_at_its_budget_and_goes_on_where_it_stopped(workers: int, tmp_path: Path) -> None:
    with MockServer(MockSettings(latency_s=0.01, turns=5)) as server:
        priced = settings(server, usd_prompt=1.0, usd_completion=2.0)
        whole = run(priced, tmp_path / "whole")
        alone, spent = server.counters.requests, whole.summary.usage["agent"]
        with pytest.raises(BudgetSpent, match=r"the budget of .* tokens is spent .* of 6 episodes are done, go on with mlb run --resume"):
            run(priced, tmp_path / "cut", budget=Budget(tokens=spent.tokens // 2), workers=workers, concurrency=2)
        with pytest.raises(BudgetSpent):
            asyncio.run(aresume(tmp_path / "cut", budget=Budget(usd=(spent.cost or 0) * 0.3)))
        assert alone < server.counters.requests <= 1.5 * alone + 4, "more was asked than the budget and the calls in flight; or again after it was spent"
        asyncio.run(aresume(tmp_path / "cut", workers=workers, budget=Budget(usd=1000.0)))
        assert server.counters.requests == 2 * alone, "a call was paid for twice"
    assert content(tmp_path / "whole") == content(tmp_path / "cut")


def test_costs_are_counted_where_prices_are_known(tmp_path: Path) -> None:
    with MockServer(MockSettings(latency_s=0.0, turns=3)) as server:
        result = run(settings(server, usd_prompt=0.5, usd_completion=1.5), tmp_path / "priced")
        spent = result.summary.usage["agent"]
        assert spent.cost == pytest.approx((spent.prompt_tokens * 0.5 + spent.completion_tokens * 1.5) / 1e6, abs=1e-6)
        assert run(settings(server), tmp_path / "free").summary.usage["agent"].cost is None
        with pytest.raises(UserError, match="a budget in dollars needs the price of m"):
            run(settings(server), tmp_path / "none", budget=Budget(usd=1.0))
        assert not (tmp_path / "none").exists()


class Stubborn:
    """Takes any error of its client for a failed call and answers all the same."""

    def __init__(self, context: Any) -> None:
        self._context = context

    def reset(self, briefing: Any) -> None:
        pass

    def act(self, observation: Any) -> Action:
        from mlb_env.effects import ChatRequest

        try:
            for word in ("first", "second"):  # the budget is spent between them
                self._context.edge.perform((ChatRequest("agent", self._context.model, ({"role": "user", "content": word},)),))
        except Exception:
            return Action(content="A")
        return Action(content="B")


def test_an_agent_that_swallows_the_stop_is_not_kept_with_what_it_made_of_it(tmp_path: Path) -> None:
    with MockServer(MockSettings(latency_s=0.0)) as server:
        given = RunSettings.of(agent="stubborn", scenarios=(write_content(tmp_path / "tiny", items=6),),
                               model={"model": "m", "base_url": server.url, "key_variable": "NO_KEY_NEEDED"})  # fmt: skip
        with pytest.raises(BudgetSpent):
            asyncio.run(arun(given, out=tmp_path / "run", factory=Stubborn, budget=Budget(tokens=1), concurrency=1))
        asyncio.run(aresume(tmp_path / "run", factory=Stubborn))
        result = run(given.model_copy(), tmp_path / "again", factory=Stubborn)
    assert content(tmp_path / "run") == content(tmp_path / "again")
    assert all("B" in t.model_dump_json() for t in result.trajectories()) and result.summary.overall.score == 0


def test_a_run_without_models_stops_when_its_time_is_up(tmp_path: Path) -> None:
    now = iter(range(0, 100_000, 10))
    budget = Budget(minutes=5, clock=lambda: float(next(now)))
    given = RunSettings.of(agent="interviewer", scenarios=(write_content(tmp_path / "tiny", items=200),))
    with pytest.raises(BudgetSpent, match=r"the budget of 5 minutes is spent; [1-9][0-9]* of 200 episodes are done"):
        run(given, tmp_path / "run", budget=budget)


@pytest.mark.parametrize("given", ["", "tokens", "tokens=0", "usd=-1", "hours=3", "usd=1,usd=2", "minutes=inf", "tokens=x", "usd=nan"])
def test_a_budget_that_is_none_is_one_sentence(given: str) -> None:
    with pytest.raises(UserError, match="--budget"):
        Budget.read(given)


def test_a_budget_reads_its_parts() -> None:
    made = Budget.read(" usd=2.5, minutes=10,tokens=1e6 ")
    assert (made.usd, made.minutes, made.tokens) == (2.5, 10.0, 1e6)
