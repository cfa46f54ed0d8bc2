"""Cross-check of the paired comparisons by one mixed model over all runs."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd
from numpy.linalg import LinAlgError
from statsmodels.regression.mixed_linear_model import MixedLM
from statsmodels.tools.sm_exceptions import ConvergenceWarning

from audit.statistics.estimate import Floats


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """Candidate minus baseline at one scale; NaN where the model gives none."""

    candidate: str
    baseline: str
    scale: str
    estimate: float
    standard_error: float


@dataclass(frozen=True, kw_only=True)
class MixedModel:
    """status: "converged", or why not ("boundary: ...", "not converged: ...", "not fitted: ...").

    rows_without_loss counts the failed runs, which such a model cannot hold.
    """

    status: str
    contrasts: tuple[Contrast, ...]
    seed_sd: float
    residual_sd: float
    rows: int
    rows_without_loss: int

    @property
    def converged(self) -> bool:
        """Whether the contrasts can be set beside the verdicts."""
        return self.status == "converged"


def mixed_model(frame: pd.DataFrame, baselines: Sequence[str]) -> MixedModel:
    """loss ~ candidate x scale + (1 | seed), by REML.

    frame: one row a run, columns candidate, scale, seed, loss (NaN = failed). Every arm not in `baselines`
    is set against every baseline at every scale where both have a loss. Never raises on a bad fit: that is
    a status. The SE assume one residual SD for all arms and scales, which is why this is a cross-check and
    not the verdict.
    """
    complete = frame[np.isfinite(frame["loss"].to_numpy(dtype=np.float64))]
    cells = sorted(set(zip(complete["candidate"].astype(str), complete["scale"].astype(str), strict=True)))
    arms, scales = sorted({arm for arm, _ in cells}), sorted({scale for _, scale in cells})
    pairs = [
        (arm, baseline, scale)
        for arm, baseline, scale in product(arms, baselines, scales)
        if arm not in baselines and (arm, scale) in cells and (baseline, scale) in cells
    ]
    status, means, covariance, seed_sd, residual_sd = _fit(complete, cells)
    contrasts = []
    for arm, baseline, scale in pairs:
        weights = np.zeros(len(cells))
        weights[cells.index((arm, scale))], weights[cells.index((baseline, scale))] = 1.0, -1.0
        variance = float(weights @ covariance @ weights)
        contrasts.append(
            Contrast(
                candidate=arm,
                baseline=baseline,
                scale=scale,
                estimate=float(weights @ means),
                standard_error=math.sqrt(variance) if variance > 0.0 else math.nan,
            )
        )
    return MixedModel(
        status=status,
        contrasts=tuple(contrasts),
        seed_sd=seed_sd,
        residual_sd=residual_sd,
        rows=len(complete),
        rows_without_loss=len(frame) - len(complete),
    )


def _fit(complete: pd.DataFrame, cells: list[tuple[str, str]]) -> tuple[str, Floats, Floats, float, float]:
    """Status, cell means [cells], their covariance [cells, cells], seed SD, residual SD.

    One mean a cell (arm, scale) is the full candidate x scale interaction, and keeps contrasts plain
    differences.
    """
    none = np.full(len(cells), np.nan), np.full((len(cells), len(cells)), np.nan), math.nan, math.nan
    if complete["seed"].nunique() < 2 or len(complete) <= len(cells) + 1:
        return ("not fitted: needs at least two seeds", *none)
    labels = list(zip(complete["candidate"].astype(str), complete["scale"].astype(str), strict=True))
    design = np.array([[label == cell for cell in cells] for label in labels], dtype=np.float64)
    loss = complete["loss"].to_numpy(dtype=np.float64)
    means = np.linalg.lstsq(design, loss, rcond=None)[0]
    spread = float((loss - design @ means).std())
    if not spread > 1e-10 * np.abs(loss).max():
        return ("not fitted: losses do not vary between seeds", *none)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            # In units of the spread, because statsmodels holds any variance below 0.01 to be on the boundary.
            fit = MixedLM(loss / spread, design, groups=complete["seed"].to_numpy()).fit(reml=True)
            covariance = np.asarray(fit.cov_params())[: len(cells), : len(cells)]
            seed_variance = float(np.asarray(fit.cov_re)[0, 0])
        except (LinAlgError, ValueError, ZeroDivisionError) as error:
            return (f"not fitted: {error}", *none)
    told = [str(warning.message) for warning in caught if issubclass(warning.category, ConvergenceWarning)]
    status = "converged"
    if not fit.converged:
        status = f"not converged: {told[-1] if told else 'the optimiser stopped early'}"
    elif any("boundary" in message for message in told):
        status = "boundary: the seeds explain next to none of the variance"
    return (
        status,
        spread * np.asarray(fit.fe_params),
        spread**2 * covariance,
        spread * math.sqrt(max(seed_variance, 0.0)),
        spread * math.sqrt(float(fit.scale)),
    )
