"""How well a score tells two classes apart: the receiver operating characteristic and the area under it."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy import special, stats

from audit.statistics.estimate import Estimate, Floats, checked_level, finite_vector

AREA_INTERVAL_FROM = 10  # members of either class


def roc_points(positives: ArrayLike, negatives: ArrayLike) -> Floats:
    """Corners of the ROC [k, 2] as (false, true) positive rate, from (0, 0) to (1, 1).

    positives [m], negatives [n]: scores, the higher the more suspect. A rule calls positive what scores above its
    threshold; equal scores pass it together.
    """
    above, below = _classes(positives, negatives)
    thresholds = np.concatenate([[np.inf], np.unique(np.concatenate([above, below]))[::-1]])
    rates = [(scores >= thresholds[:, None]).mean(axis=1) for scores in (below, above)]
    return np.stack(rates, axis=1)


def roc_area(positives: ArrayLike, negatives: ArrayLike) -> float:
    """Chance that a positive scores above a negative, ties counting half (Mann and Whitney 1947)."""
    return float(_wins(*_classes(positives, negatives)).mean())


def roc_area_interval(
    positives: ArrayLike, negatives: ArrayLike, level: float, rng: np.random.Generator, resamples: int
) -> Estimate:
    """ROC area of scores [m] and [n], both of at least 10, with an interval; n is the size of the smaller class.

    Standard error: bootstrap within either class. Limits: Student's t with the smaller class's degrees of freedom on
    the logit of the area, because the percentile bootstrap covers 80% for a nominal 95% at 10 a class and area 0.95.
    Classes that do not overlap leave nothing to resample. As many disjoint pairs as the smaller class has members are
    then in the right order; an area a gives that at most the chance a^members, and the limit is where this chance is
    half of 1 - level.
    """
    wins = _wins(*_classes(positives, negatives))
    m, n = wins.shape
    smaller = min(m, n)
    if smaller < AREA_INTERVAL_FROM:
        raise ValueError(f"an ROC area's interval needs {AREA_INTERVAL_FROM} members a class, got {smaller}")
    tail = (1.0 - checked_level(level)) / 2.0
    area = float(wins.mean())
    if area in (0.0, 1.0):
        floor = tail ** (1.0 / smaller)
        return Estimate(estimate=area, interval=(floor, 1.0) if area else (0.0, 1.0 - floor), n=smaller)
    counts = [rng.multinomial(size, np.full(size, 1.0 / size), size=resamples) for size in (m, n)]
    areas = ((counts[0] @ wins) * counts[1]).sum(axis=1) / (m * n)
    reach = float(stats.t.ppf(1.0 - tail, smaller - 1)) * float(areas.std(ddof=1)) / (area * (1.0 - area))
    middle = math.log(area / (1.0 - area))
    limits = (float(special.expit(middle - reach)), float(special.expit(middle + reach)))
    return Estimate(estimate=area, interval=limits, n=smaller)


def _classes(positives: ArrayLike, negatives: ArrayLike) -> tuple[Floats, Floats]:
    above, below = finite_vector(positives, "positives"), finite_vector(negatives, "negatives")
    if not len(above) or not len(below):
        raise ValueError(f"an ROC needs both classes, got {len(above)} positives and {len(below)} negatives")
    return above, below


def _wins(above: Floats, below: Floats) -> Floats:
    """[m, n]: 1 where the positive scores higher, 0.5 where they tie."""
    wins: Floats = (above[:, None] > below) + 0.5 * (above[:, None] == below)
    return wins
