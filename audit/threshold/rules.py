"""What each rule does with proposals: rows in, rows or counts out."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from audit.finding import name_slug
from audit.threshold.evidence import ThresholdEvidence
from audit.threshold.plan import ReleasedRule, SelectionRule, ThresholdSettings

Flags = NDArray[np.bool_]
ON_IT = 1e-12  # a share this close to a threshold lies on it, which is not beyond it
GROUPS = {True: "leaky", False: "clean", None: "unknown"}
RULE_WORDS: dict[SelectionRule, str] = {
    "no_rule": "no rule",
    "one_sided": "the one-sided rule",
    "two_sided": "the released two-sided rule",
    "certificate": "the certificate",
}


def judged(evidence: ThresholdEvidence, source: str, scale: str) -> pd.DataFrame:
    """Proposals that a rule can judge: finished, and with a finished baseline of the same scale and seed.

    Columns beside those of the evidence: drop (share of the baseline's loss by which the loss is below it), state
    (leaky, clean or unknown, as the certificate has it), honest (honest loss; that of a clean proposal is its loss;
    NaN where it is not known).
    """
    rows = evidence.proposals
    rows = rows[(rows["source"] == source) & (rows["scale"] == scale)]
    rows = rows[rows["loss"].notna() & rows["baseline_loss"].notna()]
    truth = evidence.truth(source)
    state = pd.Series([GROUPS[truth.get(candidate)] for candidate in rows["candidate"]], rows.index, dtype=object)
    honest = rows["honest_loss"].where(rows["honest_loss"].notna() | (state != "clean"), rows["loss"])
    return rows.assign(drop=1.0 - rows["loss"] / rows["baseline_loss"], state=state, honest=honest)


def first_seed(evidence: ThresholdEvidence, source: str, scale: str) -> int:
    """The seed that decides: the lowest that any proposal of this source and scale has."""
    rows = evidence.proposals
    return int(rows.loc[(rows["source"] == source) & (rows["scale"] == scale), "seed"].min())


def scales_of(evidence: ThresholdEvidence, source: str) -> list[str]:
    """Names of the scales at which a source has proposals, in alphabetical order."""
    rows = evidence.proposals
    return sorted(set(rows.loc[rows["source"] == source, "scale"]))


def below(rows: pd.DataFrame, threshold: float) -> Flags:
    """Where the loss is more than `threshold` below the baseline, as a share of it."""
    flags: Flags = (rows["drop"] > threshold + ON_IT).to_numpy(dtype=bool)
    return flags


def released(rows: pd.DataFrame, rule: ReleasedRule) -> Flags:
    """Where the released code discards: loss too far off either way, or benchmark too low (a missing one is not)."""
    flags: Flags = released_reasons(rows, rule).any(axis=1).to_numpy(dtype=bool)
    return flags


def released_reasons(rows: pd.DataFrame, rule: ReleasedRule) -> pd.DataFrame:
    """Why the released code discards a row: columns loss_below, loss_above, benchmark."""
    shortfall = 1.0 - rows["benchmark"] / rows["baseline_benchmark"]
    return pd.DataFrame(
        {
            "loss_below": rows["drop"] > rule.loss + ON_IT,
            "loss_above": -rows["drop"] > rule.loss + ON_IT,
            "benchmark": shortfall > rule.benchmark + ON_IT,
        }
    )


def scale_slug(scale: str) -> str:
    """A scale's part of a finding's id."""
    return name_slug(scale.lower().replace(" ", "_"))


def discarded(rows: pd.DataFrame, rule: SelectionRule, cfg: ThresholdSettings) -> Flags:
    """Where a search under `rule` would discard; under the certificate, everything that is not certified."""
    if rule == "one_sided":
        return below(rows, cfg.headline)
    if rule == "two_sided":
        return released(rows, cfg.released)
    if rule == "certificate":
        flags: Flags = (rows["state"] != "clean").to_numpy(dtype=bool)
        return flags
    return np.zeros(len(rows), dtype=bool)


def unjudged(evidence: ThresholdEvidence, source: str, scale: str, seed: int) -> int:
    """Proposals that no rule can judge at a seed: they failed, were not recorded, or their baseline failed."""
    rows = evidence.proposals
    rows = rows[(rows["source"] == source) & (rows["scale"] == scale)]
    finished = rows[(rows["seed"] == seed) & rows["loss"].notna() & rows["baseline_loss"].notna()]
    return int(rows["candidate"].nunique() - finished["candidate"].nunique())
