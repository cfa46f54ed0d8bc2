"""Third-party candidates from a file of the form of ASI-Arch's gallery: a JSON list of programs with scores.

The programs are text here; only worker processes run them.
"""

from __future__ import annotations

import csv
import hashlib
import http.client
import json
import logging
import math
import os
import urllib.request
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from replication.candidate import Candidate, SearchScore, slug
from replication.durable import write_atomic
from replication.settings import InputError

log = logging.getLogger(__name__)
ROOT_VARIABLE = "ARCHAUDIT_PUBLISHED"
REQUIRED_FIELDS = {"name": str, "index": int, "program": str}
DOWNLOAD_SECONDS = 60.0

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class PublishedFile:
    """One file: its name here, its path in the original repository, its hash (None: not checked)."""

    file: str
    original: str
    sha256: str | None


@dataclass(frozen=True, kw_only=True)
class TableColumns:
    """Columns of the search's table that hold one scale's losses and mean benchmark scores."""

    loss: str
    benchmark: str


@dataclass(frozen=True, kw_only=True)
class SearchTable:
    """Where the search's own losses stand: a CSV table, its columns, and the row of each baseline."""

    table: str
    name_column: str
    loss_column: str
    unit: str
    baselines: dict[str, str]
    scales: dict[str, TableColumns]


@dataclass(frozen=True, kw_only=True)
class PublishedSettings:
    """The settings `published.*`; conf/published/asi_arch.yaml explains each."""

    root: str | None
    download: bool
    url: str
    gallery: PublishedFile
    tree: PublishedFile
    index: tuple[int, ...] | None
    name: tuple[str, ...] | None
    top: int | None
    by: str
    search: SearchTable


@dataclass(frozen=True, kw_only=True)
class PublishedTable:
    """Rows of the search's table, values as printed: baselines by name, programs by index, and the others by name.

    The others bear a name that no program has, or several.
    """

    baselines: dict[str, Row]
    programs: dict[int, Row]
    others: dict[str, Row]


def load_published(settings: PublishedSettings) -> list[Candidate]:
    """The selected programs as candidates, in the order asked for (`top`: best first).

    Raises:
        InputError: the folder or file is missing or not what it should be, or the selection does not fit it.
    """
    path, rows = _gallery(settings)
    selected = _select(rows, settings)
    scores = _search_scores(rows, path.parent / settings.search.table, settings.search)
    candidates = [_candidate(row, path.name, scores.get(row["index"])) for row in selected]
    for name, count in Counter(candidate.name for candidate in candidates).items():
        if not name or count > 1:
            raise InputError(f"{path}: {count} selected rows have the name {name!r}; select others, or rename them")
    return candidates


def load_gallery(settings: PublishedSettings) -> dict[int, Candidate]:
    """Every program by its index, in the order of the file, without the losses of the search. Names may repeat.

    Raises:
        InputError: as `load_published`.
    """
    path, rows = _gallery(settings)
    return {row["index"]: _candidate(row, path.name, None) for row in rows}


def load_search_table(settings: PublishedSettings) -> PublishedTable:
    """The search's table, joined to the programs by name, underscores being spaces; empty where there is no table.

    Raises:
        InputError: a column of `published.search` or a baseline's row is missing, or two rows have one name.
    """
    path, programs = _gallery(settings)
    path, search = path.parent / settings.search.table, settings.search
    if not path.exists():
        log.info("%s is not there: published programs carry no search losses", path)
        return PublishedTable(baselines={}, programs={}, others={})
    columns = [column for scale in search.scales.values() for column in (scale.loss, scale.benchmark)]
    entries = _table_entries(path, search, {f"scales: {column}": column for column in columns})
    for name, rows in entries.items():
        if len(rows) > 1:
            raise InputError(f"{path}: {len(rows)} rows are named {name!r}")
    for baseline, name in search.baselines.items():
        if _same_name(name) not in entries:
            raise InputError(f"published.search.baselines.{baseline}: {path} has no row {name!r}")
    baselines = {baseline: entries.pop(_same_name(name))[0] for baseline, name in search.baselines.items()}
    names = {program["index"]: _same_name(program.get("name_new")) for program in programs}
    several = Counter(names.values())
    unique = {index: name for index, name in names.items() if several[name] == 1 and name in entries}
    found = {index: entries.pop(name)[0] for index, name in unique.items()}
    return PublishedTable(baselines=baselines, programs=found, others={name: rows[0] for name, rows in entries.items()})


def published_root(settings: PublishedSettings) -> Path:
    """The folder in use: the setting, else the environment variable, else a per-user cache folder."""
    chosen = settings.root or os.environ.get(ROOT_VARIABLE)
    if chosen:
        return Path(chosen).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "archaudit" / "published"


def fetch_originals(settings: PublishedSettings) -> None:
    """Where `download` is set, fetch what is missing of gallery and tree into the folder.

    Raises:
        InputError: it cannot be fetched, or is not the original.
    """
    if settings.download:
        for wanted in (settings.gallery, settings.tree):
            _download(settings.url, wanted, published_root(settings))


def _candidate(row: Row, file: str, search: SearchScore | None) -> Candidate:
    return Candidate(
        name=slug(row["name"]),
        label=f"{row.get('name_new') or row['name']} (index {row['index']})",
        source=row["program"],
        role="candidate",
        origin=f"{file} index {row['index']}",
        search=search,
    )


# Reading.


def _gallery(settings: PublishedSettings) -> tuple[Path, list[Row]]:
    """The gallery's path and its checked rows; fetched first where the settings say so."""
    fetch_originals(settings)
    path = published_root(settings) / settings.gallery.file
    return path, _read_rows(path, settings.gallery.sha256)


def _read_rows(path: Path, sha256: str | None) -> list[Row]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{path}: cannot read the published programs ({error.strerror}); set published.root or {ROOT_VARIABLE} "
            "to the folder that holds them, or published.download=true to fetch them"
        ) from error
    found = hashlib.sha256(content).hexdigest()
    if sha256 is not None and found != sha256:
        raise InputError(
            f"{path}: sha256 is {found}, expected {sha256}; replace the file, "
            "or set published.gallery.sha256=null for a file of your own"
        )
    try:
        rows = json.loads(content)
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: not JSON: {error.msg} at line {error.lineno} column {error.colno}") from error
    except (UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path}: not JSON: {error}") from error
    if not isinstance(rows, list):
        raise InputError(f"{path}: expected a list of programs, got a {type(rows).__name__}")
    for position, row in enumerate(rows):
        _check_row(row, f"{path}: row {position} (the first is row 0)")
    for field in ("index", "name"):
        repeated = [value for value, count in Counter(row[field] for row in rows).items() if count > 1]
        if repeated:
            raise InputError(f"{path}: {field} {repeated[0]!r} stands in more than one row")
    return rows


def _check_row(row: object, where: str) -> None:
    if not isinstance(row, dict):
        raise InputError(f"{where}: expected an object, got a {type(row).__name__}")
    for field, kind in REQUIRED_FIELDS.items():
        if field not in row:
            raise InputError(f"{where}: field {field!r} is missing")
        value = row[field]
        if not isinstance(value, kind) or isinstance(value, bool) or value == "":
            expected = "a whole number" if kind is int else "a text"
            raise InputError(f"{where}: field {field!r} should be {expected}, got {value!r}")
    if not isinstance(row.get("name_new"), str | None):
        raise InputError(f"{where}: field 'name_new' should be a text, got {row['name_new']!r}")
    try:
        row["program"].encode()
    except UnicodeEncodeError as error:  # JSON can spell half of a surrogate pair
        raise InputError(f"{where}: field 'program' is not text: {error.reason}") from error


# Selecting.


def _select(rows: list[Row], settings: PublishedSettings) -> list[Row]:
    given = {key: getattr(settings, key) for key in ("index", "name", "top") if getattr(settings, key) is not None}
    if len(given) != 1:
        found = f"{' and '.join(given)} are" if given else "none is"
        raise InputError(f"published: set exactly one of published.index, .name and .top ({found} set)")
    if settings.top is not None:
        return _top(rows, settings.top, settings.by)
    key, wanted = next(iter(given.items()))
    if not wanted:
        raise InputError(f"published.{key}: the list is empty")
    selected = [_find(rows, key, value) for value in wanted]
    for value, row in zip(wanted, selected, strict=True):
        if selected.count(row) > 1:
            raise InputError(f"published.{key}: {value!r} is asked for twice")
    return selected


def _find(rows: list[Row], key: str, value: int | str) -> Row:
    fields = ("name", "name_new") if key == "name" else ("index",)
    matches = [row for row in rows if value in [row.get(field) for field in fields]]
    if not matches:
        raise InputError(f"published.{key}: {value!r} is not among the {len(rows)} published programs")
    if len(matches) > 1:
        indices = ", ".join(str(row["index"]) for row in matches)
        raise InputError(f"published.{key}: {value!r} fits several programs; choose by published.index: {indices}")
    return matches[0]


def _top(rows: list[Row], top: int, by: str) -> list[Row]:
    if not 1 <= top <= len(rows):
        raise InputError(f"published.top: {top} of {len(rows)} published programs; choose 1 to {len(rows)}")
    for row in rows:
        value = row.get(by)
        if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
            found = repr(value) if by in row else "nothing"
            raise InputError(f"published.by: index {row['index']} has {found} in column {by!r}, not a finite number")
    return sorted(rows, key=lambda row: (-row[by], row["index"]))[:top]


# The search's own losses.


def _search_scores(rows: list[Row], path: Path, table: SearchTable) -> dict[int, SearchScore]:
    """By index. Names are compared with underscores as spaces, and count only where unique on both sides."""
    if not path.exists():
        log.info("%s is not there: published candidates carry no search scores", path)
        return {}
    entries = _table_entries(path, table, {"loss_column": table.loss_column})
    losses = {name: [entry[table.loss_column] for entry in found] for name, found in entries.items()}
    baselines = {
        baseline: _baseline_loss(losses.get(_same_name(row), []), f"published.search.baselines.{baseline}: {row!r}")
        for baseline, row in table.baselines.items()
    }
    in_gallery = Counter(_same_name(row.get("name_new")) for row in rows)
    scores = {}
    for row in rows:
        name = _same_name(row.get("name_new"))
        found = losses.get(name, [])
        if in_gallery[name] != 1 or len(found) != 1:
            count = (in_gallery[name], len(found), name)
            log.info("index %s: no search loss: %d programs and %d table rows are named %r", row["index"], *count)
        elif (loss := finite_number(found[0])) is None:
            log.info("index %s: no search loss: the table has %r", row["index"], found[0])
        else:
            where = f"{path.name}, row {name!r}, column {table.loss_column}"
            scores[row["index"]] = SearchScore(loss=loss, baseline_losses=baselines, unit=table.unit, where=where)
    return scores


def _table_entries(path: Path, table: SearchTable, columns: dict[str, str]) -> dict[str, list[Row]]:
    """Rows of the table by name. columns: setting below published.search -> the column that must be there."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            entries = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot read the table of the search's losses: {error}") from error
    for setting, column in {"name_column": table.name_column, **columns}.items():
        if column not in (reader.fieldnames or ()):
            raise InputError(f"published.search.{setting}: {path} has no column {column!r}")
    named: dict[str, list[Row]] = {}
    for entry in entries:
        named.setdefault(_same_name(entry[table.name_column]), []).append(entry)
    return named


def _same_name(name: str | None) -> str:
    return (name or "").replace("_", " ").strip()


def finite_number(text: str | None) -> float | None:
    """The number that a cell of a table holds; None where it holds none, or no finite one."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _baseline_loss(found: list[str], where: str) -> float:
    value = finite_number(found[0]) if len(found) == 1 else None
    if value is None:
        raise InputError(f"{where} should be one row of the table with a finite loss; found {found or 'none'}")
    return value


# Fetching.


def _download(base: str, wanted: PublishedFile, root: Path) -> None:
    """Fetch a file that is not there. It appears under its name whole and with the right hash, or not at all."""
    target = root / wanted.file
    if target.exists():
        return
    if wanted.sha256 is None:
        raise InputError(f"{target}: not there, and without its sha256 in the settings it is not downloaded")
    url = f"{base}/{wanted.original}"
    try:
        root.mkdir(parents=True, exist_ok=True)
        with urllib.request.urlopen(url, timeout=DOWNLOAD_SECONDS) as response:
            content = response.read()
        found = hashlib.sha256(content).hexdigest()
        if found != wanted.sha256:
            raise InputError(f"{url}: sha256 is {found}, expected {wanted.sha256}; nothing was kept")
        write_atomic(target, content)
    except (OSError, ValueError, http.client.HTTPException) as error:  # URLError is an OSError
        raise InputError(
            f"published.download: cannot fetch {url} into {root} ({error}); fetch it elsewhere, save it as {target}, "
            f"or set published.root or {ROOT_VARIABLE} to a folder that holds {wanted.file}"
        ) from error
