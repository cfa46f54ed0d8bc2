"""Faults of clocks and of several machines on one results folder, with locks that work and without."""

from __future__ import annotations

import dataclasses
import errno
import json
import random
import time
from collections.abc import Iterator
from pathlib import Path

from tests.durability.injections import DAY, Clock, NoLocks, OtherMachine
from tests.durability.outcome import comparable, differences, left_behind
from tests.durability.shop import Injection, Session, no_orphans
from tests.durability.trials import DONE, KILLED, Bench, Row

CLOCKS = {  # seconds off at first, and from a reading of the clock on
    "a day back from the start": Clock(-DAY, -DAY, 0),
    "a day back in the middle": Clock(0.0, -DAY, 12),
    "a year on in the middle": Clock(0.0, 365 * DAY, 12),
    "a year on, then a day back": Clock(365 * DAY, -DAY, 12),
    "before 1970": Clock(-60 * 365 * DAY, -60 * 365 * DAY, 0),
}
LOCKS: dict[str, NoLocks | None] = {
    "with locks": None,
    "locks that do nothing": NoLocks(None),
    "no locks (ENOLCK)": NoLocks(errno.ENOLCK),
    "no locks (ENOSYS)": NoLocks(errno.ENOSYS),
}


def clocks(bench: Bench, kinds: dict[str, Clock]) -> Iterator[Row]:
    """A clock that is wrong or jumps: a session, and a second one on the same folder with the right time."""
    for name, clock in kinds.items():
        case = bench.case(name)
        row = bench.hurt(case, f"clock: {name}", clock, allowed=[])
        latest = case / "results" / "replicate" / "latest"
        began = json.loads((latest / "manifest.json").read_text())["started"]
        other = differences(comparable(case / "results"), bench.expected)
        first = latest.resolve()
        row = bench.go_on(case, dataclasses.replace(row, last_line=f"report dated {began}"))
        if other or latest.resolve() == first:
            row = dataclasses.replace(
                row, problem=f"other results: {other}" if other else "latest is not the last report"
            )
        yield row


def two_machines(bench: Bench, name: str, locks: NoLocks | None) -> Row:
    """Two machines on one folder, started together; both end, and every run is there once and whole."""
    case = bench.case(f"two {name}")
    began = time.monotonic()
    with no_orphans():
        sessions = [bench.shop.start(case, *_machine(host, locks)) for host in ("left", "right")]
        codes = [session.wait(300) for session in sessions]
    return _judged(bench, case, f"two machines, {name}", time.monotonic() - began, sessions, codes, [DONE, DONE])


def one_of_two_dies(bench: Bench, name: str, locks: NoLocks | None, draw: random.Random) -> Row:
    """Two machines on one folder; one is switched off while it measures, the other takes its runs over."""
    case = bench.case(f"one dies {name}")
    began, later = time.monotonic(), draw.uniform(0, 1)
    with no_orphans():
        dies, stays = (bench.shop.start(case, *_machine(host, locks)) for host in ("left", "right"))
        if dies.until(lambda: dies.stage().startswith("training")):
            time.sleep(later)
            dies.kill()
        codes = [dies.wait(300), stays.wait(300)]
    fault = f"one of two machines dies, {name}"
    return _judged(bench, case, fault, time.monotonic() - began, [dies, stays], codes, [KILLED, DONE])


def _machine(host: str, locks: NoLocks | None) -> tuple[Injection, ...]:
    return (OtherMachine(host),) if locks is None else (OtherMachine(host), locks)


def _judged(
    bench: Bench, case: Path, fault: str, seconds: float, sessions: list[Session], codes: list[int], expected: list[int]
) -> Row:
    results = case / "results"
    problem = "" if codes in (expected, [DONE, DONE]) else f"exit codes {codes}: {[s.last_line() for s in sessions]}"
    if any("Traceback" in session.output() for session in sessions):
        problem = f"traceback: {[session.last_line() for session in sessions]}"
    aside = list((results / "ledger" / "torn").glob("*"))
    if not problem:
        other = differences(comparable(results), bench.expected)
        problem = f"other results: {', '.join(other)}" if other else ""
    row = Row(
        case=case.name,
        fault=fault,
        moment=round(seconds, 2),
        doing="both at once",
        last_line=sessions[-1].last_line()[:160],
        exit_code=codes[0],
        left=left_behind(results),
        continued="",
        problem=problem or (f"{len(aside)} runs were set aside" if aside else ""),
    )
    return bench.go_on(case, row)
