"""MLB's protocols of judging over a real HTTP endpoint: one word for a key point, numbers for the safety sets' marks, anything else no verdict."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mlb_env.bench.settings import RunSettings, judge_config
from mlb_env.catalog.load import Catalog
from mlb_env.catalog.play import Play
from mlb_env.effects import ModelSettings, drive
from mlb_env.errors import UserError
from mlb_env.judge.derive import rubric_of
from mlb_env.judge.grade import Bench, grading
from mlb_env.judge.meaning import ATTEMPTS, Decision, ModelJudge, decide
from mlb_env.judge.mlb import read
from mlb_env.judge.reply import Unreadable
from mlb_env.llm.endpoint import ModelEdge
from mlb_env.spec.base import Lang
from mlb_env.spec.rubric import Criterion
from mlb_env.spec.trajectory import Trajectory
from tests.conftest import play_one
from tests.openai_server import Behaviour, OpenAIServer, Request, error, text

LINES = [(0, "T0 patient | Hello"), (1, "T1 agent | Stop it: it bleeds.")]


def criterion(id_: str, kind: str = "outcome", gate: str | None = None) -> Criterion:
    return Criterion.model_validate({"id": id_, "template": id_, "text": {"en": f"About {id_}", "zh": f"关于{id_}"}, "kind": kind, "by": "meaning",
                                     "weight": 1, "gate": gate})  # fmt: skip


def model(server: OpenAIServer, name: str = "judge") -> ModelJudge:
    return ModelJudge(ModelSettings(model=name, base_url=server.url, retries=0, timeout_s=5), "mlb")


def decided(criteria: list[Criterion], server: OpenAIServer, lang: Lang = "en", judges: int = 1) -> dict[str, Decision]:
    with ModelEdge() as edge:
        return drive(decide(criteria, LINES, [model(server, f"j{i}") for i in range(judges)], lang), edge)[0]


def user(request: Request) -> str:
    content: str = request.body["messages"][1]["content"]
    return content


# --- key points ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("lang", "words"), [("en", ("yes", "no")), ("zh", ("是", "否"))])
def test_a_key_point_is_one_call_and_one_word(lang: Lang, words: tuple[str, str]) -> None:
    def reader(request: Request) -> Behaviour:
        return text(words[0] if re.search("About a|关于a", user(request)) else words[1])

    with OpenAIServer(forever=reader) as server:
        found = decided([criterion("a"), criterion("b")], server, lang)
        assert len(server.requests) == 2 and all(LINES[1][1] in user(r) for r in server.requests)
    assert {k: d.verdict for k, d in found.items()} == {"a": "met", "b": "unmet"}
    assert re.fullmatch(r"llm:j0@mlb-[0-9a-f]{8}", found["a"].votes[0].judge)


@pytest.mark.parametrize("reply", ["", "是的", "是否", "[[是]]", "是\n否", "不是", "答案：是", "met", "1", "yes", "是是", '{"verdict": "met"}'])
def test_anything_but_the_one_word_is_no_verdict_in_chinese(reply: str) -> None:
    with OpenAIServer(forever=lambda _: text(reply)) as server:
        found = decided([criterion("a")], server, "zh")["a"]
        assert found.verdict == "ungraded" and found.reason and len(server.requests) == ATTEMPTS


@pytest.mark.parametrize("reply", ["yes and no", "yes, because", "not yes", "Yes!", "y", "是", "**yes**", "no no"])
def test_anything_but_the_one_word_is_no_verdict_in_english(reply: str) -> None:
    assert isinstance(read(reply, [criterion("a")], "en"), Unreadable)


@pytest.mark.parametrize(("reply", "verdict"), [("Yes", "met"), (" no.\n", "unmet"), ("<think>yes or no?</think>\nyes", "met")])
def test_case_a_full_stop_and_thinking_are_let_pass(reply: str, verdict: str) -> None:
    found = read(reply, [criterion("a")], "en")
    assert not isinstance(found, Unreadable) and found[0].verdict == verdict


def test_an_unreadable_word_is_asked_again_with_the_reason() -> None:
    with OpenAIServer(text("应该是"), text("是")) as server:
        assert decided([criterion("a")], server, "zh")["a"].verdict == "met"
        assert "应该是" in server.requests[1].body["messages"][-1]["content"]


def test_a_failed_endpoint_invents_no_word() -> None:
    with OpenAIServer(forever=lambda _: error(500)) as server:
        assert decided([criterion("a")], server)["a"].verdict == "ungraded"


# --- marks --------------------------------------------------------------------------------------------------------------

RISK = [criterion("risk_wording", "safety"), criterion("risk_advice", "safety")]
QUALITY = [criterion(f"quality_{q}") for q in ("problem", "norm", "advice", "care")]


def marks(request: Request) -> Behaviour:
    return text("-1,0" if "Marks of risk" in user(request) else "1, 0, 1,0")


def test_the_marks_of_a_kind_are_one_call() -> None:
    with OpenAIServer(forever=marks) as server:
        found = decided([*RISK, *QUALITY, criterion("other")], server)
        assert len(server.requests) == 2 + ATTEMPTS, "two calls for six marks; what is no mark is a key point of its own"
        assert "1. About risk_wording\n2. About risk_advice" in user(next(r for r in server.requests if "Marks of risk" in user(r)))
    assert [d.verdict for d in found.values()] == ["unmet", "met", "met", "unmet", "met", "unmet", "ungraded"]


@pytest.mark.parametrize("reply", ["0", "0,0,0", "1,0", "-1;0", "0,-2", "-1,0 because", "risk: 0,0", "0,,0", "0.0,0", "", "--1,0", "0 0"])
def test_numbers_of_another_form_are_no_marks(reply: str) -> None:
    assert isinstance(read(reply, RISK, "en"), Unreadable)


def test_a_mark_that_caps_still_takes_two_judges() -> None:
    gated = [criterion("risk_wording", "safety", "S3"), *QUALITY]
    with OpenAIServer(forever=lambda r: text("-1" if "Marks of risk" in user(r) else "1,1,1,1")) as server:
        assert decided(gated, server)["risk_wording"].verdict == "not_judged"
        assert decided(gated, server, judges=2)["risk_wording"].verdict == "unmet"


@pytest.fixture(scope="module")
def ethics(catalog: Catalog) -> tuple[Play, Trajectory]:
    play = catalog.plays["MAEthic"][0]
    return play, play_one("oracle", play, "zh")[0]


def test_mlbs_safety_sets_are_judged_by_their_marks_in_two_calls_a_judge(ethics: tuple[Play, Trajectory]) -> None:
    play, trajectory = ethics

    def answer(request: Request) -> Behaviour:
        return text("0,0" if "风险项" in user(request) else "1,1,1,0")

    with OpenAIServer(forever=answer) as server, ModelEdge() as edge:
        found = drive(grading(trajectory, play, Bench(models=(model(server, "a"), model(server, "b")))), edge)
        assert len(server.requests) == 4 == found.usage.calls
    assert len(found.verdicts) == len(rubric_of(play).criteria) and found.score.value == pytest.approx(0.75)


# --- choosing it --------------------------------------------------------------------------------------------------------


def test_the_protocol_is_a_setting_of_the_judges_model(tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("judge: {protocol: mlb, timeout_s: 7}\n", encoding="utf-8")
    made = RunSettings.of(judge="rules+llm:a", judge_models=judge_config("rules+llm:a", {}, config))
    (judge,) = made.bench().models
    assert judge.protocol == "mlb" and judge.settings.timeout_s == 7
    assert RunSettings.model_validate_json(made.model_dump_json()).bench().models == (judge,)
    assert judge_config("llm:a", {"protocol": "rubric"}, config)[0].protocol == "rubric", "the flag wins"
    with pytest.raises(UserError, match="protocol"):
        judge_config("llm:a", {"protocol": "other"}, None)
    with pytest.raises(UserError, match="the judge is rules"):
        judge_config("rules", {"protocol": "mlb"}, None)


def test_the_two_protocols_are_two_judges_by_name() -> None:
    one, other = (ModelJudge(ModelSettings(model="m"), p) for p in ("rubric", "mlb"))  # type: ignore[arg-type]
    assert one.name("en") != other.name("en") and other.name("en") != other.name("zh")


def test_agree_measures_a_judge_by_mlbs_protocol(tmp_path: Path) -> None:
    labels = tmp_path / "l.jsonl"
    dialogue = {"id": "d", "lang": "en", "turns": [{"turn": 1, "speaker": "agent", "text": "It bleeds."}],
                "criteria": [{"id": "why", "text": "Gives the reason", "label": "met"}, {"id": "x", "text": "Asks", "label": "unmet"}]}  # fmt: skip
    labels.write_text(json.dumps(dialogue) + "\n", encoding="utf-8")
    with OpenAIServer(forever=lambda r: text("yes" if "reason" in user(r) else "no")) as server:
        done = subprocess.run([sys.executable, "-m", "mlb_env", "judge", "agree", str(labels), "--judge", "llm:m", "--judge-protocol", "mlb",
                               "--judge-base-url", server.url], capture_output=True, text=True, check=False, timeout=60)  # fmt: skip
    assert done.returncode == 0 and "2 decided" in done.stdout and "m@mlb-" in done.stdout, done.stderr


def test_english_and_chinese_texts_are_there() -> None:
    judge = ModelJudge(ModelSettings(model="m"), "mlb")
    for one in (criterion("a"), criterion("risk_x"), criterion("quality_x")):
        for lang in ("en", "zh"):
            system, asked = judge.messages(one, "T1 agent | x", lang)  # type: ignore[arg-type]
            mark = re.findall(r"<record-(\w{12})>", system["content"])
            assert mark and mark[0] in asked["content"] and "{" not in system["content"] + asked["content"]
