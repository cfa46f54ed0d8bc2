"""Findings on the log of a loop that ran every proposal once. They answer no published claim: all are `measured`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from audit.finding import Finding, Withheld, permitted
from audit.single_seed.keeps import OUTCOME_WORDS, JudgedLog, judge, sign
from audit.single_seed.log import LoopLog
from audit.single_seed.plan import SingleSeedSettings
from audit.single_seed.words import (
    amount,
    floor_answer,
    floor_method,
    judged_at,
    keep_answer,
    plain,
    plan_answer,
    rows_answer,
    small,
)
from audit.statistics.gains import best_reach, null_progress, record_probabilities
from audit.statistics.selection import SHRINK_FROM, expected_best
from audit.wording import number, p_equals, plural


def audit(log: LoopLog, cfg: SingleSeedSettings, withheld: Withheld = frozenset()) -> list[Finding]:
    """Findings of METHODS section 5 on one log: the log as a whole, then one a keep, in the order of the log.

    withheld: intervals not to be shown, as (method, n) of `methods_in_use`, because calibration says they do not hold.

    Raises:
        InputError: the smallest gain of interest cannot be had from the log.
    """
    judged = judge(log, cfg, withheld)
    findings = [_rows_finding(judged), _floor_finding(judged, cfg, withheld), _keeps_finding(judged, cfg)]
    if judged.runs > 1:
        findings.append(_null_keeps_finding(judged, cfg))
        if judged.floor.known:
            findings += [_bias_finding(judged, cfg), _best_finding(judged, cfg, withheld)]
        findings.append(_plan_finding(judged, cfg))
    largest = judged.keeps.nlargest(cfg.most_findings, "gain").sort_index()
    return findings + [_keep_finding(judged, row, cfg) for row in largest.to_dict("records")]


def methods_in_use(log: LoopLog, cfg: SingleSeedSettings) -> list[tuple[str, int]]:
    """(calibrated method, n) of every interval and test that `audit` rests on for this log."""
    judged = judge(log, cfg, frozenset())
    m, floor = len(judged.compared), judged.floor
    used = set(floor.calibrated)
    if floor.known and m:
        test = "gain_p_values" if math.isinf(floor.df) else "gain_p_values.repeats"
        used |= {(test, m), ("gain_limits", m), ("best_reach", m)}
        if floor.route != "spread" and m >= SHRINK_FROM:
            used.add(("shrink", m))
    return sorted(used)


def _rows_finding(judged: JudgedLog) -> Finding:
    log = judged.log
    reasons = {str(reason): int(count) for reason, count in log.excluded["reason"].value_counts().sort_index().items()}
    return Finding(
        **_named(judged, "rows", table="left_out"),
        question=f"Which rows of {log.file} are used?",
        answer=rows_answer(judged, reasons),
        method="Every row is either used or listed with the reason why not.",
        n=len(log.rows),
        details={
            "kind": "rows", "file": log.file, "metric": log.metric, "direction": log.direction,
            "left_out": reasons, "notes": list(log.notes),
        },
    )  # fmt: skip


def _floor_finding(judged: JudgedLog, cfg: SingleSeedSettings, withheld: Withheld) -> Finding:
    floor, unit = judged.floor, judged.log.metric
    return Finding(
        **_named(judged, "noise_floor"),
        question=f"How much do two runs of the same program differ in {judged.log.file}?",
        answer=floor_answer(judged, cfg),
        method=floor_method(floor),
        estimate=None if floor.route == "spread" else floor.sd,
        unit=unit,
        interval=floor.interval,
        level=1.0 - floor.spent if floor.spent else cfg.level,
        n=floor.n,
        details={
            "kind": "noise_floor", "route": floor.route, "sd": floor.sd, "df": floor.df, "rows": list(floor.rows),
            "equal_rows": floor.equal, "withheld": sorted(map(list, withheld & set(methods_of(judged)))),
        },
    )  # fmt: skip


def methods_of(judged: JudgedLog) -> list[tuple[str, int]]:
    """(method, n) of the intervals that may be withheld in this log."""
    m = len(judged.compared)
    return [*judged.floor.calibrated, ("gain_limits", m), ("best_reach", m), ("shrink", m), ("noise_limit", m)]


def _keeps_finding(judged: JudgedLog, cfg: SingleSeedSettings) -> Finding:
    outcomes = judged.keeps["outcome"]
    counts = {name: int((outcomes == name).sum()) for name in OUTCOME_WORDS}
    overlooked = judged.compared[~judged.compared["kept"] & (judged.compared["gain"] > 0)]
    if not len(outcomes):
        answer = f"{judged.log.file} keeps nothing after its first kept row." if judged.runs else "Nothing was kept."
    else:
        parts = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items() if count)
        answer = (
            f"Of {plural(len(outcomes), 'kept change')} among {plural(len(judged.compared), 'proposal')}: {parts}. "
            f"{judged_at(judged)}"
        )
    if len(overlooked):
        answer += f" {plural(len(overlooked), 'proposal')} beat the best kept before and were not kept."
    return Finding(
        **_named(judged, "keeps"),
        question=f"Which kept improvements of {judged.log.file} are real?",
        answer=answer,
        method=(
            "Each proposal against the best kept before it; a run is one draw, so the difference has an SD of √2 times "
            "the noise. One-sided t (normal where the noise is taken as known), Holm-adjusted over all proposals, kept "
            f"or not, at level {cfg.level:g}; the best before was picked for being low or high, which makes the test "
            "cautious. 'noise' needs the upper limit of the true gain, simultaneous over all pairs of runs, to lie "
            f"below the smallest gain of interest ({amount(judged.sesoi)} {judged.log.metric}). {cfg.sesoi_reason}"
        ),
        estimate=counts["real"],
        unit="kept changes that are real",
        n=len(outcomes),
        details={
            "kind": "keeps", "outcomes": counts, "proposals": len(judged.compared), "route": judged.floor.route,
            "sesoi": judged.sesoi, "better_and_not_kept": overlooked["row"].tolist()[: cfg.most_findings],
        },
    )  # fmt: skip


def _null_keeps_finding(judged: JudgedLog, cfg: SingleSeedSettings) -> Finding:
    observed, n = int((judged.keeps["gain"] > 0).sum()), judged.runs
    chances = record_probabilities(n)
    tail = (1.0 - cfg.level) / 2.0
    low, high = (int(np.searchsorted(np.cumsum(chances), q)) for q in (tail, 1.0 - tail))
    mean, p_value = float(chances @ np.arange(len(chances))), min(float(chances[observed:].sum()), 1.0)
    return Finding(
        **_named(judged, "null_keeps"),
        question=f"How many keeps would noise alone give in {judged.log.file}?",
        answer=(
            f"If no proposal changed anything, {plural(n - 1, 'proposal')} would give {number(mean, 1)} new bests "
            f"({100 * cfg.level:g}% of such logs: {low} to {high}); this log has {observed} ({p_equals(p_value)} for "
            "so many or more). It says nothing of which keeps are real; real gains between them can make false keeps "
            "more frequent than this."
        ),
        method=(
            "Records among runs in random order, exact, whatever the noise (Renyi 1962). One-sided, one test. "
            "Proposals worse than the start make records rarer, so many of them hide a search that works."
        ),
        estimate=mean,
        unit="keeps after the first",
        n=n,
        p_value=p_value,
        details={"kind": "null_keeps", "observed": observed, "low": low, "high": high},
    )


def _bias_finding(judged: JudgedLog, cfg: SingleSeedSettings) -> Finding:
    log, floor, n = judged.log, judged.floor, judged.runs
    start, end = judged.start, judged.end
    assert start is not None
    assert end is not None
    progress = (start["value"] - end["value"]) * sign(log)
    expected = expected_best(n, floor.sd, cfg.level).mean
    low, high = (floor.sd * float(limit[0]) for limit in null_progress([n], cfg.level))
    at_most = "at most " if floor.route == "spread" else ""
    share = f", {at_most}{min(100 * expected / progress, 100):.0f}% of it" if progress > 0 else ""
    return Finding(
        **_named(judged, "running_best_bias"),
        question=f"How much of the progress of {log.file} would noise alone give?",
        answer=(
            f"From row {start['row']} to row {end['row']} the best value improves by {small(progress)} {log.metric}. "
            f"If no proposal changed anything, the best of {plural(n, 'run')} would still seem better than the first "
            f"by {at_most}{small(expected)} on average{share} ({100 * cfg.level:g}% of such logs: {small(low)} to "
            f"{small(high)}). That is no part to subtract: where proposals really differ the bias is smaller."
        ),
        method=(
            "Expected best of n equal runs with normal noise, n being the start and all proposals after it; the "
            "range allows for noise of the start too."
        ),
        estimate=expected,
        unit=log.metric,
        n=n,
        details={
            "kind": "running_best_bias", "progress": progress, "low": low, "high": high, "noise_sd": floor.sd,
            "route": floor.route,
        },
    )  # fmt: skip


def _best_finding(judged: JudgedLog, cfg: SingleSeedSettings, withheld: Withheld) -> Finding:
    log, floor, end = judged.log, judged.floor, judged.end
    assert end is not None
    worse, better = best_reach(judged.runs, floor.sd, floor.df, cfg.level + floor.spent)
    limits = sorted((end["value"] + sign(log) * worse, end["value"] - sign(log) * better))
    interval = permitted((limits[0], limits[1]), "best_reach", len(judged.compared), withheld)
    return Finding(
        **_named(judged, "best"),
        question=f"How good is the best of {log.file}, honestly?",
        answer=(
            f"Row {end['row']} shows {amount(end['value'])} {log.metric}; corrected for being the best of "
            f"{plural(judged.runs, 'run')}, its true value lies in {plain(interval)} ({100 * cfg.level:g}% interval)."
        ),
        method=(
            "One run and its noise. The side towards worse values is corrected for the choice among all runs "
            "(Bonferroni), the other needs no correction (Fuentes, Casella and Wells 2018). Limits allow for heavy "
            "tails."
        ),
        estimate=float(end["value"]),
        unit=log.metric,
        interval=interval,
        level=cfg.level,
        n=judged.runs,
        details={"kind": "best", "row": int(end["row"]), "label": end["label"], "noise_sd": floor.sd},
    )


def _plan_finding(judged: JudgedLog, cfg: SingleSeedSettings) -> Finding:
    still_open = judged.keeps.loc[judged.keeps["outcome"] == "open", "row"].tolist()
    return Finding(
        **_named(judged, "plan", table="plan"),
        question=f"Which reruns would settle what is open in {judged.log.file}?",
        answer=plan_answer(judged, cfg),
        method=(
            f"Paired two-sided t, {100 * cfg.power:g}% power for a true gain of the smallest size of interest, "
            f"{amount(judged.sesoi)} {judged.log.metric}, never for the gain seen; at the upper limit of the noise, "
            "seeds unpaired (pairs that share a data order need fewer), Bonferroni over the open keeps."
        ),
        estimate=judged.seeds,
        unit="seeds an arm",
        n=len(still_open),
        details={"kind": "plan", "open_rows": still_open[: cfg.most_findings], "noise_seeds": cfg.noise_seeds},
    )


def _keep_finding(judged: JudgedLog, row: Mapping[str, Any], cfg: SingleSeedSettings) -> Finding:
    shown = ("row", "label", "description", "value", "before_row", "before_label", "before_value", "outcome",
             "break_even_sd", "shrunk", "shrunk_low", "shrunk_high")  # fmt: skip
    shrunk = (
        "Shrunken gain: empirical Bayes over all proposals, normal true gains; a true gain unlike the others is shrunk "
        "too far, and very bad proposals make it shrink too little."
    )
    return Finding(
        **_named(judged, f"keep.{row['row']}"),
        question=f"Is row {row['row']} of {judged.log.file} better than the best before it?",
        answer=keep_answer(judged, row, cfg),
        method=(
            "As for all keeps together; p-value Holm-adjusted over all proposals, interval simultaneous over them and "
            f"allowing for selection. {shrunk if math.isfinite(row['shrunk']) else ''}"
        ).strip(),
        estimate=row["gain"],
        unit=judged.log.metric,
        interval=(row["low"], row["high"]),
        level=cfg.level,
        n=2,
        p_value=row["p_adjusted"],
        details={"kind": "keep"} | {name: row[name] for name in shown},
    )


def _named(judged: JudgedLog, what: str, table: str = "proposals") -> dict[str, Any]:
    return {
        "id": f"single_seed.{judged.slug}.{what}",
        "verdict": "measured",
        "tables": [f"tables/single_seed_{judged.slug}_{table}.csv"],
        "figures": [f"figures/single_seed_{judged.slug}.svg"] if judged.runs > 1 else [],
    }
