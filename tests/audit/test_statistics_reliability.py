"""Reliability of scores: alpha, and the share of a spread that sampling noise explains."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from audit.statistics.reliability import cronbach_alpha, spread_explained


def scores(models: int, benchmarks: int, noise: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.asarray(rng.standard_normal((models, 1)) + noise * rng.standard_normal((models, benchmarks)))


def test_alpha_of_two_benchmarks_is_that_of_the_textbook_formula() -> None:
    values = np.array([[1.0, 2.0], [2.0, 2.0], [3.0, 5.0], [4.0, 3.0]])
    covariance = np.cov(values.T)
    expected = 2.0 * (1.0 - np.trace(covariance) / covariance.sum())
    assert cronbach_alpha(values, 0.95).estimate == pytest.approx(expected)


def test_benchmarks_that_agree_wholly_have_alpha_1_and_unrelated_ones_about_0() -> None:
    assert cronbach_alpha(np.arange(6.0)[:, None].repeat(4, axis=1), 0.95).estimate == pytest.approx(1.0)
    unrelated = cronbach_alpha(np.random.default_rng(3).standard_normal((400, 5)), 0.95)
    assert abs(unrelated.estimate) < 0.25
    assert unrelated.interval[0] < 0.0 < unrelated.interval[1]


def test_alphas_interval_holds_feldts_and_narrows_with_models() -> None:
    widths = []
    for models in (10, 100, 1000):
        found = cronbach_alpha(scores(models, 7, 1.4), 0.95)
        ratio = stats.f(models - 1, (models - 1) * 6)
        assert found.interval[0] <= 1.0 - (1.0 - found.estimate) * ratio.ppf(0.975)
        assert found.interval[1] >= 1.0 - (1.0 - found.estimate) * ratio.ppf(0.025)
        assert found.n == models
        widths.append(found.interval[1] - found.interval[0])
    assert widths == sorted(widths, reverse=True)


def test_models_that_do_not_differ_have_no_alpha() -> None:
    found = cronbach_alpha(np.full((5, 3), 0.4), 0.95)
    assert math.isnan(found.estimate)
    assert np.isnan(found.interval).all()


def test_noise_as_wide_as_the_spread_explains_all_of_it() -> None:
    found = spread_explained(np.random.default_rng(0).standard_normal(200), np.ones(200), rho=0.0, level=0.95)
    assert found.estimate > 0.8
    assert found.interval[0] < 1.0
    assert found.interval[1] == 1.0


def test_the_share_is_the_noise_variance_over_the_observed_one() -> None:
    values = np.random.default_rng(1).normal(0.0, 2.0, 50)
    found = spread_explained(values, np.full(50, 0.8), rho=0.25, level=0.95)
    assert found.estimate == pytest.approx(0.64 * 0.75 / values.var(ddof=1))
    assert found.interval[0] < found.estimate < found.interval[1]


def test_errors_shared_by_all_scores_explain_no_spread_between_them() -> None:
    values = np.random.default_rng(1).standard_normal(30)
    assert spread_explained(values, np.ones(30), rho=1.0, level=0.95).estimate == 0.0


def test_equal_scores_and_few_scores_have_no_interval() -> None:
    assert spread_explained(np.full(9, 0.4), np.full(9, 0.1), rho=0.0, level=0.95).estimate == 1.0
    assert np.isnan(spread_explained(np.full(9, 0.4), np.full(9, 0.1), rho=0.0, level=0.95).interval).all()
    assert np.isnan(spread_explained(np.arange(7.0), np.ones(7), rho=0.0, level=0.95).interval).all()


def test_gaps_and_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        cronbach_alpha([[1.0, 2.0], [math.nan, 2.0], [1.0, 3.0]], 0.95)
    with pytest.raises(ValueError, match="standard error"):
        spread_explained(np.arange(9.0), np.ones(8), rho=0.0, level=0.95)
