"""What does the rule "a loss far below baseline means a leak" keep and throw away?

The rule is judged as a diagnostic test, with the causality certificate as truth. No finding here answers a published
claim about another scale: verdicts are `measured`, or `not_testable` where the data cannot tell.
"""

from __future__ import annotations

from audit.finding import Finding, Withheld
from audit.statistics.roc import AREA_INTERVAL_FROM
from audit.statistics.simulation import ROC_AREAS
from audit.threshold.evidence import ThresholdEvidence
from audit.threshold.leaks import census_findings, leakage_findings
from audit.threshold.mixed import mixed_findings
from audit.threshold.outcomes import outcome_findings
from audit.threshold.plan import ThresholdSettings
from audit.threshold.published import published_findings
from audit.threshold.rates import rate_findings, rate_table
from audit.threshold.selection import selection_findings, selection_table

__all__ = ["ThresholdSettings", "audit", "methods_in_use"]


def audit(evidence: ThresholdEvidence, cfg: ThresholdSettings, withheld: Withheld = frozenset()) -> list[Finding]:
    """Findings of METHODS section 2; those about the rule come first, then one a certified program.

    withheld: intervals not to be shown, as (method, n) of `methods_in_use`, because calibration says they do not hold.
    """
    findings = rate_findings(evidence, cfg, withheld)
    findings += outcome_findings(evidence, cfg)
    findings += selection_findings(evidence, cfg, withheld)
    findings += mixed_findings(evidence, cfg)
    findings += census_findings(evidence)
    findings += published_findings(evidence, cfg)
    return findings + leakage_findings(evidence)


def methods_in_use(evidence: ThresholdEvidence, cfg: ThresholdSettings) -> list[tuple[str, int]]:
    """(calibrated method, n) of every interval that `audit` rests on for this evidence."""
    used: set[tuple[str, int]] = set()
    for row in rate_table(evidence, cfg).to_dict("records"):
        discarded = row["leaky_discarded"] + row["clean_discarded"]
        used |= {("clopper_pearson", n) for n in (row["leaky"], row["clean"], discarded) if n}
        if (smaller := min(row["leaky"], row["clean"])) >= AREA_INTERVAL_FROM:
            used |= {(method, smaller) for method in ROC_AREAS}
    selected = selection_table(evidence, cfg).dropna(subset=["honest_difference"])
    seeds = set(selected.groupby(["source", "scale", "rule"]).size())
    used |= {("paired_t.interval", n) for n in seeds if n >= 2}
    return sorted((method, int(n)) for method, n in used)
