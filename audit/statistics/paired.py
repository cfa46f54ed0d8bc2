"""Two arms compared seed by seed: intervals, tests and the size of the next experiment.

`differences` are candidate minus baseline, one a seed, shape [n], in the unit of the loss; lower loss is
better.

Degenerate data, everywhere in this file: fewer than two values, or values equal up to rounding, carry no
measure of noise, so limits and p-values that need one are NaN ("not testable"), never 0. Differences that
are all exactly 0 have p = 1. NaN or infinite values raise ValueError.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy import special, stats
from statsmodels.stats.power import TTestPower

from audit.statistics.estimate import NO_INTERVAL, Estimate, checked_level, finite_vector, mean_and_sd

EXACT_SIGN_FLIPS_UP_TO = 16
SIGN_FLIP_RESAMPLES = 9_999
ASSUMED_EXCESS_KURTOSIS = 6.0


@dataclass(frozen=True, kw_only=True)
class PairedT:
    """Paired t: mean difference, its interval, two-sided p-value, SD of the differences, number of pairs."""

    estimate: float
    interval: tuple[float, float]
    p_value: float
    sd: float
    n: int


@dataclass(frozen=True, kw_only=True)
class SignFlip:
    """p-value of the sign-flip permutation test, and the smallest it can reach at this n."""

    p_value: float
    smallest_p: float
    exact: bool


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """Fieller's confidence set of a ratio.

    kind: "bounded" (interval holds it), "outside" (everything outside interval; the denominator's sign is
    open), "unbounded" (every ratio is compatible with the data; interval is NaN).
    """

    estimate: float
    interval: tuple[float, float]
    kind: Literal["bounded", "outside", "unbounded"]

    def contains(self, ratio: float) -> bool:
        """Whether the data are compatible with this ratio."""
        inside = self.interval[0] <= ratio <= self.interval[1]
        return {"bounded": inside, "outside": not inside, "unbounded": True}[self.kind]


def paired_t(differences: ArrayLike, level: float) -> PairedT:
    """Student's t on paired differences [n] (Student 1908), interval at `level`."""
    values, alpha = finite_vector(differences, "differences"), 1.0 - checked_level(level)
    n = len(values)
    if n < 2:
        only = float(values[0]) if n else math.nan
        return PairedT(estimate=only, interval=NO_INTERVAL, p_value=math.nan, sd=math.nan, n=n)
    mean, sd = mean_and_sd(values)
    if sd == 0.0:
        p_value = math.nan if mean else 1.0
        return PairedT(estimate=mean, interval=NO_INTERVAL, p_value=p_value, sd=0.0, n=n)
    standard_error = sd / math.sqrt(n)
    reach = _t_quantile(n - 1, 1.0 - alpha / 2.0) * standard_error
    p_value = 2.0 * float(special.stdtr(n - 1, -abs(mean) / standard_error))
    return PairedT(estimate=mean, interval=(mean - reach, mean + reach), p_value=p_value, sd=sd, n=n)


@lru_cache
def _t_quantile(df: int, probability: float) -> float:
    return float(special.stdtrit(df, probability))


def simultaneous_interval(differences: ArrayLike, level: float, comparisons: int) -> tuple[float, float]:
    """Bonferroni: `comparisons` such intervals hold all their truths at once with at least `level`."""
    if comparisons < 1:
        raise ValueError(f"comparisons must be at least 1, got {comparisons}")
    return paired_t(differences, 1.0 - (1.0 - checked_level(level)) / comparisons).interval


def tost(differences: ArrayLike, margin: float) -> float:
    """Two one-sided t-tests of |mean difference| < margin (Schuirmann 1987): the larger of the two p."""
    values = finite_vector(differences, "differences")
    if not margin > 0.0:
        raise ValueError(f"margin must be positive, got {margin}")
    n = len(values)
    mean, sd = mean_and_sd(values) if n > 1 else (math.nan, 0.0)
    if sd == 0.0:
        return math.nan
    return float(special.stdtr(n - 1, (abs(mean) - margin) * math.sqrt(n) / sd))


def sign_flip(differences: ArrayLike, rng: np.random.Generator) -> SignFlip:
    """Two-sided sign-flip permutation test of differences symmetric about 0.

    Every flip up to 16 pairs, 9,999 random ones above. Valid without a measure of noise, so constant
    differences keep p = 2 / 2^n. No pairs: NaN.
    """
    values = finite_vector(differences, "differences")
    n = len(values)
    if n < 2:
        p_value = 1.0 if n else math.nan
        return SignFlip(p_value=p_value, smallest_p=p_value, exact=True)
    exact = n <= EXACT_SIGN_FLIPS_UP_TO
    smallest = 2.0 ** (1 - n) if exact else max(2.0 ** (1 - n), 2.0 / (SIGN_FLIP_RESAMPLES + 1))
    p_value = stats.permutation_test(
        (values,),
        np.mean,
        permutation_type="samples",
        vectorized=True,
        rng=rng,
        n_resamples=2**n if exact else SIGN_FLIP_RESAMPLES,
    ).pvalue
    return SignFlip(p_value=float(p_value), smallest_p=smallest, exact=exact)


def sign_test(wins: int, losses: int) -> float:
    """Exact two-sided sign test; ties are left out beforehand. Nothing to compare: p = 1."""
    if wins < 0 or losses < 0:
        raise ValueError(f"wins and losses are counts, got {wins} and {losses}")
    return float(stats.binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0


def sd_interval(values: ArrayLike, level: float) -> Estimate:
    """Standard deviation [n] with a conservative interval that allows for heavy tails.

    Normal on the log variance, whose standard error sqrt(kurtosis / n + 2 / (n - 1)) is exact for the
    relative sampling error of the variance. The excess kurtosis is taken as the estimate, or 6 where that
    is smaller: a sample of 5 to 20 cannot show its own heavy tails, and both the chi-square interval (66 to
    90% coverage on such noise) and that of Bonett (2006, CSDA 50:775), which uses the estimate alone, fall
    short there. Under 4 values the kurtosis is 6.
    """
    vector, alpha = finite_vector(values, "values"), 1.0 - checked_level(level)
    n = len(vector)
    if n < 2:
        return Estimate(estimate=math.nan, interval=NO_INTERVAL, n=n)
    sd = mean_and_sd(vector)[1]
    if sd == 0.0:
        return Estimate(estimate=0.0, interval=NO_INTERVAL, n=n)
    kurtosis = float(stats.kurtosis(vector, bias=False)) if n >= 4 else ASSUMED_EXCESS_KURTOSIS
    error = math.sqrt(max(kurtosis, ASSUMED_EXCESS_KURTOSIS) / n + 2.0 / (n - 1))
    factor = math.exp(float(special.ndtri(1.0 - alpha / 2.0)) * error / 2.0)
    return Estimate(estimate=sd, interval=(sd / factor, sd * factor), n=n)


def probability_of_improvement(candidate: ArrayLike, baseline: ArrayLike, level: float) -> Estimate:
    """P(candidate < baseline) + P(tie) / 2 over paired losses [n], with a Clopper-Pearson interval.

    Ties count half in the estimate; the lower limit counts them as losses, the upper as wins. A failed run
    may be given as an infinite loss.
    """
    x, y = np.asarray(candidate, dtype=np.float64), np.asarray(baseline, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape or np.isnan(x).any() or np.isnan(y).any():
        raise ValueError(
            f"candidate and baseline must be vectors of one length without NaN, got {x.shape} and {y.shape}"
        )
    n, alpha = len(x), 1.0 - checked_level(level)
    if n == 0:
        return Estimate(estimate=math.nan, interval=NO_INTERVAL, n=0)
    wins, ties = int((x < y).sum()), int((x == y).sum())
    low = float(special.betaincinv(wins, n - wins + 1, alpha / 2.0)) if wins else 0.0
    most = wins + ties
    high = float(special.betaincinv(most + 1, n - most, 1.0 - alpha / 2.0)) if most < n else 1.0
    return Estimate(estimate=(wins + ties / 2.0) / n, interval=(low, high), n=n)


def seeds_needed(sd_upper: float, sesoi: float, power: float, alpha: float, cap: int) -> int | None:
    """Pairs at which a two-sided paired t finds a true difference `sesoi` with probability `power`.

    None above `cap`. Meant for the upper limit of the SD of the differences, never for the observed
    difference.
    """
    if not (0.0 < sd_upper < math.inf and sesoi > 0.0):
        raise ValueError(f"sd_upper and sesoi must be positive and finite, got {sd_upper} and {sesoi}")
    effect = min(sesoi / sd_upper, 1e3)

    def power_at(n: int) -> float:
        # One tail at alpha / 2: the other adds nothing, and scipy returns NaN for it at small n.
        return float(TTestPower().power(effect, n, alpha / 2.0, alternative="larger"))

    sizes = range(2, cap + 1)
    position = bisect_left(sizes, power, key=power_at)
    return sizes[position] if position < len(sizes) else None


def fieller_ratio(num: float, num_se: float, den: float, den_se: float, df: float, level: float) -> Ratio:
    """Fieller's (1954) confidence set of num / den for independent estimates.

    df: degrees of freedom of the standard errors; the smaller of the two keeps the set conservative.
    Infinite: normal.
    """
    if num_se < 0.0 or den_se < 0.0 or not df > 0.0 or not np.isfinite([num, num_se, den, den_se]).all():
        raise ValueError("estimates must be finite, standard errors not negative and df positive")
    q2 = float(stats.t.ppf(0.5 + checked_level(level) / 2.0, df)) ** 2
    estimate = num / den if den else math.nan
    # The set is where (num - r den)^2 <= q2 (num_se^2 + r^2 den_se^2): a quadratic a r^2 - 2 b r + c <= 0.
    a, b = den**2 - q2 * den_se**2, num * den  # and root is b^2 - a c, without its cancellation
    root = q2 * ((num * den_se) ** 2 + (den * num_se) ** 2 - q2 * (num_se * den_se) ** 2)
    if a == 0.0 or root < 0.0:
        return Ratio(estimate=estimate, interval=NO_INTERVAL, kind="unbounded")
    low, high = sorted(((b - math.sqrt(root)) / a, (b + math.sqrt(root)) / a))
    return Ratio(estimate=estimate, interval=(low, high), kind="bounded" if a > 0.0 else "outside")
