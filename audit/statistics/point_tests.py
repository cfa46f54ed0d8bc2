"""Tests of laws of events: trend, fit, comparison with a constant rate, clustering, prediction, two rates.

Null distributions are simulated given the number of events, under which their times are independent draws; laws are
refitted to every simulated run.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special, stats

from audit.statistics.estimate import NO_INTERVAL, Estimate, Floats, checked_level
from audit.statistics.events import (
    chi_square,
    constant_counts,
    event_counts,
    line_r_squared,
    monte_carlo_p,
    rate_ratio_interval,
)
from audit.statistics.point_process import Law, fit_law, scaled_times
from audit.statistics.point_shapes import SHAPES, Shape

_COUNTLESS = 1e15  # a power law of a few late events foretells more than can be drawn
_SIZES = np.geomspace(0.02, 2000.0, 80)  # of a negative binomial


@dataclass(frozen=True, kw_only=True)
class TrendTest:
    """statistic: standard normal without trend, above 0 where events become more frequent; p_value: two-sided."""

    statistic: float
    p_value: float


def laplace_test(times: ArrayLike, end: float) -> TrendTest:
    """Laplace's trend test of times [n] in (0, end]: their mean against end / 2 (Cox and Lewis 1966)."""
    u = scaled_times(times, end, 1)
    statistic = math.sqrt(12.0 * len(u)) * float(u.mean() - 0.5)
    return TrendTest(statistic=statistic, p_value=2.0 * float(special.ndtr(-abs(statistic))))


@dataclass(frozen=True, kw_only=True)
class LikelihoodRatio:
    """statistic: twice the log-likelihood gained on a constant rate; p_value: of as large a gain, simulated."""

    statistic: float
    p_value: float


def against_constant(name: str, times: ArrayLike, end: float, rng: np.random.Generator, draws: int) -> LikelihoodRatio:
    """Likelihood ratio of law `name` and a constant rate for times [n], its null simulated (parametric bootstrap).

    Not chi-square: a change has no place under a constant rate, and saturation lies on the edge of its range.
    Errors as `fit_law`; ValueError for the constant rate itself.
    """
    if name == "constant":
        raise ValueError("a constant rate cannot be compared with itself")
    u = _checked(name, times, end)
    drawn = _uniform(u.shape[1], rng, draws)
    statistic = 2.0 * float(SHAPES[name].fit(u)[1][0])
    return LikelihoodRatio(statistic=statistic, p_value=monte_carlo_p(2.0 * SHAPES[name].fit(drawn)[1], statistic))


def _checked(name: str, times: ArrayLike, end: float) -> Floats:
    """Times as [1, n] in units of end, after the checks of `fit_law`."""
    law = fit_law(name, times, end)
    return scaled_times(times, law.end, 1)[None]


def _uniform(n: int, rng: np.random.Generator, draws: int) -> Floats:
    """Sorted times [draws, n] of a constant rate, in (0, 1]."""
    return np.sort(1.0 - rng.random((draws, n)), axis=1)


def _simulated(shape: Shape, fitted: Floats, n: int, rng: np.random.Generator, draws: int) -> Floats:
    """Sorted times [draws, n] of a fitted shape [1, p], in (0, 1]."""
    times = shape.quantile(np.repeat(fitted, draws, axis=0), _uniform(n, rng, draws))
    return np.clip(times, np.finfo(np.float64).tiny, 1.0)


@dataclass(frozen=True, kw_only=True)
class Goodness:
    """distance: Kolmogorov-Smirnov, on times rescaled by the fitted law; p_value: of as large a distance, simulated."""

    distance: float
    p_value: float


def goodness_of_fit(name: str, times: ArrayLike, end: float, rng: np.random.Generator, draws: int) -> Goodness:
    """Whether law `name` describes times [n]: N(t) / N(end), which it makes uniform, against the uniform distribution.

    The null is simulated from the fitted law and refitted, since fitting brings the distance down (Lilliefors). Times
    known only to a unit, or events in batches, add to the distance.
    """
    u = _checked(name, times, end)
    shape = SHAPES[name]
    fitted, _ = shape.fit(u)
    distance = float(_uniform_distance(shape.cumulative(fitted, u))[0])
    simulated = _simulated(shape, fitted, u.shape[1], rng, draws)
    null = _uniform_distance(shape.cumulative(shape.fit(simulated)[0], simulated))
    return Goodness(distance=distance, p_value=monte_carlo_p(null, distance))


def _uniform_distance(v: Floats) -> Floats:
    """Kolmogorov-Smirnov distance [k] of sorted v [k, n] from the uniform distribution."""
    n = v.shape[1]
    steps = np.arange(n + 1) / n
    return np.asarray(np.maximum((steps[1:] - v).max(axis=1), (v - steps[:-1]).max(axis=1)))


@dataclass(frozen=True, kw_only=True)
class Dispersion:
    """How much counts vary beyond a Poisson process of constant rate.

    index: variance over mean, 1 expected; index_range: its central range under a constant rate; p_value: of an index
    as large. negative_binomial_p: of a likelihood ratio as large in favour of a negative binomial; size: its fitted
    size (variance = mean + mean^2 / size), infinite where counts vary no more than Poisson.
    """

    index: float
    index_range: tuple[float, float]
    p_value: float
    negative_binomial_p: float
    size: float


def dispersion(counts: ArrayLike, level: float, rng: np.random.Generator, draws: int) -> Dispersion:
    """Counts [b] of equal batches against a constant Poisson rate, by simulation given their sum.

    A trend adds to the dispersion, as clustering does. ValueError: fewer than 2 batches, counts that are negative or
    not whole, or no events.
    """
    observed = event_counts(counts)
    bins = len(observed)
    simulated = constant_counts(int(observed.sum()), bins, rng, draws)
    index, null = (chi_square(part) / (bins - 1) for part in (observed[None], simulated))
    gains, sizes = _negative_binomial(np.concatenate([observed[None], simulated]))
    tail = (1.0 - checked_level(level)) / 2.0
    low, high = np.quantile(null, [tail, 1.0 - tail])
    return Dispersion(
        index=float(index[0]),
        index_range=(float(low), float(high)),
        p_value=monte_carlo_p(null, float(index[0])),
        negative_binomial_p=monte_carlo_p(gains[1:], float(gains[0])),
        size=float(sizes[0]),
    )


def _negative_binomial(counts: Floats) -> tuple[Floats, Floats]:
    """Log-likelihood gained [k] on Poisson by the best size on a grid, and that size [k], for counts [k, b].

    The mean of either is the mean count, so only the size is searched.
    """
    mean, bins = counts.mean(axis=1), counts.shape[1]
    values = np.arange(int(counts.max()) + 1)
    shared = np.stack([(counts == value).sum(axis=1) for value in values], axis=1).astype(np.float64)
    table = special.gammaln(values[:, None] + _SIZES) - special.gammaln(_SIZES)  # [values, sizes]
    gain = shared @ table - bins * _SIZES * np.log1p(mean[:, None] / _SIZES)
    gain -= bins * mean[:, None] * np.log(mean[:, None] + _SIZES) - bins * mean[:, None]
    best, rows = gain.argmax(axis=1), np.arange(len(counts))
    found = gain[rows, best]
    return np.maximum(found, 0.0), np.where(found > 0.0, _SIZES[best], np.inf)


def prediction(
    name: str, times: ArrayLike, end: float, ahead: float, level: float, rng: np.random.Generator, draws: int
) -> Estimate:
    """Events expected in (end, end + ahead] if law `name` goes on, with a prediction interval for their number.

    Each draw is a number of events ahead from the law refitted to a run simulated from the fit, so the interval holds
    the uncertainty of the parameters; not that of the law itself. n: events observed.
    """
    if not 0.0 < ahead < math.inf:
        raise ValueError(f"ahead must be positive and finite, got {ahead}")
    u = _checked(name, times, end)
    shape, n = SHAPES[name], u.shape[1]
    fitted, _ = shape.fit(u)
    simulated = _simulated(shape, fitted, n, rng, draws)
    later = np.array([[1.0 + ahead / end]])
    refitted = shape.cumulative(shape.fit(simulated)[0], np.repeat(later, draws, axis=0))[:, 0] - 1.0
    refitted = np.minimum(refitted, _COUNTLESS)
    # The spread of events over time does not depend on how many there are: the two vary independently.
    counts = rng.poisson(np.minimum(rng.poisson(n, draws) * refitted, _COUNTLESS))
    tail = (1.0 - checked_level(level)) / 2.0
    low, high = np.quantile(counts, [tail, 1.0 - tail], method="closest_observation")
    estimate = n * (float(shape.cumulative(fitted, later)[0, 0]) - 1.0)
    return Estimate(estimate=estimate, interval=(float(low), float(high)), n=n)


def line_r2(times: ArrayLike, end: float, points: int) -> float:
    """R^2 of the least-squares line through the cumulative count of times [n] at `points` equal steps from 0 to end."""
    u = scaled_times(times, end, 1)
    bins = _bins(points)
    counts = np.bincount(np.minimum(np.ceil(u * bins).astype(int), bins) - 1, minlength=bins)
    return float(line_r_squared(counts[None].astype(np.float64))[0])


def line_r2_null(law: Law, points: int, rng: np.random.Generator, draws: int) -> Floats:
    """`line_r2` [draws] of runs simulated from the law, with as many events as it expects by its end."""
    steps = law.cumulative(np.linspace(0.0, law.end, _bins(points) + 1))
    shares = np.diff(steps) / steps[-1]
    counts = rng.multinomial(max(1, round(law.expected)), shares / shares.sum(), size=draws)
    return line_r_squared(counts.astype(np.float64))


def _bins(points: int) -> int:
    if points < 3:
        raise ValueError(f"a line's fit needs 3 points, got {points}")
    return points - 1


@dataclass(frozen=True, kw_only=True)
class RateRatio:
    """estimate: first rate over second, infinite where the second has no events, NaN where neither has any.

    interval: exact; p_value: of equal rates, twice the smaller exact tail. n: events in all.
    """

    estimate: float
    interval: tuple[float, float]
    p_value: float
    n: int


def rate_ratio(first: int, exposure_first: float, second: int, exposure_second: float, level: float) -> RateRatio:
    """Ratio of two Poisson rates from counts and exposures, by the binomial given the sum (Przyborowski 1940).

    Holds for independent events; events in clusters make the interval too narrow.
    """
    if min(exposure_first, exposure_second) <= 0.0 or not math.isfinite(exposure_first + exposure_second):
        raise ValueError("exposures must be positive and finite")
    n = first + second
    if n == 0:
        return RateRatio(estimate=math.nan, interval=NO_INTERVAL, p_value=1.0, n=0)
    estimate, interval = rate_ratio_interval(first, exposure_first, second, exposure_second, level)
    share = exposure_first / (exposure_first + exposure_second)
    tails = stats.binom.cdf(first, n, share), stats.binom.sf(first - 1, n, share)
    return RateRatio(estimate=estimate, interval=interval, p_value=min(1.0, 2.0 * float(min(tails))), n=n)
