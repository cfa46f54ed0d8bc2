"""Counts of events in equal bins of time, against a constant rate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from audit.statistics.estimate import Floats, checked_level
from audit.statistics.proportions import clopper_pearson


@dataclass(frozen=True, kw_only=True)
class ConstantRate:
    """How counts compare with those of a constant rate that give as many events in all.

    distance: largest gap between the cumulative share of events and that of time; p_value: of a gap as large.
    dispersion: Pearson's chi-square per degree of freedom; dispersion_p: of one as large. clustered_p: of a gap as
    large where events come in clusters as strong as that dispersion. r_squared: of the least-squares line through the
    cumulative counts, with the central range that a constant rate gives. ratio, ratio_interval: rate in the later half
    of the bins over that in the earlier half.
    """

    distance: float
    p_value: float
    dispersion: float
    dispersion_p: float
    clustered_p: float
    r_squared: float
    r_squared_range: tuple[float, float]
    ratio: float
    ratio_interval: tuple[float, float]
    n: int


def constant_rate(counts: ArrayLike, level: float, rng: np.random.Generator, draws: int) -> ConstantRate:
    """Counts [b] of equal bins against a constant rate, by simulation given their sum (Kolmogorov-Smirnov on bins).

    Under a constant rate, counts given their sum are multinomial. Events are taken to be independent, except in
    clustered_p, where their number is divided by the dispersion: conservative, since a trend adds to the dispersion.

    Raises:
        ValueError: fewer than two bins, or counts that are negative, not whole or all 0.
    """
    observed = event_counts(counts)
    n, bins = int(observed.sum()), len(observed)
    simulated = constant_counts(n, bins, rng, draws)
    chi, chi_drawn = (chi_square(part) for part in (observed[None], simulated))
    dispersion = float(chi[0]) / (bins - 1)
    distance = float(_distance(observed[None])[0])
    clustered = constant_counts(max(1, round(n / max(1.0, dispersion))), bins, rng, draws)
    ratio, interval = _ratio_of_halves(observed, level)
    tail = (1.0 - checked_level(level)) / 2.0
    lines = np.quantile(line_r_squared(simulated), [tail, 1.0 - tail])
    return ConstantRate(
        distance=distance,
        p_value=monte_carlo_p(_distance(simulated), distance),
        dispersion=dispersion,
        dispersion_p=monte_carlo_p(chi_drawn, float(chi[0])),
        clustered_p=monte_carlo_p(_distance(clustered), distance),
        r_squared=float(line_r_squared(observed[None])[0]),
        r_squared_range=(float(lines[0]), float(lines[1])),
        ratio=ratio,
        ratio_interval=interval,
        n=n,
    )


def event_counts(counts: ArrayLike) -> Floats:
    """Counts [b] of bins as floats. ValueError: fewer than two, negative, not whole or all 0."""
    observed = np.asarray(counts, dtype=np.float64)
    if observed.ndim != 1 or len(observed) < 2 or (observed < 0.0).any() or (observed % 1.0 != 0.0).any():
        raise ValueError("counts must be whole numbers of at least two bins")
    if observed.sum() == 0.0:
        raise ValueError("there are no events")
    return observed


def constant_counts(n: int, bins: int, rng: np.random.Generator, draws: int) -> Floats:
    """Counts [draws, bins] of n events at a constant rate."""
    return rng.multinomial(n, np.full(bins, 1.0 / bins), size=draws).astype(np.float64)


def monte_carlo_p(drawn: Floats, value: float) -> float:
    """Monte-Carlo p-value: the data count as one of the draws."""
    return (1.0 + float((drawn >= value - 1e-12).sum())) / (len(drawn) + 1.0)


def _distance(counts: Floats) -> Floats:
    """Largest gap of counts [k, b], in shares of all events."""
    bins = counts.shape[1]
    shares = counts.cumsum(axis=1) / counts.sum(axis=1, keepdims=True)
    return np.asarray(np.abs(shares - np.arange(1, bins + 1) / bins).max(axis=1))


def chi_square(counts: Floats) -> Floats:
    """Pearson's chi-square [k] of counts [k, b] against equal shares."""
    expected = counts.mean(axis=1, keepdims=True)
    return np.asarray(((counts - expected) ** 2 / expected).sum(axis=1))


def line_r_squared(counts: Floats) -> Floats:
    """R^2 of the line through cumulative counts of counts [k, b], from the point (0, 0) on."""
    curves = np.concatenate([np.zeros((len(counts), 1)), counts.cumsum(axis=1)], axis=1)
    time = np.arange(curves.shape[1]) - (curves.shape[1] - 1) / 2.0
    centred = curves - curves.mean(axis=1, keepdims=True)
    return np.asarray((centred @ time) ** 2 / ((time @ time) * (centred**2).sum(axis=1)))


def _ratio_of_halves(counts: Floats, level: float) -> tuple[float, tuple[float, float]]:
    half = len(counts) // 2
    later, earlier = int(counts[half:].sum()), int(counts[:half].sum())
    return rate_ratio_interval(later, len(counts) - half, earlier, half, level)


def rate_ratio_interval(
    first: int, exposure_first: float, second: int, exposure_second: float, level: float
) -> tuple[float, tuple[float, float]]:
    """First rate over second, with the exact interval that the binomial share of the first's events gives."""
    share = clopper_pearson(first, first + second, level)
    scale = exposure_second / exposure_first
    odds = [part / (1.0 - part) * scale if part < 1.0 else np.inf for part in (share.estimate, *share.interval)]
    return odds[0], (odds[1], odds[2])
