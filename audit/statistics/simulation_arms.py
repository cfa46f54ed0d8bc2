"""Calibration checks of arms of whole searches, compared by search seed; see `simulation.py`. n: search seeds."""

from __future__ import annotations

from functools import partial

import numpy as np

from audit.statistics.check import Check, Design, Noises
from audit.statistics.estimate import Floats
from audit.statistics.noise import Sampler
from audit.statistics.paired import paired_t
from audit.statistics.paired_ratio import paired_ratio

RICH, COMMON = 8.0, 8.0  # finds of a search on average; shape of the gamma that a seed's two searches share


def _rates(n: int, ratio: float, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Finds per unit of compute of n pairs of searches: counts about a rate that the pair shares in part."""
    shared = rng.gamma(COMMON, 1.0 / COMMON, n)
    counts = [rng.poisson(RICH * mean * shared) for mean in (ratio, 1.0)]
    compute = [rng.gamma(400.0, 1.0 / 400.0, n) for _ in counts]
    return counts[0] / compute[0], counts[1] / compute[1]


def _ratio(_noise: Sampler, n: int, rng: np.random.Generator, design: Design, ratio: float) -> bool:
    return paired_ratio(*_rates(n, ratio, rng), design.level).contains(ratio)


def _test(_noise: Sampler, n: int, rng: np.random.Generator, design: Design) -> bool:
    first, second = _rates(n, 1.0, rng)
    return paired_t(first - second, design.level).p_value <= 1.0 - design.level


_MODULES = ("estimate", "paired", "paired_ratio")
_COUNTS = Noises(met=("normal",), stress=())  # counts know no other noise than their own

ARM_CHECKS = (
    Check("paired_ratio", "interval", partial(_ratio, ratio=0.6), _MODULES, _COUNTS, also=(8,)),
    Check("paired_ratio.p_value", "test", _test, _MODULES, _COUNTS, also=(8,)),
)
