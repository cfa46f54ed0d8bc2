"""`python -m audit audit_threshold`: certificates, trained parts, published tables; then findings and a report."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from audit import threshold
from audit.calibrate import CALIBRATION, calibration_status, read_calibration
from audit.finding import Finding
from audit.interventions.page import outcomes_of
from audit.interventions.plan import InterventionSettings
from audit.interventions.reference import read_interventions
from audit.interventions.rules import rule_finding
from audit.manifest import manifest
from audit.report import lasting_name, write_report
from audit.sources import archive, asi_arch, zoo
from audit.sources.zoo import MixedSettings, ZooSettings
from audit.threshold import page as threshold_page
from audit.threshold.evidence import CERTIFICATE_COLUMNS, PROPOSAL_COLUMNS, ThresholdEvidence
from audit.threshold.reference import (
    TABLES,
    Reference,
    describe,
    read_reference,
    usable,
    without_published_names,
    write_reference,
)
from audit.threshold.summary import summary, verdict_table
from audit.wording import plural
from replication.candidate import Candidate
from replication.certificate import Certificate
from replication.certify import certify_all, dependency_map
from replication.configure import BenchSettings, Configuration, compose, sampling_key
from replication.corpus import corpus_settings, prepare
from replication.execute import execute
from replication.ledger import Ledger
from replication.measure import Bench, Planned
from replication.plan import Plan, build_plan, gather_arms
from replication.provenance import ROOT, code_sha256
from replication.published import ROOT_VARIABLE, published_root
from replication.settings import require, typed

MAP_LENGTH = 64  # tokens of a dependency map: several chunks of most programs, and still legible


@dataclass(frozen=True, kw_only=True)
class SessionSettings:
    """conf/audit_threshold.yaml, what `replicate` does not have."""

    zoo: ZooSettings
    mixed: MixedSettings
    baseline: str
    archive: str | None
    retrain: bool
    reference: str
    interventions: InterventionSettings


@dataclass(frozen=True, kw_only=True)
class Session:
    """A call of the session: its settings, and the programs it is about."""

    configuration: Configuration
    settings: SessionSettings
    audit: threshold.ThresholdSettings
    baseline: Candidate
    trained: list[zoo.Subject]  # zoo and mixed; some only certified
    published: list[zoo.Subject]
    published_note: str  # why there are none; empty where there are
    archived: archive.ArchiveTables | None

    @property
    def programs(self) -> list[Candidate]:
        """Every program once."""
        return list({s.candidate.id: s.candidate for s in (*self.trained, *self.published)}.values())


def run_audit_threshold(overrides: Sequence[str]) -> None:
    """Certify every program, take or train the runs, judge the rule, and write the report."""
    started = datetime.now(UTC)
    session = open_session(overrides)
    bench, folder = session.configuration.bench, Path(session.settings.reference)
    reference = None if session.settings.retrain else read_reference(folder)
    print(f"certificates of {len(session.programs)} programs", flush=True)
    store = Path(bench.paths.results) / "ledger" / "certificates"
    certificates = certify_all(session.programs, bench.certificate, bench.engine, store)
    certified = zoo.certificate_table([*session.trained, *session.published], certificates)
    if session.settings.retrain:
        _retrain(session, certificates, certified, started)
        reference = read_reference(folder)
    origin = describe(str(folder), reference, certified, session.configuration.resolved, session.settings.retrain)
    evidence = _evidence(session, usable(reference, certified), certified)
    calibration = read_calibration(CALIBRATION)
    methods = threshold.methods_in_use(evidence, session.audit)
    about = threshold_page.About(
        byline=_byline(evidence, started),
        origin=origin,
        published_note=session.published_note,
        archive_note=_archive_note(session),
        maps=_dependency_maps(session, certificates),
        calibration={(name, n): calibration_status(calibration, name, n) for name, n in methods},
    )
    findings = threshold.audit(evidence, session.audit, about.withheld)
    findings.append(_intervention(session.settings.interventions))
    report = write_report(
        Path(bench.paths.results) / "audit_threshold" / f"{started:%Y%m%d-%H%M%S}-{started.microsecond:06d}",
        audit="audit_threshold",
        findings=findings,
        tables=threshold_page.tables(evidence, about, session.audit),
        figures=threshold_page.draw(evidence, findings, about, session.audit),
        manifest=_manifest(session, started),
        context=threshold_page.page(evidence, findings, about, session.audit),
    )
    print(*origin, about.archive_note, verdict_table(findings), sep="\n")
    print(*summary(evidence, findings, session.published_note, session.audit), sep="\n")
    print(f"report: {lasting_name(report)}")


def _intervention(settings: InterventionSettings) -> Finding:
    kept = read_interventions(Path(settings.reference))
    return rule_finding(None if kept is None else outcomes_of(kept, settings), settings)


def open_session(overrides: Sequence[str]) -> Session:
    """Compose conf/audit_threshold.yaml with command-line overrides, and read the programs.

    Raises:
        InputError: an unknown setting, or a value that does not fit the others.
    """
    resolved = compose("audit_threshold", overrides)
    own = [field.name for field in fields(SessionSettings)]
    settings = typed(SessionSettings, {name: resolved[name] for name in own}, "")
    rest = {key: value for key, value in resolved.items() if key not in ("corpus", "audit", *own)}
    configuration = Configuration(
        bench=typed(BenchSettings, rest, ""),
        corpus=corpus_settings(resolved["corpus"]),
        audit=resolved["audit"],
        resolved=resolved,
    )
    bench = configuration.bench
    for part, scales in (("zoo", settings.zoo.scales), ("mixed", settings.mixed.scales)):
        for name in scales:
            known = ", ".join(bench.scale)
            require(name in bench.scale, f"{part}.scales: {name!r} is none of the scales in use ({known})")
    require(settings.baseline in bench.baselines, f"baseline: {settings.baseline!r} is none of {bench.baselines}")
    others = gather_arms(bench.baselines, bench.candidates, bench.published)
    published, note = _published(bench)
    return Session(
        configuration=configuration,
        settings=settings,
        audit=typed(threshold.ThresholdSettings, configuration.audit, "audit"),
        baseline=next(other for other in others if other.name == settings.baseline),
        trained=[*zoo.zoo_subjects(settings.zoo, others), *zoo.mixed_subjects(settings.mixed)],
        published=published,
        published_note=note,
        archived=None if settings.archive is None else archive.read_archive(Path(settings.archive)),
    )


def _published(settings: BenchSettings) -> tuple[list[zoo.Subject], str]:
    """Published programs, or none and one line that says why. A file that is there and broken is an error."""
    gallery = published_root(settings.published) / settings.published.gallery.file
    if not gallery.exists() and not settings.published.download:
        note = (
            f"No published programs: {gallery.name} is not at hand (published.root or {ROOT_VARIABLE} is its folder)."
        )
        print(note)
        return [], note
    return zoo.published_subjects(asi_arch.programs(settings.published)), ""


def _retrain(session: Session, certificates: Mapping[str, Certificate], table: pd.DataFrame, started: datetime) -> None:
    """Measure every run that the ledger lacks, and rewrite the reference folder."""
    settings = session.configuration.bench
    results = Path(settings.paths.results)
    corpus = prepare(session.configuration.corpus, Path(settings.paths.cache))
    bench = Bench(corpus, settings.engine, warn=print)
    ledger = Ledger(results / "ledger")
    arms = {session.baseline.id: session.baseline}
    arms |= {subject.candidate.id: subject.candidate for subject in session.trained if subject.scales}
    runs: list[Planned] = []
    for name, scale in settings.scale.items():
        bench.evaluation_offsets(scale)  # a corpus too small for a scale is said before anything runs
        wanted = {subject.candidate.id for subject in session.trained if name in subject.scales}
        if not wanted:
            continue
        at_scale = build_plan(
            tuple(arm for arm in arms.values() if arm.id in wanted | {session.baseline.id}),
            {name: scale},
            seeds=session.configuration.seed_range,
            optimiser=settings.optimiser,
            corpus=corpus,
            engine=settings.engine,
            honest=settings.honest,
            spot_check=settings.spot_check,
            sampling_key=sampling_key(settings, ledger),
            certificates=certificates,
        )
        runs += at_scale.runs
    execute(Plan(arms=tuple(arms.values()), runs=tuple(runs)), ledger, bench, results / "tensorboard")
    made = Reference(
        proposals=zoo.proposal_table(session.trained, runs, ledger, session.baseline),
        certificates=without_published_names(table),
        manifest=_manifest(session, started) | {"code_sha256": code_sha256()},
    )
    write_reference(Path(session.settings.reference), made)


def _evidence(session: Session, trained: pd.DataFrame, certified: pd.DataFrame) -> ThresholdEvidence:
    """Trained runs, published losses and the archive as one body of evidence."""
    proposals, certificates = [trained], [certified]
    if session.published:
        proposals.append(asi_arch.proposals(session.configuration.bench.published))
    if session.archived is not None:
        proposals.append(session.archived.proposals)
        certificates.append(session.archived.certificates)
    return ThresholdEvidence(_stacked(proposals, PROPOSAL_COLUMNS), _stacked(certificates, CERTIFICATE_COLUMNS))


def _stacked(tables: Sequence[pd.DataFrame], columns: Iterable[str]) -> pd.DataFrame:
    """One table; cells keep what they are, so that no column of numbers makes others of its texts."""
    rows = [row for table in tables for row in table.astype(object).to_dict("records")]
    return pd.DataFrame(rows, columns=list(columns))


def _dependency_maps(session: Session, certificates: Mapping[str, Certificate]) -> dict[str, np.ndarray]:
    """Maps of a clean program, of one that leaks on purpose, and of the first published one that leaks."""
    bench, mixed = session.configuration.bench, [s for s in session.trained if s.source == "mixed"]
    shown = [(s.family, s) for s in mixed if s.strength in (min(session.settings.mixed.strengths), 1.0)][:2]
    titles = [(f"{family}, strength {subject.strength:g}", subject) for family, subject in shown]
    leaky = [s for s in session.published if certificates[s.candidate.id].leaks]
    titles += [(f"published, index {subject.key}", subject) for subject in leaky[:1]]
    maps = {title: dependency_map(s.candidate, bench.certificate, bench.engine, MAP_LENGTH) for title, s in titles}
    return {title: values for title, values in maps.items() if values is not None}


def _archive_note(session: Session) -> str:
    path, archived = session.settings.archive, session.archived
    if path is None or archived is None:
        return "No archive of a search was given (archive=FILE)."
    ignored = f"; columns not read: {', '.join(archived.ignored)}" if archived.ignored else ""
    return f"Archive {Path(path).name}: {plural(len(archived.proposals), 'proposal')}{ignored}."


def _byline(evidence: ThresholdEvidence, started: datetime) -> str:
    certified = evidence.certificates.drop_duplicates(["source", "candidate"])["source"].value_counts()
    counts = ", ".join(f"{certified[source]} {source}" for source in sorted(certified.index))
    return f"Certificates: {counts}. {len(evidence.proposals)} losses. {started:%Y-%m-%d %H:%M} UTC."


def _manifest(session: Session, started: datetime) -> dict[str, Any]:
    published = session.configuration.bench.published
    reference = Path(session.settings.reference)
    inputs = {f"trained results, {name}": reference / f"{name}.csv" for name in TABLES}
    inputs |= {"calibration": CALIBRATION, "published programs": published_root(published) / published.gallery.file}
    inputs["published losses"] = published_root(published) / published.search.table
    if session.settings.archive is not None:
        inputs["archive"] = Path(session.settings.archive)
    return manifest(
        config=session.configuration.resolved,
        plan=session.audit.plan,
        registered_plan=session.audit.registered_plan,
        command=["python", "-m", "audit", *sys.argv[1:]],
        seeds=session.configuration.seed_range,
        inputs={what: path for what, path in inputs.items() if path.exists()},
        project=ROOT,
        started=started,
        finished=datetime.now(UTC),
    )
