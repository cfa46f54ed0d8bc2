"""The rows of a bench: their columns, the comparison that decides which times count, and the files."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from replication.bench.settings import Tolerance
from replication.durable import write_atomic
from replication.settings import InputError, require

SCHEMA = "archaudit.bench/1"
# Seconds are medians; low and high are quartiles of the repeats. saved_bytes: kept by forward for backward.
TIMES = ("seconds", "low", "high", "graph_seconds", "graph_low", "graph_high")
TEXTS = ("kind", "name", "size", "shape", "form", "device", "dtype", "status", "reason", "lifted", "notes")
NUMBERS = (*TIMES, "error", "tolerance", "flops", "bytes", "saved_bytes", "batch", "parameters")
COLUMNS = (*TEXTS, *NUMBERS)
STATUSES = ("ok", "wrong", "refused", "crashed", "out of memory", "timed out", "not reached", "dry run")
KINDS = ("ceiling", "operator", "step")
_LONGEST = 200


def checked_row(row: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """A child's row as a row of the table: what we know ourselves stands, the rest must be of its column's type."""
    clean: dict[str, Any] = dict.fromkeys(COLUMNS)
    for name, value in row.items():
        if name in NUMBERS and isinstance(value, int | float) and math.isfinite(value):
            clean[name] = float(value)
        elif name in TEXTS and isinstance(value, str):
            clean[name] = " ".join(value.split())[:_LONGEST]
    clean |= known
    if clean["status"] not in STATUSES or (clean["status"] == "ok" and clean["seconds"] is None):
        clean |= {"status": "crashed", "reason": clean["reason"] or "malformed answer"}
    return clean


def compared(rows: Sequence[dict[str, Any]], tolerance: Tolerance) -> list[dict[str, Any]]:
    """Steps of one program with the relative difference of loss and gradients to the first form that ran.

    That is the program as published, where it ran. A row that differs by more is "wrong" and loses its times.
    """
    order = sorted(rows, key=lambda row: row["form"] != "published")
    checks = (_check(row) for row in order if row["status"] == "ok")
    reference = next((check for check in checks if check is not None), None)
    judged = []
    for row in rows:
        if row["status"] != "ok":
            judged.append(row)
            continue
        check = _check(row)
        if reference is None or check is None or len(check[1]) != len(reference[1]):
            judged.append(_wrong(row, "no loss and gradients to compare"))
            continue
        loss, gradients = (_apart(ours, theirs) for ours, theirs in zip(check, reference, strict=True))
        judged.append(row | {"error": max(loss, gradients), "tolerance": tolerance.gradients})
        if not (loss <= tolerance.loss and gradients <= tolerance.gradients):
            told = f"loss apart by {loss:.2g} (at most {tolerance.loss:g}), gradients by {gradients:.2g}"
            judged[-1] = _wrong(judged[-1], f"{told} (at most {tolerance.gradients:g})")
    return judged


def _wrong(row: dict[str, Any], reason: str) -> dict[str, Any]:
    return row | dict.fromkeys(TIMES) | {"status": "wrong", "reason": reason}


def _check(row: Mapping[str, Any]) -> tuple[list[float], list[float]] | None:
    """Loss and norms of gradients as a child told them; None where that is malformed."""
    check = row.get("check")
    if not isinstance(check, dict) or not isinstance(check.get("gradients"), list):
        return None
    numbers = [check.get("loss"), *check["gradients"]]
    if not all(isinstance(value, int | float) for value in numbers):
        return None
    return numbers[:1], numbers[1:]


def _apart(found: Sequence[float], expected: Sequence[float]) -> float:
    """Relative distance in norms; infinite where one is no number."""
    distance = np.linalg.norm(np.subtract(found, expected)) / max(float(np.linalg.norm(expected)), 1e-30)
    return float(distance) if np.isfinite(distance) else math.inf


def table(rows: Sequence[Mapping[str, Any]], *, dry: bool) -> pd.DataFrame:
    """The rows as a frame with COLUMNS. Of a dry run no times are kept: they would say nothing."""
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    frame[list(NUMBERS)] = frame[list(NUMBERS)].apply(pd.to_numeric)
    if dry:
        frame.loc[:, list(TIMES)] = np.nan
        frame.loc[frame["status"] == "ok", "status"] = "dry run"
    return _with_plain_texts(frame)


def write_files(folder: Path, frame: pd.DataFrame, about: Mapping[str, Any]) -> None:
    """bench.csv and bench.json."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(folder / "bench.csv", frame.to_csv(index=False, lineterminator="\n").encode())
        text = json.dumps({"schema": SCHEMA, **about}, indent=1, sort_keys=True) + "\n"
        write_atomic(folder / "bench.json", text.encode())
    except OSError as error:
        raise InputError(f"{folder}: the bench cannot be written there ({error.strerror})") from error


def read_files(path: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    """A bench.csv and the bench.json beside it.

    Raises:
        InputError: one of them is missing or is none.
    """
    beside = path.with_suffix(".json")
    try:
        frame = pd.read_csv(path)
        about = json.loads(beside.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}, {beside.name}: cannot be read as a table of the bench: {error}") from error
    missing = [name for name in COLUMNS if name not in frame]
    require(not missing, f"{path}: the columns {', '.join(missing)} are missing")
    require(isinstance(about, dict) and about.get("schema") == SCHEMA, f"{beside}: not of schema {SCHEMA}")
    for name, known in (("kind", KINDS), ("status", STATUSES)):
        unknown = frame.loc[~frame[name].isin(known), name]
        require(unknown.empty, f"{path}: {name} {unknown.iloc[0] if len(unknown) else ''!r} is not one of {known}")
    try:
        frame[list(NUMBERS)] = frame[list(NUMBERS)].apply(pd.to_numeric)
    except (ValueError, TypeError) as error:
        raise InputError(f"{path}: {error}") from error
    return _with_plain_texts(frame[list(COLUMNS)]), about


def _with_plain_texts(frame: pd.DataFrame) -> pd.DataFrame:
    """Texts as Python's, and None where there is none."""
    texts = {name: frame[name].astype(object).where(frame[name].notna(), None) for name in TEXTS}
    return frame.assign(**texts)
