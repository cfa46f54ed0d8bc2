"""Which components are more common in one group of architectures than in another."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy import stats

from audit.statistics.estimate import NO_INTERVAL, checked_level
from audit.statistics.multiplicity import benjamini_hochberg


def enrichment(
    present_a: Mapping[str, int], n_a: int, present_b: Mapping[str, int], n_b: int, level: float
) -> pd.DataFrame:
    """Odds ratio of each component between a group of n_a and one of n_b, in which so many have it.

    Both name the same components. Conditional maximum-likelihood odds ratio with its exact interval (Cornfield 1956),
    Fisher's exact test, q: Benjamini and Hochberg's over all components. NaN ratio, p-value 1, of one that all or none
    have. Intervals hold one at a time. Columns: component, present_a, present_b, odds_ratio, low, high, p_value,
    q_value.
    """
    checked_level(level)
    if set(present_a) != set(present_b):
        raise ValueError("both groups must name the same components")
    rows = []
    for name, count in present_a.items():
        other = present_b[name]
        if not (0 <= count <= n_a and 0 <= other <= n_b):
            raise ValueError(f"{name}: so many of a group have it, at most all: {count} of {n_a}, {other} of {n_b}")
        rows.append(
            (name, int(count), int(other), *_odds(np.array([[count, n_a - count], [other, n_b - other]]), level))
        )
    columns = ["component", "present_a", "present_b", "odds_ratio", "low", "high", "p_value"]
    table = pd.DataFrame(rows, columns=columns)
    table["q_value"] = benjamini_hochberg(table["p_value"])
    return table


def _odds(counts: np.ndarray[tuple[int, int], np.dtype[np.int64]], level: float) -> tuple[float, float, float, float]:
    """Odds ratio, its limits and p-value of counts [2, 2]."""
    if (counts.sum(axis=0) == 0).any() or (counts.sum(axis=1) == 0).any():
        return float("nan"), *NO_INTERVAL, 1.0
    found = stats.contingency.odds_ratio(counts, kind="conditional")
    limits = found.confidence_interval(level)
    p_value = float(stats.fisher_exact(counts).pvalue)
    return float(found.statistic), float(limits.low), float(limits.high), p_value
