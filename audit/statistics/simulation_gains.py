"""Repetitions of the calibration of `gains`: whole searches that keep the best, with known noise and known truth.

A search of n proposals after its start; in the unit of these data one SD of a run's noise is 1. Searches in which no
proposal changes anything and searches with good, useless and bad ones take turns.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import numpy as np

from audit.statistics.check import Check, Design, Noises, covers
from audit.statistics.estimate import Floats
from audit.statistics.gains import (
    NOISE_LIMIT_FROM,
    best_reach,
    gain_limits,
    gain_p_values,
    noise_limit,
    pooled_sd,
)
from audit.statistics.noise import Sampler

REPEATS = 5  # of the start, where the noise is estimated


@dataclass(frozen=True)
class Search:
    """gains, truths [n]: seen and true gain over the best before. best, true_best: loss of the best, seen and true."""

    gains: Floats
    truths: Floats
    best: float
    true_best: float


def _equal(rng: np.random.Generator, n: int) -> Floats:
    del rng
    return np.zeros(n)


def _mixed(rng: np.random.Generator, n: int) -> Floats:
    """Steps in loss: three in ten are better, by 2 SD in the mean; of the others half are worse, by 3 SD."""
    kind, size = rng.random(n), rng.exponential(1.0, n)
    return np.where(kind < 0.3, -2.0 * size, np.where(kind < 0.65, 0.0, 3.0 * size))


def _search(noise: Sampler, n: int, rng: np.random.Generator) -> Search:
    steps = _mixed(rng, n) if rng.random() < 0.5 else _equal(rng, n)
    luck = noise(rng, (n + 1,)).tolist()
    best, true_best = luck[0], 0.0
    gains = []
    for step, error in zip(steps.tolist(), luck[1:], strict=True):
        seen = true_best + step + error
        gains.append(best - seen)
        if seen < best:
            best, true_best = seen, true_best + step
    return Search(np.array(gains), -steps, best, true_best)


def _false_gain(noise: Sampler, n: int, rng: np.random.Generator, design: Design, *, repeats: bool) -> bool:
    """Some proposal without a true gain is called better."""
    one = _search(noise, n, rng)
    sd, df = 1.0, math.inf
    if repeats:
        found = pooled_sd([noise(rng, (REPEATS,))], design.level)
        sd, df = found.estimate, float(found.df)
    return bool(((gain_p_values(one.gains, sd, df) < 1.0 - design.level) & (one.truths <= 0.0)).any())


def _gain_limits(noise: Sampler, n: int, rng: np.random.Generator, design: Design) -> bool:
    """All intervals of a search at once."""
    one = _search(noise, n, rng)
    low, high = gain_limits(one.gains, 1.0, math.inf, design.level)
    return bool(((low <= one.truths) & (one.truths <= high)).all())


def _best_reach(noise: Sampler, n: int, rng: np.random.Generator, design: Design) -> bool:
    one = _search(noise, n, rng)
    worse, better = best_reach(n + 1, 1.0, math.inf, design.level)
    return covers((one.best - better, one.best + worse), one.true_best)


def _noise_limit(noise: Sampler, n: int, rng: np.random.Generator, design: Design) -> bool:
    """Where no proposal changes anything: real differences make the limit larger."""
    luck = noise(rng, (n + 1,))
    best = np.minimum.accumulate(luck)[:-1]
    return noise_limit(best - luck[1:], design.level) >= 1.0


def _pooled_sd(noise: Sampler, n: int, rng: np.random.Generator, design: Design) -> bool:
    """n pairs of repeated runs."""
    return covers(pooled_sd(list(noise(rng, (n, 2))), design.level).interval, 1.0)


_MET = Noises(met=("normal", "skewed", "heavy_tailed"), stress=("very_heavy_tailed",))
_GAINS = ("estimate", "multiplicity", "noise", "gains")
_SIZES = (NOISE_LIMIT_FROM, 40, 100)

GAIN_CHECKS = (
    Check("gain_p_values", "test", partial(_false_gain, repeats=False), _GAINS, _MET, also=_SIZES),
    Check("gain_p_values.repeats", "test", partial(_false_gain, repeats=True), _GAINS, _MET, also=_SIZES),
    Check("gain_limits", "conservative", _gain_limits, _GAINS, _MET, also=_SIZES),
    Check("best_reach", "conservative", _best_reach, _GAINS, _MET, also=_SIZES),
    Check("noise_limit", "conservative", _noise_limit, _GAINS, _MET, bootstrap_from=NOISE_LIMIT_FROM, also=_SIZES),
    Check("pooled_sd", "conservative", _pooled_sd, _GAINS, _MET, also=(1, 2)),
)
