"""Which tokens a step or an evaluation reads: functions of (seed, step) alone, so a resume needs no state."""

from __future__ import annotations

import numpy as np

from replication.settings import InputError, require

DATA_STREAM = 0x64617461  # "data": keeps these draws apart from other streams of the same seed


def batch_offsets(seed: int, step: int, *, tokens: int, sequence_length: int, batch_size: int) -> np.ndarray:
    """Where the windows of training step `step` start, int64, shape [batch_size], uniform with replacement.

    The draws are raw Philox output (SeedSequence of the seed, spawned by step), which NumPy keeps stable
    between versions, unlike `Generator.integers`. The bias of the remainder is below tokens / 2**64.

    Raises:
        InputError: fewer than sequence_length + 1 tokens.
    """
    starts = tokens - sequence_length
    require(starts > 0, f"the train split has {tokens} tokens; one window takes {sequence_length + 1}")
    stream = np.random.Philox(np.random.SeedSequence(seed, spawn_key=(DATA_STREAM, step)))
    return (stream.random_raw(batch_size) % np.uint64(starts)).astype(np.int64)


def train_batch(tokens: np.ndarray, offsets: np.ndarray, sequence_length: int) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and targets, both int64, shape [len(offsets), sequence_length]; targets are one token later."""
    windows = read_windows(tokens, offsets, sequence_length)
    return np.ascontiguousarray(windows[:, :-1]), np.ascontiguousarray(windows[:, 1:])


def read_windows(tokens: np.ndarray, offsets: np.ndarray, sequence_length: int) -> np.ndarray:
    """The windows at `offsets`, int64, shape [len(offsets), sequence_length + 1]: inputs, last target."""
    return tokens[offsets[:, None] + np.arange(sequence_length + 1)].astype(np.int64)


def evaluation_windows(
    tokens_in_split: int, sequence_length: int, windows: int, *, corpus: str, scale: str
) -> np.ndarray:
    """Where the evaluation windows start, int64, shape [windows]: evenly spaced, no token a target twice.

    The same for all seeds and candidates. `corpus` and `scale` are names, for the message.

    Raises:
        InputError: the split is too small for that many windows.
    """
    needed = windows * sequence_length + 1
    if tokens_in_split < needed:
        raise InputError(
            f"corpus '{corpus}' is too small for scale '{scale}': {windows} evaluation windows of"
            f" {sequence_length} tokens need {needed} tokens, the split has {tokens_in_split}"
        )
    return np.arange(windows, dtype=np.int64) * ((tokens_in_split - 1) // windows)
