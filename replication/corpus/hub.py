"""A corpus streamed from Hugging Face `datasets`, by name or from a local folder (optional extra `hub`)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from replication.corpus.build import Document, Source, check_fractions, text_document
from replication.corpus.encoding import load_encoder, module_versions, optional_module
from replication.corpus.files import row_text
from replication.corpus.shards import file_sha256
from replication.settings import InputError, require


@dataclass(frozen=True, kw_only=True)
class HubSettings:
    """`dataset` is a name on the Hub, with `revision` as a full commit hash, or a local folder, without one.

    `config` and `split` are the dataset's own; `field` holds the text. Reading stops with the document that
    reaches `max_tokens` (null: reads all). Our splits are chosen by the content of a document, so copies stay
    together.
    """

    kind: Literal["hub"]
    name: str
    dataset: str
    config: str | None
    split: str
    field: str
    revision: str | None
    tokenizer: str
    eod_token: str | None
    max_tokens: int | None
    val_fraction: float
    test_fraction: float


def source(settings: HubSettings) -> Source:
    """Raises InputError without the `datasets` package, and for a name without a commit: branches move."""
    check_fractions(settings.val_fraction, settings.test_fraction)
    require(bool(settings.dataset), "corpus.dataset: name a dataset or a local folder of one")
    require(
        settings.max_tokens is None or settings.max_tokens > 0,
        "corpus.max_tokens: expected a positive number",
    )
    optional_module("datasets")
    return Source(
        inputs=_inputs(settings),
        packages=module_versions(settings.tokenizer, "datasets"),
        encoder=load_encoder(settings.tokenizer, settings.eod_token),
        documents=lambda: _documents(settings),
        max_tokens=settings.max_tokens,
    )


def _inputs(settings: HubSettings) -> dict[str, str]:
    folder = Path(settings.dataset)
    if folder.is_dir():
        require(settings.revision is None, "corpus.revision: must be null for a local dataset folder")
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        return {path.relative_to(folder).as_posix(): file_sha256(path) for path in files}
    if settings.revision is None or not re.fullmatch(r"[0-9a-f]{40}", settings.revision):
        raise InputError(
            f"corpus.revision: give the 40-digit commit of {settings.dataset!r}, so that a rerun reads the same text"
        )
    return {"revision": settings.revision}


def _documents(settings: HubSettings) -> Iterator[Document]:
    place = f"dataset {settings.dataset} split {settings.split}"
    for number, row in enumerate(_rows(settings, place), start=1):
        where = f"{place} row {number}"
        document = text_document(
            row_text(row, settings.field, where),
            where,
            val_fraction=settings.val_fraction,
            test_fraction=settings.test_fraction,
        )
        if document is not None:
            yield document


def _rows(settings: HubSettings, place: str) -> Iterator[Any]:
    datasets = optional_module("datasets")
    try:
        stream = datasets.load_dataset(
            settings.dataset,
            name=settings.config,
            split=settings.split,
            revision=settings.revision,
            streaming=True,
        )
        yield from stream
    except (ValueError, OSError, datasets.exceptions.DatasetsError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{place}: cannot be read: {reason}") from error
