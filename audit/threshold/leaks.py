"""What the certificates say: one finding a program, and a count of the published ones."""

from __future__ import annotations

from typing import Any

import pandas as pd

from audit.finding import Finding, name_slug, slug
from audit.threshold.evidence import DECLARED, ThresholdEvidence
from audit.wording import compact, plural
from replication.certificate import CHECKS, LEAKS

WORDS = {  # a violated check -> what the program does
    "future": "an output depends on a later input",
    "batch": "an output depends on another row of the batch",
    "length": "outputs change when the sequence is cut after them",
    "repeat": "the same call gives other outputs after other calls",
    "reload": "outputs change when its saved parameters are loaded again",
    "mode": "outputs in training and evaluation differ",
    "cost": "its cost grows too fast with the length",
}
METHOD = (
    "Causality certificate: inputs after a position, or other rows of the batch, are changed and outputs compared, at "
    "initial and moved parameters, in both modes and at several lengths. certified: nothing above the detection limit "
    "was seen, in the lengths, states and sizes tried; no proof. Only future and batch are leaks. Names are not read."
)
NUMBERS = ("size", "limit", "first_output", "position", "seed", "mode", "length", "dtype", "gradient", "detail")


def leakage_findings(evidence: ThresholdEvidence) -> list[Finding]:
    """One finding a certified program, but for graded leaks; published programs are called by their index."""
    rows = evidence.certificates
    rows = rows[(rows["source"] != "mixed") & (rows["check"] != DECLARED)]
    findings = []
    for source, programs in rows.groupby("source", sort=True):
        names = programs.drop_duplicates("candidate").set_index("candidate")["name"].to_dict()
        for candidate, own in programs.groupby("candidate", sort=False):
            key = _key(str(source), str(candidate), names)
            findings.append(_finding(evidence, str(source), str(candidate), key, own))
    return findings


def census_findings(evidence: ThresholdEvidence) -> list[Finding]:
    """For published programs: how many violate each check, and how many could not be run."""
    rows = evidence.certificates[evidence.certificates["source"] == "asi_arch"]
    if rows.empty:
        return []
    counts = {
        check: {str(outcome): int(n) for outcome, n in own["outcome"].value_counts().sort_index().items()}
        for check, own in rows.groupby("check", sort=False)
    }
    programs = int(rows["candidate"].nunique())
    truth = evidence.truth("asi_arch")
    leaky, unsettled = sum(truth.values()), programs - len(truth)
    stopped = rows[rows["outcome"] == "not_runnable"]["candidate"].nunique()
    others = ", ".join(
        f"{check} {counts[check].get('violated', 0)}" for check in CHECKS if check in counts and check not in LEAKS
    )
    return [
        Finding(
            id="threshold.asi_arch.leaky_programs",
            question="How many of the published programs leak?",
            answer=(
                f"{leaky} of {programs} published programs leak "
                f"(future {_violated(counts, 'future')}, batch {_violated(counts, 'batch')}); {unsettled} are not "
                f"settled and {stopped} have some check that could not be run. Violated, and no leaks: {others}. These "
                "are the published programs, which had passed a discard rule; it is no rate among proposals."
            ),
            verdict="measured",
            method=f"A count of all published programs, so there is no sampling interval. {METHOD}",
            estimate=float(leaky),
            unit="programs",
            n=programs,
            tables=["tables/certificates.csv"],
            figures=["figures/certificates_published.svg"],
            details={
                "kind": "census",
                "counts": counts,
                "leaky": leaky,
                "not_settled": unsettled,
                "some_check_not_run": int(stopped),
                "violating": {
                    check: own.loc[own["outcome"] == "violated", "candidate"].tolist()
                    for check, own in rows.groupby("check", sort=False)
                },
            },
        )
    ]


def _violated(counts: dict[Any, dict[str, int]], check: str) -> int:
    return counts[check].get("violated", 0)


def _key(source: str, candidate: str, names: dict[str, str]) -> str:
    """The program's part of an id: a published index, else its name, with its candidate id where two share the name."""
    if source == "asi_arch":
        return name_slug(candidate)
    name = slug(names[candidate], candidate)
    return name if list(names.values()).count(names[candidate]) == 1 else f"{name}-{name_slug(candidate)[:8]}"


def _finding(evidence: ThresholdEvidence, source: str, candidate: str, key: str, rows: pd.DataFrame) -> Finding:
    leaky = evidence.truth(source).get(candidate)
    checks = {row["check"]: row["outcome"] for row in rows.to_dict("records")}
    violated = rows[rows["outcome"] == "violated"].to_dict("records")
    name = rows["name"].iloc[0]
    called = f"{name} (index {candidate})" if source == "asi_arch" else name
    worst = [row for row in violated if row["check"] in LEAKS]
    return Finding(
        id=f"leakage.{name_slug(source)}.{key}",
        question=f"Does {called} leak?",
        answer=_answer(called, leaky, rows, worst),
        verdict="measured",
        method=METHOD,
        estimate=max((row["size"] for row in worst if row["size"] == row["size"]), default=None),
        unit="change of an output, relative to their root mean square",
        n=None,
        tables=["tables/certificates.csv"],
        figures=["figures/certificates_published.svg" if source == "asi_arch" else "figures/certificates_zoo.svg"],
        details={
            "kind": "certificate",
            "source": source,
            "candidate": candidate,
            "name": name,
            "leaky": leaky,
            "checks": checks,
            "violations": [{"check": row["check"]} | {field: row[field] for field in NUMBERS} for row in violated],
            "not_runnable": {
                row["check"]: row["detail"] for row in rows.to_dict("records") if row["outcome"] == "not_runnable"
            },
        },
    )


def _answer(name: str, leaky: bool | None, rows: pd.DataFrame, leaks: list[dict[Any, Any]]) -> str:
    others = [check for check in rows.loc[rows["outcome"] == "violated", "check"] if check not in LEAKS]
    also = f" Beside that, and no leak: {'; '.join(WORDS[check] for check in others)}." if others else ""
    if leaky:
        text = "; ".join(f"{WORDS[row['check']]} (size {compact(row['size'])}; {row['detail']})" for row in leaks)
        return f"{name} leaks: {text}.{also}"
    if leaky is None:
        why = rows[rows["check"].isin(LEAKS) & (rows["outcome"] == "not_runnable")]
        reasons = "; ".join(sorted(set(why["detail"])))
        return f"Whether {name} leaks is not settled: {plural(len(why), 'check')} could not be run ({reasons}).{also}"
    limits = rows.loc[rows["check"].isin(LEAKS), "limit"].dropna()
    limit = f" above {compact(float(limits.max()))} of the outputs' size" if len(limits) else ""
    return f"No leak{limit} was seen in {name}.{also}"
