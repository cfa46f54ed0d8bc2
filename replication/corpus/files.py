"""A corpus from the user's own files: text (one document a file), `.jsonl` and `.parquet` (one a row)."""

from __future__ import annotations

import functools
import glob
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from replication.corpus.build import Document, Source, check_fractions, text_document
from replication.corpus.encoding import load_encoder, module_versions, optional_module
from replication.corpus.shards import file_sha256
from replication.settings import InputError, require

PARQUET_ROWS = 256  # rows held at a time


@dataclass(frozen=True, kw_only=True)
class FilesSettings:
    """`paths` are files or globs (`**` for any depth), read in the order given and sorted within a glob.

    `field` is the key of the text in a `.jsonl` object, `column` that of a `.parquet` table; any other suffix
    is read as UTF-8 text. Splits are chosen by the content of a document, so copies stay together; blank
    documents are left out.
    """

    kind: Literal["files"]
    name: str
    paths: tuple[str, ...]
    field: str
    column: str
    tokenizer: str
    eod_token: str | None
    val_fraction: float
    test_fraction: float


def source(settings: FilesSettings) -> Source:
    """Raises InputError for a glob that matches nothing, and for faults of the tokenizer settings."""
    check_fractions(settings.val_fraction, settings.test_fraction)
    encoder = load_encoder(settings.tokenizer, settings.eod_token)
    paths = _matching(settings.paths)
    needs_arrow = any(path.suffix == ".parquet" for path in paths)
    return Source(
        inputs={f"{position} {path.name}": file_sha256(path) for position, path in enumerate(paths)},
        packages=module_versions(settings.tokenizer, *(["pyarrow"] if needs_arrow else [])),
        encoder=encoder,
        documents=lambda: _documents(paths, settings),
    )


def _matching(patterns: tuple[str, ...]) -> list[Path]:
    require(bool(patterns), "corpus.paths: name at least one file or glob")
    found: dict[Path, None] = {}  # a dict keeps the order and drops repeats
    for position, pattern in enumerate(patterns):
        whole = str(Path(pattern).expanduser())
        matches = glob.glob(whole, recursive=True)  # noqa: PTH207 (Path.glob takes no absolute pattern)
        files = [Path(match) for match in matches if Path(match).is_file()]
        require(bool(files), f"corpus.paths[{position}]: no file matches {pattern!r}")
        found.update(dict.fromkeys(sorted(files, key=lambda path: path.as_posix().encode())))
    return list(found)


def _documents(paths: list[Path], settings: FilesSettings) -> Iterator[Document]:
    for path in paths:
        if path.suffix == ".jsonl":
            texts = _jsonl_texts(path, settings.field)
        elif path.suffix == ".parquet":
            texts = _parquet_texts(path, settings.column)
        else:
            texts = iter([(_decoded(path.read_bytes(), str(path)), str(path))])
        make = functools.partial(
            text_document, val_fraction=settings.val_fraction, test_fraction=settings.test_fraction
        )
        yield from (document for text, where in texts if (document := make(text, where)) is not None)


def _jsonl_texts(path: Path, field: str) -> Iterator[tuple[str, str]]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            where = f"{path} line {number}"
            if not line.strip():
                continue
            try:
                row = json.loads(_decoded(line, where))
            except json.JSONDecodeError as error:
                raise InputError(f"{where}: not JSON: {error.msg} at column {error.colno}") from error
            yield row_text(row, field, where), where


def _parquet_texts(path: Path, column: str) -> Iterator[tuple[str, str]]:
    arrow, parquet = optional_module("pyarrow"), optional_module("pyarrow.parquet")
    try:
        with parquet.ParquetFile(path) as table:
            names = table.schema_arrow.names
            require(column in names, f"{path}: no column {column!r} (corpus.column; it has {', '.join(names)})")
            row = 0
            for batch in table.iter_batches(batch_size=PARQUET_ROWS, columns=[column]):
                for value in batch.column(0).to_pylist():
                    row += 1
                    where = f"{path} row {row}"
                    yield row_text({column: value}, column, where), where
    except arrow.ArrowException as error:
        raise InputError(f"{path}: not a readable parquet file: {_first_line(error)}") from error


def row_text(row: object, field: str, where: str) -> str:
    """The text under `field` of one row; InputError names the row where there is none."""
    if not isinstance(row, dict):
        raise InputError(f"{where}: expected an object with a field {field!r}")
    if field not in row:
        raise InputError(f"{where}: no field {field!r} (it has {', '.join(map(str, row))})")
    text = row[field]
    if not isinstance(text, str):
        raise InputError(f"{where}: field {field!r} is {type(text).__name__}, expected text")
    return text


def _decoded(data: bytes, where: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise InputError(f"{where}: not UTF-8 at byte {error.start}") from error


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
