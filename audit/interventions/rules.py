"""Whole searches under different rules against leaks: the intervention of the threshold audit."""

from __future__ import annotations

import pandas as pd

from audit.finding import Finding
from audit.interventions.audit import paired_sample, words
from audit.interventions.plan import InterventionSettings
from audit.statistics.decision import judge
from audit.wording import number, p_equals, plural, signed

ID = "threshold.intervention.honest_outcome"
QUESTION = "Does a search end better, honestly, with a rule against leaks, with none, or with the certificate?"


def rule_finding(outcomes: pd.DataFrame | None, settings: InterventionSettings) -> Finding:
    """Honest loss of the best program of a search under each rule, against no rule. outcomes: None if none were run."""
    compared = ", ".join(words(rule) for rule in settings.rules)
    method = (
        f"Fixed beforehand: honest loss of the kept program with the lowest loss at search time, trained again on "
        f"{settings.confirm.seeds} fresh seeds; {compared}, each against {words(settings.no_rule)}, paired by search "
        f"seed; paired t and TOST (±{settings.sesoi:g} bits per byte), Holm-adjusted over all of them at level "
        f"{settings.level:g}. The whole loop is the one with the certificate as its rule."
    )
    ran = set() if outcomes is None else set(outcomes["arm"])
    rules = [rule for rule in settings.rules if rule in ran]
    if outcomes is None or settings.no_rule not in ran or not rules:
        return Finding(
            id=ID,
            question=QUESTION,
            answer=(
                f"Not tested: no such searches are kept. Declared: {settings.seeds} searches of "
                f"{plural(settings.experiments, 'experiment')} under each of {compared}, {words(settings.no_rule)}."
            ),
            verdict="not_testable",
            method=method,
            n=0,
            details={"kind": "intervention", "outcome": "not_testable"},
        )
    samples = [paired_sample(outcomes, rule, settings.no_rule) for rule in rules]
    judged = judge(samples, alpha=1 - settings.level, sesoi=settings.sesoi)
    means = outcomes.groupby("arm")[["leak_share", "confirmed", "claims", "best_bits"]].mean()
    leaky = outcomes[outcomes["best_standing"] == "leaky"].groupby("arm").size()
    told = []
    for rule, said in zip(rules, judged, strict=True):
        told.append(
            f"{words(rule)}: {signed(said.t.estimate, 4)} bits per byte, {p_equals(said.p_adjusted)}, {said.outcome}"
        )
    described = "; ".join(
        f"{words(arm)}: best {number(means.loc[arm, 'best_bits'], 4)}, "
        f"{number(100 * means.loc[arm, 'leak_share'], 0)}% leaks among the kept, "
        f"{int(leaky.get(arm, 0))} of {int((outcomes['arm'] == arm).sum())} searches with a leaky best, "
        f"{number(means.loc[arm, 'confirmed'], 1)} of {number(means.loc[arm, 'claims'], 1)} claims confirmed"
        for arm in (*rules, settings.no_rule)
    )
    return Finding(
        id=ID,
        question=QUESTION,
        answer=(
            f"Against {words(settings.no_rule)}, lower being better: {'; '.join(told)}. Of a search: {described}. "
            "This is this project's loop at a proxy scale, with leaks as often as its proposer is told to make them."
        ),
        verdict="measured",
        method=method,
        n=int(outcomes["seed"].nunique()),
        details={
            "kind": "intervention",
            "outcome": {rule: said.outcome for rule, said in zip(rules, judged, strict=True)},
            "differences": {rule: said.t.estimate for rule, said in zip(rules, judged, strict=True)},
            "p_adjusted": {rule: said.p_adjusted for rule, said in zip(rules, judged, strict=True)},
        },
    )
