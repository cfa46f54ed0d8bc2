"""From a source of documents to finished shards: streamed under a temporary name, then in place all at once.

Documents are encoded and written as they come, so memory holds one batch of documents and never the corpus.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from replication.corpus.encoding import Encoder
from replication.corpus.shards import SPLITS, Corpus, corpus_sha256, load, token_dtype
from replication.durable import exclusive, seal, sync_folder, write_synced
from replication.settings import InputError, require

FORMAT = 1  # part of every key: raise it when the same settings give other shards
BATCH_BYTES = 4 * 2**20
ABANDONED_SECONDS = 3600


@dataclass(frozen=True, kw_only=True)
class Document:
    """One document: its text with `\\n` line ends, its split, and where it stands, for messages."""

    text: str
    split: str
    where: str


@dataclass(frozen=True, kw_only=True)
class Source:
    """A place text comes from.

    `inputs` identifies what will be read and is part of the key; `documents` reads it, in a fixed order, and
    starts anew at each call; `check` gets the finished description and raises InputError where it is not what
    was recorded.
    """

    inputs: dict[str, str]
    packages: dict[str, str]
    encoder: Encoder
    documents: Callable[[], Iterator[Document]]
    check: Callable[[dict[str, Any]], None] | None = None
    max_tokens: int | None = None


def split_of(key: bytes, *, val_fraction: float, test_fraction: float) -> str:
    """The split of the document known by `key`: a fixed pseudo-random choice, whatever else there is."""
    position = int.from_bytes(hashlib.sha256(key).digest()[:8], "big") / 2**64
    if position < test_fraction:
        return "test"
    return "val" if position < test_fraction + val_fraction else "train"


def text_document(text: str, where: str, *, val_fraction: float, test_fraction: float) -> Document | None:
    """A document split by its content: copies, whatever their white space, never cross. None if blank."""
    content = " ".join(text.split())
    if not content:
        return None
    try:
        key = content.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{where}: not valid Unicode ({error.reason})") from error
    split = split_of(key, val_fraction=val_fraction, test_fraction=test_fraction)
    return Document(text=text.replace("\r\n", "\n").replace("\r", "\n"), split=split, where=where)


def check_fractions(val_fraction: float, test_fraction: float) -> None:
    """Raise InputError unless every split gets a share."""
    for name, value in (("val_fraction", val_fraction), ("test_fraction", test_fraction)):
        require(0.0 < value < 1.0, f"corpus.{name}: expected a share between 0 and 1, got {value}")
    total = val_fraction + test_fraction
    require(total < 1.0, f"corpus.val_fraction + corpus.test_fraction: {total} leaves nothing to train on")


def corpus_key(settings: Any, source: Source) -> str:
    """Hash of every setting, of what will be read, of the encoder and of the packages that do the reading."""
    whole = {
        "format": FORMAT,
        "settings": dataclasses.asdict(settings),
        "inputs": source.inputs,
        "encoder": source.encoder.identity,
        "packages": source.packages,
    }
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()[:32]


def load_or_build(settings: Any, source: Source, cache_root: Path) -> Corpus:
    """The corpus of `settings` from the cache; built there first where it is missing, torn or altered.

    Safe with several processes on one cache: one builds, the others wait for it. A build that dies leaves no
    corpus.

    Raises:
        InputError: the input is wrong, a split came out empty, or the cache cannot be written.
    """
    key = corpus_key(settings, source)
    parent = cache_root / "corpus"
    folder = parent / key
    if (corpus := load(folder)) is not None:
        return corpus
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with exclusive(parent / f"{key}.lock", wait=True):
            if (corpus := load(folder)) is not None:
                return corpus
            _build(settings, source, folder)
    except OSError as error:
        raise InputError(f"corpus '{settings.name}' cannot be prepared in {parent}: {error}") from error
    built = load(folder)
    assert built is not None, f"{folder} was altered while it was being written"
    return built


def _build(settings: Any, source: Source, folder: Path) -> None:
    part = folder.with_name(f"{folder.name}.{uuid.uuid4().hex}.part")
    part.mkdir()
    _clear_leftovers(part)
    try:
        meta = {
            "name": settings.name,
            "kind": settings.kind,
            "settings": dataclasses.asdict(settings),
            "inputs": source.inputs,
            "packages": source.packages,
            "vocab_size": source.encoder.vocab_size,
            "splits": _write_shards(source, part),
        }
        _check_splits(settings, meta["splits"])
        meta["sha256"] = corpus_sha256(meta)
        if source.check is not None:
            source.check(meta)
        text = json.dumps({**meta, "seal": seal(meta)}, indent=2, sort_keys=True) + "\n"
        write_synced(part / "meta.json", text.encode())
        sync_folder(part)
        try:
            part.replace(folder)
        except OSError:
            if load(folder) is None:  # torn; else another machine's, on a file system without locks
                shutil.rmtree(folder)
                part.replace(folder)
        sync_folder(folder.parent)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _clear_leftovers(part: Path) -> None:
    """Remove what killed builds left beside `part`: what nobody has written to for a while, by the disk's own clock."""
    for other in part.parent.glob(f"{part.name.partition('.')[0]}.*part"):
        with contextlib.suppress(OSError):
            written = max(path.stat().st_mtime for path in [other, *other.iterdir()])
            if part.stat().st_mtime - written > ABANDONED_SECONDS:
                shutil.rmtree(other)


def _write_shards(source: Source, folder: Path) -> dict[str, dict[str, Any]]:
    dtype = token_dtype(source.encoder.vocab_size)
    hashes = {split: hashlib.sha256() for split in SPLITS}
    counts = {split: {"tokens": 0, "bytes": 0, "documents": 0} for split in SPLITS}
    with contextlib.ExitStack() as stack:
        files = {split: stack.enter_context((folder / f"{split}.bin").open("wb")) for split in SPLITS}
        for document, tokens in _encoded(source):
            data = tokens.astype(dtype).tobytes()
            files[document.split].write(data)
            hashes[document.split].update(data)
            count = counts[document.split]
            count["tokens"] += len(tokens)
            count["bytes"] += len(document.text.encode()) + source.encoder.separator_bytes
            count["documents"] += 1
        for file in files.values():
            file.flush()
            os.fsync(file.fileno())
    return {split: {**counts[split], "sha256": hashes[split].hexdigest()} for split in SPLITS}


def _encoded(source: Source) -> Iterator[tuple[Document, np.ndarray]]:
    """Documents with their tokens, up to and including the one that reaches `max_tokens`."""
    written = 0
    for batch in _batches(source.documents()):
        encoded = source.encoder.encode([(document.text, document.where) for document in batch])
        for document, tokens in zip(batch, encoded, strict=True):
            yield document, tokens
            written += len(tokens)
            if source.max_tokens is not None and written >= source.max_tokens:
                return


def _batches(documents: Iterator[Document]) -> Iterator[list[Document]]:
    batch: list[Document] = []
    size = 0
    for document in documents:
        batch.append(document)
        size += len(document.text)
        if size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _check_splits(settings: Any, splits: dict[str, dict[str, Any]]) -> None:
    documents = sum(split["documents"] for split in splits.values())
    require(documents > 0, f"corpus '{settings.name}' is empty: no document with text in it")
    for name, split in splits.items():
        if split["documents"] == 0:
            raise InputError(
                f"corpus '{settings.name}': the {name} split is empty; documents are split whole (a text file"
                f" is one) and there are {documents}: give more or change corpus.val_fraction, test_fraction"
            )
