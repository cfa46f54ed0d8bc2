"""Faults of processes: `kill -9` at any moment, signals, and the end of a session's own processes."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.durability.injections import ClosedOutput, CountChanges, FailFromChange, KillAtChange
from tests.durability.shop import Session
from tests.durability.trials import KILLED, STOPPED, WRONG_INPUT, Bench, Row

CHAIN = 4  # a session is killed at most this often before it may end
READER_GONE = 128 + signal.SIGPIPE
FEWEST_CHANGES = 40  # that a session makes to its folder, even if there is nothing left to measure


def kills(bench: Bench, draw: random.Random, count: int) -> Iterator[Row]:
    """`kill -9` of the session at `count` moments drawn over an undisturbed one's time.

    One that was killed is continued, and perhaps killed again, until one ends or CHAIN is reached.
    """
    done, chain = 0, 0
    while done < count:
        case = bench.case(f"kills-{chain:03}")
        rows: list[Row] = []
        chain += 1
        while done < count and len(rows) < CHAIN:
            moment = draw.uniform(0, bench.seconds)
            row = bench.hurt(case, "kill -9", when=_after(moment), act=Session.kill, allowed=[KILLED])
            if row.exit_code == 0:  # quicker than its moment
                break
            rows.append(row)
            done += 1
        yield from rows[:-1]
        if rows:
            yield bench.go_on(case, rows[-1])


def kill_chain(bench: Bench, draw: random.Random, count: int) -> Iterator[Row]:
    """A session killed `count` times, in turn at a random time and at a random change, each time continued."""
    case = bench.case("chain")
    row = None
    for number in range(count):
        if number % 2:
            fault = KillAtChange(case / "results", draw.randint(1, FEWEST_CHANGES))
            row = bench.hurt(case, f"kill -9 at change {fault.number}", fault, allowed=[KILLED])
        else:
            moment = draw.uniform(0, bench.seconds / 2)
            row = bench.hurt(case, "kill -9", when=_after(moment), act=Session.kill, allowed=[KILLED])
        yield row
    assert row is not None
    yield bench.go_on(case, row)


def _after(seconds: float) -> Callable[[Session], bool]:
    deadline = time.monotonic() + seconds
    return lambda session: time.monotonic() >= deadline


def changes(bench: Bench, draw: random.Random, count: int, codes: dict[str, int]) -> Iterator[Row]:
    """The session meets its end at `count` of the moments at which it changes its folder, once for each kind of end.

    It is killed there, or from there on every change fails as on a disk that is full, read-only or broken.
    """
    case = bench.case("changes")
    total = count_changes(bench, case)
    picked = sorted(draw.sample(range(1, total + 1), min(count, total)))
    for number in picked:
        case = bench.case(f"change-{number:03}-kill")
        row = bench.hurt(case, f"kill -9 at change {number}", KillAtChange(case / "results", number), allowed=[KILLED])
        yield bench.go_on(case, row)
        for name, code in codes.items():
            case = bench.case(f"change-{number:03}-{name}")
            fault = FailFromChange(case / "results", number, code)
            row = bench.hurt(case, f"{name} from change {number} on", fault, allowed=[WRONG_INPUT])
            yield bench.go_on(case, row)


def count_changes(bench: Bench, case: Path) -> int:
    """How many changes a session makes to its folder."""
    into = case / "changes"
    bench.shop.run(case, CountChanges(case / "results", into))
    return int(into.read_text())


def _impatient(session: Session) -> None:
    for _ in range(3):
        if not session.ended():
            session.kill(signal.SIGINT)
            time.sleep(0.05)


SIGNALS: dict[str, Callable[[Session], object]] = {
    "SIGTERM": lambda session: session.kill(signal.SIGTERM),
    "SIGINT to the session": lambda session: session.kill(signal.SIGINT),
    "SIGINT to the group": lambda session: os.killpg(session.pid, signal.SIGINT),
    "SIGINT three times": _impatient,
    "SIGHUP": lambda session: session.kill(signal.SIGHUP),
}
STAGES = ("certificates", "probing", "training", "training, checkpoint kept", "storing", "verdicts")


def at(stage: str) -> Callable[[Session], bool]:
    """When a session does that."""
    return lambda session: session.stage() == stage


def signalled(bench: Bench, stages: tuple[str, ...]) -> Iterator[Row]:
    """Every signal at every stage; a stage that is over too soon is left out by chance, not by rule."""
    for name, act in SIGNALS.items():
        for stage in stages:
            yield signalled_once(bench, name, act, stage)


def signalled_once(bench: Bench, name: str, act: Callable[[Session], object], stage: str) -> Row:
    """One signal at one stage."""
    case = bench.case(f"{name} {stage}")
    allowed = [STOPPED, KILLED] if name.endswith("times") else [STOPPED]
    return bench.go_on(case, bench.hurt(case, f"{name} while {stage}", when=at(stage), act=act, allowed=allowed))


def kill_worker(session: Session) -> None:
    """`kill -9` of the session's nearest process, the warm worker."""
    for pid in session.workers()[:1]:
        os.kill(pid, signal.SIGKILL)


def kill_job(session: Session) -> None:
    """`kill -9` of the session's latest process, one that runs a candidate or trains."""
    for pid in session.workers()[1:][-1:]:
        os.kill(pid, signal.SIGKILL)


def worker_kills(bench: Bench, stages: tuple[str, ...]) -> Iterator[Row]:
    """The warm worker, and a process that it has forked, killed at every stage that has them."""
    for name, act in {"warm worker": kill_worker, "job": kill_job}.items():
        for stage in stages:
            case = bench.case(f"{name} {stage}")
            row = bench.hurt(
                case,
                f"kill -9 of the {name} while {stage}",
                when=lambda session, stage=stage: session.stage() == stage and len(session.workers()) > 1,  # type: ignore[misc]
                act=act,
                allowed=[WRONG_INPUT],
            )
            yield bench.go_on(case, row)


def closed_output(bench: Bench) -> Iterator[Row]:
    """The reader of standard output goes away, as behind `| head`."""
    for both in (False, True):
        name = "stdout and stderr closed" if both else "stdout closed"
        case = bench.case(name)
        row = bench.hurt(case, name, ClosedOutput(both), allowed=[READER_GONE])
        yield bench.go_on(case, row)
