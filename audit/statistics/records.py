"""Records: results better than all before them, beside those of a search without learning."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import special

from audit.statistics.estimate import Floats, checked_level
from audit.statistics.events import monte_carlo_p

_CENTRAL = 0.95
_BLOCK = 250  # draws at a time, to keep memory small


def record_flags(values: ArrayLike, larger_is_better: bool) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Which of values [n] beat everything before, shape [n].

    NaN, a failed run, is never a record. Nor is the first result, which has nothing to beat; a tie beats nothing.
    """
    signed = _signed(values, larger_is_better)
    return np.asarray(_record_rows(signed[None])[0])


def _signed(values: ArrayLike, larger_is_better: bool) -> Floats:
    """Values [n], larger the better; NaN kept."""
    vector = np.asarray(values, dtype=np.float64)
    if vector.ndim != 1:
        raise ValueError(f"values must be a vector, got shape {vector.shape}")
    return vector if larger_is_better else -vector


def _record_rows(rows: Floats) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    """Records of rows [k, n], larger the better."""
    filled = np.where(np.isnan(rows), -np.inf, rows)
    start = np.full((len(rows), 1), -np.inf)
    before = np.maximum.accumulate(np.concatenate([start, filled[:, :-1]], axis=1), axis=1)
    return np.asarray((filled > before) & (before > -np.inf))


def expected_records(n: int) -> tuple[float, float]:
    """Mean and variance of the number of records after the first of n independent results of one distribution.

    Result i is the best so far with probability 1/i, independently (Renyi 1962): sums of 1/i and 1/i - 1/i^2.
    """
    orders = np.arange(2, n + 1, dtype=np.float64)
    return float((1.0 / orders).sum()), float((1.0 / orders - 1.0 / orders**2).sum())


@dataclass(frozen=True, kw_only=True)
class RecordTest:
    """count: records. expected, interval: mean and central 95% range of the count over random orders.

    p_value: two-sided, of a count as far out in a random order. n: results that are not NaN.
    """

    count: int
    expected: float
    interval: tuple[float, float]
    p_value: float
    n: int


def record_count_test(values: ArrayLike, larger_is_better: bool, rng: np.random.Generator, draws: int) -> RecordTest:
    """Number of records of values [n] against the same values in random order: a search that learns nothing.

    Failed runs, NaN, set no records and are left out. ValueError: fewer than 2 results.
    """
    signed = _signed(values, larger_is_better)
    signed = signed[~np.isnan(signed)]
    if len(signed) < 2:
        raise ValueError(f"records need 2 results, got {len(signed)}")
    count = int(_record_rows(signed[None]).sum())
    shuffled = rng.permuted(np.tile(signed, (draws, 1)), axis=1)
    drawn = _record_rows(shuffled).sum(axis=1).astype(np.float64)
    tails = monte_carlo_p(drawn, count), monte_carlo_p(-drawn, -count)
    low, high = np.quantile(drawn, [(1.0 - _CENTRAL) / 2.0, (1.0 + _CENTRAL) / 2.0], method="closest_observation")
    return RecordTest(
        count=count,
        expected=float(drawn.mean()),
        interval=(float(low), float(high)),
        p_value=min(1.0, 2.0 * min(tails)),
        n=len(signed),
    )


def noisy_records(values: ArrayLike, sd: float, rng: np.random.Generator, draws: int, larger_is_better: bool) -> Floats:
    """Probability [n] that each of values [n] is truly better than everything before it, given the SD of its noise.

    True values are drawn from their posterior under a normal prior with the values' own mean and variance less
    sd^2 (empirical Bayes), so the best results are drawn back to the rest. Where the values vary no more than noise,
    no result is a record. The noise is independent and normal. NaN and the first result have probability 0.
    """
    if not 0.0 <= sd < math.inf:
        raise ValueError(f"sd must be at least 0 and finite, got {sd}")
    signed = _signed(values, larger_is_better)
    present = ~np.isnan(signed)
    chances = np.zeros(len(signed))
    results = signed[present]
    if len(results) < 2:
        return chances
    variance = float(results.var(ddof=1))
    kept = max(0.0, 1.0 - sd**2 / variance) if variance > 0.0 else 0.0
    centre = results.mean() + kept * (results - results.mean())
    counted = np.zeros(len(results))
    for first in range(0, draws, _BLOCK):
        true = centre + sd * math.sqrt(kept) * rng.standard_normal((min(_BLOCK, draws - first), len(results)))
        counted += _record_rows(true).sum(axis=0)
    chances[present] = counted / draws if kept > 0.0 else 0.0
    return chances


def expected_best(values: ArrayLike, sizes: ArrayLike, level: float, larger_is_better: bool) -> pd.DataFrame:
    """Best of n of a search without learning: n of the run's own results at random, without replacement.

    values [m], NaN a failed run, which takes a draw and is never the best; sizes [k], each 1 to m. A row per size:
    size, mean, low, high, given that a result was drawn that is not NaN. Exact (hypergeometric). low and high hold
    the best with probability `level`.

    Raises:
        ValueError: no results, or a size outside 1 to m.
    """
    signed = _signed(values, larger_is_better)
    wanted = np.asarray(sizes, dtype=np.int64)
    total, results = len(signed), np.sort(signed[~np.isnan(signed)])
    if not len(results) or not len(wanted) or wanted.min() < 1 or wanted.max() > total:
        raise ValueError(f"need results, and sizes from 1 to {total}")
    tail = (1.0 - checked_level(level)) / 2.0
    ranks = np.arange(total - len(results), total + 1)  # values at or below each result, failed runs below all
    sign = 1.0 if larger_is_better else -1.0
    rows = []
    for size in wanted:
        cumulative = np.exp(_log_choose(ranks, size) - _log_choose(np.array([total]), size))
        below = (cumulative - cumulative[0]) / (1.0 - cumulative[0])
        mean = float(np.diff(below) @ results)
        low, high = (
            results[min(int(np.searchsorted(below[1:], q - 1e-12)), len(results) - 1)] for q in (tail, 1.0 - tail)
        )
        limits = sorted((sign * float(low), sign * float(high)))
        rows.append({"size": int(size), "mean": sign * mean, "low": limits[0], "high": limits[1]})
    return pd.DataFrame(rows)


def _log_choose(n: np.ndarray[tuple[int], np.dtype[np.int64]], k: int) -> Floats:
    """log of n choose k, minus infinity where n < k."""
    whole = np.maximum(n, k)
    value = special.gammaln(whole + 1.0) - special.gammaln(k + 1.0) - special.gammaln(whole - k + 1.0)
    return np.where(n < k, -np.inf, value)
