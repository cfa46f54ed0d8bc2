"""`python -m replication bench`: the bench without Hydra, for machines that have little more than PyTorch."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from replication.bench.run import run_bench
from replication.bench.settings import read_settings
from replication.bench.table import write_files


def run_command(arguments: Sequence[str]) -> None:
    """Measure, and write bench.csv and bench.json into a folder; argparse ends with 2 for a wrong argument."""
    parser = argparse.ArgumentParser(
        prog="python -m replication bench", description="Time operators and training steps; defaults: conf/bench.yaml."
    )
    parser.add_argument("--out", required=True, type=Path, help="folder for bench.csv and bench.json")
    parser.add_argument("--dry-run", action="store_true", help="every row at tiny sizes, no times kept")
    parser.add_argument("--published", help="folder of the published programs")
    parser.add_argument("--minutes", type=float, help="time for all rows")
    chosen = parser.parse_args(arguments)
    given = {"root": chosen.published, "minutes": chosen.minutes}
    settings = read_settings(**{name: value for name, value in given.items() if value is not None})
    bench = run_bench(settings, dry=chosen.dry_run, tell=lambda line: print(line, flush=True))
    write_files(chosen.out, bench.frame, bench.about)
    counts = bench.frame["status"].value_counts().to_dict()
    print(f"{bench.about['machine']}: {counts}; {chosen.out / 'bench.csv'}")
