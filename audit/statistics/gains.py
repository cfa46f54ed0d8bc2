"""Gains of a search that ran each proposal once, kept the best, and compared with it.

`gains` [m]: by how much each proposal was better than the best kept before it (positive is better), both run once, so
noise of SD `noise_sd` a run gives a difference an SD of sqrt(2) noise_sd. `df`: degrees of freedom of noise_sd,
infinite where it is taken as known. The best so far is likelier to have been lucky than not, which makes gains over it
look smaller; so one-sided tests that count every proposal, kept or not, keep their level in spite of the selection.
NaN or infinite values raise ValueError.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike
from scipy import special, stats

from audit.statistics.estimate import NO_INTERVAL, Floats, checked_level, finite_vector, mean_and_sd
from audit.statistics.multiplicity import holm
from audit.statistics.noise import heavy_tailed
from audit.statistics.paired import ASSUMED_EXCESS_KURTOSIS

NOISE_LIMIT_FROM = 7  # gains; half of fewer are too few to bound anything
NOISE_LIMIT_UP_TO = 2000  # more tighten the limit by nothing worth having
REFERENCE_VALUES = 4_000_000
TAIL_DF = 8.0  # limits far out use t with at most as many: noise of training runs has heavy tails
MOST_RECORDS = 256  # the chance of more among any number that a computer can hold is nil


@dataclass(frozen=True, kw_only=True)
class PooledSd:
    """SD within groups of repeated runs, its interval, the runs and the degrees of freedom behind it."""

    estimate: float
    interval: tuple[float, float]
    n: int
    df: int


def gain_p_values(gains: ArrayLike, noise_sd: float, df: float) -> Floats:
    """One-sided p-values [m] of "no better than the best before", Holm-adjusted over all m proposals."""
    values, unit = finite_vector(gains, "gains"), _difference_sd(noise_sd)
    return holm(np.asarray(stats.t.sf(values / unit, df), dtype=np.float64))


def gain_limits(gains: ArrayLike, noise_sd: float, df: float, level: float) -> tuple[Floats, Floats]:
    """Lower and upper limits [m] of the true gains, simultaneous at `level`.

    The lower ones are corrected for m proposals. The upper ones allow for any choice of both runs, m (m + 1) / 2
    pairs: a lucky best before it makes a gain look too small.
    """
    values, unit, alpha = finite_vector(gains, "gains"), _difference_sd(noise_sd), 1.0 - checked_level(level)
    m = max(len(values), 1)
    low = values - unit * float(stats.t.isf(alpha / (2 * m), df))
    return low, values + unit * float(stats.t.isf(alpha / (m * (m + 1)), min(df, TAIL_DF)))


def best_reach(n: int, noise_sd: float, df: float, level: float) -> tuple[float, float]:
    """How far the true value of the best of n single runs may be (worse, better) than its one run showed.

    Worse is corrected for the choice among n; better needs no correction, for a chosen run is rarely an unlucky one
    (see Fuentes, Casella and Wells 2018, EJS 12:58, on such asymmetric intervals).
    """
    alpha = 1.0 - checked_level(level)
    _difference_sd(noise_sd)
    worse, better = stats.t.isf([alpha / (2 * n), alpha / 2], min(df, TAIL_DF)) * noise_sd
    return float(worse), float(better)


def break_even_sd(gains: ArrayLike, level: float) -> Floats:
    """The noise SD [m] from which on each gain is no longer significant after Holm; 0 where there is no gain."""
    values, alpha = finite_vector(gains, "gains"), 1.0 - checked_level(level)
    order = np.argsort(-values, kind="stable")
    quantiles = special.ndtri(1.0 - alpha / np.arange(len(values), 0, -1))
    found = np.zeros(len(values))
    found[order] = np.minimum.accumulate(np.maximum(values[order], 0.0) / (math.sqrt(2.0) * quantiles))
    return found


def noise_limit(gains: ArrayLike, confidence: float) -> float:
    """Upper confidence limit of the noise SD of a run from the shortest half of gains [m]; NaN for m < 7.

    Proposals differ in truth as well, which spreads gains further: adding to log-concave noise spreads it at every
    quantile (Lewis and Thompson 1981), so the shortest interval that holds just over half of them, large for noise of
    SD 1 only rarely, bounds the noise. The reference is heavy-tailed noise (t, 4 df), more peaked than normal, which
    makes the limit larger than normal noise would.
    """
    values = np.sort(finite_vector(gains, "gains"))
    if len(values) < NOISE_LIMIT_FROM:
        return math.nan
    quantile = _shortest_half_quantile(min(len(values), NOISE_LIMIT_UP_TO), 1.0 - checked_level(confidence))
    return float(_shortest_half(values)) / quantile


def _shortest_half(ordered: Floats) -> Floats:
    """Length [...] of the shortest interval that holds m // 2 + 1 of values [..., m] in ascending order."""
    held = ordered.shape[-1] // 2 + 1
    return np.asarray((ordered[..., held - 1 :] - ordered[..., : ordered.shape[-1] - held + 1]).min(axis=-1))


@lru_cache(maxsize=64)
def _shortest_half_quantile(m: int, probability: float) -> float:
    """A constant of nature like a table of t, so the seed is fixed."""
    draws = min(REFERENCE_VALUES // m, 100_000)
    values = np.sort(heavy_tailed(np.random.default_rng(0), (draws, m)), axis=1)
    return float(np.quantile(_shortest_half(values), probability))


def pooled_sd(groups: Sequence[ArrayLike], level: float) -> PooledSd:
    """SD within groups of repeated runs; each group at least 2 values.

    The interval allows for heavy tails as `sd_interval` does for a single group. Groups without spread: SD 0 and no
    interval, for they are the same run twice.
    """
    vectors = [finite_vector(group, "repeats") for group in groups]
    n = sum(map(len, vectors))
    df = n - len(vectors)
    if df < 1:
        return PooledSd(estimate=math.nan, interval=NO_INTERVAL, n=n, df=0)
    squares = sum((len(vector) - 1) * mean_and_sd(vector)[1] ** 2 for vector in vectors if len(vector) > 1)
    sd = math.sqrt(squares / df)
    return PooledSd(estimate=sd, interval=sd_limits(sd, n, df, level), n=n, df=df)


def sd_limits(sd: float, n: int, df: int, level: float) -> tuple[float, float]:
    """Interval of an SD from n runs with df degrees of freedom, for excess kurtosis up to 6 (as `sd_interval`)."""
    if not (sd > 0.0 and df > 0):
        return NO_INTERVAL
    error = math.sqrt(ASSUMED_EXCESS_KURTOSIS / n + 2.0 / df)
    factor = math.exp(float(special.ndtri(0.5 + checked_level(level) / 2.0)) * error / 2.0)
    return sd / factor, sd * factor


def record_probabilities(n: int) -> Floats:
    """Chance [256] of 0, 1, 2, ... records after the first among n runs of equal truth, whatever the noise.

    Their generating function is the product of (i - 1 + z) / i over i = 2..n (Renyi 1962), inverted by an FFT.
    """
    z = np.exp(2j * np.pi * np.arange(MOST_RECORDS) / MOST_RECORDS)
    generating = np.exp(special.loggamma(n + z) - special.loggamma(1.0 + z) - special.gammaln(n + 1.0))
    return np.clip(np.fft.fft(generating).real / MOST_RECORDS, 0.0, 1.0)


def null_progress(n: ArrayLike, level: float) -> tuple[Floats, Floats]:
    """How far the best of n [k] equal runs seems ahead of the first of them, in noise SDs: limits [k], [k] of the
    central range of such searches; normal noise.
    """
    counts, tail = np.atleast_1d(np.asarray(n, dtype=np.float64)), (1.0 - checked_level(level)) / 2.0
    gap, first = np.linspace(0.0, 14.0, 1401), np.linspace(-8.0, 8.0, 321)
    log_within = special.log_ndtr(gap[:, None] - first)
    weight = np.exp(-(first**2) / 2.0)
    weight /= weight.sum()
    limits = np.empty((len(counts), 2))
    for i, count in enumerate(counts):
        cumulative = np.exp((count - 1.0) * log_within) @ weight
        limits[i] = gap[np.minimum(np.searchsorted(cumulative, (tail, 1.0 - tail)), len(gap) - 1)]
    return limits[:, 0], limits[:, 1]


def _difference_sd(noise_sd: float) -> float:
    if not 0.0 < noise_sd < math.inf:
        raise ValueError(f"noise_sd must be positive and finite, got {noise_sd}")
    return math.sqrt(2.0) * noise_sd
