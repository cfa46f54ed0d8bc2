"""What a consistency check hands back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Literal

import pandas as pd

Kind = Literal[
    "difference",  # a printed difference is not that of the numbers beside it
    "mean",
    "total",
    "percentage",  # no whole number of that many gives this percentage
    "count",  # so many rows, and so many stated
    "duplicate",
    "missing",  # an identifier, a row or a number is not there
    "type",  # a cell is of another type than its column
    "mismatch",  # two files, or a log and a table, give two values
    "range",  # a value that cannot be, or breaks a stated filter
    "reference",  # a row points to one that is not there, or comes later
    "series",  # a figure's series is not what the data say
    "formula",
    "size_class",
]


@dataclass(frozen=True, kw_only=True)
class Inconsistency:
    """One cell, row or column that does not fit. row: number in the file, first data row 1; None: the whole column."""

    kind: Kind
    file: str
    row: int | None
    column: str
    printed: str
    recomputed: str
    note: str


@dataclass(frozen=True, kw_only=True)
class Checked:
    """Result of one check: how many cells or rows it compared, and what did not fit."""

    compared: int
    inconsistencies: tuple[Inconsistency, ...]


def together(results: Sequence[Checked]) -> Checked:
    """Several results as one."""
    return Checked(
        compared=sum(result.compared for result in results),
        inconsistencies=tuple(found for result in results for found in result.inconsistencies),
    )


def inconsistency_table(found: Iterable[Inconsistency]) -> pd.DataFrame:
    """`tables/inconsistencies.csv`: one row each, in the order given, without repetitions."""
    columns = [field.name for field in fields(Inconsistency)]
    frame = pd.DataFrame([asdict(one) for one in found], columns=columns).drop_duplicates(ignore_index=True)
    return frame.astype({"row": "Int64"})
