"""Did the improvement replicate? Paired reruns of candidates and baselines turned into findings.

The unit is a run (candidate, scale, seed); arms are paired by seed. The score is the honest validation loss: nothing
that follows a position helps there. Verdicts are those of `statistics.decision`: one Holm family for the whole session.
No finding here answers a published claim, so every verdict is `measured` and the outcome stands in
`details.rerun_verdict`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from audit.evidence import Evidence
from audit.finding import Finding, Withheld, name_slug, permitted
from audit.rerun.beside import failure_findings, mixed_model_finding, rank_findings, seed_sd_findings
from audit.rerun.leaks import honest_clause, leak_findings, standings
from audit.rerun.plan import RerunSettings, arm_labels, arm_slugs
from audit.rerun.search_gain import search_findings
from audit.statistics.bootstrap import BCA_FROM, INTERQUARTILE_MEAN_FROM, bca, interquartile_mean_interval
from audit.statistics.decision import Decision, PairedSample, decide
from audit.statistics.estimate import Estimate, Floats
from audit.wording import p_equals, plural, signed, span
from replication.record import MACHINE_STATUSES

__all__ = ["RerunSettings", "audit", "methods_in_use"]

UNIT = "bits per byte"
HEADLINES = {
    "better": "{candidate} scores better than {baseline}",
    "worse": "{candidate} scores worse than {baseline}",
    "equivalent": "{candidate} is equivalent to {baseline}",
    "undecided": "{candidate} against {baseline} is undecided",
}


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One candidate against one baseline at one scale. failures: role -> status -> runs; `missing` is a status too."""

    scale: str
    candidate: str
    baseline: str
    seeds: tuple[int, ...]
    sample: PairedSample
    failures: dict[str, dict[str, int]]

    @property
    def differences(self) -> list[dict[str, float | int]]:
        """Candidate minus baseline of every seed both finished."""
        gaps = (self.sample.candidate - self.sample.baseline).tolist()
        pairs = zip(self.seeds, gaps, strict=True)
        return [{"seed": seed, "difference": gap} for seed, gap in pairs if math.isfinite(gap)]


def audit(evidence: Evidence, cfg: RerunSettings, withheld: Withheld = frozenset()) -> list[Finding]:
    """Findings of METHODS section 1, without the sequential design and the controls; comparisons come first.

    withheld: intervals not to be shown, as (method, n) of `methods_in_use`, because calibration says they do not hold.
    """
    decide_rng, rank_rng, robust_rng = np.random.default_rng(cfg.random_seed).spawn(3)
    comparisons = paired_comparisons(evidence)
    decisions = decide(
        [comparison.sample for comparison in comparisons],
        alpha=1 - cfg.level,
        sesoi=cfg.sesoi,
        power=cfg.power,
        max_seeds=cfg.max_seeds,
        rng=decide_rng,
    )
    tests = 2 * len(comparisons)
    findings = [
        _comparison_finding(evidence, comparison, decision, tests, cfg, robust_rng, withheld)
        for comparison, decision in zip(comparisons, decisions, strict=True)
    ]
    findings += search_findings(evidence, cfg, withheld)
    findings += rank_findings(evidence, cfg, rank_rng, withheld)
    findings += seed_sd_findings(evidence, cfg, withheld)
    findings += mixed_model_finding(evidence, findings, cfg)
    return findings + leak_findings(evidence) + failure_findings(evidence)


def methods_in_use(evidence: Evidence) -> list[tuple[str, int]]:
    """(calibrated method, n) of every interval and test that `audit` rests on for this evidence; n of at least 2."""
    pairs = {len(comparison.differences) for comparison in paired_comparisons(evidence)}
    finished = evidence.runs[evidence.runs["status"] == "ok"]
    seeds = set(finished.groupby(["scale", "candidate"]).size().tolist())
    failed = len(finished) < len(evidence.runs)
    methods = ["decide.difference", "decide.equivalence", "simultaneous_interval", "sign_flip"]
    methods += ["probability_of_improvement"] + ["decide.difference_with_failures"] * failed
    used = {(method, n) for method in methods for n in pairs}
    used |= {("sd_interval", n) for n in pairs | seeds}
    used |= {("interquartile_mean_interval", n) for n in pairs if n >= INTERQUARTILE_MEAN_FROM}
    used |= {("bca.mean", n) for n in pairs if n >= BCA_FROM}
    if len(evidence.scales) > 1:
        used |= {(f"rank_stability.{part}", n) for part in ("interval", "p_value") for n in seeds}
    if not evidence.experiments.empty:
        used |= {(method, n) for method in ("paired_t.interval", "fieller_ratio") for n in pairs}
    return sorted((method, int(n)) for method, n in used if n >= 2)


def paired_comparisons(evidence: Evidence) -> list[Comparison]:
    """Every candidate against every baseline, at every scale where both have runs; in display order.

    A seed that any arm has at a scale counts for every arm there: a run that is not in the table is missing.
    """
    roles = evidence.arms.groupby("role", sort=False)["candidate"].agg(list).to_dict()
    comparisons = []
    for scale in evidence.scales:
        runs = evidence.runs[evidence.runs["scale"] == scale]
        scores = runs.pivot(index="seed", columns="candidate", values="bits_per_byte")
        statuses = runs.pivot(index="seed", columns="candidate", values="status").fillna("missing")
        comparisons += [
            _comparison(scale, candidate, baseline, scores, statuses)
            for candidate in roles.get("candidate", [])
            for baseline in roles.get("baseline", [])
            if candidate in scores.columns and baseline in scores.columns
        ]
    return comparisons


def _comparison(scale: str, candidate: str, baseline: str, scores: pd.DataFrame, statuses: pd.DataFrame) -> Comparison:
    own_a, machine_a = _failures(statuses[candidate].tolist())
    own_b, machine_b = _failures(statuses[baseline].tolist())
    return Comparison(
        scale=scale,
        candidate=candidate,
        baseline=baseline,
        seeds=tuple(int(seed) for seed in scores.index),
        sample=PairedSample(
            candidate=scores[candidate].to_numpy(dtype=np.float64),
            baseline=scores[baseline].to_numpy(dtype=np.float64),
            candidate_own=sum(own_a.values()),
            candidate_machine=sum(machine_a.values()),
            baseline_own=sum(own_b.values()),
            baseline_machine=sum(machine_b.values()),
        ),
        failures={"candidate": own_a | machine_a, "baseline": own_b | machine_b},
    )


def _failures(statuses: list[str]) -> tuple[dict[str, int], dict[str, int]]:
    """Runs by failing status: those that speak against the arm, and those that depend on the machine."""
    counts = {status: statuses.count(status) for status in sorted(set(statuses) - {"ok"})}
    machine = {status: counts.pop(status) for status in (*MACHINE_STATUSES, "missing") if status in counts}
    return counts, machine


def _comparison_finding(
    evidence: Evidence,
    comparison: Comparison,
    decision: Decision,
    tests: int,
    cfg: RerunSettings,
    rng: np.random.Generator,
    withheld: Withheld,
) -> Finding:
    labels, slugs = arm_labels(evidence), arm_slugs(evidence)
    candidate, baseline = labels[comparison.candidate], labels[comparison.baseline]
    interval = permitted(decision.interval, "simultaneous_interval", decision.n, withheld)
    return Finding(
        id=f"replicate.{name_slug(comparison.scale)}.{slugs[comparison.candidate]}.vs_{slugs[comparison.baseline]}",
        question=f"Does {candidate} reach a lower honest validation loss than {baseline} at {comparison.scale}?",
        answer=(
            f"At {comparison.scale}, {HEADLINES[decision.outcome].format(candidate=candidate, baseline=baseline)}: "
            f"mean paired difference {signed(decision.estimate)} {UNIT}, simultaneous {100 * cfg.level:g}% interval "
            f"{span(interval)}, {decision.n} of {plural(len(comparison.seeds), 'seed')} with both finished; "
            f"{_because(decision, cfg.sesoi)}"
            f"{honest_clause(evidence, comparison.scale, (comparison.candidate, comparison.baseline))}."
        ),
        verdict="measured",
        method=(
            "Mean difference of honest validation loss, candidate minus baseline, paired by seed. Outcome and p_value: "
            f"paired t and TOST (±{cfg.sesoi:g} {UNIT}), Holm-adjusted over the {tests} tests of {tests // 2} "
            f"comparisons; p_value is that of the difference. Interval: Bonferroni-simultaneous over the same tests."
        ),
        estimate=decision.estimate,
        unit=UNIT,
        interval=interval,
        level=cfg.level,
        n=decision.n,
        p_value=decision.p_adjusted,
        tables=["tables/comparisons.csv", "tables/seed_differences.csv"],
        figures=["figures/forest.svg"],
        details={
            "kind": "comparison",
            "scale": comparison.scale,
            **_arm_details(evidence, comparison),
            "rerun_verdict": decision.outcome,
            **_test_details(decision, tests, cfg, withheld),
            **_robust_details(comparison.sample.differences, cfg, rng, withheld),
            "seeds": list(comparison.seeds),
            "differences": comparison.differences,
            "failures": comparison.failures,
        },
    )


def _because(decision: Decision, sesoi: float) -> str:
    """What the outcome rests on; for a difference also whether it may still be negligible."""
    if decision.outcome not in ("better", "worse"):
        return decision.reason
    failed = decision.candidate_own + decision.baseline_own
    basis = decision.reason if failed else f"adjusted {p_equals(decision.p_adjusted)}"
    return basis if _beyond(decision, sesoi) else f"{basis}; it may be smaller than the smallest effect of interest"


def _beyond(decision: Decision, sesoi: float) -> bool:
    """Whether the whole simultaneous interval lies beyond the smallest effect of interest."""
    low, high = decision.interval
    return high <= -sesoi or low >= sesoi


def _arm_details(evidence: Evidence, comparison: Comparison) -> dict[str, Any]:
    labels, standing = arm_labels(evidence), standings(evidence)
    names = dict(zip(evidence.arms["candidate"], evidence.arms["name"], strict=True))
    return {
        "candidate": comparison.candidate,
        "candidate_name": names[comparison.candidate],
        "candidate_label": labels[comparison.candidate],
        "candidate_standing": standing[comparison.candidate],
        "baseline": comparison.baseline,
        "baseline_name": names[comparison.baseline],
        "baseline_label": labels[comparison.baseline],
        "baseline_standing": standing[comparison.baseline],
    }


def _test_details(decision: Decision, tests: int, cfg: RerunSettings, withheld: Withheld) -> dict[str, Any]:
    noise_known = decision.sd.interval[1] > 0
    capped = decision.outcome == "undecided" and noise_known and decision.seeds_needed is None
    return {
        "reason": decision.reason,
        "beyond_sesoi": _beyond(decision, cfg.sesoi),
        "comparisons": tests // 2,
        "tests_in_family": tests,
        "sesoi": cfg.sesoi,
        "p_difference": decision.p_adjusted,
        "p_difference_unadjusted": decision.p_value,
        "p_equivalence": decision.p_equivalence_adjusted,
        "p_equivalence_unadjusted": decision.p_equivalence,
        "p_sign_flip": decision.sign_flip.p_value,
        "p_sign_flip_smallest": decision.sign_flip.smallest_p,
        "sd_difference": _shown(decision.sd, "sd_interval", withheld),
        "probability_of_improvement": _shown(
            decision.probability_of_improvement, "probability_of_improvement", withheld
        ),
        "seeds_needed": decision.seeds_needed,
        "seeds_needed_above": cfg.max_seeds if capped else None,
    }


def _robust_details(
    differences: Floats, cfg: RerunSettings, rng: np.random.Generator, withheld: Withheld
) -> dict[str, Any]:
    """Other means of the differences, where there are seeds enough; their intervals are not simultaneous."""
    found: dict[str, Any] = {}
    if len(differences) >= INTERQUARTILE_MEAN_FROM:
        middle = interquartile_mean_interval(differences, cfg.level, rng, cfg.resamples)
        found["interquartile_mean"] = _shown(middle, "interquartile_mean_interval", withheld)
    if len(differences) >= BCA_FROM:
        found["bca_mean"] = _shown(bca(differences, np.mean, cfg.level, rng, cfg.resamples), "bca.mean", withheld)
    return found


def _shown(estimate: Estimate, method: str, withheld: Withheld) -> dict[str, Any]:
    interval = permitted(estimate.interval, method, estimate.n, withheld)
    return {"estimate": estimate.estimate, "interval": list(interval), "n": estimate.n}
