"""The final score, computed here by the parent from a worker's logits.

For the ordinary loss a program gets the activations of a whole validation window, targets included but for the last:
this keeps it from writing its own score, not from seeing ahead. The honest loss takes that away too: each sampled
position is scored on a row that holds the window up to there, and other text after it, by a process that never sees
the whole window; and which positions those are is nothing that a program can know.

Shape suffixes: W windows, R rows, P forward passes, N examples, T time, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.random import Generator

from replication.initialise import keyed_generator
from replication.record import HonestSettings
from replication.settings import require

LOGIT_BYTES = (
    2 << 20
)  # the logits of a forward pass: small pieces stay in caches, and a fresh process pays for new pages


# Nats per token, of the mean and of one position: rounding in bfloat16 stays below.
CONTRADICTING_MEAN = 1e-3
CONTRADICTING_POSITION = 0.01


class NonFiniteLogits(Exception):
    """Some logit of the evaluation is NaN or infinite: the run counts as diverged."""


def negative_log_likelihood(logits_NTV: np.ndarray, targets_NT: np.ndarray) -> np.ndarray:
    """Per-token negative log-likelihood in nats, float64, shape [N, T].

    Args:
        logits_NTV: unnormalised log-probabilities [N windows, T positions, V tokens].
        targets_NT: the token that follows each position.

    Raises:
        NonFiniteLogits: a logit is NaN or infinite.
    """
    logits = torch.from_numpy(np.asarray(logits_NTV))
    if not bool(torch.isfinite(logits).all()):
        raise NonFiniteLogits
    # float64: the rounding of a 256-way softmax in float32 would be visible in close calls.
    log_probability = torch.log_softmax(logits.double(), dim=-1)
    targets = torch.from_numpy(np.asarray(targets_NT, dtype=np.int64))
    return -log_probability.gather(-1, targets.unsqueeze(-1)).squeeze(-1).numpy()


def contradicts(gains_R: np.ndarray, gain: float, error: float | None) -> bool:
    """Whether leak gains cannot be those of a certified program, whose logits do not depend on what follows.

    Args:
        gains_R: honest minus ordinary loss of each sampled position, in nats.
        gain, error: their mean and its standard error.
    """
    moved = bool((np.abs(gains_R) > CONTRADICTING_POSITION).any())
    return moved or (error is not None and gain > max(CONTRADICTING_MEAN, 5.0 * error))


def hits(logits_NTV: np.ndarray, targets_NT: np.ndarray) -> np.ndarray:
    """Whether the likeliest token, the first of equals, is the one that follows; bool [N, T]."""
    right: np.ndarray = logits_NTV.argmax(axis=-1) == targets_NT
    return right


def accuracies(
    answers: Mapping[str, np.ndarray], hits_WT: np.ndarray, rows: HonestRows | None, honest_R: np.ndarray
) -> dict[str, float]:
    """Task -> share of right answers, less what seeing ahead adds to it at the rows' positions, if it adds anything.

    Args:
        answers: task -> bool [W, T], which positions count; of each task at least one, and one of the rows'.
        hits_WT: whether the token after each position was foretold.
        rows: of the honest evaluation; None where there is none.
        honest_R: whether the token after each row's scored position was foretold.
    """
    found = {}
    for task, mask in answers.items():
        share = float(hits_WT[mask].mean())
        if rows is not None:
            own = mask[rows.windows, rows.positions]
            ordinary = hits_WT[rows.windows[own], rows.positions[own]].mean()
            share = max(0.0, share - max(0.0, float(ordinary - honest_R[own].mean())))
        found[task] = share
    return found


def bits_per_byte(nats_per_token: float, bytes_per_token: float) -> float:
    """Cross-entropy in bits per byte of the underlying text."""
    return nats_per_token / (math.log(2) * bytes_per_token)


def rows_per_pass(length: int, vocab_size: int) -> int:
    """Rows of one forward pass of the evaluation: their float32 logits [rows, T, V] fill LOGIT_BYTES at most."""
    return max(1, LOGIT_BYTES // (4 * length * vocab_size))


@dataclass(frozen=True, kw_only=True)
class HonestRows:
    """Rows of which each is scored at one position, in the order in which they are evaluated.

    Attributes:
        inputs: int64 [R, T]; row r is window windows[r] up to and with position positions[r], then text of the
            training split.
        windows, positions: int64 [R].
        passes: int64 [P]; rows of each forward pass, in turn.
    """

    inputs: np.ndarray
    windows: np.ndarray
    positions: np.ndarray
    passes: np.ndarray


def honest_rows(
    inputs_WT: np.ndarray,
    train_tokens: np.ndarray,
    settings: HonestSettings,
    vocab_size: int,
    key: str,
    answers: Mapping[str, np.ndarray],
) -> HonestRows:
    """The rows of the honest evaluation; a function of its arguments alone.

    Positions are stratified over time and spread evenly over the windows; where only some positions count, as many are
    drawn for each task. Each gets `settings.draws` rows with other text. No pass holds two rows of a window, and the
    rows of a window come in the order of their positions: so neither the other rows of a batch nor anything kept from
    earlier calls can hold what follows a scored position. The one exception: where evaluation windows touch, the first
    token of one is the last target of the one before.

    Args:
        inputs_WT: the evaluation windows without their last target, int64.
        train_tokens: the training split, one-dimensional.
        key: no program may know it: one that knew the positions could look ahead everywhere else.
        answers: task -> bool [W, T], which positions count.

    Raises:
        InputError: the training split is shorter than a window.
    """
    count, length = inputs_WT.shape
    require(len(train_tokens) >= length, f"the train split has {len(train_tokens)} tokens; one window takes {length}")
    generator = keyed_generator(0, f"honest positions {key}")
    if all(mask.all() for mask in answers.values()):
        windows, positions = _sample(count, length, settings.positions, generator)
    else:
        windows, positions = _sample_answers(answers, settings.positions, generator)
    windows, positions = np.repeat(windows, settings.draws), np.repeat(positions, settings.draws)
    order, passes = _arrange(windows, positions, rows_per_pass(length, vocab_size))
    windows, positions = windows[order], positions[order]
    offsets = keyed_generator(0, f"honest text {key}").integers(len(train_tokens) - length + 1, size=len(windows))
    rows = inputs_WT[windows]
    for row, position, offset in zip(rows, positions, offsets, strict=True):
        row[position + 1 :] = train_tokens[offset : offset + length - position - 1]
    return HonestRows(inputs=rows, windows=windows, positions=positions, passes=passes)


def _sample(count: int, length: int, wanted: int, generator: Generator) -> tuple[np.ndarray, np.ndarray]:
    """Window and position of each sample: one position a stratum of time, windows in turn, shuffled each time round."""
    total = min(wanted, count * length)
    positions = ((np.arange(total) + generator.random(total)) * length / total).astype(np.int64)
    rounds = -(-total // count)
    windows = np.concatenate([generator.permutation(count) for _ in range(rounds)])[:total]
    return windows, np.minimum(positions, length - 1)


def _sample_answers(
    answers: Mapping[str, np.ndarray], wanted: int, generator: Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Window and position of each sample: of each task the same number, at least one, without repetition."""
    chosen = []
    for mask in answers.values():
        places = np.argwhere(mask)
        chosen.append(generator.permutation(places)[: max(1, wanted // len(answers))])
    windows, positions = np.concatenate(chosen).T
    return windows, positions


def _arrange(windows_R: np.ndarray, positions_R: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """An order of the rows, and how many of them make up each pass: first the earliest row of every window, then the
    second of every window, and so on; each such round in passes of at most `most` rows.
    """
    by_window = np.lexsort((positions_R, windows_R))
    sorted_windows = windows_R[by_window]
    rounds = np.arange(len(by_window)) - np.searchsorted(sorted_windows, sorted_windows)
    passes = [min(most, size - first) for size in np.bincount(rounds).tolist() for first in range(0, size, most)]
    return by_window[np.lexsort((sorted_windows, rounds))], np.array(passes, dtype=np.int64)


def leak_gains(rows: HonestRows, honest_R: np.ndarray, ordinary_WT: np.ndarray) -> np.ndarray:
    """Honest minus ordinary loss of each row's scored position [R]; arguments as for `estimate_leak_gain`."""
    gains: np.ndarray = honest_R - ordinary_WT[rows.windows, rows.positions]
    return gains


def estimate_leak_gain(rows: HonestRows, honest_R: np.ndarray, ordinary_WT: np.ndarray) -> tuple[float, float | None]:
    """What seeing ahead saves, in the unit of the losses: the mean over rows of honest minus ordinary loss.

    Added to the ordinary loss of all positions it gives the honest loss. The ordinary loss of the same position is a
    control variate: what makes a position hard to predict cancels, and for a causal program nothing is left but
    rounding.

    Args:
        honest_R: loss of the scored position of each row.
        ordinary_WT: loss of every position of every window.

    Returns:
        The gain and its standard error, clustered by window (None with a single window). The error speaks of which
        windows and positions were sampled.
    """
    gains = leak_gains(rows, honest_R, ordinary_WT)
    gain = float(gains.mean())
    count = len(np.unique(rows.windows))
    if count < 2:
        return gain, None
    sums = np.bincount(rows.windows, weights=gains - gain)
    return gain, math.sqrt(count / (count - 1) * float((sums**2).sum())) / len(gains)
