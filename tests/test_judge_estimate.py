"""What judging will cost is said beforehand, and is what is then asked."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mlb_env.bench.regrade import aregrade, estimate
from mlb_env.bench.runner import arun
from mlb_env.bench.settings import RunSettings
from mlb_env.judge.estimate import Cost, of_labels, tokens
from mlb_env.judge.labels import read_labels
from tests.openai_server import Behaviour, OpenAIServer, Request, text


def good(request: Request) -> Behaviour:
    safety = "safety" in request.body["messages"][1]["content"].split("\n")[0]
    return text(json.dumps({"verdict": "met", "evidence": [] if safety else [1]}))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("estimate") / "run"
    asyncio.run(arun(RunSettings.of(agent="oracle", scenario=["maguidance-p06", "mamedication-p06"], lang="both"), out=folder))
    return folder


def mlb(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "mlb_env", *map(str, arguments)], capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("judge", ["rules+llm:a", "rules+llm:a+llm:b", "llm:a"])
def test_the_estimate_is_what_is_then_asked(run: Path, judge: str) -> None:
    with OpenAIServer(forever=good) as server:
        models = [{"model": m, "base_url": server.url, "retries": 0, "key_variable": "NO_KEY_NEEDED"} for m in "ab"[: judge.count("llm")]]
        settings = RunSettings.of(judge=judge, judge_models=models)
        expected = estimate(run, settings)
        assert not server.requests and expected.calls > 10
        said: list[Cost] = []
        asyncio.run(aregrade(run, settings, before=said.append))
        assert said == [expected] and len(server.requests) == expected.calls
        sent = sum(tokens(m["content"]) for r in server.requests for m in r.body["messages"])
    assert sent == expected.prompt_tokens


def test_the_option_prints_and_asks_nothing(run: Path) -> None:
    with OpenAIServer(forever=good) as server:
        done = mlb("grade", run, "--judge", "rules+llm:m", "--judge-base-url", server.url, "--estimate")
        assert done.returncode == 0 and re.fullmatch(r"[\d,]+ judge calls, about [\d,]+ prompt tokens.*\n", done.stdout) and not server.requests
        calls = int(done.stdout.split()[0].replace(",", ""))
        graded = mlb("grade", run, "--judge", "rules+llm:m", "--judge-base-url", server.url)
        assert f"estimate: {calls} judge calls" in graded.stderr and len(server.requests) == calls
    refused = mlb("grade", run, "--estimate")
    assert refused.returncode == 2 and "asks no model" in refused.stderr


def test_a_run_and_a_measurement_say_it_beforehand(tmp_path: Path) -> None:
    labels = tmp_path / "l.jsonl"
    dialogue = {"id": "d", "lang": "en", "turns": [{"turn": 1, "speaker": "agent", "text": "It bleeds."}],
                "criteria": [{"id": "why", "text": "Gives the reason", "label": "met"}, {"id": "x", "text": "Asks", "label": "unmet"}]}  # fmt: skip
    labels.write_text(json.dumps(dialogue) + "\n", encoding="utf-8")
    with OpenAIServer(forever=good) as server:
        done = mlb("judge", "agree", labels, "--judge", "llm:m", "--judge-base-url", server.url, "--repeat", "3")
        assert "estimate: 6 judge calls" in done.stderr and len(server.requests) == 6
        server.requests.clear()
        played = mlb("run", "--agent", "oracle", "--scenario", "maguidance-p06", "--lang", "en", "--judge", "rules+llm:m", "--judge-base-url", server.url,
                     "--out", tmp_path / "run")  # fmt: skip
        least = re.search(r"at least (\d+) judge calls", played.stderr)
        assert least and int(least.group(1)) == len(server.requests), "one window, so the least is what it takes"
    assert of_labels([d.labelled() for d in read_labels(labels)], (), 1) == Cost()


def test_tokens_of_both_languages() -> None:
    assert tokens("") == 0 and tokens("病历记录") == 4 and tokens("abcdefgh") == 2 and tokens("病历 abc") == 3
