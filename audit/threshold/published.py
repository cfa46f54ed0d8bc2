"""What published survivors of the rule tell about it, and what they cannot."""

from __future__ import annotations

from typing import Any

import pandas as pd

from audit.finding import Finding
from audit.threshold.evidence import ThresholdEvidence
from audit.threshold.plan import ThresholdSettings
from audit.threshold.rules import ON_IT, judged, released_reasons, scale_slug, scales_of
from audit.wording import plural

SOURCE = "asi_arch"


def published_findings(evidence: ThresholdEvidence, cfg: ThresholdSettings) -> list[Finding]:
    """The released rule and the margin to the threshold at each published scale, and what is not identified."""
    findings = []
    for scale in scales_of(evidence, SOURCE):
        rows = judged(evidence, SOURCE, scale)
        if not rows.empty:
            findings += [_released_finding(scale, rows, cfg), _margin_finding(scale, rows, cfg)]
    return findings + ([_sensitivity_finding(evidence, cfg)] if SOURCE in evidence.sources else [])


def _released_finding(scale: str, rows: pd.DataFrame, cfg: ThresholdSettings) -> Finding:
    rule = cfg.released
    why = released_reasons(rows, rule)
    flags = why.any(axis=1)
    reasons = {str(reason): int(flagged.sum()) for reason, flagged in why.items()}
    benchmarked = int((rows["benchmark"].notna() & rows["baseline_benchmark"].notna()).sum())
    hit = [
        {
            "candidate": row["candidate"],
            "name": row["name"],
            "drop": row["drop"],
            "loss": row["loss"],
            "baseline_loss": row["baseline_loss"],
        }
        for row in rows[flags].sort_values("drop").to_dict("records")
    ]
    named = "".join(f" {row['name']} ({_from_baseline(row['drop'])})," for row in hit[:5]).rstrip(",")
    return Finding(
        id=f"threshold.{SOURCE}.released_rule.{scale_slug(scale)}",
        question=f"Which published programs would the rule of the released code discard, by the losses at {scale}?",
        answer=(
            f"{plural(int(flags.sum()), 'published program')} of {len(rows)} would be discarded by the published "
            f"numbers at {scale}: {reasons['loss_below']} for a loss too far below, {reasons['loss_above']} for one "
            f"too far above, {reasons['benchmark']} for a benchmark too low ({benchmarked} have one)"
            f"{':' if hit else ''}{named}{' and more' if len(hit) > 5 else ''}. The published losses are final "
            "training losses; the search may have applied its rule to other numbers."
        ),
        verdict="measured",
        method=(
            f"Discarded: loss more than {100 * rule.loss:g}% off the baseline's either way, or mean benchmark more "
            f"than {100 * rule.benchmark:g}% below it; published numbers, one run a program. A count, so no interval."
        ),
        estimate=float(flags.sum()),
        unit="programs",
        n=len(rows),
        tables=["tables/discards.csv"],
        details={"kind": "published_released_rule", "scale": scale, "reasons": reasons, "programs": hit},
    )


def _from_baseline(drop: float) -> str:
    return f"{100 * abs(drop):.1f}% {'below' if drop > 0 else 'above'} the baseline"


def _margin_finding(scale: str, rows: pd.DataFrame, cfg: ThresholdSettings) -> Finding:
    best = rows.loc[rows["drop"].idxmax()]
    drop = float(best["drop"])
    return Finding(
        id=f"threshold.{SOURCE}.margin.{scale_slug(scale)}",
        question=f"How close does the best published loss come to the threshold, at {scale}?",
        answer=(
            f"The lowest published loss at {scale} is {_from_baseline(drop)} ({best['name']}, of "
            f"{plural(len(rows), 'program')}), {_margin_text(drop, cfg)}. It does not show whether any proposal lay "
            "beyond the threshold."
        ),
        verdict="measured",
        method="Largest relative drop of a published loss below its baseline; one run a program, so without interval.",
        estimate=drop,
        unit="share of the baseline's loss",
        n=len(rows),
        tables=["tables/discards.csv"],
        figures=["figures/discards.svg"],
        details={
            "kind": "margin",
            "scale": scale,
            "candidate": best["candidate"],
            "name": best["name"],
            "drop": drop,
            "margin": cfg.headline - drop,
            "drops": _quantiles(rows["drop"]),
        },
    )


def _margin_text(drop: float, cfg: ThresholdSettings) -> str:
    gap = f"{100 * abs(cfg.headline - drop):.1f} percentage points"
    idle = [threshold for threshold in cfg.thresholds if threshold + ON_IT >= drop]
    if drop > cfg.headline + ON_IT:
        return f"{gap} beyond the threshold of {100 * cfg.headline:g}% that is said to discard it"
    return (
        f"{gap} short of the threshold of {100 * cfg.headline:g}%; the smallest threshold tried that discards no "
        f"published program is {100 * idle[0]:g}%"
    )


def _quantiles(drops: pd.Series) -> dict[str, float]:
    return {f"{share:g}": float(drops.quantile(share)) for share in (0, 0.25, 0.5, 0.75, 1)}


def _sensitivity_finding(evidence: ThresholdEvidence, cfg: ThresholdSettings) -> Finding:
    truth = evidence.truth(SOURCE)
    survivors: dict[str, Any] = {
        "leaky": sum(truth.values()),
        "clean": len(truth) - sum(truth.values()),
        "programs": int(evidence.certificates.loc[evidence.certificates["source"] == SOURCE, "candidate"].nunique()),
    }
    return Finding(
        id=f"threshold.{SOURCE}.sensitivity",
        question="Which share of the leaky proposals of the published search did the rule catch?",
        answer=(
            "This cannot be told from the published programs: all of them had survived the rule, so they hold none "
            f"that it discarded. {survivors['leaky']} of the {survivors['programs']} leak all the same, which only "
            "shows how many it missed among what was published. It would take the programs and losses of "
            "the discarded proposals, or a sample of them, each with a certificate."
        ),
        verdict="not_testable",
        method=(
            "True and false positive rates need discarded proposals in their denominators; with survivors alone, any "
            "rate is consistent with the data."
        ),
        n=0,
        details={"kind": "sensitivity", "outcome": "not_testable", "threshold": cfg.headline, "survivors": survivors},
    )
