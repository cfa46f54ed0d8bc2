"""A published paper, claim by claim: from its tables to one finding a claim."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import replace

import pandas as pd

from audit.claims.outcome import ClaimEvidence, Decision, Outcome
from audit.claims.registry import CLAIM_CHECKS, Claim, Registry
from audit.consistency.checks import ConsistencyResults
from audit.consistency.inconsistency import Checked, Inconsistency
from audit.finding import Finding, Withheld
from replication.settings import InputError

AUDIT = "verify_claims"


def answer_claims(evidence: ClaimEvidence, registry: Registry, withheld: Withheld) -> dict[str, Outcome]:
    """What the data say of each claim and measurement, by its id in the registry, in its order."""
    asked = (*registry.claims, *registry.measurements)
    return {claim.entry.id: _answer(evidence, claim, registry, withheld) for claim in asked}


def _answer(evidence: ClaimEvidence, claim: Claim, registry: Registry, withheld: Withheld) -> Outcome:
    paper = registry.paper
    decision = Decision(
        level=paper.level,
        sesoi=claim.entry.sesoi,
        resamples=paper.resamples,
        seed=paper.random_seed + zlib.crc32(claim.entry.check.encode()),  # two claims on one comparison agree
        withheld=withheld,
    )
    try:
        return CLAIM_CHECKS[claim.entry.check].run(evidence, claim.parameters, decision)
    except InputError as error:  # a file, column or row that the check needs
        return Outcome(
            answer=f"Not testable here: {error}.", verdict="not_testable", method="None: the data are not at hand."
        )


def methods_in_use(outcomes: Mapping[str, Outcome]) -> list[tuple[str, int]]:
    """(calibrated method, n) of every interval and test behind the outcomes."""
    return sorted({key for outcome in outcomes.values() for key in outcome.calibrated})


def findings(outcomes: Mapping[str, Outcome], results: ConsistencyResults, registry: Registry) -> list[Finding]:
    """One finding a claim, one a measurement, and one on the consistency of the files."""
    found = [_claim_finding(claim, outcomes[claim.entry.id], registry) for claim in registry.claims]
    found += [_measurement_finding(one, outcomes[one.entry.id], registry) for one in registry.measurements]
    return [*found, _consistency_finding(outcomes, results, registry)] if registry.consistency else found


def _claim_finding(claim: Claim, outcome: Outcome, registry: Registry) -> Finding:
    entry = claim.entry
    return replace(
        _measurement_finding(claim, outcome, registry),
        claim=f"{registry.paper.slug}.{entry.id}",
        question=f"Does it hold that {entry.statement}? ({entry.where})",
        verdict=outcome.verdict,
    )


def _measurement_finding(claim: Claim, outcome: Outcome, registry: Registry) -> Finding:
    entry, paper = claim.entry, registry.paper
    return Finding(
        id=f"claims.{paper.slug}.{entry.id}",
        question=f"{entry.statement[:1].upper()}{entry.statement[1:]}? ({entry.where})",
        answer=outcome.answer,
        verdict="measured",
        estimate=outcome.estimate,
        unit=outcome.unit,
        interval=outcome.interval,
        level=paper.level if outcome.interval is not None else None,
        n=outcome.n,
        p_value=outcome.p_value,
        method=outcome.method,
        tables=[f"tables/{entry.id}.csv"] if outcome.rows is not None else [],
        details={
            "rule": entry.rule,
            "family": entry.family,
            "sesoi": entry.sesoi,
            "links": list(entry.links),
            "inconsistencies": len(outcome.inconsistencies),
            **outcome.details,
        },
    )


def all_inconsistencies(outcomes: Mapping[str, Outcome], results: ConsistencyResults) -> list[Inconsistency]:
    """Those of the consistency checks, then those that claims met; each once."""
    of_checks = [one for checked in results.checked.values() for one in checked.inconsistencies]
    of_claims = [one for outcome in outcomes.values() for one in outcome.inconsistencies]
    return list(dict.fromkeys([*of_checks, *of_claims]))


def consistency_table(results: ConsistencyResults, registry: Registry) -> pd.DataFrame:
    """One row a check: what it is, how much it compared, how much did not fit, why it was not run."""
    rows = []
    for entry in registry.consistency:
        checked = results.checked.get(entry.id, Checked(compared=0, inconsistencies=()))
        rows.append(
            {
                "id": entry.id,
                "check": entry.check,
                "compared": checked.compared,
                "inconsistencies": len(checked.inconsistencies),
                "not_run": results.not_run.get(entry.id, ""),
            }
        )
    return pd.DataFrame(rows, columns=["id", "check", "compared", "inconsistencies", "not_run"])


def _consistency_finding(outcomes: Mapping[str, Outcome], results: ConsistencyResults, registry: Registry) -> Finding:
    found = all_inconsistencies(outcomes, results)
    compared = sum(checked.compared for checked in results.checked.values())
    kinds = pd.Series([one.kind for one in found], dtype=object).value_counts()
    listed = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    return Finding(
        id=f"claims.{registry.paper.slug}.consistency",
        question="Do the released tables, figures and files agree with themselves and with each other?",
        answer=f"{len(found)} inconsistencies in {compared} comparisons by {len(results.checked)} checks"
        + (f": {listed}." if found else "."),
        verdict="measured",
        estimate=float(len(found)),
        unit="inconsistencies",
        n=compared,
        method="Recomputation within the rounding of the printed digits; rules, identifiers and joins of conf/claims.",
        tables=["tables/inconsistencies.csv", "tables/consistency_checks.csv"],
        details={"by_kind": {str(kind): int(count) for kind, count in sorted(kinds.items())}},
    )
