"""How much two runs of the same program differ: what a log, or its owner, can say about it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from audit.finding import Interval, Withheld, permitted
from audit.single_seed.log import LoopLog
from audit.single_seed.plan import SingleSeedSettings
from audit.statistics.estimate import NO_INTERVAL, Floats
from audit.statistics.gains import noise_limit, pooled_sd, sd_limits

Route = Literal["given", "repeats", "same_label", "same_description", "spread", "none"]
ROUTE_WORDS: dict[Route, str] = {
    "given": "given by the log's owner",
    "repeats": "rows with the same label and description: the same program run again",
    "same_label": (
        "rows with the same label and different descriptions, which may differ in truth as well; the SD is then too "
        "large"
    ),
    "same_description": (
        "rows with the same description under different labels, which may differ in truth as well; the SD is then too "
        "large"
    ),
    "spread": "an upper limit, from how closely the proposals lie together",
    "none": "no measure of noise",
}


@dataclass(frozen=True, kw_only=True)
class NoiseFloor:
    """Noise of one run. sd: estimate, or for route `spread` an upper limit; NaN where there is none.

    interval: of the SD, at the level of the plan. n: runs behind it. df: degrees of freedom, infinite where the SD is
    taken as known. spent: chance of error that went into the limit and is not there for tests. rows: row numbers of
    the repeated runs. equal: repeated rows left out because their values agree to the last digit.
    """

    route: Route
    sd: float
    interval: Interval
    n: int
    df: float
    spent: float
    rows: tuple[int, ...]
    equal: int

    @property
    def known(self) -> bool:
        """Whether there is a number to judge with."""
        return math.isfinite(self.sd)

    @property
    def upper(self) -> float:
        """The SD to plan reruns with: its upper limit."""
        return self.interval[1] if math.isfinite(self.interval[1]) else self.sd

    @property
    def calibrated(self) -> list[tuple[str, int]]:
        """(calibrated method, n) behind the SD."""
        methods = {"repeats": "pooled_sd", "same_label": "pooled_sd", "same_description": "pooled_sd"}
        methods |= {"spread": "noise_limit"}
        size = int(self.df) if math.isfinite(self.df) else self.n
        return [(methods[self.route], size)] if self.route in methods else []


def noise_floor(log: LoopLog, gains: Floats, cfg: SingleSeedSettings, withheld: Withheld) -> NoiseFloor:
    """The first that there is: the owner's value, repeated rows, nearly identical rows, a limit from the spread.

    gains [m]: of every proposal over the best kept before it.
    """
    if cfg.noise_sd is not None:
        return _given(cfg.noise_sd, cfg)
    equal = 0
    for route, key in _KEYS.items():
        groups, left_out = _repeated(log.rows, key(log.rows))
        equal = max(equal, left_out)
        found = pooled_sd([group["value"] for group in groups], cfg.level)
        if found.df and found.estimate > 0.0:
            interval = permitted(found.interval, "pooled_sd", found.df, withheld)
            rows = tuple(int(row) for group in groups for row in group["row"])
            return NoiseFloor(route=route, sd=found.estimate, interval=interval, n=found.n, df=found.df, spent=0.0,
                              rows=rows, equal=equal)  # fmt: skip
    return _from_spread(gains, cfg, withheld, equal)


def _given(sd: float, cfg: SingleSeedSettings) -> NoiseFloor:
    runs = cfg.noise_runs
    if runs is None:
        return NoiseFloor(route="given", sd=sd, interval=NO_INTERVAL, n=0, df=math.inf, spent=0.0, rows=(), equal=0)
    interval = sd_limits(sd, runs, runs - 1, cfg.level)
    return NoiseFloor(route="given", sd=sd, interval=interval, n=runs, df=runs - 1, spent=0.0, rows=(), equal=0)


def _from_spread(gains: Floats, cfg: SingleSeedSettings, withheld: Withheld, equal: int) -> NoiseFloor:
    spent = cfg.limit_share * (1.0 - cfg.level)
    limit = noise_limit(gains, 1.0 - spent)
    usable = math.isfinite(limit) and limit > 0.0 and ("noise_limit", len(gains)) not in withheld
    return NoiseFloor(
        route="spread" if usable else "none",
        sd=limit if usable else math.nan,
        interval=(0.0, limit) if usable else NO_INTERVAL,
        n=len(gains),
        df=math.inf,
        spent=spent if usable else 0.0,
        rows=(),
        equal=equal,
    )


def _same_words(rows: pd.DataFrame) -> pd.Series:
    return rows["description"].str.strip().str.lower()


def _label_and_words(rows: pd.DataFrame) -> pd.Series:
    return rows["label"] + "\n" + _same_words(rows)


_KEYS: dict[Route, Callable[[pd.DataFrame], pd.Series]] = {
    "repeats": _label_and_words,
    "same_label": lambda rows: rows["label"],
    "same_description": lambda rows: _same_words(rows).replace("", pd.NA),
}


def _repeated(rows: pd.DataFrame, key: pd.Series) -> tuple[list[pd.DataFrame], int]:
    """Groups of rows with one key and at least two different values, and the number of equal values left out.

    Values that agree to the last digit are one run written twice, or a run without any chance in it: no measure.
    """
    again = key.notna() & key.duplicated(keep=False)
    named = rows[again].assign(key=key[again])
    different = named[~named.duplicated(["key", "value"])]
    groups = [group for _, group in different.groupby("key", sort=False) if len(group) > 1]
    return groups, len(named) - len(different)
