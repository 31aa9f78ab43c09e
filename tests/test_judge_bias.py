"""A judge that is biased in a known way over a real HTTP endpoint: the measurement finds exactly that bias, and none where there is none."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from mlb_env.bench.bias import Bias, Effect, bias
from mlb_env.effects import ModelSettings
from mlb_env.judge.labels import Labelled, LabelledDialogue
from mlb_env.judge.meaning import ModelJudge, Protocol
from mlb_env.judge.padding import SENTENCES, padded, sentences
from mlb_env.llm.endpoint import ModelEdge
from tests.openai_server import Behaviour, OpenAIServer, Request, error, text

N = 20
Answer = Callable[[Request], bool]


def dialogues(ids: tuple[str, ...] = ("why",)) -> list[Labelled]:
    """N dialogues with two turns of the agent; in every other one it gives the reason."""
    return [
        LabelledDialogue.model_validate({
            "id": f"d{i}", "lang": "en",
            "turns": [{"turn": 0, "speaker": "patient", "text": f"I am number {i}"}, {"turn": 1, "speaker": "agent", "text": "Hello.\nWho are you?"},
                      {"turn": 2, "speaker": "agent", "text": "It bleeds." if i % 2 else "Just do it."}],
            "criteria": [{"id": id_, "text": f"Gives the {id_}", "label": "met" if i % 2 else "unmet"} for id_ in ids],
        }).labelled()
        for i in range(N)
    ]  # fmt: skip


def user(request: Request) -> str:
    content: str = request.body["messages"][1]["content"]
    return content


def honest(request: Request) -> bool:
    return "It bleeds" in user(request)


def prefers_what_stands_last(request: Request) -> bool:
    return honest(request) or user(request).startswith("<record-")


def prefers_length(request: Request) -> bool:
    return honest(request) or len(re.findall(r"^T2 agent", user(request), re.MULTILINE)) > 1


def punishes_length_in_some(request: Request) -> bool:
    """Unmet for the padded ones among the first ten dialogues."""
    number = int(re.findall(r"number (\d+)", user(request))[0])
    return honest(request) and not (number < 10 and len(re.findall(r"^T2 agent", user(request), re.MULTILINE)) > 1)


def replied(met: Answer, protocol: Protocol) -> Callable[[Request], Behaviour]:
    def answer(request: Request) -> Behaviour:
        if protocol == "mlb":
            return text("yes" if met(request) else "no")
        return text(json.dumps({"verdict": "met" if met(request) else "unmet", "evidence": [1] if met(request) else []}))

    return answer


def measured(server: OpenAIServer, labelled: list[Labelled], protocol: Protocol = "rubric") -> Bias:
    async def work() -> Bias:
        edge = ModelEdge()
        try:
            return await bias(labelled, ModelJudge(ModelSettings(model="m", base_url=server.url, retries=0), protocol), edge, Random(1))
        finally:
            await edge.aclose()

    return asyncio.run(work())


def effects(met: Answer, protocol: Protocol = "rubric") -> dict[str, Effect]:
    with OpenAIServer(forever=replied(met, protocol)) as server:
        found = measured(server, dialogues(), protocol)
    assert found.decided == N and found.met == 0.5 and found.left_out == {"order": "no call of this judge on these labels holds several criteria"}
    assert found.usage.calls == 4 * N
    return {e.change: e for e in found.effects}


@pytest.mark.parametrize("protocol", ["rubric", "mlb"])
def test_an_unbiased_judge_has_no_bias(protocol: Protocol) -> None:
    for effect in effects(honest, protocol).values():
        assert (effect.flipped.value, effect.shift.value, effect.shift.low, effect.shift.high) == (0, 0, 0, 0) and effect.pairs == N


@pytest.mark.parametrize("protocol", ["rubric", "mlb"])
@pytest.mark.parametrize(("judge", "where"), [(prefers_what_stands_last, "place"), (prefers_length, "length")])
def test_a_bias_is_found_where_it_is_and_nowhere_else(protocol: Protocol, judge: Answer, where: str) -> None:
    found = effects(judge, protocol)
    assert set(found) == {"again", "place", "length"}
    for change, effect in found.items():
        assert (effect.flipped.value, effect.shift.value) == ((0.5, 0.5) if change == where else (0, 0)), change
    hit = found[where]
    assert (hit.to_met, hit.to_unmet) == (N // 2, 0) and hit.shift.low is not None and 0.2 < hit.shift.low < 0.5


def test_the_size_and_the_sign_of_a_bias_are_right() -> None:
    hit = effects(punishes_length_in_some)["length"]
    assert (hit.to_met, hit.to_unmet, hit.flipped.value, hit.shift.value) == (0, 5, 0.25, -0.25) and (hit.shift.high or 0) < 0


def test_noise_shows_when_asked_again() -> None:
    def noisy(request: Request) -> bool:
        return honest(request) or request.body["seed"] >= 1000

    found = effects(noisy)
    assert found["again"].shift.value == 0.5 and found["place"].shift.value == 0 == found["length"].shift.value


def test_the_order_of_marks_in_one_call_is_turned() -> None:
    """This judge gives the first mark of a call its point, and no other."""
    def first(request: Request) -> Behaviour:
        return text("1,0")

    def fair(request: Request) -> Behaviour:
        listed = re.findall(r"^\d\. Gives the (\w+)$", user(request), re.MULTILINE)
        return text(",".join("1" if name == "quality_a" else "0" for name in listed))

    labelled = dialogues(("quality_a", "quality_b"))
    with OpenAIServer(forever=first) as server:
        biased = {e.change: e for e in measured(server, labelled, "mlb").effects}
    with OpenAIServer(forever=fair) as server:
        unbiased = {e.change: e for e in measured(server, labelled, "mlb").effects}
    assert biased["order"].flipped.value == 1.0 and biased["order"].shift.value == 0 and biased["place"].flipped.value == 0
    assert all(e.flipped.value == 0 and e.pairs == 2 * N for e in unbiased.values()) and set(unbiased) == set(biased)


def test_what_is_no_longer_decided_is_lost_and_no_flip() -> None:
    def fails(request: Request) -> Behaviour:
        return error(500) if user(request).startswith("<record-") else replied(honest, "rubric")(request)

    with OpenAIServer(forever=fails) as server:
        place = {e.change: e for e in measured(server, dialogues()).effects}["place"]
    assert (place.pairs, place.lost, place.flipped.value) == (0, N, None)


# --- padding ------------------------------------------------------------------------------------------------------------


def test_only_the_agents_turns_grow_and_nothing_else_changes() -> None:
    (dialogue, *_) = dialogues()
    before, after = list(dialogue.lines), padded(dialogue.lines, "en", Random(3))
    added = [pair for pair in after if pair not in before]
    assert [pair for pair in after if pair in before] == before and len(added) == 2 * SENTENCES
    assert all(line.removeprefix(f"T{turn} agent | ") in sentences("en") for turn, line in added) and after[3][1].startswith("T1 agent | ")
    assert after == padded(dialogue.lines, "en", Random(3)) != padded(dialogue.lines, "en", Random(4))


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_the_sentences_are_of_their_language_and_ask_and_advise_nothing(lang: Any) -> None:
    found = sentences(lang)
    assert len(found) == len(set(found)) >= 2 * SENTENCES
    for sentence in found:
        assert bool(re.search(r"[\u4e00-\u9fff]", sentence)) is (lang == "zh")
        assert not re.search(r"[?？!！\d]|you|should|please|sorry|doctor|您|你|请|应|医|抱歉", sentence, re.IGNORECASE), sentence


# --- the command --------------------------------------------------------------------------------------------------------


def test_the_command_prints_shares_intervals_and_the_family(tmp_path: Path) -> None:
    labels = tmp_path / "l.jsonl"
    rows = [{"id": f"d{i}", "lang": "en", "turns": [{"turn": 1, "speaker": "agent", "text": "Hm."}, {"turn": 2, "speaker": "agent", "text": t}],
             "criteria": [{"id": "why", "text": "Gives the reason", "label": "unmet"}]} for i, t in enumerate(["It bleeds.", "Just do it."] * 4)]  # fmt: skip
    labels.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")

    def command(*more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-m", "mlb_env", "judge", "bias", str(labels), *more], capture_output=True, text=True, check=False,
                              timeout=60, env={**os.environ, "COLUMNS": "140"})  # fmt: skip

    with OpenAIServer(forever=replied(prefers_length, "rubric")) as server:
        done = command("--judge", "llm:qwen-8b", "--judge-base-url", server.url, "--under-test", "Qwen/Qwen3-8B")
        other = command("--judge", "llm:qwen-8b", "--judge-base-url", server.url, "--json")
    assert done.returncode == 0 and "of one family" in done.stdout and re.search(r"padded +8 +50.0%.*\+50.0%", done.stdout), done.stdout + done.stderr
    assert "estimate: 32 judge calls" in done.stderr and len(server.requests) == 2 * 32
    assert Bias.model_validate_json(other.stdout).effects[-1].to_met == 4
    for arguments, says in ((["--judge", "rules"], "one llm:MODEL"), (["--judge", "llm:a+llm:b"], "one llm:MODEL"),
                            (["--judge", "llm:a", "--part", "tune"], "nothing in the part")):  # fmt: skip
        done = command(*arguments)
        assert done.returncode == 2 and says in done.stderr and "Traceback" not in done.stderr
