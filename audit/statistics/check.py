"""What a calibration check is: a method, how to simulate it where the truth is known, and when it counts as holding."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from audit.statistics.noise import Sampler

Rule = Literal["interval", "conservative", "exact", "test"]
TRUTH_DRAWS = 4_000_000


@dataclass(frozen=True, kw_only=True)
class Design:
    """What a repetition needs to know beside its data; see conf/calibrate.yaml."""

    level: float
    resamples: int
    candidates: int
    baselines: int
    scales: int
    failure_rate: float


Simulate = Callable[[Sampler, int, np.random.Generator, Design], bool]


@dataclass(frozen=True)
class Noises:
    """Names of noises: those a method meets in use, and harsher ones that show where it ends."""

    met: tuple[str, ...]
    stress: tuple[str, ...]


@dataclass(frozen=True)
class Check:
    """A method and how it is calibrated.

    modules: files of audit/statistics it rests on. resampling_from: n from which a repetition resamples, or takes as
    long, so that fewer are run. bootstrap_from: smallest n of a method that always does; it runs at the bootstrap
    sizes. also: sizes in use beside those of the settings.
    """

    method: str
    rule: Rule
    simulate: Simulate
    modules: tuple[str, ...]
    noises: Noises
    resampling_from: int | None = None
    bootstrap_from: int | None = None
    also: tuple[int, ...] = ()


def covers(interval: tuple[float, float], truth: float) -> bool:
    """Whether the interval holds the truth; one without limits does not."""
    return interval[0] <= truth <= interval[1]
