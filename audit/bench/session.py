"""`python -m audit bench`: time operators and training steps here, or report a table measured elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from audit.bench import page as bench_page
from audit.bench.audit import audit, ratio_table, target_table
from audit.bench.plan import BenchAuditSettings
from audit.finding import canonical_json
from audit.manifest import manifest
from audit.report import ResultPaths, lasting_name, write_report
from audit.wording import plural
from replication.bench.run import run_bench as measure
from replication.bench.settings import BenchSettings
from replication.bench.table import SCHEMA, read_files
from replication.configure import compose
from replication.provenance import ROOT
from replication.settings import typed

AUDIT = "bench"


@dataclass(frozen=True, kw_only=True)
class BenchSession:
    """conf/bench.yaml, where every setting is explained."""

    table: str | None
    reference: str
    bench: BenchSettings
    audit: BenchAuditSettings
    paths: ResultPaths


def run_bench(overrides: Sequence[str]) -> None:
    """Measure or read, judge the targets, and write the report."""
    started = datetime.now(UTC)
    resolved = compose(AUDIT, overrides)
    settings = typed(BenchSession, resolved, "")
    cfg, inputs = settings.audit, {}
    if settings.table is None:
        measured = measure(settings.bench, dry=False, tell=lambda line: print(line, flush=True))
        parts = [(measured.frame, measured.about)]
    else:
        parts = [read_files(Path(settings.table))]
        inputs["table"] = Path(settings.table)
    kept = Path(settings.reference)
    if kept.exists() and parts[0][1]["device"] != "cuda":
        reference = read_files(kept)
        if reference[1]["device"] == "cuda":
            parts.append(reference)
            inputs["kept measurement"] = kept
    frame = pd.concat([rows.assign(machine=about["machine"]) for rows, about in parts], ignore_index=True)
    baselines = settings.bench.baselines
    findings = audit(frame, baselines, cfg)
    sources = [about for _, about in parts]
    byline = f"{plural(len(frame), 'row')} of {parts[0][1]['machine']}. {started:%Y-%m-%d %H:%M} UTC."
    report = write_report(
        Path(settings.paths.results) / AUDIT / f"{started:%Y%m%d-%H%M%S}-{started.microsecond:06d}",
        audit=AUDIT,
        findings=findings,
        tables=bench_page.tables(frame, target_table(findings, cfg), ratio_table(frame, baselines, cfg)),
        figures=bench_page.draw(frame),
        manifest=_manifest(resolved, settings, inputs, started),
        context={"page": bench_page.page(frame, sources, findings, byline)},
        # As `python -m replication bench` writes them: what a later `table=` or results/reference/ takes.
        files={
            "bench.csv": parts[0][0].to_csv(index=False, lineterminator="\n"),
            "bench.json": canonical_json({"schema": SCHEMA, **sources[0]}),
        },
    )
    print(bench_page.verdict(findings), *(finding.answer for finding in findings), sep="\n")
    print(f"report: {lasting_name(report)}")


def _manifest(
    resolved: dict[str, Any], settings: BenchSession, inputs: dict[str, Path], started: datetime
) -> dict[str, Any]:
    return manifest(
        config=resolved,
        plan=settings.audit.plan,
        registered_plan=settings.audit.registered_plan,
        command=["python", "-m", "audit", *sys.argv[1:]],
        seeds=[settings.bench.seed],
        inputs=inputs,
        project=ROOT,
        started=started,
        finished=datetime.now(UTC),
    )
