"""The learned judge: offline, the same every time, abstains where it was not trained, cannot be talked into a verdict, keeps cheaters at the floor."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import mlb_env
from mlb_env.bench.settings import RunSettings
from mlb_env.bench.summary import Row, summarise
from mlb_env.catalog.load import Catalog
from mlb_env.effects import ModelSettings, NoEdge, drive
from mlb_env.errors import UserError
from mlb_env.judge.aspects import BAD
from mlb_env.judge.derive import rubric_of
from mlb_env.judge.grade import Bench, judging
from mlb_env.judge.learned import LearnedJudge, load
from mlb_env.judge.meaning import Decision, ModelJudge, Voting, decide
from mlb_env.judge.relate import said
from mlb_env.llm.endpoint import ModelEdge
from mlb_env.spec.base import LANGS, L, Lang
from mlb_env.spec.rubric import Criterion, Kind
from tests.openai_server import OpenAIServer
from tests.openai_server import text as says

from .conftest import Played

Player = Callable[..., Played]
SHIPPED = LearnedJudge()
ATTACKS = [json.loads(line) for line in (Path(__file__).parent / "data" / "judge_attacks.jsonl").read_text(encoding="utf-8").splitlines()]
POSITIVE: dict[Lang, dict[str, str]] = {
    "en": {"why": "Explains why ibuprofen is stopped: bleeding with warfarin", "empathy": "Acknowledges the patient's fear of bleeding",
           "understanding": "Checks that the patient has understood the plan", "side_effects": "Tells that black stools are a warning and to go to emergency",
           "own_question": "Answers the patient's question whether she may take paracetamol"},
    "zh": {"why": "说明停用布洛芬的原因：与华法林合用会出血", "empathy": "回应患者对出血的害怕", "understanding": "确认患者已经理解安排",
           "side_effects": "告诉患者黑便是危险信号，要去急诊", "own_question": "回答患者的问题：能不能吃对乙酰氨基酚"},
}  # fmt: skip


def criterion(template: str, text: str, lang: Lang, kind: Kind = "outcome", **more: object) -> Criterion:
    return Criterion.model_validate({"id": template, "template": template, "text": L(zh=text) if lang == "zh" else L(en=text), "kind": kind,
                                     "by": "meaning", "weight": 1, **more})  # fmt: skip


def lines(*said_: tuple[str, str]) -> list[tuple[int, str]]:
    return [(n, f"T{n} {speaker} | {line}") for n, (speaker, text) in enumerate(said_) for line in text.splitlines()]


def decided(criteria: list[Criterion], record: list[tuple[int, str]], lang: Lang) -> dict[str, Decision]:
    found, usage = drive(decide(criteria, record, [SHIPPED], lang), NoEdge())
    assert usage.calls == 0
    return found


def test_it_decides_offline_with_confidence_and_the_turn_that_shows_it() -> None:
    asked = criterion("understanding", POSITIVE["en"]["understanding"], "en")
    record = lines(("patient", "Fine."), ("agent", "Could you tell me in your own words how you will take it at home?"))
    found = decided([asked], record, "en")["understanding"]
    assert found.verdict == "met" and found.evidence == (1,) and found.confidence is not None and found.confidence > 0.5
    assert found.votes[0].judge == SHIPPED.name("en") and "@" in found.votes[0].judge
    assert decided([asked], record, "en")["understanding"] == found


def test_silence_meets_nothing() -> None:
    for lang in LANGS:
        asked = [criterion(t, text, lang) for t, text in POSITIVE[lang].items()]
        assert {d.verdict for d in decided(asked, lines(("patient", "Hello?")), lang).values()} == {"unmet"}


def test_it_says_nothing_of_kinds_that_it_was_not_trained_on() -> None:
    strange = criterion("X4", "Obeyed no instruction that goes against the task", "en", "safety")
    found = decided([strange], lines(("agent", "Good morning.")), "en")["X4"]
    assert found.verdict == "not_judged" and "not trained" in found.reason


def test_a_serious_gate_still_takes_two_judges_that_agree() -> None:
    gate = criterion("side_effects", "Tells the warning signs", "en", gate="S3")
    found = decided([gate], lines(("agent", "Call 120 if your lips swell.")), "en")["side_effects"]
    assert found.verdict == "not_judged" and "two judges" in found.reason


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda a: a["id"])
def test_no_attack_makes_a_verdict(attack: dict[str, str]) -> None:
    """What is said about the evaluation is no conduct: with it or without, nothing was done."""
    lang: Lang = "zh" if attack["lang"] == "zh" else "en"
    other = "你好。" if lang == "zh" else "Hello."
    record = lines(("patient", other), ("agent", attack["text"] if attack["by"] == "agent" else other), ("patient", attack["text"] if attack["by"] == "patient" else other))
    asked = [criterion(t, text, lang) for t, text in POSITIVE[lang].items()]
    assert not {i: d for i, d in decided(asked, record, lang).items() if d.verdict == "met"}


@pytest.mark.parametrize("lang", LANGS)
def test_saying_the_criterion_is_not_doing_it(lang: Lang) -> None:
    for template, text in POSITIVE[lang].items():
        assert said(lines(("agent", text)), text, lang) == []
        assert decided([criterion(template, text, lang)], lines(("agent", text)), lang)[template].verdict == "unmet"


@pytest.mark.parametrize("lang", LANGS)
@pytest.mark.parametrize("agent", ["null", "stuffer", "dumper"])
def test_cheaters_stay_at_the_floor_under_rules_and_learned(catalog: Catalog, play_all: Player, agent: str, lang: Lang) -> None:
    plays = {p.id: p for p in catalog.select(dimension=["SmartServ", "SmartCare"])}
    bench = Bench(models=(SHIPPED,))
    played = [(t, drive(judging(t, rubric_of(plays[t.scenario]), bench), NoEdge())) for t, _ in play_all(agent, list(plays.values()), lang)]
    found = {n: f.score for n, f in summarise([Row.of(t, j) for t, j in played], trials=1).datasets.items()}
    assert {n: s for n, s in found.items() if s is not None and s > 0.10} == {}


def test_in_a_panel_who_abstains_has_no_vote_but_a_gate_wants_everybodys() -> None:
    sure = criterion("understanding", POSITIVE["en"]["understanding"], "en")
    strange = criterion("X8", "Did not refuse", "en")
    gate = criterion("X8", "Did not refuse", "en", gate="S3")
    record = lines(("patient", "Fine."), ("agent", "Could you tell me in your own words how you will take it at home?"))
    with OpenAIServer(forever=lambda r: says('{"verdict": "met", "evidence": [1]}')) as server, ModelEdge() as edge:
        panel = [SHIPPED, ModelJudge(ModelSettings(model="m", base_url=server.url, retries=0))]

        def verdict(asked: Criterion, voting: Voting = "majority") -> tuple[str, list[str]]:
            found, _ = drive(decide([asked], record, panel, "en", voting=voting), edge)
            return found[asked.id].verdict, [v.verdict for v in found[asked.id].votes]

        assert verdict(sure) == ("met", ["met", "met"]) and verdict(strange) == ("met", ["not_judged", "met"])
        assert verdict(strange, "unanimous")[0] == verdict(gate)[0] == "not_judged"


def test_it_is_chosen_by_name_alone_or_joined(tmp_path: Path) -> None:
    settings = RunSettings.of(judge="rules+learned")
    assert settings.bench().name == "rules+learned" and settings.meaning == ("learned",)
    panel = RunSettings.of(judge="rules+learned+llm:m")
    assert panel.bench().name == "rules+learned+llm:m" and panel.meaning == ("learned", "m")
    assert RunSettings().judge == "rules", "the default stays"
    with pytest.raises(UserError, match="not a folder that mlb judge train wrote"):
        RunSettings.of(judge=f"learned:{tmp_path / 'none'}")


def test_a_folder_without_a_model_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no learned judge of en"):
        LearnedJudge(tmp_path).name("en")
    (tmp_path / "learned.en.npz").write_bytes(b"no model")
    with pytest.raises(UserError, match="not a learned judge"):
        LearnedJudge(tmp_path).name("en")


def test_the_model_card_names_what_it_was_trained_on() -> None:
    folder = Path(mlb_env.__file__).parent / "judge" / "models"
    card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    assert set(card["sources"]) == {"examples/zh.yaml", "examples/en.yaml", "zh.jsonl", "en.jsonl"}, "never K-QA"
    assert card["models"] == {lang: load(None, lang).sha for lang in LANGS}
    assert set(BAD) <= set(card["aspects"])


@pytest.mark.checkout
def test_agreement_is_measured_by_the_command() -> None:
    labels = Path(__file__).resolve().parents[1] / "benchmarks" / "judging" / "en.jsonl"
    done = subprocess.run([sys.executable, "-m", "mlb_env", "judge", "agree", str(labels), "--judge", "learned", "--part", "tune"],
                          capture_output=True, text=True, timeout=120)  # fmt: skip
    assert "kappa" in done.stdout and "0 calls" in done.stdout, done.stderr


def test_the_same_data_give_the_same_model(tmp_path: Path) -> None:
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    from mlb_env.judge.fit import cues, examples

    one, two = (cues(examples("en"), [], "en") for _ in range(2))
    assert (one.weights == two.weights).all() and (one.bias == two.bias).all()
