"""How well does counting do? An interpolated Witten-Bell n-gram model, a yardstick for small neural models.

For order k, with h the k - 1 tokens before w, c(.) counts in the train shard, T(h) the number of distinct
tokens seen after h, and h' the context without its earliest token (Witten and Bell 1991, method C; Chen and
Goodman 1999, "Witten-Bell smoothing"):

    p_k(w | h) = (c(h w) + T(h) p_{k-1}(w | h')) / (c(h) + T(h)),    p_0 = 1 / vocab_size,

and p_k = p_{k-1} where h was never seen. Each order sums to one over w.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from replication.corpus import Corpus, read_windows
from replication.durable import seal, write_atomic
from replication.settings import InputError, require

FORMAT = 1  # part of the cache key: raise it when the same input gives other numbers


@dataclass(frozen=True, kw_only=True)
class NgramSettings:
    """Orders to report (1 is unigram), and how many tokens of the train shard are counted at most."""

    orders: tuple[int, ...]
    max_train_tokens: int


def max_order(vocab_size: int) -> int:
    """The longest n-gram that fits one 64-bit key: 8 for bytes, 4 for a vocabulary of up to 65,536."""
    return 64 // _bits(vocab_size)


def ngram_loss(
    train: np.ndarray, val_windows: np.ndarray, orders: Sequence[int], *, vocab_size: int
) -> dict[int, float]:
    """Mean nats per token of the n-gram model of each order, on the targets of `val_windows`.

    train: token ids, shape [tokens]. val_windows: token ids, shape [windows, sequence_length + 1]; columns 1
    onwards are the targets. A target is predicted from at most order - 1 tokens before it in the same window,
    and from fewer near the window's start: what a model that sees only the window could use. Orders above
    `max_order`, and those longer than the train shard, are left out.

    Time is one sort of the train shard for each order up to the largest; memory about 25 bytes a train token.
    """
    require(len(orders) > 0 and min(orders) >= 1, "ngram.orders: expected whole numbers from 1")
    wanted = [order for order in orders if order <= max_order(vocab_size)]
    bits = _bits(vocab_size)
    targets = val_windows[:, 1:]
    probability = np.full(targets.shape, 1.0 / vocab_size)
    losses: dict[int, float] = {}
    for order in range(1, max(wanted, default=0) + 1):
        if order > len(train):
            break
        first = max(order - 1, 1)  # the first position in a window that has order - 1 tokens before it
        if first < val_windows.shape[1]:
            _refine(probability[:, first - 1 :], train, val_windows[:, first - order + 1 :], order, bits)
        if order in wanted:
            losses[order] = float(-np.log(probability).mean())
    return losses


def ngram_reference(
    corpus: Corpus, offsets: np.ndarray, sequence_length: int, settings: NgramSettings
) -> dict[int, float]:
    """`ngram_loss` on the validation windows at `offsets`, kept in the corpus folder by all it depends on.

    Returns nats per token for each order; divide by ln 2 and `corpus.bytes_per_token["val"]` for bits per
    byte.
    """
    key = {
        "format": FORMAT,
        "corpus": corpus.sha256,
        "offsets": hashlib.sha256(offsets.astype("<i8").tobytes()).hexdigest(),
        "sequence_length": sequence_length,
        "orders": sorted(set(settings.orders)),
        "max_train_tokens": settings.max_train_tokens,
    }
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    path = corpus.folder / f"ngram-{digest[:32]}.json"
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept["seal"] == seal(kept):
            return {int(order): loss for order, loss in kept["nats"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass  # not there yet, unreadable or altered: count again
    windows = read_windows(corpus.open("val"), offsets, sequence_length)
    train = corpus.open("train")[: settings.max_train_tokens]
    losses = ngram_loss(train, windows, settings.orders, vocab_size=corpus.vocab_size)
    try:
        kept = {**key, "nats": {str(order): loss for order, loss in losses.items()}}
        write_atomic(path, json.dumps({**kept, "seal": seal(kept)}, indent=2, sort_keys=True).encode())
    except OSError as error:
        raise InputError(f"the n-gram reference cannot be kept in {corpus.folder}: {error}") from error
    return losses


def _refine(probability: np.ndarray, train: np.ndarray, windows: np.ndarray, order: int, bits: int) -> None:
    """Turn p_{order-1} into p_order in place, [windows, n-grams], for each n-gram of `windows`."""
    keys, counts = np.unique(_packed(train[None], order, bits)[0], return_counts=True)
    before = np.concatenate(([0], np.cumsum(counts)))  # occurrences of all keys below a position
    grams = _packed(windows, order, bits)
    last_token = np.uint64(2**bits - 1)
    low = np.searchsorted(keys, grams & ~last_token)
    high = np.searchsorted(keys, grams | last_token, side="right")
    at = np.minimum(np.searchsorted(keys, grams), len(keys) - 1)
    seen = np.where(keys[at] == grams, counts[at], 0)
    total, distinct = before[high] - before[low], high - low
    known = total > 0
    mixed = (seen + distinct * probability) / np.maximum(total + distinct, 1)
    probability[...] = np.where(known, mixed, probability)


def _packed(tokens: np.ndarray, order: int, bits: int) -> np.ndarray:
    """Every n-gram of each row as one uint64, latest token lowest: [rows, columns - order + 1]."""
    count = tokens.shape[1] - order + 1
    packed = np.zeros((tokens.shape[0], count), dtype=np.uint64)
    for position in range(order):
        packed <<= np.uint64(bits)
        packed |= tokens[:, position : position + count].astype(np.uint64)
    return packed


def _bits(vocab_size: int) -> int:
    return max(int(vocab_size - 1).bit_length(), 1)
