"""Hurt a session in every way that a night may bring, and see that the same command comes to the same findings.

    python tests/durability/faults.py --kills 50 --seed 0 --out FOLDER

writes FOLDER/faults.csv, a row a fault; it ends with exit code 1 where one was not survived.
`--only kills` (or changes, signals, workers, output, disks, files, clocks, machines; several may be named) does a part.
FOLDER must be new. Everything takes an hour on two cores; `--changes` 0 leaves out the longest part.
"""

from __future__ import annotations

import argparse
import dataclasses
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # when called as a file

from tests.durability.disks import disks_work
from tests.durability.files import (
    HARMS,
    KEPT,
    STRANGE,
    filled_at,
    full_disks,
    harmed_checkpoints,
    harmed_files,
    read_only_at,
    read_only_from_the_start,
    strange_folders,
)
from tests.durability.injections import BROKEN, FULL, READ_ONLY
from tests.durability.machines import CLOCKS, LOCKS, clocks, one_of_two_dies, two_machines
from tests.durability.processes import STAGES, changes, closed_output, kills, signalled, worker_kills
from tests.durability.trials import Bench, Row

ERRORS = {"disk full": FULL, "disk read-only": READ_ONLY, "disk broken": BROKEN}
WITH_JOBS = ("certificates", "probing", "training", "training, checkpoint kept")


def disks(bench: Bench) -> Iterator[Row]:
    """Disks that are full or read-only, where the machine lets us make such."""
    if not disks_work(bench.empty_case("probe") / "disk"):
        print("no disks of our own here: left out")
        return
    yield from full_disks(bench, [0.02, *(share / 10 for share in range(1, 10)), 0.98])
    yield read_only_from_the_start(bench)
    for stage in STAGES:
        yield filled_at(bench, stage)
        yield read_only_at(bench, stage)


def files(bench: Bench) -> Iterator[Row]:
    """Every kind of damage to every kind of file."""
    yield from harmed_files(bench, KEPT)
    yield from harmed_checkpoints(bench, HARMS)
    yield from strange_folders(bench, STRANGE)


def machines(bench: Bench, draw: random.Random) -> Iterator[Row]:
    """Two machines on one folder."""
    for name, locks in LOCKS.items():
        yield two_machines(bench, name, locks)
        yield one_of_two_dies(bench, name, locks, draw)


def main() -> int:
    """Run what the command line asks for; 1 where a fault was not survived."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50, help="random moments of kill -9")
    parser.add_argument("--changes", type=int, default=20, help="changes of the folder at which it is killed or fails")
    parser.add_argument("--steps", type=int, default=200, help="training steps of a run")
    parser.add_argument("--seed", type=int, default=0, help="of everything drawn")
    parser.add_argument("--out", type=Path, required=True, help="a new folder")
    parser.add_argument("--only", nargs="+", default=[], metavar="KIND")
    options = parser.parse_args()
    draw = random.Random(options.seed)
    kinds: dict[str, Callable[[Bench], Iterator[Row]]] = {
        "kills": lambda bench: kills(bench, draw, options.kills),
        "changes": lambda bench: changes(bench, draw, options.changes, ERRORS),
        "signals": lambda bench: signalled(bench, STAGES),
        "workers": lambda bench: worker_kills(bench, WITH_JOBS),
        "output": closed_output,
        "disks": disks,
        "files": files,
        "clocks": lambda bench: clocks(bench, CLOCKS),
        "machines": lambda bench: machines(bench, draw),
    }
    if unknown := set(options.only) - set(kinds):
        parser.error(f"--only: unknown {', '.join(sorted(unknown))}; known: {', '.join(kinds)}")
    options.out.mkdir(parents=True)
    bench = Bench.open(options.out.resolve() / "shop", options.steps, prepared=False)
    print(f"undisturbed: {bench.seconds:.1f} s, {len(bench.expected)} files to be the same", flush=True)
    rows = []
    for kind in options.only or kinds:
        for row in kinds[kind](bench):
            rows.append(dataclasses.asdict(row))
            pd.DataFrame(rows).to_csv(options.out / "faults.csv", index=False)
            mark = f"PROBLEM: {row.problem}" if row.problem else row.continued
            print(f"{row.fault:<48} {row.moment:>6.2f} s  {row.doing:<26} {mark}", flush=True)
    problems = Counter(bool(row["problem"]) for row in rows)
    print(f"{len(rows)} faults, {problems[True]} not survived: {options.out / 'faults.csv'}")
    return int(problems[True] > 0)


if __name__ == "__main__":
    sys.exit(main())
