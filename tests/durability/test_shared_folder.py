"""What keeps a results folder sound where several machines use it, also on a file system without locks."""

from __future__ import annotations

import dataclasses
import errno
import fcntl
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from audit.report import _publish, lasting_name
from replication.durable import exclusive, seal, write_new
from replication.ledger import Ledger
from replication.record import RunRecord
from replication.settings import InputError
from tests.durability.files import flip
from tests.durability.trials import Bench

CURVE = np.ones(3, dtype=np.float32)


@pytest.fixture
def record(bench: Bench) -> RunRecord:
    path = next((bench.undisturbed / "ledger" / "runs").glob("*/record.json"))
    return RunRecord.from_json(path.read_text(), str(path))


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger")


@pytest.fixture(params=[errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def no_locks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*_: Any) -> None:
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(fcntl, "flock", flock)


def set_aside(ledger: Ledger) -> int:
    return len(list((ledger.root / "torn").iterdir()))


def test_of_two_machines_that_measure_the_same_run_the_first_is_kept(ledger: Ledger, record: RunRecord) -> None:
    ledger.store(record, CURVE, "source")
    ledger.store(dataclasses.replace(record, wall_seconds=99.0), CURVE, "source")
    assert ledger.find(record.run_id) == record
    assert set_aside(ledger) == 0
    assert list((ledger.root / "work").iterdir()) == []


def test_a_run_measured_under_other_confinement_is_replaced(ledger: Ledger, record: RunRecord) -> None:
    ledger.store(dataclasses.replace(record, confinement={}), CURVE, "source")
    confined = dataclasses.replace(record, confinement={"landlock": "on"})
    ledger.store(confined, CURVE, "source")
    assert ledger.find(record.run_id) == confined
    assert set_aside(ledger) == 1


def test_threads_that_store_one_run_at_once_leave_it_whole(ledger: Ledger, record: RunRecord) -> None:
    start = threading.Barrier(4)

    def store() -> None:
        start.wait()
        ledger.store(record, CURVE, "source")

    threads = [threading.Thread(target=store) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ledger.find(record.run_id) == record
    assert set_aside(ledger) == 0


@pytest.mark.usefixtures("no_locks")
def test_without_locks_every_machine_may_work_and_no_lock_outlives_one(ledger: Ledger) -> None:
    with ledger.claim("run") as mine, Ledger(ledger.root).claim("run") as other:
        assert mine
        assert other
    lock = ledger.root / "locks" / "run.lock"
    assert not lock.exists() or lock.read_bytes() == b""


@pytest.mark.usefixtures("no_locks")
def test_without_locks_nobody_waits(tmp_path: Path) -> None:
    with exclusive(tmp_path / "lock", wait=True), exclusive(tmp_path / "lock", wait=True) as mine:
        assert mine


def test_a_lock_that_fails_for_another_reason_is_no_lock(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*_: Any) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(InputError, match=r"^cannot write .*run\.lock: Input/output error"), ledger.claim("run"):
        pass


def test_all_machines_of_a_folder_get_one_sampling_key(tmp_path: Path) -> None:
    start, keys = threading.Barrier(4), []
    ledgers = [Ledger(tmp_path / "ledger") for _ in range(4)]

    def ask(ledger: Ledger) -> None:
        start.wait()
        keys.append(ledger.sampling_key())

    threads = [threading.Thread(target=ask, args=[ledger]) for ledger in ledgers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(keys) == 4
    assert set(keys) == {Ledger(tmp_path / "ledger").sampling_key()}


@pytest.mark.parametrize("where", [0.0, 0.2, 0.5, 0.9])
def test_a_sampling_key_with_a_flipped_bit_is_not_believed(ledger: Ledger, where: float) -> None:
    ledger.sampling_key()
    flip(ledger.root / "sampling_key", where)
    with pytest.raises(InputError, match=r"sampling_key: damaged, and without it runs cannot go on"):
        ledger.sampling_key()


def test_a_new_file_never_replaces_one_that_is_there(tmp_path: Path) -> None:
    write_new(tmp_path / "file", b"first")
    write_new(tmp_path / "file", b"second")
    assert (tmp_path / "file").read_bytes() == b"first"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_new_file_is_written_where_there_are_no_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*_: Any) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", link)
    write_new(tmp_path / "file", b"first")
    assert (tmp_path / "file").read_bytes() == b"first"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_seal_tells_a_document_from_an_altered_one() -> None:
    document = {"number": 1.5, "names": ["a"]}
    assert seal(document) == seal({**document, "seal": "anything"})
    assert seal(document) != seal({**document, "number": 1.25})


def test_a_report_is_there_even_where_latest_cannot_point_at_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "latest").mkdir()
    _publish(tmp_path / "one", {"report.html": "page"})
    page = tmp_path / "one" / "report.html"
    assert page.read_text() == "page"
    assert capsys.readouterr().out.startswith(
        f"{tmp_path / 'latest'} cannot point at the new report {tmp_path / 'one'}"
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["latest", "one"]
    assert lasting_name(page) == page


def test_a_report_is_named_by_latest_where_that_points_at_it(tmp_path: Path) -> None:
    _publish(tmp_path / "one", {"report.html": "page"})
    assert lasting_name(tmp_path / "one" / "report.html") == tmp_path / "latest" / "report.html"
    _publish(tmp_path / "two", {"report.html": "page"})
    assert lasting_name(tmp_path / "one" / "report.html") == tmp_path / "one" / "report.html"
