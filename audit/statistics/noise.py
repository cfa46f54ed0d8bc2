"""Noise of known shape for calibration: every sampler draws mean 0, SD 1."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from audit.statistics.estimate import Floats, finite_vector

Sampler = Callable[[np.random.Generator, tuple[int, ...]], Floats]
LOG_SD = 0.5  # shifted lognormal: skewness 1.75, excess kurtosis 5.9


def normal(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Standard normal."""
    return rng.standard_normal(shape)


def skewed(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Shifted lognormal: the loss of an arm with the odd bad seed."""
    variance = math.expm1(LOG_SD**2) * math.exp(LOG_SD**2)
    return (rng.lognormal(0.0, LOG_SD, shape) - math.exp(LOG_SD**2 / 2.0)) / math.sqrt(variance)


def skewed_arms(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Difference of two skewed arms, as paired comparisons have it: symmetric, heavy-tailed."""
    return (skewed(rng, shape) - skewed(rng, shape)) / math.sqrt(2.0)


def heavy_tailed(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Student's t with 4 degrees of freedom."""
    return rng.standard_t(4.0, shape) / math.sqrt(2.0)


def very_heavy_tailed(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Student's t with 3 degrees of freedom: an SD, but no kurtosis."""
    return rng.standard_t(3.0, shape) / math.sqrt(3.0)


def measured(residuals: ArrayLike) -> Sampler:
    """Draws with replacement from measured residuals [m], brought to mean 0, SD 1."""
    vector = finite_vector(residuals, "residuals")
    if len(vector) < 2 or vector.std() == 0.0:
        raise ValueError("measured noise needs at least two different residuals")
    standardised = (vector - vector.mean()) / vector.std()
    return lambda rng, shape: rng.choice(standardised, size=shape)


SAMPLERS: dict[str, Sampler] = {
    "normal": normal,
    "skewed": skewed,
    "skewed_arms": skewed_arms,
    "heavy_tailed": heavy_tailed,
    "very_heavy_tailed": very_heavy_tailed,
    "skewed_difference": skewed,
}
