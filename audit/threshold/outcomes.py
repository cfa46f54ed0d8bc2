"""What each threshold discards, and how the set of discoveries changes with it."""

from __future__ import annotations

import math
from typing import get_args

import pandas as pd

from audit.finding import Finding, name_slug
from audit.threshold.evidence import ThresholdEvidence
from audit.threshold.plan import SelectionRule, ThresholdSettings
from audit.threshold.rates import caveat
from audit.threshold.rules import (
    Flags,
    below,
    discarded,
    first_seed,
    judged,
    scale_slug,
    scales_of,
    unjudged,
)
from audit.wording import number, plural

STATES = ("leaky", "clean", "unknown", "all")
HONEST = (
    "Honest loss: everything after the scored position is replaced; for a certified program it is its loss. Programs "
    "without one are left out of every set and counted in details."
)


def discard_table(evidence: ThresholdEvidence, cfg: ThresholdSettings) -> pd.DataFrame:
    """Programs that the one-sided rule discards, by the first seed.

    Columns: source, scale, seed, group (leaky, clean, unknown, all), threshold, discarded, n, share.
    """
    rows = []
    for source, scale in discarding(evidence):
        seed = first_seed(evidence, source, scale)
        own = judged(evidence, source, scale)
        own = own[own["seed"] == seed]
        for group in STATES:
            members = own if group == "all" else own[own["state"] == group]
            for threshold in cfg.thresholds if len(members) else ():
                found = int(below(members, threshold).sum())
                rows.append(
                    {
                        "source": source,
                        "scale": scale,
                        "seed": seed,
                        "group": group,
                        "threshold": threshold,
                        "discarded": found,
                        "n": len(members),
                        "share": found / len(members),
                    }
                )
    columns = ["source", "scale", "seed", "group", "threshold", "discarded", "n", "share"]
    return pd.DataFrame(rows, columns=columns)


def discovery_table(evidence: ThresholdEvidence, cfg: ThresholdSettings) -> pd.DataFrame:
    """Discoveries under each rule, by the first seed; one-sided at every threshold, the other rules once.

    Columns: source, scale, seed, rule, threshold (NaN but for one_sided), n (programs with an honest loss),
    without_honest_loss, discoveries (kept, with a loss below baseline), honest_discoveries (of all programs, with an
    honest loss below baseline), honest_kept, honest_discarded, jaccard (of discoveries and honest discoveries; NaN
    where both sets are empty), rank_of_honest_best (among the kept by their loss; NaN where it is discarded).
    """
    rows = []
    for source, scale in discarding(evidence):
        seed = first_seed(evidence, source, scale)
        own = judged(evidence, source, scale)
        own = own[own["seed"] == seed]
        known = own[own["honest"].notna()]
        if known.empty:
            continue
        rules: list[tuple[SelectionRule, float, Flags]] = [
            ("one_sided", threshold, below(known, threshold)) for threshold in cfg.thresholds
        ]
        rules += [(r, math.nan, discarded(known, r, cfg)) for r in get_args(SelectionRule) if r != "one_sided"]
        for rule, threshold, flags in rules:
            described = {"source": source, "scale": scale, "seed": seed, "rule": rule, "threshold": threshold}
            missing = {"n": len(known), "without_honest_loss": len(own) - len(known)}
            rows.append(described | missing | _discoveries(known, flags))
    return pd.DataFrame(rows)


def _discoveries(rows: pd.DataFrame, flags: Flags) -> dict[str, float]:
    found = (rows["drop"] > 0).to_numpy() & ~flags
    honest = (rows["honest"] < rows["baseline_loss"]).to_numpy()
    either = int((found | honest).sum())
    best = rows["honest"].idxmin()
    kept = rows[~flags]
    rank = int((kept["loss"] < rows.loc[best, "loss"]).sum()) + 1 if best in kept.index else math.nan
    return {
        "discoveries": int(found.sum()),
        "honest_discoveries": int(honest.sum()),
        "honest_kept": int((honest & ~flags).sum()),
        "honest_discarded": int((honest & flags).sum()),
        "jaccard": int((found & honest).sum()) / either if either else math.nan,
        "rank_of_honest_best": rank,
    }


def outcome_findings(evidence: ThresholdEvidence, cfg: ThresholdSettings) -> list[Finding]:
    """Discards and discoveries, for each source and scale; graded leaks have their own findings."""
    discards, discoveries = discard_table(evidence, cfg), discovery_table(evidence, cfg)
    findings = []
    for source, scale in discarding(evidence):
        left_out = unjudged(evidence, source, scale, first_seed(evidence, source, scale))
        findings.append(_discard_finding(source, scale, _at(discards, source, scale), left_out, cfg))
        if source != "asi_arch" and not discoveries.empty and len(own := _at(discoveries, source, scale)):
            findings.append(_discovery_finding(source, scale, own, cfg))
    return findings


def discarding(evidence: ThresholdEvidence) -> list[tuple[str, str]]:
    """(source, scale) with proposals for a rule to judge; graded leaks, one program many times, are none."""
    return [
        (source, scale)
        for source in evidence.sources
        if source != "mixed"
        for scale in scales_of(evidence, source)
        if not judged(evidence, source, scale).empty
    ]


def _at(table: pd.DataFrame, source: str, scale: str) -> pd.DataFrame:
    return table[(table["source"] == source) & (table["scale"] == scale)]


def _discard_finding(source: str, scale: str, table: pd.DataFrame, left_out: int, cfg: ThresholdSettings) -> Finding:
    groups = {
        str(group): {
            "n": int(rows["n"].iloc[0]),
            "discarded": [[row["threshold"], row["discarded"]] for row in rows.to_dict("records")],
        }
        for group, rows in table.groupby("group", sort=False)
    }
    here = table[table["threshold"] == cfg.headline].set_index("group")
    every = here.loc["all"]
    parts = [f"{int(here.loc[g, 'discarded'])} of {int(here.loc[g, 'n'])} {g}" for g in STATES[:3] if g in here.index]
    by_state = f" ({', '.join(parts)})" if len(parts) > 1 or "unknown" not in here.index else ""
    survived = "; they were published after such a rule, so few or no discards are no surprise"
    return Finding(
        id=f"threshold.{name_slug(source)}.discards.{scale_slug(scale)}",
        question=f"What does each threshold discard, in {source} at {scale}?",
        answer=(
            f"At {scale}, a threshold of {100 * cfg.headline:g}% discards {int(every['discarded'])} of "
            f"{plural(int(every['n']), 'program')}{by_state}; {_series(table)}"
            f"{survived if source == 'asi_arch' else ''}. "
            f"{plural(left_out, 'program')} without a loss or a baseline could not be judged."
        ),
        verdict="measured",
        method=(
            "Discarded: loss more than the threshold below the baseline's, as a share of it; unit: a program, by its "
            "first seed; state: by the causality certificate. A count of these programs, so there is no interval."
        ),
        estimate=float(every["share"]),
        unit="share of programs",
        n=int(every["n"]),
        tables=["tables/discards.csv"],
        figures=["figures/discards.svg"],
        details={
            "kind": "discards",
            "source": source,
            "scale": scale,
            "threshold": cfg.headline,
            "groups": groups,
            "not_judged": left_out,
        },
    )


def _series(table: pd.DataFrame) -> str:
    """`by threshold: 12 at 0.5%, 10 at 1%, ...; none from 15% on`."""
    every = table[table["group"] == "all"].sort_values("threshold")
    some = every[every["discarded"] > 0]
    if some.empty:
        return f"none is discarded at any threshold down to {100 * every['threshold'].iloc[0]:g}%"
    parts = [f"{int(row.discarded)} at {100 * row.threshold:g}%" for row in some.itertuples()]
    none = every[every["threshold"] > some["threshold"].max()]
    end = f"; none from {100 * none['threshold'].iloc[0]:g}% on" if len(none) else ""
    return f"by threshold {', '.join(parts)}{end}"


def _discovery_finding(source: str, scale: str, table: pd.DataFrame, cfg: ThresholdSettings) -> Finding:
    headline = table[(table["rule"] == "one_sided") & (table["threshold"] == cfg.headline)].iloc[0]
    off, certificate = (table[table["rule"] == rule].iloc[0] for rule in ("no_rule", "certificate"))
    rank = headline["rank_of_honest_best"]
    best = "is itself discarded" if math.isnan(rank) else f"is number {int(rank)} by loss of what is kept"
    return Finding(
        id=f"threshold.{name_slug(source)}.discoveries.{scale_slug(scale)}",
        question=f"How does the rule change which programs count as discoveries, in {source} at {scale}?",
        answer=(
            f"At {scale}, {int(headline['honest_discoveries'])} of {plural(int(headline['n']), 'program')} have an "
            f"honest loss below baseline; a threshold of {100 * cfg.headline:g}% discards "
            f"{int(headline['honest_discarded'])} of them and lets {int(headline['discoveries'])} programs count as "
            f"discoveries, Jaccard overlap with the honest ones {number(headline['jaccard'], 2)} "
            f"(no rule {number(off['jaccard'], 2)}, the certificate {number(certificate['jaccard'], 2)}); the honest "
            f"best {best}. {caveat(source)}"
        ),
        verdict="measured",
        method=(
            "Discoveries: kept, with a loss below the baseline's; honest ones: honest loss below the baseline's loss, "
            f"kept or not. One run a program (the first seed), so either set holds noise. {HONEST} A description of "
            "these programs, so there is no interval."
        ),
        estimate=float(headline["jaccard"]),
        unit="Jaccard index",
        n=int(headline["n"]),
        tables=["tables/discoveries.csv"],
        details={
            "kind": "discoveries",
            "source": source,
            "scale": scale,
            "threshold": cfg.headline,
            "rules": table.drop(columns=["source", "scale"]).to_dict("records"),
        },
    )
