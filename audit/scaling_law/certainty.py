"""Discoveries after noise and number: which would stand if one run's outcome has a given SD over seeds."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from audit.scaling_law.course import Course
from audit.scaling_law.laws import enough
from audit.scaling_law.plan import ScalingLawSettings
from audit.statistics.estimate import Floats
from audit.statistics.multiplicity import benjamini_hochberg
from audit.statistics.point_process import power_law
from audit.statistics.records import RecordTest, noisy_records, record_count_test, record_flags

COLUMNS = ["source", "noise_sd", "measured", "definition", "discoveries", "plain", "exponent"]


@dataclass(frozen=True, kw_only=True)
class Records:
    """The record process of a course beside that of outcomes in random order. n: outcomes that are no failures."""

    test: RecordTest
    n: int


def record_process(course: Course, cfg: ScalingLawSettings, rng: np.random.Generator) -> Records | None:
    """Records of a course; None where single outcomes are not known."""
    values = course.values()
    if not np.isfinite(values).any():
        return None
    test = record_count_test(values, course.larger_is_better, rng, cfg.draws)
    return Records(test=test, n=int(np.isfinite(values).sum()))


def certain_discoveries(course: Course, cfg: ScalingLawSettings, rng: np.random.Generator) -> pd.DataFrame:
    """One row an SD and definition (`COLUMNS`): discoveries that stand after noise and number, and their exponent.

    baseline: Benjamini-Hochberg over all experiments against the baseline, whose own noise is counted. record:
    probability above `cfg.certain` of being better than every experiment before, the true outcomes being unknown.
    """
    values = course.values()
    if not np.isfinite(values).any():
        return pd.DataFrame(columns=COLUMNS)
    assumed = cfg.assumed_noise.score if course.larger_is_better else cfg.assumed_noise.loss
    known = [(course.noise.sd, course.noise.degrees, course.noise.seeds, True)] if course.noise else []
    rows = []
    for sd, degrees, seeds, measured in [*known, *((sd, np.inf, 1, False) for sd in assumed)]:
        flags = {
            "baseline": _beats_baseline(course, values, sd, degrees, seeds, cfg),
            "record": noisy_records(values, sd, rng, cfg.draws, course.larger_is_better) > cfg.certain,
        }
        plain = {
            "baseline": _plain(course, "baseline"),
            "record": int(record_flags(values, course.larger_is_better).sum()),
        }
        for definition, chosen in flags.items():
            found = (int(chosen.sum()), plain[definition], _exponent(course, chosen, cfg))
            rows.append((course.name, sd, measured, definition, *found))
    return pd.DataFrame(rows, columns=COLUMNS)


def _plain(course: Course, definition: str) -> int:
    return next((len(one.times) for one in course.processes if one.definition == definition), 0)


def _beats_baseline(
    course: Course, values: Floats, sd: float, degrees: float, seeds: int, cfg: ScalingLawSettings
) -> np.ndarray:
    """Experiments [n] that beat the baseline after correction for their number; the first outcome is the start."""
    sign = 1.0 if course.larger_is_better else -1.0
    unit = sd * np.sqrt(1.0 + 1.0 / seeds)
    places = np.flatnonzero(np.isfinite(values))[1:]
    found = np.zeros(len(values), dtype=bool)
    if not np.isfinite(course.baseline):
        return found
    p_values = stats.t.sf(sign * (values[places] - course.baseline) / unit, degrees)
    found[places] = benjamini_hochberg(p_values) <= 1.0 - cfg.level
    return found


def _exponent(course: Course, chosen: np.ndarray, cfg: ScalingLawSettings) -> float:
    assert course.experiments is not None
    times = course.experiments.loc[chosen, "compute"].to_numpy(dtype=np.float64)
    if not enough(times, course.end, cfg):
        return math.nan
    return power_law(times, course.end, cfg.level, truncated="time").exponent.estimate
