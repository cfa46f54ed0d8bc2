"""One file against another: rows matched by a key, values compared to the digits that both print."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from audit.consistency.inconsistency import Checked, Inconsistency
from audit.consistency.rounding import (
    RowName,
    at,
    cell_text,
    digits,
    how_far,
    is_missing,
    need,
    rows_without,
    shown,
    slack,
    weighted_sum,
    whole_number,
)
from audit.sheets import Printed, Sheet, Sheets
from replication.settings import require

Normal = Literal["exact", "words"]
Keys = Mapping[str, list[int]]


@dataclass(frozen=True, kw_only=True)
class Joined:
    """Rows of `left` and `right` with equal keys should agree.

    normalise: `words` takes underscores as spaces and ignores case. compare: column of `left` -> columns of `right`,
    whose mean times `factor` it should be; text is compared as it stands. all_left, all_right: whether each row of that
    side should have a partner.
    """

    left: str
    left_key: str
    right: str
    right_key: str
    normalise: Normal
    compare: dict[str, tuple[str, ...]]
    factor: float
    all_left: bool
    all_right: bool
    left_out: tuple[RowName, ...]
    zeros_dropped: bool


@dataclass(frozen=True, kw_only=True)
class Link:
    """The sheet that leads from a name in a table to the identifier that its log goes by."""

    sheet: str
    name: str
    identifier: str


@dataclass(frozen=True, kw_only=True)
class LogEnd:
    """`column` of a table should be the last value of the row's log, the one with the largest `step`."""

    table: str
    key: str
    column: str
    link: Link
    normalise: Normal
    log: str
    log_key: str
    step: str
    value: str
    left_out: tuple[RowName, ...]
    zeros_dropped: bool


def joined(sheets: Sheets, p: Joined) -> Checked:
    """Rows without partner, keys that fit several rows, and values that differ by more than the coarser one's rounding.

    Where a key fits several rows, the one that agrees best is compared.
    """
    left, right = need(sheets, p.left), need(sheets, p.right)
    require(p.factor > 0, f"{p.left} joined with {p.right}: factor is {p.factor:g}, expected more than 0")
    left_keys = _keys(left, p.left_key, p.normalise, rows_without(left, p.left_out))
    right_keys = _keys(right, p.right_key, p.normalise, right.cells.index)
    found: list[Inconsistency] = []
    if p.all_left:
        found += _alone(left, p.left_key, left_keys, right_keys, right.file)
    if p.all_right:
        found += _alone(right, p.right_key, right_keys, left_keys, left.file)
    both = [key for key in left_keys if key in right_keys]
    for key in both:
        found += _ambiguous((left, p.left_key, left_keys[key]), (right, p.right_key, right_keys[key]))
    pairs = [_Pair(left, right, column, columns, p) for column, columns in p.compare.items()]
    compared = 0
    for key in both:
        for row in left_keys[key]:
            compared += len(pairs)
            tries = [[bad for pair in pairs if (bad := pair.check(row, other))] for other in right_keys[key]]
            fewest = min(tries, key=len)
            found += fewest
    return Checked(compared=compared + len(left_keys), inconsistencies=tuple(found))


def log_end(sheets: Sheets, p: LogEnd) -> Checked:
    """Printed values that are not the last of their log, or whose log ends without a number."""
    table, links, log = need(sheets, p.table), need(sheets, p.link.sheet), need(sheets, p.log)
    names = _keys(links, p.link.name, p.normalise, links.cells.index)
    identifiers = links.column(p.link.identifier)
    ends = _ends(log, p)
    found, compared = [], 0
    rows = rows_without(table, p.left_out)
    cells = table.printed(p.column)
    for key, own in _keys(table, p.key, p.normalise, rows).items():
        candidates = [ends[name] for row in names.get(key, []) if (name := cell_text(identifiers[row])) in ends]
        for row in own:
            if cells[row] is None or not candidates:
                continue
            compared += 1
            if (bad := _end_fault(table, row, p.column, cells[row], candidates, log.file)) is not None:
                found.append(bad)
    return Checked(compared=compared, inconsistencies=tuple(found))


def same_quantity(one: Printed, other: Printed) -> bool:
    """Whether two decimal roundings of one number can be these: the coarser one's rounding has to cover the difference.

    Numbers with equally many digits have to be equal. (If x is rounded to a fine and to a coarse decimal grid, the
    fine value lies within the coarse half unit, since the end of that half unit is on the fine grid.)
    """
    equal_grids = math.isclose(one.half, other.half, rel_tol=1e-6)
    allowed = 0.0 if equal_grids else max(one.half, other.half)
    return abs(one.value - other.value) <= allowed + slack(one, other)


class _Pair:
    """One comparison of a column with one or several columns of the other sheet."""

    def __init__(self, left: Sheet, right: Sheet, column: str, columns: Sequence[str], p: Joined) -> None:
        self.left, self.right, self.column, self.columns, self.factor = left, right, column, columns, p.factor
        self.cells = digits(left, column, p.zeros_dropped)
        self.others = [digits(right, name, p.zeros_dropped) for name in columns]

    def check(self, row: int, other: int) -> Inconsistency | None:
        """The fault of one row against one row of the other sheet, if there is one."""
        cell, parts = self.cells[row], [column[other] for column in self.others]
        where = f"{self.right.file}, row {other}, {' and '.join(self.columns)}"
        if cell is None and all(part is None for part in parts):
            mine, theirs = self.left.column(self.column)[row], self.right.column(self.columns[0])[other]
            if mine == theirs or (is_missing(mine) and is_missing(theirs)):
                return None
            return self._at(row, cell_text(theirs), f"{where}: another text")
        if cell is None or None in parts:
            theirs = " ".join(cell_text(self.right.column(name)[other]) for name in self.columns)
            return self._at(row, theirs, f"{where}: a number on one side alone")
        expected = weighted_sum(parts, [self.factor / len(parts)] * len(parts))
        if len(parts) == 1 and math.log10(self.factor).is_integer():
            fine = same_quantity(cell, expected)
        else:
            fine = abs(cell.value - expected.value) <= cell.half + expected.half + slack(cell, expected)
        return None if fine else self._at(row, shown(expected), f"{where}: {how_far(cell, expected)}")

    def _at(self, row: int, recomputed: str, note: str) -> Inconsistency:
        return at(self.left, row, self.column, kind="mismatch", recomputed=recomputed, note=note)


def _keys(sheet: Sheet, column: str, normalise: Normal, rows: pd.Index) -> dict[str, list[int]]:
    keys = defaultdict(list)
    for row, cell in sheet.column(column)[rows].items():
        if not is_missing(cell):
            text = cell_text(cell)
            keys[" ".join(text.replace("_", " ").split()).casefold() if normalise == "words" else text].append(row)
    return dict(keys)


def _alone(sheet: Sheet, column: str, keys: Keys, others: Keys, other_file: str) -> list[Inconsistency]:
    note = f"no such row in {other_file}"
    rows = [row for key, rows in keys.items() if key not in others for row in rows]
    return [at(sheet, row, column, kind="missing", recomputed="", note=note) for row in rows]


def _ambiguous(left: tuple[Sheet, str, list[int]], right: tuple[Sheet, str, list[int]]) -> list[Inconsistency]:
    """A key that stands for several rows, reported where it stands more often."""
    (sheet, column, rows), (other, _, others) = sorted([left, right], key=lambda side: -len(side[2]))
    if len(rows) < 2:
        return []
    listed = f"rows {', '.join(map(str, rows))} of {sheet.file} have this key, and {len(others)} of {other.file}"
    note = f"{listed}: which belong together is not said"
    return [at(sheet, rows[1], column, kind="duplicate", recomputed="", note=note)]


def _ends(log: Sheet, p: LogEnd) -> dict[str, tuple[int, Printed | None]]:
    """Identifier -> (step, value) at the log's largest step; None where there is no number."""
    ends: dict[str, tuple[int, Printed | None]] = {}
    columns = (log.column(p.log_key), log.column(p.step), digits(log, p.value, p.zeros_dropped))
    for key, step, value in zip(*columns, strict=True):
        number, name = whole_number(step), cell_text(key)
        if number is not None and (name not in ends or number >= ends[name][0]):
            ends[name] = (number, value)
    return ends


def _end_fault(
    table: Sheet, row: int, column: str, cell: Printed, ends: Sequence[tuple[int, Printed | None]], log_file: str
) -> Inconsistency | None:
    """The fault of a printed value that fits none of the logs of its name."""
    known = [(step, number) for step, number in ends if number is not None]
    if any(same_quantity(cell, number) for _, number in known):
        return None
    if not known:
        note = f"{log_file}: the log ends without a number, at step {ends[0][0]}, yet a value is printed"
        return at(table, row, column, kind="mismatch", recomputed="", note=note)
    step, number = min(known, key=lambda end: abs(end[1].value - cell.value))
    note = f"{log_file}: the log ends otherwise, at step {step}: {how_far(cell, number)}"
    return at(table, row, column, kind="mismatch", recomputed=shown(number), note=note)
