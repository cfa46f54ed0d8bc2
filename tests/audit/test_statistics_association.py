"""Correlations and matched gains, against scipy, statsmodels and arithmetic."""

from __future__ import annotations

import math

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats

from audit.statistics import association
from audit.statistics.association import (
    kendall_interval,
    matched_gain,
    partial_correlation,
    regression_to_mean,
    spearman_bootstrap,
)

NONE = np.empty((60, 0))


def related(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(n)
    return x, 0.6 * x + 0.8 * rng.standard_normal(n)


@pytest.mark.parametrize("kinds", [2, 3, 6, 1000])
@pytest.mark.parametrize("seed", range(3))
def test_rank_correlations_with_ties_are_those_of_scipy(kinds: int, seed: int) -> None:
    x, y = np.random.default_rng(seed).integers(0, kinds, (2, 30)).astype(np.float64)
    rho = spearman_bootstrap(x, y, 0.95, np.random.default_rng(0), 10).estimate
    assert rho == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-9)
    assert kendall_interval(x, y, 0.95).estimate == pytest.approx(stats.kendalltau(x, y).statistic, abs=1e-9)


def test_resampled_rank_correlations_are_those_of_the_resampled_pairs() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.integers(0, 6, (2, 30)).astype(np.float64)
    counts = rng.multinomial(30, np.full(30, 1 / 30), size=5).astype(np.float64)
    columns = [association._Ranked.of(values) for values in (x, y)]
    expected = [stats.spearmanr(*(np.repeat(values, row.astype(int)) for values in (x, y))).statistic for row in counts]
    assert association._rank_correlation(columns, counts) == pytest.approx(expected)


def test_the_bootstrap_interval_is_near_the_normal_one_for_normal_data() -> None:
    x, y = related(400)
    found = spearman_bootstrap(x, y, 0.95, np.random.default_rng(0), 2000)
    middle = math.atanh(found.estimate)
    reach = 1.96 * math.sqrt((1.0 + found.estimate**2 / 2.0) / 397)
    assert found.interval == pytest.approx((math.tanh(middle - reach), math.tanh(middle + reach)), abs=0.03)


def test_the_same_seed_gives_the_same_interval_and_another_seed_another() -> None:
    def interval(seed: int) -> tuple[float, float]:
        return spearman_bootstrap(*related(30), 0.95, np.random.default_rng(seed), 200).interval

    assert interval(1) == interval(1)
    assert interval(1) != interval(2)


def test_perfect_order_and_constant_columns_have_no_interval() -> None:
    x = np.arange(25.0)
    found = spearman_bootstrap(x, x**3, 0.95, np.random.default_rng(0), 50)
    assert found.estimate == pytest.approx(1.0)
    assert np.isnan([*found.interval, *kendall_interval(x, x**3, 0.95).interval]).all()
    assert math.isnan(spearman_bootstrap(x, np.ones(25), 0.95, np.random.default_rng(0), 50).estimate)
    assert math.isnan(kendall_interval(x, np.ones(25), 0.95).estimate)
    assert math.isnan(partial_correlation(x, np.ones(25), np.empty((25, 0)), 0.95, "pearson").estimate)


def test_the_jackknife_of_tau_leaves_out_one_row_at_a_time() -> None:
    x, y = (np.round(values, 1) for values in related(12))
    without = [np.arctanh(stats.kendalltau(np.delete(x, i), np.delete(y, i)).statistic) for i in range(12)]
    error = math.sqrt(11 / 12 * float(((np.array(without) - np.mean(without)) ** 2).sum()))
    found = kendall_interval(x, y, 0.95)
    reach = stats.t.ppf(0.975, 11) * error
    assert math.atanh(found.interval[1]) - math.atanh(found.estimate) == pytest.approx(reach)


def test_without_covariates_a_partial_correlation_is_an_ordinary_one() -> None:
    x, y = related(60)
    pearson, spearman = stats.pearsonr(x, y), stats.spearmanr(x, y)
    found = partial_correlation(x, y, NONE, 0.95, "pearson")
    assert (found.estimate, found.p_value) == pytest.approx((pearson.statistic, pearson.pvalue))
    ranked = partial_correlation(x, y, NONE, 0.95, "spearman")
    assert (ranked.estimate, ranked.p_value) == pytest.approx((spearman.statistic, spearman.pvalue))
    assert found.interval[0] <= pearson.confidence_interval(0.95).low
    assert found.interval[1] >= pearson.confidence_interval(0.95).high


def test_a_correlation_that_a_covariate_brings_is_gone_once_it_is_held_fixed() -> None:
    rng = np.random.default_rng(0)
    common, x, y = rng.standard_normal((3, 500))
    raw = partial_correlation(common + x, common + y, np.empty((500, 0)), 0.95, "pearson")
    held = partial_correlation(common + x, common + y, common[:, None], 0.95, "pearson")
    assert raw.interval[0] > 0.3
    assert held.interval[0] < 0.0 < held.interval[1]
    a, b, c = np.corrcoef([common + x, common + y, common])[np.triu_indices(3, 1)]
    assert held.estimate == pytest.approx((a - b * c) / math.sqrt((1 - b**2) * (1 - c**2)))


def test_the_error_of_a_partial_correlation_is_that_of_refits_without_a_row_each() -> None:
    rng = np.random.default_rng(4)
    x, rest, fixed = rng.standard_t(3, (3, 25))
    y = 0.5 * x + rest
    found = partial_correlation(x, y, fixed[:, None], 0.95, "pearson")
    kept = [np.arange(25) != row for row in range(25)]
    without = [partial_correlation(x[k], y[k], fixed[k, None], 0.95, "pearson").estimate for k in kept]
    z = np.arctanh(without)
    error = max(math.sqrt(24 / 25 * float(((z - z.mean()) ** 2).sum())), 1.0 / math.sqrt(25 - 1 - 3))
    reach = math.atanh(found.interval[1]) - math.atanh(found.estimate)
    assert reach == pytest.approx(stats.t.ppf(0.975, 22) * error)


def test_rows_far_out_in_both_columns_widen_the_interval_of_a_correlation() -> None:
    rng = np.random.default_rng(0)
    x, rest = rng.standard_normal((2, 400))
    widths = []
    for scale in (np.ones(400), np.exp(rng.standard_normal(400))):
        low, high = partial_correlation(
            scale * x, scale * (0.5 * x + rest), np.empty((400, 0)), 0.95, "pearson"
        ).interval
        widths.append(math.atanh(high) - math.atanh(low))
    assert widths[1] > 1.5 * widths[0]


def test_a_gain_at_matched_size_is_the_line_there_with_the_errors_of_statsmodels() -> None:
    rng = np.random.default_rng(2)
    size = rng.uniform(5.0, 9.0, 40)
    gains = 0.3 * (size - 6.0) + rng.normal(0.0, 0.2, 40) * size
    found = matched_gain(gains, size[:, None], [6.0], 0.95)
    fit = sm.OLS(gains, sm.add_constant(size - 6.0)).fit(cov_type="HC3", use_t=True)
    for part, index in ((found.gain, 0), (found.slopes[0], 1)):
        assert part.estimate == pytest.approx(fit.params[index])
        assert part.p_value == pytest.approx(fit.pvalues[index])
        assert part.interval == pytest.approx(tuple(fit.conf_int(0.05)[index]))


def test_a_perfect_line_leaves_no_error() -> None:
    size = np.arange(6.0)
    found = matched_gain(2.0 * size, size[:, None], [1.0], 0.95)
    assert found.gain.estimate == pytest.approx(2.0)
    assert np.isnan([*found.gain.interval, found.gain.p_value]).all()


def test_covariates_that_do_not_differ_are_refused() -> None:
    with pytest.raises(ValueError, match="differ"):
        matched_gain(np.arange(6.0), np.ones((6, 1)), [1.0], 0.95)


def test_a_lead_that_was_luck_is_gone_at_the_second_measurement() -> None:
    rng = np.random.default_rng(0)
    lucky = regression_to_mean(rng.standard_normal(300), rng.standard_normal(300), 20, 0.95)
    assert lucky.lead_first > 1.5
    assert abs(lucky.lead_second) < 0.6
    assert lucky.correlation.interval[0] < 0.0 < lucky.correlation.interval[1]
    real = rng.standard_normal(300)
    kept = regression_to_mean(real, 3.0 * real + 1.0 + 0.01 * rng.standard_normal(300), 20, 0.95)
    assert kept.lead_second == pytest.approx(kept.lead_first, rel=0.05)
    assert kept.slope.estimate == pytest.approx(3.0, rel=0.05)


@pytest.mark.parametrize("values", [[1.0, math.nan, 2.0, 3.0, 4.0], [1.0, 2.0]])
def test_gaps_and_too_few_pairs_are_refused(values: list[float]) -> None:
    with pytest.raises(ValueError, match=r"finite|pairs"):
        kendall_interval(values, values, 0.95)
