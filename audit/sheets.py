"""A published table as it stands: cells are kept as printed, so that rounding, gaps and odd types can be audited."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

import numpy as np
import pandas as pd

from replication.settings import InputError

LARGEST_EXPONENT = 300  # beyond it a cell is no measured number


@dataclass(frozen=True)
class Printed:
    """A number as printed: its value, and half a unit of its last digit (0 where it was not rounded)."""

    value: float
    half: float


@dataclass(frozen=True)
class Sheet:
    """Rows of one file.

    cells: one column a field, values as the file has them (text from a CSV; JSON's own types); the index holds each
    row's number in the file, the first data row being 1.
    """

    name: str
    file: str
    cells: pd.DataFrame

    def column(self, name: str) -> pd.Series[Any]:
        """Cells of a column by row number. Raises InputError if the file has no such column."""
        if name not in self.cells.columns:
            known = ", ".join(map(str, self.cells.columns))
            raise InputError(f"{self.file}: no column {name!r} (columns: {known})")
        return self.cells[name]

    def printed(self, name: str) -> pd.Series[Any]:
        """`Printed` by row number; None where the cell holds no finite number."""
        return self.column(name).map(printed)

    def numbers(self, name: str) -> pd.Series[float]:
        """Numbers of a column by row number, float64; NaN where the cell holds no finite number."""
        values = [math.nan if cell is None else cell.value for cell in self.printed(name)]
        return pd.Series(values, index=self.cells.index, name=name, dtype=np.float64)

    def row_of(self, column: str, value: object) -> int:
        """The number of the one row with `value` in `column`. Raises InputError if there is none, or several."""
        rows = self.cells.index[self.column(column) == value]
        if len(rows) != 1:
            raise InputError(f"{self.file}, column {column}: {len(rows)} rows have {value!r}, expected one")
        return int(rows[0])


Sheets = Mapping[str, Sheet]


class SheetTable(dict[str, Sheet]):
    """Sheets by name; asking for one that is not there raises InputError."""

    def __missing__(self, name: str) -> Sheet:
        raise InputError(f"the table {name} is not in the published data folder")


def printed(cell: object) -> Printed | None:
    """A cell read as a number: text with its printed digits ("+0.640", "48.6%"), or a number of JSON, not rounded."""
    if isinstance(cell, bool | np.bool_) or cell is None:
        return None
    if isinstance(cell, int | float | np.integer | np.floating):
        try:
            value = float(cell)
        except OverflowError:  # JSON has whole numbers of any length
            return None
        return Printed(value, 0.0) if abs(value) < 10.0**LARGEST_EXPONENT else None
    if not isinstance(cell, str):
        return None
    try:
        number = Decimal(cell.strip().removesuffix("%").replace("\N{MINUS SIGN}", "-"))
    except InvalidOperation:
        return None
    if not number.is_finite() or abs(number.adjusted()) > LARGEST_EXPONENT:
        return None
    exponent = number.as_tuple().exponent
    assert isinstance(exponent, int)
    return Printed(float(number), 0.5 * 10.0**exponent if abs(exponent) <= LARGEST_EXPONENT else 0.0)
