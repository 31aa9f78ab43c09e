"""The statistics, against figures computed by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlb_env.bench.stats import (
    Tally,
    ci95,
    detectable,
    holm,
    mean,
    pass_at_k,
    pass_hat_k,
    sign_flip,
    standard_error,
    t_quantile,
    wilson,
)
from mlb_env.bench.summary import Row, Summary, summarise
from mlb_env.spec.rubric import Counts, Harm, Score
from mlb_env.spec.trajectory import Usage


def row(
    scenario: str, score: Score | float | None, *, dataset: str = "CMExam", dimension: str = "MedKQA", family: str = "",
    trial: int = 0, usage: dict[str, Usage] | None = None, lang: str = "en", stop: str = "concluded",
) -> Row:  # fmt: skip
    if not isinstance(score, Score):
        score = Score(value=score, criteria_judged=0.0 if score is None else 1.0)
    return Row(f"{scenario}.{lang}.{trial}", scenario, dataset, dimension, lang, trial, family or scenario, score, usage or {}, stop)


def failed(reason: str = "no endpoint") -> Score:
    return Score(value=None, ungraded=reason)


def extracted(tp: int, fp: int, fn: int, lenient_tp: int) -> Score:
    missed = tp + fn - lenient_tp
    counts = Counts(tp=tp, fp=fp, fn=fn, lenient_tp=lenient_tp, lenient_fp=tp + fp - lenient_tp, lenient_fn=missed)
    return Score(value=2 * tp / (2 * tp + fp + fn) if tp + fp + fn else 1.0, criteria_judged=1.0, counts=counts)


# --- scores -------------------------------------------------------------------------------------------------------------


def test_a_dataset_is_the_mean_of_its_items_and_an_item_the_mean_of_its_trials() -> None:
    rows = [row("a", 1.0), row("a", 0.0, trial=1), row("b", 1.0), row("b", 1.0, trial=1)]
    assert summarise(rows, trials=2).datasets["CMExam"].score == 0.75


def test_an_ungraded_trial_is_left_out_of_its_item_and_its_item_weighs_as_before() -> None:
    rows = [row("a", 1.0), row("a", failed(), trial=1), row("b", 0.0), row("b", 0.0, trial=1)]
    group = summarise(rows, trials=2).datasets["CMExam"]
    assert (group.score, group.n, group.scored, group.ungraded) == (0.5, 4, 3, 1)


def test_an_extraction_dataset_pools_its_counts_with_the_lenient_figure_beside() -> None:
    rows = [row("a", extracted(9, 1, 0, 9), dataset="CMeEE", dimension="MedRU"),
            row("b", extracted(0, 1, 4, 2), dataset="CMeEE", dimension="MedRU")]  # fmt: skip
    group = summarise(rows, trials=1).datasets["CMeEE"]
    assert group.score == pytest.approx(2 * 9 / (2 * 9 + 2 + 4), abs=1e-6)  # not the mean of 0.947 and 0
    lenient_tp, lenient_fp, lenient_fn = 11, 10 + 1 - 11, 13 - 11
    assert group.score_lenient == pytest.approx(2 * lenient_tp / (2 * lenient_tp + lenient_fp + lenient_fn), abs=1e-6)


def test_empty_gold_and_an_empty_answer_are_a_full_score() -> None:
    group = summarise([row("a", extracted(0, 0, 0, 0))], trials=1).datasets["CMExam"]
    assert group.score == 1.0


def test_dimensions_average_datasets_and_the_whole_averages_dimensions_whatever_their_size() -> None:
    rows = [row("a", 1.0), row("b", 0.0, dataset="MAExam"), row("c", 0.0, dataset="MAExam"),
            row("d", 0.2, dataset="MAReport", dimension="SmartServ")]  # fmt: skip
    summary = summarise(rows, trials=1)
    assert summary.dimensions["MedKQA"].score == 0.5
    assert summary.overall.score == pytest.approx(0.35)
    assert list(summary.datasets) == ["CMExam", "MAExam", "MAReport"]


def test_what_nobody_judged_has_no_score_and_is_not_ungraded() -> None:
    summary = summarise([row("a", None), row("b", 1.0, dataset="MAExam")], trials=1)
    group = summary.datasets["CMExam"]
    assert (group.score, group.ci95, group.ungraded, group.criteria_judged) == (None, None, 0, 0.0)
    assert (summary.coverage, summary.overall.score, summary.overall.criteria_judged) == (1.0, 1.0, 0.5)


def test_a_failure_lowers_coverage_and_no_score() -> None:
    summary = summarise([row("a", 1.0), row("b", failed("no endpoint")), row("c", failed("no endpoint")), row("d", 1.0)], trials=1)
    assert (summary.coverage, summary.overall.score, summary.overall.ungraded) == (0.5, 1.0, 2)
    assert summary.overall.criteria_judged == 1.0
    assert summary.failures == {"no endpoint": 2}


def test_a_run_in_which_everything_failed_has_no_score_at_all() -> None:
    summary = summarise([row("a", failed())], trials=1)
    assert (summary.coverage, summary.overall.score, summary.overall.ci95) == (0.0, None, None)


def test_both_languages_of_a_scenario_are_two_items_of_one_family() -> None:
    group = summarise([row("a", 1.0, lang="en"), row("a", 0.0, lang="zh")], trials=1).datasets["CMExam"]
    assert (group.score, group.clusters, group.ci95) == (0.5, 1, None)


# --- harms, usage, trials -----------------------------------------------------------------------------------------------


def harmful(*grades: str, chances: dict[str, int]) -> Score:
    harms = tuple(Harm(grade=g, kind="act" if i else "omission", criterion=f"c{i}") for i, g in enumerate(grades))  # type: ignore[arg-type]
    return Score(value=0.0, criteria_judged=1.0, harms=harms, opportunities=chances)


def test_harms_are_counted_per_episode_with_the_opportunity() -> None:
    rows = [row("a", harmful("S4", "S4", chances={"S4": 3})), row("b", harmful(chances={"S4": 1})), row("c", 1.0),
            row("d", harmful("S2", chances={"S2": 1}))]  # fmt: skip
    harms = summarise(rows, trials=1).harms
    s4 = harms["S4"]
    assert (s4.count, s4.opportunities, s4.episodes, s4.harmed, s4.per_100) == (2, 4, 2, 1, 50.0)
    assert (s4.acts, s4.omissions) == (1, 1)
    assert s4.ci95 is not None and s4.ci95[0] == pytest.approx(9.4531, abs=1e-3) and s4.ci95[1] == pytest.approx(90.5469, abs=1e-3)
    assert set(harms) == {"S4", "S2"}


def test_harms_of_a_failed_episode_are_not_counted() -> None:
    broken = Score(value=None, ungraded="x", harms=(Harm(grade="S4", kind="act", criterion="c"),), opportunities={"S4": 1})
    assert summarise([row("a", broken)], trials=1).harms == {}


def test_usage_is_summed_by_role_and_a_cost_is_stated_only_where_all_are_known() -> None:
    known, unknown = (Usage(calls=2, prompt_tokens=10, completion_tokens=5, cost=c) for c in (0.25, None))
    spent = summarise([row("a", 1.0, usage={"agent": known}), row("b", 1.0, usage={"agent": known})], trials=1).usage["agent"]
    assert (spent.calls, spent.tokens, spent.cost) == (4, 30, 0.5)
    assert summarise([row("a", 1.0, usage={"agent": known}), row("b", 1.0, usage={"agent": unknown})], trials=1).usage[
        "agent"
    ].cost is None  # fmt: skip


def test_pass_at_k_and_pass_hat_k_over_trials() -> None:
    rows = [row("a", s, trial=i) for i, s in enumerate((1.0, 1.0, 0.0, 0.5))]
    group = summarise(rows, trials=4).datasets["CMExam"]
    assert group.pass_at_k == {"1": 0.5, "2": pytest.approx(1 - 1 / 6, abs=1e-6), "3": 1.0, "4": 1.0}
    assert group.pass_hat_k == {"1": 0.5, "2": pytest.approx(1 / 6, abs=1e-6), "3": 0.0, "4": 0.0}
    assert summarise(rows[:1], trials=1).datasets["CMExam"].pass_at_k is None


@given(st.integers(1, 12), st.data())
def test_pass_hat_k_never_exceeds_pass_at_k(n: int, data: st.DataObject) -> None:
    hits, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    assert 0 <= pass_hat_k(hits, n, k) <= pass_at_k(hits, n, k) <= 1


# --- intervals ----------------------------------------------------------------------------------------------------------


def tally(*scores: float, clusters: int | None = None) -> Tally:
    made = Tally()
    for i, score in enumerate(scores):
        made.add(f"f{i % clusters if clusters else i}", score, 1.0)
    return made


def test_an_interval_needs_two_clusters() -> None:
    assert ci95([[tally(0.0, 1.0, clusters=1)]]) is None
    assert ci95([[tally(0.0, 1.0)]]) is not None
    assert ci95([[]]) is None


def test_the_interval_is_near_the_normal_one_with_many_independent_items() -> None:
    n = 400
    interval = ci95([[tally(*([1.0, 0.0] * (n // 2)))]])
    assert interval is not None
    half = 1.96 * math.sqrt(0.25 / n)
    assert interval[0] == pytest.approx(0.5 - half, abs=0.01) and interval[1] == pytest.approx(0.5 + half, abs=0.01)


def test_items_of_one_family_do_not_count_as_independent() -> None:
    scores = [1.0] * 100 + [0.0] * 100
    alone = ci95([[tally(*scores)]])
    together = Tally()
    for i, score in enumerate(scores):
        together.add(f"f{i // 25}", score, 1.0)  # 8 families, each all right or all wrong
    clustered = ci95([[together]])
    assert alone is not None and clustered is not None
    assert clustered[1] - clustered[0] > 3 * (alone[1] - alone[0])


def test_the_same_figures_come_out_in_any_order_of_adding() -> None:
    one, other = Tally(), Tally()
    parts = [(f"f{i}", i / 7, 1.0) for i in range(8)]
    for part in parts:
        one.add(*part)
    for part in reversed(parts):
        other.add(*part)
    assert ci95([[one]]) == ci95([[other]])


def test_a_family_that_several_datasets_share_is_drawn_for_all_of_them_together() -> None:
    up, down = Tally(), Tally()
    for i in range(20):
        up.add(f"f{i}", i % 2, 1.0)
        down.add(f"f{i}", 1 - i % 2, 1.0)  # what one loses the other wins: the mean never moves
    assert ci95([[up, down]]) == pytest.approx((0.5, 0.5))


def test_wilson_is_the_textbook_interval() -> None:
    assert wilson(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert wilson(5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)
    assert wilson(0, 0) is None


def test_mean_skips_what_is_not_there() -> None:
    assert mean([1.0, None, 0.0]) == 0.5
    assert mean([None]) is None


# --- paired -------------------------------------------------------------------------------------------------------------


def test_sign_flip_is_exact_with_few_clusters() -> None:
    assert sign_flip({f"f{i}": 1.0 for i in range(5)}) == 2 / 32  # only all plus and all minus are as far out
    assert sign_flip({"a": 1.0, "b": -1.0}) == 1.0
    assert sign_flip({"a": 0.0}) == 1.0


def test_sign_flip_finds_a_clear_difference_among_many_and_none_where_there_is_none() -> None:
    assert sign_flip({f"f{i}": 1.0 for i in range(40)}) < 0.001
    assert sign_flip({f"f{i}": (-1.0) ** i for i in range(40)}) == 1.0


def test_holm_corrects_step_by_step_and_keeps_the_order_of_the_input() -> None:
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


# --- groups, micro mean -------------------------------------------------------------------------------------------------


def of_kind(scenario: str, score: float | None, *, dataset: str = "CMExam", dimension: str = "MedKQA", **kind: str) -> Row:
    return replace(row(scenario, score, dataset=dataset, dimension=dimension), **kind)  # type: ignore[arg-type]


def test_a_specialty_is_scored_as_the_whole_over_its_own_episodes() -> None:
    rows = [of_kind("a", 1.0, specialty="cardiology"), of_kind("b", 0.5, specialty="cardiology"),
            of_kind("c", 0.0, specialty="cardiology", dataset="MAReport", dimension="SmartServ"),
            of_kind("d", 0.25, specialty="tcm")]  # fmt: skip
    groups = summarise(rows, trials=1).groups["specialty"]
    assert list(groups) == ["cardiology", "tcm"]
    assert groups["cardiology"] == summarise(rows[:3], trials=1).overall  # the mean of 0.75 and 0, not of three items
    assert (groups["cardiology"].score, groups["cardiology"].n, groups["tcm"].score, groups["tcm"].ci95) == (0.375, 3, 0.25, None)


def test_an_episode_without_a_patient_belongs_to_no_persona() -> None:
    rows = [of_kind("a", 1.0), of_kind("b", 0.0, persona="angry", difficulty="high"), of_kind("c", 1.0, difficulty="low")]
    groups = summarise(rows, trials=1).groups
    assert {v: g.n for v, g in groups["persona"].items()} == {"angry": 1}
    assert list(groups["difficulty"]) == ["low", "high"]  # from easy to hard
    assert "persona" not in summarise(rows[:1], trials=1).groups


def test_micro_lets_every_item_weigh_the_same_where_the_overall_lets_every_dimension() -> None:
    rows = [row("a", 1.0), row("b", 1.0), row("c", 1.0), row("d", 0.0, dataset="MAReport", dimension="SmartServ")]
    summary = summarise(rows, trials=1)
    assert summary.micro is not None
    assert (summary.overall.score, summary.micro.score, summary.micro.clusters) == (0.5, 0.75, 4)


def test_micro_takes_an_extraction_item_with_its_own_f1_and_an_item_of_trials_once() -> None:
    pooled = [row("a", extracted(9, 1, 0, 9), dataset="CMeEE", dimension="MedRU"), row("b", extracted(0, 1, 4, 2), dataset="CMeEE", dimension="MedRU")]
    micro = summarise(pooled, trials=1).micro
    assert micro is not None and micro.score == pytest.approx((18 / 19 + 0) / 2, abs=1e-6) and micro.score_lenient is None
    micro = summarise([row("a", 1.0), row("a", 0.0, trial=1), row("b", failed()), row("c", 1.0)], trials=2).micro
    assert micro is not None and (micro.score, micro.n, micro.scored, micro.ungraded) == (0.75, 4, 3, 1)


def test_a_summary_of_the_first_version_can_still_be_read() -> None:
    old = summarise([row("a", 1.0), row("b", 0.0)], trials=1).model_dump(mode="json", exclude={"micro", "groups", "turns", "detectable"})
    for group in (old["overall"], *old["dimensions"].values(), *old["datasets"].values()):
        del group["se"]
    assert Summary.model_validate(old).groups == {}


# --- power --------------------------------------------------------------------------------------------------------------


def test_the_standard_error_of_a_mean_of_single_items_is_the_textbook_one() -> None:
    tally = Tally()
    values = [0.0, 0.5, 1.0, 1.0]
    for i, value in enumerate(values):
        tally.add(f"f{i}", value, 1.0)
    mean_ = sum(values) / 4
    assert standard_error([[tally]]) == pytest.approx(math.sqrt(sum((v - mean_) ** 2 for v in values) / 3 / 4))


def test_items_of_one_family_move_the_standard_error_together() -> None:
    tally = Tally()
    for family, value in (("a", 1.0), ("a", 1.0), ("b", 0.0), ("b", 0.5)):
        tally.add(family, value, 1.0)
    # mean 0.625; the families move it by (2 - 1.25)/4 and (0.5 - 1.25)/4; SE^2 = 2/1 * (0.1875^2 + 0.1875^2)
    assert standard_error([[tally]]) == pytest.approx(0.375)


def test_a_family_that_stands_in_two_dimensions_is_one_family_in_the_standard_error() -> None:
    one, two = Tally(), Tally()
    for family, value in (("a", 1.0), ("b", 0.0)):
        one.add(family, value, 1.0)
        two.add(family, value, 1.0)
    alone, both = standard_error([[one]]), standard_error([[one], [two]])
    assert alone == pytest.approx(0.5) and both == pytest.approx(alone)  # nothing new is known of the families


def test_the_standard_error_agrees_with_the_bootstrap() -> None:
    rng, tally = Random(1), Tally()
    for i in range(400):
        tally.add(f"f{i}", rng.random(), 1.0)
    interval, se = ci95([[tally]]), standard_error([[tally]])
    assert interval is not None and se is not None and (interval[1] - interval[0]) / (2 * 1.96) == pytest.approx(se, rel=0.1)


@pytest.mark.parametrize(("p", "df", "known"), [(0.975, 1, 12.7062), (0.975, 2, 4.3027), (0.975, 5, 2.5706), (0.8, 5, 0.9195),
                                                (0.8, 10, 0.8791), (0.975, 30, 2.0423), (0.975, 100, 1.9840), (0.975, 1000, 1.9600)])  # fmt: skip
def test_students_t_is_that_of_the_printed_tables(p: float, df: int, known: float) -> None:
    assert t_quantile(p, df) == pytest.approx(known, abs=5e-5)


def test_the_detectable_difference_is_that_of_a_hand_computation() -> None:
    assert detectable(0.05, 6) == pytest.approx((2.5706 + 0.9195) * 0.05, abs=1e-5)  # t[0.975] and t[0.8] with 5 degrees of freedom
    assert detectable(0.05, 1000) == pytest.approx((1.95996 + 0.84162) * 0.05, abs=1e-5)
    assert detectable(0.0, 6) is None and detectable(None, 1) is None


def test_the_detectable_difference_is_found_four_times_in_five() -> None:
    rng, families = Random(7), 400
    found = 0
    for _ in range(300):
        truth = detectable(1 / math.sqrt(families), families) or 0.0
        drawn = [rng.gauss(truth, 1.0) for _ in range(families)]
        middle = sum(drawn) / families
        se = math.sqrt(sum((d - middle) ** 2 for d in drawn) / (families - 1) / families)
        found += abs(middle / se) > t_quantile(0.975, families - 1)
    assert 0.74 < found / 300 < 0.86


def test_a_run_tells_what_two_runs_of_its_size_can_tell_apart() -> None:
    summary = summarise([row("a", 1.0), row("b", 0.0), row("c", 1.0)], trials=1)
    assert summary.overall.se == pytest.approx(1 / 3, abs=1e-6)
    assert summary.detectable == pytest.approx((4.3027 + 1.0607) * math.sqrt(2) / 3, abs=1e-4)
    assert summarise([row("a", 1.0), row("b", 1.0)], trials=1).detectable is None  # all alike: nothing is known of their spread
