"""One repetition of each calibration check: draw data of known truth, apply the method, see if it holds.

For an interval a hit is the truth covered, for a test the true null rejected. In the unit of these data one
SD of seed noise is 1.
"""

from __future__ import annotations

import math
from functools import lru_cache, partial

import numpy as np
from scipy import stats

from audit.statistics.agreement import tau_interval, tau_p_value
from audit.statistics.bootstrap import bca, interquartile_mean_interval
from audit.statistics.check import TRUTH_DRAWS, Check, Design, Noises, covers
from audit.statistics.decision import Judgement, PairedSample, judge
from audit.statistics.estimate import Floats
from audit.statistics.noise import Sampler
from audit.statistics.paired import (
    fieller_ratio,
    paired_t,
    probability_of_improvement,
    sd_interval,
    sign_flip,
    sign_test,
    simultaneous_interval,
    tost,
)
from audit.statistics.proportions import clopper_pearson
from audit.statistics.roc import AREA_INTERVAL_FROM, roc_area_interval
from audit.statistics.simulation_arms import ARM_CHECKS
from audit.statistics.simulation_claims import CLAIM_CHECKS
from audit.statistics.simulation_events import EVENT_CHECKS
from audit.statistics.simulation_gains import GAIN_CHECKS
from audit.statistics.simulation_origins import ORIGIN_CHECKS
from audit.statistics.simulation_scaling import SCALING_CHECKS
from audit.statistics.simulation_shares import SHARE_CHECKS

ARMS = 8
ROC_AREAS = {"roc_area.60": 0.6, "roc_area.80": 0.8, "roc_area.95": 0.95}  # calibrated method -> true area


def _paired_t_interval(noise: Sampler, n: int, rng: np.random.Generator, design: Design) -> bool:
    return covers(paired_t(noise(rng, (n,)), design.level).interval, 0.0)


def _paired_t_test(noise: Sampler, n: int, rng: np.random.Generator, design: Design) -> bool:
    return paired_t(noise(rng, (n,)), design.level).p_value < 1.0 - design.level


def _tost(noise: Sampler, n: int, rng: np.random.Generator, design: Design) -> bool:
    """At its boundary, and wide enough (2 SD) that the other boundary lends no safety."""
    return tost(noise(rng, (n,)) + 2.0, 2.0) < 1.0 - design.level


def _sign_flip(noise: Sampler, n: int, rng: np.random.Generator, design: Design) -> bool:
    return sign_flip(noise(rng, (n,)), rng).p_value <= 1.0 - design.level


def _sign_test(noise: Sampler, n: int, rng: np.random.Generator, design: Design) -> bool:
    differences = noise(rng, (n,)) - noise(rng, (n,))
    return sign_test(int((differences < 0).sum()), int((differences > 0).sum())) <= 1.0 - design.level


def _sd_interval(noise: Sampler, n: int, rng: np.random.Generator, design: Design) -> bool:
    return covers(sd_interval(noise(rng, (n,)), design.level).interval, 1.0)


def _improvement(noise: Sampler, n: int, rng: np.random.Generator, design: Design) -> bool:
    interval = probability_of_improvement(noise(rng, (n,)), noise(rng, (n,)) + 1.0, design.level).interval
    return covers(interval, _improvement_truth(noise))


@lru_cache
def _improvement_truth(noise: Sampler) -> float:
    rng = np.random.default_rng(0)
    x, y = noise(rng, (TRUTH_DRAWS,)), noise(rng, (TRUTH_DRAWS,)) + 1.0
    return float((x < y).mean() + (x == y).mean() / 2.0)


def _bca_mean(noise: Sampler, n: int, rng: np.random.Generator, design: Design) -> bool:
    return covers(bca(noise(rng, (n,)), np.mean, design.level, rng, design.resamples).interval, 0.0)


def _interquartile_mean(noise: Sampler, n: int, rng: np.random.Generator, design: Design) -> bool:
    estimate = interquartile_mean_interval(noise(rng, (n,)), design.level, rng, design.resamples)
    return covers(estimate.interval, _interquartile_mean_truth(noise))


@lru_cache
def _interquartile_mean_truth(noise: Sampler) -> float:
    draws = np.sort(noise(np.random.default_rng(0), (TRUTH_DRAWS,)))
    return float(draws[TRUTH_DRAWS // 4 : -TRUTH_DRAWS // 4].mean())


def _fieller_ratio(noise: Sampler, n: int, rng: np.random.Generator, design: Design) -> bool:
    """Two gains of n seeds each; at small n the set is often unbounded, so weak is the denominator."""
    num, den = paired_t(0.5 + noise(rng, (n,)), 0.5), paired_t(1.0 + noise(rng, (n,)), 0.5)
    root = math.sqrt(n)
    return fieller_ratio(num.estimate, num.sd / root, den.estimate, den.sd / root, n - 1, design.level).contains(0.5)


def _tau_interval(noise: Sampler, n: int, rng: np.random.Generator, design: Design) -> bool:
    """Arms whose true means at the two scales correlate at 0.8 and spread over 2 SD of noise."""
    true_a = rng.normal(0.0, 2.0, ARMS)
    true_b = 0.8 * true_a + 0.6 * rng.normal(0.0, 2.0, ARMS)
    a, b = (truth[:, None] + noise(rng, (ARMS, n)) for truth in (true_a, true_b))
    tau = float(stats.kendalltau(true_a, true_b).statistic)
    (low, high), _ = tau_interval(a, b, design.level)
    return low - 1e-9 <= tau <= high + 1e-9


def _tau_test(noise: Sampler, n: int, rng: np.random.Generator, design: Design) -> bool:
    a, b = (noise(rng, (ARMS, n)).mean(axis=1) for _ in range(2))
    return tau_p_value(a, b, rng) <= 1.0 - design.level


def _report(
    noise: Sampler, n: int, rng: np.random.Generator, design: Design, shift: float, failure_rate: float
) -> list[PairedSample]:
    """All candidates against all baselines at all scales; candidates worse by `shift`; runs fail alike."""
    losses = noise(rng, (design.scales, design.baselines + design.candidates, n))
    losses[:, design.baselines :] += shift
    losses[rng.random(losses.shape) < failure_rate] = np.nan
    failed = np.isnan(losses).sum(axis=-1)
    return [
        PairedSample(
            candidate=losses[scale, candidate],
            baseline=losses[scale, baseline],
            candidate_own=int(failed[scale, candidate]),
            candidate_machine=0,
            baseline_own=int(failed[scale, baseline]),
            baseline_machine=0,
        )
        for scale in range(design.scales)
        for candidate in range(design.baselines, losses.shape[1])
        for baseline in range(design.baselines)
    ]


def _simultaneous(noise: Sampler, n: int, rng: np.random.Generator, design: Design) -> bool:
    """All intervals of a report at once."""
    samples: list[Floats] = [sample.differences for sample in _report(noise, n, rng, design, 0.0, 0.0)]
    return all(covers(simultaneous_interval(values, design.level, len(samples)), 0.0) for values in samples)


def _judged(
    noise: Sampler,
    n: int,
    rng: np.random.Generator,
    design: Design,
    *,
    shift: float = 0.0,
    failure_rate: float = 0.0,
) -> list[Judgement]:
    """Judgements of a report whose SESOI is 3 SD of the differences.

    So wide, the equivalence tests succeed when there is no difference and hand their share of the level to
    the difference tests, as Holm's method allows: the hardest case for these.
    """
    sesoi = 3.0 * math.sqrt(2.0)
    samples = _report(noise, n, rng, design, shift * sesoi, failure_rate)
    return judge(samples, alpha=1.0 - design.level, sesoi=sesoi)


def _false_difference(noise: Sampler, n: int, rng: np.random.Generator, design: Design) -> bool:
    judgements = _judged(noise, n, rng, design)
    return any(judged.p_adjusted < 1.0 - design.level for judged in judgements)


def _false_difference_with_failures(noise: Sampler, n: int, rng: np.random.Generator, design: Design) -> bool:
    judgements = _judged(noise, n, rng, design, failure_rate=design.failure_rate)
    return any(judged.p_adjusted < 1.0 - design.level for judged in judgements)


def _false_equivalence(noise: Sampler, n: int, rng: np.random.Generator, design: Design) -> bool:
    """Every true difference is exactly the SESOI."""
    return any(judged.outcome == "equivalent" for judged in _judged(noise, n, rng, design, shift=1.0))


def _rate(noise: Sampler, n: int, rng: np.random.Generator, design: Design) -> bool:
    """How often a value exceeds 1 SD."""
    interval = clopper_pearson(int((noise(rng, (n,)) > 1.0).sum()), n, design.level).interval
    return covers(interval, _rate_truth(noise))


@lru_cache
def _rate_truth(noise: Sampler) -> float:
    return float((noise(np.random.default_rng(0), (TRUTH_DRAWS,)) > 1.0).mean())


def _roc_area(noise: Sampler, n: int, rng: np.random.Generator, design: Design, area: float) -> bool:
    """Two classes of n; the positives are shifted so far that the true area is `area`."""
    negatives, positives = noise(rng, (n,)), noise(rng, (n,)) + _area_shift(noise, area)
    return covers(roc_area_interval(positives, negatives, design.level, rng, design.resamples).interval, area)


@lru_cache
def _area_shift(noise: Sampler, area: float) -> float:
    rng = np.random.default_rng(0)
    return float(np.quantile(noise(rng, (TRUTH_DRAWS,)) - noise(rng, (TRUTH_DRAWS,)), area))


_DIFFERENCES = Noises(met=("normal", "skewed_arms", "heavy_tailed"), stress=("skewed_difference", "very_heavy_tailed"))
_VALUES = Noises(met=("normal", "skewed", "skewed_arms", "heavy_tailed"), stress=("very_heavy_tailed",))
_ARMS = Noises(met=("normal", "skewed", "heavy_tailed"), stress=())
_PAIRED, _DECISION = ("estimate", "paired"), ("estimate", "paired", "multiplicity", "decision")
_AGREEMENT = ("estimate", "paired", "multiplicity", "agreement")
_BOOTSTRAP = ("estimate", "bootstrap")
_ROC = ("estimate", "roc")

CHECKS = (
    Check("paired_t.interval", "interval", _paired_t_interval, _PAIRED, _DIFFERENCES, also=(3,)),
    Check("paired_t.p_value", "test", _paired_t_test, _PAIRED, _DIFFERENCES),
    Check("simultaneous_interval", "conservative", _simultaneous, _PAIRED, _ARMS),
    Check("tost", "test", _tost, _PAIRED, _DIFFERENCES),
    Check("sign_flip", "test", _sign_flip, _PAIRED, _DIFFERENCES, resampling_from=17),
    Check("sign_test", "test", _sign_test, _PAIRED, _ARMS),
    Check("sd_interval", "conservative", _sd_interval, _PAIRED, _VALUES),
    Check("probability_of_improvement", "exact", _improvement, _PAIRED, _ARMS),
    Check("fieller_ratio", "conservative", _fieller_ratio, _PAIRED, _DIFFERENCES),
    Check("rank_stability.interval", "exact", _tau_interval, _AGREEMENT, _ARMS),
    Check("rank_stability.p_value", "test", _tau_test, _AGREEMENT, _ARMS),
    Check("bca.mean", "interval", _bca_mean, _BOOTSTRAP, _VALUES, bootstrap_from=20),
    Check("interquartile_mean_interval", "interval", _interquartile_mean, _BOOTSTRAP, _VALUES, bootstrap_from=10),
    Check("decide.difference", "test", _false_difference, _DECISION, _ARMS),
    Check("decide.difference_with_failures", "test", _false_difference_with_failures, _DECISION, _ARMS),
    Check("decide.equivalence", "test", _false_equivalence, _DECISION, _ARMS),
    Check("clopper_pearson", "exact", _rate, ("estimate", "proportions"), _ARMS, also=(1, 2, 50)),
    *(
        Check(method, "conservative", partial(_roc_area, area=area), _ROC, _ARMS, bootstrap_from=AREA_INTERVAL_FROM)
        for method, area in ROC_AREAS.items()
    ),
    *ARM_CHECKS,
    *CLAIM_CHECKS,
    *EVENT_CHECKS,
    *GAIN_CHECKS,
    *ORIGIN_CHECKS,
    *SCALING_CHECKS,
    *SHARE_CHECKS,
)
