"""`chat` and `langgraph` play real episodes over the OpenAI wire, to the summary: tool calls, failures, coverage."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import mlb_env

from .openai_server import Behaviour, OpenAIServer, Request, calls, error, text

AGENTS = ["chat", "langgraph"]


@pytest.fixture(autouse=True)
def no_real_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "LANGSMITH_TRACING", "LANGSMITH_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def doctor(request: Request) -> Behaviour:
    """Asks once, looks at the vital signs, then concludes: a small model's honest play."""
    turns = sum(m["role"] == "assistant" for m in request.body["messages"])
    tools = {t["function"]["name"] for t in request.body.get("tools", ())}
    if not tools:
        return text("A")
    if turns == 0:
        return text("Are you allergic to anything?")
    if turns == 1 and "examine" in tools:
        return calls(("examine", {"region": "vitals"}, "c1"))
    if "propose_tests" in tools:
        return calls(("propose_tests", {"tests": []}, "c2"))
    if "submit_diagnosis" in tools:
        return calls(("submit_diagnosis", {"primary": {"name": "Migraine"}, "certainty": "possible"}, "c2"))
    if "write_record" in tools:
        fields = ("present_illness", "past_history", "personal_history", "marital_history", "family_history")
        lists: dict[str, Any] = {field: [] for field in fields}
        return calls(("write_record", {"sex": "female", "age": "unknown", "chief_complaint": "unwell", **lists}, "c2"))
    return calls(("close", {"disposition": "D2", "department": "emergency"}, "c2"), content="Please go to the emergency department now.")


def play(tmp_path: Path, agent: str, url: str, **settings: Any) -> Any:
    model = {"model": "tiny", "base_url": url, "timeout_s": 5, "retries": 1}
    return mlb_env.run(agent, out=tmp_path / "run", model=model, lang="en", **settings)


@pytest.mark.parametrize("agent", AGENTS)
def test_a_model_plays_every_interactive_dataset_to_its_conclusion(tmp_path: Path, agent: str) -> None:
    with OpenAIServer(forever=doctor) as server:
        result = play(tmp_path, agent, server.url, dimension=["SmartServ", "SmartCare"], concurrency=8)
    assert result.summary.coverage == 1.0
    lines = (tmp_path / "run" / "trajectories.jsonl").read_text(encoding="utf-8").splitlines()
    played = [json.loads(line) for line in lines]
    dialogues = [t for t in played if "transcript" not in t["scenario"]]
    assert {t["stop_reason"] for t in played} == {"concluded"}
    assert all(t["conclusion"] and t["usage"]["agent"]["calls"] == t["turns"] for t in played)
    assert all(any(e["topic"] == "allergy" for e in t["ledger"]) for t in dialogues)
    assert result.summary.usage["agent"].calls == sum(t["turns"] for t in played)


@pytest.mark.parametrize("agent", AGENTS)
def test_an_endpoint_that_fails_in_the_middle_leaves_episodes_ungraded_and_no_score_invented(tmp_path: Path, agent: str) -> None:
    def broken(request: Request) -> Behaviour:
        return error(500) if len(request.body["messages"]) > 3 else doctor(request)

    with OpenAIServer(forever=broken) as server:
        result = play(tmp_path, agent, server.url, dataset=["MAGuidance"])
    group = result.summary.datasets["MAGuidance"]
    assert result.summary.coverage == 0.0 and group.score is None and group.ungraded == group.n
    assert all("500" in reason for reason in result.summary.failures)


def test_a_rate_limit_is_waited_out(tmp_path: Path) -> None:
    seen: list[int] = []

    def limited(request: Request) -> Behaviour:
        seen.append(1)
        return error(429, headers={"Retry-After": "0"}) if len(seen) == 1 else doctor(request)

    with OpenAIServer(forever=limited) as server:
        result = play(tmp_path, "chat", server.url, dataset=["CMExam"], limit=1)
    assert result.summary.coverage == 1.0 and len(seen) == 2


def test_cut_tool_arguments_cost_a_turn_and_can_be_mended(tmp_path: Path) -> None:
    def cut(request: Request) -> Behaviour:
        turns = sum(m["role"] == "assistant" for m in request.body["messages"])
        if turns == 1:
            return calls(("close", '{"disposition": "D1", "depart', "c1"), finish_reason="length")
        return doctor(request)

    with OpenAIServer(forever=cut) as server:
        play(tmp_path, "chat", server.url, dataset=["MAGuidance"], limit=1)
    (line,) = (tmp_path / "run" / "trajectories.jsonl").read_text(encoding="utf-8").splitlines()
    trajectory = json.loads(line)
    assert trajectory["malformed"] == 1 and trajectory["stop_reason"] == "concluded"


def test_a_token_budget_truncates(tmp_path: Path) -> None:
    with OpenAIServer(forever=lambda _: text("Are you allergic to anything?")) as server:
        play(tmp_path, "chat", server.url, dataset=["MAGuidance"], limit=1, max_tokens=1)
    assert '"stop_reason":"max_tokens"' in (tmp_path / "run" / "trajectories.jsonl").read_text(encoding="utf-8").replace(" ", "")
