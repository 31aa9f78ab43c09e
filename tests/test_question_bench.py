"""The question bench holds what it says, and the offline patient does not fall behind what was measured on the part set aside."""

from __future__ import annotations

import importlib.util
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

from mlb_env import codes
from mlb_env.catalog.load import Catalog
from mlb_env.patient.topicmodel import NONE, topic_model
from mlb_env.patient.train import corpus
from mlb_env.patient.understand import hear, lexicon, matcher
from mlb_env.patient.world import World
from mlb_env.spec.base import LANGS, Lang

BENCH = Path(__file__).parents[1] / "benchmarks" / "questions.py"
pytestmark = pytest.mark.checkout
SAYABLE = {"opening", "open_question", "direct_question", "specific_question", "volunteered_when_topic_near", "observed", "sensitive_question",
           "alone", "document"}  # fmt: skip


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    spec = importlib.util.spec_from_file_location("question_bench", BENCH)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["question_bench"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("lang", LANGS)
def test_the_bench_is_what_it_claims(bench: ModuleType, catalog: Catalog, lang: Lang) -> None:
    cases = {p.case.id: {f.id: f for f in p.case.facts} for p in catalog.select() if p.case}
    questions = list(bench.questions(lang, "all"))
    styles = Counter(q["style"] for q in questions)
    assert len(questions) >= 400 and styles["none"] >= 80 and styles["hard"] >= len(questions) // 3
    assert len({(q["case"], q["say"]) for q in questions}) == len({q["id"] for q in questions}) == len(questions)
    assert {q["case"] for q in questions} == set(cases)
    for q in questions:
        for fact in (*q["facts"], *q["ok"]):
            conditions = cases[q["case"]][fact].disclosure
            assert {conditions.condition, *conditions.also} & SAYABLE, (q["id"], fact)
        assert bool(q["facts"]) is (q["style"] != "none")


@pytest.mark.parametrize("lang", LANGS)
def test_nothing_of_the_bench_is_in_the_training_data(bench: ModuleType, lang: Lang) -> None:
    known = {s.strip().lower() for s, _ in corpus(lang)}
    seen = [q["id"] for q in bench.questions(lang, "all") if q["style"] != "none" and str(q["say"]).strip().lower() in known]
    assert len(seen) <= 0.03 * 342, seen  # "Do you smoke?" has few other forms


@pytest.mark.parametrize("lang", LANGS)
def test_the_patient_holds_its_level_on_the_part_set_aside(bench: ModuleType, lang: Lang) -> None:
    """Floors a little under what was measured once (README); the aims are 0.95, 0.90 and 0.95."""
    found = bench.measure(lang, "held")["all"]
    assert found.precision >= FLOORS[lang][0] and found.recall >= FLOORS[lang][1] and found.specificity >= FLOORS[lang][2], found


FLOORS: dict[str, tuple[float, float, float]] = {"zh": (0.86, 0.86, 0.90), "en": (0.84, 0.83, 0.90)}


@pytest.mark.parametrize(
    ("lang", "said", "topic"),
    [
        ("zh", "夜里能一觉到天亮吗？", "sleep"), ("zh", "平时抽不抽烟？", "tobacco"), ("en", "Do you ever light up a cigarette?", "tobacco"),
        ("en", "Has any drug ever given you side effects?", "prior_reaction"), ("zh", "请按时吃饭，注意休息。", NONE),
        ("en", "I'll book you in for Tuesday morning.", NONE),
    ],
)  # fmt: skip
def test_the_topic_model_knows_plain_cases(lang: Lang, said: str, topic: str) -> None:
    chances = topic_model(lang).probabilities(said)
    assert next(iter(chances)) == topic and 0.0 < sum(chances.values()) <= 1.0001


def test_the_topic_model_is_sure_of_nothing_where_there_is_nothing() -> None:
    assert topic_model("zh").probabilities("？？！") == pytest.approx({NONE: 1.0})


@pytest.mark.parametrize(
    ("said", "asks", "about"),
    [
        ("您有没有腹部或者腰部的疼痛？", {"abdominal_pain", "back_pain"}, set()),
        ("您的咳嗽和气喘的症状，有没有在活动后加重？", {"trigger"}, {"cough"}),
        ("您的头痛是否伴有发热或者呕吐？", {"fever", "vomiting"}, {"headache"}),
        ("您有没有高血压的家族史，或者您自己有没有糖尿病？", {"family", "diabetes"}, set()),
        ("家里有没有人得过高血压？", {"family"}, set()),
        ("您有过敏史吗，比如对花粉、宠物过敏？", {"allergy"}, set()),
        ("尿液分析和超声检查的结果怎么样？", {"report_document"}, set()),
        ("您之前做过心脏超声检查吗？", {"prior_care"}, set()),
        ("有没有发热或者身体其他部位的不适？", {"fever", "associated"}, set()),
        ("这种疼痛是持续的还是间歇的？", {"timing"}, set()),
        ("休息后会不会有所缓解？", {"relief"}, set()),
    ],
)
def test_formal_chinese_is_understood_as_it_is_meant(said: str, asks: set[str], about: set[str]) -> None:
    heard = hear(said, matcher())
    assert set(heard.asks) == asks and about <= set(heard.about), heard


def test_every_wording_with_a_gap_is_of_a_topic_that_exists() -> None:
    assert lexicon().patterns and {w.topic for w in lexicon().patterns} <= set(codes.topics())


@pytest.mark.parametrize(
    ("case", "said", "told"),
    [
        ("inferior-stemi", "What do you think is wrong?", {"ice.idea", "ice.heart", "ice.nitro"}),  # names none of them
        ("checkup-nodule-cea", "夏枯草之类的中草药吃过没有？", {"drug.prunella"}),
        ("nonspecific-back-pain", "What about steroids such as prednisone, are those among your medicines?", {"drug.no_steroid"}),
    ],
)
def test_of_several_facts_on_one_topic_the_one_asked_for_is_told(bench: ModuleType, catalog: Catalog, case: str, said: str, told: set[str]) -> None:
    found = next(p.case for p in catalog.select() if p.case and p.case.id == case)
    assert bench.told(World(found), "zh" if "您" in said else "en", said) == told
