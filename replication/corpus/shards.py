"""Token shards on disk: three files and a description, checked at every use.

A shard is a flat little-endian array of token ids; each document ends with the separator of its encoder.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from replication.durable import seal
from replication.settings import require

SPLITS = ("train", "val", "test")
HASH_AT_START_BYTES = 64 * 2**20  # larger shards are only measured at the start, smaller ones hashed


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """A tokenised corpus in memory-mapped shards.

    sha256 is a hash over the three shards, the vocabulary size and the byte counts: equal hash, equal numbers
    in a run. `bytes_per_token`, `tokens` and `documents` map a split (train, val, test) to its value. bits
    per byte = (nats per token) / ln 2 / bytes_per_token; a byte-level corpus has 1.0, its separators being
    bytes of the stream. `packages` holds the versions that the tokens depend on, `settings` what it was made from.
    """

    name: str
    kind: str
    folder: Path
    vocab_size: int
    sha256: str
    bytes_per_token: dict[str, float]
    tokens: dict[str, int]
    documents: dict[str, int]
    packages: dict[str, str]
    settings: dict[str, Any]

    def open(self, split: str) -> np.memmap:
        """The tokens of `split`, read-only, shape [tokens], uint8, uint16 or uint32 by vocabulary size."""
        path, dtype = self.folder / f"{split}.bin", token_dtype(self.vocab_size)
        expected = self.tokens[split] * dtype.itemsize
        found = path.stat().st_size if path.is_file() else 0
        require(
            found == expected,
            f"corpus shard {path}: {found} bytes, expected {expected}; prepare the corpus again",
        )
        return np.memmap(path, dtype=dtype, mode="r", shape=(self.tokens[split],))

    def verify(self) -> None:
        """Hash every byte of the shards; InputError names the first one that was altered."""
        meta = _read_meta(self.folder)
        problem = _problem(self.folder, meta, hash_content=True)
        require(problem is None, f"corpus '{self.name}' in {self.folder}: {problem}; prepare the corpus again")


def token_dtype(vocab_size: int) -> np.dtype[Any]:
    """The smallest unsigned type that holds every id, little-endian, so that hashes agree on all machines."""
    return np.dtype("<u1" if vocab_size <= 2**8 else "<u2" if vocab_size <= 2**16 else "<u4")


def load(folder: Path) -> Corpus | None:
    """The corpus in `folder`; None where it is missing, torn or altered."""
    meta = _read_meta(folder)
    if _problem(folder, meta, hash_content=False) is not None:
        return None
    splits = meta["splits"]
    return Corpus(
        name=meta["name"],
        kind=meta["kind"],
        folder=folder,
        vocab_size=meta["vocab_size"],
        sha256=meta["sha256"],
        bytes_per_token={name: splits[name]["bytes"] / splits[name]["tokens"] for name in SPLITS},
        tokens={name: splits[name]["tokens"] for name in SPLITS},
        documents={name: splits[name]["documents"] for name in SPLITS},
        packages=meta["packages"],
        settings=meta["settings"],
    )


def corpus_sha256(meta: dict[str, Any]) -> str:
    """Hash over the content and the counts of all shards, and nothing else: names and versions may differ."""
    lines = [f"vocab {meta['vocab_size']}"]
    lines += [f"{name} {s['tokens']} {s['bytes']} {s['sha256']}" for name, s in sorted(meta["splits"].items())]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _read_meta(folder: Path) -> dict[str, Any]:
    """The description; an empty one where there is none that can be read."""
    try:
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return meta if isinstance(meta, dict) else {}


def _problem(folder: Path, meta: dict[str, Any], *, hash_content: bool) -> str | None:
    """What is wrong with the shards in `folder`, in a few words; None if nothing is."""
    if meta.get("seal") != seal(meta):
        return "meta.json is missing, torn or altered"
    itemsize = token_dtype(meta["vocab_size"]).itemsize
    sizes = {name: split["tokens"] * itemsize for name, split in meta["splits"].items()}
    for name, size in sizes.items():
        path = folder / f"{name}.bin"
        if not path.is_file() or path.stat().st_size != size:
            return f"{name}.bin is missing or not {size} bytes long"
    if hash_content or sum(sizes.values()) <= HASH_AT_START_BYTES:
        for name in sizes:
            if file_sha256(folder / f"{name}.bin") != meta["splits"][name]["sha256"]:
                return f"the content of {name}.bin was altered"
    return None


def file_sha256(path: Path) -> str:
    """Hash of a file's content, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
