"""Quality against compute, beside that of a search without learning: the same outcomes in random order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from audit.scaling_law.course import Course
from audit.scaling_law.plan import ScalingLawSettings
from audit.statistics.estimate import Floats
from audit.statistics.records import expected_best


@dataclass(frozen=True, kw_only=True)
class Quality:
    """Outcomes along a course.

    table: experiment, compute, best, mean_of_pool, mean (all so far), and of random order best_expected, best_low,
    best_high, pool_expected, pool_low, pool_high; one row an outcome count. above, below: share of rows where the
    best so far is better and worse than the band. later_minus_earlier: mean of the later half of the outcomes minus
    that of the earlier, positive where it is better; p_value: of a difference as large, either way, in random order.
    """

    table: pd.DataFrame
    above: float
    below: float
    later_minus_earlier: float
    p_value: float
    n: int


def quality(course: Course, cfg: ScalingLawSettings, rng: np.random.Generator) -> Quality | None:
    """Quality along a course; None where single outcomes are not known."""
    if course.experiments is None:
        return None
    rows = course.experiments[np.isfinite(course.experiments["value"])]
    sign = 1.0 if course.larger_is_better else -1.0
    values = rows["value"].to_numpy(dtype=np.float64)
    sizes = np.unique(np.linspace(1, len(values), min(len(values), 2 * cfg.points)).round().astype(int))
    bands = expected_best(values, sizes, cfg.level, course.larger_is_better)
    shuffled = sign * np.array([running_mean_of_best(rng.permutation(sign * values), cfg.pool, sizes)
                                for _ in range(cfg.refits)])  # fmt: skip
    tail = (1.0 - cfg.level) / 2.0
    low, high = np.quantile(shuffled, [tail, 1.0 - tail], axis=0)
    table = pd.DataFrame(
        {
            "experiment": rows["number"].to_numpy()[sizes - 1],
            "compute": rows["compute"].to_numpy()[sizes - 1],
            "outcomes": sizes,
            "best": (sign * np.maximum.accumulate(sign * values))[sizes - 1],
            "mean_of_pool": sign * running_mean_of_best(sign * values, cfg.pool, sizes),
            "mean": (values.cumsum() / np.arange(1, len(values) + 1))[sizes - 1],
            "best_expected": bands["mean"].to_numpy(),
            "best_low": bands["low"].to_numpy(),
            "best_high": bands["high"].to_numpy(),
            "pool_expected": shuffled.mean(axis=0),
            "pool_low": low,
            "pool_high": high,
        }
    )
    ends = np.sort(sign * table[["best_low", "best_high"]].to_numpy(), axis=1)
    best = sign * table["best"].to_numpy()
    difference, p_value = _halves(sign * values, rng, cfg.draws)
    return Quality(
        table=table,
        above=float((best > ends[:, 1] + 1e-12).mean()),
        below=float((best < ends[:, 0] - 1e-12).mean()),
        later_minus_earlier=difference,
        p_value=p_value,
        n=len(values),
    )


def running_mean_of_best(values: Floats, pool: int, sizes: np.ndarray) -> Floats:
    """Mean of the `pool` largest (all, while there are fewer) among the first `size` of values [n], at sizes [k]."""
    means = np.empty(len(sizes))
    for place, size in enumerate(sizes):
        first = values[:size]
        means[place] = (first if size <= pool else np.partition(first, size - pool)[size - pool :]).mean()
    return means


def _halves(values: Floats, rng: np.random.Generator, draws: int) -> tuple[float, float]:
    """Mean of the later half of values [n] minus that of the earlier, and its two-sided permutation p-value."""
    half = len(values) // 2
    weights = np.where(np.arange(len(values)) < half, -1.0 / half, 1.0 / (len(values) - half))
    difference = float(values @ weights)
    drawn = np.array([rng.permutation(values) @ weights for _ in range(draws)])
    return difference, float((1 + (np.abs(drawn) >= abs(difference) - 1e-12).sum()) / (1 + draws))
