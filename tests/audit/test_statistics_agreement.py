"""Rank stability between two scales."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from audit.statistics.agreement import rank_stability, tau_interval, tau_p_value


def _scores(means: list[float], sd: float, seed: int) -> np.ndarray:
    return np.array(means)[:, None] + sd * np.random.default_rng(seed).normal(size=(len(means), 6))


def test_tau_and_its_p_value_are_those_of_scipy() -> None:
    a, b = _scores([1, 2, 3, 4, 5, 6], 1.0, 0), _scores([2, 1, 3, 5, 4, 6], 1.0, 1)
    result = rank_stability(a, b, 0.95, np.random.default_rng(0), 100)
    expected = stats.kendalltau(a.mean(1), b.mean(1), method="exact")
    assert (result.tau, result.p_value) == pytest.approx((expected.statistic, expected.pvalue))
    assert result.pairs == 15


def test_well_separated_arms_in_one_order_leave_nothing_open() -> None:
    result = rank_stability(_scores([1, 2, 3, 4], 1e-3, 0), _scores([5, 6, 7, 8], 1e-3, 1), 0.95,
                            np.random.default_rng(0), 200)  # fmt: skip
    assert (result.tau, result.interval, result.pairs_settled, result.top_agreement) == (1.0, (1.0, 1.0), 6, 1.0)


def test_a_reversed_order_is_seen_as_such() -> None:
    result = rank_stability(_scores([1, 2, 3, 4], 1e-3, 0), _scores([8, 7, 6, 5], 1e-3, 1), 0.95,
                            np.random.default_rng(0), 200)  # fmt: skip
    assert (result.tau, result.interval, result.top_agreement) == (-1.0, (-1.0, -1.0), 0.0)


def test_arms_that_noise_cannot_tell_apart_leave_tau_open() -> None:
    interval, settled = tau_interval(_scores([0, 0, 0], 1.0, 0), _scores([0, 0, 0], 1.0, 1), 0.95)
    assert (interval, settled) == ((-1.0, 1.0), 0)


def test_one_unsettled_pair_opens_the_interval_by_its_share() -> None:
    a = _scores([1, 2, 3], 1e-3, 0)
    b = _scores([1, 2, 2], 1e-3, 1)
    assert tau_interval(a, b, 0.95) == ((pytest.approx(1 / 3), 1.0), 2)


def test_arms_tied_in_the_mean_fall_back_on_sampled_permutations() -> None:
    a, b = np.array([1.0, 1.0, 2.0, 3.0, 4.0, 5.0]), np.array([1.0, 2.0, 3.0, 4.0, 5.0, 5.0])
    p = tau_p_value(a, b, np.random.default_rng(0))
    assert 0.001 < p < 0.05
    assert np.isnan(tau_p_value(np.ones(3), np.arange(3.0), np.random.default_rng(0)))


def test_resampled_seeds_follow_the_generator_and_keep_the_pairing() -> None:
    shared = np.random.default_rng(4).normal(size=8)
    a = np.array([[0.0], [0.3]]) + np.array([1.0, -1.0])[:, None] * shared
    paired = rank_stability(a, a, 0.95, np.random.default_rng(0), 500)
    assert paired.top_agreement == 1.0
    crossed = rank_stability(a, a[:, ::-1], 0.95, np.random.default_rng(0), 500)
    assert crossed.top_agreement < 1.0
    assert crossed == rank_stability(a, a[:, ::-1], 0.95, np.random.default_rng(0), 500)


def test_a_single_seed_gives_a_tau_without_interval() -> None:
    result = rank_stability([[1.0], [2.0], [3.0]], [[1.0], [3.0], [2.0]], 0.95, np.random.default_rng(0), 10)
    assert result.tau == pytest.approx(1 / 3)
    assert np.isnan(result.interval).all()


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (np.ones((1, 5)), np.ones((1, 5)), "two arms"),
        (np.ones((3, 5)), np.ones((3, 4)), "one shape"),
        (np.full((3, 5), np.nan), np.ones((3, 5)), "finite"),
    ],
)
def test_scores_that_cannot_be_compared_are_refused(a: np.ndarray, b: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rank_stability(a, b, 0.95, np.random.default_rng(0), 10)
