"""Evidence and findings of the threshold audit as the tidy frames that its figures and tables hold."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from audit.finding import Finding
from audit.threshold.evidence import ThresholdEvidence
from replication.certificate import LEAKS
from replication.leaks import ZOO

LEAK_GAIN_COLUMNS = [
    "source", "scale", "candidate", "name", "family", "strength", "state", "seeds", "loss_gain", "loss_gain_low",
    "loss_gain_high", "leak_gain", "leak_gain_low", "leak_gain_high", "baseline_loss",
]  # fmt: skip
GROUPS = ("leaks", "clean, though suspicious", "baselines and candidates")


def certificates_zoo(evidence: ThresholdEvidence) -> pd.DataFrame:
    """The zoo's certificates with what was planted: group, name, check, outcome, expected."""
    rows = evidence.certificates[evidence.certificates["source"] == "zoo"]
    fires = {specimen.name: specimen.fires for specimen in ZOO}
    leaky = {specimen.name for specimen in ZOO if specimen.leaky}
    planted = [
        math.nan if not family else "violated" if check in fires[family] else "certified"
        for family, check in zip(rows["family"], rows["check"], strict=True)
    ]
    group = [GROUPS[2] if not family else GROUPS[0] if family in leaky else GROUPS[1] for family in rows["family"]]
    table = rows.assign(expected=planted, group=group)
    order = {name: place for place, name in enumerate(fires)}
    place = [order.get(family, len(order)) for family in table["family"]]
    table = table.assign(_group=[GROUPS.index(name) for name in group], _place=place)
    return table.sort_values(["_group", "_place", "name"], kind="stable")[
        ["group", "name", "check", "outcome", "expected"]
    ]


def certificates_published(evidence: ThresholdEvidence) -> pd.DataFrame:
    """Outcomes of published programs: name, check, outcome. Leaky ones carry their name, the others their index."""
    rows = evidence.certificates[evidence.certificates["source"] == "asi_arch"]
    leaky = set(rows.loc[rows["check"].isin(LEAKS) & (rows["outcome"] == "violated"), "candidate"])
    names = [
        f"{candidate} {name}" if candidate in leaky else candidate
        for candidate, name in zip(rows["candidate"], rows["name"], strict=True)
    ]
    return rows.assign(name=names)[["name", "check", "outcome"]]


def leak_gains(evidence: ThresholdEvidence) -> pd.DataFrame:
    """Loss gain and leak gain of every trained program, a mean and a range over its finished seeds.

    Columns: source, scale, candidate, name, family, strength, state (leaky, clean, unknown), seeds, loss_gain,
    leak_gain, each also with _low and _high, baseline_loss; losses in nats per token. A certified program's honest
    loss is its ordinary one, so its leak gain is 0, unless a spot check of the trained program said otherwise.
    """
    own = evidence.proposals[evidence.proposals["source"].isin(["zoo", "mixed"])].dropna(
        subset=["loss", "honest_loss", "baseline_loss"]
    )
    own = own.assign(loss_gain=own["baseline_loss"] - own["loss"], leak_gain=own["honest_loss"] - own["loss"])
    truth = {source: evidence.truth(source) for source in ("zoo", "mixed")}
    rows = []
    keys = ["source", "scale", "candidate", "name", "family", "strength"]
    for key, seeds in own.groupby(keys, sort=False, dropna=False):
        described = dict(zip(keys, key, strict=True))
        leaky = truth[described["source"]].get(described["candidate"])
        row = described | {"state": "unknown" if leaky is None else "leaky" if leaky else "clean", "seeds": len(seeds)}
        for column in ("loss_gain", "leak_gain"):
            values = seeds[column]
            row |= {column: values.mean(), f"{column}_low": values.min(), f"{column}_high": values.max()}
        rows.append(row | {"baseline_loss": seeds["baseline_loss"].mean()})
    return pd.DataFrame(rows, columns=LEAK_GAIN_COLUMNS)


def roc_corners(findings: Sequence[Finding]) -> pd.DataFrame:
    """Corners of every ROC: panel, false_positive_rate, true_positive_rate, from (0, 0) to (1, 1)."""
    rows = [
        (panel_name(finding.details["source"], finding.details["scale"]), *point)
        for finding in findings
        if finding.details.get("kind") == "roc_area"
        for point in finding.details["points"]
    ]
    return pd.DataFrame(rows, columns=["panel", "false_positive_rate", "true_positive_rate"])


def first_seed_rates(rates: pd.DataFrame) -> pd.DataFrame:
    """Rows of a rate table for the seed that decides, with the panel they are drawn in."""
    first = rates.groupby(["source", "scale"])["seed"].transform("min")
    here = rates[rates["seed"] == first]
    return here.assign(panel=[panel_name(*pair) for pair in zip(here["source"], here["scale"], strict=True)])


def discard_shares(discards: pd.DataFrame, rates: pd.DataFrame) -> pd.DataFrame:
    """Shares that are discarded: panel, group, threshold, share, n; exact limits low and high where rates have them.

    Where leaky and clean programs are told apart, the group of all is left out, and so is one of unknown truth.
    """
    known = discards.groupby(["source", "scale"])["group"].transform(
        lambda groups: bool({"leaky", "clean"} & set(groups))
    )
    sampled = ~discards["source"].eq("asi_arch")  # published programs are counted in whole
    shown = discards[np.where(known & sampled, discards["group"].isin(["leaky", "clean"]), discards["group"] == "all")]
    limits = {
        (row["source"], row["scale"], row["seed"], row["threshold"], group): (row[f"{rate}_low"], row[f"{rate}_high"])
        for row in rates.to_dict("records")
        for group, rate in (("leaky", "true_positive_rate"), ("clean", "false_positive_rate"))
    }
    keys = zip(*(shown[column] for column in ("source", "scale", "seed", "threshold", "group")), strict=True)
    found = [limits.get(key, (math.nan, math.nan)) for key in keys]
    return shown.assign(
        panel=[panel_name(*pair) for pair in zip(shown["source"], shown["scale"], strict=True)],
        low=[low for low, _ in found],
        high=[high for _, high in found],
    )[["panel", "group", "threshold", "share", "low", "high", "n"]]


def panel_name(source: str, scale: str) -> str:
    """What a panel of a source and scale is called."""
    return f"{'published' if source == 'asi_arch' else source}: {scale}"


def place_name(source: str, scale: str) -> str:
    """Where programs of a source and scale are, inside a sentence."""
    if source == "asi_arch":
        return f"among published programs at {scale}"
    return f"in the zoo at {scale}" if source == "zoo" else f"in the archive {source}"
