"""Shares of units that come in clusters, such as components of architectures: clusters are what is drawn anew."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from audit.statistics.estimate import NO_INTERVAL, Estimate, Floats, checked_level
from audit.statistics.shares import ShareDifference, share_difference, wilson

CLUSTERS_FROM = 10
CHUNK = 1_000_000  # drawn clusters at a time


@dataclass(frozen=True, kw_only=True)
class ClusteredTest:
    """Rao and Scott's test: F statistic, its degrees of freedom, p-value, and the mean design effect behind it.

    design_effect: variance of the shares over that of as many independent units; NaN with the rest where not testable.
    """

    statistic: float
    df: tuple[float, float]
    p_value: float
    design_effect: float


def cluster_table(values: ArrayLike, name: str) -> Floats:
    """`values` as counts [clusters, columns], float64; ValueError where negative or not finite."""
    table = np.asarray(values, dtype=np.float64)
    if table.ndim != 2 or not np.isfinite(table).all() or (table < 0.0).any():
        raise ValueError(f"{name} must be finite counts [clusters, columns], not negative, got shape {table.shape}")
    return table


def resampled_sums(table: Floats, rng: np.random.Generator, resamples: int) -> Floats:
    """Column sums [resamples, columns] of a table [m, columns] whose m rows are drawn anew with replacement."""
    m = len(table)
    step = max(1, CHUNK // m)
    parts = []
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        drawn = rng.integers(0, m, size=(rows, m)) + m * np.arange(rows)[:, None]
        times = np.bincount(drawn.ravel(), minlength=rows * m).reshape(rows, m)
        parts.append(times.astype(np.float64) @ table)
    return np.concatenate(parts)


def _pairs(successes: ArrayLike, totals: ArrayLike) -> Floats:
    """Successes and totals as a table [m, 2], without clusters that have no units."""
    counted = cluster_table(np.column_stack([successes, totals]), "successes and totals")
    if (counted[:, 0] > counted[:, 1]).any():
        raise ValueError("a cluster cannot have more successes than units")
    return counted[counted[:, 1] > 0.0]


def _ratio(sums: Floats) -> Floats:
    """Shares [...] of sums [..., 2]; NaN of no units."""
    shares: Floats = np.divide(sums[..., 0], sums[..., 1], out=np.full(sums.shape[:-1], np.nan), where=sums[..., 1] > 0)
    return shares


def cluster_share(
    successes: ArrayLike, totals: ArrayLike, level: float, rng: np.random.Generator, resamples: int
) -> Estimate:
    """Share of successes [m] among totals [m], counts a cluster: all successes over all units.

    Wilson's interval at the effective number of units, that at which independent units would have the variance found
    by drawing clusters anew (Korn and Graubard 1998). So, because percentile, BCa and bootstrap-t cover less than they
    say for rare shares of few clusters. NaN limits below 10 clusters.
    """
    pairs = _pairs(successes, totals)
    share, size = _effective(pairs, checked_level(level), rng, resamples)
    limits = wilson(share, size, level).interval if len(pairs) >= CLUSTERS_FROM else NO_INTERVAL
    return Estimate(estimate=share, interval=limits, n=len(pairs))


def cluster_difference(
    first: ArrayLike,
    first_totals: ArrayLike,
    second: ArrayLike,
    second_totals: ArrayLike,
    level: float,
    rng: np.random.Generator,
    resamples: int,
) -> ShareDifference:
    """Share of a first group of clusters less that of a second; see `cluster_share`.

    first, first_totals: successes and units [m], second, second_totals: [j]. Newcombe's interval and the score test at
    the effective numbers of units. n: clusters. NaN limits and p-value where a group has fewer than 10.
    """
    groups = [_pairs(first, first_totals), _pairs(second, second_totals)]
    (share, size), (other, other_size) = (_effective(pairs, checked_level(level), rng, resamples) for pairs in groups)
    n = (len(groups[0]), len(groups[1]))
    if min(n) < CLUSTERS_FROM:
        return ShareDifference(estimate=share - other, interval=NO_INTERVAL, p_value=math.nan, n=n)
    found = share_difference(share, size, other, other_size, level)
    return ShareDifference(estimate=share - other, interval=found.interval, p_value=found.p_value, n=n)


def _effective(pairs: Floats, level: float, rng: np.random.Generator, resamples: int) -> tuple[float, float]:
    """Share and effective number of units, reduced for so few clusters as Korn and Graubard do (t for normal)."""
    m, share = len(pairs), float(_ratio(pairs.sum(axis=0)))
    if m < 2:
        return share, float(m)
    variance = float(_ratio(resampled_sums(pairs, rng, resamples)).var(ddof=1)) * m / (m - 1)
    # Without successes, or failures, nothing tells how they cluster: one unit a cluster is the most cautious reading.
    size = share * (1.0 - share) / variance if variance > 0.0 else math.inf
    size = min(size, float(pairs[:, 1].sum())) if 0.0 < share < 1.0 else float(m)
    tail = 0.5 + level / 2.0
    return share, size * float(stats.norm.ppf(tail) / stats.t.ppf(tail, m - 1)) ** 2


def rao_scott(table: ArrayLike, group: ArrayLike) -> ClusteredTest:
    """Do two groups of clusters have the same shares of categories? Rao and Scott's (1984, 1987) second-order test.

    table: counts [m clusters, k categories]. group [m]: two values, whole clusters belong to one. Pearson's statistic
    over the trace of the design effects, against F with Satterthwaite's degrees of freedom (Thomas and Rao 1987), those
    below from the smaller group. Far too cautious where most categories are rare. All NaN where fewer than two
    categories have counts, a group has fewer than two clusters, or clusters do not differ.
    """
    counts, member = cluster_table(table, "table"), np.asarray(group)
    names = np.unique(member)
    if member.shape != (len(counts),) or len(names) != 2:
        raise ValueError(f"group must name one of two groups for each of {len(counts)} clusters, got {names}")
    used = counts.sum(axis=1) > 0.0
    parts = [counts[used & (member == name)] for name in names]
    seen = counts.sum(axis=0) > 0.0
    if seen.sum() < 2 or min(len(part) for part in parts) < 2:
        return ClusteredTest(statistic=math.nan, df=NO_INTERVAL, p_value=math.nan, design_effect=math.nan)
    # The shares sum to 1, so one category says nothing beside the others.
    kept = np.flatnonzero(seen)[:-1]
    sums = [part.sum(axis=0) for part in parts]
    gap = (sums[0] / sums[0].sum() - sums[1] / sums[1].sum())[kept]
    pooled = ((sums[0] + sums[1]) / (sums[0].sum() + sums[1].sum()))[kept]
    independent = (np.diag(pooled) - np.outer(pooled, pooled)) * (1.0 / sums[0].sum() + 1.0 / sums[1].sum())
    effects = np.linalg.solve(independent, sum(_covariance(part)[np.ix_(kept, kept)] for part in parts))
    trace = float(np.trace(effects))
    if trace <= 1e-12:
        return ClusteredTest(statistic=math.nan, df=NO_INTERVAL, p_value=math.nan, design_effect=math.nan)
    freedom = trace**2 / float(np.trace(effects @ effects))
    # The smaller group's variance is most of the whole, and known from so many clusters.
    df = (freedom, freedom * (min(len(part) for part in parts) - 1))
    statistic = float(gap @ np.linalg.solve(independent, gap)) / trace
    p_value = float(stats.f.sf(statistic, *df))
    return ClusteredTest(statistic=statistic, df=df, p_value=p_value, design_effect=trace / len(kept))


def _covariance(counts: Floats) -> Floats:
    """Covariance [k, k] of a group's shares, from how its m clusters [m, k] differ (linearised ratio, Cochran 1977)."""
    m, sums = len(counts), counts.sum(axis=0)
    residuals = counts - counts.sum(axis=1, keepdims=True) * (sums / sums.sum())
    covariance: Floats = residuals.T @ residuals * (m / (m - 1) / sums.sum() ** 2)
    return covariance


def share_difference_by_n(
    first: float,
    second: float,
    n_first: Sequence[float],
    ratio: float,
    level: float,
    design_effects: Sequence[float] = (1.0,),
) -> pd.DataFrame:
    """A printed difference of two shares at each number of units it may rest on; see `share_difference`.

    n_first: units of the first group to try, the second having ratio times as many. design_effects: how many
    units of a cluster tell as much as one independent unit. Columns: n_first, n_second, design_effect, difference, low,
    high, p_value.
    """
    rows = []
    for effect in design_effects:
        if not effect > 0.0:
            raise ValueError(f"a design effect must be above 0, got {effect}")
        for n in n_first:
            found = share_difference(first, n / effect, second, ratio * n / effect, level)
            rows.append((n, ratio * n, effect, found.estimate, *found.interval, found.p_value))
    columns = ["n_first", "n_second", "design_effect", "difference", "low", "high", "p_value"]
    return pd.DataFrame(rows, columns=columns)
