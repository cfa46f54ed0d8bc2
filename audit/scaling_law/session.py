"""`python -m audit audit_scaling`: the laws of discovery in compute, on published data and on archives."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from audit.calibrate import CALIBRATION, calibration_row, calibration_status, read_calibration
from audit.finding import Finding, Withheld
from audit.interventions import page as interventions_page
from audit.interventions.plan import InterventionSettings
from audit.interventions.reference import TABLES
from audit.interventions.session import open_interventions
from audit.manifest import manifest
from audit.report import ResultPaths, lasting_name, write_report
from audit.scaling_law import page as law_page
from audit.scaling_law.advantages import Calibration, advantage_section
from audit.scaling_law.archives import archive_course, archive_name
from audit.scaling_law.course import Course
from audit.scaling_law.law_findings import law_findings
from audit.scaling_law.laws import methods_in_use
from audit.scaling_law.outcome_findings import outcome_findings
from audit.scaling_law.plan import ScalingLawSettings
from audit.scaling_law.published import figure_course, tree_course
from audit.scaling_law.study import Study, study
from audit.section import Section
from audit.sheets import SheetTable
from audit.sources.asi_arch_tables import read_sheets
from audit.wording import plural
from replication.configure import compose
from replication.provenance import ROOT
from replication.published import ROOT_VARIABLE, PublishedSettings, fetch_originals, published_root
from replication.settings import require, typed

AUDIT = "audit_scaling"


@dataclass(frozen=True, kw_only=True)
class ScalingSettings:
    """conf/audit_scaling.yaml, where every setting is explained."""

    published: PublishedSettings
    audit: ScalingLawSettings
    files: dict[str, str]
    archive: str | None
    reference: str
    latest: str
    scales: str
    interventions: InterventionSettings
    redo: bool
    paths: ResultPaths


def run_audit_scaling(overrides: Sequence[str]) -> None:
    """Read every source there is, fit the laws, and write the report."""
    started = datetime.now(UTC)
    resolved = compose(AUDIT, overrides)
    settings = typed(ScalingSettings, resolved, "")
    cfg = settings.audit
    courses, absent = read_courses(settings)
    stored = read_calibration(CALIBRATION)
    calibration = {(name, n): calibration_status(stored, name, n) for name, n in methods_in_use(courses, cfg)}
    withheld: Withheld = frozenset(key for key, status in calibration.items() if status.failures)
    studies = [study(course, cfg, withheld) for course in courses]
    sections, theirs = read_sections(settings, resolved, stored)
    findings = audit(studies, cfg)
    tables, figures = law_page.tables(studies, cfg), law_page.draw(studies, cfg)
    for section in sections:
        findings += section.findings
        tables |= section.tables
        figures |= section.figures
    tables["calibration"] = pd.DataFrame([calibration_row(*entry) for entry in (calibration | dict(theirs)).items()])
    report = write_report(
        Path(settings.paths.results) / AUDIT / f"{started:%Y%m%d-%H%M%S}-{started.microsecond:06d}",
        audit=AUDIT,
        findings=findings,
        tables=tables,
        figures=figures,
        manifest=manifest(
            config=resolved,
            plan=cfg.plan,
            registered_plan=cfg.registered_plan,
            command=["python", "-m", "audit", *sys.argv[1:]],
            seeds=[cfg.random_seed],
            inputs=_inputs(settings),
            project=ROOT,
            started=started,
            finished=datetime.now(UTC),
        ),
        context={
            "page": law_page.page(studies, findings, sections, absent, cfg) | {"byline": _byline(studies, started)}
        },
    )
    print(*(section.verdict for section in sections if section.verdict), sep="\n", end="\n" if sections else "")
    print(law_page.verdict(studies, cfg), *(law_page.summary(one, cfg) for one in studies), *absent, sep="\n")
    print(f"report: {lasting_name(report)}")


def audit(studies: Sequence[Study], cfg: ScalingLawSettings) -> list[Finding]:
    """Every finding, course by course."""
    return [finding for one in studies for finding in (*law_findings(one, cfg), *outcome_findings(one, cfg))]


def read_sections(
    settings: ScalingSettings, resolved: Mapping[str, Any], stored: pd.DataFrame
) -> tuple[list[Section], Calibration]:
    """Parts of the report that other audits bring, and the calibration of their intervals."""
    runs, cfg = Path(settings.scales), settings.audit
    plan, results = settings.interventions, settings.paths.results
    kept = open_interventions(plan, redo=settings.redo, results=results, config=resolved)
    made: list[tuple[Section, Calibration]] = [interventions_page.section(kept, plan, stored)]
    if runs.exists():
        made.append(advantage_section(runs, "reference", cfg.extrapolation, cfg.random_seed, stored))
    return [section for section, _ in made], {key: status for _, found in made for key, status in found.items()}


def read_courses(settings: ScalingSettings) -> tuple[list[Course], list[str]]:
    """The courses of every source there is, the published first, and the sources that are not there, in words."""
    courses, absent = _published_courses(settings)
    batches = settings.audit.batches.archive
    ours = {
        "reference": (settings.reference, "This project's reference search"),
        "discover": (settings.latest, "Last search here"),
    }
    for name, (file, title) in ours.items():
        path = Path(file)
        if path.exists():
            courses.append(archive_course(path, name, title, batches))
        elif name == "reference":
            absent.append(f"The reference search is not there ({file}).")
    if settings.archive is not None:
        path = Path(settings.archive)
        courses.append(archive_course(path, archive_name(path), f"Archive {path.stem}", batches))
    require(bool(courses), "nothing to judge: no published data and no archive; set published.root or archive=FILE")
    return courses, absent


def _published_courses(settings: ScalingSettings) -> tuple[list[Course], list[str]]:
    fetch_originals(settings.published)
    root, remedy = published_root(settings.published), f"set published.root or {ROOT_VARIABLE} to their folder"
    if not root.is_dir():
        return [], [f"The published data are not here, so only archives are judged; {remedy}."]
    sheets, courses, absent = SheetTable(read_sheets(settings.published, settings.files)), [], []
    if {"tree", "gallery"} <= set(sheets):
        courses.append(tree_course(sheets, settings.audit.batches.published))
    else:
        absent.append(f"The published tree and gallery are not both there; {remedy}.")
    if "figure1" in sheets:
        courses.append(figure_course(sheets["figure1"]))
    else:
        absent.append(f"The table of figure 1 is not there; {remedy}.")
    return courses, absent


def _byline(studies: Sequence[Study], started: datetime) -> str:
    measured = sum(one.course.measured for one in studies)
    return f"{plural(len(studies), 'source')}, {measured} with measured compute. {started:%Y-%m-%d %H:%M} UTC."


def _inputs(settings: ScalingSettings) -> dict[str, Path]:
    root = published_root(settings.published)
    inputs = {f"published {name}": root / file for name, file in settings.files.items()}
    inputs |= {"published tree": root / settings.published.tree.file}
    inputs |= {"published gallery": root / settings.published.gallery.file, "calibration": CALIBRATION}
    inputs |= {"reference search": Path(settings.reference), "latest search": Path(settings.latest)}
    kept = Path(settings.interventions.reference)
    inputs |= {f"interventions, {name}": kept / f"{name}.csv" for name in TABLES} | {"scales": Path(settings.scales)}
    inputs |= {"runs at several scales": Path(settings.scales)}
    inputs |= {} if settings.archive is None else {"archive": Path(settings.archive)}
    return {what: path for what, path in inputs.items() if path.exists()}
