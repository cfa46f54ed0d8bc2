"""The ratio of two means that were measured in pairs."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats
from statsmodels.stats.power import TTestPower

from audit.statistics.estimate import NO_INTERVAL, checked_level, finite_vector
from audit.statistics.paired import Ratio


def paired_ratio(first: ArrayLike, second: ArrayLike, level: float) -> Ratio:
    """Fieller's (1954) confidence set of mean(first) / mean(second) for pairs [n], n >= 2.

    The ratios r at which a paired t of first - r * second does not reject. "outside": all but the interval;
    "unbounded": no ratio is ruled out, which the limits say by being NaN.

    Raises:
        ValueError: fewer than two pairs, unequal lengths, or a value that is not finite.
    """
    a, b = finite_vector(first, "first"), finite_vector(second, "second")
    n = len(a)
    if n < 2 or len(b) != n:
        raise ValueError(f"a ratio needs two pairs or more, got {n} and {len(b)} values")
    q2 = float(stats.t.ppf(0.5 + checked_level(level) / 2.0, n - 1)) ** 2 / n
    covariance = np.cov(a, b)
    mean_a, mean_b = float(a.mean()), float(b.mean())
    # (mean_a - r mean_b)^2 <= q2 (s_aa - 2 r s_ab + r^2 s_bb): square - 2 r half + r^2 lead <= 0
    lead = mean_b**2 - q2 * float(covariance[1, 1])
    half = mean_a * mean_b - q2 * float(covariance[0, 1])
    square = mean_a**2 - q2 * float(covariance[0, 0])
    root = half**2 - lead * square
    estimate = mean_a / mean_b if mean_b else math.nan
    if lead == 0.0 or root < 0.0:
        return Ratio(estimate=estimate, interval=NO_INTERVAL, kind="unbounded")
    low, high = sorted(((half - math.sqrt(root)) / lead, (half + math.sqrt(root)) / lead))
    return Ratio(estimate=estimate, interval=(low, high), kind="bounded" if lead > 0.0 else "outside")


def detectable_difference(sd: float, n: int, *, alpha: float, power: float) -> float:
    """Smallest true mean difference of n pairs that a two-sided paired t finds with probability `power`.

    sd: of the differences, taken as known. In its unit; NaN without a spread.
    """
    if not sd > 0.0:
        return math.nan
    # one tail at alpha / 2: the other adds nothing
    return sd * float(
        TTestPower().solve_power(effect_size=None, nobs=n, alpha=alpha / 2.0, power=power, alternative="larger")
    )
