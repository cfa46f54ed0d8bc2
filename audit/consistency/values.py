"""Values against stated limits, order, each other, and a stated size."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from audit.consistency.inconsistency import Checked
from audit.consistency.rounding import RowName, agree, at, certainly_above, is_missing, need, rows_without, shown
from audit.sheets import Printed, Sheets, printed
from replication.settings import InputError

UNITS = {"": 1.0, "K": 1e3, "M": 1e6, "B": 1e9, "G": 1e9}
SIZE = re.compile(r"\s*(\d{1,15}(?:\.\d{1,15})?)\s*([KMBG]?)\s*", re.IGNORECASE)

Relation = Literal["<", "<=", ">", ">="]


@dataclass(frozen=True, kw_only=True)
class InRange:
    """Columns whose values should lie in [low, high]; null: no limit on that side."""

    sheet: str
    columns: tuple[str, ...]
    low: float | None
    high: float | None


@dataclass(frozen=True, kw_only=True)
class Ordered:
    """A column that should never fall (`rising`) or never rise (`falling`) from row to row; strict: nor stay equal."""

    sheet: str
    column: str
    direction: Literal["rising", "falling"]
    strict: bool


@dataclass(frozen=True, kw_only=True)
class CompareColumns:
    """`left` should stand in `relation` to `right` in the same row, or in the row named."""

    sheet: str
    left: str
    relation: Relation
    right: str
    right_row: RowName | None
    left_out: tuple[RowName, ...]


@dataclass(frozen=True, kw_only=True)
class SizeClass:
    """Sizes such as "495.73M" in a column, which should differ from `stated` by at most the share `tolerance`."""

    sheet: str
    column: str
    stated: str
    tolerance: float


def in_range(sheets: Sheets, p: InRange) -> Checked:
    """Values that lie outside however they were rounded."""
    sheet = need(sheets, p.sheet)
    found, compared = [], 0
    for column in p.columns:
        for row, cell in sheet.printed(column).items():
            if cell is None:
                continue
            compared += 1
            below = p.low is not None and certainly_above(Printed(p.low, 0.0), cell)
            above = p.high is not None and certainly_above(cell, Printed(p.high, 0.0))
            if below or above:
                limit = f"below {p.low:g}" if below else f"above {p.high:g}"
                found.append(at(sheet, row, column, kind="range", recomputed="", note=limit))
    return Checked(compared=compared, inconsistencies=tuple(found))


def ordered(sheets: Sheets, p: Ordered) -> Checked:
    """The fewest values that have to go for the rest to be in order."""
    sheet = need(sheets, p.sheet)
    numbers = sheet.numbers(p.column).dropna()
    values = numbers if p.direction == "rising" else -numbers
    kept = set(longest_run(values.tolist(), p.strict))
    note = f"out of order: {p.column} should be {'strictly ' if p.strict else ''}{p.direction} from row to row"
    found = [
        at(sheet, row, p.column, kind="series", recomputed="", note=note)
        for position, row in enumerate(numbers.index)
        if position not in kept
    ]
    return Checked(compared=len(numbers), inconsistencies=tuple(found))


def longest_run(values: Sequence[float], strict: bool) -> list[int]:
    """Positions of one longest rising subsequence, by patience sorting."""
    find = bisect_left if strict else bisect_right
    tails: list[float] = []
    ends: list[int] = []
    before: list[int | None] = []
    for position, value in enumerate(values):
        length = find(tails, value)
        before.append(ends[length - 1] if length else None)
        tails[length : length + 1] = [value]
        ends[length : length + 1] = [position]
    run: list[int] = []
    position_or_none = ends[-1] if ends else None
    while position_or_none is not None:
        run.append(position_or_none)
        position_or_none = before[position_or_none]
    return run[::-1]


def compare_columns(sheets: Sheets, p: CompareColumns) -> Checked:
    """Rows in which the relation cannot hold however the numbers were rounded; equal printed numbers may still differ.

    The row named for the right side is compared with nothing.
    """
    sheet = need(sheets, p.sheet)
    left, right = sheet.printed(p.left), sheet.printed(p.right)
    rows = rows_without(sheet, [*p.left_out, *([] if p.right_row is None else [p.right_row])])
    reference = None if p.right_row is None else sheet.row_of(p.right_row.column, p.right_row.value)
    against = p.right if p.right_row is None else f"{p.right} of {p.right_row.value}"
    found, compared = [], 0
    for row in rows:
        one, other = left[row], right[row if reference is None else reference]
        if one is None or other is None:
            continue
        compared += 1
        if not _may_hold(one, p.relation, other):
            note = f"should be {p.relation} {against}, {other.value:g}"
            found.append(at(sheet, row, p.left, kind="range", recomputed=shown(other), note=note))
    return Checked(compared=compared, inconsistencies=tuple(found))


def size_class(sheets: Sheets, p: SizeClass) -> Checked:
    """Sizes outside the stated class, and cells that hold no size."""
    sheet = need(sheets, p.sheet)
    stated = size(p.stated)
    if stated is None:
        raise InputError(f"size class of {p.sheet}.{p.column}: {p.stated!r} is no size such as 340M")
    found, compared = [], 0
    for row, cell in sheet.column(p.column).items():
        if is_missing(cell):
            continue
        compared += 1
        amount = size(cell)
        if amount is None:
            found.append(at(sheet, row, p.column, kind="type", recomputed="", note="no size such as 12.3M"))
        elif abs(amount / stated - 1) > p.tolerance:
            note = f"{amount / stated:.2f} times the stated {p.stated}; {p.tolerance:.0%} either way is allowed"
            found.append(at(sheet, row, p.column, kind="size_class", recomputed=p.stated, note=note))
    return Checked(compared=compared, inconsistencies=tuple(found))


def size(cell: object) -> float | None:
    """The number behind "495.73M", "1.3B" or a plain number; None for anything else."""
    if not isinstance(cell, str):
        number = printed(cell)
        return None if number is None else number.value
    match = SIZE.fullmatch(cell)
    return float(match[1]) * UNITS[match[2].upper()] if match else None


def _may_hold(one: Printed, relation: Relation, other: Printed) -> bool:
    if relation in (">", ">="):
        one, other = other, one
    if certainly_above(one, other):
        return False
    exact = one.half == other.half == 0
    return not (relation in ("<", ">") and exact and agree(one, other))
