"""The final score against the definition, in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest

from replication.evaluate import NonFiniteLogits, bits_per_byte, negative_log_likelihood


def by_hand(logits_NTV: np.ndarray, targets_NT: np.ndarray) -> np.ndarray:
    result = np.zeros(targets_NT.shape)
    for n, t in np.ndindex(*targets_NT.shape):
        logits = [float(value) for value in logits_NTV[n, t]]
        highest = max(logits)
        total = math.fsum(math.exp(value - highest) for value in logits)
        result[n, t] = highest + math.log(total) - logits[targets_NT[n, t]]
    return result


def test_the_loss_is_the_negative_log_softmax_of_the_target() -> None:
    generator = np.random.default_rng(0)
    logits = (generator.standard_normal((3, 5, 11)) * 30).astype(np.float32)
    targets = generator.integers(11, size=(3, 5))
    losses = negative_log_likelihood(logits, targets)
    assert losses.dtype == np.float64
    np.testing.assert_allclose(losses, by_hand(logits, targets), rtol=1e-12, atol=1e-12)


def test_equal_logits_cost_the_logarithm_of_the_vocabulary() -> None:
    losses = negative_log_likelihood(np.full((1, 2, 256), 3.5, dtype=np.float32), np.array([[0, 255]]))
    np.testing.assert_allclose(losses, math.log(256), rtol=1e-14)


def test_losses_are_computed_beyond_the_precision_of_float32() -> None:
    logits = np.array([[[12.0, 0.0]]], dtype=np.float32)
    loss = negative_log_likelihood(logits, np.array([[0]]))[0, 0]
    assert loss == pytest.approx(math.log1p(math.exp(-12)), rel=1e-8, abs=0)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_one_logit_that_is_not_finite_is_an_error_wherever_it_stands(value: float) -> None:
    for position in [(0, 0, 0), (1, 2, 3)]:
        logits = np.zeros((2, 3, 4), dtype=np.float32)
        logits[position] = value
        with pytest.raises(NonFiniteLogits):
            negative_log_likelihood(logits, np.zeros((2, 3), dtype=np.int64))


def test_bits_per_byte_divide_the_tokeniser_out() -> None:
    assert bits_per_byte(math.log(2), 1.0) == pytest.approx(1.0, rel=1e-15)
    assert bits_per_byte(8 * math.log(2), 4.0) == pytest.approx(2.0, rel=1e-15)
