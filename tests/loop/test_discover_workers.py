"""Several processes on one archive, and what else happens to those that search: signals, full disks, damage."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from loop.archive import Archive
from loop.discover import configure, search
from replication.settings import InputError
from tests.durability.disks import disks_work, small_disk
from tests.loop.fleet import WORKERS, work_together
from tests.loop.searches import dump, overrides, run, start, write_texts

FEW, MANY = 4, 8
Settings = Callable[..., list[str]]


@pytest.fixture(scope="module")
def settings(tmp_path_factory) -> Settings:
    """`settings(archive, experiments, *more)`. These searches share a ledger: what one has trained, another finds."""
    folder = tmp_path_factory.mktemp("workers")
    texts = write_texts(folder / "texts")

    def make(archive: Path | str, experiments: int, *more: str) -> list[str]:
        shared = ("parallel=4", "workers=1", f"budget.experiments={experiments}", f"paths.cache={folder}/cache")
        return overrides(texts, folder / "results", archive, *shared, *more)

    return make


@pytest.fixture(scope="module")
def alone(settings, tmp_path_factory) -> str:
    """What an undisturbed search of a few experiments, one at a time, comes to."""
    chosen = settings(tmp_path_factory.mktemp("alone") / "alone.sqlite", FEW)
    search(configure(chosen))
    return dump(chosen)


@pytest.mark.parametrize("archive_url", ["postgresql"], indirect=True)
def test_four_processes_on_one_server_find_what_one_finds_on_a_file(settings, archive_url, tmp_path) -> None:
    outcome = work_together(settings(archive_url, MANY), archive_url, MANY, seconds=600)
    assert outcome.codes == [0] * len(WORKERS), outcome.outputs
    assert outcome.lost == outcome.doubled == 0
    assert outcome.tries == MANY
    chosen = settings(tmp_path / "one.sqlite", MANY)
    search(configure(chosen))
    assert dump(chosen) == dump(settings(archive_url, MANY))


def test_two_processes_of_one_name_are_refused(settings, archive_url) -> None:
    configuration = configure(settings(archive_url, FEW, "worker=w1"))
    other = Archive.open(archive_url, configuration.identity)
    other.enter("w1", 60.0)
    with pytest.raises(InputError, match=f"worker 'w1' is already at work .*pid {os.getpid()}.*worker=NAME"):
        search(configuration)
    other.leave()


def test_a_search_that_is_interrupted_while_it_trains_says_so_in_one_line_and_goes_on(
    settings, alone, tmp_path
) -> None:
    chosen = settings(tmp_path / "stopped.sqlite", FEW, f"paths.results={tmp_path}/results", "workers=2")
    process = start(chosen)
    try:
        while process.poll() is None and not list((tmp_path / "results" / "ledger" / "work").glob("[!.]*")):
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        output = process.communicate(timeout=60)[0]
    finally:
        process.kill()
    assert process.returncode == 130
    assert output.splitlines()[-1].startswith("loop: stopped; what was measured is kept")
    assert "Traceback" not in output
    search(configure(settings(tmp_path / "stopped.sqlite", FEW)))
    assert dump(chosen) == alone


def test_an_archive_of_another_layout_and_a_damaged_one_are_refused_and_left_alone(settings, alone, tmp_path) -> None:
    chosen = settings(tmp_path / "archive.sqlite", FEW)
    search(configure(chosen))
    whole = (tmp_path / "archive.sqlite").read_bytes()
    with sqlite3.connect(tmp_path / "archive.sqlite") as connection:
        connection.execute("UPDATE search SET layout = 99")
    connection.close()
    with pytest.raises(InputError, match="its layout is version 99, and this program reads version"):
        search(configure(chosen))
    for harmed in (whole[: len(whole) // 2], b"no database" * 1000, whole[:200] + b"\0" * 5000 + whole[5200:]):
        (tmp_path / "archive.sqlite").write_bytes(harmed)
        with pytest.raises(InputError, match=r"archive sqlite:.*archive.sqlite"):
            search(configure(chosen))
        assert (tmp_path / "archive.sqlite").read_bytes() == harmed
    (tmp_path / "archive.sqlite").write_bytes(whole)
    assert dump(chosen) == alone


def test_a_disk_that_is_full_or_cannot_be_written_costs_nothing_once_it_is_well_again(
    settings, alone, tmp_path
) -> None:
    if not disks_work(tmp_path / "probe"):
        pytest.skip("this machine forbids mounts of one's own")
    folder = tmp_path / "disk"
    with small_disk(folder, 700) as disk:
        within = ["nsenter", "--target", str(disk.holder), "--mount", f"--wd={Path.cwd()}"]
        if os.geteuid() != 0:
            within += ["--user", "--preserve-credentials"]
        chosen = settings(folder / "archive.sqlite", FEW, f"paths.results={folder}/results")
        code, output = run(chosen, *within)
        assert code == 2, output
        last = output.splitlines()[-1]
        assert last.startswith("loop: ")
        assert "full" in last or "No space left" in last
        assert "Traceback" not in output
        disk.resize(100_000)
        disk.protect()
        code, output = run(chosen, *within)
        assert code == 2, output
        assert output.splitlines()[-1].startswith("loop: ")
        assert "Traceback" not in output
        disk.release()
        code, output = run(chosen, *within)
        assert code == 0, output
        shutil.copy(disk.seen / "archive.sqlite", tmp_path / "after.sqlite")
    assert dump(settings(tmp_path / "after.sqlite", FEW)) == alone
