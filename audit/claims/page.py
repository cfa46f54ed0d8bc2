"""The claims' findings laid out for a reader: tables and the words of the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import pandas as pd

from audit.calibrate import CalibrationStatus, calibration_row
from audit.claims.audit import all_inconsistencies, consistency_table
from audit.claims.outcome import Outcome
from audit.claims.registry import Registry
from audit.consistency.checks import ConsistencyResults
from audit.consistency.inconsistency import inconsistency_table
from audit.finding import Finding, Verdict, Withheld
from audit.wording import plural

VERDICTS = [verdict for verdict in get_args(Verdict) if verdict != "measured"]
SHOWN_ROWS = 8  # of a claim's table on the page; the file has all
SHOWN_INCONSISTENCIES = 60
SHOWN_COLUMNS = 9


@dataclass(frozen=True, kw_only=True)
class Examined:
    """A paper after all its checks. calibration: (method, n) -> status, for methods in use."""

    registry: Registry
    outcomes: Mapping[str, Outcome]
    results: ConsistencyResults
    calibration: Mapping[tuple[str, int], CalibrationStatus]


def withheld_methods(calibration: Mapping[tuple[str, int], CalibrationStatus]) -> Withheld:
    """Intervals that are not shown."""
    return frozenset(key for key, status in calibration.items() if status.failures)


def tables(paper: Examined, findings: Sequence[Finding]) -> dict[str, pd.DataFrame]:
    """Every table of the paper's part by name: the verdicts, what did not fit, and the rows behind each claim."""
    claims = pd.DataFrame([_claim_row(finding) for finding in findings if _name(finding) in paper.outcomes])
    found = inconsistency_table(all_inconsistencies(paper.outcomes, paper.results))
    return {
        "claims": claims,
        "inconsistencies": found,
        "consistency_checks": consistency_table(paper.results, paper.registry),
        "calibration": pd.DataFrame([calibration_row(*entry) for entry in paper.calibration.items()]),
    } | {name: outcome.rows for name, outcome in paper.outcomes.items() if outcome.rows is not None}


def page(paper: Examined, findings: Sequence[Finding]) -> dict[str, Any]:
    """What the template needs beside findings, tables and figures."""
    answered = [finding for finding in findings if _name(finding) in paper.outcomes]
    return {
        "paper": paper.registry.paper,
        "summary": summary(findings),
        "entries": {finding.id: _entry(finding, paper) for finding in answered},
        "verdicts": VERDICTS,
        "shown_inconsistencies": SHOWN_INCONSISTENCIES,
    }


def verdict_counts(findings: Sequence[Finding]) -> dict[str, int]:
    """How many claims have each verdict."""
    return {verdict: sum(f.verdict == verdict and f.claim is not None for f in findings) for verdict in VERDICTS}


def summary(findings: Sequence[Finding]) -> str:
    """One sentence: how many claims, and how they came out."""
    counts = verdict_counts(findings)
    listed = ", ".join(f"{count} {verdict.replace('_', ' ')}" for verdict, count in counts.items() if count)
    return f"{plural(sum(counts.values()), 'claim')}: {listed}." if listed else "No claims."


def verdict_lines(findings: Sequence[Finding]) -> str:
    """One line a claim, for the terminal."""
    lines = [f"{f.claim or '':<16}{f.verdict.replace('_', ' '):<14}{f.answer}" for f in findings if f.claim is not None]
    return "\n".join(line if len(line) <= 160 else line[:159] + "…" for line in lines)


def _claim_row(finding: Finding) -> dict[str, Any]:
    low, high = finding.interval or (None, None)
    return {
        "id": finding.id,
        "claim": finding.claim,
        "verdict": finding.verdict,
        "question": finding.question,
        "answer": finding.answer,
        "estimate": finding.estimate,
        "unit": finding.unit,
        "low": low,
        "high": high,
        "n": finding.n,
        "p_value": finding.p_value,
        "method": finding.method,
        "rule": finding.details["rule"],
        "family": finding.details["family"],
        "evidence": "; ".join(finding.tables),
    }


def _entry(finding: Finding, paper: Examined) -> dict[str, Any]:
    name = _name(finding)
    asked = (*paper.registry.claims, *paper.registry.measurements)
    claim = next(claim for claim in asked if claim.entry.id == name)
    rows = paper.outcomes[name].rows
    return {
        "name": name,
        "statement": claim.entry.statement,
        "where": claim.entry.where,
        "check": claim.entry.check,
        "table": rows is not None,
        "rows": [] if rows is None else _cells(rows.head(SHOWN_ROWS)),
        "columns": [] if rows is None else [str(column) for column in rows.columns[:SHOWN_COLUMNS]],
        "length": 0 if rows is None else len(rows),
    }


def _name(finding: Finding) -> str:
    return finding.id.rpartition(".")[2]


def _cells(rows: pd.DataFrame) -> list[list[str]]:
    return [[_cell(value) for value in row] for row in rows.iloc[:, :SHOWN_COLUMNS].itertuples(index=False)]


def _cell(value: Any) -> str:
    if value is None or value is pd.NA or value != value:
        return "–"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
