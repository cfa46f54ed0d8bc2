"""`python -m loop [overrides]`: go on with the search of conf/discover.yaml, without a report."""

from __future__ import annotations

from collections.abc import Sequence

from replication.configure import main


def run(overrides: Sequence[str]) -> None:
    """Search, and say what there is."""
    from loop.discover import configure, search

    found = search(configure(overrides))
    failed = sum(experiment.status != "ok" for experiment in found.experiments)
    print(f"{len(found.experiments)} experiments, {failed} of them without a score. {found.stopped}".strip())


if __name__ == "__main__":
    main("loop", run)
