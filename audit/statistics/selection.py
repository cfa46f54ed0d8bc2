"""What picking the best of many noisy results brings when nothing is better, and gains shrunk by what noise explains.

Noise is normal and independent between results unless it is said to be shared. An `Expectation` is a statement about
such a world, not a confidence interval of data.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import integrate, optimize, special

from audit.statistics.estimate import Floats, checked_level, finite_vector

SHRINK_FROM = 5  # gains
KNOTS = 512  # sizes at which a long curve is computed; between them it is drawn
NODES, WEIGHTS = np.polynomial.legendre.leggauss(64)


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """Mean of an outcome, and the limits between which it falls with the probability asked for."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Shrunk:
    """Gains as a normal-normal model sees them.

    centre, spread: mean and SD of the true gains. posterior: a row a gain, in the order given, with gain, noise_sd,
    shrunk (posterior mean), low, high, and p_positive, the probability that the true gain is above 0.
    """

    centre: float
    spread: float
    posterior: pd.DataFrame


def expected_best(n: int, sd: float, level: float) -> Expectation:
    """The largest of n normal results with mean 0 and SD `sd`; of the smallest it is the mirror image."""
    if n < 1 or not 0.0 <= sd < math.inf:
        raise ValueError(f"need one result or more and an SD of at least 0, got {n} and {sd}")
    tail = (1.0 - checked_level(level)) / 2.0
    low, high = (float(special.ndtri(q ** (1.0 / n))) for q in (tail, 1.0 - tail))
    return Expectation(mean=sd * _mean_largest(n), low=sd * low, high=sd * high)


def _mean_largest(n: int) -> float:
    """Mean of the largest of n standard normal values: the integral of x n pdf(x) cdf(x)^(n - 1)."""

    def density(x: float) -> float:
        return x * n * math.exp(-0.5 * x * x + (n - 1) * float(special.log_ndtr(x))) / math.sqrt(2.0 * math.pi)

    middle = float(special.ndtri(0.5 ** (1.0 / n)))
    return float(integrate.quad(density, middle - 9.0, middle + 9.0, points=[middle], epsabs=1e-10)[0])


def running_minimum_bias(noise_sd: float, n: int) -> Floats:
    """Mean of the smallest of the first i results less their common true value, i = 1..n, shape [n]; never above 0.

    The bias of a progress curve along which nothing changed; real differences between the results make it smaller.
    Beyond 512 results it is computed at 512 sizes and interpolated on the logarithm, to 4 digits.
    """
    if n < 1 or not 0.0 <= noise_sd < math.inf:
        raise ValueError(f"need one result or more and a noise SD of at least 0, got {n} and {noise_sd}")
    sizes = np.arange(1, n + 1)
    knots = np.unique(np.geomspace(1, n, KNOTS).round()) if n > KNOTS else sizes
    means = [_mean_largest(int(knot)) for knot in knots]
    return -noise_sd * np.interp(np.log(sizes), np.log(knots), means)


def expected_passes(
    n: int,
    noise_sds: tuple[float, float],
    baseline_sds: tuple[float, float],
    thresholds: tuple[float, float],
    *,
    correlation: float,
    level: float,
    rng: np.random.Generator,
    draws: int,
) -> Expectation:
    """How many of n candidates no better than the baseline pass a filter on two gains, both of which must exceed.

    Gains (larger is better) are a candidate's noise less the baseline's, with SDs noise_sds and baseline_sds, a pair
    each; `correlation` is that between the two noises of one run. The baseline is measured once: a lucky or unlucky
    measurement moves all candidates together, so the count varies far more than a binomial one.
    """
    noise, shared, bars = (np.asarray(pair, dtype=np.float64) for pair in (noise_sds, baseline_sds, thresholds))
    if n < 1 or not (noise > 0.0).all() or not (shared >= 0.0).all() or not np.isfinite([noise, shared, bars]).all():
        raise ValueError(
            "need one candidate or more, positive noise SDs, baseline SDs of at least 0, finite thresholds"
        )
    if not -1.0 < correlation < 1.0:
        raise ValueError(f"correlation must lie between -1 and 1, got {correlation}")
    baseline = rng.standard_normal((draws, 2))
    baseline[:, 1] = correlation * baseline[:, 0] + math.sqrt(1.0 - correlation**2) * baseline[:, 1]
    chance = _both_below(-(bars + shared * baseline) / noise, correlation)
    low, high = np.quantile(rng.binomial(n, chance), _tails(level), method="inverted_cdf")
    return Expectation(mean=n * float(chance.mean()), low=float(low), high=float(high))


def _both_below(limits: Floats, correlation: float) -> Floats:
    """P(X < limits[..., 0], Y < limits[..., 1]) of standard normal X, Y: P(Y < ..) averaged over X, by quadrature."""
    first = special.ndtr(limits[..., 0])
    x = special.ndtri(first[..., None] * (NODES + 1.0) / 2.0)
    rest = (limits[..., 1, None] - correlation * x) / math.sqrt(1.0 - correlation**2)
    below: Floats = np.clip(first * (special.ndtr(rest) @ WEIGHTS) / 2.0, 0.0, 1.0)
    return below


def expected_keeps_under_null(
    attempts: int, tolerance: float, *, level: float, rng: np.random.Generator, draws: int
) -> Expectation:
    """How many of `attempts` equal attempts after a baseline run a loop keeps, if it keeps every new best.

    tolerance: by how much, in SDs of one run's noise, an attempt must beat the best kept so far. With none the mean is
    the number of records, 1/2 + 1/3 + ... + 1/(attempts + 1) (Renyi 1962). Otherwise, and for the limits, `draws`
    loops are simulated from keep to keep: the wait for the next is geometric.
    """
    if attempts < 0 or not 0.0 <= tolerance < math.inf:
        raise ValueError(f"attempts and tolerance must be at least 0, got {attempts} and {tolerance}")
    best, done, keeps = rng.standard_normal(draws), np.zeros(draws), np.zeros(draws)
    running = np.arange(draws)
    while len(running):
        chance = special.ndtr(best[running] - tolerance)
        wait = np.ceil(np.log(1.0 - rng.random(len(running))) / np.log1p(-np.maximum(chance, 1e-300)))
        done[running] += np.maximum(wait, 1.0)
        best[running] = special.ndtri(chance * (1.0 - rng.random(len(running))))
        running = running[done[running] <= attempts]
        keeps[running] += 1.0
    mean = float(keeps.mean()) if tolerance else float(special.digamma(attempts + 2.0) - special.digamma(2.0))
    low, high = np.quantile(keeps, _tails(level), method="inverted_cdf")
    return Expectation(mean=mean, low=float(low), high=float(high))


def _tails(level: float) -> tuple[float, float]:
    tail = (1.0 - checked_level(level)) / 2.0
    return tail, 1.0 - tail


def shrink(gains: ArrayLike, noise_sds: ArrayLike, level: float) -> Shrunk:
    """Empirical-Bayes gains [n], n >= 5, of known noise (one SD, or one a gain [n]).

    True gains are taken as normal about a common centre, with Paule and Mandel's (1982) spread; posterior means and
    intervals are Morris's (1983), which allow for centre and spread being estimated. Under that model the interval of a
    gain holds however the gain was picked from those given: so give all attempts, not only the kept ones. A true gain
    unlike the others, such as a single large success, is shrunk too far.
    """
    values = finite_vector(gains, "gains")
    sds = finite_vector(np.broadcast_to(np.asarray(noise_sds, dtype=np.float64), values.shape), "noise_sds")
    n = len(values)
    if n < SHRINK_FROM or not (sds > 0.0).all():
        raise ValueError(f"shrinkage needs {SHRINK_FROM} gains or more and positive noise SDs")
    unit = float(np.sqrt((sds**2).mean()))
    y, variance = values / unit, (sds / unit) ** 2
    extra = _paule_mandel(y, variance)
    weights = 1.0 / (variance + extra)
    share = weights / weights.sum()
    centre = float(share @ y)
    pull = (n - 3) / (n - 1) * variance * weights
    shrunk = centre + (1.0 - pull) * (y - centre)
    doubt = 2.0 / (n - 3) * pull**2 * (float(variance.mean()) + extra) * weights
    error = np.sqrt((1.0 - (1.0 - share) * pull) * variance + doubt * (y - centre) ** 2)
    reach = float(special.ndtri(0.5 + checked_level(level) / 2.0)) * error
    posterior = pd.DataFrame(
        {
            "gain": values,
            "noise_sd": sds,
            "shrunk": unit * shrunk,
            "low": unit * (shrunk - reach),
            "high": unit * (shrunk + reach),
            "p_positive": special.ndtr(shrunk / error),
        }
    )
    return Shrunk(centre=unit * centre, spread=unit * math.sqrt(extra), posterior=posterior)


def _paule_mandel(values: Floats, variances: Floats) -> float:
    """Variance of the true values [n] whose weighted residual sum of squares is its expectation, n - 1.

    Own code: statsmodels' iteration stops at 0 for some data of unequal variances.
    """
    n = len(values)

    def excess(between: float) -> float:
        weights = 1.0 / (variances + between)
        return float(weights @ (values - weights @ values / weights.sum()) ** 2) - (n - 1)

    return float(optimize.brentq(excess, 0.0, values.var(ddof=1), xtol=1e-12)) if excess(0.0) > 0.0 else 0.0
