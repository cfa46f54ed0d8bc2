"""ROC: hand-counted areas and corners, ties, and intervals at the edges."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from audit.statistics.roc import roc_area, roc_area_interval, roc_points

LEAKY, CLEAN = [3.0, 2.0, 1.0], [2.0, 0.0]


def test_an_area_counts_pairs_and_halves_ties() -> None:
    assert roc_area(LEAKY, CLEAN) == 4.5 / 6
    assert roc_area([1.0, 1.0], [1.0]) == 0.5
    draws = np.random.default_rng(0).normal(size=(2, 30))
    statistic = stats.mannwhitneyu(draws[0] + 1, draws[1]).statistic
    assert roc_area(draws[0] + 1, draws[1]) == pytest.approx(statistic / 900)


def test_points_go_from_corner_to_corner_and_ties_pass_together() -> None:
    third = 1 / 3
    expected = [(0, 0), (0, third), (0.5, 2 * third), (0.5, 1), (1, 1)]
    np.testing.assert_allclose(roc_points(LEAKY, CLEAN), expected)


def test_the_area_under_the_points_is_the_area() -> None:
    rng = np.random.default_rng(1)
    above, below = rng.integers(0, 9, 25).astype(float), rng.integers(0, 6, 14).astype(float)
    x, y = roc_points(above, below).T
    assert np.trapezoid(y, x) == pytest.approx(roc_area(above, below))


def test_an_interval_holds_the_area_and_follows_the_generator() -> None:
    draws = np.random.default_rng(2).normal(size=(2, 15))
    first, again, other = (
        roc_area_interval(draws[0] + 1, draws[1], 0.95, np.random.default_rng(seed), 300) for seed in (1, 1, 2)
    )
    assert first == again
    assert first.interval != other.interval
    assert 0 < first.interval[0] < first.estimate < first.interval[1] < 1
    assert first.n == 15


def test_classes_that_do_not_overlap_get_a_bound_and_not_a_point() -> None:
    apart = np.arange(10.0)
    found = roc_area_interval(apart + 20, apart, 0.95, np.random.default_rng(0), 100)
    assert found.interval == pytest.approx((0.025**0.1, 1.0))
    turned = roc_area_interval(apart, apart + 20, 0.95, np.random.default_rng(0), 100)
    assert turned.interval == pytest.approx((0.0, 1 - 0.025**0.1))


def test_small_classes_missing_classes_and_nan_are_refused() -> None:
    ten, rng = np.arange(10.0), np.random.default_rng(0)
    with pytest.raises(ValueError, match="needs 10 members a class, got 9"):
        roc_area_interval(ten, ten[:9], 0.95, rng, 100)
    with pytest.raises(ValueError, match="needs both classes"):
        roc_area([], [1.0])
    with pytest.raises(ValueError, match="must be finite"):
        roc_area([np.nan], [1.0])
