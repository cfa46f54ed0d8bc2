"""The kept results of the experiments on the loop."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from audit.interventions.outcomes import CONFIRMATION_COLUMNS, EXPERIMENT_COLUMNS, check_tables
from audit.interventions.plan import InterventionSettings
from audit.interventions.run import Measured
from audit.kept import read_kept, write_kept
from audit.manifest import plan_sha256

TABLES = ("experiments", "confirmations")
REMEDY = "`nox -s audit_scaling -- redo=true`"


@dataclass(frozen=True, kw_only=True)
class Kept:
    """What was measured, and the manifest of the call that measured it."""

    measured: Measured
    manifest: dict[str, Any]

    def told(self, settings: InterventionSettings) -> tuple[str, ...]:
        """Where the results come from, and what of the plan has changed since; sentences."""
        commit = f"commit {str(self.manifest['commit'])[:12]}" if self.manifest.get("commit") else "an unknown commit"
        dirty = " with uncommitted changes" if self.manifest.get("dirty") else ""
        told = [f"Results are read from {settings.reference}, made at {commit}{dirty}; {REMEDY} makes them again."]
        if self.manifest.get("decision_plan", {}).get("sha256") != plan_sha256(settings.plan):
            told.append("They were made with another plan than this call's: what is said of the arms is of theirs.")
        if self.manifest.get("decision_plan", {}).get("as_registered") is False:
            told.append("The plan they were made with is not the registered one.")
        return tuple(told)


def write_interventions(folder: Path, measured: Measured, manifest: dict[str, Any]) -> None:
    """Keep the results in `folder`. Raises InputError where it cannot be written."""
    write_kept(folder, {name: getattr(measured, name) for name in TABLES}, manifest)


def read_interventions(folder: Path) -> Kept | None:
    """The kept results; None where there are none. Raises InputError: a file is missing, changed or not as it was."""
    kept = read_kept(folder, TABLES, REMEDY)
    if kept is None:
        return None
    files, manifest = kept
    columns = {"experiments": EXPERIMENT_COLUMNS, "confirmations": CONFIRMATION_COLUMNS}
    texts = ("arm", "candidate", "status", "standing", "baseline")
    frames = {
        name: pd.read_csv(
            io.BytesIO(files[name]),
            dtype=dict.fromkeys(set(texts) & set(columns[name]), str),
            keep_default_na=False,
            na_values={column: [""] for column in columns[name] if column not in texts},
        )
        for name in TABLES
    }
    check_tables(frames["experiments"], frames["confirmations"])
    return Kept(measured=Measured(**frames), manifest=manifest)
