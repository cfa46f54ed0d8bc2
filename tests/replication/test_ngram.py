"""The n-gram model against a dictionary written straight from the definition, and as a distribution."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from replication.corpus import evaluation_windows, prepare
from replication.corpus.files import FilesSettings
from replication.ngram import NgramSettings, max_order, ngram_loss, ngram_reference
from replication.settings import InputError


def by_dictionary(train: list[int], windows: list[list[int]], order: int, vocab_size: int) -> float:
    counts = {k: Counter(tuple(train[i : i + k]) for i in range(len(train) - k + 1)) for k in range(1, order + 1)}

    def probability(context: tuple[int, ...], token: int) -> float:
        shorter = probability(context[1:], token) if context else 1.0 / vocab_size
        table = counts[len(context) + 1]
        after = [table[(*context, other)] for other in range(vocab_size)]
        total, distinct = sum(after), sum(count > 0 for count in after)
        return (table[(*context, token)] + distinct * shorter) / (total + distinct) if total else shorter

    losses = [
        -math.log(probability(tuple(window[max(0, t - order + 1) : t]), window[t]))
        for window in windows
        for t in range(1, len(window))
    ]
    return sum(losses) / len(losses)


def text(seed: int, length: int, vocab_size: int) -> np.ndarray:
    """Tokens with some structure: a noisy walk that repeats itself."""
    rng = np.random.default_rng(seed)
    return (np.cumsum(rng.integers(0, 3, length)) + rng.integers(0, 2, length) * (np.arange(length) // 7)) % vocab_size


@pytest.mark.parametrize("vocab_size", [5, 256])
def test_losses_equal_those_of_the_definition(vocab_size: int) -> None:
    train = text(0, 400, vocab_size).astype(np.uint8)
    windows = text(1, 60, vocab_size).reshape(5, 12)
    losses = ngram_loss(train, windows, range(1, 7), vocab_size=vocab_size)
    for order in range(1, 7):
        expected = by_dictionary(train.tolist(), windows.tolist(), order, vocab_size)
        assert losses[order] == pytest.approx(expected, rel=1e-12), order


def test_the_largest_token_at_the_longest_order_is_counted_right() -> None:
    train = np.array([255] * 20 + [254, 255, 0] * 5, dtype=np.uint8)
    windows = np.array([[255] * 10, [254, 255, 0, 254, 255, 0, 254, 255, 0, 255]])
    losses = ngram_loss(train, windows, [8], vocab_size=256)
    assert losses[8] == pytest.approx(by_dictionary(train.tolist(), windows.tolist(), 8, 256), rel=1e-12)


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_probabilities_of_all_continuations_sum_to_one(order: int) -> None:
    train = text(2, 50, 3).astype(np.uint8)
    for first in range(3):
        every = [np.array([[first, *rest]]) for rest in itertools.product(range(3), repeat=4)]
        total = sum(math.exp(-4 * ngram_loss(train, window, [order], vocab_size=3)[order]) for window in every)
        assert total == pytest.approx(1.0, abs=1e-12)


def test_nothing_outside_the_window_helps() -> None:
    train = np.tile(np.arange(50, dtype=np.uint8), 20)
    losses = ngram_loss(train, np.array([[7, 8, 9, 10]]), [2, 4], vocab_size=256)
    assert losses[4] > 0
    assert ngram_loss(train, np.array([[8, 9]]), [2, 4], vocab_size=256)[2] == pytest.approx(
        ngram_loss(train, np.array([[8, 9]]), [4], vocab_size=256)[4]
    ), "with one token of context order 4 can do no more than order 2"


def test_a_large_vocabulary_keeps_the_orders_that_fit() -> None:
    assert (max_order(256), max_order(50_000), max_order(65_536), max_order(100_000)) == (8, 4, 4, 3)
    train = text(3, 300, 40_000).astype(np.uint16)
    assert set(ngram_loss(train, train[None, :20], [1, 4, 5, 6], vocab_size=50_000)) == {1, 4}
    with pytest.raises(InputError, match=r"ngram\.orders"):
        ngram_loss(train, train[None, :20], [0, 1], vocab_size=50_000)


def test_the_reference_is_kept_beside_the_corpus_and_keyed_by_its_settings(tmp_path: Path) -> None:
    for number in range(40):
        (tmp_path / f"{number}.txt").write_text(f"the {number} cats and {number} dogs\n" * 20)
    mine = FilesSettings(
        kind="files",
        name="mine",
        paths=(str(tmp_path / "*.txt"),),
        field="",
        column="",
        tokenizer="bytes",
        eod_token=None,
        val_fraction=0.2,
        test_fraction=0.2,
    )
    corpus = prepare(mine, tmp_path / "cache")
    offsets = evaluation_windows(corpus.tokens["val"], 32, 8, corpus="mine", scale="smoke")
    settings = NgramSettings(orders=(1, 3), max_train_tokens=10**6)
    losses = ngram_reference(corpus, offsets, 32, settings)
    windows = corpus.open("val")[offsets[:, None] + np.arange(33)]
    assert losses == ngram_loss(corpus.open("train"), windows, (1, 3), vocab_size=256)
    kept = list(corpus.folder.glob("ngram-*.json"))
    assert len(kept) == 1
    written = kept[0].stat().st_mtime_ns
    assert ngram_reference(corpus, offsets, 32, settings) == losses
    assert kept[0].stat().st_mtime_ns == written, "the second call reads what was kept"
    kept[0].write_text(kept[0].read_text().replace(str(losses[3]), "0.125"))
    assert ngram_reference(corpus, offsets, 32, settings) == losses, "an altered number is not believed"
    kept[0].write_text("{torn")
    assert ngram_reference(corpus, offsets, 32, settings) == losses
    fewer = ngram_reference(corpus, offsets, 32, NgramSettings(orders=(1, 3), max_train_tokens=500))
    assert fewer[3] > losses[3]
    assert ngram_reference(corpus, offsets + 1, 32, settings) != losses
    assert prepare(mine, tmp_path / "cache") == corpus
    assert len(list(corpus.folder.glob("ngram-*.json"))) == 3, "what is kept does not count as damage"
