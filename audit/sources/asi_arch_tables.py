"""The published files of ASI-Arch (arXiv 2507.18074) as sheets: cells as they stand, nothing cleaned away."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from audit.sheets import Sheet
from replication.published import ROOT_VARIABLE, PublishedFile, PublishedSettings, published_root
from replication.settings import InputError, require

TREE_COLUMNS = ("index", "parent", "score", "name", "name_new")
GALLERY_COLUMNS = (*TREE_COLUMNS, "parameters", "summary", "motivation")
CURVE_COLUMNS = ("index", "step", "loss")
FROM_JSON = ("tree", "tree_header", "gallery", "curves")

Row = dict[str, Any]


def read_sheets(settings: PublishedSettings, files: Mapping[str, str]) -> dict[str, Sheet]:
    """Sheets by name, in a fixed order; a file that is not there has none.

    files: name of a sheet -> CSV file in the published data folder. Cells of a CSV are text as it stands. Beside them:
    tree: `TREE_COLUMNS`, one row a node, JSON's own types; None where a node lacks the field.
    tree_header: one row, what stands beside the list of nodes, such as the number of them; only where there is any.
    gallery: `GALLERY_COLUMNS`, one row a program; `test.<column>` for each column of the program's own test log, as
        text; `train.last` and `train.steps`, the last loss of its training curve (text) and that step (int). The
        names in the logs are `test.name` and `train.name`. A log that is no table of one row gives None.
    curves: `CURVE_COLUMNS`, one row a program and step; step None where the log's heading is no whole number.

    Raises:
        InputError: the folder is not there, or a file is not what it should be; names the file and row.
    """
    root = published_root(settings)
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; set published.root or {ROOT_VARIABLE} to the published data folder")
    sheets = {}
    for name, file in sorted(files.items()):
        require(name not in FROM_JSON, f"files.{name}: this sheet is read from JSON; give the CSV file another name")
        if (root / file).exists():
            sheets[name] = _csv_sheet(name, root / file)
    if (path := root / settings.tree.file).exists():
        sheets |= _tree_sheets(path, settings.tree)
    if (path := root / settings.gallery.file).exists():
        rows = _objects(_json(path, settings.gallery, "gallery"), path)
        sheets["gallery"] = Sheet("gallery", path.name, _gallery_cells(rows))
        sheets["curves"] = Sheet("curves", f"{path.name}, training curves", _curve_cells(rows))
    return sheets


# CSV.


def _csv_sheet(name: str, path: Path) -> Sheet:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header, *rows = list(csv.reader(file, strict=True)) or [[]]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not CSV in UTF-8: {error}") from error
    require(any(header), f"{path}: the first line should name the columns, and is empty")
    for column in header:
        require(header.count(column) == 1, f"{path}: column {column!r} stands there twice")
    for number, row in enumerate(rows, 1):
        if len(row) != len(header):
            raise InputError(f"{path}, row {number}: {len(row)} cells, the header has {len(header)}")
    return Sheet(name, path.name, _cells(rows, header))


def _cells(rows: Iterable[Iterable[object]], columns: Iterable[str]) -> pd.DataFrame:
    frame = pd.DataFrame([list(row) for row in rows], columns=list(columns), dtype=object)
    frame.index = pd.RangeIndex(1, len(frame) + 1)
    return frame


# JSON.


def _json(path: Path, expected: PublishedFile, setting: str) -> Any:
    """The document of a file, its hash checked where the settings give one."""
    try:
        content = path.read_bytes()
        found = hashlib.sha256(content).hexdigest()
        if expected.sha256 not in (None, found):
            raise InputError(
                f"{path}: sha256 is {found}, expected {expected.sha256}; replace the file, "
                f"or set published.{setting}.sha256=null for a file of your own"
            )
        return json.loads(content)
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: not JSON: {error.msg} at line {error.lineno} column {error.colno}") from error
    except (OSError, ValueError, RecursionError) as error:  # ValueError: not text, or a number without end
        raise InputError(f"{path}: not JSON: {error}") from error


def _objects(rows: object, path: Path) -> list[Row]:
    if not isinstance(rows, list):
        raise InputError(f"{path}: expected a list of objects, got a {type(rows).__name__}")
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise InputError(f"{path}, row {number}: expected an object, got a {type(row).__name__}")
    return rows


def _tree_sheets(path: Path, expected: PublishedFile) -> dict[str, Sheet]:
    document = _json(path, expected, "tree")
    header = {}
    if isinstance(document, dict) and "results" in document:
        header = {key: value for key, value in document.items() if key != "results"}
        document = document["results"]
    rows = _objects(document, path)
    cells = _cells(([row.get(column) for column in TREE_COLUMNS] for row in rows), TREE_COLUMNS)
    sheets = {"tree": Sheet("tree", path.name, cells)}
    if header:
        sheets["tree_header"] = Sheet("tree_header", path.name, _cells([header.values()], header))
    return sheets


def _gallery_cells(rows: list[Row]) -> pd.DataFrame:
    """`GALLERY_COLUMNS`, and the columns of the logs in the order in which they first occur."""
    found = []
    for row in rows:
        test, train = _log(row, "test"), _log(row, "train")
        cells = {column: row.get(column) for column in GALLERY_COLUMNS}
        cells |= {f"test.{column or 'name'}": cell for column, cell in test.items()}
        last = list(train.items())[1:][-1:]  # the first column is the name
        cells |= {"train.name": next(iter(train.values()), None)}
        cells |= {"train.last": last[0][1], "train.steps": _step(last[0][0])} if last else {}
        found.append(cells)
    logged = [column for column in dict.fromkeys(c for cells in found for c in cells) if column.startswith("test.")]
    columns = (*GALLERY_COLUMNS, *logged, "train.name", "train.last", "train.steps")
    return _cells(([cells.get(column) for column in columns] for cells in found), columns)


def _curve_cells(rows: list[Row]) -> pd.DataFrame:
    found = [
        (row.get("index"), _step(column), cell) for row in rows for column, cell in list(_log(row, "train").items())[1:]
    ]
    return _cells(found, CURVE_COLUMNS)


def _log(row: Row, name: str) -> dict[str, str]:
    """A log of a program, CSV with a heading and one row: column -> cell. Empty if it is anything else."""
    result = row.get("result")
    text = result.get(name) if isinstance(result, dict) else None
    if not isinstance(text, str):
        return {}
    try:
        lines = [line for line in csv.reader(text.splitlines(), strict=True) if line]
    except csv.Error:
        return {}
    if len(lines) != 2 or len(lines[0]) != len(lines[1]) or len(set(lines[0])) != len(lines[0]):
        return {}
    return dict(zip(*lines, strict=True))


def _step(heading: str) -> int | None:
    return int(heading) if heading.isascii() and heading.isdecimal() and len(heading) < 19 else None
