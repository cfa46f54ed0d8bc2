"""Fitness of ASI-Arch (arXiv 2507.18074, equation 2), as its released code has it and as the loop uses it.

The score is the sum of three terms, each between 0 and 1; the paper prints their mean, which ranks alike. Arrays
broadcast. A failed run is a status, never a number: a loss, benchmark or mark that is not finite gives NaN, also where
clipping would turn an infinite one into a score; whoever calls must have its status at hand.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

Floats = NDArray[np.float64]
FitnessKind = Literal["strict", "paper", "released_code"]
SHARES = (0.02, 0.10)  # of the rules "loss more than this share below the baseline: a leak", recorded for every run


@dataclass(frozen=True, kw_only=True)
class FitnessSettings:
    """The settings `fitness.*`; conf/fitness/asi_arch.yaml explains each."""

    baseline_loss: float
    baseline_benchmark: float
    window: float
    steepness: float
    judge_lowest: float
    judge_highest: float

    def __post_init__(self) -> None:
        if not min(self.baseline_loss, self.baseline_benchmark, self.window, self.steepness) > 0.0:
            raise ValueError("fitness: baseline_loss, baseline_benchmark, window and steepness must be positive")
        if not self.judge_lowest < self.judge_highest:
            raise ValueError("fitness: judge_lowest must be below judge_highest")


def gain_term(gain: ArrayLike, settings: FitnessSettings) -> Floats:
    """sigmoid(steepness * gain / window), gains cut at +-window. gain: share of the baseline, positive is better."""
    values = np.asarray(gain, dtype=np.float64)
    clipped = np.clip(values / settings.window, -1.0, 1.0)
    return np.where(np.isfinite(values), expit(settings.steepness * clipped), np.nan)


def loss_term(loss: ArrayLike, settings: FitnessSettings) -> Floats:
    """Term of the final training loss, nats per token; lower is better."""
    return gain_term(1.0 - np.asarray(loss, dtype=np.float64) / settings.baseline_loss, settings)


def benchmark_term(benchmark: ArrayLike, settings: FitnessSettings) -> Floats:
    """Term of the mean benchmark accuracy, a fraction; higher is better."""
    return gain_term(np.asarray(benchmark, dtype=np.float64) / settings.baseline_benchmark - 1.0, settings)


def judge_term(mark: ArrayLike, settings: FitnessSettings) -> Floats:
    """Term of the judge's mark: linear, 0 at `judge_lowest` and 1 at `judge_highest`.

    Raises:
        ValueError: a mark is off the scale.
    """
    values = np.asarray(mark, dtype=np.float64)
    if ((values < settings.judge_lowest) | (values > settings.judge_highest)).any():
        raise ValueError(f"a mark must lie between {settings.judge_lowest:g} and {settings.judge_highest:g}")
    scaled = (values - settings.judge_lowest) / (settings.judge_highest - settings.judge_lowest)
    return np.where(np.isfinite(values), scaled, np.nan)


def judge_mark(term: ArrayLike, settings: FitnessSettings) -> Floats:
    """The mark that gives this judge's term: the inverse of `judge_term`, off the scale where the term is."""
    return settings.judge_lowest + np.asarray(term, dtype=np.float64) * (settings.judge_highest - settings.judge_lowest)


def score(loss: ArrayLike, benchmark: ArrayLike, mark: ArrayLike, settings: FitnessSettings) -> Floats:
    """Sum of the three terms, from 0 to 3; NaN where one is."""
    return loss_term(loss, settings) + benchmark_term(benchmark, settings) + judge_term(mark, settings)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What fitness is made of: losses in nats per token, mean accuracy of the admitted benchmarks, the judge's mark."""

    loss: float
    honest_loss: float
    benchmark: float
    mark: float
    certified: bool


def fitness(outcome: Outcome, settings: FitnessSettings) -> dict[FitnessKind, float]:
    """Each kind of fitness of one finished run; a kind that has none is left out.

    strict: the paper's mean of three terms, of the honest loss. paper: the same of the ordinary loss. released_code:
    the sum, unless its two-sided filter throws the run away. The search's own baseline stands where the paper's was.
    """
    third = 1.0 / 3.0
    found: dict[FitnessKind, float] = {
        "strict": third * float(score(outcome.honest_loss, outcome.benchmark, outcome.mark, settings)),
        "paper": third * float(score(outcome.loss, outcome.benchmark, outcome.mark, settings)),
    }
    if not discards(outcome, settings)["released_code"]:
        found["released_code"] = 3.0 * found["paper"]
    return {kind: value for kind, value in found.items() if np.isfinite(value)}


def discards(outcome: Outcome, settings: FitnessSettings) -> dict[str, bool]:
    """What each rule against leaks says of one finished run: whether it would have been thrown away.

    below_N: loss more than N% below the baseline. released_code: loss off it by more than the window either way, or
    benchmark more than the window below it. certificate: not certified to be causal.
    """
    gain = 1.0 - outcome.loss / settings.baseline_loss
    poor = outcome.benchmark < (1.0 - settings.window) * settings.baseline_benchmark
    said = {f"below_{100 * share:g}": gain > share for share in SHARES}
    return said | {"released_code": abs(gain) > settings.window or poor, "certificate": not outcome.certified}
