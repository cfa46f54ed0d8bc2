"""`python -m audit audit_origins`: published shares, texts labelled again, and a search's archive; then the report."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from audit.calibrate import CALIBRATION, calibration_status, read_calibration
from audit.manifest import manifest
from audit.origins import page as origins_page
from audit.origins.agreement import HAND, read_hand
from audit.origins.archive import FILES, Program, read_search_archive
from audit.origins.audit import AUDIT, OriginEvidence, audit, measure, methods_in_use, summary, without
from audit.origins.model import label_by_model
from audit.origins.plan import OriginSettings
from audit.origins.published import PublishedOrigins, read_published
from audit.origins.rules import RULES, read_rules
from audit.origins.text import RULES as RULED
from audit.origins.text import TextLabels, label_by_rules
from audit.report import ResultPaths, lasting_name, write_report
from audit.sources.asi_arch_tables import read_sheets
from audit.wording import plural
from loop.llm import LLMSettings
from replication.configure import compose
from replication.provenance import ROOT
from replication.published import ROOT_VARIABLE, PublishedSettings, fetch_originals, load_gallery, published_root
from replication.settings import require, typed


@dataclass(frozen=True, kw_only=True)
class Tables:
    """Files of the two published tables."""

    origins: str
    components: str


@dataclass(frozen=True, kw_only=True)
class SessionSettings:
    """conf/audit_origins.yaml."""

    published: PublishedSettings
    llm: LLMSettings
    audit: OriginSettings
    files: Tables
    archive: str
    source: str
    labeller: Literal["rules", "llm"]
    paths: ResultPaths


def run_audit_origins(overrides: Sequence[str]) -> None:
    """Read what there is, label the published texts, judge the shares, and write the report."""
    started = datetime.now(UTC)
    resolved = compose(AUDIT, overrides)
    settings = typed(SessionSettings, resolved, "")
    evidence, note = read_evidence(settings)
    results = measure(evidence, settings.audit)
    stored = read_calibration(CALIBRATION)
    methods = methods_in_use(evidence, results)
    about = origins_page.About(
        byline=f"{_byline(evidence)} {started:%Y-%m-%d %H:%M} UTC.",
        published_note=note,
        labeller=settings.labeller,
        calibration={(name, n): calibration_status(stored, name, n) for name, n in methods},
    )
    results = without(results, about.withheld)
    findings = audit(evidence, results, settings.audit, about.withheld)
    report = write_report(
        Path(settings.paths.results) / AUDIT / f"{started:%Y%m%d-%H%M%S}-{started.microsecond:06d}",
        audit=AUDIT,
        findings=findings,
        tables=origins_page.tables(evidence, results, about),
        figures=origins_page.draw(evidence, results, settings.audit),
        manifest=manifest(
            config=resolved,
            plan=settings.audit.plan,
            registered_plan=settings.audit.registered_plan,
            command=["python", "-m", "audit", *sys.argv[1:]],
            seeds=[settings.audit.seed],
            inputs=_inputs(settings),
            project=ROOT,
            started=started,
            finished=datetime.now(UTC),
        ),
        context=origins_page.page(evidence, results, findings, about, settings.audit),
    )
    print(*([note] if note else []), *summary(evidence, findings), sep="\n")
    print(f"report: {lasting_name(report)}")


def read_evidence(settings: SessionSettings) -> tuple[OriginEvidence, str]:
    """What is at hand, and why the published part is not, in a line; empty where it is.

    Raises:
        InputError: a file is broken or lacks something, or the archive is not there.
    """
    require(settings.source not in ("asi_arch", "asi_arch_text"), f"source: {settings.source!r} names published data")
    archive = read_search_archive(Path(settings.archive), settings.source, settings.audit)
    published, note = _published(settings)
    text = None if published is None else _text(settings, published)
    return OriginEvidence(published=published, text=text, archive=archive), note


def _published(settings: SessionSettings) -> tuple[PublishedOrigins | None, str]:
    fetch_originals(settings.published)
    root, files = published_root(settings.published), vars(settings.files)
    absent = [file for file in files.values() if not (root / file).exists()]
    if absent:
        where = f"published.root or {ROOT_VARIABLE} is their folder"
        return None, f"No published shares: {' and '.join(absent)} not at hand ({where}); the archive alone is audited."
    sheets = read_sheets(settings.published, files)
    return read_published(sheets["origins"], sheets["components"], settings.audit), ""


def _text(settings: SessionSettings, published: PublishedOrigins) -> TextLabels | None:
    """Labels of the published programs; None where the programs are not at hand, or no rule finds a component."""
    if not (published_root(settings.published) / settings.published.gallery.file).exists():
        return None
    told = read_sheets(settings.published, {})["gallery"].cells.set_index("index")["motivation"]
    programs = {
        index: Program(motivation=str(told.get(index) or ""), source=candidate.source)
        for index, candidate in sorted(load_gallery(settings.published).items())
    }
    categories = tuple(published.categories.index)
    labels, notes = label_by_rules(programs, categories, read_rules()), tuple[str, ...]()
    if settings.labeller == "llm":
        by_model, notes = label_by_model(programs, categories, settings.llm)
        labels |= by_model
    # Programs were read by hand in the original file; programs of somebody's own may have the same numbers.
    if not any(labels[RULED].values()):
        return None
    hand = None if settings.published.gallery.sha256 is None else read_hand(categories)
    return TextLabels(categories=categories, labels=labels, hand=hand, notes=notes)


def _byline(evidence: OriginEvidence) -> str:
    archive = evidence.archive
    parts = [
        f"{len(archive.components)} components in {plural(len(archive.experiments), 'experiment')} of {archive.name}"
    ]
    if evidence.published is not None:
        parts.insert(0, f"{len(evidence.published.categories)} published categories")
    return f"{'; '.join(parts)}."


def _inputs(settings: SessionSettings) -> dict[str, Path]:
    root = published_root(settings.published)
    inputs = {f"published {name}": root / file for name, file in vars(settings.files).items()}
    inputs |= {"published programs": root / settings.published.gallery.file}
    inputs |= {f"archive, {file}": Path(settings.archive) / file for file in FILES}
    inputs |= {"calibration": CALIBRATION, "keyword rules": RULES, "hand labels": HAND}
    return {what: path for what, path in inputs.items() if path.exists()}
