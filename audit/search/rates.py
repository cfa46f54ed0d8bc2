"""Shares of a search: what brought no score, and what each discard rule would have thrown away."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

from audit.finding import Finding, Withheld, name_slug, permitted
from audit.search.evidence import KEPT, SCORED, SearchEvidence, attempt_table, outcome, rule_table
from audit.statistics.estimate import NO_INTERVAL
from audit.statistics.proportions import clopper_pearson
from audit.wording import plural

EXACT = (
    "Interval: Clopper-Pearson, exact for independent draws; proposals of one search learn from each other, so it is a "
    "guide and no more."
)
FAILURE_METHOD = f"Unit: an experiment with a parent; a failure is one without a score, whatever the reason. {EXACT}"
RULE_METHOD = (
    "A run is judged by every rule, also by those that were not in force. Truth: the certificate and the "
    "trained run (clean: certified, and not seen to look ahead). What a check refused before training or a rule "
    "stopped during it has no final loss and is not counted. The loss here is the final one; a rule in force reads "
    f"the training loss. {EXACT}"
)


def failure_findings(evidence: SearchEvidence, level: float, withheld: Withheld) -> list[Finding]:
    """The share of proposals that brought no score; none where nothing was proposed."""
    proposals = [experiment for experiment in evidence.experiments if experiment.parent is not None]
    n = len(proposals)
    if not n:
        return []
    counts = dict(Counter(outcome(experiment, evidence) for experiment in proposals).most_common())
    failed = sum(count for what, count in counts.items() if what not in SCORED)
    share = clopper_pearson(failed, n, level)
    interval = permitted(share.interval, "clopper_pearson", n, withheld)
    why = ", ".join(f"{count} {what.replace('_', ' ')}" for what, count in counts.items() if what != KEPT)
    finding = Finding(
        id=f"search.{name_slug(evidence.name)}.failures",
        question="How many proposals brought no score?",
        answer=(
            f"{failed} of {plural(n, 'proposal')} brought no score: {100 * share.estimate:.0f}% "
            f"({_percents(interval, level)}). Not kept: {why or 'none'}."
        ),
        verdict="measured",
        method=FAILURE_METHOD,
        estimate=share.estimate,
        unit="share of the proposals",
        interval=interval,
        level=level,
        n=n,
        tables=["tables/outcomes.csv", "tables/attempts.csv"],
        figures=["figures/outcomes.svg"],
        details={
            "kind": "failures",
            "proposals": counts,
            "versions": {str(k): int(v) for k, v in attempt_table(evidence)["verdict"].value_counts().items()},
        },
    )
    return [finding]


def rule_findings(evidence: SearchEvidence, level: float, withheld: Withheld) -> list[Finding]:
    """For each discard rule: how many finished runs it would have thrown away, and how many of those are clean."""
    return [_rule_finding(evidence, row, level, withheld) for row in rule_table(evidence).to_dict("records")]


def _rule_finding(evidence: SearchEvidence, row: dict[str, Any], level: float, withheld: Withheld) -> Finding:
    share = clopper_pearson(row["clean_thrown"], row["clean"], level)
    interval = permitted(share.interval, "clopper_pearson", row["clean"], withheld)
    tail = "No judged run is certified clean."
    if row["clean"] and row["rule"] == "certificate":
        tail, interval = "It throws away none of the clean ones, by definition.", NO_INTERVAL  # NaN: none
    elif row["clean"]:
        tail = f"Of the {row['clean']} clean ones that is {100 * share.estimate:.0f}% ({_percents(interval, level)})."
    unsure = f", {row['not_certified_thrown']} not certified" if row["not_certified_thrown"] else ""
    force = "in force, so what it stopped earlier is not among these" if row["in_force"] else "not in force"
    return Finding(
        id=f"search.{name_slug(evidence.name)}.rules.{name_slug(row['rule'])}",
        question=f"What would the rule {row['rule']} throw away?",
        answer=(
            f"The rule {row['rule']} ({force}) throws away {row['thrown']} of {plural(row['judged'], 'judged run')}: "
            f"{row['clean_thrown']} certified clean, {row['leaky_thrown']} leaky{unsure}. {tail}"
        ),
        verdict="measured",
        method=RULE_METHOD,
        estimate=None if not row["clean"] else share.estimate,
        unit="share of the certified clean runs",
        interval=interval if row["clean"] and math.isfinite(interval[0]) else None,
        level=level,
        n=row["clean"],
        tables=["tables/rules.csv"],
        details={"kind": "rule", **row},
    )


def _percents(interval: tuple[float, float], level: float) -> str:
    if not all(map(math.isfinite, interval)):
        return "no interval"
    return f"{100 * level:g}% interval {100 * interval[0]:.0f}% to {100 * interval[1]:.0f}%"
