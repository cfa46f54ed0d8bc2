"""Do two columns go together: rank correlations, partial correlations, gains at a matched size.

Vectors [n] hold one value a row, pairs in the same order. Rows are taken as independent: successive rows of a search
are not, and the intervals are then too narrow. None of these numbers shows a cause.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import statsmodels.api as sm
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

from audit.statistics.estimate import NO_INTERVAL, Estimate, Floats, checked_level, finite_vector

SPEARMAN_FROM = 20
CHUNK = 30_000  # resampled rows at a time: they stay in the cache


@dataclass(frozen=True, kw_only=True)
class Coefficient:
    """A coefficient, its interval, the two-sided p-value of 0 (NaN where not testable) and the rows behind it."""

    estimate: float
    interval: tuple[float, float]
    p_value: float
    n: int


@dataclass(frozen=True, kw_only=True)
class MatchedGain:
    """gain: expected where the covariates have the values asked for. slopes: change of the gain a unit of each."""

    gain: Coefficient
    slopes: tuple[Coefficient, ...]


@dataclass(frozen=True, kw_only=True)
class RegressionToMean:
    """How much of a lead at the first measurement is left at the second.

    correlation: the share of a lead, in SDs, that is left on average (Galton 1886). slope: change of the second a unit
    of the first. lead_first, lead_second: mean lead over all rows, in SDs, of the `top` rows by the first.
    """

    correlation: Coefficient
    slope: Coefficient
    top: int
    lead_first: float
    lead_second: float


def spearman_bootstrap(x: ArrayLike, y: ArrayLike, level: float, rng: np.random.Generator, resamples: int) -> Estimate:
    """Spearman's rank correlation of pairs [n], n >= 20, with a pairs-bootstrap interval; ties have their mean rank.

    Limits: normal on Fisher's z with the SD of the resampled z. NaN where a column is constant; NaN limits where the
    ranks agree perfectly, or do in a resample, and so leave no measure of their error.
    """
    a, b = _pairs(x, y, SPEARMAN_FROM)
    n, level = len(a), checked_level(level)
    columns = [_Ranked.of(a), _Ranked.of(b)]
    estimate = float(_rank_correlation(columns, np.ones((1, n)))[0])
    if math.isnan(estimate) or abs(estimate) > 1.0 - 1e-12:
        return Estimate(estimate=estimate, interval=NO_INTERVAL, n=n)
    step = max(1, CHUNK // n)
    parts = []
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        drawn = rng.integers(0, n, size=(rows, n)) + n * np.arange(rows)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n).astype(np.float64)
        parts.append(_rank_correlation(columns, counts))
    resampled = np.concatenate(parts)
    return Estimate(estimate=estimate, interval=_fisher_limits(estimate, resampled, level), n=n)


def _fisher_limits(estimate: float, resampled: Floats, level: float) -> tuple[float, float]:
    """Limits from resampled correlations; NaN where one of them has no spread or is perfect."""
    if not (np.abs(resampled) < 1.0 - 1e-12).all():
        return NO_INTERVAL
    reach = float(special.ndtri(0.5 + level / 2.0)) * float(np.arctanh(resampled).std(ddof=1))
    middle = math.atanh(estimate)
    return math.tanh(middle - reach), math.tanh(middle + reach)


@dataclass(frozen=True)
class _Ranked:
    """A column [n] ready for ranking resamples: its order, and for each value where its ties start and end in it."""

    order: NDArray[np.intp]
    start: NDArray[np.intp]
    end: NDArray[np.intp]

    @classmethod
    def of(cls, values: Floats) -> _Ranked:
        ordered = np.sort(values)
        return cls(
            order=np.argsort(values, kind="stable"),
            start=np.searchsorted(ordered, values, side="left"),
            end=np.searchsorted(ordered, values, side="right"),
        )

    def centred(self, counts: Floats) -> Floats:
        """Mid-ranks less their mean, of resamples in which row i occurs counts [..., i] times."""
        n = counts.shape[-1]
        below = np.zeros((len(counts), n + 1))
        np.cumsum(counts[:, self.order], axis=1, out=below[:, 1:])
        ranks = below.take(self.start, axis=1)
        ranks += below.take(self.end, axis=1)
        ranks -= n
        ranks *= 0.5
        return ranks


def _rank_correlation(columns: list[_Ranked], counts: Floats) -> Floats:
    """Spearman's correlations [resamples]; NaN where a column is all ties."""
    first, second = (column.centred(counts) for column in columns)
    weighted = counts * first
    covariance = np.einsum("bn,bn->b", weighted, second)
    own = np.einsum("bn,bn->b", weighted, first)
    other = np.einsum("bn,bn,bn->b", counts, second, second)
    spread = np.sqrt(own * other)
    correlation: Floats = np.divide(covariance, spread, out=np.full(len(counts), np.nan), where=spread > 0.0)
    return correlation


def kendall_interval(x: ArrayLike, y: ArrayLike, level: float) -> Estimate:
    """Kendall's tau-b of pairs [n], n >= 5, with a jackknife interval: Student's t on Fisher's z of the pseudo-values.

    The jackknife, because 10,000 resamples take minutes at 1,000 rows. Time and memory
    grow with n squared. NaN where a column is constant; NaN limits where leaving out a row makes the order perfect.
    """
    a, b = _pairs(x, y, 5)
    n = len(a)
    signs = [np.sign(column[:, None] - column[None]) for column in (a, b)]
    agreeing, untied_a, untied_b = (
        np.einsum("ij,ij->i", one, other)
        for one, other in ((signs[0], signs[1]), (signs[0], signs[0]), (signs[1], signs[1]))
    )
    spread = math.sqrt(untied_a.sum() * untied_b.sum())
    if spread == 0.0:
        return Estimate(estimate=math.nan, interval=NO_INTERVAL, n=n)
    tau = float(agreeing.sum()) / spread
    # Without row i, its pairs are gone twice: as (i, j) and as (j, i).
    rest = np.sqrt((untied_a.sum() - 2.0 * untied_a) * (untied_b.sum() - 2.0 * untied_b))
    without = np.divide(agreeing.sum() - 2.0 * agreeing, rest, out=np.full(n, np.nan), where=rest > 0.0)
    if abs(tau) > 1.0 - 1e-12 or not (np.abs(without) < 1.0 - 1e-12).all():
        return Estimate(estimate=tau, interval=NO_INTERVAL, n=n)
    z = np.arctanh(without)
    error = math.sqrt((n - 1) / n * float(((z - z.mean()) ** 2).sum()))
    reach = float(special.stdtrit(n - 1, 0.5 + checked_level(level) / 2.0)) * error
    return Estimate(
        estimate=tau, interval=(math.tanh(math.atanh(tau) - reach), math.tanh(math.atanh(tau) + reach)), n=n
    )


def partial_correlation(
    x: ArrayLike, y: ArrayLike, covariates: ArrayLike, level: float, method: Literal["pearson", "spearman"]
) -> Coefficient:
    """Correlation of x and y [n] with covariates [n, c] held fixed linearly; c may be 0. spearman: all as ranks.

    Limits on Fisher's z, Student's t with n - c - 2 degrees of freedom. Standard error: the larger of Fisher's (1924),
    for ranks Bonett and Wright's (2000), and the jackknife's, because the former cover 80 to 90% for a nominal 95%
    where values are skewed or heavy-tailed. p-value: Student's t, of x and y unrelated beside the covariates. NaN where
    a column has nothing left of its own; NaN limits of a perfect correlation, where one row decides all, and, with the
    p-value, below n = c + 4.
    """
    a, b = _pairs(x, y, 5)
    n = len(a)
    fixed = _covariates(covariates, n)
    if method == "spearman":
        a, b, fixed = stats.rankdata(a), stats.rankdata(b), stats.rankdata(fixed, axis=0)
    design = np.column_stack([np.ones(n), fixed])
    both = np.column_stack([a, b])
    hat = np.linalg.pinv(design)
    rest = both - design @ (hat @ both)
    sizes = np.sqrt((rest**2).sum(axis=0))
    if (sizes <= 1e-10 * np.sqrt((both**2).sum(axis=0))).any():
        return Coefficient(estimate=math.nan, interval=NO_INTERVAL, p_value=math.nan, n=n)
    r = float(np.clip(rest[:, 0] @ rest[:, 1] / (sizes[0] * sizes[1]), -1.0, 1.0))
    df = n - fixed.shape[1] - 2
    if abs(r) > 1.0 - 1e-12 or df < 2:
        return Coefficient(estimate=r, interval=NO_INTERVAL, p_value=math.nan, n=n)
    smooth = (1.0 + r**2 / 2.0 if method == "spearman" else 1.0) / (df - 1)
    error = math.sqrt(max(smooth, _jackknife_variance(rest, np.einsum("ic,ci->i", design, hat))))
    reach = float(special.stdtrit(df, 0.5 + checked_level(level) / 2.0)) * error
    p_value = 2.0 * float(special.stdtr(df, -abs(r) * math.sqrt(df / (1.0 - r**2))))
    known = math.isfinite(reach)
    limits = (math.tanh(math.atanh(r) - reach), math.tanh(math.atanh(r) + reach)) if known else NO_INTERVAL
    return Coefficient(estimate=r, interval=limits, p_value=p_value, n=n)


def _jackknife_variance(rest: Floats, leverage: Floats) -> float:
    """Variance of Fisher's z of two columns of residuals [n, 2] whose fit has leverages [n], a row left out at a time.

    Infinite where the others have no spread or correlate perfectly. Ranks are not ranked anew.
    """
    n = len(rest)
    own = np.column_stack([rest[:, 0] * rest[:, 1], rest[:, 0] ** 2, rest[:, 1] ** 2])
    left = own.sum(axis=0) - own / np.maximum(1.0 - leverage, 1e-12)[:, None]
    spread = np.sqrt(np.maximum(left[:, 1], 0.0) * np.maximum(left[:, 2], 0.0))
    without = np.divide(left[:, 0], spread, out=np.ones(n), where=spread > 0.0)
    if not (np.abs(without) < 1.0 - 1e-12).all():
        return math.inf
    z = np.arctanh(without)
    return (n - 1) / n * float(((z - z.mean()) ** 2).sum())


def matched_gain(gains: ArrayLike, covariates: ArrayLike, at: ArrayLike, level: float) -> MatchedGain:
    """Expected gain where covariates [n, c] have the values at [c], and its slopes: least squares of gains [n].

    Standard errors HC3 (MacKinnon and White 1985), Student's t with n - c - 1 degrees of freedom; needs n >= c + 3 and
    covariates that differ. Where `at` lies outside the covariates, the line is drawn on beyond the data.
    """
    values = finite_vector(gains, "gains")
    fixed, there = _covariates(covariates, len(values)), finite_vector(np.atleast_1d(at), "at")
    n, c = fixed.shape
    if c != len(there) or n < c + 3:
        raise ValueError(f"need a value of `at` for each of {c} covariates and {c + 3} rows, got {len(there)} and {n}")
    scale = np.where(fixed.std(axis=0) > 0.0, fixed.std(axis=0), 1.0)
    design = np.column_stack([np.ones(n), (fixed - there) / scale])
    if np.linalg.matrix_rank(design) < c + 1:
        raise ValueError("covariates must differ between rows and not determine one another")
    unit = np.concatenate([[1.0], scale])
    fit = sm.OLS(values, design).fit(cov_type="HC3", use_t=True)
    if float((fit.resid**2).sum()) <= 1e-20 * float((values**2).sum()):
        limits, p_values = np.full((c + 1, 2), np.nan), np.full(c + 1, np.nan)
    else:
        limits, p_values = fit.conf_int(1.0 - checked_level(level)) / unit[:, None], fit.pvalues
    parts = tuple(
        Coefficient(estimate=float(value), interval=(float(low), float(high)), p_value=float(p), n=n)
        for value, (low, high), p in zip(fit.params / unit, limits, p_values, strict=True)
    )
    return MatchedGain(gain=parts[0], slopes=parts[1:])


def regression_to_mean(first: ArrayLike, second: ArrayLike, top: int, level: float) -> RegressionToMean:
    """What is left at the second measurement [n] of a lead at the first [n], n >= 5, larger is better in both.

    Less than all is left even where nothing changed, if the first was noisy and rows were picked by it. Ties for the
    last of the `top` places go to the earlier row.
    """
    a, b = _pairs(first, second, 5)
    if not 1 <= top < len(a):
        raise ValueError(f"top must lie between 1 and {len(a) - 1}, got {top}")
    if a.std() == 0.0 or b.std() == 0.0:
        raise ValueError("both measurements must differ between rows")
    best = np.argsort(-a, kind="stable")[:top]
    leads = [float((values[best].mean() - values.mean()) / values.std(ddof=1)) for values in (a, b)]
    return RegressionToMean(
        correlation=partial_correlation(a, b, np.empty((len(a), 0)), level, "pearson"),
        slope=matched_gain(b, a[:, None], [a.mean()], level).slopes[0],
        top=top,
        lead_first=leads[0],
        lead_second=leads[1],
    )


def _pairs(x: ArrayLike, y: ArrayLike, least: int) -> tuple[Floats, Floats]:
    a, b = finite_vector(x, "x"), finite_vector(y, "y")
    if a.shape != b.shape or len(a) < least:
        raise ValueError(f"x and y must be pairs, {least} or more, got {len(a)} and {len(b)} values")
    return a, b


def _covariates(covariates: ArrayLike, n: int) -> Floats:
    fixed = np.asarray(covariates, dtype=np.float64)
    if fixed.ndim != 2 or len(fixed) != n or not np.isfinite(fixed).all():
        raise ValueError(f"covariates must be finite, [{n}, count], got shape {fixed.shape}")
    return fixed
