"""Rows and accuracies of a table of models, as the checks of claims want them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from audit.claims.outcome import ClaimEvidence
from audit.finding import Verdict
from audit.sheets import Sheet, Sheets
from audit.statistics.estimate import Floats
from replication.settings import require


class UnusableError(Exception):
    """The released table does not hold what a check needs; the message, a clause, says what is wrong with it."""


def need(condition: bool, message: str) -> None:
    """Raise UnusableError(message) unless `condition` holds."""
    if not condition:
        raise UnusableError(message)


POINTS = 100.0  # accuracies are reported in points of per cent


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of a table."""

    sheet: str
    column: str


@dataclass(frozen=True, kw_only=True)
class Arms:
    """Models of a table: the baselines and rows to be left out by their label; all other rows are candidates."""

    sheet: str
    label: str
    baselines: tuple[str, ...]
    left_out: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Benchmarks:
    """Accuracies of a table.

    columns: one a benchmark, or the one column of their mean; then every accuracy is taken as that mean, which
    overstates the sampling error a little. benchmarks: their names in the registry's `items`. unit: how 1 is printed,
    100 for per cent. items_each: items asked of each benchmark; None: all of them.
    """

    columns: tuple[str, ...]
    benchmarks: tuple[str, ...]
    unit: float
    items_each: int | None


@dataclass(frozen=True)
class Split:
    """Row numbers of candidates and baselines of a table."""

    sheet: Sheet
    label: str
    candidates: list[int]
    baselines: list[int]

    def names(self, rows: Sequence[int]) -> list[str]:
        """Labels of rows."""
        return [str(self.sheet.cells.at[row, self.label]) for row in rows]


def split(sheets: Sheets, arms: Arms) -> Split:
    """The rows of `arms`. Raises UnusableError if a baseline is not exactly one row, or there is no candidate."""
    sheet = sheets[arms.sheet]
    labels = sheet.column(arms.label)
    baselines = []
    for label in arms.baselines:
        rows = [int(row) for row in sheet.cells.index[labels == label]]
        need(len(rows) == 1, f"{sheet.file} has {len(rows)} rows of the name {label!r}, where one is needed")
        baselines += rows
    others = {*baselines, *sheet.cells.index[labels.isin(arms.left_out)]}
    candidates = [int(row) for row in sheet.cells.index if row not in others]
    need(bool(candidates), f"{sheet.file} has no rows beside the baselines")
    return Split(sheet, arms.label, candidates, baselines)


def items_of(evidence: ClaimEvidence, p: Benchmarks) -> Floats:
    """Items of each benchmark [b]. Raises InputError for a benchmark that the registry gives no items for."""
    unknown = [name for name in p.benchmarks if name not in evidence.items]
    require(not unknown, f"claims.items: no benchmark {unknown[0] if unknown else ''!r}")
    several = len(p.columns) in (1, len(p.benchmarks))
    require(several, f"columns: expected one a benchmark or one for their mean, got {len(p.columns)}")
    sizes = [evidence.items[name] for name in p.benchmarks]
    return np.asarray(sizes if p.items_each is None else [p.items_each] * len(sizes), dtype=np.float64)


def complete(sheet: Sheet, p: Benchmarks, rows: Sequence[int]) -> tuple[list[int], Floats]:
    """The rows with every accuracy, and these [rows, b]."""
    scores = accuracies(sheet, p, rows)
    whole = np.flatnonzero(np.isfinite(scores).all(axis=1))
    return [rows[int(i)] for i in whole], scores[whole]


def accuracies(sheet: Sheet, p: Benchmarks, rows: Sequence[int]) -> Floats:
    """Accuracies [rows, b] as fractions; NaN where a cell holds no number, or none from 0 to 1."""
    cells = np.column_stack([sheet.numbers(name).loc[list(rows)].to_numpy() / p.unit for name in p.columns])
    cells[~((cells >= 0.0) & (cells <= 1.0))] = np.nan
    return np.broadcast_to(cells, (len(rows), len(p.benchmarks))).astype(np.float64)


def name_key(name: object) -> str:
    """A model's name as it is compared between files: underscores are spaces."""
    return " ".join(str(name).replace("_", " ").split())


def matches(left: Sheet, left_column: str, right: Sheet, right_column: str) -> dict[int, list[int]]:
    """Rows of `right` with the name that each row of `left` has; several where the name repeats, [] for none."""
    rows: dict[str, list[int]] = {}
    for row, name in right.column(right_column).items():
        rows.setdefault(name_key(name), []).append(int(str(row)))
    return {int(str(row)): rows.get(name_key(name), []) for row, name in left.column(left_column).items()}


def overall(outcomes: Sequence[str]) -> Verdict:
    """Verdict on "every one is better": supported, contradicted or inconclusive."""
    if any(outcome in ("worse", "equivalent") for outcome in outcomes):
        return "contradicted"
    return "supported" if outcomes and all(outcome == "better" for outcome in outcomes) else "inconclusive"
