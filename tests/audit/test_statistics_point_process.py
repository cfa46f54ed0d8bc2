"""Laws of events: textbook fits, maxima, invariance to the unit of time, edges and refusals."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import optimize, stats

from audit.statistics.estimate import Floats
from audit.statistics.point_process import (
    LAWS,
    Law,
    Truncation,
    exponent_batch_bootstrap,
    exponent_bootstrap,
    fit_law,
    fit_laws,
    power_law,
)

# NIST/SEMATECH e-Handbook, 8.4.5.2: test of 1500 hours.
NIST = [5, 40, 43, 175, 389, 712, 747, 795, 1299, 1478]
# ReliaWiki, Crow-AMSAA (NHPP), example "Parameter Estimation": test stopped at its 22nd failure, 620 hours.
RELIAWIKI = [
    2.7, 10.3, 12.5, 30.6, 57.0, 61.3, 80.0, 109.5, 125.0, 128.6, 143.8, 167.9, 229.2, 296.7, 320.6, 328.2, 366.2,
    396.7, 421.1, 438.2, 501.2, 620.0,
]  # fmt: skip
# MIL-HDBK-189 (1981), appendix C: test of 300 hours.
HANDBOOK = [
    2.6, 16.5, 16.5, 17.0, 21.4, 29.1, 33.3, 56.5, 63.1, 70.6, 73.0, 77.7, 93.9, 95.5, 98.1, 101.1, 132.0, 142.2,
    147.7, 149.0, 167.2, 190.7, 193.0, 198.7, 251.9, 282.5, 286.1,
]  # fmt: skip


def slowing(n: int = 106) -> Floats:
    return np.asarray(1773.0 * ((np.arange(n) + 0.5) / n) ** (1.0 / 0.7))


def test_the_time_truncated_example_of_the_nist_handbook() -> None:
    """Printed there: modified (r - 1) / sum ln(T / t) = 9 / 18.6141 = 0.4835."""
    found = power_law(NIST, 1500.0, 0.95, truncated="time")
    assert found.unbiased == pytest.approx(0.4835, abs=5e-5)
    assert found.exponent.estimate == pytest.approx(10 / 9 * 0.483506, abs=1e-5)
    assert found.scale * 1500.0**found.exponent.estimate == pytest.approx(10.0)


def test_the_event_truncated_example_of_reliawiki() -> None:
    """Printed there: sum ln t = 105.6355, so beta = 22 / (22 ln 620 - 105.6355) = 0.6142 and lambda = 0.4239."""
    found = power_law(RELIAWIKI, 620.0, 0.9, truncated="event")
    assert found.exponent.estimate == pytest.approx(0.6142, abs=5e-5)
    assert found.scale == pytest.approx(0.4239, abs=1e-4)
    assert found.unbiased == pytest.approx(20 / 22 * 0.6142, abs=5e-5)
    rate = float(fit_law("power", RELIAWIKI, 620.0).rate(620.0)[0])
    assert rate == pytest.approx(0.0217906, abs=5e-6)  # printed: failure intensity at 620 hours


def test_the_example_of_the_military_handbook() -> None:
    """Printed there: beta = 0.716, lambda = 0.454, two events at one time included."""
    found = power_law(HANDBOOK, 300.0, 0.9, truncated="time")
    assert (round(found.exponent.estimate, 3), round(found.scale, 3)) == (0.716, 0.454)


@pytest.mark.parametrize(("truncated", "freedom"), [("time", 44), ("event", 42)])
def test_the_exact_interval_inverts_the_chi_square_law(truncated: Truncation, freedom: int) -> None:
    exponent = power_law(RELIAWIKI, 620.0, 0.9, truncated=truncated).exponent
    low, high = exponent.interval
    assert stats.chi2.cdf(44 * low / exponent.estimate, freedom) == pytest.approx(0.05)
    assert stats.chi2.cdf(44 * high / exponent.estimate, freedom) == pytest.approx(0.95)


@pytest.mark.parametrize("name", LAWS)
def test_the_log_likelihood_is_that_of_a_poisson_process_with_the_fitted_rate(name: str) -> None:
    law = fit_law(name, NIST, 1500.0)
    assert law.cumulative(1500.0)[0] == pytest.approx(10.0)
    assert float(np.log(law.rate(NIST)).sum()) - 10.0 == pytest.approx(law.log_likelihood)
    assert law.aic == pytest.approx(2 * law.free - 2 * law.log_likelihood)
    assert law.bic(10) == pytest.approx(law.free * math.log(10) - 2 * law.log_likelihood)


@pytest.mark.parametrize("name", LAWS)
def test_the_rate_is_the_slope_of_the_expected_count(name: str) -> None:
    law = fit_law(name, slowing(), 1773.0)
    times = np.linspace(3.0, 2500.0, 40)
    slope = (law.cumulative(times + 1e-3) - law.cumulative(times - 1e-3)) / 2e-3
    assert slope == pytest.approx(law.rate(times), rel=1e-5)


@pytest.mark.parametrize("name", LAWS)
@pytest.mark.parametrize("times", [slowing(), np.sort(np.random.default_rng(3).beta(3, 3, 40)) * 1773.0])
def test_the_unit_of_time_changes_nothing_but_the_scale(name: str, times: Floats) -> None:
    law, scaled = fit_law(name, times, 1773.0), fit_law(name, times * 1e6, 1773e6)
    grid = np.linspace(1.0, 3000.0, 20)
    assert scaled.cumulative(grid * 1e6) == pytest.approx(law.cumulative(grid), rel=1e-6)
    assert scaled.log_likelihood + len(times) * math.log(1e6) == pytest.approx(law.log_likelihood)


def test_no_other_saturation_is_more_likely() -> None:
    """A direct search over (total, decay), and over the three parameters of the logistic law."""
    times = np.sort(np.random.default_rng(1).beta(2.0, 4.0, 60))

    def cost(parameters: Floats, inflected: bool) -> float:
        speed, c = math.exp(parameters[0]), math.exp(parameters[1]) if inflected else 0.0
        expected = -math.expm1(-speed) / (1.0 + c * math.exp(-speed))
        left = np.exp(-speed * times)
        return -float(np.log(speed * (1 + c) * left / (1 + c * left) ** 2 / expected).sum())

    constant = fit_law("constant", times, 1.0).log_likelihood
    for name, inflected in (("goel_okumoto", False), ("logistic", True)):
        best = min(optimize.minimize(cost, [s, c], args=(inflected,)).fun for s in (0.0, 2.0) for c in (0.0, 3.0))
        assert fit_law(name, times, 1.0).log_likelihood - constant == pytest.approx(-best, abs=1e-5)


def test_a_change_point_is_the_best_over_a_fine_grid() -> None:
    times = np.sort(np.random.default_rng(2).random(40))

    def gain(time: float) -> float:
        k = int((times <= time).sum())
        return k * math.log(k / 40 / time) + (40 - k) * math.log((1 - k / 40) / (1 - time)) if 4 <= k <= 36 else -9.0

    law = fit_law("change_point", times, 1.0)
    best = max(gain(float(time)) for time in np.linspace(0.001, 0.999, 20_000))
    assert law.log_likelihood - fit_law("constant", times, 1.0).log_likelihood == pytest.approx(best, abs=0.02)


def test_a_plain_change_of_rate_is_found() -> None:
    times = np.concatenate([np.arange(1, 41) * 10.0, 400.0 + np.arange(1, 11) * 60.0])
    found = fit_law("change_point", times, 1000.0).parameters
    assert found["change"] == pytest.approx(400.0)
    assert [found["before"], found["after"]] == pytest.approx([0.1, 1 / 60])


def test_without_saturation_the_saturating_laws_are_a_constant_rate() -> None:
    times = (np.arange(20) + 0.5) / 20 * 7.0
    law = fit_law("goel_okumoto", times**1.0 + 0.1, 7.0)
    assert (law.parameters["decay"], law.parameters["total"]) == (0.0, math.inf)
    assert law.log_likelihood == pytest.approx(fit_law("constant", times, 7.0).log_likelihood)
    assert math.isfinite(law.aic)
    assert law.cumulative([3.5, 14.0]) == pytest.approx([10.0, 40.0])
    assert law.rate([1.0]) == pytest.approx([20 / 7.0])


@pytest.mark.parametrize("n", [5, 6, 20, 1000])
def test_every_law_fits_few_and_many_events_and_ties(n: int) -> None:
    tied = np.sort(np.random.default_rng(n).integers(1, 8, n)) - 0.5
    laws = fit_laws(tied, 7.0)
    assert list(laws) == list(LAWS)
    for law in laws.values():
        assert math.isfinite(law.log_likelihood)
        assert np.isfinite(law.cumulative(np.linspace(0.0, 7.0, 9))).all()
    assert laws["logistic"].log_likelihood >= laws["goel_okumoto"].log_likelihood >= laws["constant"].log_likelihood


def test_equal_times_are_never_split_by_a_change() -> None:
    law = fit_law("change_point", [1.0, 1.0, 1.0, 1.0, 5.0, 6.0, 8.0, 9.0], 10.0)
    assert law.parameters["before"] * law.parameters["change"] in (pytest.approx(4.0), pytest.approx(5.0))


def test_events_that_are_all_at_one_time_allow_no_change() -> None:
    law = fit_law("change_point", [5.0] * 8, 10.0)
    assert law.parameters["before"] == pytest.approx(law.parameters["after"])


@pytest.mark.parametrize("name", LAWS)
def test_simulated_runs_follow_the_law(name: str) -> None:
    law = fit_law(name, slowing(), 1773.0)
    rng = np.random.default_rng(0)
    runs = [law.simulate(rng) for _ in range(400)]
    for time in (300.0, 900.0, 1773.0):
        expected = float(law.cumulative(time)[0])
        mean = np.mean([(run <= time).sum() for run in runs])
        assert abs(mean - expected) < 4.5 * math.sqrt(expected / 400)
    assert all((np.diff(run) >= 0).all() for run in runs)


def test_the_same_generator_simulates_the_same_run() -> None:
    law = fit_law("power", NIST, 1500.0)
    first, again, other = (law.simulate(np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_the_bootstrap_agrees_with_the_exact_interval() -> None:
    exact = power_law(slowing(), 1773.0, 0.95, truncated="time").exponent
    found = exponent_bootstrap(slowing(), 1773.0, 0.95, np.random.default_rng(0), 20_000)
    assert found.estimate == exact.estimate
    assert found.interval == pytest.approx(exact.interval, rel=0.02)


def test_batches_give_the_exponent_of_largest_likelihood() -> None:
    counts = np.array([9, 4, 6, 2, 3, 0, 4, 1])
    edges = np.arange(9) / 8

    def cost(exponent: float) -> float:
        return -float(counts @ np.log(np.diff(edges**exponent)))

    best = optimize.minimize_scalar(cost, bounds=(0.1, 5.0), method="bounded", options={"xatol": 1e-9}).x
    found = exponent_batch_bootstrap(counts, 0.95, np.random.default_rng(0), 200)
    assert found.estimate == pytest.approx(best, rel=1e-3)
    assert found.interval[0] < found.estimate < found.interval[1]
    assert found.n == 8


def test_clustered_batches_widen_the_interval() -> None:
    """The same events in the same mean per third, but in clusters."""
    even, clustered = [3] * 36, [0, 0, 0, 12, 0, 0] * 6
    widths = []
    for counts in (even, clustered):
        low, high = exponent_batch_bootstrap(counts, 0.95, np.random.default_rng(0), 2000).interval
        widths.append(high - low)
    assert widths[1] > 2.0 * widths[0]


def test_batch_intervals_depend_on_the_generator_alone() -> None:
    counts = [4, 2, 3, 1, 5, 0, 2, 3]
    first, again, other = (
        exponent_batch_bootstrap(counts, 0.95, np.random.default_rng(seed), 300) for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


@pytest.mark.parametrize(
    ("times", "end", "match"),
    [
        ([0.0, 1.0, 2.0], 3.0, "above 0"),
        ([1.0, 2.0, 4.0], 3.0, "not beyond end"),
        ([1.0], 3.0, "needs 2 events"),
        ([1.0, math.nan], 3.0, "finite"),
        ([3.0, 3.0], 3.0, "at the end"),
        ([1.0, 2.0], math.inf, "finite"),
    ],
)
def test_times_that_no_power_law_fits_are_refused(times: list[float], end: float, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        fit_law("power", times, end)


def test_unknown_laws_and_levels_and_wrong_truncation_are_refused() -> None:
    with pytest.raises(ValueError, match="no law"):
        fit_law("linear", NIST, 1500.0)
    with pytest.raises(ValueError, match="level"):
        power_law(NIST, 1500.0, 95.0, truncated="time")
    with pytest.raises(ValueError, match="last event"):
        power_law(NIST, 1500.0, 0.95, truncated="event")
    with pytest.raises(ValueError, match="4 batches"):
        exponent_batch_bootstrap([1, 2, 3], 0.95, np.random.default_rng(0), 100)
    with pytest.raises(ValueError, match="2 events"):
        exponent_batch_bootstrap([1, 0, 0, 0], 0.95, np.random.default_rng(0), 100)


def test_a_law_is_told_by_its_parameters() -> None:
    law = Law(name="change_point", parameters={"change": 2.0, "before": 3.0, "after": 1.0}, log_likelihood=0.0, end=6.0)
    assert law.cumulative([1.0, 2.0, 6.0, 8.0]) == pytest.approx([3.0, 6.0, 10.0, 12.0])
    assert law.rate([1.0, 5.0]).tolist() == [3.0, 1.0]
