"""`python -m replication [overrides]`: measure what conf/replicate.yaml plans, into the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from replication.configure import configure, main, open_bench
from replication.execute import execute


def run(overrides: Sequence[str]) -> None:
    """Compose, plan, execute."""
    configuration = configure(overrides)
    plan, ledger, bench, _ = open_bench(configuration)
    execute(plan, ledger, bench, Path(configuration.bench.paths.results) / "tensorboard")


if __name__ == "__main__":
    main("replication", run)
