"""The smallest leak that the rule can see: one leak mixed into a clean program in graded strength."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from audit.finding import Finding, name_slug
from audit.statistics.estimate import Floats
from audit.threshold.evidence import ThresholdEvidence
from audit.threshold.plan import ThresholdSettings
from audit.threshold.rules import judged, scale_slug, scales_of
from audit.wording import plural, signed

SOURCE = "mixed"


@dataclass(frozen=True, kw_only=True)
class Crossing:
    """Where a drop first exceeds a threshold as strength grows.

    kind: `crossed` at `strength`, between two strengths tried; `smallest`: already at the smallest strength above 0,
    which is then an upper bound; `zero`: even without the leak (strength 0); `never`: not up to the largest strength,
    a lower bound. falls_back: it is below the threshold again at a larger strength.
    """

    kind: Literal["crossed", "smallest", "zero", "never"]
    strength: float
    falls_back: bool


def crossing(strengths: Floats, drops: Floats, threshold: float) -> Crossing:
    """Crossing of drops [k] at increasing strengths [k], interpolated in the logarithm of the strength."""
    above = drops > threshold
    if not above.any():
        return Crossing(kind="never", strength=float(strengths[-1]), falls_back=False)
    first = int(above.argmax())
    falls_back = not bool(above[first:].all())
    if strengths[first] == 0:
        return Crossing(kind="zero", strength=0.0, falls_back=falls_back)
    if first == 0 or strengths[first - 1] == 0:
        return Crossing(kind="smallest", strength=float(strengths[first]), falls_back=falls_back)
    share = (threshold - drops[first - 1]) / (drops[first] - drops[first - 1])
    low, high = math.log(strengths[first - 1]), math.log(strengths[first])
    return Crossing(kind="crossed", strength=math.exp(low + share * (high - low)), falls_back=falls_back)


def mixed_findings(evidence: ThresholdEvidence, cfg: ThresholdSettings) -> list[Finding]:
    """One finding a family of graded leaks and scale."""
    return [
        _finding(evidence, str(family), scale, rows, cfg)
        for scale in scales_of(evidence, SOURCE)
        for family, rows in judged(evidence, SOURCE, scale).groupby("family", sort=True)
        if family
    ]


def _finding(
    evidence: ThresholdEvidence, family: str, scale: str, rows: pd.DataFrame, cfg: ThresholdSettings
) -> Finding:
    by_seed = rows.pivot(index="strength", columns="seed", values="drop").sort_index()
    strengths, drops = by_seed.index.to_numpy(dtype=np.float64), by_seed.to_numpy(dtype=np.float64)
    mean = crossing(strengths, np.nanmean(drops, axis=1), cfg.headline)
    seeds = [crossing(strengths[finite], own[finite], cfg.headline) for own in drops.T for finite in [np.isfinite(own)]]
    gain = _leak_gain_at(rows, mean)
    seen = _seen(evidence, family)
    failed = _failed(evidence, family, scale)
    return Finding(
        id=f"threshold.{SOURCE}.smallest_leak.{name_slug(family)}.{scale_slug(scale)}",
        question=f"From which strength on does the rule see the leak {family} at {scale}?",
        answer=(
            f"At {scale}, {_crossing_text(mean, family, cfg.headline)}{_seeds_text(mean, seeds)}{_gain_text(gain)}. "
            f"{_seen_text(seen)} Strength is the factor of the leak in its program; another leak, program or length "
            f"of training has another crossing.{_failed_text(failed)}"
        ),
        verdict="measured",
        method=(
            "Mean over seeds of the relative drop of the loss below the baseline of the same seed, at each strength; "
            "its first crossing of the threshold, linear in the logarithm of the strength between strengths tried. "
            "The range is that of the seeds' own crossings and no confidence interval: one from so few seeds would "
            "not cover. Leak gain: honest minus ordinary loss, interpolated alike."
        ),
        estimate=mean.strength if mean.kind == "crossed" else None,
        unit="strength of the leak",
        n=len(seeds),
        tables=["tables/leak_gains.csv"],
        figures=["figures/leak_gain.svg"],
        details={
            "kind": "smallest_leak",
            "family": family,
            "scale": scale,
            "threshold": cfg.headline,
            "outcome": mean.kind,
            "strength": mean.strength,
            "falls_back": mean.falls_back,
            "seeds": [{"outcome": own.kind, "strength": own.strength} for own in seeds],
            "leak_gain": gain,
            "certificate": seen,
            "failed_runs": failed,
            "drops": [
                {"strength": strength, "mean": float(np.nanmean(own)), "low": np.nanmin(own), "high": np.nanmax(own)}
                for strength, own in zip(strengths.tolist(), drops, strict=True)
            ],
        },
    )


def _crossing_text(found: Crossing, family: str, threshold: float) -> str:
    far = f"the mean loss with the leak {family} is more than {100 * threshold:g}% below the baseline"
    text = {
        "crossed": f"{far} from strength {found.strength:.2g} on",
        "smallest": f"{far} already at {found.strength:g}, the smallest strength tried",
        "zero": f"{far} even at strength 0, without any leak: the rule would discard the clean program",
        "never": f"at no strength up to {found.strength:g}, the largest tried, is it true that {far}",
    }[found.kind]
    return f"{text}; at some larger strength it is not" if found.falls_back else text


def _seeds_text(mean: Crossing, seeds: Sequence[Crossing]) -> str:
    same = [own.strength for own in seeds if own.kind == mean.kind]
    agree = f" ({plural(len(same), 'seed')} of {len(seeds)} alike" if len(same) < len(seeds) else " (every seed alike"
    if mean.kind != "crossed" or not same:
        return f"{agree})"
    return f"{agree}, between {min(same):.2g} and {max(same):.2g})"


def _leak_gain_at(rows: pd.DataFrame, found: Crossing) -> dict[str, float] | None:
    """Mean leak gain, its range over seeds and mean standard error at a crossing; None where not measured there."""
    if found.kind != "crossed":
        return None
    strengths = np.unique(rows["strength"].to_numpy(dtype=np.float64))
    low, high = strengths[strengths <= found.strength].max(), strengths[strengths > found.strength].min()
    share = math.log(found.strength / low) / math.log(high / low)
    gains = rows.assign(gain=rows["honest"] - rows["loss"])
    ends = [gains[gains["strength"] == strength].set_index("seed") for strength in (low, high)]
    between = (1 - share) * ends[0]["gain"] + share * ends[1]["gain"]
    if between.isna().all():
        return None
    error = (1 - share) * ends[0]["leak_gain_se"].mean() + share * ends[1]["leak_gain_se"].mean()
    return {"mean": between.mean(), "low": between.min(), "high": between.max(), "se": float(error)}


def _gain_text(gain: dict[str, float] | None) -> str:
    if gain is None:
        return ""
    spread = f"seeds {signed(gain['low'])} to {signed(gain['high'])}"
    return f"; the leak gain there is {signed(gain['mean'])} nats per token ({spread})"


def _seen(evidence: ThresholdEvidence, family: str) -> dict[str, Any]:
    """Strengths at which the certificate sees the leak, does not, or does not know; from all that were certified."""
    rows = evidence.certificates
    rows = rows[(rows["source"] == SOURCE) & (rows["family"] == family)].drop_duplicates("candidate")
    truth = evidence.truth(SOURCE)
    found: dict[str, Any] = {"seen": [], "not_seen": [], "unknown": []}
    for strength, candidate in sorted(zip(rows["strength"], rows["candidate"], strict=True)):
        state = truth.get(candidate)
        found["unknown" if state is None else "seen" if state else "not_seen"].append(float(strength))
    return found


def _seen_text(seen: dict[str, Any]) -> str:
    if not seen["seen"]:
        return "The certificate sees it at no strength tried."
    least = min(seen["seen"])
    missed = [strength for strength in seen["not_seen"] if strength > 0]
    end = f", and not at {max(missed):g}" if missed else ", the smallest tried" if least > 0 else ""
    accused = " It also accuses the program without the leak." if 0.0 in seen["seen"] else ""
    return f"The certificate sees it down to {least:g}{end}.{accused}"


def _failed(evidence: ThresholdEvidence, family: str, scale: str) -> int:
    rows = evidence.proposals
    rows = rows[(rows["source"] == SOURCE) & (rows["family"] == family) & (rows["scale"] == scale)]
    return int((rows["loss"].isna() | rows["baseline_loss"].isna()).sum())


def _failed_text(failed: int) -> str:
    if not failed:
        return ""
    return f" Left out: {plural(failed, 'run')} that failed or had no baseline."
