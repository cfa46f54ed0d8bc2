"""What a check of a claim is given, and what it hands back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from audit.consistency.inconsistency import Inconsistency
from audit.finding import Interval, Verdict, Withheld
from audit.sheets import Sheets


@dataclass(frozen=True, kw_only=True)
class ClaimEvidence:
    """The published tables by name, and what is known beside them.

    items: items of each benchmark by the name that the registry gives it.
    """

    sheets: Sheets
    items: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class Decision:
    """A claim's decision rule, fixed before the data were looked at: conf/claims/*.yaml.

    level: of every interval, and 1 - level of every test. sesoi: smallest effect of interest, in the unit of the
    outcome; None where the rule is exact. resamples, seed: of bootstraps and simulations. withheld: intervals that
    calibration says not to show.
    """

    level: float
    sesoi: float | None
    resamples: int
    seed: int
    withheld: Withheld

    def rng(self) -> np.random.Generator:
        """Random numbers of one check: the same for the same claim."""
        return np.random.default_rng(self.seed)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What the data say of a claim.

    answer: a sentence with the number, its interval and n. method: names the correction of `p_value`. rows: the table
    behind the number, with columns `file` and `row` where it comes from files; written as `tables/<claim>.csv`.
    calibrated: (method, n) of every interval and test behind it, names as in the calibration table.
    """

    answer: str
    verdict: Verdict
    method: str
    estimate: float | None = None
    unit: str | None = None
    interval: Interval | None = None
    n: int | None = None
    p_value: float | None = None
    rows: pd.DataFrame | None = None
    inconsistencies: tuple[Inconsistency, ...] = ()
    calibrated: tuple[tuple[str, int], ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ClaimCheck:
    """A check that the registry can name: its parameters (a frozen dataclass without defaults), and what it does."""

    parameters: type[Any]
    run: Callable[[ClaimEvidence, Any, Decision], Outcome]
