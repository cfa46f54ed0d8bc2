"""Two shares compared, and shares whose units come in clusters."""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy import stats
from statsmodels.stats.proportion import confint_proportions_2indep, score_test_proportions_2indep

from audit.statistics.estimate import NO_INTERVAL, Estimate, checked_level


@dataclass(frozen=True, kw_only=True)
class ShareDifference:
    """First share minus second, its interval, the two-sided p-value of their equality, and the two numbers of units."""

    estimate: float
    interval: tuple[float, float]
    p_value: float
    n: tuple[int, int]


def share_difference(first: float, n_first: float, second: float, n_second: float, level: float) -> ShareDifference:
    """Difference of two independent shares: Newcombe's (1998) interval, score test.

    first, second: shares from 0 to 1 of n_first and n_second units; the numbers may be effective ones, not whole. NaN
    limits and p-value where a group is empty.
    """
    alpha = 1.0 - checked_level(level)
    if not (0.0 <= first <= 1.0 and 0.0 <= second <= 1.0 and n_first >= 0.0 and n_second >= 0.0):
        raise ValueError(f"shares must lie from 0 to 1 and numbers be positive: {first}/{n_first}, {second}/{n_second}")
    sizes = (round(n_first), round(n_second))
    if min(n_first, n_second) < 1.0:
        return ShareDifference(estimate=first - second, interval=NO_INTERVAL, p_value=math.nan, n=sizes)
    counts = (first * n_first, n_first, second * n_second, n_second)
    low, high = confint_proportions_2indep(*counts, method="newcomb", compare="diff", alpha=alpha)
    pooled = (counts[0] + counts[2]) / (n_first + n_second)
    p_value = 1.0
    if first != second and 0.0 < pooled < 1.0:
        p_value = float(score_test_proportions_2indep(*counts, compare="diff", correction=False).pvalue)
    return ShareDifference(estimate=first - second, interval=(float(low), float(high)), p_value=p_value, n=sizes)


def wilson(share: float, n: float, level: float) -> Estimate:
    """A share of n units, which may be an effective number, with Wilson's (1927) score interval."""
    checked_level(level)
    if not 0.0 <= share <= 1.0:
        raise ValueError(f"a share must lie from 0 to 1, got {share}")
    if n < 1.0:
        return Estimate(estimate=share, interval=NO_INTERVAL, n=round(n))
    z2 = float(stats.norm.ppf(0.5 + level / 2.0)) ** 2
    centre, reach = share + z2 / (2.0 * n), math.sqrt(z2 * (share * (1.0 - share) + z2 / (4.0 * n)) / n)
    scale = 1.0 + z2 / n
    return Estimate(estimate=share, interval=((centre - reach) / scale, (centre + reach) / scale), n=round(n))


def smallest_significant(first: float, second: float, ratio: float, level: float) -> int | None:
    """Smallest n of the first group at which two such shares would differ, the second group being ratio * n.

    Two-sided z-test with the pooled share; None where the shares are equal.
    """
    if first == second:
        return None
    z = float(stats.norm.ppf(0.5 + checked_level(level) / 2.0))
    pooled = (first + ratio * second) / (1.0 + ratio)
    return math.ceil(z**2 * pooled * (1.0 - pooled) * (1.0 + 1.0 / ratio) / (first - second) ** 2)
