"""Runs are in the ledger whole or not at all, for one process or several, on a good disk or a full one."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from replication import ledger as ledger_module
from replication.ledger import Ledger
from replication.record import RunRecord
from replication.settings import InputError

ROOT = Path(__file__).resolve().parents[2]
CURVE = np.linspace(5, 2, 12, dtype=np.float32)
SOURCE = "# a candidate, with é\n"
FILES = ["candidate.py", "curve.npy", "record.json", "sha256.json"]


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger")


@pytest.fixture
def record(rig: Any) -> RunRecord:
    return make_record(rig)


def make_record(rig: Any, seed: int = 7, **changes: Any) -> RunRecord:
    spec = rig.spec(seed=seed)
    record = RunRecord(
        run_id=spec.run_id,
        spec=spec,
        name="own",
        status="ok",
        error=None,
        failed_step=None,
        val_loss=1.25,
        honest_loss=1.25,
        leak_gain=None,
        leak_gain_se=None,
        looks_ahead=None,
        bits_per_byte=1.8,
        benchmarks={"next_token": 0.5},
        steps_done=12,
        parameters=100,
        flops=1e9,
        tokens_per_second=1000.0,
        wall_seconds=1.5,
        cpu_seconds=1.25,
        peak_memory_bytes=10**9,
        hardware="a processor",
        versions={},
        commit=None,
        notes=(),
        confinement={},
        started="2026-01-01T00:00:00+00:00",
        ended="2026-01-01T00:00:02+00:00",
    )
    return dataclasses.replace(record, **changes)


def failure(rig: Any, status: str) -> RunRecord:
    return make_record(
        rig, status=status, error="why", val_loss=None, honest_loss=None, bits_per_byte=None, benchmarks={}
    )


def entries(ledger: Ledger, name: str) -> list[str]:
    return sorted(path.name for path in (ledger.root / name).iterdir())


def test_a_stored_run_is_found_as_it_was_with_its_curve_and_its_source(ledger: Ledger, record: RunRecord) -> None:
    assert ledger.find(record.run_id) is None
    ledger.store(record, CURVE, SOURCE)
    for reader in (ledger, Ledger(ledger.root)):
        assert reader.find(record.run_id) == record
        assert reader.curve(record.run_id).tobytes() == CURVE.tobytes()
    folder = ledger.root / "runs" / record.run_id
    assert (folder / "candidate.py").read_bytes() == SOURCE.encode()
    assert sorted(path.name for path in folder.iterdir()) == FILES
    assert entries(ledger, "work") == []


DAMAGES: dict[str, Callable[[Path], object]] = {
    "truncated record": lambda folder: os.truncate(folder / "record.json", 100),
    "empty record": lambda folder: os.truncate(folder / "record.json", 0),
    "missing record": lambda folder: (folder / "record.json").unlink(),
    "missing curve": lambda folder: (folder / "curve.npy").unlink(),
    "missing checksums": lambda folder: (folder / "sha256.json").unlink(),
    "checksums of nothing": lambda folder: (folder / "sha256.json").write_text("{}"),
    "checksums that are a list": lambda folder: (folder / "sha256.json").write_text("[]"),
    "checksums that are no JSON": lambda folder: (folder / "sha256.json").write_bytes(b"\xff"),
    "nothing left": lambda folder: [path.unlink() for path in folder.iterdir()],
}


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


DAMAGES |= {f"flipped bit in {name}": lambda folder, name=name: flip(folder / name) for name in FILES}  # type: ignore[misc]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_torn_run_is_set_aside_and_counts_as_missing(
    ledger: Ledger, rig: Any, record: RunRecord, damage: str
) -> None:
    other = make_record(rig, seed=8)
    for one in (record, other):
        ledger.store(one, CURVE, SOURCE)
    DAMAGES[damage](ledger.root / "runs" / record.run_id)
    assert ledger.find(record.run_id) is None
    assert entries(ledger, "runs") == [other.run_id]
    assert [name.split("-")[0] for name in entries(ledger, "torn")] == [record.run_id]
    ledger.store(record, CURVE, SOURCE)
    assert ledger.find(record.run_id) == record
    assert ledger.find(other.run_id) == other


def test_a_run_under_the_name_of_another_is_not_taken_for_it(ledger: Ledger, rig: Any, record: RunRecord) -> None:
    ledger.store(record, CURVE, SOURCE)
    other = make_record(rig, seed=8).run_id
    (ledger.root / "runs" / record.run_id).rename(ledger.root / "runs" / other)
    assert ledger.find(other) is None


def test_a_torn_run_that_another_process_is_about_to_replace_is_left_to_it(ledger: Ledger, record: RunRecord) -> None:
    ledger.store(record, CURVE, SOURCE)
    DAMAGES["missing curve"](ledger.root / "runs" / record.run_id)
    with ledger.claim(record.run_id):
        assert Ledger(ledger.root).find(record.run_id) is None
        assert entries(ledger, "torn") == []
        ledger.store(record, CURVE, SOURCE)
    assert ledger.find(record.run_id) == record


@pytest.mark.parametrize("status", ["out_of_memory", "timed_out", "too_slow"])
def test_a_failure_of_the_machine_is_kept_but_tried_again(
    ledger: Ledger, rig: Any, record: RunRecord, status: str
) -> None:
    failed = failure(rig, status)
    ledger.store(failed, CURVE[:3], SOURCE)
    assert ledger.find(record.run_id) == failed
    assert ledger.reusable(record.run_id) is None
    ledger.store(record, CURVE, SOURCE)
    assert ledger.reusable(record.run_id) == record
    assert len(ledger.curve(record.run_id)) == 12


@pytest.mark.parametrize("status", ["diverged", "crashed", "leaky"])
def test_a_failure_of_the_candidate_is_final(ledger: Ledger, rig: Any, status: str) -> None:
    failed = failure(rig, status)
    ledger.store(failed, CURVE[:0], SOURCE)
    assert ledger.reusable(failed.run_id) == failed


# Interruptions.


class Killed(BaseException):
    """Stands for the end of the process at one place in the code."""


@pytest.mark.parametrize("place", ["write_synced", "sync_folder"])
@pytest.mark.parametrize("call", [1, 2, 3])
def test_a_store_that_ends_before_the_rename_leaves_nothing_visible(
    ledger: Ledger, record: RunRecord, monkeypatch: pytest.MonkeyPatch, place: str, call: int
) -> None:
    real, calls = getattr(ledger_module, place), []

    def ending(*arguments: Any) -> None:
        calls.append(1)
        visible.append(ledger.find(record.run_id) is not None)
        if len(calls) == call:
            raise Killed
        real(*arguments)

    visible: list[bool] = []
    monkeypatch.setattr(ledger_module, place, ending)
    try:
        ledger.store(record, CURVE, SOURCE)
    except Killed:
        pass
    monkeypatch.undo()
    renamed = place == "sync_folder" and call >= 2  # the second sync is of runs/, after the rename
    assert visible[-1] == renamed
    assert (ledger.find(record.run_id) == record) == renamed
    assert entries(ledger, "torn") == []


KILLED_IN_STORE = """
import os, signal, sys
sys.path[:0] = [{root!r}]
from pathlib import Path
import numpy as np
from replication import ledger
from replication.record import RunRecord
text = Path({record!r}).read_text()
book = ledger.Ledger(Path({ledger!r}))
os_rename = Path.rename
Path.rename = lambda self, target: os.kill(os.getpid(), signal.SIGKILL)
book.store(RunRecord.from_json(text, "record"), np.ones(12, dtype=np.float32), "source")
"""


def test_a_process_killed_between_writing_and_renaming_leaves_no_run(
    ledger: Ledger, rig: Any, record: RunRecord, tmp_path: Path
) -> None:
    other = make_record(rig, seed=8)
    ledger.store(other, CURVE, SOURCE)
    (tmp_path / "record.json").write_text(record.to_json())
    script = KILLED_IN_STORE.format(root=str(ROOT), record=str(tmp_path / "record.json"), ledger=str(ledger.root))
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -signal.SIGKILL
    assert entries(ledger, "runs") == [other.run_id]
    assert len(entries(ledger, "work")) == 1  # it did get as far as writing
    assert ledger.find(record.run_id) is None
    ledger.store(record, CURVE, SOURCE)
    assert ledger.find(record.run_id) == record


# Several processes.

CLAIM = """
import sys
sys.path[:0] = [{root!r}]
from pathlib import Path
from replication.ledger import Ledger
with Ledger(Path({ledger!r})).claim("run") as mine:
    print(mine, flush=True)
    sys.stdin.read()
"""


def claiming_process(ledger: Ledger) -> subprocess.Popen[str]:
    script = CLAIM.format(root=str(ROOT), ledger=str(ledger.root))
    return subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_of_two_processes_that_claim_a_run_exactly_one_gets_it(ledger: Ledger) -> None:
    with claiming_process(ledger) as one, claiming_process(ledger) as other:
        assert one.stdout is not None
        assert other.stdout is not None
        answers = [one.stdout.readline().strip(), other.stdout.readline().strip()]
        assert sorted(answers) == ["False", "True"]
        with ledger.claim("run") as mine:
            assert not mine
        with ledger.claim("another run") as mine:
            assert mine
        (one if answers[0] == "True" else other).kill()
        (one if answers[0] == "True" else other).wait()
        with ledger.claim("run") as mine:  # a dead process holds nothing
            assert mine


def test_a_claim_ends_with_its_block_even_by_an_exception(ledger: Ledger) -> None:
    with pytest.raises(Killed), ledger.claim("run") as mine:
        assert mine
        raise Killed
    with ledger.claim("run") as mine:
        assert mine


# Disks.


@contextlib.contextmanager
def small_files() -> Iterator[None]:
    """Files of this process may not grow beyond 1 kB, as on a full disk (Python ignores the signal, so EFBIG)."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        yield
    finally:  # before pytest writes its own output again
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_fills_up_is_one_line_and_earlier_runs_stay(ledger: Ledger, rig: Any, record: RunRecord) -> None:
    other = make_record(rig, seed=8)
    ledger.store(other, CURVE, SOURCE)
    with small_files(), pytest.raises(InputError) as caught:
        ledger.store(record, np.ones(1000, dtype=np.float32), SOURCE)
    place = ledger.root / "runs" / record.run_id
    assert str(caught.value) == f"cannot write {place}: File too large (paths.results sets the folder)"
    assert entries(ledger, "runs") == [other.run_id]
    assert entries(ledger, "work") == []
    assert ledger.find(other.run_id) == other


def test_a_full_disk_does_not_replace_an_earlier_record(ledger: Ledger, rig: Any, record: RunRecord) -> None:
    failed = failure(rig, "timed_out")
    ledger.store(failed, CURVE[:3], SOURCE)
    with small_files(), pytest.raises(InputError):
        ledger.store(record, np.ones(1000, dtype=np.float32), SOURCE)
    assert ledger.find(record.run_id) == failed


def test_a_results_folder_below_a_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"^cannot write .*file/ledger/runs: Not a directory \(paths\.results sets"):
        Ledger(tmp_path / "file" / "ledger")


def test_a_lock_that_cannot_be_made_is_one_line(ledger: Ledger) -> None:
    (ledger.root / "locks").rmdir()
    (ledger.root / "locks").write_text("")
    with pytest.raises(InputError, match=r"^cannot write .*run\.lock: "), ledger.claim("run"):
        pass


def test_a_work_folder_serves_a_run_until_it_is_cleared(ledger: Ledger) -> None:
    (ledger.work_folder("run") / "checkpoint").write_text("state")
    assert (ledger.work_folder("run") / "checkpoint").read_text() == "state"
    ledger.clear_work("run")
    ledger.clear_work("run")
    assert entries(ledger, "work") == []


def test_a_run_of_an_older_schema_is_set_aside_and_measured_again(ledger: Ledger, record: RunRecord) -> None:
    ledger.store(record, CURVE, SOURCE)
    folder = ledger.root / "runs" / record.run_id
    old = record.to_json().replace("archaudit.run/6", "archaudit.run/5").encode()
    sums = json.loads((folder / "sha256.json").read_text())
    (folder / "record.json").write_bytes(old)
    (folder / "sha256.json").write_text(json.dumps({**sums, "record.json": hashlib.sha256(old).hexdigest()}))
    assert ledger.reusable(record.run_id) is None
    assert len(entries(ledger, "torn")) == 1
    ledger.store(record, CURVE, SOURCE)
    assert ledger.find(record.run_id) == record
