"""What a candidate gained in the search that found it, beside what it gains when run again."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from audit.evidence import Evidence
from audit.finding import Finding, Withheld, name_slug, permitted
from audit.rerun.plan import RerunSettings, arm_labels, arm_slugs
from audit.statistics.paired import PairedT, Ratio, fieller_ratio, paired_t
from audit.wording import percent, plural, signed

METHOD = (
    "Gain: baseline loss minus candidate loss, positive is better; share: gain divided by the baseline's loss, in the "
    "rerun seed by seed. The search's gain is one published number without a standard error and is treated as fixed. "
    "Interval of the difference of shares: paired t over seeds; of their ratio: Fieller, with the search's share as a "
    "fixed denominator. Neither is corrected for the number of candidates."
)


@dataclass(frozen=True, kw_only=True)
class RerunGain:
    """Gain in bits per byte and as a share of the baseline's loss, over the seeds both arms finished."""

    gain: float
    share: PairedT


def search_findings(evidence: Evidence, cfg: RerunSettings, withheld: Withheld) -> list[Finding]:
    """One finding for each search score and scale; a score against a baseline that was not rerun says so."""
    arms = evidence.arms
    is_baseline = arms["role"] == "baseline"
    baselines = dict(zip(arms.loc[is_baseline, "name"], arms.loc[is_baseline, "candidate"], strict=True))
    scores = evidence.experiments.to_dict("records")
    findings = []
    for scale in evidence.scales:
        runs = evidence.runs[evidence.runs["scale"] == scale]
        table = runs.pivot(index="seed", columns="candidate", values="bits_per_byte")
        for candidate in arms.loc[~is_baseline, "candidate"]:
            findings += [
                _finding(evidence, scale, table, score, baselines.get(score["baseline"]), cfg, withheld)
                for score in scores
                if score["candidate"] == candidate and candidate in table.columns
            ]
    return findings


def _finding(
    evidence: Evidence,
    scale: str,
    table: pd.DataFrame,
    score: dict[str, Any],
    baseline: str | None,
    cfg: RerunSettings,
    withheld: Withheld,
) -> Finding:
    labels, slugs = arm_labels(evidence), arm_slugs(evidence)
    candidate = labels[score["candidate"]]
    other, other_slug = score["baseline"], name_slug(score["baseline"])
    if baseline is not None:
        other, other_slug = labels[baseline], slugs[baseline]
    gain = score["search_baseline_loss"] - score["search_loss"]
    share = gain / score["search_baseline_loss"]
    rerun = _rerun_gain(table, score["candidate"], baseline, cfg.level)
    searched = (
        f"In its search {candidate} gained {signed(gain)} {score['unit']} on {other}, "
        f"{percent(share)} of the baseline's loss"
    )
    interval = None
    if rerun is not None:
        low, high = permitted(rerun.share.interval, "paired_t.interval", rerun.share.n, withheld)
        interval = (low - share, high - share)
    return Finding(
        id=f"replicate.{name_slug(scale)}.{slugs[score['candidate']]}.search_vs_rerun.{other_slug}",
        question=f"How does the gain of {candidate} over {other} in its search compare with its gain at {scale}?",
        answer=f"{searched}; {_rerun_clause(scale, other, baseline, rerun, share, interval, cfg.level)}",
        verdict="measured",
        method=METHOD,
        estimate=None if rerun is None else rerun.share.estimate - share,
        unit="share of the baseline's loss",
        interval=interval,
        level=cfg.level,
        n=0 if rerun is None else rerun.share.n,
        tables=["tables/search_vs_rerun.csv"],
        details={
            "kind": "search_vs_rerun",
            "scale": scale,
            "candidate": score["candidate"],
            "candidate_label": candidate,
            "baseline_label": other,
            "search_gain": gain,
            "search_unit": score["unit"],
            "search_share": share,
            "search_where": score["where"],
            **_rerun_details(rerun, share, cfg.level, withheld),
        },
    )


def _rerun_gain(table: pd.DataFrame, candidate: str, baseline: str | None, level: float) -> RerunGain | None:
    """None where there is no finished pair."""
    if baseline is None or baseline not in table.columns:
        return None
    pairs = table[[candidate, baseline]].dropna().to_numpy(dtype=np.float64)
    if not len(pairs):
        return None
    gains = pairs[:, 1] - pairs[:, 0]
    return RerunGain(gain=float(gains.mean()), share=paired_t(gains / pairs[:, 1], level))


def _rerun_clause(
    scale: str,
    other: str,
    baseline: str | None,
    rerun: RerunGain | None,
    search_share: float,
    interval: tuple[float, float] | None,
    level: float,
) -> str:
    if rerun is None or interval is None:
        why = f"{other} is no arm of this rerun" if baseline is None else "no seed has both arms finished"
        return f"{why} at {scale}, so there is nothing to set beside it."
    low, high = (100 * limit for limit in interval)
    inside = f"{100 * level:g}% interval {signed(low, 1)} to {signed(high, 1)}" if math.isfinite(low) else "no interval"
    return (
        f"rerun at {scale} it gained {signed(rerun.gain)} bits per byte, {percent(rerun.share.estimate)}, over "
        f"{plural(rerun.share.n, 'paired seed')}. The rerun's share minus the search's is "
        f"{signed(100 * (rerun.share.estimate - search_share), 1)} percentage points ({inside}). Scale, text or unit "
        "may differ, so this neither supports nor contradicts the gain of the search."
    )


def _rerun_details(rerun: RerunGain | None, search_share: float, level: float, withheld: Withheld) -> dict[str, Any]:
    if rerun is None:
        return {"outcome": "not_rerun"}
    share = rerun.share
    ratio = _ratio(share, search_share, level)
    return {
        "outcome": "rerun",
        "rerun_gain": rerun.gain,
        "rerun_share": share.estimate,
        "rerun_share_interval": list(permitted(share.interval, "paired_t.interval", share.n, withheld)),
        "ratio": ratio.estimate if ratio else None,
        "ratio_interval": list(permitted(ratio.interval, "fieller_ratio", share.n, withheld)) if ratio else None,
        "ratio_kind": ratio.kind if ratio else "not given: no gain in the search, or no seed noise known in the rerun",
    }


def _ratio(share: PairedT, search_share: float, level: float) -> Ratio | None:
    """Rerun share over search share: how much of the search's gain is seen again. Only where there was a gain."""
    if share.n < 2 or not share.sd > 0 or search_share <= 0:
        return None
    return fieller_ratio(share.estimate, share.sd / math.sqrt(share.n), search_share, 0.0, share.n - 1, level)
