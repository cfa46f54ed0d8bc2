"""The rerun audit's findings laid out for a reader: tables, figures and the words of the page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from audit import figures
from audit.calibrate import CalibrationStatus, calibration_row
from audit.evidence import Evidence
from audit.finding import Finding
from audit.rerun.leaks import certificate_table, leak_summary, standings
from audit.rerun.plan import RerunSettings, arm_labels
from audit.wording import number, plural
from replication.certificate import CHECKS

CHECK_MARKS = {"certified": "✓", "violated": "✗", "not_runnable": "?"}
STANDING_MARKS = {"clean": "", "leaky": "✗ leaky", "not certified": "? not certified"}
MARKS = {"better": "◀", "worse": "▶", "equivalent": "■", "undecided": "○"}


@dataclass(frozen=True, kw_only=True)
class About:
    """What the page says beside the findings.

    corpus: what the text is, what it can show and what not. counts: count models on the validation text, columns model
    and bits_per_byte. scales: one row a scale, columns as they should be printed.
    calibration: (method, n) -> its status, for `rerun.methods_in_use`.
    confinement: how programs were confined, in words -> number of runs.
    """

    corpus: str
    counts: pd.DataFrame
    scales: pd.DataFrame
    calibration: Mapping[tuple[str, int], CalibrationStatus]
    confinement: Mapping[str, int]


def tables(evidence: Evidence, findings: Sequence[Finding], about: About) -> dict[str, pd.DataFrame]:
    """Every table of the session by name; a table without rows is kept, so that the absence is seen."""
    runs = evidence.runs.assign(label=evidence.runs["candidate"].map(arm_labels(evidence)))
    comparisons = _of_kind(findings, "comparison")
    return {
        "comparisons": pd.DataFrame([_comparison_row(finding) for finding in comparisons]),
        "seed_differences": _seed_differences(comparisons),
        "seed_noise": pd.DataFrame([_noise_row(finding) for finding in _of_kind(findings, "seed_sd")]),
        "search_vs_rerun": pd.DataFrame([_search_row(finding) for finding in _of_kind(findings, "search_vs_rerun")]),
        "certificates": certificate_table(evidence),
        "failures": runs.loc[runs["status"] != "ok", ["scale", "label", "seed", "status", "error"]],
        "counts": about.counts,
        "scales": about.scales,
        "calibration": pd.DataFrame([calibration_row(*entry) for entry in about.calibration.items()]),
        "runs": runs.drop(columns="order"),
    }


def draw(
    evidence: Evidence, curves: pd.DataFrame, findings: Sequence[Finding], about: About, cfg: RerunSettings
) -> dict[str, Figure]:
    """Every figure that has something to draw, by name.

    curves: candidate (sha256), scale, seed, step, loss (training loss, nats per token); finished runs only.
    """
    labels = arm_labels(evidence)
    drawn: dict[str, Figure] = {}
    comparisons = _of_kind(findings, "comparison")
    if any((finding.n or 0) > 0 for finding in comparisons):
        rows = pd.DataFrame([_comparison_row(finding) for finding in comparisons])
        note = f"simultaneous {100 * cfg.level:g}% intervals over {plural(len(comparisons), 'comparison')}"
        drawn["forest"] = figures.forest(rows, _seed_differences(comparisons), sesoi=cfg.sesoi, note=note)
    scores = evidence.runs.loc[evidence.runs["status"] == "ok", ["scale", "candidate", "seed", "bits_per_byte"]]
    scores = scores.assign(arm=scores["candidate"].map(labels))
    if not scores.empty:
        drawn["losses"] = figures.losses(scores, about.counts)
    if scores["scale"].nunique() > 1:
        drawn["ranks"] = figures.rank_plot(scores)
    if not curves.empty:
        arms = list(labels)
        tidy = curves.assign(
            arm=curves["candidate"].map(labels),
            _scale=curves["scale"].map(evidence.scales.index),
            _arm=curves["candidate"].map(arms.index),
        ).sort_values(["_scale", "_arm", "seed", "step"], ignore_index=True)
        drawn["curves"] = figures.loss_curves(tidy, reference=labels[arms[0]])
    return drawn


def page(
    evidence: Evidence, findings: Sequence[Finding], about: About, cfg: RerunSettings, byline: str
) -> dict[str, Any]:
    """The template's context: `page` (words and verdict blocks) and `about`."""
    return {
        "about": about,
        "page": {
            "byline": byline,
            "summary": [*summary(findings), leak_summary(evidence)],
            "calibration_warning": _calibration_warning(about.calibration),
            "level_percent": f"{100 * cfg.level:g}%",
            "error_percent": f"{100 * (1 - cfg.level):g}%",
            "power_percent": f"{100 * cfg.power:g}%",
            "marks": MARKS,
            "scales": evidence.scales,
            "checks": CHECKS,
            "certificates": _certificate_rows(findings),
            "leaks": [f.answer for f in _of_kind(findings, "certificate") if f.details["standing"] != "clean"],
            "verdicts": _verdict_blocks(evidence, findings),
            "settings": cfg,
            "counts_sentence": _counts_sentence(evidence, about.counts),
            "noise": _noise_blocks(evidence, findings),
            "rank_answers": [finding.answer for finding in _of_kind(findings, "rank_stability")],
            "cross_check": [finding.answer for finding in _of_kind(findings, "mixed_model")],
            "failures": [finding.answer for finding in _of_kind(findings, "failures")],
            "family": _family(findings),
        },
    }


def summary(findings: Sequence[Finding]) -> list[str]:
    """The session in a few plain sentences, every number of them counted from the findings; one paragraph a scale."""
    comparisons = _of_kind(findings, "comparison")
    if not comparisons:
        return ["No candidate was compared with a baseline: this session holds baselines alone, or candidates alone."]
    scales = dict.fromkeys(finding.details["scale"] for finding in comparisons)
    return [_scale_summary(scale, [f for f in comparisons if f.details["scale"] == scale]) for scale in scales]


def _scale_summary(scale: str, here: Sequence[Finding]) -> str:
    by_candidate: dict[str, set[str]] = {}
    for finding in here:
        by_candidate.setdefault(finding.details["candidate_label"], set()).add(finding.details["rerun_verdict"])
    outcomes = [finding.details["rerun_verdict"] for finding in here]
    baselines = len({finding.details["baseline"] for finding in here})
    seeds = len(here[0].details["seeds"])
    counted = ", ".join(f"{outcomes.count(outcome)} {outcome}" for outcome in MARKS)
    every = "the baseline" if baselines == 1 else f"all {baselines} baselines"
    text = (
        f"At {scale}, with {plural(seeds, 'paired seed')}, {plural(len(by_candidate), 'candidate')} set against "
        f"{plural(baselines, 'baseline')} make {plural(len(here), 'comparison')}: {counted}."
    )
    for outcome in ("better", "worse"):
        labels = [label for label, found in by_candidate.items() if found == {outcome}]
        text += f" {outcome.capitalize()} than {every}: {', '.join(labels) if labels else 'none'}."
    return text


def _of_kind(findings: Sequence[Finding], kind: str) -> list[Finding]:
    return [finding for finding in findings if finding.details.get("kind") == kind]


def _comparison_row(finding: Finding) -> dict[str, Any]:
    details = finding.details
    low, high = finding.interval or (math.nan, math.nan)
    return {
        "scale": details["scale"],
        "candidate": details["candidate_label"],
        "baseline": details["baseline_label"],
        "outcome": details["rerun_verdict"],
        "estimate": finding.estimate,
        "low": low,
        "high": high,
        "beyond_sesoi": details["beyond_sesoi"],
        "pairs": finding.n,
        "p_difference": details["p_difference"],
        "p_equivalence": details["p_equivalence"],
        "p_sign_flip": details["p_sign_flip"],
        "smallest_p_sign_flip": details["p_sign_flip_smallest"],
        "sd_of_differences": details["sd_difference"]["estimate"],
        "probability_of_improvement": details["probability_of_improvement"]["estimate"],
        "seeds_needed": math.nan if details["seeds_needed"] is None else float(details["seeds_needed"]),
        "candidate_failed": sum(details["failures"]["candidate"].values()),
        "baseline_failed": sum(details["failures"]["baseline"].values()),
        "reason": details["reason"],
    }


def _seed_differences(comparisons: Sequence[Finding]) -> pd.DataFrame:
    rows = [
        (details["scale"], details["candidate_label"], details["baseline_label"], pair["seed"], pair["difference"])
        for details in (finding.details for finding in comparisons)
        for pair in details["differences"]
    ]
    table = pd.DataFrame(rows, columns=["scale", "candidate", "baseline", "seed", "difference"])
    # What is left of a difference beside its mean, at its full spread: the seed noise that `calibrate` can resample.
    by_comparison = table.groupby(["scale", "candidate", "baseline"], sort=False)["difference"]
    n = by_comparison.transform("size")
    table["residual"] = (table["difference"] - by_comparison.transform("mean")) * np.sqrt(n / (n - 1).clip(lower=1))
    return table


def _noise_row(finding: Finding) -> dict[str, Any]:
    low, high = finding.interval or (math.nan, math.nan)
    details = finding.details
    return {
        "scale": details["scale"],
        "arm": details["label"],
        "seeds": finding.n,
        "mean": details["mean"],
        "sd": finding.estimate,
        "low": low,
        "high": high,
    }


def _search_row(finding: Finding) -> dict[str, Any]:
    details = finding.details
    low, high = finding.interval or (math.nan, math.nan)
    share_low, share_high = details.get("rerun_share_interval", (math.nan, math.nan))
    ratio_low, ratio_high = details.get("ratio_interval") or (math.nan, math.nan)
    ratio = details.get("ratio")
    return {
        "candidate": details["candidate_label"],
        "baseline": details["baseline_label"],
        "scale": details["scale"],
        "search_gain": details["search_gain"],
        "search_unit": details["search_unit"],
        "search_share": details["search_share"],
        "rerun_gain": details.get("rerun_gain", math.nan),
        "pairs": finding.n,
        "rerun_share": details.get("rerun_share", math.nan),
        "rerun_share_low": share_low,
        "rerun_share_high": share_high,
        "share_difference": math.nan if finding.estimate is None else finding.estimate,
        "low": low,
        "high": high,
        "ratio": math.nan if ratio is None else ratio,
        "ratio_low": ratio_low,
        "ratio_high": ratio_high,
    }


def _calibration_warning(calibration: Mapping[tuple[str, int], CalibrationStatus]) -> str:
    """Names the tests behind verdicts whose error rate is not vouched for; empty where all are."""
    doubtful = [
        f"{method} at n = {n}: {status.status}"
        for (method, n), status in calibration.items()
        if method.startswith("decide.") and status.status != "passed"
    ]
    return f"The error rates of the verdicts’ tests are nominal only ({'; '.join(doubtful)})." if doubtful else ""


def _verdict_blocks(evidence: Evidence, findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """One block a scale that has comparisons: candidates down, baselines across."""
    labels, standing = arm_labels(evidence), standings(evidence)
    cells: dict[str, dict[tuple[str, str], dict[str, Any]]] = {}
    for finding in _of_kind(findings, "comparison"):
        details = finding.details
        here = cells.setdefault(details["scale"], {})
        here[details["candidate"], details["baseline"]] = _comparison_row(finding)
    blocks = []
    for scale, here in cells.items():
        baselines = list(dict.fromkeys(baseline for _, baseline in here))
        rows = [
            _arm_row(evidence, scale, candidate, labels[candidate], standing[candidate])
            | {"cells": [here.get((candidate, baseline)) for baseline in baselines]}
            for candidate in dict.fromkeys(candidate for candidate, _ in here)
        ]
        heads = [_arm_row(evidence, scale, arm, labels[arm], standing[arm]) for arm in baselines]
        blocks.append({"scale": scale, "baselines": heads, "rows": rows})
    return blocks


def _certificate_rows(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """One row an arm, one cell a check: its mark and its words; None for an arm without a certificate."""
    return [
        {
            "label": finding.details["label"],
            "standing": STANDING_MARKS[finding.details["standing"]],
            "cells": [
                None if check not in (checks := finding.details["checks"]) else _check_cell(checks[check])
                for check in CHECKS
            ],
        }
        for finding in _of_kind(findings, "certificate")
    ]


def _check_cell(outcome: str) -> dict[str, str]:
    words = "" if outcome == "certified" else f" {outcome.replace('_', ' ')}"
    return {"outcome": outcome, "words": f"{CHECK_MARKS[outcome]}{words}"}


def _arm_row(evidence: Evidence, scale: str, arm: str, label: str, standing: str) -> dict[str, Any]:
    runs = evidence.runs[(evidence.runs["scale"] == scale) & (evidence.runs["candidate"] == arm)]
    statuses = runs["status"].tolist()
    return {
        "label": label,
        "standing": STANDING_MARKS[standing],
        "parameters": float(runs["parameters"].median()),
        "mean": float(runs["bits_per_byte"].mean()),
        "failed": set(statuses) != {"ok"},
        "runs": [f"{statuses.count(status)} {status}" for status in dict.fromkeys(["ok", *sorted(statuses)])],
    }


def _noise_blocks(evidence: Evidence, findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """One row an arm, one cell a scale (None where too few runs finished)."""
    found = {(f.details["scale"], f.details["candidate"]): _noise_row(f) for f in _of_kind(findings, "seed_sd")}
    return [
        {"label": label, "cells": [found.get((scale, arm)) for scale in evidence.scales]}
        for arm, label in arm_labels(evidence).items()
    ]


def _counts_sentence(evidence: Evidence, counts: pd.DataFrame) -> str:
    """Where the arms stand among the count models, in words."""
    finished = evidence.runs[evidence.runs["status"] == "ok"]
    if counts.empty or finished.empty:
        return ""
    best = counts.loc[counts["bits_per_byte"].idxmin()]
    sentences = []
    for scale in dict.fromkeys(finished["scale"]):
        means = finished[finished["scale"] == scale].groupby("candidate")["bits_per_byte"].mean()
        beaten = int((means < best["bits_per_byte"]).sum())
        sentences.append(
            f"At {scale} mean losses run from {number(means.min(), 2)} to {number(means.max(), 2)} bits per byte, and "
            f"{beaten} of {plural(len(means), 'arm')} lie below the best count model ({best['model']}, "
            f"{number(best['bits_per_byte'], 2)})."
        )
    return " ".join(sentences)


def _family(findings: Sequence[Finding]) -> dict[str, Any]:
    """Size of the family, and the smallest p-value its sign-flip tests can reach (None without one)."""
    floors = [finding.details["p_sign_flip_smallest"] for finding in _of_kind(findings, "comparison")]
    finite = [floor for floor in floors if math.isfinite(floor)]
    return {"comparisons": len(floors), "tests": 2 * len(floors), "smallest_p_sign_flip": min(finite, default=None)}
