"""A search as its audit reads it, and the tidy tables that figures, findings and page are made of.

Losses are in nats per token, accuracies fractions, times seconds. Names, reasons and labels were written by strangers
and keep only printable characters.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from audit.evidence import printable
from loop.fitness import FitnessSettings, benchmark_term, judge_term, loss_term
from loop.records import VERDICTS, Experiment
from replication.certificate import LEAKS
from replication.settings import require

TERMS = ("loss", "benchmark", "judge")
START, KEPT, DISCARDED, UNRANKED = "start", "kept", "discarded", "not_ranked"
SCORED = (START, KEPT, DISCARDED, UNRANKED)  # outcomes with a loss; any other is the status of a failure


@dataclass(frozen=True, kw_only=True)
class SearchEvidence:
    """A search that has ended, or as far as it went.

    name: what the search is called in ids of findings. experiments: in the order of their numbers; those without a
    parent are what the search started from and no proposals. baselines: one mapping a finished run, with name, seed,
    honest_loss, benchmarks, parameters, flops. reference: the baseline that gains are measured from. ranking: kind of
    fitness that ranks the pool. window: gains beyond this share of the reference's loss do not count in it. pool: its
    size. in_force: the discard rules that acted, names in `Experiment.rules`. terms: number of an experiment -> its
    terms of the fitness, as many of `TERMS` as it has.

    Raises:
        InputError: no baseline run is of the reference.
    """

    name: str
    experiments: tuple[Experiment, ...]
    baselines: tuple[Mapping[str, Any], ...]
    reference: str
    ranking: str
    window: float
    pool: int
    in_force: tuple[str, ...]
    terms: Mapping[int, Mapping[str, float]]

    def __post_init__(self) -> None:
        known = sorted({str(run["name"]) for run in self.baselines})
        require(self.reference in known, f"reference: {self.reference!r} is none of the baselines ({', '.join(known)})")


def fitness_terms(
    experiments: Sequence[Experiment], settings: FitnessSettings, tasks: Sequence[str], *, honest: bool
) -> dict[int, dict[str, float]]:
    """Terms of the fitness of every experiment that has a loss, by its number; a term that it lacks is left out.

    tasks: the benchmarks that enter the fitness. honest: on the honest loss, as `strict` has it.
    """
    found = {}
    for experiment in experiments:
        loss = experiment.honest_loss if honest else experiment.loss
        if experiment.status != "ok" or loss is None:
            continue
        accuracies = [experiment.benchmarks[task] for task in tasks if task in experiment.benchmarks]
        terms = {"loss": float(loss_term(loss, settings))}
        if tasks and len(accuracies) == len(tasks):
            terms["benchmark"] = float(benchmark_term(float(np.mean(accuracies)), settings))
        if experiment.mark is not None:
            terms["judge"] = float(judge_term(experiment.mark, settings))
        found[experiment.number] = terms
    return found


def outcome(experiment: Experiment, evidence: SearchEvidence) -> str:
    """What an experiment came to: one of `SCORED`, else the status of a run without a score.

    discarded: trained, and without a fitness because a rule in force says so; not_ranked: without one all the same,
    for want of a mark or a benchmark.
    """
    if experiment.status != "ok" or experiment.honest_loss is None:
        return experiment.status
    if experiment.parent is None:
        return START
    if evidence.ranking in experiment.fitness:
        return KEPT
    return DISCARDED if any(experiment.rules.get(rule, False) for rule in evidence.in_force) else UNRANKED


def standing(experiment: Experiment) -> str:
    """`leaky`, `clean`, `not certified`, or `not run`: by the certificate of the last version, and by its run."""
    certificate = (experiment.attempts[-1].certificate or {}) if experiment.attempts else {}
    violated = any(certificate.get(check, {}).get("outcome") == "violated" for check in LEAKS)
    if violated or experiment.looks_ahead:
        return "leaky"
    if experiment.certified is None:
        return "not run"
    return "clean" if experiment.certified else "not certified"


def experiment_table(evidence: SearchEvidence) -> pd.DataFrame:
    """One row an experiment, numbers NaN where there are none.

    gain: mean honest loss of the reference less the own one; positive is better. running_best, pool_mean: of the
    fitness of what was ranked up to here. compute: device seconds of all experiments up to here, failures included.
    """
    mean = baseline_means(evidence).loc[evidence.reference, "honest_loss"]
    rows, compute = [], 0.0
    for experiment in evidence.experiments:
        compute += experiment.device_seconds
        what = outcome(experiment, evidence)
        terms = evidence.terms.get(experiment.number, {})
        honest = _value(experiment.honest_loss)
        rows.append(
            {
                "number": experiment.number,
                "name": printable(experiment.name),
                "parent": _value(experiment.parent),
                "outcome": what,
                "reason": printable(experiment.reason),
                "seed": experiment.seed,
                "loss": _value(experiment.loss),
                "honest_loss": honest,
                "gain": mean - honest,
                "standing": standing(experiment),
                **{f"accuracy_{printable(task)}": value for task, value in sorted(experiment.benchmarks.items())},
                "mark": _value(experiment.mark),
                "fitness": _value(experiment.fitness.get(evidence.ranking)),
                **{f"{term}_term": _value(terms.get(term)) for term in TERMS},
                "parameters": _value(experiment.parameters),
                "flops": _value(experiment.flops),
                "attempts": len(experiment.attempts),
                "device_seconds": experiment.device_seconds,
                "compute": compute,
            }
        )
    return _with_pool(pd.DataFrame(rows, columns=None if rows else ["number", "outcome", "fitness"]), evidence.pool)


def _with_pool(table: pd.DataFrame, pool: int) -> pd.DataFrame:
    best: list[float] = []
    means = []
    for value in table["fitness"]:
        if not math.isnan(value):
            best = sorted([*best, value], reverse=True)[:pool]
        means.append((best[0], float(np.mean(best))) if best else (math.nan, math.nan))
    columns = np.array(means, dtype=np.float64).reshape(-1, 2)
    return table.assign(running_best=columns[:, 0], pool_mean=columns[:, 1])


def baseline_means(evidence: SearchEvidence) -> pd.DataFrame:
    """Baselines by name, means over their runs.

    Columns seeds (how many), honest_loss, seed_sd (NaN of one seed), accuracy_<task>, parameters, flops.
    """
    rows = []
    for name in dict.fromkeys(str(run["name"]) for run in evidence.baselines):
        runs = [run for run in evidence.baselines if run["name"] == name]
        losses = pd.Series([run["honest_loss"] for run in runs], dtype="float64")
        accuracies = pd.DataFrame([run["benchmarks"] for run in runs]).mean()
        sizes = pd.DataFrame([{size: run[size] for size in ("parameters", "flops")} for run in runs], dtype="float64")
        rows.append(
            {
                "name": name,
                "seeds": len(runs),
                "honest_loss": losses.mean(),
                "seed_sd": losses.std(),
                **{f"accuracy_{printable(str(task))}": value for task, value in sorted(accuracies.items())},
                **sizes.mean().to_dict(),
            }
        )
    return pd.DataFrame(rows).set_index("name")


def attempt_table(evidence: SearchEvidence) -> pd.DataFrame:
    """One row a version of a program: experiment, attempt, stage, name, verdict, reason."""
    columns = ["experiment", "attempt", "stage", "name", "verdict", "reason"]
    rows = [
        (experiment.number, place, a.stage, printable(a.name), a.verdict, printable(a.reason))
        for experiment in evidence.experiments
        for place, a in enumerate(experiment.attempts)
    ]
    return pd.DataFrame(rows, columns=columns)


def outcome_table(evidence: SearchEvidence) -> pd.DataFrame:
    """What became of every version of a program and of every experiment: of, outcome, propose, repair, count.

    `propose` and `repair` count versions by stage; an experiment counts under neither.
    """
    attempts = attempt_table(evidence)
    rows: list[tuple[str, str, int, int, int]] = []
    for verdict in VERDICTS:
        here = attempts[attempts["verdict"] == verdict]
        stages = Counter(here["stage"])
        rows.append(("version", verdict, stages["propose"], stages["repair"], len(here)))
    counted = Counter(outcome(experiment, evidence) for experiment in evidence.experiments)
    first = [what for what in SCORED if counted[what]]
    rest = sorted((what for what in counted if what not in first), key=lambda what: (-counted[what], what))
    rows += [("experiment", what, 0, 0, counted[what]) for what in (*first, *rest)]
    table = pd.DataFrame(rows, columns=["of", "outcome", "propose", "repair", "count"])
    return table[table["count"] > 0].reset_index(drop=True)


def rule_table(evidence: SearchEvidence) -> pd.DataFrame:
    """What each discard rule says of the proposals that were trained: thrown away and judged, in all and by standing.

    Columns rule, in_force, judged, thrown, and clean, leaky and not_certified, each also with _thrown.
    """
    proposals = [experiment for experiment in evidence.experiments if experiment.parent is not None]
    rows = []
    for name in sorted({name for experiment in proposals for name in experiment.rules}):
        judged = [e for e in proposals if name in e.rules]
        counted = Counter((standing(e), e.rules[name]) for e in judged)
        row: dict[str, Any] = {"rule": printable(name), "in_force": name in evidence.in_force, "judged": len(judged)}
        row["thrown"] = sum(count for (_, thrown), count in counted.items() if thrown)
        for state in ("clean", "leaky", "not certified"):
            column = state.replace(" ", "_")
            row[column] = counted[state, True] + counted[state, False]
            row[f"{column}_thrown"] = counted[state, True]
        rows.append(row)
    return pd.DataFrame(rows)


def component_table(evidence: SearchEvidence) -> pd.DataFrame:
    """Components of experiments: component, origin, labelled_by, experiments (how many have it so labelled)."""
    counted = Counter(
        (printable(part.component), part.origin, part.labelled_by)
        for experiment in evidence.experiments
        for part in experiment.components
    )
    rows = [(*key, count) for key, count in sorted(counted.items(), key=lambda item: (-item[1], item[0]))]
    return pd.DataFrame(rows, columns=["component", "origin", "labelled_by", "experiments"])


def _value(number: float | None) -> float:
    return math.nan if number is None else float(number)
