"""Logs in the format of karpathy/autoresearch: `results.tsv`, one line a proposal, and its forks."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from audit.single_seed.log import Direction, LoopLog
from audit.sources.loop_rows import LoopRows, Metric, StatusWords, header_names, text_lines, wrong_length
from replication.settings import InputError, require


@dataclass(frozen=True, kw_only=True)
class LogColumns:
    """Names that a column may have, the most likely first."""

    label: tuple[str, ...]
    status: tuple[str, ...]
    description: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class LogSettings:
    """conf/log/default.yaml, where every setting is explained."""

    metric: str | None
    direction: Direction | None
    metrics: dict[str, Metric]
    least: float
    most: float
    columns: LogColumns
    statuses: StatusWords

    def __post_init__(self) -> None:
        require(self.least < self.most, f"log.least ({self.least}) must be below log.most ({self.most})")


def read_log(path: Path, settings: LogSettings) -> LoopLog:
    """Read a log: tab-separated, the first line names the columns, every other line is a row; quotes are plain text.

    Columns are found by name, in any order; others are not read. A line that is no row of the table, a row with too
    few or too many cells, an unknown status or no measurement is left out and listed with the reason.

    Raises:
        InputError: the file is not text, has no known metric, or no row of it can be used; names the file and what
            is wrong.
    """
    lines = text_lines(path)
    header = [name.strip().lower() for name in next(lines, "").rstrip("\n").split("\t")]
    if not any(header):
        raise InputError(f"{path}: the first line should name the columns, and is empty")
    name, metric = _metric(header, settings, path)
    columns = settings.columns
    value = _place(header, (name,), path)
    label, status, description = (
        _place(header, names, path) for names in (columns.label, columns.status, columns.description)
    )
    assert value is not None
    rows = LoopRows(path, name, metric, None if status is None else settings.statuses)
    for row, line in enumerate(lines, 1):
        cells = line.rstrip("\n").split("\t")
        if len(cells) != len(header):
            rows.exclude(row, wrong_length(cells, header), cells)
        else:
            rows.add(row, _cell(cells, label), cells[value], _cell(cells, status), _cell(cells, description), cells)
    return rows.log(_notes(header, (value, label, status, description), name, settings))


def _metric(header: Sequence[str], settings: LogSettings, path: Path) -> tuple[str, Metric]:
    """The column to judge by, in lower case, and what is known of it."""
    known = {name.strip().lower(): metric for name, metric in settings.metrics.items()}
    columns = f"columns: {header_names(header)}" + ("" if len(header) > 1 else "; they should be separated by tabs")
    if settings.metric is None:
        name = next((candidate for candidate in known if candidate in header), None)
        if name is None:
            raise InputError(f"{path}: no known metric; name it in log.metric, with log.direction ({columns})")
    else:
        name = settings.metric.strip().lower()
        if name not in header:
            raise InputError(f"{path}: no column {settings.metric!r}, as log.metric says ({columns})")
    metric = known.get(name)
    if metric is None:
        if settings.direction is None:
            raise InputError(f"log.direction: say whether lower or higher {name} is better")
        return name, Metric(direction=settings.direction, least=settings.least, most=settings.most)
    return name, metric if settings.direction is None else dataclasses.replace(metric, direction=settings.direction)


def _place(header: Sequence[str], names: Sequence[str], path: Path) -> int | None:
    """Where the first of `names` stands in the header."""
    found = next((name for name in names if name in header), None)
    if found is None:
        return None
    if header.count(found) > 1:
        raise InputError(f"{path}: column {found!r} stands there twice")
    return header.index(found)


def _cell(cells: Sequence[str], place: int | None) -> str:
    return "" if place is None else cells[place]


def _notes(header: Sequence[str], read: Sequence[int | None], name: str, settings: LogSettings) -> list[str]:
    unread = [column for place, column in enumerate(header) if place not in read]
    others = [column for column in unread if column in settings.metrics]
    notes = []
    if others and settings.metric is None:
        notes.append(f"the log also has {header_names(others)}; {name} is judged, since log.metric names no other")
    if unread:
        notes.append(f"columns not read: {header_names(unread)}")
    return notes
