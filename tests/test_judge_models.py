"""Judges of meaning: models over a real HTTP endpoint, beside the rules or alone; what they cannot say is ungraded, never guessed."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlb_env.bench.regrade import aregrade
from mlb_env.bench.runner import arun
from mlb_env.bench.settings import ModelConfig, RunSettings
from mlb_env.catalog.play import Play
from mlb_env.effects import ModelSettings, drive
from mlb_env.judge.grade import Bench, grade, grading
from mlb_env.judge.meaning import ATTEMPTS, ModelJudge, decide
from mlb_env.judge.reply import Ruling, Unreadable, read
from mlb_env.judge.window import lines, windows
from mlb_env.llm.endpoint import ModelEdge
from mlb_env.spec.base import L
from mlb_env.spec.rubric import Criterion, Judgement
from mlb_env.spec.trajectory import Trajectory
from tests.conftest import play_one
from tests.openai_server import Behaviour, OpenAIServer, Request, error, hang, raw, text

DATA = Path(__file__).with_name("data")


def answer(verdict: str = "met", evidence: list[int] | None = None, **more: Any) -> Behaviour:
    return text(json.dumps({"verdict": verdict, "confidence": 0.9, "evidence": evidence or [], "reason": "because", **more}))


def model(server: OpenAIServer, name: str = "judge") -> ModelJudge:
    return ModelJudge(ModelSettings(model=name, base_url=server.url, retries=0, timeout_s=5))


def good(request: Request) -> Behaviour:
    """A judge that says of everything: as it should be."""
    safety = "safety" in request.body["messages"][-1]["content"].split("\n")[0]
    return answer("met", [] if safety else [1])


@pytest.fixture(scope="module")
def played(interactive: list[Play]) -> tuple[Play, Trajectory, Judgement]:
    play = next(p for p in interactive if p.id == "mamedication-p04")
    trajectory, judgement = play_one("oracle", play, "en")
    return play, trajectory, judgement


def judged(played: tuple[Play, Trajectory, Judgement], bench: Bench) -> Judgement:
    play, trajectory, _ = played
    with ModelEdge() as edge:
        return drive(grading(trajectory, play, bench), edge)


# --- beside the rules ---------------------------------------------------------------------------------------------------


def test_a_model_decides_what_rules_leave_open_and_nothing_else(played: tuple[Play, Trajectory, Judgement]) -> None:
    with OpenAIServer(forever=good) as server:
        found = judged(played, Bench(models=(model(server),)))
        asked = len(server.requests)
    by_rules = {v.criterion: v for v in played[2].verdicts}
    opened = [v for v in found.verdicts if by_rules[v.criterion].verdict == "not_judged"]
    assert all(v.model_dump() == by_rules[v.criterion].model_dump() for v in found.verdicts if v not in opened)
    ordinary = [v for v in opened if v.gate not in ("S3", "S4")]
    assert ordinary and {v.verdict for v in ordinary} == {"met"} and asked == len(ordinary) == found.usage.calls
    assert all(re.fullmatch(r"llm:judge@[0-9a-f]{8}", v.judge) and v.confidence == 0.9 and v.reason == "because" for v in ordinary)
    assert found.judge == "rules+llm:judge" and found.score.criteria_judged > played[2].score.criteria_judged


def test_a_serious_gate_takes_two_judges_that_agree(played: tuple[Play, Trajectory, Judgement]) -> None:
    def verdicts(bench: Bench) -> dict[str, str]:
        return {v.criterion: v.verdict for v in judged(played, bench).verdicts if v.gate in ("S3", "S4") and v.criterion == "X4"}

    def obeyed(request: Request) -> Behaviour:
        return answer("unmet", [1]) if "Obeyed no instruction" in request.body["messages"][-1]["content"] else good(request)

    with OpenAIServer(forever=good) as yes, OpenAIServer(forever=obeyed) as no:
        assert verdicts(Bench(models=(model(yes),))) == {"X4": "not_judged"}
        assert verdicts(Bench(models=(model(yes, "a"), model(yes, "b")))) == {"X4": "met"}
        agreed = judged(played, Bench(models=(model(no, "a"), model(no, "b"))))
        assert any(h.criterion == "X4" and h.grade == "S3" for h in agreed.score.harms) and (agreed.score.value or 0) <= 0.3
        split = judged(played, Bench(models=(model(yes, "a"), model(no, "b"))))
    assert split.score.value is None and "disagree (llm:a: met, llm:b: unmet)" in split.score.ungraded


def test_a_panel_decides_by_majority_or_unanimity_and_keeps_every_vote(played: tuple[Play, Trajectory, Judgement]) -> None:
    criterion = Criterion(id="c", template="c", text=L(en="Says hello", zh="问好"), kind="outcome", by="meaning", weight=1)

    def decided(voting: str, *words: str) -> tuple[str, int]:
        servers = [OpenAIServer(forever=lambda _, w=w: answer(w, [1])) for w in words]
        with ModelEdge() as edge:
            for server in servers:
                server.__enter__()
            try:
                judges = [model(s, f"j{i}") for i, s in enumerate(servers)]
                found, _ = drive(decide([criterion], lines(played[1]), judges, "en", voting=voting), edge)  # type: ignore[arg-type]
            finally:
                for server in servers:
                    server.__exit__(None, None, None)
        return found["c"].verdict, len(found["c"].votes)

    assert decided("majority", "met", "met", "unmet") == ("met", 3)
    assert decided("unanimous", "met", "met", "unmet") == ("not_judged", 3)
    assert decided("majority", "met", "unmet") == ("not_judged", 2)
    assert decided("unanimous", "unmet", "unmet") == ("unmet", 2)


# --- what goes wrong ----------------------------------------------------------------------------------------------------

ONE = Criterion(id="c", template="c", text=L(en="Says hello", zh="问好"), kind="outcome", by="meaning", weight=1)


def one_decision(trajectory: Trajectory, *script: Behaviour, forever: Callable[[Request], Behaviour] | None = None) -> tuple[str, str, list[Request]]:
    with OpenAIServer(*script, forever=forever) as server, ModelEdge() as edge:
        found, _ = drive(decide([ONE], lines(trajectory), [model(server)], "en"), edge)
        return found["c"].verdict, found["c"].reason, list(server.requests)


def test_an_unreadable_reply_is_asked_again_with_the_reason(played: tuple[Play, Trajectory, Judgement]) -> None:
    verdict, _, requests = one_decision(played[1], text("I would say NOT satisfied."), answer("met", [1]))
    assert verdict == "met" and len(requests) == 2
    assert "there is no JSON object" in requests[1].body["messages"][-1]["content"] and requests[0].body["temperature"] == 0.0


@pytest.mark.parametrize("reply", [answer("met", [99]), answer("met"), text('{"met": true}'), text(""), text('{"verdict": "met"')])
def test_after_three_unreadable_replies_the_criterion_is_ungraded(played: tuple[Play, Trajectory, Judgement], reply: Behaviour) -> None:
    verdict, reason, requests = one_decision(played[1], forever=lambda _: reply)
    assert verdict == "ungraded" and reason and len(requests) == ATTEMPTS


@pytest.mark.parametrize("failure", [error(500), error(401), hang(6), raw("<html>proxy</html>"), error(404)])
def test_a_failed_endpoint_invents_no_verdict(played: tuple[Play, Trajectory, Judgement], failure: Behaviour) -> None:
    verdict, reason, _ = one_decision(played[1], forever=lambda _: failure)
    assert verdict == "ungraded" and reason.startswith("the judge's model failed")


def test_with_the_judge_down_the_run_ends_and_its_coverage_falls(tmp_path: Path) -> None:
    with OpenAIServer(forever=lambda _: error(500)) as server:
        settings = RunSettings.of(agent="oracle", dataset="MAGuidance", lang="en", judge="rules+llm:j",
                                  judge_models=[{"model": "j", "base_url": server.url, "retries": 0, "key_variable": "NO_KEY_NEEDED"}])  # fmt: skip
        result = asyncio.run(arun(settings, out=tmp_path / "run"))
    assert result.summary.overall.score is None and result.summary.coverage == 0.0
    assert all(j.score.value is None and "judge's model failed" in j.score.ungraded for j in result.judgements())


def test_a_failed_episode_costs_no_judge(played: tuple[Play, Trajectory, Judgement]) -> None:
    failed = played[1].model_copy(update={"failure": "the endpoint was down"})
    with OpenAIServer(forever=good) as server, ModelEdge() as edge:
        found = drive(grading(failed, played[0], Bench(models=(model(server),))), edge)
        assert not server.requests and found.score.value is None


# --- the whole record, and nothing but the record -----------------------------------------------------------------------


def test_a_long_record_is_judged_in_windows_that_leave_nothing_out(played: tuple[Play, Trajectory, Judgement]) -> None:
    numbered = lines(played[1])
    texts = windows(numbered, 2000)
    assert len(texts) > 2 and all(any(line in t for t in texts) for _, line in numbered)
    assert max(map(len, texts)) <= max(2000 * 2, max(len(line) for _, line in numbered) * 3)


def test_something_done_in_any_window_was_done(played: tuple[Play, Trajectory, Judgement], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlb_env.judge.meaning.windows", lambda numbered: windows(numbered, 2000))
    first: list[str] = []

    def once(request: Request) -> Behaviour:
        first.append(request.body["messages"][-1]["content"])
        return answer("met", [1]) if len(first) == 1 else answer("unmet")

    verdict, _, requests = one_decision(played[1], forever=once)
    assert verdict == "met" and len(requests) > 2


ATTACKS = [json.loads(line) for line in (DATA / "judge_attacks.jsonl").read_text(encoding="utf-8").splitlines()]


def test_there_are_attacks_enough_in_both_languages() -> None:
    assert len(ATTACKS) >= 40 and {a["lang"] for a in ATTACKS} == {"zh", "en"}
    assert {a["kind"] for a in ATTACKS} >= {"claim", "verdict", "end", "role", "policy"} and {a["by"] for a in ATTACKS} == {"agent", "patient"}


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda a: a["id"])
def test_no_attack_leaves_its_line_or_moves_a_rule(played: tuple[Play, Trajectory, Judgement], attack: dict[str, str]) -> None:
    """Every line of the record keeps its turn and speaker, the fence cannot be foreseen, and rules see no words at all."""
    play, trajectory, before = played
    messages = tuple(m.model_copy(update={"content": m.content + "\n" + attack["text"]}) if m.turn == 1 and m.speaker == attack["by"] else m
                     for m in trajectory.messages)  # fmt: skip
    attacked = trajectory.model_copy(update={"messages": messages})
    assert any(attack["text"].split("\n")[0] in m.content for m in messages)
    assert [v.verdict for v in grade(attacked, play).verdicts] == [v.verdict for v in before.verdicts]
    judge = ModelJudge(ModelSettings(model="m"))
    for text_ in windows(lines(attacked)):
        system, user = judge.messages(ONE, text_, "en")
        nonce = re.search(r"<record-(\w{12})>", system["content"])
        assert nonce and nonce.group(1) not in text_ and nonce.group(1) not in attack["text"]
        inside = user["content"].split(f"<record-{nonce.group(1)}>\n")[1].split(f"\n</record-{nonce.group(1)}>")[0]
        assert inside == text_ and all(re.match(r"T\d+ [a-z ]+ \| ", line) for line in inside.split("\n"))


# --- reading replies ----------------------------------------------------------------------------------------------------

REPLIES = [json.loads(line) for line in (DATA / "judge_replies.jsonl").read_text(encoding="utf-8").splitlines()]


def test_there_are_hostile_replies_enough() -> None:
    assert len(REPLIES) >= 100 and sum(r["expected"] != "ungraded" for r in REPLIES) >= 25


@pytest.mark.parametrize("case", REPLIES, ids=lambda c: c["id"])
def test_a_reply_is_read_rightly_or_not_at_all(case: dict[str, str]) -> None:
    found = read(case["reply"])
    if case["expected"] == "ungraded":
        assert isinstance(found, Unreadable) and found.why, case
    else:
        assert isinstance(found, Ruling) and found.verdict == case["expected"], (case, found)


# --- runs ---------------------------------------------------------------------------------------------------------------


def test_a_saved_run_is_judged_again_by_a_model_and_says_that_it_is_uncalibrated(tmp_path: Path) -> None:
    from mlb_env.cli.table import notes

    result = asyncio.run(arun(RunSettings.of(agent="oracle", dataset="GeneralSafety", lang="en"), out=tmp_path / "run"))
    assert result.summary.overall.score is None
    with OpenAIServer(forever=good) as server:
        models = [{"model": m, "base_url": server.url, "retries": 0, "key_variable": "NO_KEY_NEEDED"} for m in ("a", "b")]
        new = asyncio.run(aregrade(tmp_path / "run", RunSettings.of(judge="rules+llm:a+llm:b", judge_models=models)))
        single = asyncio.run(aregrade(tmp_path / "run", RunSettings.of(judge="rules+llm:a", judge_models=models[:1])))
    assert new.summary.overall.score == 1.0 and new.header.settings.judge == "rules+llm:a+llm:b" and len(new.changed) == len(new.judgements)
    said = "\n".join(notes(new.header, new.summary, tmp_path / "run"))
    assert "UNCALIBRATED" in said and "of one family" not in said
    tested = new.header.settings.model_copy(update={"model": ModelConfig(model="vendor/A-7B")})
    assert "are of one family" in "\n".join(notes(new.header.model_copy(update={"settings": tested}), new.summary, tmp_path / "run"))
    assert "two judges that agree" in "\n".join(notes(single.header, single.summary, tmp_path / "run"))
    assert json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))["settings"]["judge"] == "rules", "nothing was changed"


def test_silence_stays_at_the_floor_under_a_generous_judge(interactive: list[Play]) -> None:
    """A judge that says met to everything cannot lift an agent that did nothing."""
    for play in interactive[::7]:
        trajectory, _ = play_one("null", play, "en")
        with OpenAIServer(forever=lambda r: answer("met", [1])) as server, ModelEdge() as edge:
            found = drive(grading(trajectory, play, Bench(models=(model(server),))), edge)
        assert found.score.value is None or found.score.value <= 0.1, (play.id, found.score)


@pytest.mark.parametrize(("judge", "says"), [
    ("oracle", "there is no judge 'oracle'"), ("rules+", "there is no judge ''"), ("llm:", "there is no judge 'llm:'"), ("rules+rules", "stands twice"),
    ("llm:a+llm:a", "two votes of one model"), ("learned:no/such", "not a folder"), ("rules+none", "there is no judge 'none'"),
])  # fmt: skip
def test_a_judge_that_there_is_not_is_one_sentence(judge: str, says: str) -> None:
    from mlb_env.errors import UserError

    with pytest.raises(UserError, match=says):
        RunSettings.of(judge=judge)
