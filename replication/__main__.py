"""`python -m replication [overrides]`: measure what conf/replicate.yaml plans, into the ledger.

`python -m replication lift [overrides]` tells which parts of the published programs are lifted; with `time=true`, how
much faster a training step is then (replication/lifts.py).
`python -m replication bench --out FOLDER` times operators and training steps instead (replication/bench/).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from replication.configure import configure, main, open_bench


def run(overrides: Sequence[str]) -> None:
    """Compose, plan, execute; or the table of lifted parts, or the bench."""
    if overrides[:1] == ["lift"]:
        from replication.lifts import run_lift

        run_lift(overrides[1:])
        return
    if overrides[:1] == ["bench"]:
        from replication.bench.command import run_command

        run_command(overrides[1:])
        return
    from replication.execute import execute

    configuration = configure(overrides)
    plan, ledger, bench, _ = open_bench(configuration)
    execute(plan, ledger, bench, Path(configuration.bench.paths.results) / "tensorboard")


if __name__ == "__main__":
    main("replication", run)
