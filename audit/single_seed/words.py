"""Longer answers on single-seed logs, in words."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from audit.single_seed.keeps import OUTCOME_WORDS, JudgedLog
from audit.single_seed.noise import ROUTE_WORDS, NoiseFloor
from audit.single_seed.plan import SingleSeedSettings
from audit.wording import count, p_equals, plural, span

LABEL_LENGTH = 60


def amount(value: float | None) -> str:
    """A number in the metric's unit: six significant digits, for metrics of any size."""
    return "–" if value is None or not math.isfinite(value) else f"{value:.6g}".replace("-", "−")


def small(value: float | None) -> str:
    """A difference in the metric's unit: three significant digits."""
    return "–" if value is None or not math.isfinite(value) else f"{value:.3g}".replace("-", "−")


def plain(interval: tuple[float, float], shown: Callable[[float], str] = amount) -> str:
    """`0.1 to 0.2`, without signs; words where there is none."""
    return f"{shown(interval[0])} to {shown(interval[1])}" if math.isfinite(interval[0]) else span(None)


def cut(text: str) -> str:
    """`text` short enough to stand in a sentence."""
    return text if len(text) <= LABEL_LENGTH else text[: LABEL_LENGTH - 1] + "…"


def rows_answer(judged: JudgedLog, reasons: Mapping[str, int]) -> str:
    """How many rows are used, and why others are not."""
    log = judged.log
    left = "; ".join(f"{reason} ({count(number)})" for reason, number in reasons.items())
    answer = f"{plural(len(log.rows), 'row')} with a value of {log.metric} ({log.direction} is better)"
    answer += f"; {len(log.excluded)} left out: {left}." if reasons else "; none left out."
    if early := int(judged.proposals["before_row"].isna().sum()) - (judged.runs > 0):
        answer += f" {plural(early, 'row')} stand before the first keep and are compared with nothing."
    notes = (f"{note[:1].upper()}{note[1:].rstrip('.')}." for note in log.notes)
    return " ".join([answer, *notes])


def floor_answer(judged: JudgedLog, cfg: SingleSeedSettings) -> str:
    """How large the noise is, and where that is known from."""
    floor, unit = judged.floor, judged.log.metric
    if floor.route == "none":
        answer = (
            "The log holds no measure of noise: no program was run twice, and the proposals are too few to bound it. "
            "No gain can be settled; each has a break-even noise instead, at which it stops being significant."
        )
    elif floor.route == "spread":
        answer = (
            f"No program was run twice, so the noise itself is unknown. Its SD is at most {small(floor.sd)} {unit} "
            f"({100 * (1 - floor.spent):g}% confidence for symmetric noise that is alike throughout the log), for "
            f"{plural(floor.n, 'proposal')} would otherwise lie further apart. It may be far smaller: "
            "what is open at this limit may be real."
        )
    else:
        exact = math.isinf(floor.df)
        runs = "taken to be exact" if exact else f"{100 * cfg.level:g}% interval {plain(floor.interval, small)}"
        counted = f", {plural(floor.n, 'run')}" if floor.n else ""
        answer = f"A run's noise has an SD of {small(floor.sd)} {unit} ({runs}{counted}): {ROUTE_WORDS[floor.route]}."
    if floor.equal:
        answer += f" {plural(floor.equal, 'repeated row')} agree to the last digit with another and measure nothing."
    return answer


def floor_method(floor: NoiseFloor) -> str:
    """How the noise was measured or bounded, and what is assumed."""
    if floor.route == "spread":
        return (
            "The shortest interval that holds just over half of the gains over the best before, kept and discarded "
            "alike, against its distribution for heavy-tailed noise without real differences. Real differences only "
            "widen it (Lewis and Thompson 1981), so this bounds the noise and does not estimate it. Assumed: noise is "
            "alike for all proposals and does not depend on how good they are."
        )
    if floor.route == "given":
        return "The SD comes with the settings. Its interval, if the number of runs is known, allows for heavy tails."
    if floor.route == "none":
        return "Looked for: repeated labels, repeated descriptions, and an upper limit from the spread of all gains."
    return (
        "SD within groups of repeated rows, pooled; its interval allows for heavy tails. Assumed: what was run again "
        "was not chosen for its result, and noise is alike for all programs."
    )


def judged_at(judged: JudgedLog) -> str:
    """What noise the outcomes were decided at."""
    floor, unit = judged.floor, judged.log.metric
    if floor.route == "none":
        return "There is no measure of noise, so nothing is settled."
    sd = f"a noise SD of {small(floor.sd)} {unit}"
    if floor.route == "spread":
        return (
            f"Decided at {sd}, the largest that the log allows if noise is alike before and after every change: what "
            "is real there is real at any smaller noise, and what is open is not settled by this log alone."
        )
    return f"Decided at {sd}."


def keep_answer(judged: JudgedLog, row: Mapping[str, Any], cfg: SingleSeedSettings) -> str:
    """One keep: gain, interval, outcome, break-even noise."""
    unit, gain = judged.log.metric, row["gain"]
    name = f"Row {row['row']} ({cut(row['label'])})"
    if row["outcome"] == "no_gain":
        return f"{name} was kept and is not better than row {row['before_row']}, the best before it."
    seen = f"{name} is better than row {row['before_row']} by {small(gain)} {unit} in one run each"
    outcome = OUTCOME_WORDS[row["outcome"]]
    settled = f"significant at {100 * cfg.level:g}% only if a run's noise has an SD below {small(row['break_even_sd'])}"
    if not judged.floor.known:
        return f"{seen}; {settled}, which the log does not tell."
    limits = plain((row["low"], row["high"]), small)
    known = math.isfinite(row["shrunk"])
    shrunk = f" Shrunken towards all proposals, the gain is {small(row['shrunk'])}." if known else ""
    return (
        f"{seen} (simultaneous {100 * cfg.level:g}% interval {limits}, {p_equals(row['p_adjusted'])}): {outcome}. With "
        f"a noise SD known exactly it is {settled}.{shrunk}"
    )


def plan_answer(judged: JudgedLog, cfg: SingleSeedSettings) -> str:
    """The reruns, in a sentence."""
    waiting = judged.keeps[judged.keeps["outcome"] == "open"]
    if waiting.empty:
        return "Nothing is open."
    assert judged.start is not None
    first = ""
    if judged.floor.route in ("spread", "none"):
        first = (
            f"First measure the noise: {cfg.noise_seeds} seeds of row {judged.start['row']}, then judge again with "
            "audit.noise_sd and audit.noise_runs. "
        )
    if not judged.floor.known:
        return f"{first}Without a measure of noise no number of seeds can be given."
    opened = f"{plural(len(waiting), 'open keep')}, each against the best before it"
    effect = f"{small(judged.sesoi)} {judged.log.metric}, the smallest gain of interest"
    if judged.seeds is None:
        return (
            f"{first}At a noise SD of {small(judged.floor.upper)}, the upper limit, {opened} would need more than "
            f"{count(cfg.max_seeds)} seeds an arm to settle {effect}."
        )
    arms = len({*waiting["row"], *waiting["before_row"]})
    return (
        f"{first}At a noise SD of {small(judged.floor.upper)}, {opened}: {count(judged.seeds)} seeds an arm settle "
        f"{effect} ({plural(arms, 'program')}, {count(arms * judged.seeds)} runs)."
    )
