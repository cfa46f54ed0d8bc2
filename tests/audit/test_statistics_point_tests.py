"""Tests of laws of events: textbook values, power against what they test, and the null they are simulated under."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from audit.statistics.estimate import Floats
from audit.statistics.events import constant_rate
from audit.statistics.point_process import fit_law
from audit.statistics.point_tests import (
    against_constant,
    dispersion,
    goodness_of_fit,
    laplace_test,
    line_r2,
    line_r2_null,
    prediction,
    rate_ratio,
)

NIST = [5, 40, 43, 175, 389, 712, 747, 795, 1299, 1478]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def even(n: int) -> Floats:
    return (np.arange(n) + 0.5) / n


def test_laplace_on_the_example_of_the_nist_handbook() -> None:
    """Sum of times 5683 over 10 events, half of 1500: (568.3 - 750) / (1500 / sqrt(120)) = -1.327."""
    found = laplace_test(NIST, 1500.0)
    assert found.statistic == pytest.approx((568.3 - 750.0) * math.sqrt(120.0) / 1500.0)
    assert found.p_value == pytest.approx(2 * stats.norm.cdf(-1.32695), abs=1e-4)


def test_laplace_points_up_where_events_become_more_frequent() -> None:
    assert laplace_test(even(50) ** 0.5, 1.0).statistic > 2.0
    assert abs(laplace_test(even(50), 1.0).statistic) < 1e-9


def test_a_change_is_seen_and_a_constant_rate_is_not() -> None:
    changed = np.concatenate([even(40) * 0.3, 0.3 + even(10) * 0.7])
    assert against_constant("change_point", changed, 1.0, rng(), 499).p_value == pytest.approx(1 / 500)
    assert against_constant("change_point", even(50), 1.0, rng(), 499).p_value > 0.5


def test_the_power_laws_ratio_is_that_of_the_likelihoods() -> None:
    found = against_constant("power", NIST, 1500.0, rng(), 1999)
    gain = fit_law("power", NIST, 1500.0).log_likelihood - fit_law("constant", NIST, 1500.0).log_likelihood
    assert found.statistic == pytest.approx(2 * gain)
    # Far from any edge the simulated null is close to chi-square with one degree of freedom.
    assert found.p_value == pytest.approx(stats.chi2.sf(2 * gain, 1), abs=0.02)


def test_the_null_of_a_boundary_law_is_not_chi_square() -> None:
    """Half of all constant rates show no saturation: there the statistic is 0 and p is 1."""
    found = against_constant("goel_okumoto", even(30) ** 0.9, 1.0, rng(), 199)
    assert (found.statistic, found.p_value) == (0.0, 1.0)


@pytest.mark.parametrize("name", ["constant", "power", "goel_okumoto"])
def test_laws_that_cannot_bend_are_rejected_on_a_late_start(name: str) -> None:
    times = 0.5 + 0.1 * even(60)
    assert goodness_of_fit(name, times, 1.0, rng(), 199).p_value <= 0.01


def test_a_law_is_not_rejected_on_its_own_quantiles() -> None:
    found = goodness_of_fit("power", even(60) ** 2.0, 1.0, rng(), 199)
    assert found.distance < 0.02
    assert found.p_value > 0.9


def test_the_distance_is_kolmogorovs_on_rescaled_times() -> None:
    law = fit_law("goel_okumoto", NIST, 1500.0)
    expected = stats.kstest(law.cumulative(np.sort(NIST)) / 10.0, "uniform").statistic
    assert goodness_of_fit("goel_okumoto", NIST, 1500.0, rng(), 50).distance == pytest.approx(expected)


def test_dispersion_is_variance_over_mean() -> None:
    counts = [0, 3, 9, 1, 0, 7, 2, 2]
    found = dispersion(counts, 0.95, rng(), 999)
    assert found.index == pytest.approx(np.var(counts, ddof=1) / 3.0)
    assert found.index_range[0] < 1.0 < found.index_range[1] < found.index
    assert found.p_value < 0.02
    assert found.negative_binomial_p < 0.02


def test_the_fitted_size_is_that_of_largest_likelihood() -> None:
    counts = rng(5).negative_binomial(2.0, 2.0 / 6.0, 400)
    mean = counts.mean()
    sizes = np.geomspace(0.5, 10.0, 400)
    best = sizes[np.argmax([stats.nbinom.logpmf(counts, k, k / (k + mean)).sum() for k in sizes])]
    assert dispersion(counts, 0.95, rng(), 20).size == pytest.approx(best, rel=0.16)  # a step of the grid


def test_counts_that_vary_less_than_poisson_have_an_infinite_size() -> None:
    found = dispersion([3, 3, 3, 2, 3, 3], 0.95, rng(), 199)
    assert found.size == math.inf
    assert found.negative_binomial_p == 1.0


@pytest.mark.parametrize("counts", [[3], [0, 0], [1, -1], [1.5, 2.0]])
def test_counts_without_a_dispersion_are_refused(counts: list[float]) -> None:
    with pytest.raises(ValueError, match=r"counts|events"):
        dispersion(counts, 0.95, rng(), 10)


def test_a_constant_rate_predicts_as_many_events_as_before() -> None:
    found = prediction("constant", even(100), 1.0, 1.0, 0.95, rng(), 4000)
    assert found.estimate == pytest.approx(100.0)
    # Poisson scatter of what is observed and of what is to come: SD root 200.
    assert found.interval == pytest.approx((100 - 1.96 * 14.14, 100 + 1.96 * 14.14), abs=2.5)


def test_a_power_law_predicts_from_its_exponent() -> None:
    times = even(100) ** 2.0
    exponent = fit_law("power", times, 1.0).parameters["exponent"]
    found = prediction("power", times, 1.0, 0.5, 0.95, rng(), 500)
    assert found.estimate == pytest.approx(100 * (1.5**exponent - 1.0))
    with pytest.raises(ValueError, match="ahead"):
        prediction("power", times, 1.0, 0.0, 0.95, rng(), 10)


def test_a_wild_extrapolation_is_a_number_and_not_an_error() -> None:
    found = prediction("power", [0.9, 0.95, 0.99], 1.0, 20.0, 0.95, rng(), 200)
    assert found.estimate > 1e18
    assert found.interval[0] < found.interval[1]


def test_the_line_is_that_of_binned_counts() -> None:
    counts = [4, 0, 1, 3]
    times = [0.1, 0.1, 0.2, 0.25, 0.75, 0.76, 0.9, 1.0]  # an event on an edge belongs to the bin that ends there
    expected = stats.linregress(np.arange(5) / 4, [0, 4, 4, 5, 8]).rvalue ** 2
    assert line_r2(times, 1.0, 5) == pytest.approx(expected)
    assert constant_rate(counts, 0.95, rng(), 10).r_squared == pytest.approx(expected)


def test_a_straight_line_fits_most_power_laws_well_too() -> None:
    constant, power = (fit_law(name, even(106) ** 1.3, 1.0) for name in ("constant", "power"))
    under_constant, under_power = (line_r2_null(law, 36, rng(), 500) for law in (constant, power))
    assert under_constant.shape == (500,)
    assert np.median(under_constant) > np.median(under_power) > 0.9


def test_a_line_needs_three_points() -> None:
    with pytest.raises(ValueError, match="3 points"):
        line_r2(NIST, 1500.0, 2)


def test_the_ratio_of_two_rates_is_exact() -> None:
    """Given 19 events of 28 under equal exposures, the share 19/28 has the Clopper-Pearson interval."""
    found = rate_ratio(19, 10.0, 9, 10.0, 0.95)
    low, high = stats.binomtest(19, 28).proportion_ci(0.95, "exact")
    assert found.estimate == pytest.approx(19 / 9)
    assert found.interval == pytest.approx((low / (1 - low), high / (1 - high)))
    assert found.p_value == pytest.approx(2 * stats.binom.sf(18, 28, 0.5))
    assert found.n == 28


def test_exposure_counts() -> None:
    """Seven events in one unit against seven in two: twice the rate."""
    found, swapped = rate_ratio(7, 1.0, 7, 2.0, 0.95), rate_ratio(7, 2.0, 7, 1.0, 0.95)
    assert found.estimate == pytest.approx(2.0)
    assert swapped.interval == pytest.approx((1 / found.interval[1], 1 / found.interval[0]))
    assert swapped.p_value == pytest.approx(found.p_value)


def test_arms_without_events_give_open_ends() -> None:
    assert rate_ratio(3, 1.0, 0, 1.0, 0.95).interval[1] == math.inf
    nothing = rate_ratio(0, 1.0, 0, 1.0, 0.95)
    assert math.isnan(nothing.estimate)
    assert nothing.p_value == 1.0
    with pytest.raises(ValueError, match="exposures"):
        rate_ratio(1, 0.0, 1, 1.0, 0.95)


def test_the_same_generator_gives_the_same_answers() -> None:
    found = [goodness_of_fit("logistic", NIST, 1500.0, rng(seed), 199).p_value for seed in (1, 1, 2)]
    assert found[0] == found[1]
    assert found[0] != found[2]
