"""Every proposal of a log against the best kept before it, judged by the noise of a run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePath
from typing import Literal

import numpy as np
import pandas as pd

from audit.finding import Withheld, name_slug
from audit.single_seed.log import LoopLog
from audit.single_seed.noise import NoiseFloor, noise_floor
from audit.single_seed.plan import SingleSeedSettings
from audit.statistics.estimate import Floats
from audit.statistics.gains import break_even_sd, gain_limits, gain_p_values
from audit.statistics.paired import seeds_needed
from audit.statistics.selection import SHRINK_FROM, shrink
from replication.settings import require

Outcome = Literal["real", "noise", "open", "no_gain"]
OUTCOME_WORDS: dict[Outcome, str] = {
    "real": "real: more than noise explains",
    "noise": "noise: any true gain is below the smallest of interest",
    "open": "open: noise may explain it, and so may a gain",
    "no_gain": "no gain: kept, though not better than the best before it",
}


@dataclass(frozen=True, kw_only=True)
class JudgedLog:
    """A log and what can be said of its keeps.

    proposals: a row each for every row of the log: its columns, and running_best (value of the best kept so far, NaN
    before the first); for those after the first keep also before_row, before_label and before_value (the best kept
    before), gain (positive is better), p_adjusted, low and high (simultaneous limits of the true gain), shrunk,
    shrunk_low, shrunk_high, break_even_sd (0: no gain); NaN where there is no measure of noise. outcome: of keeps, else
    empty. All in the metric's unit. seeds: an arm, that settle a gain of the smallest size of interest; None: too many,
    or nothing to plan. sesoi: smallest gain of interest, NaN where nothing was kept.
    """

    log: LoopLog
    slug: str
    proposals: pd.DataFrame
    floor: NoiseFloor
    sesoi: float
    seeds: int | None

    @cached_property
    def compared(self) -> pd.DataFrame:
        """Proposals after the first keep."""
        return self.proposals[self.proposals["before_row"].notna()]

    @cached_property
    def keeps(self) -> pd.DataFrame:
        """Kept proposals after the first keep, the start."""
        compared = self.compared
        return compared[compared["kept"]]

    @cached_property
    def start(self) -> pd.Series | None:
        """The first keep, which everything after it is compared with."""
        kept = self.proposals[self.proposals["kept"]]
        return None if kept.empty else kept.iloc[0]

    @cached_property
    def end(self) -> pd.Series | None:
        """The best keep."""
        kept = self.proposals[self.proposals["kept"]]
        if kept.empty:
            return None
        return kept.loc[(kept["value"] * sign(self.log)).idxmin()]

    @cached_property
    def runs(self) -> int:
        """The start and every proposal after it."""
        return 0 if self.start is None else len(self.compared) + 1


def sign(log: LoopLog) -> float:
    """Times this, lower is better."""
    return 1.0 if log.direction == "lower" else -1.0


def judge(log: LoopLog, cfg: SingleSeedSettings, withheld: Withheld) -> JudgedLog:
    """Compare, measure the noise, decide.

    Raises:
        InputError: the smallest gain of interest cannot be had from the log.
    """
    proposals = compare(log)
    compared = proposals["before_row"].notna().to_numpy()
    gains = proposals.loc[compared, "gain"].to_numpy(dtype=np.float64)
    floor = noise_floor(log, gains, cfg, withheld)
    sesoi = _sesoi(log, cfg)
    for name, column in _judgements(gains, floor, cfg, withheld).items():
        proposals.loc[compared, name] = column
    proposals["outcome"] = _outcomes(proposals, sesoi, cfg)
    still_open = int((proposals["outcome"] == "open").sum())
    seeds = _seeds(floor, sesoi, still_open, cfg)
    slug = name_slug(PurePath(log.file).stem)
    return JudgedLog(log=log, slug=slug, proposals=proposals, floor=floor, sesoi=sesoi, seeds=seeds)


def compare(log: LoopLog) -> pd.DataFrame:
    """Rows of the log with the best kept so far and before, and the gain over the latter; see `JudgedLog.proposals`."""
    rows = log.rows.reset_index(drop=True)
    losses = sign(log) * rows["value"].to_numpy(dtype=np.float64)
    kept_losses = np.where(rows["kept"], losses, np.inf)
    best = np.minimum.accumulate(kept_losses)
    earlier = np.concatenate([[np.inf], best[:-1]])[: len(rows)]
    improves = rows["kept"].to_numpy(dtype=bool) & (kept_losses < earlier)
    position = pd.Series(np.where(improves, np.arange(len(rows)), np.nan)).ffill().shift()
    before = rows.reindex(position).reset_index(drop=True)
    return rows.assign(
        running_best=np.where(np.isfinite(best), sign(log) * best, np.nan),
        before_row=before["row"].astype("Int64"),
        before_label=before["label"],
        before_value=before["value"],
        gain=(before["value"] - rows["value"]) * sign(log),
    )


def _sesoi(log: LoopLog, cfg: SingleSeedSettings) -> float:
    if cfg.sesoi is not None:
        return cfg.sesoi
    kept = log.rows.loc[log.rows["kept"], "value"]
    if kept.empty:
        return math.nan
    first = abs(float(kept.iloc[0]))
    require(first > 0, f"{log.file}: its first kept value is 0, so a share of it is none; set audit.sesoi")
    return cfg.sesoi_share * first


def _judgements(gains: Floats, floor: NoiseFloor, cfg: SingleSeedSettings, withheld: Withheld) -> dict[str, Floats]:
    nothing = np.full(len(gains), np.nan)
    columns = ("p_adjusted", "low", "high", "shrunk", "shrunk_low", "shrunk_high")
    found = dict.fromkeys(columns, nothing) | {"break_even_sd": break_even_sd(gains, cfg.level)}
    if not (floor.known and len(gains)):
        return found
    # A limit of the noise is itself wrong with a chance of `spent` (Berger and Boos 1994).
    p_values = np.minimum(gain_p_values(gains, floor.sd, floor.df) + floor.spent, 1.0)
    found["p_adjusted"] = p_values
    if ("gain_limits", len(gains)) not in withheld:
        found["low"], found["high"] = gain_limits(gains, floor.sd, floor.df, cfg.level + floor.spent)
    if floor.route != "spread" and len(gains) >= SHRINK_FROM and ("shrink", len(gains)) not in withheld:
        posterior = shrink(gains, math.sqrt(2.0) * floor.sd, cfg.level).posterior
        found |= {
            "shrunk": posterior["shrunk"].to_numpy(),
            "shrunk_low": posterior["low"].to_numpy(),
            "shrunk_high": posterior["high"].to_numpy(),
        }
    return found


def _outcomes(proposals: pd.DataFrame, sesoi: float, cfg: SingleSeedSettings) -> pd.Series:
    keep = proposals["kept"] & proposals["before_row"].notna()
    outcome = pd.Series("", index=proposals.index).mask(keep, "open")
    outcome = outcome.mask(keep & (proposals["high"] < sesoi), "noise")
    outcome = outcome.mask(keep & (proposals["gain"] <= 0), "no_gain")
    return outcome.mask(keep & (proposals["p_adjusted"] < 1.0 - cfg.level), "real")


def _seeds(floor: NoiseFloor, sesoi: float, still_open: int, cfg: SingleSeedSettings) -> int | None:
    """Seeds an arm that settle a gain of the smallest size of interest; None: too many, or no noise to plan with."""
    if not (floor.known and still_open):
        return None
    return seeds_needed(math.sqrt(2.0) * floor.upper, sesoi, cfg.power, (1.0 - cfg.level) / still_open, cfg.max_seeds)
