"""The question bench holds what it says, and the offline patient does not fall behind what was measured on the part set aside."""

from __future__ import annotations

import importlib.util
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

from mlb_env.catalog.load import Catalog
from mlb_env.patient.topicmodel import NONE, topic_model
from mlb_env.patient.train import corpus
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


FLOORS: dict[str, tuple[float, float, float]] = {"zh": (0.78, 0.81, 0.91), "en": (0.79, 0.80, 0.89)}


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
