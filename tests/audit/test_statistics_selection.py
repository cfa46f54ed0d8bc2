"""What selection brings under the null, against closed forms and plain simulation; shrinkage."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from audit.statistics.selection import (
    Expectation,
    expected_best,
    expected_keeps_under_null,
    expected_passes,
    running_minimum_bias,
    shrink,
)


def test_the_best_of_a_few_equal_results_follows_the_known_constants() -> None:
    means = [expected_best(n, 2.0, 0.95).mean for n in (1, 2, 3)]
    assert means == pytest.approx([0.0, 2.0 / math.sqrt(math.pi), 3.0 / math.sqrt(math.pi)], abs=1e-9)


def test_the_range_of_the_best_holds_its_share_of_simulated_bests() -> None:
    best = np.random.default_rng(0).standard_normal((20_000, 40)).max(axis=1)
    found = expected_best(40, 1.0, 0.9)
    assert found.mean == pytest.approx(best.mean(), abs=0.02)
    assert np.mean((found.low <= best) & (best <= found.high)) == pytest.approx(0.9, abs=0.01)


def test_the_running_minimum_falls_with_every_result_and_mirrors_the_best() -> None:
    bias = running_minimum_bias(0.5, 3000)
    assert bias.shape == (3000,)
    assert bias[0] == 0.0
    assert (np.diff(bias) < 0.0).all()
    for n in (2, 100, 777, 3000):
        assert bias[n - 1] == pytest.approx(-expected_best(n, 0.5, 0.95).mean, rel=1e-4)


def passes(baseline_sds: tuple[float, float], correlation: float, thresholds: tuple[float, float]) -> Expectation:
    rng = np.random.default_rng(0)
    return expected_passes(
        200, (1.0, 0.5), baseline_sds, thresholds, correlation=correlation, level=0.95, rng=rng, draws=20_000
    )


def test_a_known_baseline_passes_a_quarter_of_unrelated_and_a_third_of_correlated_gains() -> None:
    """P(both above 0) = 1/4 + asin(r) / (2 pi), Sheppard 1899."""
    assert passes((0.0, 0.0), 0.0, (0.0, 0.0)).mean == pytest.approx(50.0)
    assert passes((0.0, 0.0), 0.5, (0.0, 0.0)).mean == pytest.approx(200.0 / 3.0)
    independent = passes((0.0, 0.0), 0.0, (0.0, 0.0))
    assert (independent.low, independent.high) == pytest.approx(
        tuple(stats.binom(200, 0.25).ppf([0.025, 0.975])), abs=1
    )


def test_thresholds_cut_the_passes_as_the_bivariate_normal_says() -> None:
    expected = 200.0 * stats.multivariate_normal(cov=[[1.0, 0.4], [0.4, 1.0]]).cdf([-0.5, -0.6])
    assert passes((0.0, 0.0), 0.4, (0.5, 0.3)).mean == pytest.approx(expected, rel=1e-3)


def test_one_noisy_baseline_for_all_spreads_the_count_of_passes_far() -> None:
    shared, known = passes((1.0, 0.5), 0.0, (0.0, 0.0)), passes((0.0, 0.0), 0.0, (0.0, 0.0))
    assert shared.mean == pytest.approx(50.0, rel=0.03)
    assert shared.high - shared.low > 4.0 * (known.high - known.low)


def keeps(attempts: int, tolerance: float, draws: int = 20_000) -> Expectation:
    return expected_keeps_under_null(attempts, tolerance, level=0.95, rng=np.random.default_rng(0), draws=draws)


@pytest.mark.parametrize(("attempts", "expected"), [(0, 0.0), (1, 0.5), (2, 5 / 6), (99, 4.187377517639621)])
def test_keeps_without_tolerance_are_the_records_of_a_random_order(attempts: int, expected: float) -> None:
    assert keeps(attempts, 0.0).mean == pytest.approx(expected)


@pytest.mark.parametrize("tolerance", [0.0, 0.7])
def test_keeps_agree_with_loops_played_attempt_by_attempt(tolerance: float) -> None:
    results = np.random.default_rng(5).standard_normal((4000, 31))
    best, played = results[:, 0].copy(), np.zeros(4000)
    for attempt in results[:, 1:].T:
        kept = attempt < best - tolerance
        best[kept] = attempt[kept]
        played += kept
    found = keeps(30, tolerance)
    assert found.mean == pytest.approx(played.mean(), abs=0.07)
    assert (found.low, found.high) == tuple(np.quantile(played, [0.025, 0.975]))


def test_a_million_attempts_are_no_more_work_than_a_few() -> None:
    found = keeps(10**6, 0.0, draws=2000)
    assert found.mean == pytest.approx(math.log(10**6) + 0.5772 - 1.0, abs=1e-3)
    assert found.low < found.mean < found.high < 30


def test_a_greater_tolerance_keeps_less() -> None:
    means = [keeps(200, tolerance).mean for tolerance in (0.0, 0.5, 1.0, 2.0)]
    assert means == sorted(means, reverse=True)


def test_gains_within_the_noise_are_shrunk_to_their_common_centre() -> None:
    gains = np.array([0.01, -0.01, 0.02, -0.02, 0.0, 0.01])
    found = shrink(gains, 1.0, 0.95)
    assert found.spread == 0.0
    assert (found.posterior["shrunk"] - found.centre).abs().max() < 0.5 * np.abs(gains - gains.mean()).max()
    assert (found.posterior["low"] < 0.0).all()
    assert (found.posterior["high"] > 0.0).all()


def test_gains_far_beyond_the_noise_are_left_as_they_are() -> None:
    gains = np.array([-5.0, 3.0, 9.0, 20.0, -14.0, 1.0])
    found = shrink(gains, 0.01, 0.95)
    assert found.posterior["shrunk"].to_numpy() == pytest.approx(gains, abs=1e-3)
    assert found.posterior["p_positive"].round(6).tolist() == [0.0, 1.0, 1.0, 1.0, 0.0, 1.0]


def test_with_equal_noise_the_spread_is_the_observed_variance_less_that_of_the_noise() -> None:
    gains = np.random.default_rng(0).normal(0.2, 1.0, 30)
    found = shrink(gains, 0.5, 0.95)
    assert found.spread**2 == pytest.approx(gains.var(ddof=1) - 0.25)
    share = 27 / 29 * 0.25 / gains.var(ddof=1)
    assert found.posterior["shrunk"].to_numpy() == pytest.approx(gains.mean() + (1 - share) * (gains - gains.mean()))


def test_with_unequal_noise_the_noisier_gain_is_shrunk_more() -> None:
    gains, noise = np.array([0.0, 0.5, -0.5, 2.0, 2.0, -1.5, 0.3]), np.array([0.5, 0.5, 0.5, 0.2, 1.5, 0.5, 0.5])
    posterior = shrink(gains, noise, 0.95).posterior
    assert posterior["shrunk"][4] < posterior["shrunk"][3] < 2.0
    assert posterior["high"][4] - posterior["low"][4] > posterior["high"][3] - posterior["low"][3]


def test_the_unit_of_the_gains_does_not_matter() -> None:
    gains, noise = np.random.default_rng(0).normal(0.0, 1.0, 12), np.linspace(0.3, 1.2, 12)
    large, small = shrink(gains, noise, 0.95).posterior, shrink(1e-6 * gains, 1e-6 * noise, 0.95).posterior
    assert small["shrunk"].to_numpy() == pytest.approx(1e-6 * large["shrunk"].to_numpy())
    assert small["p_positive"].to_numpy() == pytest.approx(large["p_positive"].to_numpy())


@pytest.mark.parametrize("arguments", [([1.0] * 4, 1.0), ([1.0] * 6, 0.0), ([math.nan] * 6, 1.0)])
def test_too_few_gains_no_noise_and_gaps_are_refused(arguments: tuple[list[float], float]) -> None:
    with pytest.raises(ValueError, match=r"needs 5|positive|finite"):
        shrink(*arguments, 0.95)


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="correlation"):
        passes((0.0, 0.0), 1.0, (0.0, 0.0))
    with pytest.raises(ValueError, match="at least 0"):
        keeps(-1, 0.0)
    with pytest.raises(ValueError, match="one result"):
        expected_best(0, 1.0, 0.95)
