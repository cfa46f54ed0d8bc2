"""p-values corrected for the size of their family. NaN, not testable, stays in it as p = 1."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from statsmodels.stats.multitest import multipletests

from audit.statistics.estimate import Floats


def _adjusted(p_values: ArrayLike, method: str) -> Floats:
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1 or ((p < 0.0) | (p > 1.0)).any():
        raise ValueError("p-values must be a vector of numbers from 0 to 1, or NaN where not testable")
    if p.size == 0:
        return p
    return np.asarray(multipletests(np.where(np.isnan(p), 1.0, p), method=method)[1], dtype=np.float64)


def holm(p_values: ArrayLike) -> Floats:
    """Holm's (1979) adjusted p-values [n], in the order given: family-wise error, any dependence."""
    return _adjusted(p_values, "holm")


def benjamini_hochberg(p_values: ArrayLike) -> Floats:
    """Benjamini and Hochberg's (1995) adjusted p-values [n], in the order given, for screening."""
    return _adjusted(p_values, "fdr_bh")
