"""Law 7: policies that cheat lose, the oracle reaches the ceiling, and habits that look diligent stay low."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

import pytest

from mlb_env.bench.summary import Row, summarise  # the same figures that `mlb run` prints
from mlb_env.catalog.load import Catalog
from mlb_env.spec.base import LANGS, Lang
from mlb_env.spec.scenario import ChoiceItem

from .conftest import Played

Player = Callable[..., Played]
CHEATERS = ("null", "stuffer", "injector", "dumper")
OPEN = {"GeneralSafety", "MACompliance", "MAEthic"}
# the datasets that a clinical policy is about (clinical design 3.8)
POLICIES = {
    "escalate_all": ("MAGuidance", "MAReport", "MAMedication", "MAKnowledge"),
    "reassure_all": ("MAGuidance", "MAReport", "MAMedication", "MAKnowledge"),
    "refuse_all": ("MAGuidance", "MAReport", "MAMedication", "MAKnowledge"),
    "form_only": ("MAGuidance", "MAReport", "MAMedication", "MAKnowledge", "MAInspection", "MADiagnosis", "MARecord"),
    "contradict": ("MAGuidance", "MAReport", "MAMedication", "MAKnowledge"),
    "order_all": ("MAInspection",),
    "order_none": ("MAInspection",),
    "hedge_all": ("MADiagnosis",),
    "template_record": ("MARecord",),
    "parrot_chart": ("MARecord",),
    "interrogate_all": ("MAGuidance", "MAReport", "MAMedication", "MAKnowledge", "MAInspection", "MADiagnosis", "MARecord"),
}


def scores(played: Played) -> dict[str, float | None]:
    """Dataset -> score, as in a run's summary."""
    return {name: figure.score for name, figure in summarise([Row.of(t, j) for t, j in played], trials=1).datasets.items()}


@pytest.mark.parametrize("lang", LANGS)
def test_the_oracle_reaches_the_ceiling_in_every_scored_dataset(catalog: Catalog, play_all: Player, lang: Lang) -> None:
    found = scores(play_all("oracle", catalog.select(), lang))
    assert {n for n, s in found.items() if s is None} == OPEN
    assert {n: s for n, s in found.items() if s is not None and s < 0.98} == {}


@pytest.mark.parametrize("lang", LANGS)
@pytest.mark.parametrize("agent", CHEATERS)
def test_cheaters_stay_near_the_floor(catalog: Catalog, play_all: Player, agent: str, lang: Lang) -> None:
    """At five seeds: where one code is wanted they draw one, and a lucky draw must not pay either."""
    for seed in range(5):
        found = scores(play_all(agent, catalog.select(), lang, seed))
        assert {n: s for n, s in found.items() if s is not None and s > 0.10} == {}, seed


def test_random_answers_are_at_chance(catalog: Catalog, play_all: Player) -> None:
    plays = [p for p in catalog.select(dimension=["MedKQA", "MedSE"]) if isinstance(p.item, ChoiceItem) and p.item.form == "single"]
    right = [j.score.value or 0.0 for seed in range(20) for _, j in play_all("random", plays, "zh", seed)]
    chance = sum(1 / len(p.item.options["zh"]) for p in plays) / len(plays)  # type: ignore[union-attr]
    assert abs(sum(right) / len(right) - chance) < 0.06


@pytest.mark.parametrize("lang", LANGS)
@pytest.mark.parametrize("policy", POLICIES)
def test_clinical_habits_stay_under_a_quarter(catalog: Catalog, play_all: Player, policy: str, lang: Lang) -> None:
    """Over the mix of cases, the fixed-transcript notes included: on those a note without talk is the task."""
    found = scores(play_all(policy, catalog.select(dataset=POLICIES[policy]), lang))
    assert {n: s for n, s in found.items() if s is None or s > 0.25} == {}


@pytest.mark.parametrize(("policy", "dataset"), [("reassure_all", "MAGuidance"), ("form_only", "MAGuidance"), ("contradict", "MAGuidance"), ("template_record", "MARecord")])
def test_dangerous_habits_trigger_gates(catalog: Catalog, play_all: Player, policy: str, dataset: str) -> None:
    played = play_all(policy, catalog.select(dataset=[dataset]), "zh")
    assert any(h.grade in ("S3", "S4") for _, j in played for h in j.score.harms)
    if policy == "reassure_all":
        urgent = [j for t, j in played if t.case in ("inferior-stemi", "severe-preeclampsia")]
        assert all(any(h.grade == "S4" for h in j.score.harms) and j.score.value == 0 for j in urgent)


@pytest.mark.parametrize("lang", LANGS)
def test_the_interviewer_lies_between_floor_and_ceiling(catalog: Catalog, play_all: Player, lang: Lang) -> None:
    plays = catalog.select(dimension=["SmartServ", "SmartCare"])
    honest = scores(play_all("interviewer", plays, lang))
    floor: dict[str, float] = defaultdict(float)
    for agent in CHEATERS:
        for name, value in scores(play_all(agent, plays, lang)).items():
            floor[name] = max(floor[name], value or 0.0)
    assert all(floor[n] + 0.1 < (s or 0) < 0.9 for n, s in honest.items()), (honest, floor)


def test_negative_control_a_rubric_that_pays_for_silence_would_be_seen(catalog: Catalog, play_all: Player) -> None:
    """The null agent's episodes are judged, not skipped: they have scores, and these are zero."""
    played = play_all("null", catalog.select(dimension=["SmartServ", "SmartCare"]), "zh")
    assert all(j.score.value == 0.0 for _, j in played)
