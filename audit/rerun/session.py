"""`python -m audit replicate`: certificates, runs, verdicts and the report."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from audit.calibrate import CALIBRATION, CalibrationStatus, calibration_status, read_calibration
from audit.evidence import Evidence, printable
from audit.finding import Finding
from audit.manifest import manifest
from audit.report import lasting_name, write_report
from audit.rerun import page as rerun_page
from audit.rerun.audit import audit, methods_in_use
from audit.rerun.leaks import leak_summary
from audit.rerun.plan import RerunSettings
from audit.sources.ledger import confinement, read_evidence
from replication.candidate import Candidate
from replication.certificate import CHECKS, LEAKS, Certificate
from replication.configure import Configuration, configure, open_bench
from replication.corpus import describe
from replication.evaluate import bits_per_byte
from replication.execute import execute
from replication.ledger import Ledger
from replication.measure import Bench
from replication.ngram import ngram_reference
from replication.plan import Plan
from replication.provenance import ROOT
from replication.published import published_root
from replication.settings import typed

SCALE_COLUMNS = {
    "scale": "name",
    "hidden size": "hidden_size",
    "layers": "num_layers",
    "heads": "num_heads",
    "steps": "steps",
    "batch": "batch_size",
    "length": "sequence_length",
    "training tokens": "tokens",
    "learning rate": "learning_rate",
}


def run_replicate(overrides: Sequence[str]) -> None:
    """Measure the runs of conf/replicate.yaml's plan that the ledger lacks, judge them all, and write the report."""
    started = datetime.now(UTC)
    configuration = configure(overrides)
    settings = typed(RerunSettings, configuration.audit, "audit")
    calibration = read_calibration(CALIBRATION)
    plan, ledger, bench, certificates = open_bench(configuration)
    print(leak_table(plan.arms, certificates))
    results = Path(configuration.bench.paths.results)
    execute(plan, ledger, bench, results / "tensorboard")
    evidence, curves = read_evidence(plan, ledger, certificates)
    status = {(name, n): calibration_status(calibration, name, n) for name, n in methods_in_use(evidence)}
    withheld = frozenset(key for key, found in status.items() if found.failures)
    findings = audit(evidence, settings, withheld)
    about = _about(configuration, plan, ledger, bench, status)
    folder = results / "replicate" / f"{started:%Y%m%d-%H%M%S}-{started.microsecond:06d}"
    report = write_report(
        folder,
        audit="replicate",
        findings=findings,
        tables=rerun_page.tables(evidence, findings, about),
        figures=rerun_page.draw(evidence, curves, findings, about, settings),
        manifest=_manifest(configuration, settings, bench, started) | {"confinement": about.confinement},
        context=rerun_page.page(evidence, findings, about, settings, _byline(evidence, started)),
    )
    print(verdict_table(findings))
    print(*rerun_page.summary(findings), leak_summary(evidence), sep="\n")
    print(f"report: {lasting_name(report)}")


def leak_table(arms: Sequence[Candidate], certificates: Mapping[str, Certificate]) -> str:
    """One line an arm with a mark for each check, and below it why it is not free of leaks."""
    lines = [
        f"{'certificate':<34}"
        + "".join(f"{check:<8}" for check in CHECKS)
        + "(✓ certified, ✗ violated, ? not runnable)"
    ]
    for arm in arms:
        checks = certificates[arm.id].checks
        marks = "".join(f"{rerun_page.CHECK_MARKS[checks[check].outcome]:<8}" for check in CHECKS)
        lines.append(f"{arm.name[:32]:<34}{marks}".rstrip())
        doubts = [f"{check}: {checks[check].detail}" for check in LEAKS if checks[check].outcome != "certified"]
        lines += [f"    {printable(doubt)}" for doubt in doubts]
    return "\n".join(lines)


def verdict_table(findings: Sequence[Finding]) -> str:
    """One line a candidate and baseline: outcome, difference, simultaneous interval, pairs, adjusted p."""
    head = f"{'scale':<14}{'candidate':<34}{'baseline':<20}{'verdict':<12}"
    lines = [f"{head}{'difference':>11}  {'interval (bits per byte)':<26}{'n':>3}  p"]
    for finding in findings:
        details = finding.details
        if details.get("kind") != "comparison":
            continue
        numbers = f"{'-':>11}  {'-':<26}"
        if finding.estimate is not None and finding.interval is not None:
            low, high = finding.interval
            numbers = f"{finding.estimate:>+11.4f}  {f'[{low:+.4f}, {high:+.4f}]':<26}"
        p = "-" if finding.p_value is None else f"{finding.p_value:.2g}"
        lines.append(
            f"{details['scale']:<14}{details['candidate_label'][:32]:<34}{details['baseline_label'][:18]:<20}"
            f"{details['rerun_verdict']:<12}{numbers}{finding.n or 0:>3}  {p}"
        )
    return "\n".join(lines)


def _about(
    configuration: Configuration,
    plan: Plan,
    ledger: Ledger,
    bench: Bench,
    status: dict[tuple[str, int], CalibrationStatus],
) -> rerun_page.About:
    scales = {planned.spec.scale.name: planned.spec.scale for planned in plan.runs}.values()
    corpus, settings = bench.corpus, configuration.bench.ngram
    counts = []
    lengths = sorted({scale.sequence_length for scale in scales})
    for length in lengths:
        scale = next(scale for scale in scales if scale.sequence_length == length)
        losses = ngram_reference(corpus, bench.evaluation_offsets(scale), length, settings)
        where = f", windows of {length}" if len(lengths) > 1 else ""
        counts += [
            {"model": f"{order}-gram{where}", "bits_per_byte": bits_per_byte(loss, corpus.bytes_per_token["val"])}
            for order, loss in sorted(losses.items())
        ]
    rows = [{title: getattr(scale, field) for title, field in SCALE_COLUMNS.items()} for scale in scales]
    return rerun_page.About(
        corpus=describe(corpus),
        counts=pd.DataFrame(counts, columns=["model", "bits_per_byte"]),
        scales=pd.DataFrame(rows),
        calibration=status,
        confinement=confinement(plan, ledger),
    )


def _manifest(configuration: Configuration, settings: RerunSettings, bench: Bench, started: datetime) -> dict[str, Any]:
    inputs = {"calibration": CALIBRATION} if CALIBRATION.exists() else {}
    inputs |= {f"corpus, {split}": bench.corpus.folder / f"{split}.bin" for split in bench.corpus.tokens}
    published = configuration.bench.published
    if configuration.bench.candidates.source == "published":
        named = {"published programs": published.gallery.file, "published search losses": published.search.table}
        paths = {what: published_root(published) / name for what, name in named.items()}
        inputs |= {what: path for what, path in paths.items() if path.exists()}
    return manifest(
        config=configuration.resolved,
        plan=settings.plan,
        registered_plan=settings.registered_plan,
        command=["python", "-m", "audit", *sys.argv[1:]],
        seeds=configuration.seed_range,
        inputs=inputs,
        project=ROOT,
        started=started,
        finished=datetime.now(UTC),
    )


def _byline(evidence: Evidence, started: datetime) -> str:
    runs, arms = evidence.runs, evidence.arms
    counts = f"{len(runs)} runs of {len(arms)} programs at {', '.join(evidence.scales)}"
    return f"{counts}, {runs['seed'].nunique()} seeds. {started:%Y-%m-%d %H:%M} UTC."
