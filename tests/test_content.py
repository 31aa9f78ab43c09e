"""The bundled content: 22 datasets, bilingual, complete cases, honest provenance."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from mlb_env import codes
from mlb_env.catalog.check import check_case
from mlb_env.catalog.load import Catalog
from mlb_env.catalog.play import Play
from mlb_env.judge.derive import rubric_of
from mlb_env.judge.extraction import gold_items
from mlb_env.judge.rules import RULES
from mlb_env.patient.understand import ACTS, ask_for, hear, lexicon, matcher
from mlb_env.record.world import build
from mlb_env.spec.base import LANGS
from mlb_env.spec.scenario import ChoiceItem, ExtractionItem, NormalisationItem, OpenItem

DATASETS = {
    "MedKQA": {"CMExam", "MAExam"},
    "MedSE": {"GeneralSafety", "MASafety", "MACompliance", "MAEthic", "MAHalt"},
    "MedRU": {"CHIP-CDN", "CMeEE", "CHIP-CDEE", "CMeIE", "MAEESymp", "MAEEDisease", "MAEEMedic", "MAEEOper"},
    "SmartServ": {"MAKnowledge", "MAGuidance", "MAReport", "MAMedication"},
    "SmartCare": {"MAInspection", "MADiagnosis", "MARecord"},
}


def test_the_22_datasets_stand_under_their_mlb_names(catalog: Catalog) -> None:
    assert {d: {n for n, s in catalog.datasets.items() if s.dimension == d} for d in DATASETS} == DATASETS


def test_64_specialties() -> None:
    assert sum(d.kind == "specialty" for d in codes.departments().values()) == 64


def test_at_least_8_items_in_each_static_and_5_scenarios_in_each_interactive_dataset(catalog: Catalog) -> None:
    sizes = Counter(p.dataset.name for p in catalog.select())
    assert all(sizes[n] >= (5 if s.form == "interactive" else 8) for n, s in catalog.datasets.items()), sizes


def test_everything_is_bilingual_with_linked_ids(catalog: Catalog) -> None:
    assert all(set(p.langs) == set(LANGS) for p in catalog.select())
    ids = [p.id for p in catalog.select()]
    assert len(ids) == len(set(ids))


def test_nothing_claims_a_review_and_everything_names_a_source(catalog: Catalog) -> None:
    for play in catalog.select():
        one = play.case or play.item
        assert one is not None and one.review == () and one.provenance.sources and one.provenance.author_kind == "model-assisted"


def test_cases_are_complete(catalog: Catalog) -> None:
    assert len(catalog.cases) >= 6
    for case in catalog.cases.values():
        assert check_case(case) == []


def test_dev_and_test_are_split_by_family(catalog: Catalog) -> None:
    splits: dict[str, set[str]] = {}
    for play in catalog.select():
        splits.setdefault(play.family, set()).add(play.split)
    assert all(len(s) == 1 for s in splits.values()), {f: s for f, s in splits.items() if len(s) > 1}


@pytest.mark.parametrize("dataset", ["CMExam", "MAExam", "MASafety", "MAHalt"])
def test_choice_items_have_no_pattern_that_pays(catalog: Catalog, dataset: str) -> None:
    items = [p.item for p in catalog.plays[dataset]]
    assert all(isinstance(i, ChoiceItem) for i in items)
    single = [i for i in items if isinstance(i, ChoiceItem) and i.form == "single"]
    assert max(Counter(i.answer[0] for i in single).values()) <= 0.34 * len(single)
    for lang in LANGS:
        longest = sum(max(range(len(i.options[lang])), key=lambda k, i=i: len(i.options[lang][k])) == ord(i.answer[0]) - 65 for i in single)  # type: ignore[misc]
        assert longest <= 0.4 * len(single)
    for item in items:
        assert isinstance(item, ChoiceItem) and len(item.answer) < len(item.options["zh"]) == len(item.options["en"])


def test_gold_of_extraction_stands_in_the_text(catalog: Catalog) -> None:
    def strings(value: object) -> list[str]:
        if isinstance(value, str):
            return [value]
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        return [s for v in inner for s in strings(v)]

    relations, states = set(catalog.datasets["CMeIE"].values), {"", "negated", "uncertain"}
    for play in catalog.select(dimension=["MedRU"]):
        if isinstance(play.item, ExtractionItem):
            for lang in LANGS:
                gold = play.item.gold[lang]
                assert gold_items(play.dataset.extraction or "", gold)
                for text in strings(gold):
                    assert text in play.item.text[lang] or text in relations | states, (play.id, text)


def test_normalisation_has_at_least_20_candidates_and_the_dump_stays_low(catalog: Catalog) -> None:
    for play in catalog.plays["CHIP-CDN"]:
        assert isinstance(play.item, NormalisationItem)
        for lang in LANGS:
            lines = play.item.candidates[lang]
            assert len(lines) >= 20 and len(set(lines)) == len(lines)


def test_open_safety_items_say_what_a_judge_needs(catalog: Catalog) -> None:
    for name in ("GeneralSafety", "MACompliance", "MAEthic"):
        for play in catalog.plays[name]:
            assert isinstance(play.item, OpenItem) and play.item.expect and play.item.category
            assert all(c.by == "meaning" for c in rubric_of(play).criteria)


def test_every_rubric_is_executable_and_silence_can_earn_nothing(interactive: list[Play]) -> None:
    for play in interactive:
        rubric = rubric_of(play)
        assert len({c.id for c in rubric.criteria}) == len(rubric.criteria), play.id
        assert all((c.rule is not None and c.rule.name in RULES) == (c.by == "rule") for c in rubric.criteria)
        assert any(c.kind == "outcome" and c.by == "rule" for c in rubric.criteria), play.id


@pytest.mark.parametrize("lang", LANGS)
def test_charts_are_fhir_r4(catalog: Catalog, lang: str) -> None:
    from fhir.resources.R4B import get_fhir_model_class

    for case in catalog.cases.values():
        for reference, resource in build(case, lang).items():  # type: ignore[arg-type]
            get_fhir_model_class(resource["resourceType"]).model_validate_json(json.dumps(resource)), reference


def test_the_lexicon_covers_every_topic_and_its_own_questions() -> None:
    assert set(lexicon().topics) == set(codes.topics()) and set(ACTS) <= set(lexicon().acts)
    cues = matcher()
    for topic in codes.topics():
        for lang in LANGS:
            assert hear(ask_for(topic, lang), cues).asks == (topic,), (topic, lang)


def test_a_cue_under_two_topics_really_asks_both() -> None:
    """Such as 大小便 or "weakness or numbness": few, and a question with it is heard as both."""
    cues, shared = matcher(), 0
    for lang in LANGS:
        topics: dict[str, set[str]] = {}
        for topic, entry in lexicon().topics.items():
            for cue in getattr(entry, lang):
                topics.setdefault(cue.lower(), set()).add(topic)
        for cue, several in topics.items():
            if len(several) > 1:
                shared += 1
                assert set(hear(f"{cue}?", cues).asks) == several, cue
    assert shared <= 30
