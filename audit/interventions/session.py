"""The experiments on the loop for a session: read what is kept, or run all of it and keep that."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from audit.interventions.plan import InterventionSettings
from audit.interventions.reference import Kept, read_interventions, write_interventions
from audit.interventions.run import run_interventions
from audit.manifest import manifest
from replication.configure import configure
from replication.provenance import ROOT


def open_interventions(
    settings: InterventionSettings, *, redo: bool, results: str, config: Mapping[str, Any]
) -> Kept | None:
    """The kept results, None where there are none; with `redo`, run anew or gone on with, and kept.

    Args:
        results: folder of archives, ledger and cache.
        config: resolved configuration of the session, for the manifest.

    Raises:
        InputError: a setting or file is wrong, or a folder cannot be written; what was measured stays.
    """
    folder = Path(settings.reference)
    if redo:
        started = datetime.now(UTC)
        bench = configure([f"paths.results='{results}'"]).bench
        measured = run_interventions(settings, bench)
        made = manifest(
            config=config,
            plan=settings.plan,
            registered_plan=settings.registered_plan,
            command=["python", "-m", "audit", *sys.argv[1:]],
            seeds=list(range(settings.seeds)),
            inputs={},
            project=ROOT,
            started=started,
            finished=datetime.now(UTC),
        )
        write_interventions(folder, measured, made)
    return read_interventions(folder)
