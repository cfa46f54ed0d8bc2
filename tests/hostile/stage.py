"""Runs one hostile program after another on one warm worker, and lists what each of them achieved."""

from __future__ import annotations

import contextlib
import importlib.util
import math
import resource
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from replication.configure import compose
from replication.corpus import Corpus, prepare
from replication.corpus.files import FilesSettings
from replication.measure import Bench
from replication.processes import EngineSettings, WarmWorker
from replication.record import RunRecord, Training
from replication.settings import typed
from tests.hostile.canaries import Canaries, adopt_orphans, descendants, left_over
from tests.hostile.program_files import CLEAN, Program
from tests.replication.conftest import Rig

STEPS = 12
LEARNING_RATE = 5e-2
MEMORY_GIB = 0.6
SECONDS = 60.0  # of a run that is to end by itself
SHORT_SECONDS = 1.0  # of one that is to be ended at its time limit
SCRATCH_MIB = 64.0
FILE_MIB = 1024.0
THREADS = 128
PARENT_GROWTH = 512 << 20  # bytes of memory that no candidate may cost the parent
ROUNDING = 1e-6  # nats per token


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of one program. `faults` is empty where it was stopped as its header says."""

    program: Program
    status: str
    error: str | None
    honest_loss: float | None
    seconds: float
    faults: list[str]


@dataclass(frozen=True, kw_only=True)
class _Run:
    record: RunRecord
    curve: np.ndarray

    @property
    def score(self) -> tuple[object, ...]:
        record = self.record
        return record.status, record.val_loss, record.honest_loss, record.leak_gain, self.curve.tobytes()


class Stage:
    """A corpus, canaries, a warm worker, and the clean program's scores to compare with."""

    def __init__(self, rig: Rig, canaries: Canaries, training: Training) -> None:
        self._rig, self._canaries, self._training = rig, canaries, training
        self._seconds_bench = {seconds: self._bench(seconds) for seconds in (SECONDS, SHORT_SECONDS)}
        self._clean = {certified: self._measure(CLEAN, certified=certified) for certified in (False, True)}
        assert self._clean[False].record.status == "ok", self._clean[False].record.error
        self._quick = self._measure_quickly()
        self._files = self._worker_files()

    def run(self, program: Program) -> Outcome:
        """Run a program, on a machine that is as it was before, and look for what it did."""
        before, memory = descendants(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        source = program.source({**self._canaries.values(), **self._values()})
        short = program.status == "timed_out"
        began = time.monotonic()
        done = [self._measure(source, short=short) for _ in range(program.runs)]
        if program.name.startswith("ahead_"):
            done.append(self._measure(source, certified=True))
        seconds = time.monotonic() - began
        faults = self._canaries.faults()
        faults += [f"left process {pid} ({name}) behind" for pid, name in left_over(before).items()]
        faults += [f"left {path} behind" for path in self._worker_files() - self._files]
        growth = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory
        if growth * 1024 > PARENT_GROWTH:
            faults.append(f"the parent grew by {growth >> 10} MiB")
        for run in done:
            faults += self._judge(program, run)
        if program.status != "ok" and self._measure_quickly() != self._quick:
            faults.append("afterwards a clean program has another score")
        if faults:
            self._canaries.reset()
        last = done[-1].record
        return Outcome(
            program=program, status=last.status, error=last.error, honest_loss=last.honest_loss, seconds=seconds,
            faults=faults,
        )  # fmt: skip

    def _judge(self, program: Program, run: _Run) -> list[str]:
        """What is wrong with the record of a run."""
        record, faults = run.record, []
        said = repr(record)
        if record.status != program.status:
            faults.append(f"status {record.status} ({record.error}), not {program.status}")
        if "ESCAPED" in said or self._canaries.secret in said:
            faults.append(f"escaped: {record.error} {record.notes}")
        if record.error is not None and not (record.error.isprintable() and len(record.error) <= 500):
            faults.append("an error that is no printable line")
        clean = self._clean[record.spec.certified].record
        if program.score == "same" and run.score != self._clean[False].score:
            faults.append(f"honest loss {record.honest_loss}, not {clean.honest_loss}")
        if program.score == "none" and (record.honest_loss, record.val_loss, record.bits_per_byte) != (None,) * 3:
            faults.append(f"a failed run with honest loss {record.honest_loss}")
        if program.score == "no better" and not self._is_no_better(record, clean):
            faults.append(f"honest loss {record.honest_loss} (clean {clean.honest_loss}), val {record.val_loss}")
        return faults

    @staticmethod
    def _is_no_better(record: RunRecord, clean: RunRecord) -> bool:
        """Whether a run's honest loss is finite, and not below the clean one's but for the noise of its estimate."""
        assert clean.honest_loss is not None
        noise = 0.0 if record.leak_gain_se is None else 3 * record.leak_gain_se
        honest = record.honest_loss
        return honest is not None and math.isfinite(honest) and honest > clean.honest_loss - noise - ROUNDING

    def _measure(self, source: str, *, short: bool = False, certified: bool = False) -> _Run:
        bench = self._seconds_bench[SHORT_SECONDS if short else SECONDS]
        record, curve = self._rig.measure(
            source,
            work=self._canaries.work,
            bench=bench,
            honest=self._rig.honest,
            certified=certified,
            steps=STEPS,
            learning_rate=LEARNING_RATE,
            training=self._training,
        )
        return _Run(record=record, curve=curve)

    def _measure_quickly(self) -> float | None:
        """The clean program's loss after one step."""
        work, bench = self._canaries.work, self._seconds_bench[SECONDS]
        shape: dict[str, Any] = {"steps": 1, "evaluation_windows": 1, "training": self._training}
        return self._rig.measure(CLEAN, work=work, bench=bench, **shape)[0].val_loss

    def _worker_files(self) -> set[Path]:
        return set(Path(self._rig.worker._home.name).iterdir())

    def _bench(self, seconds: float) -> Bench:
        return self._rig.bench(lambda line: None, time_floor_seconds=seconds)

    def _values(self) -> dict[str, str]:
        train, val = (self._rig.corpus.open(split) for split in ("train", "val"))
        return {
            "TRAIN_SHARD": str(train.filename),
            "VAL_SHARD": str(val.filename),
            "TRAIN_HEAD": train[:64].tobytes().hex(),
            "VAL_HEAD": val[:64].tobytes().hex(),
            "MEMORY_BYTES": str(int(MEMORY_GIB * 2**30)),
            "WORKER_PID": str(self._rig.worker._process.pid),
            **{f"{name.upper()}_FILE": str(_source_file(name)) for name in ("scipy", "statsmodels")},
        }


def _source_file(package: str) -> Path:
    """The first file of an installed package's source."""
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin)


def engine_settings(confine: bool) -> EngineSettings:
    """The default engine on one slow core, with limits that a test can reach."""
    chosen = ["containment=default" if confine else "containment=off"]
    settings = typed(EngineSettings, compose("replicate", chosen)["engine"], "engine")
    containment = replace(settings.containment, threads=THREADS, file_mib=FILE_MIB, scratch_mib=SCRATCH_MIB)
    return replace(
        settings, device="cpu", processes=1, threads=1, memory_gib=MEMORY_GIB, time_factor=1.0,
        time_floor_seconds=SECONDS, checkpoint_seconds=1000.0, containment=containment,
    )  # fmt: skip


def tiny_corpus(folder: Path) -> Corpus:
    """A corpus of a few kilobytes, made in `folder`."""
    settings = FilesSettings(
        kind="files", name="tiny", paths=(str(Rig.write_texts(folder / "texts") / "*.txt"),), field="text",
        column="text", tokenizer="bytes", eod_token=None, val_fraction=0.2, test_fraction=0.1,
    )  # fmt: skip
    return prepare(settings, folder / "cache")


@contextlib.contextmanager
def stage(confine: bool = True, training: Training = "separate") -> Iterator[Stage]:
    """Everything that programs are run on; the worker is started with a secret in the parent's environment."""
    adopt_orphans()
    with Canaries() as canaries, tempfile.TemporaryDirectory(prefix="archaudit-stage-") as folder:
        worker = WarmWorker(engine_settings(confine))
        try:
            yield Stage(Rig(tiny_corpus(Path(folder)), worker, canaries.work), canaries, training)
        finally:
            worker.close()
