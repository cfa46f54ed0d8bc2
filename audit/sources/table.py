"""The log of a research loop from any CSV, TSV or parquet file, by a map of its columns."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import itemgetter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from audit.single_seed.log import Direction, LoopLog
from audit.sources.loop_rows import (
    Cells,
    LoopRows,
    Metric,
    StatusWords,
    header_names,
    measured,
    text_lines,
    wrong_length,
)
from replication.settings import InputError

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ROLES = ("value", "label", "order", "status", "description")


@dataclass(frozen=True, kw_only=True)
class ColumnMap:
    """conf/log/table.yaml, where every setting is explained. Columns are named as the file has them."""

    value: str | None
    direction: Direction
    least: float
    most: float
    label: str | None
    order: str | None
    status: str | None
    description: str | None
    statuses: StatusWords


def read_table(path: Path, columns: ColumnMap) -> LoopLog:
    """Read a .csv (quoted as usual), .tsv (a line a row, quotes are plain text) or .parquet file, with a header.

    A row with too few or too many cells, an unknown status, no measurement or no place in the order is left out and
    listed with the reason.

    Raises:
        InputError: the file cannot be read, lacks a column of the map, or no row of it can be used; names the file
            and what is wrong.
    """
    readers: dict[str, Callable[[Path, ColumnMap], Iterator[Cells]]] = {
        ".csv": _csv_records,
        ".tsv": _tsv_records,
        ".parquet": _parquet_records,
    }
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise InputError(f"{path}: expected one of {', '.join(readers)}")
    records = reader(path, columns)
    header = [str(name) for name in next(records, ())]
    places = _places(header, columns, path)
    metric = Metric(direction=columns.direction, least=columns.least, most=columns.most)
    assert columns.value is not None
    rows = LoopRows(path, columns.value, metric, None if columns.status is None else columns.statuses)
    moments = _collect(records, rows, header, places, columns.order)
    if len({kind for kind, _ in moments}) > 1:
        raise InputError(f"{path}, column {columns.order}: numbers and times are mixed, so rows have no order")
    unread = [name for place, name in enumerate(header) if place not in places]
    notes = [f"columns not read: {header_names(unread)}"] if unread else []
    return rows.log(notes, None if columns.order is None else [moment for _, moment in moments])


def _collect(
    records: Iterable[Cells], rows: LoopRows, header: Sequence[str], places: Sequence[int | None], order: str | None
) -> list[tuple[str, float]]:
    """Add every record to `rows`; the place in the order of those that were taken (empty without `order`)."""
    moments = []
    pick = itemgetter(*(len(header) if place is None else place for place in places))
    for row, cells in enumerate(records, 1):
        if len(cells) != len(header):
            rows.exclude(row, wrong_length(cells, header), cells)
            continue
        value, label, when, status, description = pick((*cells, None))
        moment = None if order is None else _moment(when)
        if order is not None and moment is None:
            rows.exclude(row, f"no number or ISO 8601 time in {order}", cells)
        elif rows.add(row, _text(label), value, _text(status), _text(description), cells) and moment is not None:
            moments.append(moment)
    return moments


def _places(header: Sequence[str], columns: ColumnMap, path: Path) -> list[int | None]:
    """Where the column of each role stands; None for a role without one."""
    named = f"columns: {header_names(header)}"
    if columns.value is None:
        raise InputError(f"{path}: name the column of the metric in log.value ({named})")
    places: list[int | None] = []
    for role in ROLES:
        name = getattr(columns, role)
        if name is not None and header.count(name) != 1:
            found = "no column" if name not in header else "more than one column"
            raise InputError(f"{path}: {found} {name!r}, as log.{role} says ({named})")
        places.append(None if name is None else header.index(name))
    return places


def _csv_records(path: Path, _columns: ColumnMap) -> Iterator[Cells]:
    reader = csv.reader(text_lines(path), strict=True)
    try:
        yield from reader
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: not CSV: {error}") from error


def _tsv_records(path: Path, _columns: ColumnMap) -> Iterator[Cells]:
    for line in text_lines(path):
        yield line.rstrip("\n").split("\t")


def _parquet_records(path: Path, columns: ColumnMap) -> Iterator[Cells]:
    """Only columns of the map are read; the header names all of them, and the others are None."""
    try:
        with pq.ParquetFile(path) as file:
            header = file.schema_arrow.names
            yield header
            wanted = [name for role in ROLES if (name := getattr(columns, role)) is not None]
            for batch in file.iter_batches(columns=wanted):
                read = {
                    name: column.to_pylist() for name, column in zip(batch.schema.names, batch.columns, strict=True)
                }
                nothing = [None] * batch.num_rows
                yield from zip(*(read.get(name, nothing) for name in header), strict=True)
    except (OSError, ValueError, OverflowError, pa.ArrowException) as error:
        raise InputError(f"{path}: not a parquet file that can be read: {' '.join(str(error).split())}") from error


def _text(cell: object) -> str:
    if isinstance(cell, str):
        return cell
    if isinstance(cell, bool):
        return str(cell).lower()
    return "" if cell is None else str(cell)


def _moment(cell: object) -> tuple[str, float] | None:
    """A cell of the order column as ("number" or "time", its size); a time without a zone is UTC."""
    number = measured(cell)
    if number is not None and math.isfinite(number):
        return "number", number
    try:
        when = cell if isinstance(cell, datetime) else datetime.fromisoformat(_text(cell).strip())
    except ValueError:
        return None
    when = when if when.tzinfo is not None else when.replace(tzinfo=UTC)
    return "time", (when - EPOCH).total_seconds()
