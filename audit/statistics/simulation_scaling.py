"""Calibration checks of loss-versus-scale fits; see `simulation.py`. n: runs, of each arm where there are two."""

from __future__ import annotations

import math
from functools import partial

import numpy as np

from audit.statistics.check import Check, Design, Noises, covers
from audit.statistics.estimate import Floats
from audit.statistics.noise import Sampler
from audit.statistics.scaling_fit import ScalingDraws, bootstrap_scaling, difference_at

DELTA = 1e-3
RESAMPLES = 50  # at most: a repetition refits as often
SIZES = 5  # of the one-variable design, factors of 2 apart, with n / 5 runs each
NOISE_SD = 0.01  # of the log loss: a percent, as seeds of small models have it
E, A, ALPHA, B, BETA = 1.69, 406.4, 0.34, 410.7, 0.28  # Hoffmann et al. 2022, approach 3
TOKENS, PARAMETERS = (2e8, 5e11), (44e6, 16e9)  # the ranges of its runs
TOY_E, TOY_B, TOY_BETA, TOY_TOKENS = 1.3, 300.0, 0.45, 2e4  # a curve as bent as those of small models
BEYOND = 4.0


def _toy(tokens: Floats) -> Floats:
    return np.asarray(TOY_E + TOY_B / tokens**TOY_BETA)


def _one_variable(noise: Sampler, n: int, rng: np.random.Generator, design: Design) -> ScalingDraws:
    tokens = np.repeat(TOY_TOKENS * 2.0 ** np.arange(SIZES), -(-n // SIZES))[:n]
    loss = _toy(tokens) * np.exp(NOISE_SD * noise(rng, (n,)))
    return _bootstrap(loss, None, tokens, rng, design)


def _bootstrap(
    loss: Floats, parameters: Floats | None, tokens: Floats, rng: np.random.Generator, design: Design
) -> ScalingDraws:
    return bootstrap_scaling(
        loss,
        parameters=parameters,
        tokens=tokens,
        delta=DELTA,
        level=design.level,
        rng=rng,
        resamples=min(RESAMPLES, design.resamples),
    )


def _exponent(noise: Sampler, n: int, rng: np.random.Generator, design: Design) -> bool:
    return covers(_one_variable(noise, n, rng, design).intervals()["beta"].interval, TOY_BETA)


def _difference(noise: Sampler, n: int, rng: np.random.Generator, design: Design, factor: float) -> bool:
    """Two arms of the same curve."""
    first, second = (_one_variable(noise, n, rng, design) for _ in range(2))
    largest = TOY_TOKENS * 2.0 ** (SIZES - 1)
    return covers(difference_at(first, second, tokens=factor * largest).interval, 0.0)


def _two_variables(noise: Sampler, n: int, rng: np.random.Generator, design: Design) -> bool:
    parameters, tokens = (np.exp(rng.uniform(math.log(low), math.log(high), n)) for low, high in (PARAMETERS, TOKENS))
    loss = (E + A / parameters**ALPHA + B / tokens**BETA) * np.exp(NOISE_SD * noise(rng, (n,)))
    return covers(_bootstrap(loss, parameters, tokens, rng, design).intervals()["alpha"].interval, ALPHA)


_MODULES = ("estimate", "scaling_descent", "scaling_fit")
_NOISE = Noises(met=("normal",), stress=())
# As many runs of an arm as the kept ones have; more are judged by these.
_ONE = partial(Check, rule="conservative", modules=_MODULES, noises=_NOISE, bootstrap_from=51, also=(10,))

SCALING_CHECKS = (
    _ONE("scaling_exponent", simulate=_exponent),
    _ONE("scaling_difference.measured", simulate=partial(_difference, factor=1.0)),
    _ONE("scaling_difference.beyond", simulate=partial(_difference, factor=BEYOND)),
    Check("scaling_exponent.two_variables", "conservative", _two_variables, _MODULES, _NOISE, bootstrap_from=50),
)
