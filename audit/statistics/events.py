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
    observed = np.asarray(counts, dtype=np.float64)
    if observed.ndim != 1 or len(observed) < 2 or (observed < 0.0).any() or (observed % 1.0 != 0.0).any():
        raise ValueError("counts must be whole numbers of at least two bins")
    n, bins = int(observed.sum()), len(observed)
    if n == 0:
        raise ValueError("there are no events")
    simulated = _simulated(n, bins, rng, draws)
    chi, chi_drawn = (_chi_square(part) for part in (observed[None], simulated))
    dispersion = float(chi[0]) / (bins - 1)
    distance = float(_distance(observed[None])[0])
    clustered = _simulated(max(1, round(n / max(1.0, dispersion))), bins, rng, draws)
    ratio, interval = _ratio_of_halves(observed, level)
    tail = (1.0 - checked_level(level)) / 2.0
    lines = np.quantile(_r_squared(simulated), [tail, 1.0 - tail])
    return ConstantRate(
        distance=distance,
        p_value=_share_at_least(_distance(simulated), distance),
        dispersion=dispersion,
        dispersion_p=_share_at_least(chi_drawn, float(chi[0])),
        clustered_p=_share_at_least(_distance(clustered), distance),
        r_squared=float(_r_squared(observed[None])[0]),
        r_squared_range=(float(lines[0]), float(lines[1])),
        ratio=ratio,
        ratio_interval=interval,
        n=n,
    )


def _simulated(n: int, bins: int, rng: np.random.Generator, draws: int) -> Floats:
    return rng.multinomial(n, np.full(bins, 1.0 / bins), size=draws).astype(np.float64)


def _share_at_least(drawn: Floats, value: float) -> float:
    """Monte-Carlo p-value: the data count as one of the draws."""
    return (1.0 + float((drawn >= value - 1e-12).sum())) / (len(drawn) + 1.0)


def _distance(counts: Floats) -> Floats:
    """Largest gap of counts [k, b], in shares of all events."""
    bins = counts.shape[1]
    shares = counts.cumsum(axis=1) / counts.sum(axis=1, keepdims=True)
    return np.asarray(np.abs(shares - np.arange(1, bins + 1) / bins).max(axis=1))


def _chi_square(counts: Floats) -> Floats:
    expected = counts.mean(axis=1, keepdims=True)
    return np.asarray(((counts - expected) ** 2 / expected).sum(axis=1))


def _r_squared(counts: Floats) -> Floats:
    """R^2 of the line through cumulative counts of counts [k, b], from the point (0, 0) on."""
    curves = np.concatenate([np.zeros((len(counts), 1)), counts.cumsum(axis=1)], axis=1)
    time = np.arange(curves.shape[1]) - (curves.shape[1] - 1) / 2.0
    centred = curves - curves.mean(axis=1, keepdims=True)
    return np.asarray((centred @ time) ** 2 / ((time @ time) * (centred**2).sum(axis=1)))


def _ratio_of_halves(counts: Floats, level: float) -> tuple[float, tuple[float, float]]:
    """Later rate over earlier, with the exact interval that the binomial share of later events gives."""
    half = len(counts) // 2
    exposure = half / (len(counts) - half)
    later = clopper_pearson(int(counts[half:].sum()), int(counts.sum()), level)
    odds = [share / (1.0 - share) * exposure if share < 1.0 else np.inf for share in (later.estimate, *later.interval)]
    return odds[0], (odds[1], odds[2])
