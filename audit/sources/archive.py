"""Evidence from the archive of any search: a CSV or JSONL file with one row a proposal."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from audit.evidence import printable
from audit.finding import name_slug
from audit.threshold.evidence import CERTIFICATE_COLUMNS, DECLARED, MISSING, PROPOSAL_COLUMNS, PROPOSAL_STATUSES
from replication.settings import InputError

REQUIRED = ("id", "loss", "baseline_loss")
OPTIONAL = ("name", "honest_loss", "leaky", "benchmark", "baseline_benchmark", "status")
OURS = ("zoo", "mixed", "asi_arch")  # sources of other evidence
LEAKY = {"true": "violated", "false": "certified"}

Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class ArchiveTables:
    """Tables of `ThresholdEvidence`, and the names of the columns that were not read."""

    proposals: pd.DataFrame
    certificates: pd.DataFrame
    ignored: tuple[str, ...]


def read_archive(path: Path) -> ArchiveTables:
    """Read `path`, .csv or .jsonl. Its source is called after the file, its one scale `archive`.

    Columns id, loss, baseline_loss (nats per token; a row may lack either loss), and if there are any: name,
    honest_loss, leaky (true or false; empty where nobody knows), benchmark, baseline_benchmark, status (ok where there
    is a loss). A row without a loss is kept as what its status says, else as missing. Labels in `leaky` become checks
    called `declared`: they are the archive's word, not a certificate.

    Raises:
        InputError: the file cannot be read, lacks a column or has no rows, or a row is wrong; names the row, counted
            from 0, and the column.
    """
    rows, columns = _read(path)
    for column in REQUIRED:
        if column not in columns:
            raise InputError(f"{path}: column {column} is missing (needed: {', '.join(REQUIRED)})")
    if not rows:
        raise InputError(f"{path}: there are no rows")
    source = name_slug(path.stem)
    source = f"archive_{source}" if source in OURS else source
    proposals, certificates, seen = [], [], set()
    for place, row in enumerate(rows):
        where = f"{path}, row {place}"
        proposal = {"source": source, **_proposal(row, where)}
        if proposal["candidate"] in seen:
            raise InputError(f"{where}, column id: a second row for {proposal['candidate']!r}")
        seen.add(proposal["candidate"])
        proposals.append(proposal)
        if (leaky := _leaky(row, where)) is not None:
            certificates.append(_declared(proposal, LEAKY[leaky]))
    return ArchiveTables(
        proposals=pd.DataFrame(proposals, columns=list(PROPOSAL_COLUMNS)),
        certificates=pd.DataFrame(certificates, columns=list(CERTIFICATE_COLUMNS)),
        ignored=tuple(sorted(printable(column) for column in columns if column not in (*REQUIRED, *OPTIONAL))),
    )


def _read(path: Path) -> tuple[list[Row], list[str]]:
    """Rows and the names of all columns, in the order of the file."""
    readers: dict[str, Callable[[Path], Iterator[Row]]] = {".csv": _csv_rows, ".jsonl": _jsonl_rows}
    if path.suffix.lower() not in readers:
        raise InputError(f"archive: {path} should be a .csv or a .jsonl file")
    try:
        rows = list(readers[path.suffix.lower()](path))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"archive: {path} cannot be read: {error}") from error
    return rows, list(dict.fromkeys(column for row in rows for column in row)) or list(REQUIRED)


def _csv_rows(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        header = list(reader.fieldnames or ())
        for column in header:
            if header.count(column) > 1:
                raise InputError(f"{path}: column {column!r} stands there twice")
        for place, row in enumerate(reader):
            if None in row or None in row.values():
                raise InputError(f"{path}, row {place}: it has not as many cells as the header")
            yield row


def _jsonl_rows(path: Path) -> Iterator[Row]:
    lines = path.read_text(encoding="utf-8-sig").split("\n")
    for place, line in enumerate(text for text in lines if text.strip()):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path}, row {place}: not JSON ({error})") from error
        if not isinstance(row, dict):
            raise InputError(f"{path}, row {place}: expected an object, got a {type(row).__name__}")
        yield row


def _proposal(row: Row, where: str) -> dict[str, object]:
    candidate = _text(row, "id", where)
    if not candidate:
        raise InputError(f"{where}, column id: expected a text, got nothing")
    numbers = {name: _number(row, name, where) for name in (*REQUIRED[1:], "honest_loss")}
    benchmarks = {name: _number(row, name, where) for name in ("benchmark", "baseline_benchmark")}
    for name, value in numbers.items():
        if value <= 0:
            raise InputError(f"{where}, column {name}: must be above 0, got {value!r}")
    status = _text(row, "status", where) or (MISSING if math.isnan(numbers["loss"]) else "ok")
    if status not in PROPOSAL_STATUSES:
        raise InputError(f"{where}, column status: expected one of {', '.join(PROPOSAL_STATUSES)}; got {status!r}")
    if status == "ok" and math.isnan(numbers["loss"]):
        raise InputError(f"{where}, column loss: an ok proposal needs a loss")
    for name in ("loss", "honest_loss"):
        if status != "ok" and not math.isnan(numbers[name]):
            raise InputError(f"{where}, column {name}: a {status} proposal has one ({numbers[name]!r})")
    return {
        "scale": "archive",
        "candidate": candidate,
        "name": _text(row, "name", where) or candidate,
        "family": "",
        "strength": math.nan,
        "seed": -1,
        "status": status,
        **numbers,
        "leak_gain": numbers["honest_loss"] - numbers["loss"],
        "leak_gain_se": math.nan,
        **benchmarks,
    }


def _declared(proposal: Mapping[str, object], outcome: str) -> dict[str, object]:
    same = {name: proposal[name] for name in ("source", "candidate", "name", "family", "strength")}
    detail = "as the archive says; not checked here"
    return same | {"check": DECLARED, "outcome": outcome, "size": math.nan, "limit": math.nan, "detail": detail}


def _text(row: Row, column: str, where: str) -> str:
    value = row.get(column)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if value is not None and not isinstance(value, str):
        raise InputError(f"{where}, column {column}: expected a text, got {value!r}")
    return printable((value or "").strip())


def _number(row: Row, column: str, where: str) -> float:
    """NaN for an empty cell, null, or a text such as `nan`; an infinite number is none either."""
    value = row.get(column)
    if value is None or (isinstance(value, str) and not value.strip()):
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise InputError(f"{where}, column {column}: expected a number, got {value!r}")
    try:
        number = float(value)
    except (ValueError, OverflowError) as error:
        raise InputError(f"{where}, column {column}: expected a number, got {value!r}") from error
    return number if math.isfinite(number) else math.nan


def _leaky(row: Row, where: str) -> str | None:
    value = row.get("leaky")
    text = str(value).lower() if isinstance(value, bool) else _text(row, "leaky", where).lower()
    if text and text not in LEAKY:
        raise InputError(f"{where}, column leaky: expected true, false or nothing; got {value!r}")
    return text or None
