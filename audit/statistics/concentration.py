"""How unequally units, such as components, spread over categories: top share, Gini, entropy, effective number.

Counts are [k], one a category. All measures of a sample look more concentrated than the truth, the more so the smaller
the sample, because rare categories are missed; groups of different size are to be compared by `concentration_null`.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import special

from audit.statistics.clusters import CHUNK, cluster_table
from audit.statistics.estimate import NO_INTERVAL, Estimate, Floats, checked_level

MEASURES = ("top_share", "gini", "entropy", "effective_number")
CONCENTRATION_FROM = 100


def top_share(counts: ArrayLike, top: int) -> float:
    """Share of all units in the `top` largest categories."""
    return float(_measures(_counts(counts), top)[0])


def gini(counts: ArrayLike) -> float:
    """Gini's coefficient of the counts [k]: 0 where all are equal, 1 - 1/k where one has all. Empty ones count."""
    return float(_measures(_counts(counts), 1)[1])


def entropy(counts: ArrayLike) -> float:
    """Shannon's entropy of the shares, in bits."""
    return float(_measures(_counts(counts), 1)[2])


def effective_number(counts: ArrayLike) -> float:
    """Number of equally common categories that have the same entropy (Hill 1973, order 1)."""
    return float(_measures(_counts(counts), 1)[3])


def concentration_intervals(per_unit: ArrayLike, *, top: int, level: float) -> dict[str, Estimate]:
    """Each of MEASURES of counts [m clusters, k categories], summed over clusters, with a jackknife interval.

    It reaches from Student's t standard errors below the lower of the measure and its jackknife correction (Quenouille
    1956) to as much above the higher: cluster bootstraps carry the bias of rare categories twice, and cover less than
    they say. Units that are independent are clusters of one. NaN limits below 100 clusters or where they do not differ.
    """
    table = cluster_table(per_unit, "per_unit")
    table = table[table.sum(axis=1) > 0.0]
    m, level = len(table), checked_level(level)
    if m == 0:
        raise ValueError("per_unit must hold at least one unit")
    sums = table.sum(axis=0)
    found = _measures(sums, top)
    limits = np.full((len(MEASURES), 2), np.nan)
    if m >= CONCENTRATION_FROM:
        without = _measures(sums - table, top)
        bias = (m - 1) * (without.mean(axis=0) - found)
        error = np.sqrt((m - 1) / m * ((without - without.mean(axis=0)) ** 2).sum(axis=0))
        reach = float(special.stdtrit(m - 1, 0.5 + level / 2.0)) * error
        corrected = found - bias
        limits = np.column_stack([np.minimum(found, corrected) - reach, np.maximum(found, corrected) + reach])
        limits[error <= 1e-12] = np.nan
    bounds = {"top_share": 1.0, "gini": 1.0, "entropy": math.log2(len(sums)), "effective_number": float(len(sums))}
    return {
        name: Estimate(
            estimate=float(value),
            interval=(max(float(low), 0.0), min(float(high), bounds[name])) if math.isfinite(low) else NO_INTERVAL,
            n=m,
        )
        for name, value, (low, high) in zip(MEASURES, found, limits, strict=True)
    }


def concentration_null(
    counts_a: ArrayLike, counts_b: ArrayLike, *, top: int, level: float, rng: np.random.Generator, draws: int
) -> pd.DataFrame:
    """Each of MEASURES in two groups, their difference, and where it lies if both are draws from one population.

    Counts [k] of each: single units are dealt out anew, as if independent. Counts [m, k] and [j, k]: whole clusters
    are. p-value: twice the smaller tail of `draws` permutations. low, high: the middle `level` of the null, whose own
    middle is not 0 where the groups differ in size. Columns: measure, first, second, difference, low, high, p_value.
    """
    first, second = np.asarray(counts_a, dtype=np.float64), np.asarray(counts_b, dtype=np.float64)
    if first.ndim == 2:
        clusters = (cluster_table(first, "counts_a"), cluster_table(second, "counts_b"))
        sums = (clusters[0].sum(axis=0), clusters[1].sum(axis=0))
        dealt = _dealt_clusters(np.concatenate(clusters), len(first), rng, draws)
    else:
        sums = (_counts(first), _counts(second))
        pooled = (sums[0] + sums[1]).astype(np.int64)
        dealt = rng.multivariate_hypergeometric(pooled, int(sums[0].sum()), size=draws, method="marginals").astype(
            np.float64
        )
    found = [_measures(group, top) for group in sums]
    null = _measures(dealt, top) - _measures(sums[0] + sums[1] - dealt, top)
    gap = found[0] - found[1]
    # Rounding must not turn ties with the observed gap into smaller or larger ones.
    tails = np.minimum((null <= gap + 1e-12).sum(axis=0), (null >= gap - 1e-12).sum(axis=0))
    edge = (1.0 - checked_level(level)) / 2.0
    return pd.DataFrame(
        {
            "measure": MEASURES,
            "first": found[0],
            "second": found[1],
            "difference": gap,
            "low": np.quantile(null, edge, axis=0),
            "high": np.quantile(null, 1.0 - edge, axis=0),
            "p_value": np.minimum(1.0, 2.0 * (tails + 1) / (draws + 1)),
        }
    )


def tail(counts: ArrayLike, heads: int) -> NDArray[np.bool_]:
    """Which categories [k] are not among the `heads` largest of the counts [k]; ties go to the earlier one."""
    rare = np.ones(len(_counts(counts)), dtype=np.bool_)
    rare[np.argsort(-_counts(counts), kind="stable")[:heads]] = False
    return rare


def rarefied(counts: ArrayLike, sizes: ArrayLike, rare: ArrayLike) -> pd.DataFrame:
    """What draws of so many units, without replacement, from whole counts [k] would show: exact means and SDs.

    Numbers of categories and of the `rare` ones [k] (true: rare) seen at least once (Hurlbert 1971, Heck et al. 1975),
    and the share of units in rare ones, whose mean does not depend on the size. Columns: size, then categories,
    rare_categories, rare_share, each with its _sd.
    """
    whole, rare_ones = _counts(counts), np.asarray(rare, dtype=np.bool_)
    total = int(whole.sum())
    if rare_ones.shape != whole.shape or (whole != np.rint(whole)).any():
        raise ValueError("counts must be whole numbers, and `rare` tell of each category whether it is rare")
    share, rows = float(whole[rare_ones].sum()) / total, []
    for size in np.asarray(sizes, dtype=np.int64):
        if not 1 <= size <= total:
            raise ValueError(f"sizes must lie between 1 and the {total} units, got {size}")
        error = math.sqrt(share * (1.0 - share) / size * (total - size) / max(total - 1, 1))
        seen = (_seen(whole, int(size)), _seen(whole[rare_ones], int(size), total))
        rows.append((int(size), *seen[0], *seen[1], share, error))
    names = ["categories", "rare_categories", "rare_share"]
    return pd.DataFrame(rows, columns=["size", *(name + end for name in names for end in ("", "_sd"))])


def _seen(counts: Floats, size: int, total: int | None = None) -> tuple[float, float]:
    """Mean and SD of how many of the categories are seen in `size` units of `total` (all of these, if not given)."""
    whole = float(counts.sum()) if total is None else float(total)

    def missed(units: Floats) -> Floats:
        """Chance that none of so many units is drawn."""
        left = whole - units
        ways = special.gammaln(left + 1.0) - special.gammaln(np.maximum(left - size, 0.0) + 1.0)
        all_ways = special.gammaln(whole + 1.0) - special.gammaln(whole - size + 1.0)
        chance: Floats = np.where(left >= size, np.exp(ways - all_ways), 0.0)
        return chance

    single = missed(counts)
    both = missed(counts[:, None] + counts[None])
    np.fill_diagonal(both, single)
    variance = float((both - np.outer(single, single)).sum())
    return float((1.0 - single).sum()), math.sqrt(max(variance, 0.0))


def _dealt_clusters(table: Floats, first: int, rng: np.random.Generator, draws: int) -> Floats:
    """Sums [draws, k] of `first` clusters drawn without replacement from a table [m, k]."""
    m = len(table)
    step = max(1, CHUNK // m)
    chosen = np.arange(m) < first
    parts = []
    for start in range(0, draws, step):
        rows = min(step, draws - start)
        parts.append(rng.permuted(np.tile(chosen, (rows, 1)), axis=1).astype(np.float64) @ table)
    return np.concatenate(parts)


def _counts(counts: ArrayLike) -> Floats:
    vector = np.asarray(counts, dtype=np.float64)
    if vector.ndim != 1 or not np.isfinite(vector).all() or (vector < 0.0).any() or vector.sum() <= 0.0:
        raise ValueError("counts must be a vector of numbers, not negative, with at least one unit")
    return vector


def _measures(counts: Floats, top: int) -> Floats:
    """MEASURES [..., 4] of counts [..., k]."""
    k = counts.shape[-1]
    if not 1 <= top <= k:
        raise ValueError(f"top must lie between 1 and {k} categories, got {top}")
    shares = np.sort(counts / counts.sum(axis=-1, keepdims=True), axis=-1)
    bits = special.entr(shares).sum(axis=-1) / math.log(2.0)
    ranks = 2.0 * np.arange(1, k + 1) - k - 1.0
    return np.stack([shares[..., k - top :].sum(axis=-1), shares @ ranks / k, bits, np.exp2(bits)], axis=-1)
