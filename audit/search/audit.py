"""Every finding of a search. All of them are `measured`: a search of one seed a program supports nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from audit.finding import Finding, Withheld
from audit.search.evidence import DISCARDED, KEPT, SCORED, START, UNRANKED, SearchEvidence, experiment_table, rule_table
from audit.search.gains import best_findings, discovery_findings
from audit.search.rates import failure_findings, rule_findings
from audit.wording import plural
from replication.settings import require


@dataclass(frozen=True, kw_only=True)
class SearchAuditSettings:
    """conf/audit/search.yaml, where every setting is explained."""

    level: float
    shown: int
    registered_plan: str

    def __post_init__(self) -> None:
        require(0.5 < self.level < 1, f"audit.level: must lie between 0.5 and 1, got {self.level}")
        require(self.shown >= 1, f"audit.shown: must be at least 1, got {self.shown}")

    @property
    def plan(self) -> dict[str, Any]:
        """Everything that decides; what `registered_plan` is the sha256 of."""
        return {key: value for key, value in dataclasses.asdict(self).items() if key != "registered_plan"}


def audit(evidence: SearchEvidence, cfg: SearchAuditSettings, withheld: Withheld) -> list[Finding]:
    """Best gain, discoveries, failures, and what each discard rule would have thrown away."""
    return [
        *best_findings(evidence, cfg.level),
        *discovery_findings(evidence),
        *failure_findings(evidence, cfg.level, withheld),
        *rule_findings(evidence, cfg.level, withheld),
    ]


def methods_in_use(evidence: SearchEvidence) -> list[tuple[str, int]]:
    """(calibrated method, n) of every interval that `audit` gives and calibration knows."""
    rules = rule_table(evidence)
    proposals = sum(experiment.parent is not None for experiment in evidence.experiments)
    sizes = {proposals, *(rules["clean"] if not rules.empty else ())}
    return [("clopper_pearson", int(n)) for n in sorted(sizes) if n]


def summary(evidence: SearchEvidence, findings: Sequence[Finding]) -> list[str]:
    """The search in plain sentences, the verdict first."""
    table = experiment_table(evidence)
    if table.empty:
        return ["The search made no experiment, so there is nothing to report."]
    counts = table["outcome"].value_counts()
    best = next((finding for finding in findings if finding.details["kind"] == "best_gain"), None)
    scored = {what: int(counts.get(what, 0)) for what in SCORED}
    parts = [plural(scored[START], "start"), f"{scored[KEPT]} trained and kept"]
    parts += [f"{scored[DISCARDED]} trained and thrown away by a discard rule"] if scored[DISCARDED] else []
    parts += (
        [f"{scored[UNRANKED]} trained and not ranked for want of a mark or a benchmark"] if scored[UNRANKED] else []
    )
    parts += [f"{len(table) - sum(scored.values())} without a score"]
    return [
        _verdict(best),
        f"{plural(len(table), 'experiment')}: {', '.join(parts)}.",
        *(finding.answer for finding in findings if finding.details["kind"] in ("best_gain", "discoveries")),
    ]


def _verdict(best: Finding | None) -> str:
    if best is None:
        return "Nothing was found: no proposal was trained and kept."
    reference, luck = best.details["reference"], best.details["luck"]
    start = "Nothing is established by this search, because each program was run once."
    if best.estimate is None or best.estimate <= 0:
        return f"{start} No kept run came out below the mean of {reference}."
    strongest, gain = max(best.details["against"].items(), key=lambda item: -item[1])
    end = f" It does not reach the strongest baseline, {strongest}." if gain <= 0 else ""
    if luck is None:
        return f"{start} The best came out below the mean of {reference}; how much of that is luck is not known.{end}"
    if best.estimate > luck["limit"]:
        return (
            f"{start} The best came out further below the mean of {reference} than luck among programs no better than "
            f"that would explain, so it is worth a rerun with fresh seeds.{end}"
        )
    return (
        f"{start} The best came out below the mean of {reference}, by no more than luck among programs no better than "
        f"that can explain.{end}"
    )
