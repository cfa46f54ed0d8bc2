"""The final score, computed here by the parent from a worker's logits.

A worker gets the inputs of a validation window, which hold all its targets but the last: this keeps a program from
writing its own score, not from seeing ahead. The check for leaks is a separate one.
"""

from __future__ import annotations

import math

import numpy as np
import torch


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


def bits_per_byte(nats_per_token: float, bytes_per_token: float) -> float:
    """Cross-entropy in bits per byte of the underlying text."""
    return nats_per_token / (math.log(2) * bytes_per_token)
