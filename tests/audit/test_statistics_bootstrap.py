"""Bootstrap intervals: sizes refused, degenerate data, generator honoured."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from audit.statistics.bootstrap import bca, interquartile_mean, interquartile_mean_interval

VALUES = np.random.default_rng(3).gamma(2.0, size=24)


def test_bca_is_refused_under_20_values() -> None:
    with pytest.raises(ValueError, match="20 values, got 19"):
        bca(VALUES[:19], np.mean, 0.95, np.random.default_rng(0), 200)


def test_bca_agrees_with_scipy_and_follows_the_generator() -> None:
    first, again, other = (bca(VALUES, np.mean, 0.9, np.random.default_rng(seed), 500) for seed in (1, 1, 2))
    theirs = stats.bootstrap(
        (VALUES,), np.mean, confidence_level=0.9, n_resamples=500, method="BCa", rng=np.random.default_rng(1)
    ).confidence_interval
    assert first.interval == again.interval == tuple(theirs)
    assert first.interval != other.interval
    assert (first.estimate, first.n) == (VALUES.mean(), 24)


def test_interquartile_mean_leaves_out_a_quarter_at_either_end() -> None:
    assert interquartile_mean([100.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, -50.0]) == 3.5
    assert interquartile_mean([1.0, 2.0, 9.0]) == 4.0
    assert math.isnan(interquartile_mean([]))


def test_interquartile_mean_interval_is_refused_under_10_values() -> None:
    with pytest.raises(ValueError, match="10 values, got 9"):
        interquartile_mean_interval(VALUES[:9], 0.95, np.random.default_rng(0), 200)


def test_interquartile_mean_interval_shrugs_off_an_outlier() -> None:
    wild = VALUES.copy()
    wild[np.argmax(wild)] = 1e6
    tame, robust = (
        interquartile_mean_interval(values, 0.95, np.random.default_rng(0), 2000) for values in (VALUES, wild)
    )
    assert tame.estimate == robust.estimate == interquartile_mean(VALUES)
    assert robust.interval[1] - robust.interval[0] < 3.0 * (tame.interval[1] - tame.interval[0])
    assert tame.interval[0] < tame.estimate < tame.interval[1]


def test_interquartile_mean_interval_follows_the_generator() -> None:
    first, again, other = (
        interquartile_mean_interval(VALUES, 0.95, np.random.default_rng(seed), 300) for seed in (1, 1, 2)
    )
    assert first == again != other


def test_equal_values_give_no_interval_rather_than_a_point() -> None:
    constant, rng = np.full(20, 0.7), np.random.default_rng(0)
    for result in (bca(constant, np.mean, 0.95, rng, 200), interquartile_mean_interval(constant, 0.95, rng, 200)):
        assert result.estimate == pytest.approx(0.7)
        assert all(map(math.isnan, result.interval))


def test_an_interquartile_half_of_ties_gives_no_interval() -> None:
    values = np.r_[0.0, np.full(9, 1.0), 2.0]
    assert all(map(math.isnan, interquartile_mean_interval(values, 0.95, np.random.default_rng(0), 200).interval))


def test_failed_runs_are_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        interquartile_mean_interval(np.r_[VALUES, np.nan], 0.95, np.random.default_rng(0), 200)
