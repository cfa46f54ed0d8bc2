"""What stands beside the comparisons of a rerun: seed noise, rank stability, a mixed model, failed runs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from audit.evidence import Evidence
from audit.finding import Finding, Withheld, name_slug, permitted
from audit.rerun.plan import RerunSettings, arm_labels, arm_slugs
from audit.statistics.agreement import RankStability, rank_stability
from audit.statistics.estimate import Floats
from audit.statistics.mixed import Contrast, MixedModel, mixed_model
from audit.statistics.paired import sd_interval
from audit.wording import number, p_equals, plural, signed, span

FEWEST_RANKED_ARMS = 3


def seed_sd_findings(evidence: Evidence, cfg: RerunSettings, withheld: Withheld) -> list[Finding]:
    """Seed SD of every arm with at least two finished runs at a scale."""
    finished = evidence.runs[evidence.runs["status"] == "ok"]
    return [
        _seed_sd_finding(evidence, scale, arm, runs["bits_per_byte"].to_numpy(dtype=np.float64), cfg, withheld)
        for (scale, arm), runs in finished.groupby(["scale", "candidate"], sort=False)
        if len(runs) > 1
    ]


def _seed_sd_finding(
    evidence: Evidence, scale: str, arm: str, losses: Floats, cfg: RerunSettings, withheld: Withheld
) -> Finding:
    label = arm_labels(evidence)[arm]
    noise = sd_interval(losses, cfg.level)
    interval = permitted(noise.interval, "sd_interval", noise.n, withheld)
    limits = f"{number(interval[0], 4)} to {number(interval[1], 4)}" if math.isfinite(interval[0]) else "none at this n"
    return Finding(
        id=f"replicate.{name_slug(scale)}.seed_sd.{arm_slugs(evidence)[arm]}",
        question=f"How much does the loss of {label} vary from seed to seed at {scale}?",
        answer=(
            f"At {scale}, the loss of {label} has an SD of {number(noise.estimate, 4)} bits per byte over "
            f"{plural(noise.n, 'finished seed')}, {100 * cfg.level:g}% interval {limits}."
        ),
        verdict="measured",
        method="Sample SD; interval normal on the log variance, widened for heavy tails; not simultaneous over arms.",
        estimate=noise.estimate,
        unit="bits per byte",
        interval=interval,
        level=cfg.level,
        n=noise.n,
        tables=["tables/seed_noise.csv"],
        details={"kind": "seed_sd", "scale": scale, "candidate": arm, "label": label, "mean": float(losses.mean())},
    )


def rank_findings(
    evidence: Evidence, cfg: RerunSettings, rng: np.random.Generator, withheld: Withheld
) -> list[Finding]:
    """Kendall's tau between every two scales, over the arms that finished every seed both scales have."""
    findings = []
    for small, large in combinations(evidence.scales, 2):
        tables = [_score_table(evidence, scale) for scale in (small, large)]
        seeds = tables[0].columns.intersection(tables[1].columns)
        complete = [table[seeds].dropna() for table in tables]
        arms = [arm for arm in evidence.arms["candidate"] if all(arm in table.index for table in complete)]
        if len(arms) >= FEWEST_RANKED_ARMS and len(seeds) > 0:
            scores = [table.loc[arms].to_numpy(dtype=np.float64) for table in complete]
            stability = rank_stability(scores[0], scores[1], cfg.level, rng, cfg.resamples)
            best = [arms[int(table.mean(axis=1).argmin())] for table in scores]
            findings.append(_rank_finding(evidence, (small, large), arms, best, len(seeds), stability, cfg, withheld))
    return findings


def _rank_finding(
    evidence: Evidence,
    scales: tuple[str, str],
    arms: list[str],
    best: list[str],
    seeds: int,
    stability: RankStability,
    cfg: RerunSettings,
    withheld: Withheld,
) -> Finding:
    small, large = scales
    labels = arm_labels(evidence)
    interval = permitted(stability.interval, "rank_stability.interval", seeds, withheld)
    top = labels[best[0]] if best[0] == best[1] else f"{labels[best[0]]} at {small} and {labels[best[1]]} at {large}"
    return Finding(
        id=f"replicate.rank_stability.{name_slug(small)}_{name_slug(large)}",
        question=f"Do {small} and {large} rank the arms alike?",
        answer=(
            f"The mean losses of {len(arms)} arms at {small} and {large} have Kendall's tau {signed(stability.tau, 2)} "
            f"({100 * cfg.level:g}% confidence set {span(interval, 2)}; {stability.pairs_settled} of "
            f"{plural(stability.pairs, 'pair')} of arms have a settled order at both; {plural(seeds, 'seed')}; "
            f"{p_equals(stability.p_value)} against unrelated rankings). The lowest mean loss is that of {top}; "
            f"with seeds resampled, both scales have the same best arm {number(100 * stability.top_agreement, 0)}% "
            "of the time."
        ),
        verdict="measured",
        method=(
            "Kendall's tau-b of mean losses over seeds. Confidence set: pairs of arms whose order Holm-adjusted paired "
            "t settles at both scales are fixed, the others may go either way. p: permutation. The scales differ in "
            "model size and in training tokens, so this is no statement about scaling."
        ),
        estimate=stability.tau,
        unit="Kendall's tau",
        interval=interval,
        level=cfg.level,
        n=len(arms),
        p_value=stability.p_value,
        figures=["figures/ranks.svg"],
        details={
            "kind": "rank_stability",
            "scales": list(scales),
            "arms": [labels[arm] for arm in arms],
            "left_out": [label for arm, label in labels.items() if arm not in arms],
            "seeds": seeds,
            "pairs": stability.pairs,
            "pairs_settled": stability.pairs_settled,
            "top_agreement": stability.top_agreement,
        },
    )


def mixed_model_finding(evidence: Evidence, comparisons: Sequence[Finding], cfg: RerunSettings) -> list[Finding]:
    """A cross-check of all comparisons by one mixed model; empty where there is nothing to compare."""
    frame = evidence.runs.rename(columns={"bits_per_byte": "loss"})[["candidate", "scale", "seed", "loss"]]
    baselines = evidence.arms.loc[evidence.arms["role"] == "baseline", "candidate"].tolist()
    model = mixed_model(frame, baselines)
    if not model.contrasts:
        return []
    reach = float(stats.norm.ppf(1 - (1 - cfg.level) / (4 * len(model.contrasts))))  # two tests a comparison, two sides
    outcomes = {
        (finding.details["candidate"], finding.details["baseline"], finding.details["scale"]): finding.details
        for finding in comparisons
        if finding.details["kind"] == "comparison"
    }
    rows = [_contrast_row(contrast, reach, outcomes) for contrast in model.contrasts]
    return [
        Finding(
            id="replicate.mixed_model",
            question="Does one mixed model over all runs agree with the paired comparisons?",
            answer=_mixed_answer(model, rows),
            verdict="measured",
            method=(
                "loss ~ arm x scale + (1 | seed) by REML over finished runs; Wald intervals, Bonferroni-simultaneous. "
                "It assumes one residual SD for all arms and scales, and cannot hold failed runs: a cross-check only."
            ),
            unit="bits per byte",
            level=cfg.level,
            n=model.rows,
            details={
                "kind": "mixed_model",
                "status": model.status,
                "seed_sd": model.seed_sd,
                "residual_sd": model.residual_sd,
                "rows_without_loss": model.rows_without_loss,
                "contrasts": rows,
            },
        )
    ]


def _contrast_row(
    contrast: Contrast, reach: float, outcomes: Mapping[tuple[str, str, str], Mapping[str, Any]]
) -> dict[str, Any]:
    """A contrast with its interval, its side of zero, and the paired outcome it is to be compared with."""
    paired = outcomes[contrast.candidate, contrast.baseline, contrast.scale]
    low, high = (contrast.estimate + sign * reach * contrast.standard_error for sign in (-1, 1))
    return {
        "scale": contrast.scale,
        "candidate": paired["candidate_label"],
        "baseline": paired["baseline_label"],
        "estimate": contrast.estimate,
        "standard_error": contrast.standard_error,
        "interval": [low, high],
        "side": "better" if high < 0 else "worse" if low > 0 else "open",
        "paired_outcome": paired["rerun_verdict"],
    }


def _mixed_answer(model: MixedModel, rows: Sequence[Mapping[str, Any]]) -> str:
    if not all(math.isfinite(row["standard_error"]) for row in rows):
        return f"The mixed model gives no cross-check on these {plural(model.rows, 'run')}: {model.status}."
    decided = [row for row in rows if row["paired_outcome"] in ("better", "worse")]
    same = sum(row["side"] == row["paired_outcome"] for row in decided)
    opposite = sum(row["side"] not in (row["paired_outcome"], "open") for row in decided)
    undecided = [row for row in rows if row["paired_outcome"] == "undecided"]
    settled = sum(row["side"] != "open" for row in undecided)
    without = f" ({plural(model.rows_without_loss, 'failed run')} left out)" if model.rows_without_loss else ""
    caution = "" if model.converged else f" Its fit is to be read with care: {model.status.rstrip('.')}."
    return (
        f"Of {plural(len(decided), 'comparison')} judged better or worse, the mixed model over "
        f"{plural(model.rows, 'finished run')}{without} puts {same} on the same side of zero, {opposite} on the other "
        f"and leaves {len(decided) - same - opposite} open; of {len(undecided)} undecided ones, its pooled noise would "
        f"settle {settled}.{caution}"
    )


def failure_findings(evidence: Evidence) -> list[Finding]:
    """How many runs of each scale failed, and how; seeds without a run in the table count as missing."""
    return [_failure_finding(evidence, scale) for scale in evidence.scales]


def _failure_finding(evidence: Evidence, scale: str) -> Finding:
    runs = evidence.runs[evidence.runs["scale"] == scale]
    statuses = runs.pivot(index="seed", columns="candidate", values="status").fillna("missing")
    by_arm = {}
    for arm, label in arm_labels(evidence).items():
        found = statuses[arm].tolist() if arm in statuses.columns else []
        counts = {status: found.count(status) for status in sorted(set(found) - {"ok"})}
        if counts:
            by_arm[label] = counts
    failed = sum(sum(counts.values()) for counts in by_arm.values())
    named = "; ".join(
        f"{label}: {', '.join(f'{times} {status}' for status, times in counts.items())}"
        for label, counts in by_arm.items()
    )
    return Finding(
        id=f"replicate.{name_slug(scale)}.failures",
        question=f"Which runs at {scale} failed?",
        answer=f"At {scale}, {failed} of {plural(statuses.size, 'run')} failed{f' ({named})' if named else ''}.",
        verdict="measured",
        method="Counts of runs by status; a failed run has a status and no score, and is never dropped.",
        estimate=float(failed),
        unit="runs",
        n=int(statuses.size),
        tables=["tables/runs.csv", "tables/failures.csv"],
        details={"kind": "failures", "scale": scale, "by_arm": by_arm},
    )


def _score_table(evidence: Evidence, scale: str) -> pd.DataFrame:
    """Arms by seeds, bits per byte, NaN where a run failed or is missing."""
    runs = evidence.runs[evidence.runs["scale"] == scale]
    return runs.pivot(index="candidate", columns="seed", values="bits_per_byte")
