"""The honest loss: rows that hold nothing of what follows, and what it says of clean and of leaky programs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from replication import evaluate
from replication.evaluate import HonestRows, contradicts, estimate_leak_gain, honest_rows, negative_log_likelihood
from replication.mixers import build_mixers
from replication.model import build_model
from replication.plan import BASELINES
from replication.record import HonestSettings
from replication.settings import InputError

MARK = 1000  # every token of the windows lies above it, none of the training text does
TRAIN = np.arange(700, dtype=np.uint16)
NEXT_TOKEN = "y = y + torch.cat([x[:, 1:], x[:, :1]], 1)"
ACROSS_ROWS = "y = y + x.mean(0, keepdim=True)"


def windows(count: int, length: int) -> np.ndarray:
    """Inputs and last target, [count, length + 1]; no token occurs twice."""
    return MARK + np.arange(count * (length + 1), dtype=np.int64).reshape(count, length + 1)


def rows_of(count: int, length: int, positions: int, draws: int) -> HonestRows:
    settings = HonestSettings(positions=positions, draws=draws)
    return honest_rows(windows(count, length)[:, :-1], TRAIN, settings, 256, "key", everywhere(count, length))


def everywhere(count: int, length: int) -> dict[str, np.ndarray]:
    return {"next_token": np.ones((count, length), dtype=bool)}


SIZES = [(8, 32, 60, 2), (16, 64, 512, 2), (7, 5, 12, 3), (5, 6, 30, 1), (5, 6, 1000, 2), (9, 4, 3, 2), (1, 8, 4, 1)]


@pytest.mark.parametrize("size", SIZES)
def test_a_row_holds_its_window_up_to_its_position_and_training_text_after_it(size: tuple[int, int, int, int]) -> None:
    rows, given = rows_of(*size), windows(*size[:2])
    for row, window, position in zip(rows.inputs, rows.windows, rows.positions, strict=True):
        assert row[: position + 1].tolist() == given[window, : position + 1].tolist()
        rest = row[position + 1 :]
        assert (rest < MARK).all()
        assert (np.diff(rest) == 1).all()  # one piece of text
    starts = [row[position + 1] for row, position in zip(rows.inputs, rows.positions, strict=True) if position < 3]
    assert len(set(starts)) > len(starts) // 2  # from many places


def passes_of(rows: HonestRows) -> list[np.ndarray]:
    """Numbers of the rows of each pass."""
    return np.split(np.arange(len(rows.inputs)), rows.passes.cumsum()[:-1])


@pytest.mark.parametrize("size", SIZES)
def test_neither_a_pass_nor_any_before_it_holds_a_token_that_it_is_scored_on(size: tuple[int, int, int, int]) -> None:
    rows, given = rows_of(*size), windows(*size[:2])
    seen: set[int] = set()
    for here in passes_of(rows):
        seen |= set(rows.inputs[here].ravel().tolist())
        assert not seen & set(given[rows.windows[here], rows.positions[here] + 1].tolist())
    assert set(rows.windows) <= set(range(size[0]))


@pytest.mark.parametrize("size", SIZES)
def test_passes_are_of_different_windows_and_no_larger_than_their_logits_may_be(
    size: tuple[int, int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate, "LOGIT_BYTES", 3 * 4 * size[1] * 256)
    rows = rows_of(*size)
    assert rows.passes.sum() == len(rows.inputs)
    assert rows.passes.max() <= 3
    for here in passes_of(rows):
        assert len(set(rows.windows[here])) == len(here) > 0


@pytest.mark.parametrize("size", SIZES)
def test_positions_are_spread_evenly_over_windows_and_time(size: tuple[int, int, int, int]) -> None:
    count, length, wanted, draws = size
    rows = rows_of(*size)
    total = min(wanted, count * length)
    assert len(rows.inputs) == total * draws
    by_window = np.bincount(rows.windows, minlength=count) / draws
    assert set(by_window) <= {total // count, -(-total // count)}
    by_position = np.bincount(rows.positions, minlength=length) / draws
    assert np.abs(by_position - total / length).max() < 2
    if total == count * length:
        assert len({*zip(rows.windows, rows.positions, strict=True)}) == total


def test_the_same_arguments_give_the_same_rows() -> None:
    one, other = rows_of(8, 32, 60, 2), rows_of(8, 32, 60, 2)
    assert one.inputs.tobytes() == other.inputs.tobytes()
    assert one.windows.tolist() == other.windows.tolist()
    assert one.passes.tolist() == other.passes.tolist()


def test_every_key_has_a_sample_of_its_own() -> None:
    settings, given = HonestSettings(positions=60, draws=1), windows(8, 32)[:, :-1]
    samples = [
        set(zip(rows.windows.tolist(), rows.positions.tolist(), strict=True))
        for rows in (
            honest_rows(given, TRAIN, settings, 256, key, everywhere(8, 32))
            for key in ("1 a 5", "1 a 6", "1 b 5", "2 a 5")
        )
    ]
    for place, one in enumerate(samples):
        for other in samples[:place]:
            assert len(one & other) < 40  # of 60; by chance about 14


def test_a_training_split_shorter_than_a_window_is_an_input_error() -> None:
    with pytest.raises(InputError, match="^the train split has 5 tokens; one window takes 32$"):
        honest_rows(
            windows(8, 32)[:, :-1], TRAIN[:5], HonestSettings(positions=4, draws=1), 256, "key", everywhere(8, 32)
        )


def test_the_gain_is_the_mean_difference_and_its_error_that_of_window_means() -> None:
    rows = rows_of(10, 8, 40, 2)
    generator = np.random.default_rng(0)
    ordinary, by_window = generator.random((10, 8)), generator.standard_normal(10)
    noise = generator.standard_normal(len(rows.inputs)) / 10
    honest = ordinary[rows.windows, rows.positions] + by_window[rows.windows] + noise
    gain, error = estimate_leak_gain(rows, honest, ordinary)
    means = [(by_window[rows.windows] + noise)[rows.windows == window].mean() for window in range(10)]
    assert gain == pytest.approx(np.mean(means))
    assert error == pytest.approx(np.std(means, ddof=1) / math.sqrt(10))


def test_one_window_gives_a_gain_without_an_error() -> None:
    rows = rows_of(1, 8, 4, 1)
    gain, error = estimate_leak_gain(rows, np.ones(4), np.zeros((1, 8)))
    assert (gain, error) == (1.0, None)


@pytest.mark.parametrize("name", sorted(path.stem for path in BASELINES.glob("*.py") if path.stem != "__init__"))
def test_for_a_baseline_every_honest_loss_is_the_ordinary_one_to_rounding(rig: Any, name: str) -> None:
    mixers = build_mixers((BASELINES / f"{name}.py").read_text(), rig.scale, 3)
    model = build_model(list(mixers.layers()), rig.scale, 256, 3).eval()
    given = np.random.default_rng(1).integers(256, size=(8, 33))
    rows = honest_rows(given[:, :-1], rig.corpus.open("train"), rig.honest, 256, "key", everywhere(8, 32))
    targets = given[rows.windows, rows.positions + 1]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3.0)  # losses far from those of equal logits
        ordinary = negative_log_likelihood(model(torch.from_numpy(given[:, :-1]))[0].numpy(), given[:, 1:])
        scored = model(torch.from_numpy(rows.inputs))[0][torch.arange(len(targets)), torch.from_numpy(rows.positions)]
    honest = negative_log_likelihood(scored[:, None].numpy(), targets[:, None])[:, 0]
    assert ordinary.std() > 0.1
    np.testing.assert_allclose(honest, ordinary[rows.windows, rows.positions], rtol=2e-5, atol=2e-5)


def measured(rig: Any, forward: str = "pass", init: str = "pass", steps: int = 100, **changes: Any) -> Any:
    source = rig.source(forward=forward, init=init)
    record = rig.measure(source, honest=rig.honest, steps=steps, **changes)[0]
    assert (record.status, record.error) == ("ok", None)
    return record


def test_a_clean_run_has_its_ordinary_loss_with_and_without_a_certificate(rig: Any) -> None:
    honest = measured(rig)
    certified, _ = rig.measure(rig.source(), steps=100)
    assert certified.honest_loss == certified.val_loss == honest.val_loss
    assert (certified.leak_gain, certified.leak_gain_se) == (None, None)
    assert honest.leak_gain == pytest.approx(0.0, abs=1e-6)
    assert honest.leak_gain_se == pytest.approx(0.0, abs=1e-6)
    assert honest.honest_loss == pytest.approx(honest.val_loss, rel=1e-6)
    assert honest.run_id != certified.run_id


def test_a_certified_program_that_holds_it_keeps_its_ordinary_loss_to_the_bit(rig: Any) -> None:
    record = measured(rig, certified=True)
    assert (record.honest_loss, record.leak_gain, record.looks_ahead) == (record.val_loss, 0.0, False)


def test_a_trained_program_that_gains_by_looking_ahead_is_not_believed_its_certificate(rig: Any) -> None:
    record = measured(rig, NEXT_TOKEN, certified=True)
    assert record.looks_ahead
    assert record.leak_gain > 1
    assert record.honest_loss == pytest.approx(record.val_loss + record.leak_gain)


def test_a_gain_without_an_error_or_within_it_contradicts_nothing() -> None:
    still = np.zeros(4)
    assert contradicts(still, 0.1, 0.01)
    assert not contradicts(still, 0.1, 0.03)
    assert not contradicts(still, 5e-4, 1e-6)
    assert not contradicts(still, -0.1, 0.01)
    assert not contradicts(still, 1.0, None)


@pytest.mark.parametrize(("moved", "found"), [(0.009, False), (0.011, True), (-0.011, True)])
def test_one_position_that_depends_on_what_follows_it_contradicts_a_certificate(moved: float, found: bool) -> None:
    gains = np.zeros(1000)
    gains[17] = moved
    assert contradicts(gains, 0.0, 1.0) == found


def test_a_program_that_looks_ahead_at_one_position_in_eight_is_not_believed_its_certificate(rig: Any) -> None:
    rare = "y[:, ::8] = (y + torch.cat([x[:, 1:], x[:, :1]], 1))[:, ::8]"
    record = measured(rig, f"y = y.clone(); {rare}", certified=True)
    assert record.looks_ahead
    assert record.honest_loss == pytest.approx(record.val_loss + record.leak_gain)
    assert record.leak_gain > 0


def test_the_score_that_counts_is_that_of_the_honest_loss(rig: Any) -> None:
    record = measured(rig, NEXT_TOKEN)
    assert record.honest_loss == pytest.approx(record.val_loss + record.leak_gain)
    assert record.bits_per_byte == pytest.approx(record.honest_loss / math.log(2))


def test_a_program_that_looks_at_the_next_token_gains_by_it_and_is_honestly_no_better(rig: Any) -> None:
    clean, leaky = measured(rig), measured(rig, NEXT_TOKEN)
    assert leaky.val_loss < clean.val_loss - 0.5
    assert leaky.leak_gain > 10 * leaky.leak_gain_se > 0
    assert leaky.honest_loss > clean.honest_loss


def test_a_program_that_looks_at_other_rows_learns_nothing_from_them_about_its_own_future(rig: Any) -> None:
    record = measured(rig, ACROSS_ROWS)
    assert abs(record.leak_gain) < 0.2


def test_an_honest_evaluation_leaves_no_trace_in_the_ordinary_one(rig: Any) -> None:
    buffers = "self.register_buffer('seen', torch.zeros(1)); self.register_buffer('off', torch.zeros(1), False)"
    init = f"self.calls = 0; {buffers}"
    forward = (
        "self.calls += 1; self.seen += 1; self.off += 1;"
        " y = y * (1 + (self.calls + self.seen + self.off) / 300) + torch.randn_like(y) / 9"
    )
    source = rig.source(init=init, forward=forward)
    (with_rows, curve), (without, other) = rig.measure(source, honest=rig.honest), rig.measure(source)
    assert curve.tobytes() == other.tobytes()
    assert with_rows.val_loss == without.val_loss
    assert abs(with_rows.leak_gain) > 1e-6


def test_two_runs_have_the_same_honest_loss_bit_by_bit(rig: Any) -> None:
    one, again = (rig.measure(honest=rig.honest)[0] for _ in range(2))
    assert (one.honest_loss, one.leak_gain, one.leak_gain_se) == (
        again.honest_loss,
        again.leak_gain,
        again.leak_gain_se,
    )
