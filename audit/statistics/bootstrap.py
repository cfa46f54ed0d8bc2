"""Bootstrap intervals. Values equal up to rounding hold no measure of their noise: NaN limits."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from audit.statistics.estimate import NO_INTERVAL, Estimate, Floats, checked_level, finite_vector, mean_and_sd

BCA_FROM = 20
INTERQUARTILE_MEAN_FROM = 10


def bca(
    values: ArrayLike,
    statistic: Callable[..., Floats],
    level: float,
    rng: np.random.Generator,
    resamples: int,
) -> Estimate:
    """BCa interval (Efron 1987) of `statistic(values, axis)` for values [n], n >= 20."""
    vector = finite_vector(values, "values")
    if len(vector) < BCA_FROM:
        raise ValueError(f"a BCa interval needs {BCA_FROM} values, got {len(vector)}")
    estimate = float(statistic(vector, axis=-1))
    if mean_and_sd(vector)[1] == 0.0:
        return Estimate(estimate=estimate, interval=NO_INTERVAL, n=len(vector))
    limits = stats.bootstrap(
        (vector,),
        statistic,
        confidence_level=checked_level(level),
        method="BCa",
        n_resamples=resamples,
        rng=rng,
    ).confidence_interval
    return Estimate(estimate=estimate, interval=(float(limits.low), float(limits.high)), n=len(vector))


def interquartile_mean(values: ArrayLike) -> float:
    """Mean of values [n] without the lowest and highest quarter, rounded down (Agarwal et al. 2021)."""
    vector = finite_vector(values, "values")
    return float(stats.trim_mean(vector, 0.25)) if len(vector) else math.nan


def _trimmed_mean_and_error(values: Floats) -> tuple[Floats, Floats]:
    """Interquartile means of values [..., n] and their winsorised standard errors (Tukey and McLaughlin)."""
    n = values.shape[-1]
    cut = n // 4
    ordered = np.sort(values, axis=-1)
    winsorised = np.clip(ordered, ordered[..., cut : cut + 1], ordered[..., n - cut - 1 : n - cut])
    error = winsorised.std(axis=-1, ddof=1) / ((1.0 - 2.0 * cut / n) * math.sqrt(n))
    return ordered[..., cut : n - cut].mean(axis=-1), error


def interquartile_mean_interval(values: ArrayLike, level: float, rng: np.random.Generator, resamples: int) -> Estimate:
    """Interquartile mean of values [n], n >= 10, with a symmetric bootstrap-t interval (Wilcox 2012).

    Bootstrap-t, because percentile, BCa and Yuen's t cover less than they say at 10 values.
    """
    vector = finite_vector(values, "values")
    n = len(vector)
    if n < INTERQUARTILE_MEAN_FROM:
        raise ValueError(f"an interquartile mean's interval needs {INTERQUARTILE_MEAN_FROM} values, got {n}")
    mean, error = (float(part) for part in _trimmed_mean_and_error(vector))
    if mean_and_sd(vector)[1] == 0.0 or error == 0.0:
        return Estimate(estimate=mean, interval=NO_INTERVAL, n=n)
    means, errors = _trimmed_mean_and_error(vector[rng.integers(0, n, size=(resamples, n))])
    # A resample without spread says nothing about its own error: it counts as infinitely far out.
    distances = np.divide(np.abs(means - mean), errors, out=np.full(resamples, np.inf), where=errors > 0.0)
    reach = float(np.quantile(distances, checked_level(level), method="higher")) * error
    limits = (mean - reach, mean + reach) if math.isfinite(reach) else NO_INTERVAL
    return Estimate(estimate=mean, interval=limits, n=n)
