"""Engines bring every item its result; processes are confined, watched and ended."""

from __future__ import annotations

import os
import re
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from replication.containment import LAYERS
from replication.engines import LocalEngine
from replication.measure import Probe
from replication.processes import EngineSettings, Stopped, WarmWorker
from replication.settings import InputError
from replication.watchdog import Meter, Watchdog


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
    with rig.worker.jobs(rig.bench().settings.limits(60), 1, Meter("cpu", None)) as (job,):
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
    assert bench._time_limit(rig.planned(rig.source()), slow, None) == 300.0


def test_processes_start_confined_and_say_how(rig: Any) -> None:
    with rig.worker.jobs(rig.bench().settings.limits(60), 2, Meter("cpu", None)) as jobs:
        assert {tuple(job.layers) for job in jobs} == {LAYERS}
    record, _ = rig.measure(rig.source(), steps=1)
    assert set(record.confinement) == {*LAYERS, "training"}


@pytest.fixture
def engine(rig: Any) -> Iterator[LocalEngine[int, int]]:
    with LocalEngine[int, int](2, rig.bench().settings) as engine:
        yield engine


def test_an_engine_gives_every_item_its_result_and_tries_unfinished_ones_again(engine: LocalEngine[int, int]) -> None:
    tries: dict[int, int] = dict.fromkeys(range(6), 0)

    def work(worker: WarmWorker, item: int) -> int | None:
        tries[item] += 1
        return None if item == 0 and tries[item] < 3 else item * item

    assert dict(engine.map(list(range(6)), work)) == {item: item * item for item in range(6)}
    assert tries == {0: 3, 1: 1, 2: 1, 3: 1, 4: 1, 5: 1}


def test_what_a_work_function_raises_ends_the_map(engine: LocalEngine[int, int]) -> None:
    def work(worker: WarmWorker, item: int) -> int:
        if item == 3:
            raise InputError("disk full")
        return item

    with pytest.raises(InputError, match="^disk full$"):
        list(engine.map(list(range(6)), work))


def test_closing_an_engine_ends_the_job_in_hand(rig: Any) -> None:
    began, ended = threading.Event(), threading.Event()

    def work(worker: WarmWorker, item: int) -> int:
        try:
            arrays = [np.zeros((1, 32), dtype=np.int64)]
            with Path(str(rig.corpus.open("train").filename)).open("rb") as text:
                limits, meter = bench.settings.limits(600), Meter("cpu", None)
                worker.run(header, arrays, lambda *_: began.set(), limits, files=[text.fileno()], meter=meter)
        except Stopped:
            ended.set()
            raise
        return item

    planned = rig.planned(rig.source(forward="\n        while True: pass"))
    bench = rig.bench()
    header = bench._header("train", planned, seats=2) | {"resumes": False, "checkpoint_seconds": 1.0}
    header["token_dtype"] = str(rig.corpus.open("train").dtype)
    with LocalEngine[int, int](1, bench.settings) as engine:
        thread = threading.Thread(target=lambda: next(engine.map([1], work), None), daemon=True)
        thread.start()
        assert began.wait(60)
    assert ended.is_set()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"processes": 0}, "engine.processes: must be above 0 or null"),
        ({"threads": 0}, "engine.threads: must be above 0"),
        ({"memory_gib": 0.0}, "engine.memory_gib: must be above 0"),
        ({"checkpoint_seconds": -1.0}, "engine.checkpoint_seconds: must not be negative"),
    ],
)
def test_engine_settings_out_of_range_are_named(rig: Any, change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        rig.bench(**change)


def test_the_number_of_workers_is_what_is_set_or_one_for_each_threads_cores(
    rig: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slots(**change: Any) -> int:
        settings: EngineSettings = rig.bench(processes=None, **change).settings
        return settings.slots()

    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(6)))
    assert [slots(), slots(threads=2), slots(threads=8), rig.bench(processes=5).settings.slots()] == [6, 3, 1, 5]
