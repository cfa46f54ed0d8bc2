"""Text to memory-mapped token shards, and which tokens a step reads.

Four kinds: `embedded` (the default: source code that every installation has), `files` (the user's own), `hub`
(Hugging Face `datasets`) and `recall` (synthetic). `corpus_settings` checks the `corpus` group of the configuration,
`prepare` makes the shards.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from replication.corpus import embedded, files, hub, recall
from replication.corpus.batches import batch_offsets, evaluation_windows, read_windows, train_batch
from replication.corpus.build import Source, load_or_build
from replication.corpus.embedded import EmbeddedSettings
from replication.corpus.files import FilesSettings
from replication.corpus.hub import HubSettings
from replication.corpus.recall import RecallSettings
from replication.corpus.shards import SPLITS, Corpus
from replication.settings import InputError, typed

CorpusSettings = EmbeddedSettings | FilesSettings | HubSettings | RecallSettings

__all__ = [
    "SPLITS",
    "Corpus",
    "CorpusSettings",
    "answer_positions",
    "batch_offsets",
    "chance_levels",
    "corpus_settings",
    "describe",
    "evaluation_windows",
    "prepare",
    "read_windows",
    "train_batch",
]


def corpus_settings(mapping: Mapping[str, object], where: str = "corpus") -> CorpusSettings:
    """The settings of the `corpus` group, typed by its `kind`; InputError names what is wrong."""
    kind = mapping.get("kind")
    if kind == "embedded":
        return typed(EmbeddedSettings, mapping, where)
    if kind == "files":
        return typed(FilesSettings, mapping, where)
    if kind == "hub":
        return typed(HubSettings, mapping, where)
    if kind == "recall":
        return typed(RecallSettings, mapping, where)
    raise InputError(f"{where}.kind: expected one of embedded, files, hub, recall; got {kind!r}")


def prepare(settings: CorpusSettings, cache_root: Path) -> Corpus:
    """The corpus of `settings`, in `<cache_root>/corpus/<key>/{train,val,test}.bin` and `meta.json`.

    It is built on the first call and reused afterwards; the key is a hash of all settings and of what is read,
    so local input files are hashed at each call. So are shards up to 64 MiB, while larger ones are only measured
    (`Corpus.verify` hashes them); what is torn or altered is built again.

    Raises:
        InputError: a wrong setting, unreadable text (with file and row), an empty split, another package
            version or another content than recorded, or a cache that cannot be written.
    """
    return load_or_build(settings, _source(settings), cache_root)


def _source(settings: CorpusSettings) -> Source:
    if isinstance(settings, EmbeddedSettings):
        return embedded.source(settings)
    if isinstance(settings, FilesSettings):
        return files.source(settings)
    if isinstance(settings, RecallSettings):
        return recall.source(settings)
    return hub.source(settings)


def answer_positions(corpus: Corpus, windows: np.ndarray) -> dict[str, np.ndarray]:
    """Task -> bool [W, T]: which targets of `windows` (tokens [W, T + 1]) count for it.

    Text has one task, "next_token", for which all count.
    """
    if corpus.kind == "recall":
        return recall.answer_positions(typed(RecallSettings, corpus.settings, "corpus"), windows)
    return {"next_token": np.ones((len(windows), windows.shape[1] - 1), dtype=bool)}


def chance_levels(corpus: Corpus) -> dict[str, float]:
    """Task -> accuracy of one that has learnt nothing of it: of text, one that always says the commonest token."""
    if corpus.kind == "recall":
        return recall.chance_levels(typed(RecallSettings, corpus.settings, "corpus"))
    return {"next_token": float(np.bincount(corpus.open("val")).max() / corpus.tokens["val"])}


def describe(corpus: Corpus) -> str:
    """What the corpus is and what it can and cannot show, in plain sentences for a report."""
    sizes = ", ".join(
        f"{corpus.tokens[split] / 1e6:.2f} million tokens in {corpus.documents[split]} documents ({split})"
        for split in SPLITS
    )
    if corpus.kind == "embedded":
        packages = " and ".join(f"{name} {version}" for name, version in corpus.packages.items())
        return (
            f"Corpus '{corpus.name}': the Python source code of {packages} as installed, read byte by byte"
            f" and split by whole files: {sizes}. It shows how well small models pick up syntax, indentation,"
            " repeated names and copying within a few hundred bytes. It is little text, in one programming"
            " language, by few projects: not a language benchmark, and no evidence about natural language,"
            " knowledge or larger scales."
        )
    if corpus.kind == "recall":
        return (
            f"Corpus '{corpus.name}': synthetic episodes of {', '.join(recall.TASKS)}, {corpus.vocab_size} tokens in"
            f" all: {sizes}. Only answers count. It shows whether a small model recalls what it was shown a moment ago,"
            " and nothing about language."
        )
    unit = "read byte by byte" if corpus.vocab_size == 256 else f"as tokens of a vocabulary of {corpus.vocab_size:,}"
    origin = "files given by the user" if corpus.kind == "files" else "a Hugging Face dataset"
    return (
        f"Corpus '{corpus.name}': text from {origin}, {unit} and split by whole documents, exact copies"
        f" together: {sizes}. Near copies were not looked for, so validation may repeat what was trained on;"
        " results speak for this text only."
    )
