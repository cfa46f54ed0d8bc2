"""What is known of whether an arm looks ahead: certificates, and what looking ahead gains it, as findings and words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from audit.evidence import Evidence
from audit.finding import Finding
from audit.rerun.plan import arm_labels, arm_slugs
from audit.wording import compact, plural, signed
from replication.certificate import LEAKS

UNIT = "nats per token"


def standings(evidence: Evidence) -> dict[str, str]:
    """Candidate sha256 -> its standing; in display order."""
    return dict(zip(evidence.arms["candidate"], evidence.arms["standing"], strict=True))


def leak_findings(evidence: Evidence) -> list[Finding]:
    """One finding an arm: what its certificate says, and the leak gain of the trained runs at every scale."""
    standing, labels, slugs = standings(evidence), arm_labels(evidence), arm_slugs(evidence)
    return [
        Finding(
            id=f"leakage.replicate.{slugs[arm]}",
            question=f"Do outputs of {labels[arm]} depend on later inputs, or on other rows of the batch?",
            answer=_answer(labels[arm], standing[arm], rows, leak_gains(evidence, arm)),
            verdict="measured",
            method=(
                "Causality certificate of the token mixer: inputs after a position, or other rows of the batch, are "
                "changed and the outputs compared; it speaks for the lengths, states and detection limits that it was "
                "made with. Leak gain: at a fixed sample of positions, the loss with everything after the position "
                "replaced by other text minus the ordinary loss; mean over runs, ± the mean of the runs' standard "
                "errors over windows; each seed has a sample of its own, the same for all arms. A gain near 0 "
                "does not show that a program is clean, and the honest loss of a leaky one is not the loss that it "
                "would reach if it were trained without its leak."
            ),
            tables=["tables/certificates.csv", "tables/runs.csv"],
            details={
                "kind": "certificate",
                "candidate": arm,
                "label": labels[arm],
                "standing": standing[arm],
                "checks": {row["check"]: row["outcome"] for row in rows},
                "violations": [
                    {key: row[key] for key in ("check", "detail", "size", "limit")}
                    for row in rows
                    if row["outcome"] == "violated"
                ],
                "leak_gain": leak_gains(evidence, arm),
            },
        )
        for arm, rows in _by_arm(evidence).items()
    ]


def leak_gains(evidence: Evidence, arm: str) -> list[dict[str, Any]]:
    """Leak gain of an arm at each scale where it was measured: runs, mean, se, and the lowest and highest seed."""
    found = []
    for scale in evidence.scales:
        runs = evidence.runs[(evidence.runs["scale"] == scale) & (evidence.runs["candidate"] == arm)]
        measured = runs[runs["leak_gain"].notna()]
        if not measured.empty:
            gains = measured["leak_gain"]
            found.append(
                {
                    "scale": scale,
                    "runs": len(measured),
                    "mean": float(gains.mean()),
                    "se": float(measured["leak_gain_se"].mean(skipna=False)),
                    "lowest": float(gains.min()),
                    "highest": float(gains.max()),
                }
            )
    return found


def honest_clause(evidence: Evidence, scale: str, arms: Sequence[str]) -> str:
    """What a comparison has to say of arms that are not clean; empty where all are."""
    standing, labels = standings(evidence), arm_labels(evidence)
    clauses = []
    for arm in arms:
        if standing[arm] == "clean":
            continue
        is_what = "is leaky" if standing[arm] == "leaky" else "is not certified to be free of leaks"
        gains = [_gain_words(gain) for gain in leak_gains(evidence, arm) if gain["scale"] == scale]
        shown = f" (leak gain {gains[0]})" if gains else ""
        clauses.append(f"; {labels[arm]} {is_what} and is judged on its honest loss{shown}")
    return "".join(clauses)


def leak_summary(evidence: Evidence) -> str:
    """One paragraph on how many arms are clean, and which are not."""
    labels, standing = arm_labels(evidence), standings(evidence)
    named = {kind: [labels[arm] for arm in labels if standing[arm] == kind] for kind in ("leaky", "not certified")}
    clean = len(labels) - sum(map(len, named.values()))
    text = (
        f"{clean} of {plural(len(labels), 'program')} are certified to use no later input and no other row of a batch."
    )
    for kind, arms in named.items():
        if arms:
            text += f" {kind.capitalize()}, and judged on the honest loss: {', '.join(arms)}."
    return text


def certificate_table(evidence: Evidence) -> pd.DataFrame:
    """Label, standing and every check of every arm, for people and spreadsheets."""
    labels, standing = arm_labels(evidence), standings(evidence)
    frame = evidence.certificates
    table = frame.assign(label=frame["candidate"].map(labels), standing=frame["candidate"].map(standing))
    return table[["label", "standing", "check", "outcome", "size", "limit", "detail", "candidate"]]


def _by_arm(evidence: Evidence) -> dict[str, list[dict[str, Any]]]:
    """Rows of the certificate of every arm, in the order of `CHECKS`; none for an arm without one."""
    rows: dict[str, list[dict[str, Any]]] = {arm: [] for arm in evidence.arms["candidate"]}
    for row in evidence.certificates.to_dict("records"):
        rows[row["candidate"]].append({str(key): value for key, value in row.items()})
    return rows


def _answer(label: str, standing: str, rows: Sequence[dict[str, Any]], gains: Sequence[dict[str, Any]]) -> str:
    of_leaks = [row for row in rows if row["check"] in LEAKS]
    reasons = "; ".join(_reason(row) for row in of_leaks if row["outcome"] != "certified")
    if standing == "clean":
        limits = ", ".join(f"{row['check']} {compact(row['limit'])}" for row in of_leaks)
        text = f"{label} is certified: no output was found to depend on a later input or on another row of the batch "
        text += f"(detection limits, relative to the outputs: {limits})."
    elif standing == "leaky":
        text = f"{label} leaks ({reasons}); it is judged on its honest loss."
    else:
        if len(of_leaks) == len(LEAKS) and not reasons:
            reasons = "its certificate is contradicted by a trained run, which loses when what follows is replaced"
        text = f"{label} is not certified ({reasons or 'it has no certificate'}), so whether it leaks is not known; "
        text += "it is judged on its honest loss."
    if gains:
        text += f" Leak gain: {', '.join(_gain_words(gain) + ' at ' + gain['scale'] for gain in gains)}."
    others = {outcome: _others(rows, outcome) for outcome in ("violated", "not_runnable")}
    if others["violated"]:
        text += f" Violated, and no leak: {', '.join(others['violated'])}."
    if others["not_runnable"]:
        text += f" Not runnable: {', '.join(others['not_runnable'])}."
    return text


def _reason(row: dict[str, Any]) -> str:
    words = f"{row['check']} {row['outcome'].replace('_', ' ')}"
    return f"{words}: {row['detail']}" if row["detail"] else words


def _others(rows: Sequence[dict[str, Any]], outcome: str) -> list[str]:
    return [row["check"] for row in rows if row["check"] not in LEAKS and row["outcome"] == outcome]


def _gain_words(gain: dict[str, Any]) -> str:
    error = f"± {gain['se']:.3f}" if math.isfinite(gain["se"]) else "(its error is not known)"
    return f"{signed(gain['mean'])} {error} {UNIT} over {plural(gain['runs'], 'run')}"
