"""A single-seed log laid out for a reader: tables, the figure and the words of its part of the page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from audit.finding import Finding, Withheld
from audit.single_seed import figures
from audit.single_seed.keeps import JudgedLog, judge, sign
from audit.single_seed.log import LoopLog
from audit.single_seed.plan import SingleSeedSettings
from audit.statistics.gains import best_reach, null_progress
from audit.wording import plural

BAND_POINTS = 300
KEEPS_ON_PAGE = 40
LEFT_OUT_ON_PAGE = 40
METHODS = ("noise_floor", "keeps", "null_keeps", "running_best_bias", "best", "keep", "plan")  # in this order


def summary(log: LoopLog, findings: Sequence[Finding], cfg: SingleSeedSettings) -> str:
    """The log in a line."""
    del cfg
    found = _answers(findings)
    return f"{log.file}: {found['keeps']} {found['null_keeps']}".rstrip()


def tables(log: LoopLog, findings: Sequence[Finding], cfg: SingleSeedSettings) -> dict[str, pd.DataFrame]:
    """`single_seed_<log>_proposals`, `.._plan` and `.._left_out`: every row of the log is in the first or the last."""
    judged = judge(log, cfg, _withheld(findings))
    name = f"single_seed_{judged.slug}"
    return {
        f"{name}_proposals": judged.proposals,
        f"{name}_plan": plan_table(judged, cfg),
        f"{name}_left_out": log.excluded,
    }


def plan_table(judged: JudgedLog, cfg: SingleSeedSettings) -> pd.DataFrame:
    """Reruns in the order they are worth doing: row, label, against_row, against_label, seeds an arm, why.

    seeds is missing where more than `max_seeds` would be needed, or where there is no noise to plan with.
    """
    columns = ["row", "label", "against_row", "against_label", "seeds", "why"]
    waiting = judged.keeps[judged.keeps["outcome"] == "open"].sort_values("gain", ascending=False, kind="stable")
    steps: list[dict[str, Any]] = []
    if len(waiting) and judged.floor.route in ("spread", "none") and judged.start is not None:
        steps.append({"row": judged.start["row"], "label": judged.start["label"], "seeds": cfg.noise_seeds,
                      "why": "measures the noise; then judge again with it"})  # fmt: skip
    if judged.seeds is not None:
        why = "settles the smallest gain of interest at the upper limit of the noise"
    elif judged.floor.known:
        why = f"more than {cfg.max_seeds} seeds at the upper limit of the noise"
    else:
        why = "no noise to plan with"
    for row in waiting.to_dict("records"):
        steps.append({"row": row["row"], "label": row["label"], "against_row": row["before_row"],
                      "against_label": row["before_label"], "seeds": judged.seeds, "why": why})  # fmt: skip
    whole = dict.fromkeys(("row", "against_row", "seeds"), "Int64")
    return pd.DataFrame(steps, columns=columns).astype(whole)


def draw(log: LoopLog, findings: Sequence[Finding], cfg: SingleSeedSettings) -> dict[str, Figure]:
    """The progress figure by its name `single_seed_<log>`; none where nothing was compared."""
    judged = judge(log, cfg, _withheld(findings))
    if judged.runs < 2:
        return {}
    floor = judged.floor
    low, high = floor.interval
    noise = pd.Series({"sd": floor.sd, "low": low, "high": high, "is_limit": floor.route == "spread"})
    drawn = figures.progress(
        judged.proposals,
        bands(judged, cfg),
        noise,
        metric=log.metric,
        direction=log.direction,
    )
    return {f"single_seed_{judged.slug}": drawn}


def bands(judged: JudgedLog, cfg: SingleSeedSettings) -> pd.DataFrame:
    """Along the log: where the true value of the best so far lies, and where noise alone would have brought it.

    Columns row, honest_low, honest_high, null_low, null_high, each at the level of the plan for itself; empty without
    a measure of noise. At most 300 rows, the last one always among them.
    """
    columns = ["row", "honest_low", "honest_high", "null_low", "null_high"]
    start, floor, side = judged.start, judged.floor, sign(judged.log)
    if start is None or not floor.known:
        return pd.DataFrame(columns=columns)
    shown = judged.proposals[judged.proposals["running_best"].notna()].reset_index(drop=True)
    places = np.unique(np.linspace(0, len(shown) - 1, BAND_POINTS).round().astype(int))
    level = cfg.level + floor.spent
    reach = np.array([best_reach(int(place) + 1, floor.sd, floor.df, level) for place in places])
    best = side * shown["running_best"].to_numpy()[places]
    honest = np.sort(side * np.stack([best - reach[:, 1], best + reach[:, 0]]), axis=0)
    least, most = null_progress(places + 1, level)
    null = np.sort(side * (side * start["value"] - floor.sd * np.stack([least, most])), axis=0)
    return pd.DataFrame(dict(zip(columns, [shown["row"].to_numpy()[places], *honest, *null], strict=True)))


def page(log: LoopLog, findings: Sequence[Finding], cfg: SingleSeedSettings) -> dict[str, Any]:
    """What `_single_seed.html` needs of one log."""
    judged = judge(log, cfg, _withheld(findings))
    name = f"single_seed_{judged.slug}"
    largest = judged.keeps.nlargest(KEEPS_ON_PAGE, "gain").sort_index()
    methods = {finding.details["kind"]: finding.method for finding in findings}
    return {
        "file": log.file,
        "slug": judged.slug,
        "name": name,
        "metric": log.metric,
        "level_percent": f"{100 * cfg.level:g}%",
        "summary": summary(log, findings, cfg),
        "answers": _answers(findings),
        "is_limit": judged.floor.route == "spread",
        "known": judged.floor.known,
        "shrunk": bool(largest["shrunk"].notna().any()),
        "keeps": [_keep(row) for row in largest.to_dict("records")],
        "keeps_not_shown": len(judged.keeps) - len(largest),
        "plan": plan_table(judged, cfg).astype(object).replace({pd.NA: None}).head(KEEPS_ON_PAGE).to_dict("records"),
        "left_out": log.excluded.head(LEFT_OUT_ON_PAGE).to_dict("records"),
        "left_out_not_shown": max(len(log.excluded) - LEFT_OUT_ON_PAGE, 0),
        "methods": [methods[kind] for kind in METHODS if kind in methods],
        "smallest": f"{judged.sesoi:.3g}" if math.isfinite(judged.sesoi) else "–",
        "counted": plural(len(judged.compared), "proposal"),
    }  # fmt: skip


def _keep(row: dict[str, Any]) -> dict[str, Any]:
    """A keep, with None for what is not known."""
    return {str(key): None if value is pd.NA or value != value else value for key, value in row.items()}


def _answers(findings: Sequence[Finding]) -> dict[str, str]:
    """Answers on the log as a whole by kind; the empty text where there is none."""
    kinds = ("rows", "noise_floor", "keeps", "null_keeps", "running_best_bias", "best", "plan")
    return {kind: " ".join(f.answer for f in findings if f.details["kind"] == kind) for kind in kinds}


def _withheld(findings: Sequence[Finding]) -> Withheld:
    """What was withheld when the findings were made."""
    listed = [pair for f in findings if f.details["kind"] == "noise_floor" for pair in f.details["withheld"]]
    return frozenset((str(method), int(n)) for method, n in listed)
