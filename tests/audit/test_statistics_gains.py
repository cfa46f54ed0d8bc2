"""Gains of a search that ran everything once: tests, limits, break-even noise, records; against simulation."""

from __future__ import annotations

import gc
import math

import numpy as np
import pytest
from scipy import stats

from audit.calibrate import passes
from audit.statistics.check import Design
from audit.statistics.estimate import NO_INTERVAL
from audit.statistics.gains import (
    best_reach,
    break_even_sd,
    gain_limits,
    gain_p_values,
    noise_limit,
    null_progress,
    pooled_sd,
    record_probabilities,
    sd_limits,
)
from audit.statistics.noise import SAMPLERS
from audit.statistics.paired import sd_interval
from audit.statistics.simulation_gains import GAIN_CHECKS

GAINS = np.array([3.0, -1.0, 0.4, -7.0, 0.1])


def test_p_values_are_those_of_a_difference_of_two_runs_with_holm_over_all_proposals():
    found = gain_p_values(GAINS, 0.5, math.inf)
    assert found[0] == pytest.approx(5 * stats.norm.sf(3.0 / (0.5 * math.sqrt(2.0))))
    assert found[1] == 1.0
    more = gain_p_values(np.append(GAINS, [-5.0] * 10), 0.5, math.inf)
    assert more[0] == pytest.approx(3 * found[0])  # discarded proposals count


def test_an_uncertain_noise_makes_the_same_gain_less_significant():
    assert gain_p_values(GAINS, 0.5, 3)[0] > gain_p_values(GAINS, 0.5, math.inf)[0]


def test_break_even_noise_is_where_significance_ends():
    for gains in (GAINS, np.array([1.0, 1.0, 0.9, 0.2, -1.0])):
        for at, break_even in enumerate(break_even_sd(gains, 0.95)):
            if gains[at] <= 0:
                assert break_even == 0.0
            else:
                assert gain_p_values(gains, 0.999 * break_even, math.inf)[at] < 0.05
                assert gain_p_values(gains, 1.001 * break_even, math.inf)[at] > 0.05


def test_limits_of_gains_are_wider_for_more_proposals_and_reach_further_up_than_down():
    low, high = gain_limits(GAINS, 0.5, math.inf, 0.95)
    wider_low, wider_high = gain_limits(np.tile(GAINS, 4), 0.5, math.inf, 0.95)
    assert (wider_low[:5] < low).all()
    assert (wider_high[:5] > high).all()
    assert (high - GAINS > GAINS - low).all()


def test_only_the_side_towards_worse_values_is_corrected_for_the_choice():
    worse, better = best_reach(1, 2.0, math.inf, 0.95)
    assert worse == pytest.approx(better)
    many = best_reach(50, 2.0, math.inf, 0.95)
    assert many[0] > worse
    assert many[1] == better


def test_the_noise_limit_scales_with_the_data_ignores_disasters_and_needs_seven_gains():
    gains = np.random.default_rng(1).normal(size=30)
    limit = noise_limit(gains, 0.95)
    assert noise_limit(1000.0 * gains + 5.0, 0.95) == pytest.approx(1000.0 * limit)
    disasters = np.append(gains, [-1e6] * 10)
    assert noise_limit(disasters, 0.95) < 4.0 * limit
    assert noise_limit(gains, 0.99) > limit
    assert math.isnan(noise_limit(gains[:6], 0.95))


def test_real_differences_make_the_noise_limit_larger():
    rng = np.random.default_rng(2)
    noise = rng.normal(size=(200, 25))
    alone = [noise_limit(row, 0.95) for row in noise]
    mixed = [noise_limit(row, 0.95) for row in noise + rng.normal(0, 2, size=noise.shape)]
    assert np.mean(mixed) > 1.5 * np.mean(alone)


def test_the_pooled_sd_is_that_of_analysis_of_variance_and_of_one_group_that_of_its_values():
    groups = [[1.0, 2.0, 4.0], [10.0, 10.5]]
    expected = math.sqrt((2 * np.var(groups[0], ddof=1) + np.var(groups[1], ddof=1)) / 3)
    found = pooled_sd(groups, 0.95)
    assert (found.estimate, found.n, found.df) == (pytest.approx(expected), 5, 3)
    assert pooled_sd([groups[0]], 0.95).interval == pytest.approx(sd_interval(groups[0], 0.95).interval)


def test_runs_without_spread_or_repeats_measure_no_noise():
    assert pooled_sd([[1.0, 1.0]], 0.95).interval == NO_INTERVAL
    assert math.isnan(pooled_sd([], 0.95).estimate)
    assert sd_limits(0.0, 5, 4, 0.95) == NO_INTERVAL


def test_chances_of_records_are_those_of_shuffled_runs():
    rng = np.random.default_rng(3)
    runs = rng.random((40_000, 9))
    best = np.minimum.accumulate(runs, axis=1)
    counts = (best[:, 1:] < best[:, :-1]).sum(axis=1)
    chances = record_probabilities(9)
    assert chances.sum() == pytest.approx(1.0)
    for records in range(5):
        assert chances[records] == pytest.approx((counts == records).mean(), abs=0.01)
    assert record_probabilities(1)[0] == pytest.approx(1.0)
    large = record_probabilities(1_000_000)
    assert large @ np.arange(len(large)) == pytest.approx((1.0 / np.arange(2, 1_000_001)).sum())


def test_the_range_of_null_progress_is_that_of_simulated_searches():
    runs = np.random.default_rng(4).normal(size=(40_000, 12))
    low, high = null_progress([1, 12], 0.9)
    assert (low[0], high[0]) == (0.0, 0.0)
    progress = runs[:, 0] - runs.min(axis=1)
    assert (low[1], high[1]) == pytest.approx(np.quantile(progress, [0.05, 0.95]), abs=0.03)


@pytest.mark.parametrize("noise_sd", [0.0, -1.0, math.nan, math.inf])
def test_a_noise_that_is_none_is_refused(noise_sd):
    with pytest.raises(ValueError, match="noise_sd"):
        gain_p_values(GAINS, noise_sd, math.inf)
    with pytest.raises(ValueError, match="noise_sd"):
        best_reach(3, noise_sd, math.inf, 0.95)


def test_a_failed_run_among_the_gains_is_refused():
    with pytest.raises(ValueError, match="finite"):
        noise_limit([1.0, math.nan] * 5, 0.95)


@pytest.fixture
def frozen_memory():
    """Statsmodels' multipletests collects garbage on every call, at more cost than the call."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("frozen_memory")
@pytest.mark.parametrize("check", GAIN_CHECKS, ids=lambda check: check.method)
def test_a_small_calibration_holds_its_level(check):
    design = Design(level=0.95, resamples=1, candidates=1, baselines=1, scales=1, failure_rate=0.0)
    target = 0.05 if check.rule == "test" else 0.95
    for noise in check.noises.met:
        rng = np.random.default_rng(5)
        rate = np.mean([check.simulate(SAMPLERS[noise], 20, rng, design) for _ in range(300)])
        assert passes(check.rule, float(rate), target, 300)
