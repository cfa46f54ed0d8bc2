"""Does a ranking at one scale hold at another, and does size explain the gains?"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from audit.claims.arms import Arms, Split, matches, need, split
from audit.claims.filters import Direction
from audit.claims.outcome import ClaimEvidence, Decision, Outcome
from audit.claims.setup import parameter_counts
from audit.finding import Interval, permitted
from audit.statistics.association import (
    Coefficient,
    MatchedGain,
    kendall_interval,
    matched_gain,
    partial_correlation,
    regression_to_mean,
    spearman_bootstrap,
)
from audit.wording import number, p_equals, plural, signed, span
from replication.settings import require

SPEARMAN, KENDALL = "spearman_bootstrap", "kendall_interval"
PEARSON, PARTIAL, PARTIAL_P = (
    "partial_correlation.pearson",
    "partial_correlation.spearman",
    "partial_correlation.p_value",
)
MATCHED, MATCHED_P = "matched_gain.interval", "matched_gain.p_value"
LEAST = 20  # rows from which a bootstrap interval is made


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """One measure of the same models at two scales. top: of how many of the best at the first the rest is asked."""

    arms: Arms
    first: str
    second: str
    better: Direction
    top: int


def transfer(evidence: ClaimEvidence, p: Transfer, decision: Decision) -> Outcome:
    """Measured: rank correlation between the two scales, and what is left of a lead (regression to the mean)."""
    rows = split(evidence.sheets, p.arms)
    sign = 1.0 if p.better == "higher" else -1.0
    columns = {name: sign * rows.sheet.numbers(name).loc[rows.candidates] for name in (p.first, p.second)}
    both = pd.DataFrame(columns).dropna()
    n = len(both)
    enough = n >= LEAST and p.top < n and bool((both.nunique() > 1).all())
    need(enough, f"{rows.sheet.file} has {n} rows with both columns, where {LEAST} that differ are needed")
    first, second = both[p.first].to_numpy(), both[p.second].to_numpy()
    rho = spearman_bootstrap(first, second, decision.level, decision.rng(), decision.resamples)
    tau = kendall_interval(first, second, decision.level)
    left = regression_to_mean(first, second, p.top, decision.level)
    interval = permitted(rho.interval, SPEARMAN, n, decision.withheld)
    kept = set(np.argsort(-first, kind="stable")[: p.top]) & set(np.argsort(-second, kind="stable")[: p.top])
    return Outcome(
        answer=(
            f"Spearman's rank correlation between {p.first} and {p.second} over {n} models is "
            f"{signed(rho.estimate, 2)} ({span(interval, 2)}). The {p.top} best at the first lead the mean by "
            f"{signed(left.lead_first, 2)} SD there and by {signed(left.lead_second, 2)} SD at the second; {len(kept)} "
            f"of them are among the {p.top} best there. These models had already been selected, which narrows their "
            "range, and each was run once at each scale; both lower the correlation, so among all models tried, "
            "without noise, it may be higher."
        ),
        verdict="measured",
        method="Spearman with a pairs bootstrap, Kendall's tau-b with a jackknife, Galton's regression to the mean.",
        estimate=rho.estimate,
        unit="rank correlation",
        interval=interval,
        n=n,
        rows=(sign * both).rename_axis("row").reset_index().assign(file=rows.sheet.file),
        calibrated=((SPEARMAN, n), (KENDALL, n), (PEARSON, n), (MATCHED, n)),
        details={
            "kendall": [tau.estimate, *permitted(tau.interval, KENDALL, n, decision.withheld)],
            "pearson": _listed(left.correlation, PEARSON, decision),
            "slope": _listed(left.slope, MATCHED, decision),
            "lead_first": left.lead_first,
            "lead_second": left.lead_second,
            "top_in_both": len(kept),
        },
    )


def _listed(value: Coefficient, method: str, decision: Decision) -> list[float]:
    return [value.estimate, *permitted(value.interval, method, value.n, decision.withheld)]


@dataclass(frozen=True, kw_only=True)
class SizeConfound:
    """Gains over a baseline against model size.

    arms: the table, with one baseline. value: column of the gain; earlier: a column known before it, or None.
    programs, name, size: sheet, its name column and its column of parameter counts.
    """

    arms: Arms
    value: str
    better: Direction
    earlier: str | None
    programs: str
    name: str
    size: str


def size_confound(evidence: ClaimEvidence, p: SizeConfound, decision: Decision) -> Outcome:
    """Measured: correlation of gains with size, and the gain expected at the size of the smallest released model."""
    require(len(p.arms.baselines) == 1, "arms.baselines: one baseline is needed for a gain")
    rows = split(evidence.sheets, p.arms)
    frame, ambiguous = _gains(evidence, rows, p)
    n = len(frame)
    enough = n >= LEAST and bool((frame.nunique() > 1).all())
    need(enough, f"{rows.sheet.file} has {n} rows joined to one size, where {LEAST} that differ are needed")
    gain, size = frame["gain"].to_numpy(), np.log(frame["parameters"].to_numpy())
    fixed = frame[["earlier"]].to_numpy() if p.earlier else np.empty((n, 0))
    raw = partial_correlation(gain, size, np.empty((n, 0)), decision.level, "spearman")
    partial = partial_correlation(gain, size, fixed, decision.level, "spearman")
    smallest = frame["parameters"].min()
    matched = matched_gain(gain, size[:, None], np.log([smallest]), decision.level)
    at = permitted(matched.gain.interval, MATCHED, n, decision.withheld)
    interval = permitted(partial.interval, PARTIAL, n, decision.withheld)
    return Outcome(
        answer=_size_answer(p, frame, ambiguous, raw, partial, interval, matched, at),
        verdict="measured",
        method=(
            "Partial rank correlation (Fisher's interval), least squares of the gain on log parameters with HC3 "
            "errors; one run a model. The p-value is not corrected."
        ),
        estimate=partial.estimate,
        unit="partial rank correlation" if p.earlier else "rank correlation",
        interval=interval,
        n=n,
        p_value=partial.p_value,
        rows=frame.rename_axis("row").reset_index().assign(file=rows.sheet.file),
        calibrated=((PARTIAL, n), (PARTIAL_P, n), (MATCHED, n), (MATCHED_P, n)),
        details={
            "raw": raw.estimate,
            "raw_interval": permitted(raw.interval, PARTIAL, n, decision.withheld),
            "slope_per_doubling": _doubling(matched),
            "slope_p_value": matched.slopes[0].p_value,
            "matched_gain": [matched.gain.estimate, *at],
            "not_joined": ambiguous,
        },
    )


def _doubling(matched: MatchedGain) -> float:
    """Change of the gain for twice the size, the covariate being log parameters."""
    return matched.slopes[0].estimate * math.log(2.0)


def _size_answer(
    p: SizeConfound,
    frame: pd.DataFrame,
    ambiguous: int,
    raw: Coefficient,
    partial: Coefficient,
    interval: Interval,
    matched: MatchedGain,
    at: Interval,
) -> str:
    held = f"; with {p.earlier} held fixed it is {signed(partial.estimate, 2)}" if p.earlier else ""
    return (
        f"The rank correlation of the gain in {p.value}, better being positive, with the number of parameters is "
        f"{signed(raw.estimate, 2)} over {len(frame)} models{held} ({span(interval, 2)}, {p_equals(partial.p_value)}). "
        f"The line through them gives {signed(_doubling(matched), 4)} for twice the size, and a gain of "
        f"{signed(matched.gain.estimate, 4)} ({span(at, 4)}) at {number(frame['parameters'].min() / 1e6, 1)} million, "
        f"the smallest released model; the mean gain is {signed(float(frame['gain'].mean()), 4)}. "
        f"{plural(ambiguous, 'row')} could not be joined to one size. The baseline's size was not released, so how "
        "much of its gap is size cannot be told; a correlation is no cause."
    )


def _gains(evidence: ClaimEvidence, rows: Split, p: SizeConfound) -> tuple[pd.DataFrame, int]:
    """Gain, size and earlier value of the rows that have one program; and how many rows have none, or several."""
    programs = evidence.sheets[p.programs]
    sizes = parameter_counts(programs, p.size)
    joined = matches(rows.sheet, rows.label, programs, p.name)
    single = [row for row in rows.candidates if len(joined[row]) == 1]
    sign = 1.0 if p.better == "higher" else -1.0
    values = rows.sheet.numbers(p.value)
    frame = pd.DataFrame(
        {
            "gain": sign * (values.loc[single] - values[rows.baselines[0]]),
            "parameters": [sizes[joined[row][0]] for row in single],
        },
        index=single,
    )
    if p.earlier:
        frame["earlier"] = rows.sheet.numbers(p.earlier).loc[single]
    frame = frame.dropna()
    return frame, len(rows.candidates) - len(frame)
