"""Loss against scale: L = E + A/N^alpha + B/D^beta and its one-variable forms, with full-refit bootstrap intervals.

N: parameters of a model, D: tokens it was trained on. Robust fit of log losses (Hoffmann et al. 2022, arXiv 2203.15556,
section D.2), with the loss and the sizes brought to their geometric means first, so that no unit and no number of
points changes what the search's tolerance means (Besiroglu et al. 2024, arXiv 2404.10102).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, stats

from audit.statistics.estimate import NO_INTERVAL, Estimate, Floats, checked_level, finite_vector
from audit.statistics.scaling_descent import Problems, curve, descend, gradient

TERMS = {"parameters": ("A", "alpha"), "tokens": ("B", "beta")}
FORMS = {  # sizes -> the curve in words
    ("parameters", "tokens"): "E + A/N^alpha + B/D^beta",
    ("parameters",): "E + A/N^alpha",
    ("tokens",): "E + B/D^beta",
}
EXTRA_SIZES = 1  # different points beyond the number of parameters, without which nothing tests the curve
FEWEST_VALUES = 3  # different values of a size: two give no curvature
GRID_E = (0.1, 0.5, 0.9)  # starts: share of E in the loss at the geometric mean of the sizes,
GRID_SPLIT = (0.25, 0.75)  # of the rest, that of the first of two terms,
GRID_EXPONENTS = (0.1, 0.3, 0.6, 1.2)  # and exponents
AT_BOUND = 1e-6
WIDEST = 0.9999  # level of the widest percentile interval that is asked of resamples


@dataclass(frozen=True, kw_only=True)
class ScalingFit:
    """A fitted curve.

    sizes: which of `parameters` and `tokens` it has. parameters: E, A, alpha, B, beta, as far as the form has them.
    objective: mean of Huber(log residual / delta). log_residuals [n]. at_bound: parameters that the data push to the
    end of what is allowed (an exponent of 0, or a term of nothing): they are not identified.
    """

    sizes: tuple[str, ...]
    parameters: Mapping[str, float]
    objective: float
    log_residuals: Floats
    at_bound: tuple[str, ...]
    n: int

    @property
    def form(self) -> str:
        """The curve in words."""
        return FORMS[self.sizes]

    def predict(self, n_parameters: ArrayLike | None = None, tokens: ArrayLike | None = None) -> Floats:
        """Losses at sizes [k] (or one); a size that the form lacks is ignored."""
        names = np.array([[value] for value in self.parameters.values()])
        return np.asarray(_losses(names, self.sizes, {"parameters": n_parameters, "tokens": tokens})[0])


@dataclass(frozen=True, kw_only=True)
class ScalingDraws:
    """A fit and its refits. values: parameters [resamples, p] in the order of `fit.parameters`."""

    fit: ScalingFit
    values: Floats
    level: float

    def intervals(self) -> dict[str, Estimate]:
        """Each parameter with its interval; NaN limits for one that is not identified."""
        fit = self.fit
        return {
            name: Estimate(
                estimate=fit.parameters[name],
                interval=NO_INTERVAL if name in fit.at_bound else self.limits(self.values[:, place]),
                n=fit.n,
            )
            for place, name in enumerate(fit.parameters)
        }

    def predict(self, n_parameters: ArrayLike | None = None, tokens: ArrayLike | None = None) -> Floats:
        """Losses [resamples, k] of every refit at sizes [k] (or one)."""
        return _losses(self.values.T, self.fit.sizes, {"parameters": n_parameters, "tokens": tokens})

    def limits(self, drawn: Floats) -> tuple[float, float]:
        """Percentile interval of a statistic's resamples [resamples], expanded for the n - p degrees of freedom."""
        return expanded_percentiles(drawn, self.fit.n - len(self.fit.parameters), self.level)


def expanded_percentiles(drawn: Floats, free: int, level: float) -> tuple[float, float]:
    """Percentiles of resamples at the normal level that reaches as far as Student's t with `free` degrees of freedom.

    After Hesterberg 2015 (arXiv 1411.5279, section 5.3), whose further factor sqrt(n / (n - p)) is left out: it is for
    resamples that vary too little, and drawing the sizes with the losses makes up for that.
    """
    if free < 1 or not np.isfinite(drawn).all():
        return NO_INTERVAL
    reach = float(stats.t.ppf(0.5 + checked_level(level) / 2.0, free))
    tail = max(float(stats.norm.sf(reach)), (1.0 - WIDEST) / 2.0)
    low, high = np.quantile(drawn, [tail, 1.0 - tail])
    return float(low), float(high)


def fit_scaling(
    loss: ArrayLike, *, parameters: ArrayLike | None = None, tokens: ArrayLike | None = None, delta: float
) -> ScalingFit:
    """Fit losses [n] at `parameters` [n] and/or `tokens` [n]; Huber's delta is in logs of the loss.

    Every start of a grid goes down by a damped Newton method; the best is finished by L-BFGS-B.

    Raises:
        ValueError: a loss or size that is not positive and finite, lengths that differ, or fewer points than
            parameters.
    """
    data = _Data.of(loss, parameters, tokens, delta)
    problems = data.problems(np.ones((1, data.n)))
    thetas, values = descend(_grid(len(data.sizes)), problems)
    return data.fit(_finished(thetas[int(values.argmin())], problems), problems)


def bootstrap_scaling(
    loss: ArrayLike,
    *,
    parameters: ArrayLike | None = None,
    tokens: ArrayLike | None = None,
    delta: float,
    level: float,
    rng: np.random.Generator,
    resamples: int,
    groups: Sequence[Hashable] | None = None,
) -> ScalingDraws:
    """`fit_scaling`, and refits to as many points drawn with replacement (to as many groups, where `groups` [n] says).

    Every refit goes down from the fit and from the middle of the grid, and keeps the better. Two calls with equal
    generators and equally long data draw the same points, so arms whose rows are paired stay paired. ValueError as
    `fit_scaling`.
    """
    fit = fit_scaling(loss, parameters=parameters, tokens=tokens, delta=delta)
    weights = _drawn_weights(fit.n, groups, rng, resamples)
    values = refit(fit, weights, loss, parameters=parameters, tokens=tokens, delta=delta)
    return ScalingDraws(fit=fit, values=values, level=checked_level(level))


def refit(
    fit: ScalingFit,
    weights: Floats,
    loss: ArrayLike,
    *,
    parameters: ArrayLike | None = None,
    tokens: ArrayLike | None = None,
    delta: float,
) -> Floats:
    """Parameters [r, p], in the order of `fit.parameters`, of fits to points that count as `weights` [r, n] say."""
    data = _Data.of(loss, parameters, tokens, delta)
    problems, grid = data.problems(weights), _grid(len(data.sizes))
    starts = (data.normalised(fit.parameters), grid[len(grid) // 2])
    found = [descend(np.repeat(start[None], len(weights), axis=0), problems) for start in starts]
    best = np.stack([values for _, values in found]).argmin(axis=0)
    return data.natural(np.stack([thetas for thetas, _ in found])[best, np.arange(len(weights))])


def difference_at(
    first: ScalingDraws,
    second: ScalingDraws,
    *,
    n_parameters: float | None = None,
    tokens: float | None = None,
) -> Estimate:
    """Loss of the first curve minus that of the second at a size, with the interval that refits of both give.

    The interval has the level of the first and the degrees of freedom of the smaller. n: points of the smaller arm.
    """
    where = {"n_parameters": n_parameters, "tokens": tokens}
    smaller = min((first, second), key=lambda draws: draws.fit.n - len(draws.fit.parameters))
    return Estimate(
        estimate=float(first.fit.predict(**where)[0] - second.fit.predict(**where)[0]),
        interval=smaller.limits((first.predict(**where) - second.predict(**where))[:, 0]),
        n=smaller.fit.n,
    )


def unidentified(*, parameters: ArrayLike | None = None, tokens: ArrayLike | None = None) -> str:
    """Why sizes [n] cannot identify their form's parameters, in words; empty where they can."""
    sizes = {
        name: np.asarray(values)
        for name, values in (("parameters", parameters), ("tokens", tokens))
        if values is not None
    }
    for name, values in sizes.items():
        different = len(np.unique(values))
        if different < FEWEST_VALUES:
            return f"{different} different values of {name}, and a curve needs {FEWEST_VALUES}"
    different = len(np.unique(np.stack(list(sizes.values())), axis=1).T)
    free = 1 + 2 * len(sizes)
    if different < free + EXTRA_SIZES:
        return f"{different} different sizes for {free} parameters, and a tested fit needs {free + EXTRA_SIZES}"
    return ""


@dataclass(frozen=True)
class _Data:
    """Centred logs. x: [k, n]; y: [n]; centres: of the sizes [k]; level: of the loss."""

    sizes: tuple[str, ...]
    x: Floats
    y: Floats
    centres: Floats
    level: float
    delta: float

    @property
    def n(self) -> int:
        return len(self.y)

    @classmethod
    def of(cls, loss: ArrayLike, parameters: ArrayLike | None, tokens: ArrayLike | None, delta: float) -> _Data:
        given = {
            name: values for name, values in (("parameters", parameters), ("tokens", tokens)) if values is not None
        }
        if not given:
            raise ValueError("a curve needs parameters or tokens")
        if not delta > 0.0:
            raise ValueError(f"delta must be positive, got {delta}")
        y, x = _logs(loss, "loss"), [_logs(values, name) for name, values in given.items()]
        if {len(values) for values in x} != {len(y)}:
            raise ValueError(f"there are {len(y)} losses and {', '.join(str(len(values)) for values in x)} sizes")
        if len(y) <= 2 * len(x):
            raise ValueError(f"{1 + 2 * len(x)} parameters need as many points, got {len(y)}")
        centres = np.array([values.mean() for values in x])
        return cls(tuple(given), np.stack(x) - centres[:, None], y - y.mean(), centres, float(y.mean()), delta)

    def problems(self, weights: Floats) -> Problems:
        return Problems(self.x, self.y[None], weights, self.delta)

    def natural(self, thetas: Floats) -> Floats:
        """(E, A, alpha, ...) [r, p] of normalised parameters [r, p]."""
        values = thetas.copy()
        values[:, 0] = np.exp(thetas[:, 0] + self.level)
        for k, centre in enumerate(self.centres):
            values[:, 1 + 2 * k] = np.exp(thetas[:, 1 + 2 * k] + self.level + thetas[:, 2 + 2 * k] * centre)
        return values

    def normalised(self, parameters: Mapping[str, float]) -> Floats:
        """The inverse of `natural` for one fit, [p]."""
        theta = np.array(list(parameters.values()))
        theta[0] = math.log(theta[0]) - self.level
        for k, centre in enumerate(self.centres):
            theta[1 + 2 * k] = math.log(theta[1 + 2 * k]) - self.level - theta[2 + 2 * k] * centre
        return theta

    def fit(self, theta: Floats, problems: Problems) -> ScalingFit:
        names = ("E", *itertools.chain.from_iterable(TERMS[size] for size in self.sizes))
        low, high = problems.bounds
        stuck = (theta - low < AT_BOUND) | (high - theta < AT_BOUND)
        return ScalingFit(
            sizes=self.sizes,
            parameters=dict(zip(names, map(float, self.natural(theta[None])[0]), strict=True)),
            objective=float(gradient(theta[None], problems)[0][0]),
            log_residuals=self.y - curve(theta[None], self.x)[0][0],
            at_bound=tuple(name for name, held in zip(names, stuck, strict=True) if held),
            n=self.n,
        )


def _logs(values: ArrayLike, name: str) -> Floats:
    vector = finite_vector(values, name)
    if (vector <= 0.0).any():
        raise ValueError(f"{name} must be positive")
    return np.log(vector)


def _grid(terms: int) -> Floats:
    """Starts [s, 1 + 2 terms], in normalised parameters."""
    starts = []
    splits = GRID_SPLIT if terms == 2 else (1.0,)
    for e, split, *exponents in itertools.product(GRID_E, splits, *(GRID_EXPONENTS,) * terms):
        shares = ((1.0 - e) * split, (1.0 - e) * (1.0 - split))
        pairs = [(math.log(share), exponent) for share, exponent in zip(shares, exponents, strict=False)]
        starts.append([math.log(e), *itertools.chain.from_iterable(pairs)])
    return np.array(starts)


def _finished(theta: Floats, problems: Problems) -> Floats:
    """L-BFGS-B from `theta` [p] with the analytic gradient."""

    def value_and_slope(point: Floats) -> tuple[float, Floats]:
        value, slope = gradient(point[None], problems)
        return float(value[0]), slope[0]

    start = value_and_slope(theta)[0]
    found = optimize.minimize(
        value_and_slope,
        theta,
        jac=True,
        method="L-BFGS-B",
        bounds=list(zip(*problems.bounds, strict=True)),
        options={"maxiter": 2000, "maxfun": 5000, "ftol": 1e-15, "gtol": 1e-9},
    )
    return np.asarray(found.x) if found.fun < start else theta


def _drawn_weights(n: int, groups: Sequence[Hashable] | None, rng: np.random.Generator, resamples: int) -> Floats:
    """How often each point is drawn, [resamples, n]."""
    labels = range(n) if groups is None else groups
    places = {label: place for place, label in enumerate(dict.fromkeys(labels))}
    drawn = rng.multinomial(len(places), np.full(len(places), 1.0 / len(places)), size=resamples)
    return np.asarray(drawn[:, [places[label] for label in labels]], dtype=np.float64)


def _losses(values: Floats, sizes: Sequence[str], at: Mapping[str, ArrayLike | None]) -> Floats:
    """Losses [r, k] of parameters [p, r] at sizes [k]."""
    losses: Floats = values[0][:, None]
    for place, name in enumerate(sizes):
        size = at[name]
        if size is None:
            raise ValueError(f"this curve needs {name}")
        logs = np.log(np.atleast_1d(np.asarray(size, dtype=np.float64)))
        factor, exponent = values[1 + 2 * place], values[2 + 2 * place]
        losses = losses + np.exp(np.log(factor)[:, None] - exponent[:, None] * logs)
    return losses
