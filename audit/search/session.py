"""`python -m audit discover`: the search, then its report and its best programs as files."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from audit.calibrate import CALIBRATION, calibration_status, read_calibration
from audit.manifest import manifest
from audit.report import lasting_name, write_report
from audit.search import page as search_page
from audit.search.audit import SearchAuditSettings, audit, methods_in_use, summary
from audit.search.evidence import KEPT, SearchEvidence, baseline_means, fitness_terms, outcome
from audit.search.export import export
from audit.wording import plural
from loop.discover import Configuration, Found, SearchSettings, archive_url, configure, search
from replication.containment import describe
from replication.discovered import Discovered, candidate_files
from replication.provenance import ROOT
from replication.settings import typed

UNIT = "nats per token"
PASSWORD = re.compile(r"(://[^/@:\s]*):[^@/\s]*@")  # of a database, in its URL


def run_discover(overrides: Sequence[str]) -> None:
    """Go on with the search of conf/discover.yaml until a budget is spent, and write its report."""
    started = datetime.now(UTC)
    configuration = configure(overrides)
    settings = configuration.settings
    cfg = typed(SearchAuditSettings, configuration.resolved["audit"], "audit")
    found = search(configuration)
    evidence = read_search(found, settings)
    programs = discovered(evidence, settings.scales["text"])
    calibration = read_calibration(CALIBRATION)
    about = search_page.About(
        byline=f"{plural(len(found.experiments), 'experiment')}, seed {settings.seed}. {started:%Y-%m-%d %H:%M} UTC.",
        ran=_ran(found, configuration),
        confinement=describe(found.confinement),
        offline=settings.llm.provider == "offline",
        candidates=len(programs) - 1,
        calibration={(name, n): calibration_status(calibration, name, n) for name, n in methods_in_use(evidence)},
    )
    findings = audit(evidence, cfg, about.withheld)
    report = write_report(
        Path(settings.paths.results) / "discover" / f"{started:%Y%m%d-%H%M%S}-{started.microsecond:06d}",
        audit="discover",
        findings=findings,
        tables=search_page.tables(evidence, about),
        figures=search_page.draw(evidence),
        manifest=_manifest(configuration, cfg, started) | {"confinement": dict(found.confinement)},
        context=search_page.page(evidence, findings, about, cfg),
        files=programs | tables_for_others(found, evidence),
    )
    print(*summary(evidence, findings), sep="\n")
    print(f"report: {lasting_name(report)}")


def read_search(found: Found, settings: SearchSettings) -> SearchEvidence:
    """A search as the audit reads it; gains are measured from the anchor of the search."""
    rules = {"certificate": settings.discard.certificate, "released_code": settings.select_by == "released_code"}
    if settings.discard.below is not None:
        rules[f"below_{100 * settings.discard.below:g}"] = True
    return SearchEvidence(
        name=found.name,
        experiments=tuple(found.experiments),
        baselines=tuple(found.runs),
        reference=settings.anchor,
        ranking=settings.select_by,
        window=settings.fitness.window,
        pool=settings.pool.size,
        in_force=tuple(rule for rule, acts in rules.items() if acts),
        terms=fitness_terms(
            found.experiments,
            found.reference.scored(settings.fitness),
            found.reference.tasks,
            honest=settings.select_by == "strict",
        ),
    )


def tables_for_others(found: Found, evidence: SearchEvidence) -> dict[str, str]:
    """The search as `audit_threshold archive=.../archive/experiments.csv` and spreadsheets read it."""
    anchor = found.reference.anchor
    better = {
        experiment.number
        for experiment in found.experiments
        if outcome(experiment, evidence) == KEPT and (experiment.honest_loss or 0.0) < anchor["honest_loss"]
    }
    baseline = {
        "baseline_loss": anchor["loss"],
        "baseline_benchmark": found.reference.benchmark(anchor["benchmarks"]),
    }
    texts = export(found.experiments, baseline=baseline, tasks=found.reference.tasks, discoveries=better)
    return {f"archive/{name}": text for name, text in texts.items()}


def discovered(evidence: SearchEvidence, scale: str) -> dict[str, str]:
    """The fittest programs that were kept, at most as many as the pool holds, as files for `candidates=discovered`."""
    kept = [experiment for experiment in evidence.experiments if outcome(experiment, evidence) == KEPT]
    kept.sort(key=lambda experiment: (-experiment.fitness[evidence.ranking], experiment.number))
    losses = {str(name): float(loss) for name, loss in baseline_means(evidence)["honest_loss"].items()}
    chosen = [
        Discovered(
            name=experiment.name,
            label=experiment.name,
            number=experiment.number,
            fitness=experiment.fitness[evidence.ranking],
            loss=experiment.honest_loss,
            baseline_losses=losses,
            source=experiment.source,
        )
        for experiment in kept[: evidence.pool]
        if experiment.honest_loss is not None
    ]
    return candidate_files(evidence.name, scale, UNIT, chosen)


def _ran(found: Found, configuration: Configuration) -> dict[str, str]:
    """How the search ran, label -> text."""
    settings = configuration.settings
    offline, budget = settings.offline, settings.budget
    proposer = f"language model {settings.llm.model}"
    if settings.llm.provider == "offline":
        proposer = f"built in ({offline.proposer}), told to err: {100 * offline.crash:g}% crashes, "
        proposer += f"{100 * offline.slow:g}% slow programs, {100 * offline.leak:g}% leaks"
    limits = [f"{limit:g} {name.replace('_', ' ')}" for name, limit in vars(budget).items() if limit is not None]
    hours = sum(experiment.device_seconds for experiment in found.experiments) / 3600
    below = settings.discard.below
    rule = ["a program that is not certified to be causal is not trained"] if settings.discard.certificate else []
    rule += [f"a run whose loss falls more than {100 * below:g}% below {settings.anchor} is stopped"] if below else []
    return {
        "Proposer": proposer,
        "Seeds": f"search {settings.seed}; each run draws one of {settings.training_seeds} training seeds",
        "Discard rule": "; ".join(rule) or "none",
        "Fitness": f"{settings.select_by}; benchmarks that count: {', '.join(found.reference.tasks)}",
        "Scales": ", ".join(f"{track}: {scale}" for track, scale in settings.scales.items()),
        "Budget": f"{', '.join(limits)}; {hours:.2f} device hours spent on experiments",
        "Ended": found.stopped or "the number of experiments was reached",
        "Archive": _without_password(archive_url(configuration)),
    }


def _manifest(configuration: Configuration, cfg: SearchAuditSettings, started: datetime) -> dict[str, Any]:
    archive = configuration.settings.archive
    return manifest(
        config=configuration.resolved | {"archive": archive and _without_password(archive)},
        plan=cfg.plan,
        registered_plan=cfg.registered_plan,
        command=["python", "-m", "audit", *map(_without_password, sys.argv[1:])],
        seeds=[configuration.settings.seed],
        inputs={"calibration": CALIBRATION} if CALIBRATION.exists() else {},
        project=ROOT,
        started=started,
        finished=datetime.now(UTC),
    )


def _without_password(text: str) -> str:
    return PASSWORD.sub(r"\1:***@", text)
