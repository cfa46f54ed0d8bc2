"""What every function here takes and hands back."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
NO_INTERVAL = (float("nan"), float("nan"))


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A number, its interval (NaN limits where the data allow none) and the number of values behind it."""

    estimate: float
    interval: tuple[float, float]
    n: int


def finite_vector(values: ArrayLike, name: str) -> Floats:
    """`values` as a float64 vector [n]. NaN, a failed run, is refused: dropping it would hide the failure."""
    vector = np.asarray(values, dtype=np.float64)
    if vector.ndim != 1:
        raise ValueError(f"{name} must be a vector, got shape {vector.shape}")
    if not np.isfinite(vector).all():
        raise ValueError(f"{name} must be finite; count failed runs against their arm before calling this")
    return vector


def mean_and_sd(values: Floats) -> tuple[float, float]:
    """Mean and SD (n - 1) of values [n], n >= 2.

    An SD within rounding of nothing (1e-10 of the mean) is 0: such data hold no measure of their own noise.
    """
    mean = float(values.sum()) / len(values)
    centred = values - mean
    sd = math.sqrt(float(centred @ centred) / (len(values) - 1))
    return mean, sd if sd > 1e-10 * abs(mean) else 0.0


def checked_level(level: float) -> float:
    """`level`, a probability such as 0.95; ValueError for anything else, 95 included."""
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must lie between 0 and 1, got {level}")
    return level
