"""Laws of events in compute: Poisson processes whose rate is constant, a power, changes once or saturates.

Time is any amount that only grows, such as compute; `end` is how much of it was observed, and all events up to there
are known (time-truncated), unless said otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from audit.statistics.estimate import NO_INTERVAL, Estimate, Floats, checked_level, finite_vector
from audit.statistics.events import event_counts
from audit.statistics.point_shapes import SHAPES

LAWS = ("constant", "power", "change_point", "goel_okumoto", "logistic")
_FREE = {"constant": 1, "power": 2, "change_point": 3, "goel_okumoto": 2, "logistic": 3}
Truncation = Literal["time", "event"]
_GRID = np.geomspace(0.05, 20.0, 240)  # exponents of grouped counts


@dataclass(frozen=True, kw_only=True)
class Law:
    """A fitted law N(t), the expected number of events by time t, for t from 0; beyond `end` it extrapolates.

    constant: rate t. power (Crow 1975): scale t^exponent. change_point: rate `before` up to `change`, then `after`.
    goel_okumoto (Goel and Okumoto 1979): total (1 - exp(-decay t)), decay >= 0; at decay 0 nothing saturates, the
    rate is constant and total infinite. logistic: total (1 - exp(-growth t)) / (1 + inflection exp(-growth t)), the
    logistic curve started at N(0) = 0 (Ohba 1984); its rate is the slope of total / (1 + inflection exp(-growth t))
    up to a factor, and at inflection 0 it is goel_okumoto. The last two also hold `expected`, N(end), which every
    law fits to the number of events. log_likelihood: of the times, in events per unit of time.
    """

    name: str
    parameters: Mapping[str, float]
    log_likelihood: float
    end: float

    @property
    def free(self) -> int:
        """Number of fitted parameters, the time of a change included."""
        return _FREE[self.name]

    @property
    def aic(self) -> float:
        """Akaike's criterion; smaller is better."""
        return 2.0 * self.free - 2.0 * self.log_likelihood

    def bic(self, n: int) -> float:
        """Schwarz's criterion with n events; smaller is better."""
        return self.free * math.log(n) - 2.0 * self.log_likelihood

    @property
    def shape(self) -> Floats:
        """Parameters [1, p] of the law's `SHAPES` entry: its spread over (0, end], time in units of `end`."""
        p, end = self.parameters, self.end
        if self.name == "constant":
            return np.empty((1, 0))
        if self.name == "power":
            return np.array([[p["exponent"]]])
        if self.name == "change_point":
            early, late = p["before"] * p["change"], p["after"] * (end - p["change"])
            return np.array([[p["change"] / end, early / (early + late)]])
        if self.name == "goel_okumoto":
            return np.array([[p["decay"] * end, 0.0]])
        return np.array([[p["growth"] * end, p["inflection"]]])

    @property
    def expected(self) -> float:
        """N(end)."""
        p = self.parameters
        if self.name == "constant":
            return p["rate"] * self.end
        if self.name == "power":
            return float(p["scale"] * self.end ** p["exponent"])
        if self.name == "change_point":
            return p["before"] * p["change"] + p["after"] * (self.end - p["change"])
        return p["expected"]

    def cumulative(self, t: ArrayLike) -> Floats:
        """Expected number of events by times t [m] >= 0, shape [m]."""
        u = np.atleast_1d(np.asarray(t, dtype=np.float64)) / self.end
        return np.asarray(self.expected * SHAPES[self.name].cumulative(self.shape, u[None])[0])

    def rate(self, t: ArrayLike) -> Floats:
        """Expected events per unit of time at times t [m] > 0, shape [m]."""
        time = np.atleast_1d(np.asarray(t, dtype=np.float64))
        p = self.parameters
        if self.name == "constant":
            return np.full(time.shape, p["rate"])
        if self.name == "power":
            return np.asarray(p["scale"] * p["exponent"] * time ** (p["exponent"] - 1.0))
        if self.name == "change_point":
            return np.where(time <= p["change"], p["before"], p["after"])
        speed, c = (p["decay"], 0.0) if self.name == "goel_okumoto" else (p["growth"], p["inflection"])
        if speed == 0.0:
            return np.full(time.shape, self.expected / self.end)
        left = np.exp(-speed * time)
        return np.asarray(p["total"] * speed * (1.0 + c) * left / (1.0 + c * left) ** 2)

    def simulate(self, rng: np.random.Generator) -> Floats:
        """Sorted times of one simulated run in (0, end], their number Poisson."""
        u = 1.0 - rng.random((1, int(rng.poisson(self.expected))))
        times = SHAPES[self.name].quantile(self.shape, u)[0]
        return self.end * np.sort(np.clip(times, np.finfo(np.float64).tiny, 1.0))


def scaled_times(times: ArrayLike, end: float, least: int) -> Floats:
    """Times [n] sorted, in units of `end`. ValueError: not in (0, end], or fewer than `least`."""
    vector = np.sort(finite_vector(times, "times"))
    if not 0.0 < end < math.inf or (len(vector) and not 0.0 < vector[0] <= vector[-1] <= end):
        raise ValueError("times must lie above 0 and not beyond end, which must be positive and finite")
    if len(vector) < least:
        raise ValueError(f"this needs {least} events, got {len(vector)}")
    return vector / end


def fit_law(name: str, times: ArrayLike, end: float) -> Law:
    """Law `name` fitted to times [n] in (0, end] by maximum likelihood; events at one time are allowed.

    The change point leaves a tenth of the events, at least 2, on either side.

    Raises:
        ValueError: an unknown name, times outside (0, end], fewer than the law needs (constant 1, power and
            goel_okumoto 2, logistic 3, change_point 4), or a power law of events that are all at the end.
    """
    if name not in LAWS:
        raise ValueError(f"no law {name!r}; known: {', '.join(LAWS)}")
    u = scaled_times(times, end, SHAPES[name].least)
    n = len(u)
    if name == "power" and u[0] == 1.0:
        raise ValueError("all events are at the end: no power law has a finite exponent there")
    shape, spread = SHAPES[name].fit(u[None])
    log_likelihood = float(spread[0]) + n * math.log(n / end) - n
    return Law(name=name, parameters=_parameters(name, shape[0], n, end), log_likelihood=log_likelihood, end=end)


def _parameters(name: str, shape: Floats, n: int, end: float) -> dict[str, float]:
    if name == "constant":
        return {"rate": n / end}
    if name == "power":
        return {"scale": n / end ** float(shape[0]), "exponent": float(shape[0])}
    first, second = float(shape[0]), float(shape[1])
    if name == "change_point":
        before, after = n * second / (first * end), n * (1.0 - second) / ((1.0 - first) * end)
        return {"change": first * end, "before": before, "after": after}
    total = n * (1.0 + second * math.exp(-first)) / -math.expm1(-first) if first > 0.0 else math.inf
    if name == "goel_okumoto":
        return {"total": total, "decay": first / end, "expected": float(n)}
    return {"total": total, "growth": first / end, "inflection": second, "expected": float(n)}


def fit_laws(times: ArrayLike, end: float) -> dict[str, Law]:
    """Every law of LAWS fitted to times [n]; see `fit_law`."""
    return {name: fit_law(name, times, end) for name in LAWS}


@dataclass(frozen=True, kw_only=True)
class PowerLaw:
    """N(t) = scale t^exponent. exponent: maximum likelihood with its exact interval; unbiased: corrected for bias."""

    exponent: Estimate
    unbiased: float
    scale: float


def power_law(times: ArrayLike, end: float, level: float, *, truncated: Truncation) -> PowerLaw:
    """Crow-AMSAA fit of times [n]: exponent n / sum log(end / t), exact chi-square interval (Crow 1975).

    2 n exponent / estimate is chi-square with 2 n degrees of freedom where observation stopped at a fixed time, and
    2 (n - 1) where it stopped at the last event, at `end`. Exact for continuous times of a power law; times known to
    a unit make it approximate. Needs 2 events, 3 where it stopped at the last one.
    """
    lost = 1 if truncated == "event" else 0
    u = scaled_times(times, end, 2 + lost)
    if lost and u[-1] != 1.0:
        raise ValueError("truncated at an event, but the last event is not at the end")
    law, n = fit_law("power", times, end), len(u)
    estimate = law.parameters["exponent"]
    tail = (1.0 - checked_level(level)) / 2.0
    low, high = (estimate * float(stats.chi2.ppf(q, 2 * (n - lost))) / (2.0 * n) for q in (tail, 1.0 - tail))
    return PowerLaw(
        exponent=Estimate(estimate=estimate, interval=(low, high), n=n),
        unbiased=estimate * (n - 1.0 - lost) / n,
        scale=law.parameters["scale"],
    )


def exponent_bootstrap(
    times: ArrayLike, end: float, level: float, rng: np.random.Generator, resamples: int
) -> Estimate:
    """Exponent of times [n] with a parametric bootstrap interval: runs simulated from the fit, their number Poisson.

    The interval is the estimate divided by quantiles of (refitted exponent / exponent), whose distribution does not
    depend on the exponent.
    """
    u = scaled_times(times, end, 2)
    n, estimate = len(u), fit_law("power", times, end).parameters["exponent"]
    counts = np.maximum(rng.poisson(n, resamples), 2)
    ratios = counts / rng.standard_gamma(counts)  # minus the log of a uniform time to the exponent is exponential
    return Estimate(estimate=estimate, interval=_divided(estimate, ratios, level), n=n)


def _divided(estimate: float, ratios: Floats, level: float) -> tuple[float, float]:
    tail = (1.0 - checked_level(level)) / 2.0
    low, high = np.quantile(ratios, [tail, 1.0 - tail])
    return estimate / float(high), estimate / float(low)


def exponent_batch_bootstrap(counts: ArrayLike, level: float, rng: np.random.Generator, resamples: int) -> Estimate:
    """Exponent of counts [b], b >= 4, of equal batches in order, where events of a batch come together.

    The exponent is that of largest likelihood for counts (Crow's grouped form), between 0.05 and 20. What is
    resampled are the batches' multiplicities: each batch keeps its place and draws a count with the fitted mean and a
    variance `dispersion` times that (negative binomial, as from independent clusters of one size), the dispersion
    being Pearson's, never below 1. Batches are taken to be independent. The interval is studentised on the logarithm:
    sampling batches with their places covers too little at 36 of them. n: batches.

    Raises:
        ValueError: counts that are not whole, negative, of fewer than 4 batches, or fewer than 2 events.
    """
    observed = event_counts(counts)
    if len(observed) < 4:
        raise ValueError(f"this needs 4 batches, got {len(observed)}")
    if observed.sum() < 2.0:
        raise ValueError(f"this needs 2 events, got {observed.sum():g}")
    found, dispersions = _grouped_exponents(observed[None])
    estimate, dispersion = float(found[0]), float(dispersions[0])
    mean = np.broadcast_to(_grouped_means(found, observed[None])[0], (resamples, len(observed)))
    if dispersion > 1.0 + 1e-9:
        drawn = rng.negative_binomial(mean / (dispersion - 1.0), 1.0 / dispersion)
    else:
        drawn = rng.poisson(mean)
    drawn = drawn[drawn.sum(axis=1) >= 2].astype(np.float64)
    if not len(drawn):
        return Estimate(estimate=estimate, interval=NO_INTERVAL, n=len(observed))
    exponents, spreads = _grouped_exponents(drawn)
    far = np.log(exponents / estimate) / np.sqrt(spreads / drawn.sum(axis=1))
    error = math.sqrt(dispersion / float(observed.sum()))  # of the logarithm of the exponent
    return Estimate(estimate=estimate, interval=_divided(estimate, np.exp(far * error), level), n=len(observed))


def _grouped_exponents(counts: Floats) -> tuple[Floats, Floats]:
    """Exponents [k] of counts [k, b] of equal batches, and their Pearson dispersion [k], at least 1."""
    edges = np.linspace(0.0, 1.0, counts.shape[1] + 1)
    value = counts @ np.log(np.diff(edges[:, None] ** _GRID, axis=0))  # [k, grid]
    best, rows = value.argmax(axis=1), np.arange(len(counts))
    inner = np.clip(best, 1, len(_GRID) - 2)
    left, middle, right = (value[rows, inner + step] for step in (-1, 0, 1))
    # The top of the parabola through the three best points of the grid.
    shift = np.where(best == inner, 0.5 * (left - right) / (left - 2.0 * middle + right), 0.0)
    exponents = _GRID[best] * (_GRID[1] / _GRID[0]) ** shift
    means = _grouped_means(exponents, counts)
    pearson = ((counts - means) ** 2 / means).sum(axis=1) / (counts.shape[1] - 2)
    return exponents, np.maximum(1.0, pearson)


def _grouped_means(exponents: Floats, counts: Floats) -> Floats:
    """Expected counts [k, b] of power laws with exponents [k] and as many events as counts [k, b]."""
    edges = np.linspace(0.0, 1.0, counts.shape[1] + 1)
    return np.asarray(np.diff(edges ** exponents[:, None], axis=1) * counts.sum(axis=1, keepdims=True))
