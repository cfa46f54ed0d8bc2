"""Paired intervals and tests, against scipy and statsmodels, and on degenerate data."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.power import TTestPower
from statsmodels.stats.weightstats import DescrStatsW

from audit.statistics.paired import (
    fieller_ratio,
    paired_t,
    probability_of_improvement,
    sd_interval,
    seeds_needed,
    sign_flip,
    sign_test,
    simultaneous_interval,
    tost,
)

DIFFERENCES = np.array([-0.021, -0.013, -0.034, 0.004, -0.018, -0.027, -0.009])


def test_paired_t_agrees_with_scipy() -> None:
    ours, theirs = paired_t(DIFFERENCES, 0.9), stats.ttest_1samp(DIFFERENCES, 0.0)
    assert ours.p_value == pytest.approx(theirs.pvalue, rel=1e-12)
    assert ours.interval == pytest.approx(tuple(theirs.confidence_interval(0.9)), rel=1e-12)
    assert (ours.estimate, ours.sd, ours.n) == pytest.approx((DIFFERENCES.mean(), DIFFERENCES.std(ddof=1), 7))


def test_paired_t_keeps_its_precision_for_tiny_p_values() -> None:
    values = 1.0 + 1e-3 * np.sin(np.arange(20.0))
    assert 0.0 < paired_t(values, 0.95).p_value == pytest.approx(stats.ttest_1samp(values, 0.0).pvalue, rel=1e-9)


def test_constant_differences_are_not_testable_rather_than_significant() -> None:
    for values in ([0.1] * 5, [0.3, 0.1 + 0.2, 0.3, 0.3]):
        result = paired_t(values, 0.95)
        assert math.isnan(result.p_value)
        assert all(map(math.isnan, result.interval))
        assert result.sd == 0.0
        assert math.isnan(tost(values, 1.0))


def test_differences_that_are_all_zero_show_no_difference() -> None:
    assert paired_t(np.zeros(5), 0.95).p_value == 1.0
    assert math.isnan(tost(np.zeros(5), 1.0))
    assert sign_flip(np.zeros(5), np.random.default_rng(0)).p_value == 1.0


@pytest.mark.parametrize("values", [[], [0.2]])
def test_fewer_than_two_differences_give_no_interval(values: list[float]) -> None:
    result = paired_t(values, 0.95)
    assert math.isnan(result.p_value)
    assert all(map(math.isnan, result.interval))
    assert math.isnan(tost(values, 1.0))
    assert all(map(math.isnan, sd_interval(values, 0.95).interval))
    assert result.n == len(values)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_failed_runs_are_refused_rather_than_dropped(bad: float) -> None:
    values = [0.1, bad, 0.2]
    rng = np.random.default_rng(0)
    for call in (
        lambda: paired_t(values, 0.95),
        lambda: tost(values, 1.0),
        lambda: sign_flip(values, rng),
        lambda: sd_interval(values, 0.95),
    ):
        with pytest.raises(ValueError, match="finite"):
            call()
    with pytest.raises(ValueError, match="NaN"):
        probability_of_improvement([math.nan, 1.0], [1.0, 1.0], 0.95)


def test_simultaneous_interval_is_the_t_interval_at_the_divided_level() -> None:
    assert simultaneous_interval(DIFFERENCES, 0.95, 10) == pytest.approx(paired_t(DIFFERENCES, 0.995).interval)
    with pytest.raises(ValueError, match="comparisons"):
        simultaneous_interval(DIFFERENCES, 0.95, 0)


@pytest.mark.parametrize("margin", [0.02, 0.03, 0.1])
def test_tost_agrees_with_statsmodels(margin: float) -> None:
    assert tost(DIFFERENCES, margin) == pytest.approx(DescrStatsW(DIFFERENCES).ttost_mean(-margin, margin)[0])
    with pytest.raises(ValueError, match="margin"):
        tost(DIFFERENCES, 0.0)


def test_sign_flip_counts_every_flip_when_it_can() -> None:
    flips = np.array(np.meshgrid(*[[-1.0, 1.0]] * 7)).reshape(7, -1)
    means = np.abs(DIFFERENCES @ flips) / 7
    expected = (means >= abs(DIFFERENCES.mean()) - 1e-15).mean()
    result = sign_flip(DIFFERENCES, np.random.default_rng(0))
    assert result.exact
    assert result.p_value == pytest.approx(expected)
    assert result.smallest_p == 2 / 2**7


def test_sign_flip_says_how_small_its_p_can_get() -> None:
    rng = np.random.default_rng(0)
    five = sign_flip(np.array([1.0, 1.1, 0.9, 1.2, 0.8]), rng)
    assert five.p_value == five.smallest_p == 0.0625
    many = sign_flip(1.0 + 0.01 * rng.normal(size=30), rng)
    assert not many.exact
    assert many.p_value == many.smallest_p == pytest.approx(2 / 10_000)
    assert sign_flip([0.5], rng).p_value == 1.0


def test_sampled_sign_flips_follow_the_generator() -> None:
    values = np.random.default_rng(1).normal(0.3, 1.0, 25)
    first, again, other = (sign_flip(values, np.random.default_rng(seed)).p_value for seed in (5, 5, 6))
    assert first == again != other
    assert first == pytest.approx(paired_t(values, 0.95).p_value, abs=0.03)


def test_sign_test_is_the_binomial_test() -> None:
    assert sign_test(9, 1) == pytest.approx(2 * 11 / 1024)
    assert sign_test(3, 3) == 1.0
    assert sign_test(0, 0) == 1.0
    with pytest.raises(ValueError, match="counts"):
        sign_test(-1, 3)


def test_sd_interval_scales_with_the_data_and_narrows_with_more_of_them() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=10)
    one, ten = sd_interval(values, 0.95), sd_interval(10.0 * values + 3.0, 0.95)
    assert ten.interval == pytest.approx(tuple(10.0 * limit for limit in one.interval))
    assert one.interval[0] < one.estimate < one.interval[1]
    wide, narrow = (sd_interval(rng.normal(size=n), 0.95) for n in (5, 200))
    assert wide.interval[1] / wide.interval[0] > 3.0 * narrow.interval[1] / narrow.interval[0]


def test_sd_interval_widens_where_the_sample_shows_heavier_tails_than_assumed() -> None:
    values = np.r_[np.linspace(-1, 1, 19), 30.0]
    factor = math.exp(1.959964 * math.sqrt(stats.kurtosis(values, bias=False) / 20 + 2 / 19) / 2)
    assert sd_interval(values, 0.95).interval[1] == pytest.approx(values.std(ddof=1) * factor, rel=1e-6)


def test_probability_of_improvement_has_the_clopper_pearson_interval_of_its_wins() -> None:
    candidate, baseline = np.arange(10.0), np.arange(10.0) + np.r_[np.ones(8), -np.ones(2)]
    result = probability_of_improvement(candidate, baseline, 0.95)
    assert result.estimate == 0.8
    assert result.interval == pytest.approx(tuple(stats.binomtest(8, 10).proportion_ci(0.95)))


def test_ties_count_half_and_widen_the_interval_both_ways() -> None:
    result = probability_of_improvement([1, 1, 1, 1], [2, 2, 1, 0], 0.95)
    assert result.estimate == 0.625
    assert result.interval[0] == pytest.approx(stats.binomtest(2, 4).proportion_ci(0.95).low)
    assert result.interval[1] == pytest.approx(stats.binomtest(3, 4).proportion_ci(0.95).high)


def test_a_failed_run_counts_as_a_lost_pair() -> None:
    assert probability_of_improvement([1.0, math.inf], [2.0, 2.0], 0.95).estimate == 0.5
    assert probability_of_improvement([0.0] * 3, [1.0] * 3, 0.95).interval[1] == 1.0
    assert math.isnan(probability_of_improvement([], [], 0.95).estimate)


@pytest.mark.parametrize(("sd", "alpha"), [(0.05, 0.05), (0.05, 0.05 / 60), (0.01, 0.05 / 60)])
def test_seeds_needed_is_the_first_size_with_the_power(sd: float, alpha: float) -> None:
    n = seeds_needed(sd, 0.02, 0.8, alpha, 1000)
    assert n is not None

    def power(size: int) -> float:
        return float(TTestPower().power(0.02 / sd, size, alpha / 2, alternative="larger"))

    assert power(n - 1) < 0.8 <= power(n)


def test_seeds_needed_for_a_medium_effect_is_the_textbook_number() -> None:
    assert seeds_needed(2.0, 1.0, 0.8, 0.05, 1000) == 34


def test_seeds_needed_stops_at_the_cap_and_refuses_an_sd_of_zero() -> None:
    assert seeds_needed(2.0, 1.0, 0.8, 0.05, 34) == 34
    assert seeds_needed(2.0, 1.0, 0.8, 0.05, 33) is None
    assert seeds_needed(1e-9, 1.0, 0.8, 0.05, 200) == 2
    with pytest.raises(ValueError, match="positive"):
        seeds_needed(0.0, 1.0, 0.8, 0.05, 200)


def test_fieller_limits_solve_the_t_equation() -> None:
    result = fieller_ratio(1.0, 0.2, 2.0, 0.3, 9, 0.95)
    assert result.kind == "bounded"
    quantile = stats.t.ppf(0.975, 9)
    for limit in result.interval:
        distance = abs(1.0 - limit * 2.0) / math.sqrt(0.2**2 + limit**2 * 0.3**2)
        assert distance == pytest.approx(quantile)
    assert result.interval[0] < result.estimate == 0.5 < result.interval[1]


def test_fieller_says_when_the_ratio_is_unbounded() -> None:
    outside = fieller_ratio(1.0, 0.1, 0.1, 0.2, 9, 0.95)
    assert outside.kind == "outside"
    assert outside.contains(10.0)
    assert not outside.contains(sum(outside.interval) / 2)
    assert outside.contains(outside.interval[1] + 1.0)
    unbounded = fieller_ratio(0.05, 0.2, 0.1, 0.2, 9, 0.95)
    assert unbounded.kind == "unbounded"
    assert unbounded.contains(1e9)
    assert all(map(math.isnan, unbounded.interval))


def test_fieller_without_errors_is_the_ratio_itself() -> None:
    result = fieller_ratio(1.0, 0.0, 3.0, 0.0, math.inf, 0.95)
    assert result.kind == "bounded"
    assert result.interval == pytest.approx((1 / 3, 1 / 3))
    assert fieller_ratio(1.0, 0.1, 0.0, 0.0, 5, 0.95).kind == "unbounded"
    with pytest.raises(ValueError, match="finite"):
        fieller_ratio(math.nan, 0.1, 1.0, 0.1, 5, 0.95)


@pytest.mark.parametrize("level", [0.0, 1.0, 95.0])
def test_a_level_outside_zero_to_one_is_refused(level: float) -> None:
    with pytest.raises(ValueError, match="level"):
        paired_t(DIFFERENCES, level)
