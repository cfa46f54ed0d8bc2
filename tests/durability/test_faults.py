"""Whatever happens on the way, the same command comes to the same findings. A sample of tests/durability/faults.py."""

from __future__ import annotations

import dataclasses
import random
import signal
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from tests.durability.disks import disks_work, small_disk
from tests.durability.files import AMPLE, HARMS, KEPT, STRANGE, fill
from tests.durability.injections import ClosedOutput
from tests.durability.machines import CLOCKS, LOCKS, clocks, one_of_two_dies
from tests.durability.processes import at, kill_chain, kill_job, kill_worker
from tests.durability.shop import Session
from tests.durability.trials import DONE, KILLED, STOPPED, WRONG_INPUT, Bench, Row

pytestmark = pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="sessions run on Linux")
TRAINING = "training, checkpoint kept"


def check(rows: Iterable[Row]) -> None:
    problems = [(row.fault, row.doing, row.problem) for row in rows if row.problem]
    assert not problems


def test_kill_9_at_random_moments_changes_no_finding(bench: Bench) -> None:
    rows = list(kill_chain(dataclasses.replace(bench, prepared=False), random.Random(5), 5))
    check(rows)
    assert len([row for row in rows[:-1] if row.exit_code == KILLED]) >= 4


def test_a_session_that_is_interrupted_in_one_way_after_another_ends_with_the_same_findings(bench: Bench) -> None:
    case = bench.case("interrupted")
    hang_up = bench.hurt(
        case, "SIGHUP", when=at(TRAINING), act=lambda session: session.kill(signal.SIGHUP), allowed=[STOPPED]
    )
    assert hang_up.exit_code == STOPPED
    for checkpoint in (case / "results" / "ledger" / "work").glob("*/checkpoint"):
        HARMS["flipped bit"](checkpoint)
    no_reader = bench.hurt(case, "| head", ClosedOutput(both=False), allowed=[128 + signal.SIGPIPE])
    assert no_reader.exit_code == 128 + signal.SIGPIPE
    worker = bench.hurt(case, "kill -9 of the warm worker", when=at("probing"), act=kill_worker, allowed=[WRONG_INPUT])
    job = bench.hurt(case, "kill -9 of a job", when=at("training"), act=kill_job, allowed=[WRONG_INPUT])
    check([hang_up, no_reader, worker, bench.go_on(case, job)])


def test_a_disk_that_fills_up_or_becomes_read_only_costs_nothing_once_it_is_well_again(
    bench: Bench, tmp_path: Path
) -> None:
    if not disks_work(tmp_path / "disk"):
        pytest.skip("this machine forbids mounts of one's own")
    case = bench.empty_case("disk")
    with small_disk(case / "results", AMPLE) as disk:
        bench.begin(disk.seen)

        def hurt(fault: str, stage: str, act: Callable[[Session], object]) -> Row:
            row = bench.hurt(
                case, fault, disk.inside, when=at(stage), act=act, allowed=[WRONG_INPUT], results=disk.seen
            )
            assert row.exit_code == WRONG_INPUT
            return row

        full = hurt("full", TRAINING, lambda session: fill(disk))
        (disk.seen / "filler").unlink()
        protected = hurt("read-only", "verdicts", lambda session: disk.protect())
        disk.release()
        check([full, bench.go_on(case, protected, disk.inside, results=disk.seen)])


def test_torn_files_of_every_kind_are_measured_again(bench: Bench) -> None:
    case = bench.finished_case("torn")
    runs = sorted((case / "results" / "ledger" / "runs").iterdir())
    for run, (name, harm) in zip(
        runs,
        {
            "record.json": "truncated",
            "curve.npy": "flipped bit",
            "sha256.json": "zero length",
            "candidate.py": "missing",
        }.items(),
        strict=True,
    ):
        HARMS[harm](run / name)
    for name, harm in {"certificate": "flipped bit", "validation shard": "zeros", "lock": "missing"}.items():
        HARMS[harm](sorted((case / "results").glob(KEPT[name]))[0])
    STRANGE["latest points nowhere"](case / "results")
    check([bench.after(case, "torn files", allowed=[DONE])])
    aside = [path.name.split("-")[0] for path in (case / "results" / "ledger" / "torn").iterdir()]
    assert sorted(aside) == [run.name for run in runs]


def test_a_clock_that_jumps_back_changes_no_finding(bench: Bench) -> None:
    name = "a day back in the middle"
    check(clocks(bench, {name: CLOCKS[name]}))


def test_the_runs_of_a_machine_that_dies_are_taken_over_even_without_locks(bench: Bench) -> None:
    name = "locks that do nothing"
    check([one_of_two_dies(bench, name, LOCKS[name], random.Random(0))])
