"""From the rows of any log to a `LoopLog`: what counts as a measurement, and why a row is left out."""

from __future__ import annotations

import codecs
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from audit.evidence import printable
from audit.single_seed.log import Direction, LoopLog
from audit.wording import plural
from replication.settings import InputError, require

NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
LONGEST_TEXT = 200  # characters of a row that is quoted
LONGEST_WORD = 40
PIECE = 50_000  # rows
ROW_KINDS = {"row": np.int64, "label": "str", "value": np.float64, "kept": bool, "description": "str"}
EXCLUDED_KINDS = {"row": np.int64, "reason": "str", "text": "str"}
NAMED_ROWS = 5  # rows named in a note; the others are counted


Cells = Sequence[object]


@dataclass(frozen=True, kw_only=True)
class Metric:
    """Which values of a metric are better, and the range, ends included, outside which none is a measurement."""

    direction: Direction
    least: float
    most: float

    def __post_init__(self) -> None:
        require(self.least < self.most, f"a metric's least ({self.least}) must be below its most ({self.most})")


@dataclass(frozen=True, kw_only=True)
class StatusWords:
    """What the words of a status column mean; compared in lower case."""

    kept: tuple[str, ...]
    discarded: tuple[str, ...]
    failed: tuple[str, ...]

    def __post_init__(self) -> None:
        words = [word for meaning in fields(self) for word in getattr(self, meaning.name)]
        for word in words:
            require(word == word.strip().lower(), f"statuses: write {word!r} in lower case, without spaces around it")
            require(words.count(word) == 1, f"statuses: {word!r} stands there twice")


class LoopRows:
    """Collects the rows of one file. Each is taken as a measurement, or left out with a reason."""

    def __init__(self, path: Path, metric_name: str, metric: Metric, words: StatusWords | None) -> None:
        """words: None where the log has no status column."""
        self._path, self._metric_name, self._metric = path, printable(metric_name)[:LONGEST_WORD], metric
        self._words = words
        self._taken, self._excluded = _Columns(ROW_KINDS), _Columns(EXCLUDED_KINDS)

    def add(self, row: int, label: str, value: object, status: str, description: str, cells: Cells) -> bool:
        """Take a row, or leave it out; True if it was taken. cells: the whole row, to be quoted."""
        word = status.strip().lower()
        number = measured(value)
        if (reason := self._reason(word, number)) is not None:
            self.exclude(row, reason, cells)
            return False
        kept = self._words is not None and word in self._words.kept
        self._taken.append(row, _readable(label.strip()), number, kept, _readable(description.strip()))
        return True

    def exclude(self, row: int, reason: str, cells: Cells) -> None:
        """Leave out a row."""
        text = " | ".join("" if cell is None else str(cell) for cell in cells)
        self._excluded.append(row, reason, _readable(text[:LONGEST_TEXT]))

    def log(self, notes: Sequence[str], order: Sequence[float] | None = None) -> LoopLog:
        """The log. order: one number a taken row, to sort by; None: as they were added.

        Raises:
            InputError: no row was taken; names the reasons.
        """
        rows, excluded = self._taken.frame(), self._excluded.frame()
        if rows.empty:
            raise InputError(f"{self._path}: no row can be used ({_reasons(excluded)})")
        found = list(notes)
        if order is not None:
            rows = rows.iloc[np.argsort(np.asarray(order, np.float64), kind="stable")].reset_index(drop=True)
            found += _tied(order)
        found += _repeated(rows)
        rows["label"] = rows["label"].where(rows["label"] != "", "row " + rows["row"].astype("str"))
        better, has_best = _against_best(rows, self._metric.direction, kept_only=self._words is not None)
        if self._words is None:
            rows["kept"] = better
            found.append("there is no status column: a row counts as kept where it improves on the best before it")
        else:
            found += _kept_but_not_better(rows, rows["kept"] & has_best & ~better)
        return LoopLog(
            file=printable(self._path.name),
            metric=self._metric_name,
            direction=self._metric.direction,
            rows=rows,
            excluded=excluded,
            notes=tuple(found),
        )

    def _reason(self, word: str, number: float | None) -> str | None:
        name, words, metric = self._metric_name, self._words, self._metric
        if words is not None and word in words.failed:
            return f"status {word}: nothing was measured"
        if words is not None and word not in words.kept and word not in words.discarded:
            return f"unknown status {printable(word)[:LONGEST_WORD]!r}" if word else "no status"
        if number is None:
            return f"no number in {name}"
        if not math.isfinite(number):
            return f"{name} is not finite"
        if not metric.least <= number <= metric.most:
            return f"{name} is outside {metric.least:g} to {metric.most:g}"
        return None


def measured(cell: object) -> float | None:
    """The number in a cell, maybe not a finite one; None where it holds none. A formula or a percentage is none."""
    if isinstance(cell, str):
        text = cell.strip()
        return float(text) if NUMBER.fullmatch(text) or _not_finite(text) else None
    if isinstance(cell, bool) or not isinstance(cell, int | float):
        return None
    try:
        return float(cell)
    except OverflowError:  # a whole number beyond every float
        return math.inf if cell > 0 else -math.inf


def text_lines(path: Path) -> Iterator[str]:
    """Lines of a file with their ends as \\n. UTF-8, with or without a byte-order mark, or UTF-16 with one.

    Raises:
        InputError: the file cannot be read or is no such text; names the byte or the line.
    """
    encoding = "utf-8-sig"
    try:
        with path.open("rb") as raw:
            if raw.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
                encoding = "utf-16"
        with path.open(encoding=encoding) as file:
            for number, line in enumerate(file, 1):
                if "\0" in line:
                    raise InputError(f"{path}, line {number}: a NUL character; save the file as UTF-8 text")
                yield line
    except UnicodeError as error:
        raise InputError(f"{path}: {_undecodable(path, encoding)}; save the file as UTF-8") from error
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        raise InputError(f"{path}: cannot be read: {error}") from error


def header_names(columns: Sequence[str]) -> str:
    """Names of columns for a message of one line."""
    shown = [printable(column)[:LONGEST_WORD] for column in columns[:12]]
    return ", ".join(shown) + (f" and {len(columns) - 12} more" if len(columns) > 12 else "")


def wrong_length(cells: Cells, header: Cells) -> str:
    """The reason to leave out a row that has not as many cells as the header, or is empty."""
    if not any(cells):
        return "empty line"
    if len(cells) == 1:
        return "text, not a row of the table"
    return f"{plural(len(cells), 'cell')}, the header has {len(header)}"


def _not_finite(text: str) -> bool:
    return text.lower().lstrip("+-") in ("nan", "inf", "infinity") and len(text) <= len("-infinity")


def _undecodable(path: Path, encoding: str) -> str:
    content = path.read_bytes()
    try:
        content.decode(encoding)
    except UnicodeDecodeError as error:
        name = encoding.upper().removesuffix("-SIG")
        return f"byte 0x{error.object[error.start]:02x} at position {error.start} is not {name}"
    return f"not {encoding}"  # the file changed while it was read


class _Columns:
    """Rows that grow, spilled into compact pieces: as Python objects a million texts can take a gigabyte."""

    def __init__(self, kinds: Mapping[str, Any]) -> None:
        self._kinds = dict(kinds)
        self._rows: list[tuple[object, ...]] = []
        self._pieces = [pd.DataFrame(columns=list(kinds)).astype(self._kinds)]

    def append(self, *cells: object) -> None:
        self._rows.append(cells)
        if len(self._rows) == PIECE:
            self._spill()

    def frame(self) -> pd.DataFrame:
        if self._rows:
            self._spill()
        return pd.concat(self._pieces, ignore_index=True)

    def _spill(self) -> None:
        columns = zip(self._kinds, zip(*self._rows, strict=True), strict=True)
        self._pieces.append(pd.DataFrame({name: list(cells) for name, cells in columns}).astype(self._kinds))
        self._rows = []


def _readable(text: str) -> str:
    return text if text.isprintable() else printable(text)  # letter by letter is slow


def _reasons(excluded: pd.DataFrame) -> str:
    if excluded.empty:
        return "there are none"
    counts = excluded["reason"].value_counts()
    shown = [f"{reason}: {plural(count, 'row')}" for reason, count in counts.head(NAMED_ROWS).items()]
    return "; ".join(shown) + ("; ..." if len(counts) > NAMED_ROWS else "")


def _named(rows: pd.Series[int]) -> str:
    shown = ", ".join(map(str, rows.head(NAMED_ROWS)))
    return f"row{'s' if len(rows) > 1 else ''} {shown}" + (", ..." if len(rows) > NAMED_ROWS else "")


def _repeated(rows: pd.DataFrame) -> list[str]:
    labelled = rows[rows["label"] != ""]
    again = labelled[labelled["label"].duplicated(keep=False)]
    if again.empty:
        return []
    first = again["label"].iloc[0]
    where = _named(again.loc[again["label"] == first, "row"])
    amount = again["label"].nunique()
    subject = "1 label stands" if amount == 1 else f"{amount} labels stand"
    return [f"{subject} on more than one row, each kept as a row of its own: {first[:LONGEST_WORD]} ({where})"]


def _tied(order: Sequence[float]) -> list[str]:
    tied = len(order) - len(set(order))
    if tied == 0:
        return []
    subject = "1 row has" if tied == 1 else f"{tied} rows have"
    return [f"{subject} the same place in the order as a row before, and the file decides between them"]


def _against_best(rows: pd.DataFrame, direction: Direction, kept_only: bool) -> tuple[np.ndarray, np.ndarray]:
    """Whether each row is better than the best before it, and whether there is one. Both bool [rows].

    kept_only: the best of kept rows. A first row is better than nothing.
    """
    losses = rows["value"].to_numpy() * (1.0 if direction == "lower" else -1.0)
    counted = np.where(rows["kept"], losses, np.inf) if kept_only else losses
    before = np.concatenate([[np.inf], np.minimum.accumulate(counted)[:-1]])
    return losses < before, np.isfinite(before)


def _kept_but_not_better(rows: pd.DataFrame, odd: pd.Series[bool]) -> list[str]:
    amount = int(odd.sum())
    if amount == 0:
        return []
    subject = "1 kept row is" if amount == 1 else f"{amount} kept rows are"
    note = f"{subject} not better than the best kept before ({_named(rows.loc[odd, 'row'])})"
    return [note + ("; is the direction right?" if amount > rows["kept"].sum() // 2 else "")]
