"""Tables of runs at several scales, as users and the rerun session write them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from audit.scaling_law.extrapolation import RUN_COLUMNS
from audit.statistics.scaling_fit import TERMS
from replication.settings import InputError, require

ONE_ARM = "all"


def read_losses(path: Path) -> pd.DataFrame:
    """Columns loss, those of parameters and tokens that there are, arm ("all" without such a column) and group if any.

    Raises:
        InputError: the file cannot be read or lacks a column, or a number is not positive; names row (from 1) and
            column.
    """
    table = _read(path)
    sizes = [name for name in TERMS if name in table]
    require("loss" in table, f"{path}: column loss is missing")
    require(bool(sizes), f"{path}: a column parameters or tokens is needed")
    read = pd.DataFrame({name: _numbers(table, name, path) for name in ("loss", *sizes)})
    read["arm"] = table["arm"].str.strip() if "arm" in table else ONE_ARM
    if "group" in table:
        read["group"] = table["group"].str.strip()
    for name in ("arm", "group"):
        for row, text in enumerate(read.get(name, ()), 1):
            require(bool(text), f"{path}, row {row}, column {name}: is empty")
    return read


def read_scale_runs(path: Path) -> pd.DataFrame:
    """The runs table of a rerun at several scales, columns RUN_COLUMNS; the loss of a run that failed is NaN.

    Raises:
        InputError: the file cannot be read or lacks a column, or a number is wrong; names row (from 1) and column.
    """
    table = _read(path)
    for name in RUN_COLUMNS:
        require(name in table, f"{path}: column {name} is missing")
    failed = table["honest_loss"].str.strip() == ""
    finished = table[~failed]
    read = table[list(RUN_COLUMNS)].copy()
    read["honest_loss"] = pd.Series(_numbers(finished, "honest_loss", path), index=finished.index, dtype=float).reindex(
        table.index
    )
    for name in TERMS:
        read[name] = _numbers(table, name, path)
    return read


def _read(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, dtype=str, encoding="utf-8-sig", keep_default_na=False, skipinitialspace=True)
    except (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise InputError(f"{path}: not a CSV file that can be read ({' '.join(str(error).split())})") from error
    table.columns = table.columns.str.strip()
    require(len(table) > 0, f"{path}: there are no rows")
    require(table.columns.is_unique, f"{path}: two columns have the same name")
    return table.fillna("")  # a short row


def _numbers(table: pd.DataFrame, name: str, path: Path) -> Sequence[float]:
    values = []
    for row, text in zip(table.index, table[name], strict=True):
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not 0.0 < value < math.inf:
            raise InputError(f"{path}, row {row + 1}, column {name}: expected a positive number, got {text!r}")
        values.append(value)
    return values
