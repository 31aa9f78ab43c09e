"""Model calls are paid for once: a killed run goes on inside its episodes, and a recorded run is repeated without a model."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from random import Random
from typing import Any

import pytest

from mlb_env.bench.calls import CALLS, CallsDiffer, Cassette
from mlb_env.bench.runner import RunResult, aresume, arun
from mlb_env.bench.settings import RunSettings
from mlb_env.errors import UserError
from tests.openai_server import Behaviour, OpenAIServer, Request, calls, error, text

SCENARIOS = "maguidance-p01,maguidance-p02,maguidance-p03,maguidance-p04,maguidance-p05,maguidance-p06,mainspection-p05,mainspection-p06"
FILES = ("trajectories.jsonl", "verdicts.jsonl", "summary.json")


def doctor(request: Request) -> Behaviour:
    """A model that asks four questions and then closes: a function of what it is sent, and slow enough to be interrupted."""
    messages = request.body["messages"]
    turn = sum(m["role"] == "assistant" for m in messages)
    digest = hashlib.sha256(json.dumps(messages, sort_keys=True).encode()).hexdigest()
    if turn < 4:
        made = text(f"Question {digest[:6]}: when did it start, and how bad is it?")
    else:
        tool = request.body["tools"][-1]["function"]["name"]
        form = {"close": {"disposition": "D4", "department": "general_practice"}, "propose_tests": {"tests": [], "none_reason": "none needed"}}[tool]
        made = calls((tool, form, "c1"), content="Goodbye.")
    return Behaviour(made.payload, wait_s=0.03)


def settings(server: OpenAIServer, **more: Any) -> RunSettings:
    model = {"model": "m", "base_url": server.url, "retries": 0, "key_variable": "NO_KEY_NEEDED"}
    return RunSettings.of(agent="chat", scenario=SCENARIOS.split(","), lang="en", model=model, **more)


def run(server: OpenAIServer, out: Path, **more: Any) -> RunResult:
    return asyncio.run(arun(settings(server), out=out, **more))


def content(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in FILES}


def command(server: OpenAIServer, *more: str) -> list[str]:
    return [sys.executable, "-m", "mlb_env", "run", "--agent", "chat", "--model", "m", "--base-url", server.url, "--scenario", SCENARIOS, "--lang", "en",
            "--concurrency", "3", *more]  # fmt: skip


def test_killed_at_any_moment_a_run_goes_on_inside_its_episodes_with_the_bytes_of_an_unbroken_one(tmp_path: Path) -> None:
    rng = Random(5)
    with OpenAIServer(forever=doctor) as server:
        assert subprocess.run(command(server, "--out", str(tmp_path / "whole")), capture_output=True, check=False, timeout=120).returncode == 0
        whole, unbroken = content(tmp_path / "whole"), len(server.requests)
    assert not (tmp_path / "whole" / CALLS).exists()
    with OpenAIServer(forever=doctor) as server:
        broken, kills = tmp_path / "broken", 0
        arguments = ["--out", str(broken)]
        while kills < 6:
            before = len(server.requests)
            process = subprocess.Popen(command(server, *arguments), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            wanted, deadline = before + rng.randrange(1, 5), time.monotonic() + 30
            while len(server.requests) < wanted and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.002)
            if process.poll() is not None:
                break
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            kills += 1
            if (broken / "run.json").exists():
                arguments = ["--resume", str(broken)]
        done = subprocess.run(command(server, "--resume", str(broken)), capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr
        assert kills >= 3 and content(broken) == whole
        assert len(server.requests) <= unbroken + 3 * kills, "more was asked again than was in flight"
    assert not (broken / CALLS).exists()


def interrupted(server: OpenAIServer, folder: Path, after: int, **more: Any) -> None:
    """A run that stops after so many calls."""
    wanted = len(server.requests) + after

    async def work() -> None:
        task = asyncio.create_task(arun(settings(server), out=folder, concurrency=1, **more))
        while len(server.requests) < wanted and not task.done():
            await asyncio.sleep(0.002)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(work())


def test_a_line_cut_short_is_asked_again_and_a_broken_one_in_the_middle_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with OpenAIServer(forever=doctor) as server:
        interrupted(server, folder, 4)
        log = folder / CALLS
        kept = log.read_bytes()
        log.write_bytes(kept[:-20])
        before = len(server.requests)
        asyncio.run(aresume(folder, concurrency=1))
        assert (folder / "summary.json").exists() and len(server.requests) > before
        other = tmp_path / "other"
        interrupted(server, other, 4)
        (other / CALLS).write_bytes(b"garbage\n" + (other / CALLS).read_bytes())
        with pytest.raises(UserError, match=r"calls\.jsonl, line 1: not a recorded call"):
            asyncio.run(aresume(other))


def test_an_agent_that_asks_something_else_than_before_stops_the_resume_with_one_sentence(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with OpenAIServer(forever=doctor) as server:
        interrupted(server, folder, 4)
        log = folder / CALLS
        log.write_bytes(b"".join(line.replace(b'"request":"', b'"request":"0') + b"\n" for line in log.read_bytes().splitlines()))
        with pytest.raises(CallsDiffer, match="call 1 of its agent asks something else"):
            asyncio.run(aresume(folder))
        assert log.exists()
        done = subprocess.run([sys.executable, "-m", "mlb_env", "run", "--resume", str(folder)], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1 and "cannot be gone on with" in done.stderr and "Traceback" not in done.stderr


def test_an_agent_may_say_that_it_does_not_resume_inside_an_episode(tmp_path: Path) -> None:
    from mlb_env.agent import load_agent
    from mlb_env.catalog.load import content_root

    factory = load_agent("chat", content=content_root())

    def make(context: Any) -> Any:
        return factory(context)

    make.needs_model = True  # type: ignore[attr-defined]
    make.resumes_inside = False  # type: ignore[attr-defined]
    folder = tmp_path / "run"
    with OpenAIServer(forever=doctor) as server:
        interrupted(server, folder, 3, factory=make)
        recorded = len((folder / CALLS).read_bytes().splitlines())
        before = len(server.requests)
        result = asyncio.run(aresume(folder, factory=make, concurrency=1))
        again = len(server.requests) - before
    total = sum(t.usage["agent"].calls for t in result.trajectories())
    assert recorded >= 1 and again == total


# --- cassettes ----------------------------------------------------------------------------------------------------------


def test_a_recorded_run_is_repeated_without_a_model(tmp_path: Path) -> None:
    tape = tmp_path / "calls.jsonl"
    with OpenAIServer(forever=doctor) as server:
        run(server, tmp_path / "live", cassette=Cassette(tape))
        asked = len(server.requests)
        run(server, tmp_path / "again", cassette=Cassette(tape))
        assert len(server.requests) == asked
        address = server
    run(address, tmp_path / "offline", cassette=Cassette(tape, strict=True))  # nothing listens there any more
    assert content(tmp_path / "live") == content(tmp_path / "again") == content(tmp_path / "offline")


def test_offline_strict_fails_what_the_recording_does_not_hold(tmp_path: Path) -> None:
    tape = tmp_path / "calls.jsonl"
    with OpenAIServer(forever=doctor) as server:
        run(server, tmp_path / "live", cassette=Cassette(tape))
        lines = tape.read_bytes().splitlines(keepends=True)
        tape.write_bytes(b"".join(lines[:-1]))
        asked = len(server.requests)
        result = run(server, tmp_path / "strict", cassette=Cassette(tape, strict=True))
        assert len(server.requests) == asked and result.ungraded == 1
    assert "is not in the recording" in next(iter(result.summary.failures))


def test_a_failure_is_not_recorded(tmp_path: Path) -> None:
    tape = tmp_path / "calls.jsonl"
    with OpenAIServer(forever=lambda _: error(500)) as server:
        assert run(server, tmp_path / "down", cassette=Cassette(tape)).ungraded == 8
    assert tape.read_bytes() == b""
    with OpenAIServer(forever=doctor) as server:
        assert run(server, tmp_path / "up", cassette=Cassette(tape)).ungraded == 0


def test_one_recording_has_one_writer_and_strict_needs_it(tmp_path: Path) -> None:
    first = Cassette(tmp_path / "t.jsonl")
    with pytest.raises(UserError, match="being written by another run"):
        Cassette(tmp_path / "t.jsonl")
    first.log.close()
    with pytest.raises(UserError, match="there is no recording"):
        Cassette(tmp_path / "none.jsonl", strict=True)
