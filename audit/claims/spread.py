"""How much of what separates models is sampling noise, and what picking the best of them brings by itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from audit.claims.arms import POINTS, Arms, Benchmarks, Split, complete, items_of, need, split
from audit.claims.outcome import ClaimEvidence, Decision, Outcome
from audit.finding import Interval, permitted
from audit.statistics.benchmarks import accuracy_se
from audit.statistics.estimate import Estimate, Floats
from audit.statistics.reliability import cronbach_alpha, spread_explained
from audit.statistics.selection import expected_best
from audit.wording import number, percent, plural, signed

SPREAD = "spread_explained"
ALPHA = "cronbach_alpha"


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Spread between the candidates' mean accuracies. rho: per-item correlation assumed; rhos: others, shown."""

    arms: Arms
    accuracies: Benchmarks
    rho: float
    rhos: tuple[float, ...]


def spread(evidence: ClaimEvidence, p: Spread, decision: Decision) -> Outcome:
    """Measured: share of the variance between candidates that the sampling of test items explains; Cronbach's alpha."""
    rows = split(evidence.sheets, p.arms)
    sizes = items_of(evidence, p.accuracies)
    kept, scores = complete(rows.sheet, p.accuracies, rows.candidates)
    need(len(kept) > 2, f"fewer than three candidates in {rows.sheet.file} have every accuracy")
    m, means = len(kept), scores.mean(axis=1)
    errors = np.asarray([accuracy_se(row, sizes) for row in scores])
    shares = {rho: spread_explained(means, errors, rho=rho, level=decision.level) for rho in sorted({p.rho, *p.rhos})}
    interval = permitted(shares[p.rho].interval, SPREAD, m, decision.withheld)
    alpha, alpha_interval = _alpha(scores, p, decision, m)
    lead, best = _best(means, errors, p, decision)
    return Outcome(
        answer=(
            f"The sampling of test items alone explains {_share(shares[p.rho], interval)} of the variance between "
            f"{plural(m, 'candidate')} (at a per-item correlation of {p.rho:g}; {_range(shares)} at those tried). The "
            f"best is {signed(lead, 2)} points above their mean; the best of {m} equal models would be "
            f"{signed(best[0], 2)} above it ({number(best[1], 2)} to {number(best[2], 2)}). "
            f"{_alpha_text(alpha, alpha_interval)}Near 100% the order of these models is mostly luck; that does not "
            "say that they equal the baselines. They had been picked, which narrows what lies between them."
        ),
        verdict="measured",
        method=(
            "Variance between candidates against the binomial variance of their means, number of items known; normal "
            "order statistics for the best of n. Training noise is not in it."
        ),
        estimate=shares[p.rho].estimate,
        unit="share of the variance between candidates",
        interval=interval,
        n=m,
        rows=_table(rows, kept, POINTS * means, POINTS * errors),
        calibrated=((SPREAD, m), *(((ALPHA, m),) if alpha else ())),
        details={
            "shares": {
                f"{rho:g}": [share.estimate, *permitted(share.interval, SPREAD, m, decision.withheld)]
                for rho, share in shares.items()
            },
            "alpha": alpha.estimate if alpha else None,
            "alpha_interval": alpha_interval,
            "lead_of_best": lead,
            "best_of_equal": best,
            "sd": float(POINTS * means.std(ddof=1)),
            "sampling_sd": float(POINTS * np.sqrt((errors**2).mean())),
            "left_out": rows.names([row for row in rows.candidates if row not in kept]),
        },
    )


def _table(rows: Split, kept: list[int], means: Floats, errors: Floats) -> pd.DataFrame:
    names = rows.names(kept)
    return pd.DataFrame({"file": rows.sheet.file, "row": kept, "candidate": names, "mean": means, "se": errors})


def _alpha(scores: Floats, p: Spread, decision: Decision, m: int) -> tuple[Estimate | None, Interval | None]:
    if len(p.accuracies.columns) < 2:
        return None, None
    alpha = cronbach_alpha(scores, decision.level)
    return alpha, permitted(alpha.interval, ALPHA, m, decision.withheld)


def _best(means: Floats, errors: Floats, p: Spread, decision: Decision) -> tuple[float, tuple[float, float, float]]:
    """Lead of the best over the mean of all, and that of the best of as many equal models: mean, low, high."""
    # Errors shared between models move all of them alike, so only 1 - rho of the variance makes a spread.
    sd = POINTS * float(np.sqrt((1.0 - p.rho) * (errors**2).mean()))
    null = expected_best(len(means), sd, decision.level)
    return POINTS * float(means.max() - means.mean()), (null.mean, null.low, null.high)


def _share(share: Estimate, interval: Interval) -> str:
    text = percent(share.estimate, 0).removeprefix("+")
    if not np.isfinite(interval).all():
        return f"about {text} (no interval holds at this n, so it could be far less)"
    return f"{text} ({' to '.join(percent(limit, 0).removeprefix('+') for limit in interval)})"


def _range(shares: dict[float, Estimate]) -> str:
    values = [share.estimate for share in shares.values()]
    low, high = (percent(value, 0).removeprefix("+") for value in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"


def _alpha_text(alpha: Estimate | None, interval: Interval | None) -> str:
    if alpha is None or interval is None:
        return ""
    limits = f" ({number(interval[0], 2)} to {number(interval[1], 2)})" if np.isfinite(interval).all() else ""
    if alpha.estimate < 0.0:
        limits = f" (upper limit {number(interval[1], 2)})" if limits else ""
        return f"Cronbach's alpha over the benchmarks is below 0{limits}: they do not agree on an order. "
    return f"Cronbach's alpha over the benchmarks is {number(alpha.estimate, 2)}{limits}. "
