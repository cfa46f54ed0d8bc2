"""`python -m audit verify_claims`: read a paper's tables and loops' logs, check them, and write the report."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from audit import single_seed
from audit.calibrate import CALIBRATION, calibration_status, read_calibration
from audit.claims import figures as claim_figures
from audit.claims import page as claims_page
from audit.claims.audit import AUDIT, answer_claims, findings, methods_in_use
from audit.claims.outcome import ClaimEvidence
from audit.claims.page import Examined, withheld_methods
from audit.claims.registry import Registry, read_registry
from audit.consistency.checks import consistency
from audit.finding import Finding
from audit.manifest import manifest, plan_sha256
from audit.report import ResultPaths, lasting_name, write_report
from audit.sheets import SheetTable
from audit.single_seed import page as log_page
from audit.single_seed.log import LoopLog
from audit.sources.asi_arch_tables import read_sheets
from audit.sources.autoresearch import LogSettings, read_log
from audit.sources.table import ColumnMap, read_table
from replication.configure import compose
from replication.provenance import ROOT
from replication.published import ROOT_VARIABLE, PublishedSettings, fetch_originals, published_root
from replication.settings import require, typed


@dataclass(frozen=True, kw_only=True)
class ClaimsSettings:
    """conf/verify_claims.yaml, but for the registry, which has its own reader, and the groups' contents."""

    published: PublishedSettings
    log: LogSettings
    audit: single_seed.SingleSeedSettings
    logs: tuple[str, ...] | None
    published_logs: str
    table: ColumnMap | None
    paths: ResultPaths


def run_verify_claims(overrides: Sequence[str]) -> None:
    """Answer every claim, judge every log, and write the report."""
    started = datetime.now(UTC)
    resolved = compose("verify_claims", overrides)
    registry = read_registry(resolved["claims"], "claims")
    settings = typed(ClaimsSettings, {key: value for key, value in resolved.items() if key != "claims"}, "")
    sheets = _sheets(registry, settings)
    paths = _log_paths(settings)
    require(bool(sheets) or bool(paths), "nothing to judge: no claims and no logs; set logs=[FILE] or claims=asi_arch")
    logs = [_read_log(path, settings) for path in paths]
    stored = read_calibration(CALIBRATION)
    paper = examine(ClaimEvidence(sheets=sheets, items=registry.paper.items), registry, stored)
    found = findings(paper.outcomes, paper.results, registry)
    methods = sorted({key for log in logs for key in single_seed.methods_in_use(log, settings.audit)})
    calibration = {(name, n): calibration_status(stored, name, n) for name, n in methods}
    judged = {log.file: single_seed.audit(log, settings.audit, withheld_methods(calibration)) for log in logs}
    everything = [*found, *(finding for one in judged.values() for finding in one)]
    report = write_report(
        Path(settings.paths.results) / AUDIT / f"{started:%Y%m%d-%H%M%S}-{started.microsecond:06d}",
        audit=AUDIT,
        findings=everything,
        tables=_tables(replace(paper, calibration={**paper.calibration, **calibration}), found, logs, judged, settings),
        figures=_figures(paper, logs, judged, settings),
        manifest=manifest(
            config=resolved,
            plan={"claims": plan_sha256(registry.plan), "single_seed": plan_sha256(settings.audit.plan)},
            registered_plan=plan_sha256(
                {"claims": registry.registered_plan, "single_seed": settings.audit.registered_plan}
            ),
            command=["python", "-m", "audit", *sys.argv[1:]],
            seeds=[],
            inputs=_inputs(registry, settings, paths),
            project=ROOT,
            started=started,
            finished=datetime.now(UTC),
        ),
        context={"page": _page(paper, found, logs, judged, settings, started)},
    )
    print(claims_page.verdict_lines(found), claims_page.summary(found), sep="\n")
    print(*(log_page.summary(log, judged[log.file], settings.audit) for log in logs), sep="\n")
    print(f"report: {lasting_name(report)}")


def examine(evidence: ClaimEvidence, registry: Registry, stored: pd.DataFrame) -> Examined:
    """All checks of a paper; answers leave out the intervals that the stored calibration fails."""
    outcomes = answer_claims(evidence, registry, frozenset())
    calibration = {(name, n): calibration_status(stored, name, n) for name, n in methods_in_use(outcomes)}
    withheld = withheld_methods(calibration)
    if withheld:
        outcomes = answer_claims(evidence, registry, withheld)
    results = consistency(evidence.sheets, registry.consistency)
    return Examined(registry=registry, outcomes=outcomes, results=results, calibration=calibration)


def _sheets(registry: Registry, settings: ClaimsSettings) -> SheetTable:
    if not registry.claims and not registry.consistency:
        return SheetTable()
    fetch_originals(settings.published)
    root = published_root(settings.published)
    remedy = f"set published.root or {ROOT_VARIABLE} to the folder that holds them, or claims=none to judge logs alone"
    require(root.is_dir(), f"{root}: none of the published files is there; {remedy}")
    sheets = SheetTable(read_sheets(settings.published, registry.paper.files))
    require(bool(sheets), f"{root}: none of the published files is there; {remedy}")
    return sheets


def _log_paths(settings: ClaimsSettings) -> list[Path]:
    if settings.logs is not None:
        paths = [Path(name) for name in settings.logs]
        for name, amount in Counter(path.stem.lower() for path in paths).items():
            require(
                amount == 1, f"logs: {amount} files are named {name!r}; findings go by that name, so rename the others"
            )
        return paths
    return sorted(published_root(settings.published).glob(settings.published_logs))


def _read_log(path: Path, settings: ClaimsSettings) -> LoopLog:
    return read_log(path, settings.log) if settings.table is None else read_table(path, settings.table)


Judged = Mapping[str, Sequence[Finding]]


def _tables(
    paper: Examined, found: Sequence[Finding], logs: Sequence[LoopLog], judged: Judged, settings: ClaimsSettings
) -> dict[str, Any]:
    tables = claims_page.tables(paper, found)
    for log in logs:
        tables |= log_page.tables(log, judged[log.file], settings.audit)
    return tables


def _figures(paper: Examined, logs: Sequence[LoopLog], judged: Judged, settings: ClaimsSettings) -> dict[str, Any]:
    figures = claim_figures.draw(paper.outcomes, paper.registry.paper.figures)
    for log in logs:
        figures |= log_page.draw(log, judged[log.file], settings.audit)
    return figures


def _page(
    paper: Examined,
    found: Sequence[Finding],
    logs: Sequence[LoopLog],
    judged: Judged,
    settings: ClaimsSettings,
    started: datetime,
) -> dict[str, Any]:
    checks = sum(checked.compared for checked in paper.results.checked.values())
    parts = [f"{len(found)} findings, {checks} cells compared"] if found else []
    parts += [f"{len(logs)} logs"] if logs else []
    return claims_page.page(paper, found) | {
        "byline": f"{'; '.join(parts)}. {started:%Y-%m-%d %H:%M} UTC.",
        "captions": claim_figures.CAPTIONS,
        "logs": [log_page.page(log, judged[log.file], settings.audit) for log in logs],
    }


def _inputs(registry: Registry, settings: ClaimsSettings, logs: Sequence[Path]) -> dict[str, Path]:
    root = published_root(settings.published)
    inputs = {"calibration": CALIBRATION}
    if registry.claims or registry.consistency:
        inputs |= {f"published {name}": root / file for name, file in registry.paper.files.items()}
        inputs |= {"published gallery": root / settings.published.gallery.file}
        inputs |= {"published tree": root / settings.published.tree.file}
    inputs |= {f"log {i}": path for i, path in enumerate(logs)}
    return {what: path for what, path in inputs.items() if path.exists()}
