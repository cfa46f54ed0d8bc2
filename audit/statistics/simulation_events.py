"""Calibration checks of laws of events and of records; see `simulation.py`. n: events, batches or results."""

from __future__ import annotations

from functools import partial

import numpy as np

from audit.statistics.check import Check, Design, Noises, covers
from audit.statistics.estimate import Floats
from audit.statistics.noise import Sampler
from audit.statistics.point_process import (
    LAWS,
    Truncation,
    exponent_batch_bootstrap,
    exponent_bootstrap,
    power_law,
)
from audit.statistics.point_shapes import SHAPES
from audit.statistics.point_tests import (
    against_constant,
    dispersion,
    goodness_of_fit,
    laplace_test,
    prediction,
    rate_ratio,
)
from audit.statistics.records import record_count_test

EXPONENT = 0.7
PER_BATCH, CLUSTERING = 3.0, 2.0  # events a batch, and variance of their number over its mean
AHEAD = 0.25  # of the time of observation
DRAWS = 99  # of a simulated null: a Monte-Carlo p-value rejects as often as it says with any number of draws
REFITS = 400  # of a prediction: more only smooth its limits
# Laws as they are met in use: slowing down, one change, saturation from the start, saturation after a slow start.
_MET: dict[str, Floats] = {
    "constant": np.empty((1, 0)),
    "power": np.array([[EXPONENT]]),
    "change_point": np.array([[0.4, 0.6]]),
    "goel_okumoto": np.array([[2.0, 0.0]]),
    "logistic": np.array([[6.0, 10.0]]),
}


def _times(name: str, n: int, rng: np.random.Generator) -> Floats:
    """n times of a law in (0, 1]."""
    return np.sort(SHAPES[name].quantile(_MET[name], 1.0 - rng.random((1, n)))[0])


def _exact(_noise: Sampler, n: int, rng: np.random.Generator, design: Design, truncated: Truncation) -> bool:
    times = _times("power", n, rng)
    end = float(times[-1]) if truncated == "event" else 1.0
    return covers(power_law(times, end, design.level, truncated=truncated).exponent.interval, EXPONENT)


def _bootstrap(_noise: Sampler, n: int, rng: np.random.Generator, design: Design) -> bool:
    times = _times("power", max(2, int(rng.poisson(n))), rng)
    return covers(exponent_bootstrap(times, 1.0, design.level, rng, design.resamples).interval, EXPONENT)


def _batches(_noise: Sampler, n: int, rng: np.random.Generator, design: Design, exponent: float) -> bool:
    """Counts that are compound Poisson: clusters of one average size, spread by a power law."""
    mean = np.diff((np.arange(n + 1) / n) ** exponent) * PER_BATCH * n
    counts = rng.negative_binomial(mean / (CLUSTERING - 1.0), 1.0 / CLUSTERING)
    if counts.sum() < 2:
        return True
    return covers(exponent_batch_bootstrap(counts, design.level, rng, design.resamples).interval, exponent)


def _laplace(_noise: Sampler, n: int, rng: np.random.Generator, design: Design) -> bool:
    return laplace_test(_times("constant", n, rng), 1.0).p_value <= 1.0 - design.level


def _against(_noise: Sampler, n: int, rng: np.random.Generator, design: Design, name: str) -> bool:
    return against_constant(name, _times("constant", n, rng), 1.0, rng, DRAWS).p_value <= 1.0 - design.level


def _goodness(_noise: Sampler, n: int, rng: np.random.Generator, design: Design, name: str) -> bool:
    return goodness_of_fit(name, _times(name, n, rng), 1.0, rng, DRAWS).p_value <= 1.0 - design.level


def _dispersion(_noise: Sampler, n: int, rng: np.random.Generator, design: Design, negative_binomial: bool) -> bool:
    counts = rng.poisson(PER_BATCH, n)
    counts[0] += counts.sum() == 0
    found = dispersion(counts, design.level, rng, DRAWS)
    return (found.negative_binomial_p if negative_binomial else found.p_value) <= 1.0 - design.level


def _prediction(_noise: Sampler, n: int, rng: np.random.Generator, design: Design, name: str) -> bool:
    share = float(SHAPES[name].cumulative(_MET[name], np.array([[1.0 + AHEAD]]))[0, 0]) - 1.0
    times = _times(name, max(SHAPES[name].least, int(rng.poisson(n))), rng)
    return covers(prediction(name, times, 1.0, AHEAD, design.level, rng, REFITS).interval, rng.poisson(n * share))


def _rate_ratio(_noise: Sampler, n: int, rng: np.random.Generator, design: Design) -> bool:
    """n events expected in all, over unequal exposures and at different rates."""
    first, second = rng.poisson(0.6 * n), rng.poisson(0.4 * n)
    return first + second == 0 or covers(rate_ratio(first, 1.0, second, 2.0, design.level).interval, 3.0)


def _records(noise: Sampler, n: int, rng: np.random.Generator, design: Design) -> bool:
    return record_count_test(noise(rng, (n,)), False, rng, DRAWS).p_value <= 1.0 - design.level


_PROCESS = ("estimate", "proportions", "events", "point_shapes", "point_process")
_TESTS = (*_PROCESS, "point_tests")
_ANY = Noises(met=("normal",), stress=())  # events know no other noise than their own
_EVENTS, _BATCHES = (106,), (36,)

EVENT_CHECKS = (
    Check("power_law", "interval", partial(_exact, truncated="time"), _PROCESS, _ANY, also=_EVENTS),
    Check("power_law.event_truncated", "interval", partial(_exact, truncated="event"), _PROCESS, _ANY, also=_EVENTS),
    Check("exponent_bootstrap", "conservative", _bootstrap, _PROCESS, _ANY, resampling_from=1, also=_EVENTS),
    Check(
        "exponent_batch_bootstrap",
        "interval",
        partial(_batches, exponent=1.0),
        _PROCESS,
        _ANY,
        bootstrap_from=20,
        also=_BATCHES,
    ),
    Check(
        "exponent_batch_bootstrap.slowing",
        "interval",
        partial(_batches, exponent=EXPONENT),
        _PROCESS,
        _ANY,
        bootstrap_from=20,
        also=_BATCHES,
    ),
    Check("laplace_test", "test", _laplace, _TESTS, _ANY, also=_EVENTS),
    *(
        Check(
            f"against_constant.{name}",
            "test",
            partial(_against, name=name),
            _TESTS,
            _ANY,
            resampling_from=1,
            also=_EVENTS,
        )
        for name in LAWS
        if name != "constant"
    ),
    *(
        Check(
            f"goodness_of_fit.{name}",
            "test",
            partial(_goodness, name=name),
            _TESTS,
            _ANY,
            resampling_from=1,
            also=_EVENTS,
        )
        for name in LAWS
    ),
    Check(
        "dispersion.index",
        "test",
        partial(_dispersion, negative_binomial=False),
        _TESTS,
        _ANY,
        resampling_from=1,
        also=_BATCHES,
    ),
    Check(
        "dispersion.negative_binomial",
        "test",
        partial(_dispersion, negative_binomial=True),
        _TESTS,
        _ANY,
        resampling_from=1,
        also=_BATCHES,
    ),
    *(
        Check(
            f"prediction.{name}",
            "conservative",
            partial(_prediction, name=name),
            _TESTS,
            _ANY,
            bootstrap_from=20,
            also=_EVENTS,
        )
        for name in LAWS
    ),
    Check("rate_ratio", "exact", _rate_ratio, _TESTS, _ANY, also=_EVENTS),
    Check(
        "record_count_test",
        "test",
        _records,
        ("estimate", "proportions", "events", "records"),
        Noises(met=("normal",), stress=()),
        resampling_from=1,
        also=(100, 500),
    ),
)
