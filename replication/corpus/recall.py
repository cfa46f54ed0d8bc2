"""A synthetic corpus of recall: what a mixer has to remember, and nothing else that could be learnt.

A stream of episodes of three tasks. The first token of an episode names its task, and episodes of a task are equally
long, so that answers are found in any window. The symbols are drawn anew for each episode.

    multi_query_recall  S k v k v ... k v k v ...     pairs; then keys, each followed by its value (arXiv 2312.04927)
    selective_copying   S . a . . b c . | a b c       symbols among blanks; then the symbols in order (arXiv 2312.00752)
    fuzzy_recall        S kk vv kk vv ... kk vv ...   as the first, keys and values of several tokens (arXiv 2403.17844)

In an episode no two values share a token at the same place, and each query is drawn anew. So whoever knows which
tokens an episode holds, but not what belongs where, is right with the probability that `chance_levels` gives.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from replication.corpus.build import Document, Source
from replication.corpus.shards import SPLITS
from replication.settings import require

TASKS = ("multi_query_recall", "selective_copying", "fuzzy_recall")  # token i starts an episode of task i
BLANK, COPY, FIRST_SYMBOL = 3, 4, 5
MOST_SYMBOLS = (128 - FIRST_SYMBOL) // 2  # a token is an ASCII character in between


@dataclass(frozen=True, kw_only=True)
class RecallSettings:
    """conf/corpus/recall.yaml"""

    kind: Literal["recall"]
    name: str
    seed: int
    symbols: int  # that keys are made of; and as many for values
    pairs: int
    queries: int
    copied: int  # symbols
    blanks: int
    fuzzy_pairs: int
    fuzzy_queries: int
    key_tokens: int
    value_tokens: int
    episodes: dict[str, int]  # in each split

    def __post_init__(self) -> None:
        for field in ("pairs", "queries", "copied", "fuzzy_pairs", "fuzzy_queries", "key_tokens", "value_tokens"):
            require(getattr(self, field) > 0, f"corpus.{field}: must be above 0")
        require(self.blanks >= 0 and self.seed >= 0, "corpus.blanks, corpus.seed: must not be negative")
        require(self.symbols <= MOST_SYMBOLS, f"corpus.symbols: at most {MOST_SYMBOLS}")
        for field in ("pairs", "copied", "fuzzy_pairs"):
            require(getattr(self, field) <= self.symbols, f"corpus.{field}: at most corpus.symbols ({self.symbols})")
        require(set(self.episodes) == set(SPLITS), f"corpus.episodes: name the splits {', '.join(SPLITS)}")
        require(min(self.episodes.values()) > 0, "corpus.episodes: at least one in each split")

    @property
    def vocab_size(self) -> int:
        """Tokens."""
        return FIRST_SYMBOL + 2 * self.symbols


def source(settings: RecallSettings) -> Source:
    """The episodes as documents."""
    return Source(
        inputs={}, packages={}, encoder=_SymbolEncoder(settings.vocab_size), documents=lambda: _documents(settings)
    )


def answer_positions(settings: RecallSettings, windows: np.ndarray) -> dict[str, np.ndarray]:
    """Task -> where a window's targets are answers of an episode that lies in it as a whole.

    Args:
        windows: tokens [W, T + 1].

    Returns:
        bool [W, T]; [w, t] speaks of the target windows[w, t + 1].
    """
    found = {}
    for number, task in enumerate(TASKS):
        answers, length = _layout(settings, task)
        mask = np.zeros((len(windows), windows.shape[1] - 1), dtype=bool)
        rows, starts = np.nonzero(windows[:, : max(0, windows.shape[1] - length + 1)] == number)
        mask[rows[:, None], starts[:, None] + answers - 1] = True
        found[task] = mask
    return found


def chance_levels(settings: RecallSettings) -> dict[str, float]:
    """Task -> expected accuracy of one that knows the tokens of an episode, but not what belongs where."""
    copying = sum(1 / left for left in range(1, settings.copied + 1)) / settings.copied  # what was copied is out
    return dict(zip(TASKS, (1 / settings.pairs, copying, 1 / settings.fuzzy_pairs), strict=True))


def _layout(settings: RecallSettings, task: str) -> tuple[np.ndarray, int]:
    """Where in an episode its answers stand, and its length."""
    if task == "selective_copying":
        begin = 2 + settings.copied + settings.blanks
        return np.arange(begin, begin + settings.copied), begin + settings.copied
    if task == "multi_query_recall":
        pairs, queries, key, value = settings.pairs, settings.queries, 1, 1
    else:
        pairs, queries = settings.fuzzy_pairs, settings.fuzzy_queries
        key, value = settings.key_tokens, settings.value_tokens
    first = 1 + pairs * (key + value) + key + (key + value) * np.arange(queries)
    return (first[:, None] + np.arange(value)).ravel(), 1 + (pairs + queries) * (key + value)


class _SymbolEncoder:
    """The character of code i is token i."""

    separator_bytes = 0

    def __init__(self, vocab_size: int) -> None:
        self.vocab_size, self.identity = vocab_size, f"{vocab_size} symbols"

    def encode(self, documents: list[tuple[str, str]]) -> list[np.ndarray]:
        """The tokens of each (text, where), uint8."""
        return [np.frombuffer(text.encode("ascii"), dtype=np.uint8) for text, _ in documents]


class _Draws:
    """Raw Philox output, which NumPy keeps stable between versions, unlike the methods of a Generator."""

    def __init__(self, seed: int, split: str) -> None:
        digest = hashlib.sha256(f"recall {seed} {split}".encode()).digest()
        self._stream = np.random.Philox(key=int.from_bytes(digest[:16], "little"))

    def below(self, most: int, *shape: int) -> np.ndarray:
        """Whole numbers below `most`."""
        return (self._raw(*shape) % np.uint64(most)).astype(np.int64)

    def distinct(self, most: int, rows: int, count: int) -> np.ndarray:
        """[rows, count]: different numbers below `most` in each row, in random order."""
        return self._raw(rows, most).argsort(axis=1, kind="stable")[:, :count]

    def _raw(self, *shape: int) -> np.ndarray:
        return self._stream.random_raw(int(np.prod(shape))).reshape(shape)


def _documents(settings: RecallSettings) -> Iterator[Document]:
    for split in SPLITS:
        draws, count = _Draws(settings.seed, split), settings.episodes[split]
        order = draws.below(len(TASKS), count)
        sizes = np.bincount(order, minlength=len(TASKS)).tolist()
        made = [
            iter(_recall(draws, 0, sizes[0], settings.symbols, settings.pairs, settings.queries, 1, 1)),
            iter(_copying(draws, 1, sizes[1], settings)),
            iter(_fuzzy(draws, 2, sizes[2], settings)),
        ]
        for number, task in enumerate(order.tolist()):
            text = next(made[task]).astype(np.uint8).tobytes().decode("ascii")
            yield Document(text=text, split=split, where=f"{split} episode {number}")


def _recall(
    draws: _Draws, start: int, episodes: int, symbols: int, pairs: int, queries: int, key_tokens: int, value_tokens: int
) -> np.ndarray:
    """Episodes of pairs and queries, tokens [episodes, length]."""
    codes = draws.distinct(symbols**key_tokens, episodes, pairs)
    keys = codes[:, :, None] // symbols ** np.arange(key_tokens) % symbols + FIRST_SYMBOL
    places = [draws.distinct(symbols, episodes, pairs) for _ in range(value_tokens)]
    values = np.stack(places, axis=2) + FIRST_SYMBOL + symbols
    shown = np.concatenate([keys, values], axis=2)  # [episodes, pairs, tokens of a pair]
    asked = np.take_along_axis(shown, draws.below(pairs, episodes, queries)[:, :, None], axis=1)
    whole = np.concatenate([shown, asked], axis=1).reshape(episodes, -1)
    return np.concatenate([np.full((episodes, 1), start), whole], axis=1)


def _fuzzy(draws: _Draws, start: int, episodes: int, settings: RecallSettings) -> np.ndarray:
    pairs, queries = settings.fuzzy_pairs, settings.fuzzy_queries
    return _recall(draws, start, episodes, settings.symbols, pairs, queries, settings.key_tokens, settings.value_tokens)


def _copying(draws: _Draws, start: int, episodes: int, settings: RecallSettings) -> np.ndarray:
    """Episodes of symbols among blanks, and their copy."""
    copied = draws.distinct(settings.symbols, episodes, settings.copied) + FIRST_SYMBOL + settings.symbols
    shown = np.full((episodes, settings.copied + settings.blanks), BLANK)
    places = np.sort(draws.distinct(shown.shape[1], episodes, settings.copied), axis=1)
    np.put_along_axis(shown, places, copied, axis=1)
    first, middle = np.full((episodes, 1), start), np.full((episodes, 1), COPY)
    return np.concatenate([first, shown, middle, copied], axis=1)
