"""From text to token ids: plain bytes, or a Hugging Face `tokenizers` file."""

from __future__ import annotations

import hashlib
import importlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import numpy as np

from replication.settings import InputError, require

BYTES = "bytes"
SEPARATOR = 0  # the NUL byte ends a document: Python forbids it in source files, and text has no use for it


class Encoder(Protocol):
    """`identity` is part of the corpus key; `separator_bytes` is the byte count of a document's end."""

    vocab_size: int
    separator_bytes: int
    identity: str

    def encode(self, documents: list[tuple[str, str]]) -> list[np.ndarray]:
        """Token ids of each (text, where), end-of-document token included; one 1-d array a document."""
        ...


class ByteEncoder:
    """UTF-8 bytes as tokens; a NUL byte ends each document, so a document that holds one is refused."""

    vocab_size = 256
    separator_bytes = 1
    identity = BYTES

    def encode(self, documents: list[tuple[str, str]]) -> list[np.ndarray]:
        """The bytes of each (text, where), uint8."""
        return [self._encode(text, where) for text, where in documents]

    def _encode(self, text: str, where: str) -> np.ndarray:
        data = text.encode()
        at = data.find(SEPARATOR)
        require(at < 0, f"{where}: NUL byte at byte {at}; byte-level corpora keep it to end a document")
        return np.frombuffer(data + bytes([SEPARATOR]), dtype=np.uint8)


class TokenizerEncoder:
    """The tokenizer of a `tokenizer.json`, without the special tokens it adds; `eod_token` ends a document.

    Raises:
        InputError: the file is missing or damaged, or its vocabulary has no `eod_token`.
    """

    separator_bytes = 0

    def __init__(self, path: Path, eod_token: str) -> None:
        require(path.is_file(), f"corpus.tokenizer: no such file: {path}")
        data = path.read_bytes()
        try:
            json.loads(data)
        except ValueError as error:
            raise InputError(f"corpus.tokenizer: {path} is not JSON: {error}") from error
        library = optional_module("tokenizers")
        try:
            self._tokenizer: Any = library.Tokenizer.from_buffer(data)
        except Exception as error:  # the library raises nothing narrower
            raise InputError(f"corpus.tokenizer: {path} is not a tokenizers file: {error}") from error
        eod_id = self._tokenizer.token_to_id(eod_token)
        require(eod_id is not None, f"corpus.eod_token: {eod_token!r} is not in the vocabulary of {path}")
        self._eod_id: int = eod_id
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self.vocab_size = max(self._tokenizer.get_vocab(with_added_tokens=True).values()) + 1
        self.identity = f"{hashlib.sha256(data).hexdigest()} {eod_token}"

    def encode(self, documents: list[tuple[str, str]]) -> list[np.ndarray]:
        """The ids of each (text, where), uint32."""
        encodings = self._tokenizer.encode_batch([text for text, _ in documents], add_special_tokens=False)
        return [np.array([*encoding.ids, self._eod_id], dtype=np.uint32) for encoding in encodings]


def load_encoder(tokenizer: str, eod_token: str | None) -> Encoder:
    """The encoder for the settings `tokenizer` ("bytes" or a path) and `eod_token` (with a path only)."""
    if tokenizer == BYTES:
        require(
            eod_token is None,
            "corpus.eod_token: must be null with tokenizer=bytes, where byte 0 ends a document",
        )
        return ByteEncoder()
    if eod_token is None:
        raise InputError("corpus.eod_token: name the token that ends a document in this tokenizer's vocabulary")
    return TokenizerEncoder(Path(tokenizer).expanduser(), eod_token)


def optional_module(name: str) -> ModuleType:
    """An optional library, or InputError with the command that installs it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InputError(f"the '{name}' package is needed for this corpus: pip install archaudit[hub]") from error


def module_versions(tokenizer: str, *others: str) -> dict[str, str]:
    """Versions of the libraries that a corpus depends on: `tokenizers` unless byte-level, and `others`."""
    names = (*others,) if tokenizer == BYTES else ("tokenizers", *others)
    return {name: str(optional_module(name).__version__) for name in names}
