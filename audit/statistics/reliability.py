"""How much of the spread between models is real, and how much sampling noise of their scores."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from audit.statistics.estimate import NO_INTERVAL, Estimate, Floats, checked_level, finite_vector, mean_and_sd
from audit.statistics.paired import sd_interval

SPREAD_FROM = 8  # scores


def cronbach_alpha(scores: ArrayLike, level: float) -> Estimate:
    """Cronbach's (1951) alpha of scores [models, benchmarks]; n is the number of models.

    Share of the variance of the models' averages that the benchmarks agree on. Needs 3 models and 2 benchmarks. Limits:
    the outer of Feldt's (1965), exact for normal scores of equal variance and correlation in all benchmarks, and of the
    jackknife over models, because Feldt's cover 82% for a nominal 95% where true scores are skewed. Below 0: the
    benchmarks order the models against one another. NaN where all models have one average.
    """
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 2 or values.shape[0] < 3 or values.shape[1] < 2 or not np.isfinite(values).all():
        raise ValueError(f"scores must be finite, [3 or more models, 2 or more benchmarks], got shape {values.shape}")
    models, benchmarks = values.shape
    total = float(values.sum(axis=1).var(ddof=1))
    if total <= 1e-20 * float((values**2).sum()):
        return Estimate(estimate=math.nan, interval=NO_INTERVAL, n=models)
    alpha = benchmarks / (benchmarks - 1) * (1.0 - float(values.var(axis=0, ddof=1).sum()) / total)
    tail = (1.0 - checked_level(level)) / 2.0
    df = models - 1, (models - 1) * (benchmarks - 1)
    low, high = (1.0 - (1.0 - alpha) * float(special.fdtri(*df, q)) for q in (1.0 - tail, tail))
    lower, higher = _jackknife_limits(values, tail)
    return Estimate(estimate=alpha, interval=(min(low, lower), max(high, higher)), n=models)


def spread_explained(scores: ArrayLike, standard_errors: ArrayLike, *, rho: float, level: float) -> Estimate:
    """Share, 0 to 1, of the variance between scores [n] that their standard errors [n] explain, n >= 2.

    rho: correlation between the errors of any two scores (shared items); what is shared moves all alike and makes no
    spread. Interval: that of the observed SD, `sd_interval`, conservative for heavy tails, the standard errors taken as
    known; NaN limits below 8 scores. 1 means that noise alone would spread the scores as much or more. Scores that were
    picked above a bar spread less than those they were picked from: the share is that of the picked ones.
    """
    values, errors = finite_vector(scores, "scores"), finite_vector(standard_errors, "standard_errors")
    n = len(values)
    if n < 2 or errors.shape != values.shape or (errors < 0.0).any() or not 0.0 <= rho <= 1.0:
        raise ValueError("need 2 scores or more, a standard error of at least 0 for each, and rho from 0 to 1")
    noise = float((errors**2).mean()) * (1.0 - rho)
    sd = mean_and_sd(values)[1]
    if sd == 0.0:
        return Estimate(estimate=1.0 if noise else math.nan, interval=NO_INTERVAL, n=n)
    low, high = sd_interval(values, level).interval if n >= SPREAD_FROM else NO_INTERVAL
    limits = (float(np.minimum(1.0, noise / high**2)), float(np.minimum(1.0, noise / low**2)))
    return Estimate(estimate=min(1.0, noise / sd**2), interval=limits, n=n)


def _jackknife_limits(values: Floats, tail: float) -> tuple[float, float]:
    """Limits of alpha: Student's t on the pseudo-values of log(1 - alpha) when each model is left out."""
    models, benchmarks = values.shape
    columns, total = _variances_without_one(values).sum(axis=1), _variances_without_one(values.sum(axis=1))
    everything = float(values.var(axis=0, ddof=1).sum()), float(values.sum(axis=1).var(ddof=1))

    def disagreement(own: Floats | float, of_sums: Floats | float) -> Floats:
        left = 1.0 - benchmarks / (benchmarks - 1) * (1.0 - np.divide(own, of_sums))
        logarithm: Floats = np.log(np.maximum(left, 1e-12))
        return logarithm

    middle = float(disagreement(*everything))
    pseudo = models * middle - (models - 1) * disagreement(columns, total)
    reach = float(special.stdtrit(models - 1, 1.0 - tail)) * float(pseudo.std(ddof=1)) / math.sqrt(models)
    return 1.0 - math.exp(middle + reach), 1.0 - math.exp(middle - reach)


def _variances_without_one(values: Floats) -> Floats:
    """Variances over the first axis when each of its m entries is left out, [m, ...]."""
    m = len(values)
    squares = (values - values.mean(axis=0)) ** 2
    left: Floats = (squares.sum(axis=0) - squares * m / (m - 1)) / (m - 2)
    return left
