"""Everything that is computed of one course, once, for findings, tables and figures."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
import pandas as pd

from audit.finding import Withheld
from audit.scaling_law.certainty import Records, certain_discoveries, record_process
from audit.scaling_law.course import Course
from audit.scaling_law.laws import Fits, Headline, fitted, headline
from audit.scaling_law.plan import ScalingLawSettings
from audit.scaling_law.quality import Quality, quality


@dataclass(frozen=True, kw_only=True)
class Study:
    """A course and what came of it.

    fits: by definition, those with too few events left out. headline: of the first process; None where it has too few.
    """

    course: Course
    fits: dict[str, Fits]
    headline: Headline | None
    records: Records | None
    certain: pd.DataFrame
    quality: Quality | None

    @property
    def first(self) -> Fits | None:
        """Fits of the process that headline findings are of."""
        return self.fits.get(self.course.headline.definition)


def study(course: Course, cfg: ScalingLawSettings, withheld: Withheld) -> Study:
    """Study one course. The random numbers depend on its name and the seed, not on which other courses there are.

    Intervals that are `withheld` are left out.
    """
    rng = np.random.default_rng([cfg.random_seed, zlib.crc32(course.name.encode("utf-8"))])
    found = {one.definition: fitted(course, one, cfg, withheld, rng) for one in course.processes}
    fits = {definition: one for definition, one in found.items() if one is not None}
    first = fits.get(course.headline.definition)
    return Study(
        course=course,
        fits=fits,
        headline=None if first is None else headline(course, first, cfg, withheld, rng),
        records=record_process(course, cfg, rng),
        certain=certain_discoveries(course, cfg, rng),
        quality=quality(course, cfg, rng),
    )
