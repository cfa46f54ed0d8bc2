"""What each search came to: claims, what of them was confirmed, the best program, leaks in the pool."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from scipy import stats

from audit.evidence import COUNT, MEASURE, SCORE, TEXT, Rule, check_columns, check_unique
from audit.interventions.plan import ConfirmSettings
from audit.statistics.multiplicity import benjamini_hochberg
from replication.record import STATUSES
from replication.settings import require

STANDINGS = ("leaky", "clean", "not_certified", "not_run")
_FLAG: Rule = (lambda value: isinstance(value, (bool, np.bool_)), "true or false")
_STANDING: Rule = (lambda value: value in STANDINGS, f"one of {', '.join(STANDINGS)}")
_STATUS: Rule = (lambda value: value in (*STATUSES, "rejected"), f"one of {', '.join(STATUSES)}, rejected")
_ANY_TEXT: Rule = (lambda value: isinstance(value, str), "a text")

# One row an experiment of a search. kept: ranked, so trained and not thrown away by the arm's rule. Losses at search
# time; baseline_loss is the lowest mean of the search's baselines, that of `baseline`. Last: new components by origin.
EXPERIMENT_COLUMNS: dict[str, Rule] = {
    "seed": COUNT,
    "arm": TEXT,
    "number": COUNT,
    "candidate": TEXT,
    "status": _STATUS,
    "kept": _FLAG,
    "standing": _STANDING,
    "loss": SCORE,
    "honest_loss": SCORE,
    "baseline": TEXT,
    "baseline_loss": SCORE,
    "device_seconds": MEASURE,
    "flops": MEASURE,
    "cognition": COUNT,
    "analysis": COUNT,
    "original": COUNT,
}
# One row a run on a fresh seed. baseline: its name, empty for a candidate.
CONFIRMATION_COLUMNS: dict[str, Rule] = {
    "candidate": TEXT,
    "baseline": _ANY_TEXT,
    "standing": _STANDING,
    "seed": COUNT,
    "status": _STATUS,
    "looks_ahead": _FLAG,
    "honest_loss": SCORE,
    "bits_per_byte": SCORE,
}
KEY = ["arm", "seed"]


def check_tables(experiments: pd.DataFrame, confirmations: pd.DataFrame) -> None:
    """Raise InputError naming table, row and column where a table is not as the columns above say."""
    check_columns("experiments", experiments, EXPERIMENT_COLUMNS)
    check_columns("confirmations", confirmations, CONFIRMATION_COLUMNS)
    check_unique("experiments", experiments, [*KEY, "number"])
    check_unique("confirmations", confirmations, ["candidate", "seed"])


def claims_of(experiments: pd.DataFrame) -> pd.DataFrame:
    """Kept proposals whose loss at search time lies below every baseline's mean, a program once a search."""
    claimed = experiments["kept"] & (experiments["loss"].astype(float) < experiments["baseline_loss"].astype(float))
    return experiments[claimed].drop_duplicates([*KEY, "candidate"])


def best_of(experiments: pd.DataFrame) -> pd.DataFrame:
    """The kept proposal with the lowest loss at search time, of each search that kept any."""
    kept = experiments[experiments["kept"]].astype({"loss": float})
    return kept.sort_values([*KEY, "loss", "number"]).drop_duplicates(KEY)


def confirmed_claims(
    experiments: pd.DataFrame, confirmations: pd.DataFrame, settings: ConfirmSettings, baseline: str | None = None
) -> pd.DataFrame:
    """Every claim with its gain on fresh seeds and whether it is confirmed.

    baseline: which one a claim must beat; None: the best of its search.

    Added columns: gain, mean honest loss of that baseline less the own one, paired by seed, NaN where a run has none;
    needed, the gain that would do if the claim were its search's only one; p_value, one-sided, with the SD of such
    differences pooled over all claimed programs; q_value, Benjamini-Hochberg over the claims of a search; confirmed:
    q_value small enough, every run ok, and the program certified and not seen to look ahead.
    """
    claims = claims_of(experiments).reset_index(drop=True)
    if baseline is not None:
        known = sorted(set(confirmations["baseline"]) - {""})
        require(
            baseline in known, f"exploratory.baseline: {baseline!r} was not run on fresh seeds ({', '.join(known)})"
        )
        claims = claims.assign(baseline=baseline)
    losses = confirmations.pivot(index="candidate", columns="seed", values="honest_loss").astype(float)
    names = confirmations[confirmations["baseline"] != ""].drop_duplicates("candidate").set_index("baseline")
    honest = _honest(confirmations)
    pairs = claims[["candidate", "baseline"]].drop_duplicates()
    differences = {
        (one.candidate, one.baseline): (losses.loc[names.loc[one.baseline, "candidate"]] - losses.loc[one.candidate])
        for one in pairs.itertuples()
    }
    whole = [row.to_numpy() for row in differences.values() if not row.isna().any()]
    sd, freedom = _pooled_sd(whole)
    gains, p_values, needed = [], [], []
    for one in claims.itertuples():
        row = differences[one.candidate, one.baseline]
        gain = math.nan if row.isna().any() or not honest[one.candidate] else float(row.mean())
        gains.append(gain)
        error = sd / math.sqrt(len(row))
        needed.append(error * float(stats.t.isf(settings.false_discovery_rate, freedom)) if freedom else math.nan)
        p_values.append(math.nan if math.isnan(gain) or not error > 0 else float(stats.t.sf(gain / error, freedom)))
    claims = claims.assign(gain=gains, needed=needed, p_value=p_values)
    q_values = pd.Series(math.nan, index=claims.index)
    for _, of_search in claims.groupby(KEY):
        q_values[of_search.index] = benjamini_hochberg(of_search["p_value"].to_numpy())
    return claims.assign(q_value=q_values, confirmed=q_values <= settings.false_discovery_rate)


def _honest(confirmations: pd.DataFrame) -> dict[str, bool]:
    """Candidate -> certified to be causal, and no trained run of it seen to look ahead."""
    good = (confirmations["standing"] == "clean") & ~confirmations["looks_ahead"].astype(bool)
    return {str(candidate): bool(value) for candidate, value in good.groupby(confirmations["candidate"]).all().items()}


def _pooled_sd(rows: list[np.ndarray]) -> tuple[float, int]:
    """SD within rows, and its degrees of freedom."""
    freedom = sum(len(row) - 1 for row in rows)
    squares = sum(float(((row - row.mean()) ** 2).sum()) for row in rows)
    return (math.sqrt(squares / freedom), freedom) if freedom else (math.nan, 0)


def search_outcomes(
    experiments: pd.DataFrame, confirmations: pd.DataFrame, settings: ConfirmSettings, weaker: str
) -> pd.DataFrame:
    """One row a search: arm, seed and what it came to.

    experiments, scored, kept: how many. hours: device hours of training, failures included, NaN where one was not
    measured. claims, confirmed; rate: confirmed claims per device hour, NaN without any; false_share: of the claims,
    how many were not confirmed, NaN without claims; leak_share: of the kept proposals, how many leak; best_loss,
    best_bits: honest loss (nats per token) and bits per byte of the best, mean over fresh seeds, NaN where one failed
    or nothing was kept; best_standing: its certificate. weaker_confirmed, weaker_rate: the same claims against the
    baseline `weaker` alone.
    """
    claims = confirmed_claims(experiments, confirmations, settings)
    against = confirmed_claims(experiments, confirmations, settings, weaker)["confirmed"]
    claims = claims.assign(weaker_confirmed=against)
    best = best_of(experiments).set_index(KEY)
    fresh = confirmations.groupby("candidate")[["honest_loss", "bits_per_byte"]].agg(
        lambda values: values.astype(float).mean(skipna=False)
    )
    standing = confirmations.drop_duplicates("candidate").set_index("candidate")["standing"]
    rows = []
    for (arm, seed), of_search in experiments.groupby(KEY, sort=True):
        here = claims[(claims["arm"] == arm) & (claims["seed"] == seed)]
        kept = of_search[of_search["kept"]]
        hours = float(of_search["device_seconds"].astype(float).sum(skipna=False)) / 3600.0
        program = best.loc[(arm, seed), "candidate"] if (arm, seed) in best.index else None
        confirmed, weakly = int(here["confirmed"].sum()), int(here["weaker_confirmed"].sum())
        rows.append(
            {
                "arm": arm,
                "seed": seed,
                "experiments": len(of_search),
                "scored": int((of_search["status"] == "ok").sum()),
                "kept": len(kept),
                "hours": hours,
                "claims": len(here),
                "confirmed": confirmed,
                "rate": confirmed / hours if hours > 0 else math.nan,
                "weaker_confirmed": weakly,
                "weaker_rate": weakly / hours if hours > 0 else math.nan,
                "false_share": 1.0 - confirmed / len(here) if len(here) else math.nan,
                "leak_share": float((kept["standing"] == "leaky").mean()) if len(kept) else math.nan,
                "best_loss": math.nan if program is None else float(fresh.loc[program, "honest_loss"]),
                "best_bits": math.nan if program is None else float(fresh.loc[program, "bits_per_byte"]),
                "best_standing": "" if program is None else str(standing[program]),
            }
        )
    return pd.DataFrame(rows)
