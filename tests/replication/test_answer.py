"""What a trainer sends is taken in order and in form, or refused."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from replication.answer import Answer
from replication.evaluate import HonestRows
from replication.measure import _checked_probe
from replication.wire import WireError


@pytest.fixture
def answer(rig: Any) -> Answer:
    spec = rig.spec(steps=3)
    targets, curve = np.zeros((4, 32), dtype=np.int64), np.full(3, np.nan, np.float32)
    return Answer(spec, targets, everywhere(targets), None, None, lambda first, losses: None, lambda state: None, curve)


@pytest.fixture
def honest_answer(rig: Any) -> Answer:
    """Trained and evaluated, with five honest rows to score: the windows 0 to 3, and 0 again."""
    targets, curve = np.arange(4 * 32).reshape(4, 32), np.full(3, np.nan, np.float32)
    rows = HonestRows(
        inputs=np.zeros((5, 32), dtype=np.int64),
        windows=np.array([0, 1, 2, 3, 0]),
        positions=np.array([2, 30, 31, 0, 3]),
        passes=np.array([4, 1]),
    )
    spec, tasks = rig.spec(steps=3, honest=rig.honest), everywhere(targets)
    answer = Answer(spec, targets, tasks, None, rows, lambda first, losses: None, lambda state: None, curve)
    answer.take({"kind": "steps", "first": 0}, [losses(3)])
    answer.take({"kind": "logits", "first": 0}, [logits(4)])
    return answer


def everywhere(targets: np.ndarray) -> dict[str, np.ndarray]:
    return {"next_token": np.ones(targets.shape, dtype=bool)}


def losses(count: int) -> np.ndarray:
    return np.ones(count, dtype=np.float32)


def logits(windows: int, length: int = 32, vocabulary: int = 256) -> np.ndarray:
    return np.zeros((windows, length, vocabulary), dtype=np.float32)


def test_an_answer_in_order_is_scored(answer: Answer) -> None:
    answer.take({"kind": "model", "parameters": 5, "notes": ["a"], "lifted": {}}, [])
    answer.take({"kind": "steps", "first": 0}, [losses(2)])
    answer.take({"kind": "steps", "first": 2}, [losses(1)])
    answer.take({"kind": "logits", "first": 0}, [logits(3)])
    answer.take({"kind": "logits", "first": 3}, [logits(1)])
    answer.take({"kind": "done"}, [])
    assert answer.done
    loss = answer.scores()["val_loss"]
    assert loss == pytest.approx(math.log(256))
    assert answer.scores() == {"val_loss": loss, "honest_loss": loss, "leak_gain": None, "leak_gain_se": None}


def test_honest_logits_are_scored_against_the_token_after_each_rows_position(honest_answer: Answer) -> None:
    sure = np.zeros((5, 256), dtype=np.float32)
    sure[np.arange(5), [2, 62, 95, 96, 3]] = 100.0  # window * 32 + position is the target there
    honest_answer.take({"kind": "honest", "first": 0}, [sure[:4]])
    honest_answer.take({"kind": "honest", "first": 4}, [sure[4:]])
    np.testing.assert_allclose(honest_answer.honest_losses, 0.0, atol=1e-12)
    honest_answer.take({"kind": "done"}, [])
    scores = honest_answer.scores()
    assert honest_answer.done
    assert scores["leak_gain"] == pytest.approx(-math.log(256))
    assert scores["leak_gain_se"] == pytest.approx(0.0, abs=1e-12)
    assert scores["honest_loss"] == scores["val_loss"]  # a gain below 0 is no merit


@pytest.mark.parametrize(
    ("first", "array"),
    [
        (1, np.zeros((4, 256), dtype=np.float32)),
        (0, np.zeros((6, 256), dtype=np.float32)),
        (0, np.zeros((0, 256), dtype=np.float32)),
        (0, np.zeros((4, 255), dtype=np.float32)),
        (0, np.zeros((4, 1, 256), dtype=np.float32)),
        (0, np.zeros(256, dtype=np.float32)),
    ],
)
def test_honest_logits_of_another_shape_or_place_are_refused(
    honest_answer: Answer, first: int, array: np.ndarray
) -> None:
    with pytest.raises(WireError, match="honest logits"):
        honest_answer.take({"kind": "honest", "first": first}, [array])
    assert np.isnan(honest_answer.honest_losses).all()


def test_honest_logits_come_once_and_after_the_others(honest_answer: Answer, answer: Answer) -> None:
    honest = np.zeros((5, 256), dtype=np.float32)
    with pytest.raises(WireError, match="logits out of order"):
        honest_answer.take({"kind": "logits", "first": 0}, [logits(4)])
    honest_answer.scored = 3
    with pytest.raises(WireError, match="honest logits out of order"):
        honest_answer.take({"kind": "honest", "first": 0}, [honest])
    honest_answer.scored = 4
    honest_answer.take({"kind": "honest", "first": 0}, [honest])
    with pytest.raises(WireError, match="honest logits"):
        honest_answer.take({"kind": "honest", "first": 5}, [honest])
    answer.take({"kind": "steps", "first": 0}, [losses(3)])
    answer.take({"kind": "logits", "first": 0}, [logits(4)])
    with pytest.raises(WireError, match="honest logits"):  # nobody asked for them
        answer.take({"kind": "honest", "first": 0}, [honest])


def test_an_answer_without_its_honest_logits_is_not_done(honest_answer: Answer) -> None:
    honest_answer.take({"kind": "honest", "first": 0}, [np.zeros((4, 256), dtype=np.float32)])
    honest_answer.take({"kind": "done"}, [])
    assert not honest_answer.done


@pytest.mark.parametrize(
    ("header", "arrays"),
    [
        ({"kind": "other"}, []),
        ({"kind": ["done"]}, []),
        ({"kind": "model", "notes": [], "lifted": {}}, []),
        ({"kind": "model", "parameters": -1, "notes": [], "lifted": {}}, []),
        ({"kind": "model", "parameters": 10**400, "notes": [], "lifted": {}}, []),
        ({"kind": "model", "parameters": 1.5, "notes": [], "lifted": {}}, []),
        ({"kind": "model", "parameters": True, "notes": [], "lifted": {}}, []),
        ({"kind": "model", "parameters": 1, "notes": "text", "lifted": {}}, []),
        ({"kind": "model", "parameters": 1, "notes": [1], "lifted": {}}, []),
        ({"kind": "model", "parameters": 1, "notes": []}, []),
        ({"kind": "model", "parameters": 1, "notes": [], "lifted": {"another": "lifted"}}, []),
        ({"kind": "model", "parameters": 1, "notes": [], "lifted": {"filters": 1}}, []),
        ({"kind": "steps", "first": 0}, []),
        ({"kind": "steps", "first": 0}, [losses(1), losses(1)]),
        ({"kind": "steps", "first": 1}, [losses(1)]),
        ({"kind": "steps", "first": "0"}, [losses(1)]),
        ({"kind": "steps", "first": 0}, [losses(4)]),
        ({"kind": "steps", "first": 0}, [losses(2).reshape(1, 2)]),
        ({"kind": "steps", "first": 0}, [losses(2) * math.nan]),
        ({"kind": "steps", "first": 0}, [np.full(2, 1e300)]),
        ({"kind": "logits", "first": 0}, [logits(4)]),  # before training has ended
        ({"kind": "failed"}, []),
        ({"kind": "failed", "status": "ok", "error": "", "step": None}, []),
        ({"kind": "failed", "status": "timed_out", "error": "", "step": None}, []),
        ({"kind": "failed", "status": "crashed", "error": None, "step": None}, []),
        ({"kind": "failed", "status": "crashed", "error": "", "step": "1"}, []),
    ],
)
def test_a_frame_out_of_protocol_is_refused(answer: Answer, header: dict[str, Any], arrays: list[np.ndarray]) -> None:
    with pytest.raises(WireError):
        answer.take(header, arrays)
    assert not answer.done
    assert answer.failure is None


@pytest.mark.parametrize(
    ("first", "array"),
    [
        (1, logits(4)),
        (0, logits(5)),
        (0, logits(0)),
        (0, logits(4, length=31)),
        (0, logits(4, vocabulary=255)),
        (0, logits(4)[0]),
    ],
)
def test_logits_of_another_shape_or_place_are_refused(answer: Answer, first: int, array: np.ndarray) -> None:
    answer.take({"kind": "steps", "first": 0}, [losses(3)])
    with pytest.raises(WireError, match="logits out of order or of the wrong shape"):
        answer.take({"kind": "logits", "first": first}, [array])


def test_an_answer_that_claims_to_be_done_early_is_not(answer: Answer) -> None:
    answer.take({"kind": "done"}, [])
    answer.take({"kind": "steps", "first": 0}, [losses(3)])
    answer.take({"kind": "logits", "first": 0}, [logits(3)])
    answer.take({"kind": "done"}, [])
    assert not answer.done


def test_the_error_of_a_worker_is_kept_as_one_printable_line(answer: Answer) -> None:
    text = json.loads('"\\u001b[2Ja\\nb\\ud800\\u202e ' + "c" * 600 + '"')
    answer.take({"kind": "failed", "status": "crashed", "error": text, "step": None}, [])
    assert answer.failure is not None
    assert answer.failure["error"].startswith("[2Ja b ccc")
    assert answer.failure["error"].isprintable()
    assert len(answer.failure["error"]) == 500


@pytest.mark.parametrize("value", [None, "1", True, -1.0, math.nan, math.inf, 10**400])
def test_a_probe_with_impossible_numbers_is_refused(value: object) -> None:
    good = {"kind": "probe", "parameters": 1, "flops_per_step": 1.0, "seconds_per_step": 0.5}
    assert _checked_probe(good).seconds_per_step == 0.5
    with pytest.raises(WireError):
        _checked_probe({**good, "flops_per_step": value})
