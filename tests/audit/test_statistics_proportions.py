"""Exact rates: textbook values, edges and refusals."""

from __future__ import annotations

import math

import pytest
from scipy import stats

from audit.statistics.proportions import clopper_pearson


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [(4, 20, 0.0573, 0.4366), (0, 10, 0.0, 0.3085), (10, 10, 0.6915, 1.0), (1, 2, 0.0126, 0.9874)],
)
def test_textbook_intervals(successes: int, trials: int, low: float, high: float) -> None:
    found = clopper_pearson(successes, trials, 0.95)
    assert (found.estimate, found.n) == (successes / trials, trials)
    assert found.interval == pytest.approx((low, high), abs=1e-4)


def test_the_limits_are_where_either_tail_is_half_of_what_is_left() -> None:
    low, high = clopper_pearson(7, 24, 0.9).interval
    assert stats.binom.sf(6, 24, low) == pytest.approx(0.05)
    assert stats.binom.cdf(7, 24, high) == pytest.approx(0.05)


def test_no_trials_give_no_rate() -> None:
    found = clopper_pearson(0, 0, 0.95)
    assert math.isnan(found.estimate)
    assert math.isnan(found.interval[0])


@pytest.mark.parametrize(("successes", "trials", "level"), [(3, 2, 0.95), (-1, 2, 0.95), (1, 2, 95.0)])
def test_counts_and_levels_that_make_no_sense_are_refused(successes: int, trials: int, level: float) -> None:
    with pytest.raises(ValueError, match="must lie between"):
        clopper_pearson(successes, trials, level)
