"""What a loss-versus-scale fit rests on: refits without single points or extreme sizes, and a test of the form."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from audit.statistics.estimate import Floats
from audit.statistics.scaling_fit import fit_scaling, refit

LEAST_SQUARES = 1.0  # a delta so wide that every log residual is in Huber's quadratic part


@dataclass(frozen=True, kw_only=True)
class LackOfFit:
    """F test of a curve against the means of repeated sizes; NaN where no size is repeated or none is left to test.

    residual_sd: SD of log residuals about the least-squares curve.
    """

    statistic: float
    p_value: float
    degrees: tuple[int, int]
    residual_sd: float


def sensitivity(
    loss: ArrayLike, *, parameters: ArrayLike | None = None, tokens: ArrayLike | None = None, delta: float
) -> pd.DataFrame:
    """Refits of losses [n] without each point, and without the smallest and the largest value of each size.

    Columns left_out (first row: nothing), points, and the fit's parameters. A refit that too few points are left for is
    no row. Raises ValueError as `fit_scaling` does.
    """
    sizes = {name: np.asarray(values, dtype=np.float64) for name, values in _given(parameters, tokens)}
    fit = fit_scaling(loss, **sizes, delta=delta)
    subsets = [(words, kept) for words, kept in _subsets(sizes, fit.n) if kept.sum() > 2 * len(sizes)]
    weights = np.array([kept for _, kept in subsets], dtype=np.float64)
    values = refit(fit, weights, loss, **sizes, delta=delta)
    about = {"left_out": [words for words, _ in subsets], "points": weights.sum(axis=1).astype(int)}
    return pd.DataFrame(about | dict(zip(fit.parameters, values.T, strict=True)))


def lack_of_fit(loss: ArrayLike, *, parameters: ArrayLike | None = None, tokens: ArrayLike | None = None) -> LackOfFit:
    """Whether the curve misses the means of repeated sizes by more than their noise (Draper and Smith 1998, 2.1).

    On log losses [n], taken to be normal with one SD, and the least-squares curve. ValueError as `fit_scaling`.
    """
    given = dict(_given(parameters, tokens))
    fit = fit_scaling(loss, **given, delta=LEAST_SQUARES)
    places = np.unique(np.stack([np.asarray(values) for values in given.values()]), axis=1, return_inverse=True)[1]
    counts = np.bincount(places.ravel())
    residuals, free = fit.log_residuals, len(fit.parameters)
    means = np.bincount(places.ravel(), weights=residuals) / counts
    missed, noise = float(counts @ means**2), float(((residuals - means[places.ravel()]) ** 2).sum())
    degrees = (len(counts) - free, fit.n - len(counts))
    sd = math.sqrt(float(residuals @ residuals) / (fit.n - free)) if fit.n > free else math.nan
    if min(degrees) < 1 or noise <= 0.0:
        return LackOfFit(statistic=math.nan, p_value=math.nan, degrees=degrees, residual_sd=sd)
    statistic = (missed / degrees[0]) / (noise / degrees[1])
    return LackOfFit(
        statistic=statistic, p_value=float(stats.f.sf(statistic, *degrees)), degrees=degrees, residual_sd=sd
    )


def _given(parameters: ArrayLike | None, tokens: ArrayLike | None) -> list[tuple[str, ArrayLike]]:
    both = (("parameters", parameters), ("tokens", tokens))
    return [(name, values) for name, values in both if values is not None]


def _subsets(sizes: dict[str, Floats], n: int) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """What is left out, in words, and which points [n] stay."""
    yield "nothing", np.ones(n, dtype=bool)
    for name, values in sizes.items():
        yield f"smallest {name}", values > values.min()
        yield f"largest {name}", values < values.max()
    for point in range(n):
        yield f"point {point + 1}", np.arange(n) != point
