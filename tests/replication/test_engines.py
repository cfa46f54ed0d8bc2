from __future__ import annotations

import os
import signal
import threading
from typing import Any

import numpy as np
import pytest

from replication.containment import LAYERS
from replication.engines import LocalEngine
from replication.measure import Probe
from replication.processes import WarmWorker
from replication.watchdog import Watchdog


def test_closing_ends_a_slot_that_waits_for_another_process(rig: Any) -> None:
    engine: LocalEngine[int, int] = LocalEngine(1, rig.bench().settings)
    tried = threading.Event()

    def held_elsewhere(_worker: WarmWorker, _item: int) -> int | None:
        tried.set()
        return None

    threading.Thread(target=lambda: next(engine.map([1], held_elsewhere)), daemon=True).start()
    assert tried.wait(60)
    closing = threading.Thread(target=engine.__exit__, args=(None, None, None), daemon=True)
    closing.start()
    closing.join(60)
    assert not closing.is_alive()


def test_a_process_that_cannot_be_watched_is_killed(rig: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_self: Watchdog) -> None:
        raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "a strange name")

    monkeypatch.setattr(Watchdog, "_exceeded", fails)
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    with rig.worker.jobs(rig.bench().settings.limits(60), 1) as (job,):
        assert job.receive() is None
    assert job.ended.exit_status == signal.SIGKILL


def test_a_host_that_somebody_else_kills_leaves_a_run_that_is_tried_again(rig: Any) -> None:
    def kill_a_host(first: int, losses: np.ndarray) -> None:
        os.kill(sorted(rig.worker._children)[1], signal.SIGKILL)  # the trainer was started first

    record, _ = rig.measure(rig.source(), steps=2000, on_steps=kill_a_host)
    assert record.status == "out_of_memory"
    assert record.error.startswith("killed from outside")
    assert rig.measure(rig.source(), steps=2)[0].status == "ok"


def test_a_program_that_is_slow_to_start_with_does_not_get_all_the_time_it_asks_for(rig: Any) -> None:
    slow = Probe(parameters=1, flops_per_step=1.0, seconds_per_step=1e6, error=None)
    bench = rig.bench(time_factor=20.0, time_ceiling_seconds=300.0)
    assert bench._time_limit(rig.planned(rig.source()), slow) == 300.0


def test_processes_start_confined_and_say_how(rig: Any) -> None:
    with rig.worker.jobs(rig.bench().settings.limits(60), 2) as jobs:
        assert {tuple(job.layers) for job in jobs} == {LAYERS}
    record, _ = rig.measure(rig.source(), steps=1)
    assert tuple(record.confinement) == LAYERS
