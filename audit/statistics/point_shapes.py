"""How events spread over the time of observation: densities on (0, 1], fitted to many samples at once.

A Poisson process with rate a f(t), f a density on the time of observation, splits in two: the number of events is
Poisson with mean a, and given their number their times are independent draws from f (Rigdon and Basu 2000, section
2.5). So a law is fitted by the likelihood of f alone, and a refit of simulated times needs no more than these shapes.
Times u [k, n] are k samples, each sorted, in units of the time of observation; shape parameters are [k, p].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy import special

from audit.statistics.estimate import Floats

SHARPEST = 50.0  # of a logistic shape: growth times the time of observation
TAIL = 10.0  # how far, in units of 1/growth, a logistic shape's middle may lie outside the time of observation
_STEPS = 25
_START_FROM = 30
_NO_DECAY = 1e-9


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A family of densities on (0, 1].

    fit(u [k, n]): parameters [k, p] of the largest likelihood and its logarithm [k]. cumulative(parameters [k, p],
    u [k, n]) and its inverse, quantile. cumulative holds beyond 1 too. least: events that a fit needs.
    """

    fit: Callable[[Floats], tuple[Floats, Floats]]
    cumulative: Callable[[Floats, Floats], Floats]
    quantile: Callable[[Floats, Floats], Floats]
    least: int


def _fit_constant(u: Floats) -> tuple[Floats, Floats]:
    return np.empty((len(u), 0)), np.zeros(len(u))


def _same(_parameters: Floats, u: Floats) -> Floats:
    return u


def _fit_power(u: Floats) -> tuple[Floats, Floats]:
    """f = beta u^(beta - 1), by the closed form of Crow (1975)."""
    logs = np.log(u).sum(axis=1)
    n = u.shape[1]
    with np.errstate(divide="ignore"):
        beta = n / -logs
    return beta[:, None], n * np.log(beta) + (beta - 1.0) * logs


def _power_cumulative(parameters: Floats, u: Floats) -> Floats:
    with np.errstate(over="ignore"):  # far beyond 1 the count of a steep power is infinite
        return np.asarray(u ** parameters[:, :1])


def _power_quantile(parameters: Floats, v: Floats) -> Floats:
    return np.asarray(v ** (1.0 / parameters[:, :1]))


def change_margin(n: int) -> int:
    """Events that a change point leaves on either side: a tenth of n, at least 2."""
    return max(2, round(n / 10))


def _fit_change(u: Floats) -> tuple[Floats, Floats]:
    """Two constant rates: parameters (time of the change, share of events up to it).

    Between events the likelihood is convex in the time of the change, so its largest value lies at an event, which
    belongs to the rate before or after. Where no change leaves enough events on either side: no change.
    """
    k, n = u.shape
    margin = change_margin(n)
    before = np.concatenate([np.arange(1, n + 1), np.arange(n)]).astype(np.float64)
    time = np.concatenate([u, u], axis=1)
    # Events at one time stay together.
    last = np.concatenate([u[:, 1:] > u[:, :-1], np.ones((k, 1), dtype=bool)], axis=1)
    first = np.concatenate([np.ones((k, 1), dtype=bool), u[:, 1:] > u[:, :-1]], axis=1)
    allowed = np.concatenate([last, first], axis=1) & (before >= margin) & (before <= n - margin) & (time < 1.0)
    share = before / n
    with np.errstate(divide="ignore", invalid="ignore"):
        gain = special.xlogy(before, share / time) + special.xlogy(n - before, (1.0 - share) / (1.0 - time))
    gain = np.where(allowed, gain, -np.inf)
    best, rows = gain.argmax(axis=1), np.arange(k)
    found = np.isfinite(gain[rows, best])
    parameters = np.stack([time[rows, best], share[best]], axis=1)
    return np.where(found[:, None], parameters, 0.5), np.where(found, gain[rows, best], 0.0)


def _change_cumulative(parameters: Floats, u: Floats) -> Floats:
    time, share = parameters[:, :1], parameters[:, 1:]
    early = share * np.minimum(u, time) / time
    return np.asarray(early + (1.0 - share) * np.maximum(u - time, 0.0) / (1.0 - time))


def _change_quantile(parameters: Floats, v: Floats) -> Floats:
    time, share = parameters[:, :1], parameters[:, 1:]
    early = time * v / share
    return np.where(v <= share, early, time + (1.0 - time) * (v - share) / (1.0 - share))


def _fit_decay(u: Floats) -> tuple[Floats, Floats]:
    """f proportional to exp(-x u), x >= 0: x solves mean(u) = 1/x - 1/(exp(x) - 1); 0 where the mean is 1/2 or more.

    Parameters (x, 0), those of `_s_cumulative`.
    """
    mean = u.mean(axis=1)
    low, high = np.zeros(len(u)), 1.0 / mean
    for _ in range(60):  # bisection
        middle = (low + high) / 2.0
        above = _truncated_mean(middle) > mean
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    x = np.where(mean < 0.5, (low + high) / 2.0, 0.0)
    x = np.where(x < _NO_DECAY, 0.0, x)
    return np.stack([x, np.zeros(len(u))], axis=1), u.shape[1] * (_log_scale(x) - x * mean)


def _truncated_mean(x: Floats) -> Floats:
    """Mean of the density proportional to exp(-x u) on (0, 1]."""
    safe = np.maximum(x, 1e-4)
    return np.where(x < 1e-4, 0.5 - x / 12.0, 1.0 / safe - 1.0 / np.expm1(np.minimum(safe, 700.0)))


def _log_scale(x: Floats) -> Floats:
    """Logarithm of x / (1 - exp(-x)), 0 at x = 0."""
    safe = np.maximum(x, _NO_DECAY)
    return np.where(x < _NO_DECAY, 0.0, np.log(safe / -np.expm1(-safe)))


def _s_cumulative(parameters: Floats, u: Floats) -> Floats:
    """(1 - exp(-x u)) / (1 + c exp(-x u)), scaled to 1 at u = 1; u itself at x = 0. Parameters (x, c)."""
    x, c = parameters[:, :1], parameters[:, 1:]
    safe = np.maximum(x, _NO_DECAY)
    value = np.expm1(-safe * u) / (1.0 + c * np.exp(-safe * u))
    whole = np.expm1(-safe) / (1.0 + c * np.exp(-safe))
    return np.where(x < _NO_DECAY, u, value / whole)


def _s_quantile(parameters: Floats, v: Floats) -> Floats:
    x, c = parameters[:, :1], parameters[:, 1:]
    safe = np.maximum(x, _NO_DECAY)
    part = -v * np.expm1(-safe) / (1.0 + c * np.exp(-safe))
    return np.where(x < _NO_DECAY, v, (np.log1p(c * part) - np.log1p(-part)) / safe)


def _fit_logistic(u: Floats) -> tuple[Floats, Floats]:
    """f proportional to the slope of a logistic curve, parameters (x, c); never worse than the decay it contains.

    A search over a grid, then Newton steps (Levenberg-Marquardt) in (x, a = log c), kept within x <= SHARPEST and
    -TAIL <= a <= x + TAIL: beyond these the shape is a step, a decay or an exponential rise.
    """
    x, a = _logistic_start(u)
    value = _logistic_value(u, x, a)
    damping = np.full(len(u), 1e-2)
    open_rows = np.arange(len(u))
    for _ in range(_STEPS):
        rows, part = open_rows, u[open_rows]
        step_x, step_a = _logistic_step(part, x[rows], a[rows], damping[rows])
        new_x = np.clip(x[rows] + step_x, 0.01, SHARPEST)
        new_a = np.clip(a[rows] + step_a, -TAIL, new_x + TAIL)
        gain = _logistic_value(part, new_x, new_a) - value[rows]
        better = gain > 0.0
        taken = rows[better]
        x[taken], a[taken] = new_x[better], new_a[better]
        value[taken] += gain[better]
        damping[rows] *= np.where(better, 0.2, 8.0)
        open_rows = rows[np.where(better, gain > 1e-9, damping[rows] < 1e3)]
    decay, decay_value = _fit_decay(u)
    value = value * u.shape[1]
    better = value > decay_value
    return np.where(better[:, None], np.stack([x, np.exp(a)], axis=1), decay), np.where(better, value, decay_value)


def _logistic_start(u: Floats) -> tuple[Floats, Floats]:
    """The best x [k] and a [k] of a grid, judged by every so-manieth time where there are many."""
    step = max(1, u.shape[1] // _START_FROM)
    some = u[:, step // 2 :: step]
    grid = [(x, x * middle) for x in (3.0, 10.0, 30.0) for middle in (-0.2, 0.1, 0.3, 0.5, 0.7, 0.9, 1.2)]
    values = np.stack([_logistic_value(some, np.full(len(u), x), np.full(len(u), a)) for x, a in grid])
    best = np.asarray(grid)[values.argmax(axis=0)]
    return best[:, 0].copy(), best[:, 1].copy()


def _logistic_value(u: Floats, x: Floats, a: Floats) -> Floats:
    """Mean log density [k] at x, a [k]: log f = log(x / (1 - e^-x)) + log S(z) S(-z) / (S(x - a) S(a)), z = x u - a."""
    z = np.abs(x[:, None] * u - a[:, None])
    density = -z - 2.0 * np.log1p(np.exp(-z))
    return np.asarray(density.mean(axis=1) + _log_scale(x) - special.log_expit(x - a) - special.log_expit(a))


def _logistic_step(u: Floats, x: Floats, a: Floats, damping: Floats) -> tuple[Floats, Floats]:
    """Damped Newton step of `_logistic_value`."""
    slope = np.tanh((x[:, None] * u - a[:, None]) / 2.0)
    bend = (1.0 - slope**2) / 2.0
    right, left = special.expit(a - x), special.expit(-a)
    right_bend, left_bend = right * (1.0 - right), left * (1.0 - left)
    by_x = _truncated_mean(x) - (u * slope).mean(axis=1) - right
    by_a = slope.mean(axis=1) + right - left
    weighted = u * bend
    xx = 1.0 / x**2 - 1.0 / (4.0 * np.sinh(x / 2.0) ** 2) + (weighted * u).mean(axis=1) - right_bend
    xa = right_bend - weighted.mean(axis=1)
    aa = bend.mean(axis=1) - right_bend - left_bend
    # -H + damping I, its determinant kept positive so that the step goes uphill.
    lift = damping + np.maximum(0.0, -_smallest_eigenvalue(xx, xa, aa))
    xx, aa = xx + lift, aa + lift
    determinant = xx * aa - xa**2
    return (aa * by_x - xa * by_a) / determinant, (xx * by_a - xa * by_x) / determinant


def _smallest_eigenvalue(xx: Floats, xa: Floats, aa: Floats) -> Floats:
    return np.asarray((xx + aa) / 2.0 - np.sqrt(((xx - aa) / 2.0) ** 2 + xa**2))


SHAPES: Mapping[str, Shape] = {
    "constant": Shape(fit=_fit_constant, cumulative=_same, quantile=_same, least=1),
    "power": Shape(fit=_fit_power, cumulative=_power_cumulative, quantile=_power_quantile, least=2),
    "change_point": Shape(fit=_fit_change, cumulative=_change_cumulative, quantile=_change_quantile, least=4),
    "goel_okumoto": Shape(fit=_fit_decay, cumulative=_s_cumulative, quantile=_s_quantile, least=2),
    "logistic": Shape(fit=_fit_logistic, cumulative=_s_cumulative, quantile=_s_quantile, least=3),
}
