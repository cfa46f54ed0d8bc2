"""A run is stopped early for what its caller says, counted over all its processes, and has no score then."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest

from replication.answer import Answer, Monitor
from replication.measure import Probe
from replication.record import RunRecord
from replication.watchdog import Meter
from replication.wire import WireError

BUSY = "\n        while True: pass"
NEVER = Monitor(cpu_seconds=None, below=None, over_steps=10)


def measured(rig: Any, source: str, monitor: Monitor | None, **spec: Any) -> tuple[RunRecord, np.ndarray]:
    probe = Probe(parameters=None, flops_per_step=None, seconds_per_step=None, error=None)
    bench = rig.bench()
    return bench.measure(rig.worker, rig.planned(source, **spec), probe, rig.folder, lambda *_: None, monitor)  # type: ignore[no-any-return]


def test_a_run_that_uses_more_cpu_time_than_it_may_is_too_slow(rig: Any) -> None:
    monitor = Monitor(cpu_seconds=0.5, below=None, over_steps=10)
    record, _ = measured(rig, rig.source(forward=BUSY), monitor)
    assert record.status == "too_slow"
    assert record.error == "stopped when it had used more than 0.5 CPU seconds of all its processes"
    assert record.cpu_seconds > 0.5
    assert (record.honest_loss, record.benchmarks) == (None, {})


def test_a_run_whose_loss_falls_below_the_mark_is_leaky_at_the_step_where_it_did(rig: Any) -> None:
    whole, curve = measured(rig, rig.source(), NEVER, steps=30)
    means = np.convolve(curve.astype(np.float64), np.full(5, 0.2), "valid")
    below = float(means[9] + means[10]) / 2
    step = int(np.flatnonzero(means < below)[0]) + 5
    record, stopped = measured(rig, rig.source(), Monitor(cpu_seconds=None, below=below, over_steps=5), steps=30)
    assert whole.status == "ok"
    assert (record.status, record.failed_step, record.steps_done) == ("leaky", step, step)
    assert record.error is not None
    assert f"fell to {means[step - 5]:.4f} nats per token, below {below:g}" in record.error
    assert stopped.tolist() == curve[:step].tolist()
    assert (record.val_loss, record.benchmarks) == (None, {})


def test_a_monitor_that_finds_nothing_changes_nothing(rig: Any) -> None:
    easy = Monitor(cpu_seconds=1000.0, below=0.1, over_steps=5)
    watched, curve = measured(rig, rig.source(), easy, steps=10)
    free, other = measured(rig, rig.source(), None, steps=10)
    assert watched.status == free.status == "ok"
    assert (watched.honest_loss, watched.benchmarks) == (free.honest_loss, free.benchmarks)
    assert curve.tobytes() == other.tobytes()


def test_the_mean_is_that_of_the_steps_wherever_frames_end(rig: Any) -> None:
    targets = np.zeros((4, 32), dtype=np.int64)
    tasks, losses = {"next_token": np.ones(targets.shape, dtype=bool)}, np.array([4, 3, 2, 1, 1, 1], dtype=np.float32)
    for cut in range(1, 6):
        monitor = Monitor(cpu_seconds=None, below=1.5, over_steps=3)
        answer = Answer(
            rig.spec(steps=6), targets, tasks, monitor, None, lambda *_: None, lambda _: None,
            np.full(6, np.nan, np.float32),
        )  # fmt: skip
        with pytest.raises(WireError, match="of 3 steps fell to 1.3333 nats per token"):
            for first, last in ((0, cut), (cut, 6)):
                answer.take({"kind": "steps", "first": first}, [losses[first:last]])
        assert answer.steps == 5
        assert answer.failure is not None
        assert answer.failure["status"] == "leaky"


def test_a_monitor_says_of_a_finished_run_whether_it_would_have_stopped_it(rig: Any) -> None:
    record, curve = rig.measure(rig.source(), steps=10)
    lowest = float(np.convolve(curve.astype(np.float64), np.full(3, 1 / 3), "valid").min())
    for cpu_seconds, below, stops in (
        (None, None, False),
        (record.cpu_seconds, lowest - 1e-3, False),
        (record.cpu_seconds / 2, None, True),
        (None, lowest + 1e-3, True),
    ):
        assert Monitor(cpu_seconds=cpu_seconds, below=below, over_steps=3).stops(record, curve) is stops
    assert not Monitor(cpu_seconds=None, below=1e9, over_steps=11).stops(record, curve)


def test_a_meter_adds_up_living_and_ended_processes() -> None:
    meter = Meter("cpu", 2.0)
    meter.look(os.getpid())
    own = meter.cpu_seconds
    assert own > 0.1
    meter.ended(os.getpid(), 1.5)
    assert meter.cpu_seconds == 1.5
    meter.look(2**22 + 1)  # there is none
    assert not meter.spent()
    meter.ended(1, 0.75)
    assert meter.cpu_seconds == 2.25
    assert meter.spent()
    assert not Meter("cpu", None).spent()
    assert Meter("cuda", 0.0).spent()


def test_cpu_time_is_that_of_all_processes_and_of_failures_too(rig: Any) -> None:
    record, _ = rig.measure(rig.source(forward="raise ValueError('no')"))
    assert record.status == "crashed"
    assert record.cpu_seconds > 0
    quick, slow = (rig.measure(rig.source(f"sum(range({count}))"), steps=1)[0] for count in (1, 10**7))
    assert quick.status == slow.status == "ok"
    assert slow.cpu_seconds > quick.cpu_seconds + 0.1
