"""Printed numbers in arithmetic: a rounded number stands for an interval, and only what no rounding explains counts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from audit.consistency.inconsistency import Inconsistency, Kind
from audit.sheets import Printed, Sheet, Sheets, printed
from replication.settings import InputError

SLACK = 1e-12  # of the larger number: what binary arithmetic adds to decimal digits


@dataclass(frozen=True, kw_only=True)
class RowName:
    """A row known by the text in one of its columns."""

    column: str
    value: str


def need(sheets: Sheets, name: str) -> Sheet:
    """A sheet by name. Raises InputError if it is not there."""
    if name not in sheets:
        raise InputError(f"{name}: not among the published files (found: {', '.join(sheets) or 'none'})")
    return sheets[name]


def rows_without(sheet: Sheet, left_out: Sequence[RowName]) -> pd.Index:
    """Numbers of the rows that none of `left_out` names."""
    keep = pd.Series(True, index=sheet.cells.index)
    for row in left_out:
        keep &= sheet.column(row.column) != row.value
    return sheet.cells.index[keep.to_numpy()]


def digits(sheet: Sheet, column: str, zeros_dropped: bool) -> pd.Series[Any]:
    """`Printed` by row number, None where there is no number.

    zeros_dropped: the file was written without trailing zeros, so "3.44" among "3.4401" is 3.4400. A cell then has at
    least as many digits as most cells of its column.
    """
    cells = sheet.printed(column)
    halves = pd.Series([cell.half for cell in cells if cell is not None and cell.half > 0])
    if not zeros_dropped or halves.empty:
        return cells
    counts = halves.value_counts()
    usual = float(min(counts.index[counts == counts.max()]))
    return cells.map(lambda cell: cell and Printed(cell.value, min(cell.half, usual)))


def weighted_sum(parts: Sequence[Printed], weights: Sequence[float]) -> Printed:
    """sum(weight * part), with the half width of everything that the rounding of the parts allows."""
    value = math.fsum(weight * part.value for weight, part in zip(weights, parts, strict=True))
    return Printed(value, math.fsum(abs(weight) * part.half for weight, part in zip(weights, parts, strict=True)))


def agree(one: Printed, other: Printed) -> bool:
    """Whether one number can stand behind both."""
    return abs(one.value - other.value) <= one.half + other.half + slack(one, other)


def certainly_above(one: Printed, other: Printed) -> bool:
    """Whether `one` is larger than `other` however both were rounded."""
    return one.value - one.half > other.value + other.half + slack(one, other)


def slack(one: Printed, other: Printed) -> float:
    """What floating-point arithmetic may add to the difference of the two."""
    return SLACK * max(abs(one.value), abs(other.value))


def shown(number: Printed) -> str:
    """A recomputed number, with one digit more than its rounding allows and no more than six."""
    if number.half <= 0:
        return repr(number.value)
    decimals = max(0, 1 - math.floor(math.log10(2 * number.half)))
    return f"{number.value:.{min(decimals, 6)}f}"


def how_far(cell: Printed, recomputed: Printed) -> str:
    """In words: the wrong sign, cut off instead of rounded, or how far off."""
    if cell.value and agree(Printed(-cell.value, cell.half), recomputed):
        return "right size, wrong sign"
    if cell.half and agree(Printed(cell.value, 2 * cell.half), recomputed):
        return "less than one unit of the last digit too much for rounding; cutting digits off would explain it"
    return f"off by {abs(cell.value - recomputed.value):.3g}; rounding explains {cell.half + recomputed.half:.3g}"


def at(
    sheet: Sheet, row: int | None, column: str, *, kind: Kind, recomputed: str, note: str, cell: str | None = None
) -> Inconsistency:
    """An inconsistency in one cell of `sheet`; `cell`, where given, stands for its text."""
    found = cell if cell is not None or row is None else cell_text(sheet.column(column)[row])
    return Inconsistency(
        kind=kind, file=sheet.file, row=row, column=column, printed=found or "", recomputed=recomputed, note=note
    )


def cell_text(cell: object) -> str:
    """A cell as text; empty where there is none."""
    return "" if is_missing(cell) and not isinstance(cell, str) else str(cell)


MISSING_WORDS = frozenset({"", "nan", "none", "null", "na", "n/a", "-", "\N{EN DASH}", "\N{EM DASH}"})


def is_missing(cell: object) -> bool:
    """No value: an empty cell, NaN, or a word for it."""
    if isinstance(cell, str):
        return cell.strip().lower() in MISSING_WORDS
    return cell is None or cell is pd.NA or (isinstance(cell, float) and math.isnan(cell))


def whole_number(cell: object) -> int | None:
    """A cell as a whole number; None where it is none."""
    number = printed(cell)
    return int(number.value) if number is not None and number.value.is_integer() else None
