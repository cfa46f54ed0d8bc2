"""`python -m audit scaling_fit runs.csv`: curves of loss against scale, with intervals, checks and a report."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from audit.calibrate import CALIBRATION, CalibrationStatus, calibration_row, calibration_status, read_calibration
from audit.evidence import printable
from audit.finding import Finding, name_slug
from audit.manifest import manifest
from audit.report import ResultPaths, lasting_name, write_report
from audit.scaling_law import curves as curve_report
from audit.scaling_law.curves import Curve, CurveSettings, fit_curves
from audit.scaling_law.runs_table import read_losses
from audit.statistics.simulation_scaling import SCALING_CHECKS
from audit.wording import plural
from replication.configure import compose
from replication.provenance import ROOT
from replication.settings import InputError, require, typed

AUDIT = "scaling_fit"


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Where two curves are compared; None: at the largest that both arms have."""

    parameters: float | None
    tokens: float | None

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            require(value is None or value > 0, f"at.{name}: must be positive, got {value}")


@dataclass(frozen=True, kw_only=True)
class ScalingFitSettings:
    """conf/scaling_fit.yaml, where every setting is explained."""

    data: str | None
    at: Sizes
    audit: CurveSettings
    paths: ResultPaths


def run_scaling_fit(overrides: Sequence[str]) -> None:
    """Fit every arm of a table, print the parameters, and write the report. The argument without `=` is the table."""
    started = datetime.now(UTC)
    files = [text for text in overrides if Path(text).is_file() or "=" not in text]
    require(len(files) <= 1, f"scaling_fit takes one file, got {', '.join(files)}")
    resolved = compose(AUDIT, [text for text in overrides if text not in files])
    resolved |= {"data": files[0]} if files else {}
    settings = typed(ScalingFitSettings, resolved, "")
    if settings.data is None:
        raise InputError("data: name a CSV file: python -m audit scaling_fit runs.csv")
    path = Path(settings.data)
    curves = fit_curves(read_losses(path), settings.audit, str(path))
    stored = read_calibration(CALIBRATION)
    methods = curve_report.methods_in_use(curves)
    status = {(name, n): calibration_status(stored, name, n, SCALING_CHECKS) for name, n in methods}
    withheld = frozenset(key for key, found in status.items() if found.failures)
    findings = curve_report.findings(curves, name_slug(path.stem), vars(settings.at), settings.audit, withheld)
    report = write_report(
        Path(settings.paths.results) / AUDIT / f"{started:%Y%m%d-%H%M%S}-{started.microsecond:06d}",
        audit=AUDIT,
        findings=findings,
        tables=curve_report.tables(curves, settings.audit, withheld)
        | {"calibration": pd.DataFrame([calibration_row(*entry) for entry in status.items()])},
        figures={"curves": curve_report.draw(curves)},
        manifest=_manifest(resolved, settings, path, started),
        context={"page": _page(path, curves, findings, status, settings, started)},
    )
    print(curve_report.parameter_lines(curves, settings.audit, withheld))
    print(*(finding.answer for finding in findings), *curve_report.warnings(curves), sep="\n")
    print(f"report: {lasting_name(report)}")


def _page(
    path: Path,
    curves: Sequence[Curve],
    findings: Sequence[Finding],
    status: dict[tuple[str, int], CalibrationStatus],
    settings: ScalingFitSettings,
    started: datetime,
) -> dict[str, Any]:
    runs = sum(curve.draws.fit.n for curve in curves)
    return {
        "byline": f"{printable(path.name)}: {plural(runs, 'run')}, {plural(len(curves), 'arm')}. "
        f"{started:%Y-%m-%d %H:%M} UTC.",
        "answers": [finding.answer for finding in findings],
        "warnings": curve_report.warnings(curves),
        "methods": {finding.details["kind"]: finding.method for finding in findings},
        "level_percent": f"{100 * settings.audit.level:g}%",
        "uncalibrated": [f"{name} at n = {n}" for (name, n), found in status.items() if found.status != "passed"],
    }


def _manifest(resolved: dict[str, Any], settings: ScalingFitSettings, path: Path, started: datetime) -> dict[str, Any]:
    inputs = {"runs": path} | ({"calibration": CALIBRATION} if CALIBRATION.exists() else {})
    return manifest(
        config=resolved,
        plan=settings.audit.plan,
        registered_plan=settings.audit.registered_plan,
        command=["python", "-m", "audit", *sys.argv[1:]],
        seeds=[settings.audit.random_seed],
        inputs=inputs,
        project=ROOT,
        started=started,
        finished=datetime.now(UTC),
    )
