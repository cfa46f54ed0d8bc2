"""What a session leaves, and which of it must not depend on what happened on the way."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pandas as pd

from replication.ledger import Ledger

# A run's own times and what they were measured with; all else in a record is decided by its specification.
RECORD_TIMES = ("started", "ended", "wall_seconds", "cpu_seconds", "tokens_per_second", "peak_memory_bytes")
MANIFEST_TIMES = ("started", "finished")


def comparable(results: Path) -> dict[str, bytes]:
    """Name -> bytes of what a session of this shop leaves, but for times.

    The findings, tables, figures and manifest that `latest` points at, and each run's curve, source and record. Left
    out: RECORD_TIMES in records and in tables/runs.csv, MANIFEST_TIMES, and the page, which is drawn from these.
    """
    latest = results / "replicate" / "latest"
    found = {"findings.json": (latest / "findings.json").read_bytes()}
    for path in sorted([*latest.glob("tables/*.csv"), *latest.glob("figures/*.svg")]):
        found[str(path.relative_to(latest))] = path.read_bytes()
    runs = pd.read_csv(latest / "tables" / "runs.csv", dtype=str)
    found["tables/runs.csv"] = runs.drop(columns=[name for name in RECORD_TIMES if name in runs]).to_csv().encode()
    manifest = json.loads((latest / "manifest.json").read_text())
    found["manifest.json"] = json.dumps({k: v for k, v in manifest.items() if k not in MANIFEST_TIMES}).encode()
    for folder in sorted((results / "ledger" / "runs").iterdir()):
        record = whole_record(results, folder.name)
        found[f"{folder.name}/record"] = repr({k: v for k, v in record.items() if k not in RECORD_TIMES}).encode()
        for name in ("curve.npy", "candidate.py"):
            found[f"{folder.name}/{name}"] = (folder / name).read_bytes()
    assert (latest / "report.html").stat().st_size > 1000
    return found


def whole_record(results: Path, run_id: str) -> dict[str, Any]:
    """The fields of a run in the ledger, which must be whole."""
    record = Ledger(results / "ledger").find(run_id)
    assert record is not None, f"{run_id} is not whole"
    return dataclasses.asdict(record)


def differences(found: dict[str, bytes], expected: dict[str, bytes]) -> list[str]:
    """Names of what is missing, new or other than expected."""
    return sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))


def left_behind(results: Path) -> str:
    """What a session that was cut off left, in words: finished runs, checkpoints, and parts of files."""
    ledger = results / "ledger"
    counts = {
        "certificates": len(list((ledger / "certificates").glob("[!.]*"))),
        "runs": len(list((ledger / "runs").glob("*"))),
        "checkpoints": len(list((ledger / "work").glob("*/checkpoint"))),
        "parts": len([path for path in results.rglob("*") if _is_part(path)]),
        "set aside": len(list((ledger / "torn").glob("*"))),
        "reports": len(list((results / "replicate").glob("2*"))),
    }
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count) or "nothing"


def _is_part(path: Path) -> bool:
    hidden = path.name.startswith(".") and path.parent.name != "tensorboard"
    return hidden or path.suffix in (".part", ".tmp") or (path.parent.name == "work" and "." in path.name)
