"""Sampling error of benchmark averages, from the number of items of each benchmark.

Accuracies are fractions. The error meant is that of the items drawn: another seed's training would add its own, so
what is found here within the error is within it for certain, not the other way round.

rho: correlation over the items of a benchmark between two models' right and wrong answers, an assumption: two models of
one family tend to fail the same items, which cancels in their difference. Two accuracies far apart cannot correlate
highly; rho is cut, benchmark by benchmark, to the largest that the accuracies furthest apart allow.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import special

from audit.statistics.estimate import Floats, checked_level
from audit.statistics.multiplicity import benjamini_hochberg, holm

CHUNK = 4_000_000  # normal draws held at once


def accuracy_se(accuracy: ArrayLike, items: ArrayLike) -> float:
    """Standard error of the mean of one model's accuracies [b] on benchmarks of items [b] items."""
    values, sizes = _checked(np.atleast_1d(accuracy)[None], items)
    return float(np.sqrt(_covariance(values, sizes, 0.0)[0, 0]))


def difference_se(first: ArrayLike, second: ArrayLike, items: ArrayLike, rho: float) -> float:
    """Standard error of the difference of two models' mean accuracies [b], measured on the same items [b].

    Per benchmark the variance is [p1 q1 + p2 q2 - 2 rho sqrt(p1 q1 p2 q2)] / items.
    """
    values, sizes = _checked(_pair(first, second), items)
    return _pair_se(values, sizes, rho)


def compare_with_baselines(
    candidates: ArrayLike,
    baselines: ArrayLike,
    items: ArrayLike,
    *,
    rho: float,
    level: float,
    rng: np.random.Generator,
    draws: int,
) -> pd.DataFrame:
    """Every candidate [m, b] against every baseline [k, b] on benchmarks of items [b], as one family.

    Each row: row numbers of candidate and baseline, difference of the mean accuracies, its standard error, z, two-sided
    p-value, p-values corrected by Holm, by Benjamini and Hochberg, and by the distribution of the largest |z|
    (Hothorn, Bretz and Westfall 2008), and simultaneous limits from that distribution. This is normal, with the
    covariance that one shared measurement of each baseline and of each candidate, and shared items, bring; its quantile
    comes from `draws` draws. A difference whose standard error is 0 is not testable: NaN, and p = 1 in the family.
    """
    ours, theirs = (np.atleast_2d(np.asarray(part, dtype=np.float64)) for part in (candidates, baselines))
    if ours.ndim != 2 or theirs.ndim != 2 or ours.shape[1] != theirs.shape[1]:
        raise ValueError(f"candidates and baselines must be [models, benchmarks], got {ours.shape} and {theirs.shape}")
    values, sizes = _checked(np.concatenate([ours, theirs]), items)
    m, k = len(ours), len(theirs)
    candidate, baseline = (axis.ravel() for axis in np.indices((m, k)))
    models = _covariance(values, sizes, rho)
    contrast = np.eye(m + k)[candidate] - np.eye(m + k)[m + baseline]
    difference = contrast @ values.mean(axis=1)
    error = np.sqrt(np.maximum(((contrast @ models) * contrast).sum(axis=1), 0.0))
    z = np.divide(difference, error, out=np.full(m * k, np.nan), where=error > 1e-12)
    p = 2.0 * special.ndtr(-np.abs(z))
    largest = _largest_z(models, contrast, error, rng, draws)
    reach = float(np.quantile(largest, checked_level(level), method="higher")) * error
    beyond = draws - np.searchsorted(largest, np.abs(z), side="left")
    return pd.DataFrame(
        {
            "candidate": candidate,
            "baseline": baseline,
            "difference": difference,
            "se": error,
            "z": z,
            "p_value": p,
            "p_holm": holm(p),
            "p_bh": benjamini_hochberg(p),
            "p_simultaneous": np.where(np.isnan(z), 1.0, np.maximum((beyond + 1.0) / (draws + 1.0), p)),
            "low": np.where(np.isnan(z), np.nan, difference - reach),
            "high": np.where(np.isnan(z), np.nan, difference + reach),
        }
    )


def leave_one_out(
    candidate: ArrayLike, baseline: ArrayLike, items: ArrayLike, names: Sequence[str], *, rho: float, level: float
) -> pd.DataFrame:
    """Difference of two models' mean accuracies [b], over all benchmarks and without each in turn.

    names: of the benchmarks [b], b >= 2. Rows: the benchmark left out ("" for none), difference, se, z, p_value, low,
    high; each row on its own, not corrected for the number of rows.
    """
    values, sizes = _checked(_pair(candidate, baseline), items)
    if len(names) != len(sizes) or len(sizes) < 2:
        raise ValueError(f"need two benchmarks or more and a name for each, got {len(sizes)} and {len(names)} names")
    quantile = float(special.ndtri(0.5 + checked_level(level) / 2.0))
    rows = []
    for left_out, name in enumerate(["", *names], start=-1):
        kept = np.arange(len(sizes)) != left_out
        difference = float((values[0, kept] - values[1, kept]).mean())
        error = _pair_se(values[:, kept], sizes[kept], rho)
        z = difference / error if error > 1e-12 else math.nan
        reach = quantile * error if error > 1e-12 else math.nan
        rows.append(
            (name, difference, error, z, 2.0 * float(special.ndtr(-abs(z))), difference - reach, difference + reach)
        )
    return pd.DataFrame(rows, columns=["left_out", "difference", "se", "z", "p_value", "low", "high"])


def _covariance(accuracy: Floats, items: Floats, rho: float) -> Floats:
    """Covariance [models, models] of mean accuracies, accuracy [models, b]."""
    if not 0.0 <= rho < 1.0:
        raise ValueError(f"rho must be at least 0 and below 1, got {rho}")
    lowest, highest = accuracy.min(axis=0), accuracy.max(axis=0)
    odds = lowest * (1.0 - highest), highest * (1.0 - lowest)
    feasible = np.sqrt(np.divide(odds[0], odds[1], out=np.zeros_like(lowest), where=odds[1] > 0.0))
    spread = np.sqrt(accuracy * (1.0 - accuracy) / items) / len(items)
    shared = spread * np.sqrt(np.minimum(rho, feasible))
    covariance: Floats = shared @ shared.T
    np.fill_diagonal(covariance, (spread**2).sum(axis=1))
    return covariance


def _pair_se(accuracy: Floats, items: Floats, rho: float) -> float:
    covariance = _covariance(accuracy, items, rho)
    return math.sqrt(max(float(covariance[0, 0] + covariance[1, 1] - 2.0 * covariance[0, 1]), 0.0))


def _largest_z(models: Floats, contrast: Floats, error: Floats, rng: np.random.Generator, draws: int) -> Floats:
    """Sorted draws [draws] of the largest |z| among the contrasts when all true differences are 0."""
    values, vectors = np.linalg.eigh(models)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    tested = error > 1e-12
    if not tested.any():
        return np.zeros(draws)
    scaled = (contrast[tested] @ root / error[tested, None]).T
    step = max(1, CHUNK // max(scaled.shape))
    parts = [
        np.abs(rng.standard_normal((min(step, draws - start), len(scaled))) @ scaled).max(axis=1)
        for start in range(0, draws, step)
    ]
    return np.sort(np.concatenate(parts))


def _pair(first: ArrayLike, second: ArrayLike) -> Floats:
    one, other = (np.atleast_1d(np.asarray(part, dtype=np.float64)) for part in (first, second))
    if one.shape != other.shape or one.ndim != 1:
        raise ValueError(f"the two models need one accuracy a benchmark each, got shapes {one.shape} and {other.shape}")
    return np.stack([one, other])


def _checked(accuracy: ArrayLike, items: ArrayLike) -> tuple[Floats, Floats]:
    values, sizes = np.asarray(accuracy, dtype=np.float64), np.asarray(items, dtype=np.float64)
    if sizes.ndim != 1 or not len(sizes) or values.shape[1:] != sizes.shape:
        raise ValueError(f"accuracies {values.shape} must end in one value a benchmark, items {sizes.shape}")
    if not ((values >= 0.0) & (values <= 1.0)).all():
        raise ValueError("accuracies must be fractions from 0 to 1; divide percentages by 100 and leave out gaps")
    if not ((sizes >= 1.0) & np.isfinite(sizes)).all():
        raise ValueError("every benchmark needs at least one item")
    return values, sizes
