"""`python -m audit report`: one site from the latest run of every session."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from audit.calibrate import CALIBRATION, read_calibration
from audit.finding import canonical_json, findings_document
from audit.manifest import manifest, plan_sha256
from audit.report import ResultPaths, lasting_name, publish
from audit.site.candidates import gallery
from audit.site.folders import FINDINGS, MANIFEST, Run, SessionEntry, read_runs
from audit.site.pages import Site, pages
from audit.statistics.simulation import CHECKS
from audit.wording import plural
from replication.configure import compose
from replication.provenance import ROOT
from replication.settings import require, typed

AUDIT = "report"
PLAN: dict[str, object] = {}  # the site decides nothing


@dataclass(frozen=True, kw_only=True)
class ReportSettings:
    """conf/report.yaml."""

    sessions: tuple[SessionEntry, ...]
    shown_headlines: int
    paths: ResultPaths

    def __post_init__(self) -> None:
        require(self.shown_headlines >= 1, f"shown_headlines: must be at least 1, got {self.shown_headlines}")


def run_report(overrides: Sequence[str]) -> None:
    """Read every session's latest run, and write the site that holds them all."""
    started = datetime.now(UTC)
    resolved = compose("report", overrides)
    settings = typed(ReportSettings, resolved, "")
    results = Path(settings.paths.results)
    runs = read_runs(settings.sessions, results)
    require(bool(runs), f"{results}: no session has been run yet; begin with {settings.sessions[0].command}")
    candidates = gallery(runs.get("discover"), runs.get("replicate"))
    inputs = {f"{name}, {file}": run.folder / file for name, run in runs.items() for file in (FINDINGS, MANIFEST)}
    made = manifest(
        config=resolved,
        plan=PLAN,
        registered_plan=plan_sha256(PLAN),
        command=["python", "-m", "audit", *sys.argv[1:]],
        seeds=[],
        inputs=inputs | ({"calibration": CALIBRATION} if CALIBRATION.exists() else {}),
        project=ROOT,
        started=started,
        finished=datetime.now(UTC),
    )
    site = Site(
        entries=settings.sessions,
        runs=runs,
        candidates=candidates,
        calibration=read_calibration(CALIBRATION),
        calibration_sha256=next((item["sha256"] for item in made["inputs"] if item["what"] == "calibration"), None),
        checks=CHECKS,
        shown_headlines=settings.shown_headlines,
        manifest=made,
    )
    files: dict[str, str | bytes] = {name: data for run in runs.values() for name, data in run.files.items()}
    files |= pages(site)
    files[FINDINGS] = canonical_json(
        findings_document(AUDIT, [finding for run in runs.values() for finding in run.findings])
    )
    files[MANIFEST] = canonical_json(made)
    folder = results / AUDIT / f"{started:%Y%m%d-%H%M%S}-{started.microsecond:06d}"
    publish(folder, files)
    for entry in settings.sessions:
        print(f"{entry.name}: {_said(entry, runs)}")
    print(f"report: {lasting_name(folder / 'index.html')}")


def _said(entry: SessionEntry, runs: Mapping[str, Run]) -> str:
    """Which run of a session stands in the site, in a line."""
    run = runs.get(entry.name)
    if run is None:
        return f"not run: {entry.command}"
    return f"{run.folder.name if run.origin == 'own' else 'reference'}, {plural(len(run.findings), 'finding')}"
