"""Rows and identifiers: how many there are, which repeat, which are not there, and what points nowhere."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pandas as pd

from audit.consistency.inconsistency import Checked, Inconsistency
from audit.consistency.rounding import RowName, at, cell_text, is_missing, need, rows_without, whole_number
from audit.sheets import Sheet, Sheets, printed
from audit.wording import plural


@dataclass(frozen=True, kw_only=True)
class RowCount:
    """The sheet should have `stated` rows besides those named in `left_out`."""

    sheet: str
    stated: int
    left_out: tuple[RowName, ...]


@dataclass(frozen=True, kw_only=True)
class Unique:
    """No value should stand twice in any of the columns."""

    sheet: str
    columns: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Complete:
    """Columns that should hold a number (`numbers`), a whole number (`whole`) or a text (`texts`) in every row.

    group: rows with one value there count as one series, which is reported once; null: every cell is.
    """

    sheet: str
    numbers: tuple[str, ...]
    whole: tuple[str, ...]
    texts: tuple[str, ...]
    left_out: tuple[RowName, ...]
    group: str | None


@dataclass(frozen=True, kw_only=True)
class Gaps:
    """Whole numbers that should run from `first` to `last` without a gap. last: null for the largest there is."""

    sheet: str
    column: str
    first: int
    last: int | None


@dataclass(frozen=True, kw_only=True)
class References:
    """`column` should hold an identifier of column `to`; at most `roots` rows have none.

    earlier: the identifier should be smaller than the row's own, as a parent's is.
    """

    sheet: str
    column: str
    to: str
    roots: int
    earlier: bool


def row_count(sheets: Sheets, p: RowCount) -> Checked:
    """Rows against the stated number."""
    sheet = need(sheets, p.sheet)
    rows = len(rows_without(sheet, p.left_out))
    note = f"{plural(rows, 'row')}, {p.stated} stated"
    return Checked(compared=1, inconsistencies=wrong_count(sheet, rows, p.stated, note))


def wrong_count(sheet: Sheet, rows: int, stated: int, note: str) -> tuple[Inconsistency, ...]:
    """The inconsistency of a sheet with another number of rows than stated; none where they agree."""
    if rows == stated:
        return ()
    return (at(sheet, None, "", kind="count", recomputed=str(rows), note=note, cell=str(stated)),)


def unique(sheets: Sheets, p: Unique) -> Checked:
    """Every repetition after the first; missing cells are left to `complete`."""
    sheet = need(sheets, p.sheet)
    found, compared = [], 0
    for column in p.columns:
        first: dict[str, int] = {}
        for row, cell in sheet.column(column).items():
            if is_missing(cell):
                continue
            compared += 1
            earlier = first.setdefault(cell_text(cell), row)
            if earlier != row:
                note = f"stands in row {earlier} too"
                found.append(at(sheet, row, column, kind="duplicate", recomputed="", note=note))
    return Checked(compared=compared, inconsistencies=tuple(found))


def complete(sheets: Sheets, p: Complete) -> Checked:
    """Missing cells, and cells of another type than they should be or than most of their column."""
    sheet = need(sheets, p.sheet)
    rows = rows_without(sheet, p.left_out)
    wanted = dict.fromkeys(p.numbers, "number") | dict.fromkeys(p.whole, "whole number")
    wanted |= dict.fromkeys(p.texts, "text")
    found: list[Inconsistency] = []
    for column, kind in wanted.items():
        found += _series(sheet, column, _faults(sheet, column, rows, kind), len(rows), p.group)
    return Checked(compared=len(rows) * len(wanted), inconsistencies=tuple(found))


def gaps(sheets: Sheets, p: Gaps) -> Checked:
    """Each run of identifiers that no row has."""
    sheet = need(sheets, p.sheet)
    known = whole_numbers(sheet, p.column)
    last = p.last if p.last is not None else max(known, default=p.first)
    found = []
    for low, high in missing_runs(known, p.first, last):
        missing = str(low) if low == high else f"{low} to {high}"
        note = f"no row has {missing}, in a run from {p.first} to {last}"
        found.append(at(sheet, None, p.column, kind="missing", recomputed=missing, note=note))
    present = sum(p.first <= number <= last for number in known)
    return Checked(compared=present, inconsistencies=tuple(found))


def whole_numbers(sheet: Sheet, column: str) -> set[int]:
    """The whole numbers of a column."""
    return {number for cell in sheet.column(column) if (number := whole_number(cell)) is not None}


def missing_runs(known: set[int], first: int, last: int) -> list[tuple[int, int]]:
    """(lowest, highest) of each run of whole numbers from `first` to `last` that are not known."""
    edges = [first - 1, *sorted(number for number in known if first <= number <= last), last + 1]
    return [(before + 1, after - 1) for before, after in pairwise(edges) if after > before + 1]


def references(sheets: Sheets, p: References) -> Checked:
    """Rows that point to no row, to a later one, or to nothing although they are no root."""
    sheet = need(sheets, p.sheet)
    own = {row: whole_number(cell) for row, cell in sheet.column(p.to).items()}
    there = {number for number in own.values() if number is not None}
    found, rootless = [], 0
    for row, cell in sheet.column(p.column).items():
        number, me = whole_number(cell), own[row]
        if is_missing(cell):
            rootless += 1
            note = f"points to no row; {plural(p.roots, 'row')} may" if rootless > p.roots else ""
        elif number not in there:
            note = f"no row has this as its {p.to}"
        elif p.earlier and me is not None and number is not None and number >= me:
            note = f"points to {number}, which is not earlier than its own {p.to}, {me}"
        else:
            note = ""
        if note:
            found.append(at(sheet, row, p.column, kind="reference", recomputed="", note=note))
    return Checked(compared=len(own), inconsistencies=tuple(found))


def _faults(sheet: Sheet, column: str, rows: pd.Index, wanted: str) -> dict[int, tuple[str, str]]:
    """Row -> (kind, note) of each cell of the column that is not what it should be."""
    cells = sheet.column(column)[rows]
    usual = Counter(_type_of(cell) for cell in cells if not is_missing(cell)).most_common(1)
    faults = {}
    for row, cell in cells.items():
        if is_missing(cell):
            faults[row] = ("missing", f"no {wanted}")
        elif _type_of(cell) != usual[0][0]:
            faults[row] = ("type", f"a {_type_of(cell)} in a column of {usual[0][0]}s")
        elif not _is(cell, wanted):
            faults[row] = ("type", f"no {wanted}")
    return faults


def _series(
    sheet: Sheet, column: str, faults: dict[int, tuple[str, str]], rows: int, group: str | None
) -> list[Inconsistency]:
    """One inconsistency a fault; a column without any value, or a series with several faults, is one in all."""
    if rows > 1 and len(faults) == rows and {kind for kind, _ in faults.values()} == {"missing"}:
        note = f"not one of {rows} rows has a value"
        return [at(sheet, None, column, kind="missing", recomputed="", note=note)]
    names = {row: row if group is None else cell_text(sheet.column(group)[row]) for row in faults}
    sizes = Counter((name, faults[row][0]) for row, name in names.items())
    found, done = [], set()
    for row, (kind, note) in faults.items():
        series = (names[row], kind)
        if series in done:
            continue
        done.add(series)
        more = "" if sizes[series] == 1 else f", in {sizes[series]} rows with {group} {names[row]}; this is the first"
        found.append(at(sheet, row, column, kind=_kind(kind), recomputed="", note=note + more))
    return found


def _kind(kind: str) -> Any:
    assert kind in ("missing", "type")
    return kind


def _type_of(cell: object) -> str:
    if isinstance(cell, bool):
        return "truth value"
    if isinstance(cell, str):
        return "text"
    return "number" if isinstance(cell, int | float) else type(cell).__name__


def _is(cell: object, wanted: str) -> bool:
    if wanted == "text":
        return isinstance(cell, str)
    return whole_number(cell) is not None if wanted == "whole number" else printed(cell) is not None
