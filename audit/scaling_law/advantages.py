"""The part of the report on curves of loss against scale: does an advantage survive extrapolation?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from audit.calibrate import CalibrationStatus, calibration_status
from audit.finding import Withheld
from audit.scaling_law.extrapolation import (
    BEYOND,
    MEASURED,
    ExtrapolationSettings,
    advantage_figure,
    advantage_findings,
    advantage_table,
    arm_curves,
    curve_table,
)
from audit.scaling_law.runs_table import read_scale_runs
from audit.section import Section
from audit.wording import plural

Calibration = Mapping[tuple[str, int], CalibrationStatus]
CAPTION = (
    "Losses of single runs and the curves fitted to them; below, the advantage of each candidate on the strongest "
    "baseline with the interval of each size. Right of the dotted line nothing was run."
)


def advantage_section(
    path: Path, source: str, cfg: ExtrapolationSettings, random_seed: int, stored: pd.DataFrame
) -> tuple[Section, Calibration]:
    """Curves of the runs in `path`, and what the stored calibration says of the intervals.

    Raises:
        InputError: the file is no table of runs at several scales.
    """
    curves = arm_curves(read_scale_runs(path), cfg, np.random.default_rng(random_seed))
    sizes = {len(curve.runs) for curve in curves if curve.draws is not None}
    calibration = {(name, n): calibration_status(stored, name, n) for name in (MEASURED, BEYOND) for n in sorted(sizes)}
    withheld: Withheld = frozenset(key for key, status in calibration.items() if status.failures)
    table = advantage_table(curves, cfg, withheld)
    finished = sum(len(curve.runs) for curve in curves)
    words = f"{plural(finished, 'finished run')} of {plural(len(curves), 'arm')}, all at small scale."
    section = Section(
        name="advantages",
        title="Does an advantage survive at larger scale?",
        verdict="",
        paragraphs=(f"{words} What holds at the scale of the paper is not known.",),
        findings=tuple(advantage_findings(curves, source, cfg, withheld)),
        tables={"advantages": table, "curves": curve_table(curves)},
        figures={"advantages": advantage_figure(curves, cfg)},
        captions={"advantages": CAPTION},
        shown=("advantages", "curves"),
    )
    return section, calibration
