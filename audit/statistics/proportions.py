"""Rates: so many of so many."""

from __future__ import annotations

import math

from statsmodels.stats.proportion import proportion_confint

from audit.statistics.estimate import NO_INTERVAL, Estimate, checked_level


def clopper_pearson(successes: int, trials: int, level: float) -> Estimate:
    """successes / trials with the exact binomial interval of Clopper and Pearson (1934); NaN of no trials."""
    checked_level(level)
    if not 0 <= successes <= trials:
        raise ValueError(f"successes must lie between 0 and {trials} trials, got {successes}")
    if trials == 0:
        return Estimate(estimate=math.nan, interval=NO_INTERVAL, n=0)
    low, high = proportion_confint(successes, trials, 1.0 - level, method="beta")
    return Estimate(estimate=successes / trials, interval=(float(low), float(high)), n=trials)
