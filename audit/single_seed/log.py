"""The log of one research loop: what was tried, in which order, and what was kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

Direction = Literal["lower", "higher"]  # which values of the metric are better
ROW_COLUMNS = ("row", "label", "value", "kept", "description")
EXCLUDED_COLUMNS = ("row", "reason", "text")


@dataclass(frozen=True, kw_only=True)
class LoopLog:
    """Every data row of a file stands in `rows` or in `excluded`. Row numbers: the first row below the header is 1.

    rows: one a measured proposal, in the order of the loop. row int64; label text (a commit, else `row <number>`);
        value float64, finite, in the unit of `metric`; kept bool; description text, which may be empty.
    excluded: rows that were not read, by row number. reason: the same words for the same reason; text: the row as it
        stands, cut to a readable length.
    notes: what a reader should know of how the file was read, one sentence each.
    """

    file: str
    metric: str
    direction: Direction
    rows: pd.DataFrame
    excluded: pd.DataFrame
    notes: tuple[str, ...]

    def __post_init__(self) -> None:
        assert tuple(self.rows.columns) == ROW_COLUMNS
        assert tuple(self.excluded.columns) == EXCLUDED_COLUMNS
        assert np.isfinite(self.rows["value"].to_numpy(np.float64)).all()
        numbers = pd.concat([self.rows["row"], self.excluded["row"]])
        assert numbers.is_unique
        assert (numbers >= 1).all()
