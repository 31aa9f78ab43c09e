"""`mlb serve mock`: a model endpoint for tests and benchmarks of runners, seeded, with faults on demand."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import httpx
import pytest

from mlb_env.bench.runner import RunResult, arun
from mlb_env.bench.settings import RunSettings
from mlb_env.errors import UserError
from mlb_env.serve.mock import MockServer, MockSettings, read_faults

ASK = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}


def run(server: MockServer, out: Path, retries: int = 0) -> RunResult:
    model = {"model": "m", "base_url": server.url, "retries": retries, "key_variable": "NO_KEY_NEEDED"}
    return asyncio.run(arun(RunSettings.of(agent="chat", dataset="MAGuidance", lang="en", model=model), out=out))


def test_whole_episodes_are_played_against_it_and_are_the_same_each_time(tmp_path: Path) -> None:
    with MockServer(MockSettings(latency_s=0.0, turns=3)) as server:
        first, second = run(server, tmp_path / "a"), run(server, tmp_path / "b")
        assert server.counters.requests == 2 * 3 * first.summary.overall.n
    assert all(t.stop_reason == "concluded" and t.turns == 3 for t in first.trajectories())
    assert (tmp_path / "a" / "trajectories.jsonl").read_bytes() == (tmp_path / "b" / "trajectories.jsonl").read_bytes()
    assert second.ungraded == 0


def test_it_takes_its_time_and_serves_many_at_once() -> None:
    async def many(url: str) -> float:
        async with httpx.AsyncClient(limits=httpx.Limits(max_connections=50)) as client:
            start = time.perf_counter()
            await asyncio.gather(*(client.post(f"{url}/chat/completions", json=ASK) for _ in range(50)))
            return time.perf_counter() - start

    with MockServer(MockSettings(latency_s=0.3)) as server:
        took = asyncio.run(many(server.url))
        assert took >= 0.3 and server.counters.most > 10  # were they served one by one, there would be one at a time


def test_the_faults_come_in_their_shares_and_the_same_each_time() -> None:
    def seen() -> list[str]:
        found = []
        with MockServer(MockSettings(latency_s=0.0, faults=read_faults("429=0.2,500=0.1,drop=0.1,garbage=0.1,half=0.1,cut=0.05,empty=0.1"), seed=3)) as server:
            for _ in range(120):
                try:
                    got = httpx.post(f"{server.url}/chat/completions", json=ASK)
                except httpx.HTTPError:
                    found.append("drop")
                    continue
                if got.status_code == 200:
                    try:
                        found.append("right" if got.json()["choices"] else "empty")
                    except ValueError:
                        found.append("no JSON")
                else:
                    assert got.status_code != 429 or got.headers["retry-after"] == "1"
                    found.append(str(got.status_code))
        return found

    first = seen()
    shares = {name: n / 120 for name, n in Counter(first).items()}
    assert first == seen() and 0.1 < shares["429"] < 0.3 and set(shares) == {"right", "429", "500", "drop", "no JSON", "empty"}


def test_a_run_survives_the_faults_and_invents_nothing(tmp_path: Path) -> None:
    with MockServer(MockSettings(latency_s=0.0, turns=3, faults={"garbage": 0.2, "drop": 0.1}, seed=1)) as server:
        result = run(server, tmp_path / "r")
    assert result.ungraded > 0 and result.summary.overall.n == 7
    assert all(j.score.value is None for t, j in zip(result.trajectories(), result.judgements(), strict=True) if t.failure)


def test_with_every_kind_of_fault_no_episode_is_lost_and_no_score_is_wrong(tmp_path: Path) -> None:
    """5 % each of 429, 500, time-outs, connections cut, and bad JSON: with retries each episode ends as it does without a fault."""

    def play(out: Path, retries: int, faults: str) -> tuple[RunResult, int]:
        with MockServer(MockSettings(latency_s=0.0, turns=4, seed=7, faults=read_faults(faults))) as server:
            model = {"model": "m", "base_url": server.url, "retries": retries, "timeout_s": 3.0, "key_variable": "NO_KEY_NEEDED"}
            given = RunSettings.of(agent="chat", dataset=("MAGuidance", "MAMedication"), lang="en", trials=2, model=model)
            return asyncio.run(arun(given, out=out, concurrency=16)), server.counters.faults

    faults = "429=0.05,500=0.05,hang=0.05,cut=0.05,half=0.05"
    whole, _ = play(tmp_path / "whole", 0, "")
    faulty, some = play(tmp_path / "faulty", 6, faults)
    assert some > 10 and faulty.ungraded == 0
    for name in ("trajectories.jsonl", "verdicts.jsonl", "summary.json"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "faulty" / name).read_bytes()
    weak, _ = play(tmp_path / "weak", 0, faults)
    scores = {j.episode: j.score for j in whole.judgements()}
    assert 0 < weak.ungraded < weak.summary.overall.n
    assert all(j.score.ungraded or j.score == scores[j.episode] for j in weak.judgements()), "a fault changed a score"


def test_who_speaks_no_http_is_dropped_and_others_are_served() -> None:
    with MockServer(MockSettings(latency_s=0.0)) as server:
        port = int(server.url.split(":")[2].split("/")[0])
        for noise in (b"\x00\x01\x02\r\n\r\n", b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n", b"POST / HTTP/1.1\r\nContent-Length: 999999999999\r\n\r\n", b"GET"):
            with socket.create_connection(("127.0.0.1", port)) as link:
                link.sendall(noise)
        assert httpx.post(f"{server.url}/chat/completions", json=ASK).status_code == 200
        assert httpx.post(f"{server.url}/chat/completions", content=b"{").status_code == 400
        assert httpx.get(f"{server.url}/models").status_code == 404


@pytest.mark.parametrize(("text", "says"), [("429=2", "from 0 to 1"), ("429=0.6,500=0.6", "not more than 1"), ("fire=0.1", "there are 429"), ("429=x", "a number")])
def test_mistaken_faults_are_one_sentence(text: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        read_faults(text)


def test_the_command_says_where_it_listens_and_what_it_did() -> None:
    command = [sys.executable, "-m", "mlb_env", "serve", "mock", "--latency", "0", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"}) as server:
        assert server.stdout is not None
        url = server.stdout.readline().split()[3].rstrip(";")
        assert httpx.post(f"{url}/chat/completions", json=ASK).status_code == 200
        server.send_signal(signal.SIGINT)
        assert "1 requests, at most 1 at once" in server.stdout.read()
    assert server.returncode == 0
