"""Many robust fits of a loss curve at once: the loss, its derivatives and a descent for a batch of problems.

The curve is log L = log(exp(e) + sum over k of exp(a_k - alpha_k x_k)), with x_k the centred log of a size (Hoffmann et
al. 2022, arXiv 2203.15556, eq. 3, in the parametrisation of section D.2). The objective is the weighted mean of
Huber(residual / delta), residuals being those of log losses: a number near 1 whatever the unit of the loss and the
number of points. Besiroglu et al. 2024 (arXiv 2404.10102) show what comes of an objective whose size depends on both:
its tolerance stops the search too early.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audit.statistics.estimate import Floats

STEPS = 300
TOLERANCE = 1e-10  # relative decrease of the objective, QUIET steps in a row; a refused step counts
QUIET = 8
EXPONENT_BOUNDS = (0.0, 5.0)
TERM_REACH = 12.0  # logs by which a term may lie below or above the losses: beyond, it is nothing


@dataclass(frozen=True)
class Problems:
    """Fits that share their sizes. x: [k, n] centred logs; y: [r or 1, n] centred log losses; weights: [r or 1, n]."""

    x: Floats
    y: Floats
    weights: Floats
    delta: float

    @property
    def bounds(self) -> tuple[Floats, Floats]:
        """Lower and upper limits [p] of (e, a_1, alpha_1, ...)."""
        low, high = [float(self.y.min()) - TERM_REACH], [float(self.y.max()) + 1.0]
        for _ in self.x:
            low += [float(self.y.min()) - TERM_REACH, EXPONENT_BOUNDS[0]]
            high += [float(self.y.max()) + TERM_REACH, EXPONENT_BOUNDS[1]]
        return np.array(low), np.array(high)

    def rows(self, kept: NDArray[np.int64]) -> Problems:
        """The problems at the places `kept`; what is shared stays shared."""
        return Problems(
            self.x,
            self.y if len(self.y) == 1 else self.y[kept],
            self.weights if len(self.weights) == 1 else self.weights[kept],
            self.delta,
        )


def curve(theta: Floats, x: Floats) -> tuple[Floats, Floats]:
    """Log losses [r, n] at theta [r, p], and each term's share of the loss [r, 1 + k, n]."""
    terms = np.empty((len(theta), 1 + len(x), x.shape[1]))
    terms[:, 0] = theta[:, :1]
    for k, sizes in enumerate(x):
        terms[:, 1 + k] = theta[:, 1 + 2 * k, None] - theta[:, 2 + 2 * k, None] * sizes
    largest = terms.max(axis=1)
    np.exp(terms - largest[:, None], out=terms)
    total = terms.sum(axis=1)
    terms /= total[:, None]
    return largest + np.log(total), terms


def jacobian(shares: Floats, x: Floats) -> Floats:
    """Derivatives [r, p, n] of the log losses, from the terms' shares [r, 1 + k, n]."""
    columns = np.empty((len(shares), 1 + 2 * len(x), x.shape[1]))
    columns[:, 0] = shares[:, 0]
    for k, sizes in enumerate(x):
        columns[:, 1 + 2 * k] = shares[:, 1 + k]
        columns[:, 2 + 2 * k] = -sizes * shares[:, 1 + k]
    return columns


def huber(residuals: Floats, delta: float) -> Floats:
    """Huber's loss of residuals / delta: quadratic within 1, linear beyond."""
    scaled = np.abs(residuals) / delta
    inside = np.minimum(scaled, 1.0)
    return inside * (scaled - 0.5 * inside)


def objective(theta: Floats, problems: Problems) -> Floats:
    """Weighted mean loss [r] at theta [r, p]."""
    fitted, _ = curve(theta, problems.x)
    losses = problems.weights * huber(problems.y - fitted, problems.delta)
    return np.asarray(losses.sum(axis=1) / problems.weights.sum(axis=1))


def gradient(theta: Floats, problems: Problems) -> tuple[Floats, Floats]:
    """Objective [r] and its gradient [r, p]."""
    fitted, shares = curve(theta, problems.x)
    residuals, total = problems.y - fitted, problems.weights.sum(axis=1)
    slopes = problems.weights * np.clip(residuals / problems.delta, -1.0, 1.0) / problems.delta
    losses = (problems.weights * huber(residuals, problems.delta)).sum(axis=1) / total
    return losses, -(jacobian(shares, problems.x) @ slopes[:, :, None])[:, :, 0] / total[:, None]


def descend(starts: Floats, problems: Problems) -> tuple[Floats, Floats]:
    """Parameters [r, p] and objectives [r] of local minima, one for each start [r, p], within the bounds.

    A damped Newton method. Only residuals within delta give Huber's loss a second derivative; the damping is in the
    metric of its reweighted least squares, which counts all of them, so a strongly damped step still goes down.
    """
    low, high = problems.bounds
    theta = np.clip(starts, low, high)
    value = objective(theta, problems)
    damping = np.full(len(theta), 1.0)
    quiet = np.zeros(len(theta), dtype=np.int64)
    active: NDArray[np.int64] = np.arange(len(theta))
    for _ in range(STEPS):
        here = problems.rows(active)
        step = _newton_step(theta[active], here, damping[active], low, high)
        moved = np.clip(theta[active] + step, low, high)
        reached = objective(moved, here)
        better = reached < value[active]
        small = value[active] - reached <= TOLERANCE * np.maximum(value[active], TOLERANCE)
        quiet[active] = np.where(small, quiet[active] + 1, 0)
        damping[active] = np.where(better, damping[active] * 0.3, np.minimum(damping[active] * 4.0, 1e8))
        theta[active[better]] = moved[better]
        value[active[better]] = reached[better]
        active = active[quiet[active] < QUIET]
        if not len(active):
            break
    return theta, value


def _newton_step(theta: Floats, problems: Problems, damping: Floats, low: Floats, high: Floats) -> Floats:
    fitted, shares = curve(theta, problems.x)
    columns = jacobian(shares, problems.x)
    scaled = (problems.y - fitted) / problems.delta
    slope = (columns @ (problems.weights * np.clip(scaled, -1.0, 1.0))[:, :, None])[:, :, 0]
    size = np.maximum(np.abs(scaled), 1.0)
    curvature = problems.weights * ((size <= 1.0) + damping[:, None] / size) / problems.delta
    hessian = (columns * curvature[:, None]) @ columns.transpose(0, 2, 1)
    # A parameter at its bound that would leave it stays there.
    held = ((theta <= low) & (slope < 0.0)) | ((theta >= high) & (slope > 0.0))
    slope[held] = 0.0
    free = ~held
    hessian *= free[:, :, None] & free[:, None, :]
    diagonal = np.einsum("rii->ri", hessian)
    diagonal += held + 1e-12 * diagonal.max(axis=1, keepdims=True) + 1e-300
    return np.asarray(np.linalg.solve(hessian, slope[:, :, None])[:, :, 0], dtype=np.float64)
