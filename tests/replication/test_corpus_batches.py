"""Which tokens a step reads: the same for the same seed, another draw for another one."""

from __future__ import annotations

import numpy as np
import pytest

from replication.corpus import batch_offsets, evaluation_windows, train_batch
from replication.settings import InputError


def test_offsets_depend_on_seed_and_step_and_on_nothing_else() -> None:
    def draw(seed: int, step: int) -> list[int]:
        return list(batch_offsets(seed, step, tokens=10_000, sequence_length=64, batch_size=8))

    assert draw(3, 5) == draw(3, 5)
    assert len({tuple(draw(seed, step)) for seed in range(5) for step in range(5)}) == 25
    assert draw(0, 0) == [5975, 1760, 4989, 9367, 8178, 3126, 9186, 7550], "recorded: the same everywhere"


def test_offsets_cover_the_whole_split_evenly() -> None:
    draws = [batch_offsets(1, step, tokens=20, sequence_length=16, batch_size=100) for step in range(40)]
    counts = np.bincount(np.concatenate(draws))
    assert len(counts) == 4, "the last start leaves one target after the last input, and no more"
    assert np.abs(counts - 1000).max() < 150


def test_targets_are_the_inputs_one_token_later() -> None:
    tokens = np.arange(200, 250, dtype=np.uint8)
    inputs, targets = train_batch(tokens, np.array([0, 33]), 16)
    assert inputs.dtype == targets.dtype == np.int64
    assert inputs.shape == targets.shape == (2, 16)
    np.testing.assert_array_equal(inputs, [np.arange(200, 216), np.arange(233, 249)])
    np.testing.assert_array_equal(targets, inputs + 1)
    assert inputs.flags.c_contiguous
    assert targets.flags.c_contiguous


@pytest.mark.parametrize(("tokens", "windows"), [(161, 10), (1000, 10), (17, 1), (163, 10)])
def test_evaluation_windows_are_evenly_spaced_and_share_no_target(tokens: int, windows: int) -> None:
    offsets = evaluation_windows(tokens, 16, windows, corpus="mine", scale="smoke")
    assert len(offsets) == windows
    assert offsets[0] == 0
    assert len(set(np.diff(offsets))) <= 1
    targets = np.concatenate([np.arange(offset + 1, offset + 17) for offset in offsets])
    assert len(np.unique(targets)) == 16 * windows
    assert targets.max() < tokens


def test_a_split_that_is_too_small_is_named_with_its_scale() -> None:
    with pytest.raises(InputError, match=r"corpus 'mine' is too small for scale 'smoke': .* 161 tokens, .* 160"):
        evaluation_windows(160, 16, 10, corpus="mine", scale="smoke")
    with pytest.raises(InputError, match=r"the train split has 16 tokens; one window takes 17"):
        batch_offsets(0, 0, tokens=16, sequence_length=16, batch_size=1)
