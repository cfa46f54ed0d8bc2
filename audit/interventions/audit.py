"""What does leaving out a module, or another rule against leaks, do to what a search finds?

The search seed is the unit: searches of one seed are pairs, and their experiments are never pooled. All of it is
measured on this project's own loop with its built-in proposer; nothing here answers a claim about ASI-Arch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from audit.finding import Finding, Withheld, permitted
from audit.interventions.plan import InterventionSettings
from audit.statistics.decision import PairedSample, judge
from audit.statistics.estimate import NO_INTERVAL, Floats
from audit.statistics.multiplicity import holm
from audit.statistics.paired import PairedT, Ratio, paired_t
from audit.statistics.paired_ratio import detectable_difference, paired_ratio
from audit.wording import number, p_equals, signed, span
from replication.settings import require

RATIO_METHOD, DIFFERENCE_METHOD = "paired_ratio", "paired_t.interval"
ARM_WORDS = {
    "full": "the whole loop",
    "without_cognition": "the loop without knowledge from papers",
    "without_analysis": "the loop without its own experience",
    "random": "random proposals",
    "no_op": "proposals that change nothing",
    "below_10": "the rule “more than 10% below is a leak”",
    "below_2": "the rule “more than 2% below is a leak”",
    "no_rule": "no rule against leaks",
}
OUTCOMES = {  # column of the outcomes -> what it is, in words
    "false_share": "share of claims that were not confirmed",
    "leak_share": "share of leaks among the kept proposals",
}


@dataclass(frozen=True, kw_only=True)
class RateContrast:
    """Confirmed claims per device hour of an arm over those of the reference arm, by search seed.

    detectable: the ratios, below and above 1, that so many seeds would show with the power of the plan; below 0 where
    none below 1 would be shown, NaN where the data tell nothing of it.
    """

    arm: str
    ratio: Ratio
    test: PairedT
    p_adjusted: float
    detectable: tuple[float, float]
    confirmed: tuple[int, int]
    per_experiment: float


def words(arm: str) -> str:
    """What an arm is, in words; its name where the plan has one of its own."""
    return ARM_WORDS.get(arm, arm.replace("_", " "))


def contrasted(outcomes: pd.DataFrame, arm: str, against: str, column: str) -> tuple[Floats, Floats]:
    """A column of two arms by search seed, both [n]; seeds that either lacks, or where either is NaN, are left out."""
    table = outcomes.pivot(index="seed", columns="arm", values=column)
    pairs = table[[arm, against]].dropna().to_numpy(dtype=np.float64)
    return pairs[:, 0], pairs[:, 1]


def other_arms(outcomes: pd.DataFrame, settings: InterventionSettings) -> list[str]:
    """Arms that were run, in the order of the plan, but for the one that they are compared with.

    Raises:
        InputError: that one was not run.
    """
    there, against = set(outcomes["arm"]), settings.reference_arm
    require(against in there, f"interventions.reference_arm: the kept results have no arm {against!r}")
    return [arm for arm in settings.arms if arm in there and arm != settings.reference_arm]


def rate_contrasts(
    outcomes: pd.DataFrame, settings: InterventionSettings, rate: str = "rate", count: str = "confirmed"
) -> list[RateContrast]:
    """Every arm against the reference arm; p-values Holm-adjusted over the arms. rate, count: columns of outcomes."""
    arms, against = other_arms(outcomes, settings), settings.reference_arm
    totals = outcomes.groupby("arm")[[count, "experiments"]].sum()
    pairs = [contrasted(outcomes, arm, against, rate) for arm in arms]
    tests = [paired_t(first - second, settings.level) for first, second in pairs]
    adjusted = holm([test.p_value for test in tests])
    found = []
    for arm, (first, second), test, p_adjusted in zip(arms, pairs, tests, adjusted, strict=True):
        reach = detectable_difference(test.sd, test.n, alpha=(1 - settings.level) / len(arms), power=settings.power)
        reach /= float(second.mean()) if second.mean() > 0 else math.nan
        shares = totals[count] / totals["experiments"]
        found.append(
            RateContrast(
                arm=arm,
                ratio=_ratio(first, second, settings.level),
                test=test,
                p_adjusted=float(p_adjusted),
                detectable=(1.0 - reach, 1.0 + reach),
                confirmed=(int(totals.loc[arm, count]), int(totals.loc[against, count])),
                per_experiment=float(shares[arm] / shares[against]) if shares[against] else math.nan,
            )
        )
    return found


def _ratio(first: Floats, second: Floats, level: float) -> Ratio:
    """`paired_ratio` of rates, which are not negative; unbounded without two pairs or where the first finds nothing."""
    if len(first) < 2 or not first.any():
        estimate = 0.0 if len(first) >= 2 and second.any() else math.nan
        return Ratio(estimate=estimate, interval=NO_INTERVAL, kind="unbounded")
    found = paired_ratio(first, second, level)
    return (
        replace(found, interval=(max(0.0, found.interval[0]), found.interval[1])) if found.kind == "bounded" else found
    )


def _rate_answer(
    one: RateContrast, interval: tuple[float, float] | None, outcome: str, settings: InterventionSettings
) -> str:
    if not any(one.confirmed):
        return f"No claim was confirmed in {one.test.n} searches of either, so there is no ratio."
    limits = f"{number(interval[0], 2)} to {number(interval[1], 2)}" if interval else "no bounded interval"
    told = "the two are not told apart" if outcome == "undecided" else f"there are {outcome}"
    return (
        f"{number(one.ratio.estimate, 2)} times as many ({limits}): {one.confirmed[0]} confirmed in {one.test.n} "
        f"searches against {one.confirmed[1]}, {p_equals(one.p_adjusted)} after correction, so {told}. "
        f"{_detectable_words(one, settings)}"
    )


def _detectable_words(one: RateContrast, settings: InterventionSettings) -> str:
    low, high = one.detectable
    if not math.isfinite(high):
        return "Which ratio so many searches would show is not known."
    below = f"a ratio below {number(low, 2)}" if low > 0 else "no ratio below 1, and one"
    return (
        f"With {settings.power:.0%} probability, {one.test.n} pairs of searches would show {below}"
        f"{' or' if low > 0 else ''} above {number(high, 2)}."
    )


def audit(outcomes: pd.DataFrame, settings: InterventionSettings, withheld: Withheld) -> list[Finding]:
    """Rate ratio, best program, false claims and leaks of every arm against the reference arm."""
    weaker = rate_contrasts(outcomes, settings, "weaker_rate", "weaker_confirmed")
    return [
        *(_rate_finding(one, settings, withheld) for one in rate_contrasts(outcomes, settings)),
        *(_weaker(_rate_finding(one, settings, withheld), settings) for one in weaker),
        *_best_findings(outcomes, settings, withheld),
        *(finding for column in OUTCOMES for finding in _share_findings(outcomes, column, settings, withheld)),
    ]


def methods_in_use(outcomes: pd.DataFrame, settings: InterventionSettings) -> list[tuple[str, int]]:
    """(calibrated method, n) of every interval that `audit` and `rule_finding` give."""
    arms, against = other_arms(outcomes, settings), settings.reference_arm
    columns = dict.fromkeys(("rate", "weaker_rate"), RATIO_METHOD) | dict.fromkeys(
        ("best_bits", *OUTCOMES), DIFFERENCE_METHOD
    )
    found = {
        (method, len(contrasted(outcomes, arm, against, column)[0]))
        for column, method in columns.items()
        for arm in arms
    }
    return sorted((method, n) for method, n in found if n >= 2)


def _rate_finding(one: RateContrast, settings: InterventionSettings, withheld: Withheld) -> Finding:
    interval = permitted(one.ratio.interval, RATIO_METHOD, one.test.n, withheld)
    bounded = one.ratio.kind == "bounded" and all(map(math.isfinite, interval))
    different = one.p_adjusted < 1 - settings.level
    outcome = ("fewer" if one.test.estimate < 0 else "more") if different else "undecided"
    against = words(settings.reference_arm)
    return Finding(
        id=f"interventions.{one.arm}.rate_ratio",
        question=f"How many confirmed discoveries an hour of compute does {words(one.arm)} make, against {against}?",
        answer=_rate_answer(one, interval if bounded else None, outcome, settings),
        verdict="measured",
        method=(
            "Confirmed claims per device hour of a search, paired by search seed: Fieller's set of the ratio of the "
            "means, paired t of the difference, Holm over the arms. Smallest detectable ratio: two-sided t with the SD "
            "seen, at the first level of Holm."
        ),
        estimate=one.ratio.estimate,
        unit="ratio",
        interval=interval if bounded else None,
        level=settings.level,
        n=one.test.n,
        p_value=one.p_adjusted,
        figures=("figures/interventions.svg",),
        tables=("tables/intervention_searches.csv",),
        details={
            "kind": "rate_ratio",
            "outcome": outcome,
            "arm": one.arm,
            "confidence_set": one.ratio.kind,
            "confirmed": one.confirmed,
            "per_experiment": one.per_experiment,
            "detectable": one.detectable,
            "p_unadjusted": one.test.p_value,
        },
    )


def _weaker(finding: Finding, settings: InterventionSettings) -> Finding:
    """The finding of the criterion that was added after the data."""
    name = settings.exploratory.baseline
    return replace(
        finding,
        id=finding.id.replace(".rate_ratio", ".exploratory_rate_ratio"),
        question=f"{finding.question.removesuffix('?')}, where a claim need only beat {name} again?",
        answer=f"Exploratory, added after the plan’s criterion had confirmed too little: {finding.answer}",
        method=f"{finding.method} Confirmed against {name} alone, a criterion that was not registered.",
        details={**finding.details, "kind": "exploratory_rate_ratio", "baseline": name},
    )


def paired_sample(outcomes: pd.DataFrame, arm: str, against: str) -> PairedSample:
    """Bits per byte of the best by search seed; a search whose best has none counts against its arm."""
    table = outcomes.pivot(index="seed", columns="arm", values="best_bits")
    candidate, baseline = (table[name].to_numpy(dtype=np.float64) for name in (arm, against))
    return PairedSample(
        candidate=candidate,
        baseline=baseline,
        candidate_own=int(np.isnan(candidate).sum()),
        candidate_machine=0,
        baseline_own=int(np.isnan(baseline).sum()),
        baseline_machine=0,
    )


def _best_findings(outcomes: pd.DataFrame, settings: InterventionSettings, withheld: Withheld) -> list[Finding]:
    arms, against = other_arms(outcomes, settings), settings.reference_arm
    samples = [paired_sample(outcomes, arm, against) for arm in arms]
    found = []
    for arm, sample, said in zip(
        arms, samples, judge(samples, alpha=1 - settings.level, sesoi=settings.sesoi), strict=True
    ):
        interval = permitted(said.t.interval, DIFFERENCE_METHOD, said.t.n, withheld)
        failed, theirs = sample.candidate_own, sample.baseline_own
        found.append(
            Finding(
                id=f"interventions.{arm}.best",
                question=f"How good, honestly, is the best program of {words(arm)}, against {words(against)}?",
                answer=(
                    f"{signed(said.t.estimate, 4)} bits per byte ({span(interval, 4)}), lower is better: "
                    f"{said.outcome}. Both were trained again on fresh seeds."
                    + (f" {failed} of its searches kept nothing that could be trained again." if failed else "")
                    + (f" {theirs} searches of {words(against)} kept nothing such." if theirs else "")
                ),
                verdict="measured",
                method=(
                    f"Honest loss of the program with the lowest loss at search time, mean over fresh seeds, paired by "
                    f"search seed: paired t and TOST (±{settings.sesoi:g}), one Holm family over the arms."
                ),
                estimate=said.t.estimate,
                unit="bits per byte",
                interval=interval,
                level=settings.level,
                n=said.t.n,
                p_value=said.p_adjusted,
                figures=("figures/interventions.svg",),
                tables=("tables/intervention_searches.csv",),
                details={
                    "kind": "best",
                    "outcome": said.outcome,
                    "arm": arm,
                    "p_equivalence": said.p_equivalence_adjusted,
                    "failed": failed,
                },
            )
        )
    return found


def _share_findings(
    outcomes: pd.DataFrame, column: str, settings: InterventionSettings, withheld: Withheld
) -> list[Finding]:
    arms, against = other_arms(outcomes, settings), settings.reference_arm
    pairs = [contrasted(outcomes, arm, against, column) for arm in arms]
    tests = [paired_t(first - second, settings.level) for first, second in pairs]
    found = []
    for arm, (first, second), test, p_value in zip(arms, pairs, tests, holm([t.p_value for t in tests]), strict=True):
        interval = permitted(test.interval, DIFFERENCE_METHOD, test.n, withheld)
        different = float(p_value) < 1 - settings.level
        outcome = ("lower" if test.estimate < 0 else "higher") if different else "undecided"
        limits = (100 * interval[0], 100 * interval[1])
        means = (
            f"{100 * float(first.mean()):.1f}% against {100 * float(second.mean()):.1f}%" if len(first) else "no pair"
        )
        found.append(
            Finding(
                id=f"interventions.{arm}.{column}",
                question=f"What is the {OUTCOMES[column]} in {words(arm)}, against {words(settings.reference_arm)}?",
                answer=(
                    f"{means}: {signed(100 * test.estimate, 1)} points ({span(limits, 1)}), "
                    f"{p_equals(float(p_value))} after correction: {outcome}."
                ),
                verdict="measured",
                method="Share of a search, paired by search seed: paired t, Holm over the arms.",
                estimate=test.estimate,
                unit="share",
                interval=interval,
                level=settings.level,
                n=test.n,
                p_value=float(p_value),
                figures=("figures/interventions.svg",),
                tables=("tables/intervention_searches.csv",),
                details={"kind": column, "outcome": outcome, "arm": arm},
            )
        )
    return found
