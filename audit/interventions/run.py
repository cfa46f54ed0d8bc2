"""Run every search of the plan, then every claim and every best program again on fresh seeds.

Both parts go on where they were stopped: searches from their archives, runs from the ledger.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from audit.interventions.outcomes import CONFIRMATION_COLUMNS, EXPERIMENT_COLUMNS, best_of, claims_of
from audit.interventions.plan import InterventionSettings
from audit.search.evidence import KEPT, outcome, standing
from audit.search.session import read_search
from loop.discover import Configuration, Found, configure, search
from loop.researcher import program
from replication.candidate import Candidate, read_candidate
from replication.certify import certify_all
from replication.configure import BenchSettings
from replication.corpus import prepare
from replication.execute import execute
from replication.ledger import Ledger
from replication.measure import Bench, Planned
from replication.plan import BASELINES, build_plan
from replication.settings import require

CHANNELS = ("cognition", "analysis", "original")


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One row an experiment (`EXPERIMENT_COLUMNS`), and one row a run on a fresh seed (`CONFIRMATION_COLUMNS`)."""

    experiments: pd.DataFrame
    confirmations: pd.DataFrame


def run_interventions(settings: InterventionSettings, bench: BenchSettings) -> Measured:
    """Run all of it.

    Args:
        bench: of the confirmation, but for scale and seeds: its certificate is the one that a claim must pass.

    Raises:
        InputError: a setting is wrong, or results cannot be written; what was measured stays.
    """
    rows: list[dict[str, Any]] = []
    programs: dict[str, Candidate] = {}
    searches = list(settings.searches())
    with tqdm(searches, desc="searches", unit="search") as bar:
        for seed, arm in bar:
            bar.set_postfix_str(f"{arm}, seed {seed}")
            configuration = _configuration(settings, bench, seed, arm)
            below = configuration.settings.training_seeds
            fresh = settings.confirm.first_seed >= below
            require(fresh, f"interventions.confirm.first_seed: searches draw seeds below {below}, so begin there")
            found = search(configuration)
            rows += _rows(found, configuration, seed, arm)
            for experiment in found.experiments:
                candidate = program(experiment.name, experiment.source)
                programs.setdefault(candidate.id, candidate)
    table = pd.DataFrame(rows, columns=list(EXPERIMENT_COLUMNS))
    wanted = {*claims_of(table)["candidate"], *best_of(table)["candidate"]}
    chosen = [candidate for candidate in programs.values() if candidate.id in wanted]
    return Measured(experiments=table, confirmations=_confirm(settings, bench, configuration, chosen))


def _configuration(settings: InterventionSettings, bench: BenchSettings, seed: int, arm: str) -> Configuration:
    return configure(
        [
            *settings.search,
            f"seed={seed}",
            f"budget.experiments={settings.experiments}",
            f"paths.results='{bench.paths.results}'",
            f"paths.cache='{bench.paths.cache}'",
            *settings.arms[arm],
        ]
    )


def _rows(found: Found, configuration: Configuration, seed: int, arm: str) -> list[dict[str, Any]]:
    """`EXPERIMENT_COLUMNS` of one search."""
    evidence = read_search(found, configuration.settings)
    baseline = min(found.reference.baselines, key=lambda one: float(one["loss"]))
    rows = []
    for experiment in found.experiments:
        parts: list[str] = [part.origin for part in experiment.components]
        rows.append(
            {
                "seed": seed,
                "arm": arm,
                "number": experiment.number,
                "candidate": program(experiment.name, experiment.source).id,
                "status": experiment.status,
                "kept": outcome(experiment, evidence) == KEPT,
                "standing": standing(experiment).replace(" ", "_"),
                "loss": experiment.loss,
                "honest_loss": experiment.honest_loss,
                "baseline": baseline["name"],
                "baseline_loss": baseline["loss"],
                "device_seconds": experiment.device_seconds,
                "flops": experiment.flops,
                **{origin: parts.count(origin) for origin in CHANNELS},
            }
        )
    return rows


def _confirm(
    settings: InterventionSettings, bench: BenchSettings, configuration: Configuration, chosen: Sequence[Candidate]
) -> pd.DataFrame:
    """Every chosen program and every baseline on fresh seeds, at the scale of the searches."""
    of_search = configuration.settings
    baselines = [read_candidate(BASELINES / f"{name}.py", "baseline") for name in of_search.baselines]
    arms = tuple({arm.id: arm for arm in (*baselines, *chosen)}.values())
    results = Path(bench.paths.results)
    corpus = prepare(configuration.corpora["text"], Path(bench.paths.cache))
    ledger = Ledger(results / "ledger")
    print(f"certificates of {len(arms)} programs", flush=True)
    certificates = certify_all(arms, bench.certificate, bench.engine, ledger.root / "certificates")
    scale = of_search.scale[of_search.scales["text"]]
    plan = build_plan(
        arms,
        {scale.name: scale},
        seeds=range(settings.confirm.first_seed, settings.confirm.first_seed + settings.confirm.seeds),
        optimiser=of_search.optimiser,
        corpus=corpus,
        engine=bench.engine,
        honest=bench.honest,
        spot_check=of_search.spot_check,
        sampling_key=0,  # the built-in proposer cannot use it, and with a number any folder gives the same bits
        certificates=certificates,
    )
    execute(plan, ledger, Bench(corpus, bench.engine, warn=print), results / "tensorboard")
    names = {baseline.id: baseline.name for baseline in baselines}
    standings = {arm.id: _standing(certificates[arm.id].causal, bool(certificates[arm.id].leaks)) for arm in arms}
    return pd.DataFrame(
        [_confirmation(run, ledger, names, standings) for run in plan.runs], columns=list(CONFIRMATION_COLUMNS)
    )


def _standing(causal: bool, leaks: bool) -> str:
    return "leaky" if leaks else "clean" if causal else "not_certified"


def _confirmation(
    run: Planned, ledger: Ledger, names: Mapping[str, str], standings: Mapping[str, str]
) -> dict[str, Any]:
    record = ledger.find(run.run_id)
    assert record is not None, run.run_id
    return {
        "candidate": run.candidate.id,
        "baseline": names.get(run.candidate.id, ""),
        "standing": standings[run.candidate.id],
        "seed": run.spec.seed,
        "status": record.status,
        "looks_ahead": bool(record.looks_ahead),
        "honest_loss": record.honest_loss,
        "bits_per_byte": record.bits_per_byte,
    }
