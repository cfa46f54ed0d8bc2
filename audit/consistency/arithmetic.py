"""Printed differences, means and totals against the numbers beside them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from audit.consistency.inconsistency import Checked, Kind, together
from audit.consistency.rounding import RowName, agree, at, digits, how_far, need, rows_without, shown, weighted_sum
from audit.sheets import Printed, Sheet, Sheets
from replication.settings import require


@dataclass(frozen=True, kw_only=True)
class Differences:
    """`printed` should be `column` minus `minus`, in the same row or in the row named."""

    sheet: str
    column: str
    minus: str
    minus_row: RowName | None
    printed: str


@dataclass(frozen=True, kw_only=True)
class RowMeans:
    """`printed` should be the mean of `columns` in its row."""

    sheet: str
    columns: tuple[str, ...]
    printed: str
    zeros_dropped: bool


@dataclass(frozen=True, kw_only=True)
class RowTotals:
    """`columns` should add up to column `printed`, or to `total`: exactly one of the two is set."""

    sheet: str
    columns: tuple[str, ...]
    printed: str | None
    total: float | None
    zeros_dropped: bool


@dataclass(frozen=True, kw_only=True)
class ColumnTotals:
    """Each column should add up to the cell in `total_row`, or to `total`: exactly one of the two is set.

    reading: largest error of a value read off a graphic, in the column's unit; 0 for printed numbers.
    """

    sheet: str
    columns: tuple[str, ...]
    total_row: RowName | None
    total: float | None
    zeros_dropped: bool
    reading: float


@dataclass(frozen=True, kw_only=True)
class WeightedTotals:
    """`total_row` should hold the means of the other rows of `columns`, weighted by column `weight`."""

    sheet: str
    columns: tuple[str, ...]
    weight: str
    total_row: RowName


@dataclass(frozen=True, kw_only=True)
class Formula:
    """`column` should be a formula of other columns.

    logistic: sigmoid(slope * clip((centre - x) / width, -1, 1)) of the one column in `of`, with `constants` centre,
    width and slope. mean, sum: of all columns in `of`, without constants.
    """

    sheet: str
    column: str
    kind: Literal["mean", "sum", "logistic"]
    of: tuple[str, ...]
    constants: dict[str, float]
    zeros_dropped: bool


def differences(sheets: Sheets, p: Differences) -> Checked:
    """Rows with a printed difference; a row without one is left to the check of complete columns."""
    sheet = need(sheets, p.sheet)
    left, minus = sheet.printed(p.column), sheet.printed(p.minus)
    if p.minus_row is not None:
        reference = minus[sheet.row_of(p.minus_row.column, p.minus_row.value)]
        minus = pd.Series([reference] * len(minus), index=minus.index, dtype=object)
    expected = {row: _sum([left[row], minus[row]], [1.0, -1.0]) for row in sheet.cells.index}
    return _compared(sheet, p.printed, sheet.printed(p.printed), expected, "difference")


def row_means(sheets: Sheets, p: RowMeans) -> Checked:
    """The mean of the columns of each row. A row with a gap among them is left out."""
    sheet = need(sheets, p.sheet)
    weights = [1.0 / len(p.columns)] * len(p.columns)
    expected = _by_row(sheet, p.columns, weights, p.zeros_dropped)
    return _compared(sheet, p.printed, digits(sheet, p.printed, p.zeros_dropped), expected, "mean")


def row_totals(sheets: Sheets, p: RowTotals) -> Checked:
    """The sum of the columns of each row. A row with a gap among them is left out."""
    sheet = need(sheets, p.sheet)
    require((p.printed is None) != (p.total is None), f"row totals of {p.sheet}: set either printed or total")
    expected = _by_row(sheet, p.columns, [1.0] * len(p.columns), p.zeros_dropped)
    if p.printed is not None:
        return _compared(sheet, p.printed, digits(sheet, p.printed, p.zeros_dropped), expected, "total")
    assert p.total is not None
    stated = Printed(p.total, 0.0)
    wrong = [(row, sums) for row, sums in expected.items() if sums is not None and not agree(stated, sums)]
    found = [
        at(
            sheet,
            row,
            " + ".join(p.columns),
            cell=f"{p.total:g}",
            kind="total",
            recomputed=shown(sums),
            note=f"should add up to {p.total:g}: {how_far(stated, sums)}",
        )
        for row, sums in wrong
    ]
    return Checked(compared=sum(sums is not None for sums in expected.values()), inconsistencies=tuple(found))


def column_totals(sheets: Sheets, p: ColumnTotals) -> Checked:
    """The sum of each column. A cell without a number counts as nothing, and the note says so."""
    sheet = need(sheets, p.sheet)
    require((p.total_row is None) != (p.total is None), f"column totals of {p.sheet}: set either total_row or total")
    total_row = None if p.total_row is None else sheet.row_of(p.total_row.column, p.total_row.value)
    rows = rows_without(sheet, [] if p.total_row is None else [p.total_row])
    found, compared = [], 0
    for column in p.columns:
        cells = digits(sheet, column, p.zeros_dropped)
        parts = [Printed(cell.value, cell.half + p.reading) for cell in cells[rows] if cell is not None]
        stated = Printed(p.total, 0.0) if p.total is not None else cells[total_row]
        if stated is None or not parts:
            continue
        compared += 1
        sums = weighted_sum(parts, [1.0] * len(parts))
        if not agree(stated, sums):
            gaps = len(rows) - len(parts)
            note = f"the column adds up to something else: {how_far(stated, sums)}" + (f"; {gaps} gaps" if gaps else "")
            text = f"{stated.value:g}"
            found.append(at(sheet, total_row, column, cell=text, kind="total", recomputed=shown(sums), note=note))
    return Checked(compared=compared, inconsistencies=tuple(found))


def weighted_totals(sheets: Sheets, p: WeightedTotals) -> Checked:
    """The total row against the groups. Weights are whole numbers: they are taken as exact."""
    sheet = need(sheets, p.sheet)
    total_row, rows = sheet.row_of(p.total_row.column, p.total_row.value), rows_without(sheet, [p.total_row])
    counts = sheet.numbers(p.weight)[rows]
    weights = (counts / counts.sum()).tolist()
    results = []
    for column in p.columns:
        cells = sheet.printed(column)
        expected = {total_row: None if counts.isna().any() else _sum(list(cells[rows]), weights)}
        results.append(_compared(sheet, column, cells, expected, "total", f"groups weighted by {p.weight}: "))
    return together(results)


def formula(sheets: Sheets, p: Formula) -> Checked:
    """A column against a formula of others, the rounding of its inputs carried through."""
    sheet = need(sheets, p.sheet)
    if p.kind == "logistic":
        wanted = {"centre", "width", "slope"}
        require(
            set(p.constants) == wanted and len(p.of) == 1,
            f"formula of {p.sheet}.{p.column}: a logistic needs one column and the constants {sorted(wanted)}",
        )
        inputs = digits(sheet, p.of[0], p.zeros_dropped)
        expected = {row: None if x is None else _logistic(x, p.constants) for row, x in inputs.items()}
    else:
        require(not p.constants, f"formula of {p.sheet}.{p.column}: a {p.kind} takes no constants")
        weight = 1.0 if p.kind == "sum" else 1.0 / len(p.of)
        expected = _by_row(sheet, p.of, [weight] * len(p.of), p.zeros_dropped)
    note = f"{p.kind} of {', '.join(p.of)}: "
    return _compared(sheet, p.column, digits(sheet, p.column, p.zeros_dropped), expected, "formula", note)


def _by_row(
    sheet: Sheet, columns: Iterable[str], weights: list[float], zeros_dropped: bool
) -> dict[int, Printed | None]:
    cells = [digits(sheet, column, zeros_dropped) for column in columns]
    return {row: _sum([column[row] for column in cells], weights) for row in sheet.cells.index}


def _sum(parts: list[Printed | None], weights: list[float]) -> Printed | None:
    known = [part for part in parts if part is not None]
    return weighted_sum(known, weights) if len(known) == len(parts) else None


def _logistic(x: Printed, constants: Mapping[str, float]) -> Printed:
    def value(at_x: float) -> float:
        clipped = min(max((constants["centre"] - at_x) / constants["width"], -1.0), 1.0)
        return 1.0 / (1.0 + math.exp(-constants["slope"] * clipped))

    low, high = sorted((value(x.value - x.half), value(x.value + x.half)))
    return Printed((low + high) / 2, (high - low) / 2)


def _compared(
    sheet: Sheet, column: str, cells: pd.Series[Any], expected: Mapping[int, Printed | None], kind: Kind, note: str = ""
) -> Checked:
    """Printed cells of a column against numbers recomputed by row; rows without either are left out."""
    pairs = [(row, cells[row], number) for row, number in expected.items()]
    known = [(row, cell, number) for row, cell, number in pairs if cell is not None and number is not None]
    found = [
        at(sheet, row, column, kind=kind, recomputed=shown(number), note=note + how_far(cell, number))
        for row, cell, number in known
        if not agree(cell, number)
    ]
    return Checked(compared=len(known), inconsistencies=tuple(found))
