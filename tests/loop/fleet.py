"""Several processes on one archive, and what became of every experiment.

    python -m tests.loop.fleet --archive postgresql://USER@HOST/DATABASE --experiments 200 --out FOLDER

runs a tiny search with four processes, then the same with one on SQLite, and prints how many experiments were tried
more than once, lost or doubled, and whether both archives hold the same. It ends with exit code 1 where they do not.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from tests.loop.searches import dump, overrides, run, start, write_texts

WORKERS = ("w1", "w2", "w3", "w4")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Of a search by several processes."""

    codes: list[int]
    outputs: list[str]
    seconds: float
    lost: int  # numbers that have no experiment
    doubled: int  # experiments beyond one a number
    tries: int  # claims in all

    @property
    def well(self) -> bool:
        """Whether every number has one experiment and every process came to its end."""
        return not any(self.codes) and self.lost == self.doubled == 0


def work_together(settings: Sequence[str], url: str, experiments: int, seconds: float) -> Outcome:
    """Four processes, an experiment at a time each, on the archive `url`, until all are done or time is over."""
    began = time.monotonic()
    processes = [start([*settings, f"worker={name}"]) for name in WORKERS]
    try:
        with ThreadPoolExecutor(len(WORKERS)) as readers:  # one that nobody reads would stand still
            outputs = list(readers.map(lambda process: process.communicate(timeout=seconds)[0], processes))
    finally:
        for process in processes:
            process.kill()
            process.wait()
    took = time.monotonic() - began
    engine = sa.create_engine(sa.make_url(url).set(drivername="postgresql+psycopg"), poolclass=sa.NullPool)
    with engine.connect() as connection:
        numbers = list(connection.execute(sa.text("SELECT number FROM experiments")).scalars())
        tries = connection.execute(sa.text("SELECT sum(tries) FROM claims")).scalar_one()
        held = connection.execute(sa.text("SELECT count(*) FROM claims WHERE worker IS NOT NULL")).scalar_one()
    assert held == 0
    return Outcome(
        codes=[process.returncode for process in processes],
        outputs=outputs,
        seconds=took,
        lost=len(set(range(experiments)) - set(numbers)),
        doubled=len(numbers) - len(set(numbers)),
        tries=int(tries),
    )


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--archive", required=True)
    parser.add_argument("--experiments", type=int, default=200)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    texts = write_texts(given.out / "texts")
    more = ("parallel=4", "workers=1", f"budget.experiments={given.experiments}")
    together, alone = (
        overrides(texts, given.out / "results", archive, *more)
        for archive in (given.archive, given.out / "alone.sqlite")
    )
    outcome = work_together(together, given.archive, given.experiments, 3600)
    told = f"{outcome.tries} tries, {outcome.lost} lost, {outcome.doubled} doubled, exit codes {outcome.codes}"
    print(f"{given.experiments} experiments by {len(WORKERS)} processes in {outcome.seconds:.0f} s: {told}", flush=True)
    began = time.monotonic()
    code, output = run(alone, seconds=3600)
    same = dump(alone) == dump(together)
    print(f"the same by one process on SQLite, on the same ledger, in {time.monotonic() - began:.0f} s: ", end="")
    print(f"exit code {code}, {'equal' if same else 'not equal'}")
    if not (outcome.well and code == 0 and same):
        print(*outcome.outputs, output, sep="\n", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
