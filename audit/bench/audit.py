"""From the bench's table to ratios, targets and shares of what the hardware allows. Frames in, findings out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.stats import binom

from audit.bench.plan import BenchAuditSettings, Target
from audit.finding import Finding
from audit.wording import number, plural

OUTCOMES = ("met", "not met", "not measured")
_KEYS = ["machine", "name", "size", "shape"]
_ALIKE = [*_KEYS, "dtype", "batch"]  # what two forms must share to be compared
METHOD = (
    "Ratio of two forms of the same work in one run on one machine, by medians of repeats; its ends are the worst and "
    "the best that the quartiles allow. Over several shapes of an operator the worst counts; over programs, the median "
    "ratio with an interval from their order. Met where even the lower end reaches the target. No row counts whose "
    "result differs from the reference; where an operator lacks one of its shapes, its target counts as not measured."
)


def audit(frame: pd.DataFrame, baselines: Sequence[str], cfg: BenchAuditSettings) -> list[Finding]:
    """One finding a target.

    Args:
        frame: rows of the bench (`replication.bench.table.COLUMNS`), and `machine`.
        baselines: names of the programs that are not published ones.
    """
    return [_finding(target, frame, baselines, cfg) for target in cfg.targets]


def ratios(frame: pd.DataFrame, target: Target, baselines: Sequence[str]) -> pd.DataFrame:
    """machine, name, size, shape, ratio, low, high of every row in which both forms of a target were measured."""
    rows = _rows(frame, target, baselines)
    rows = rows[rows["status"] == "ok"]
    slow, fast = (rows[rows["form"] == form] for form in (target.slow, target.fast))
    both = slow.merge(fast, on=_ALIKE, suffixes=("_slow", "_fast"))
    if target.measure == "saved_bytes":
        ratio = both["saved_bytes_slow"] / both["saved_bytes_fast"]
        return both[_KEYS].assign(ratio=ratio, low=ratio, high=ratio)
    return both[_KEYS].assign(
        ratio=both["seconds_slow"] / both["seconds_fast"],
        low=both["low_slow"] / both["high_fast"],
        high=both["high_slow"] / both["low_fast"],
    )


def _rows(frame: pd.DataFrame, target: Target, baselines: Sequence[str]) -> pd.DataFrame:
    """The rows of what a target is about, in its two forms, measured or not."""
    forms = frame["form"].isin([target.slow, target.fast])
    rows = frame[(frame["kind"] == target.kind) & (frame["device"] == target.device) & forms]
    if target.kind == "operator":
        # As whole words: D32 is not D320.
        wanted = rows["shape"].map(lambda shape: f" {target.shape} " in f" {shape} " if target.shape else True)
        return rows[(rows["name"] == target.what) & wanted.astype(bool)]
    if target.what == "programs":
        return rows[(rows["size"] == target.shape) & ~rows["name"].isin(list(baselines))]
    return rows[(rows["size"] == target.shape) & (rows["name"] == target.what)]


def summarised(
    found: pd.DataFrame, lacking: int, target: Target, cfg: BenchAuditSettings
) -> tuple[float, float, float] | None:
    """Ratio and its ends over all rows of a target; None where too few were measured.

    lacking: shapes or programs without a ratio. The worst of the others need not be the worst.
    """
    needed = cfg.least_programs if target.what == "programs" else 1
    if len(found) < needed or (lacking and target.over == "worst"):
        return None
    if target.over == "worst":
        worst = found.loc[found["low"].idxmin()]
        return float(worst["ratio"]), float(worst["low"]), float(worst["high"])
    low, high = median_interval(found["ratio"].to_numpy(), cfg.level)
    return float(found["ratio"].median()), low, high


def median_interval(values: np.ndarray, level: float) -> tuple[float, float]:
    """Interval for the median of what the values are a sample of, without assumptions on its form (sign test).

    Its ends are two of the values; the smallest and the largest where fewer than six leave no choice at 0.95.
    """
    ordered = np.sort(values)
    below = int(binom.ppf((1 - level) / 2, len(ordered), 0.5))
    return float(ordered[max(below - 1, 0)]), float(ordered[len(ordered) - max(below, 1)])


def outcome(summary: tuple[float, float, float] | None, target: Target) -> str:
    """One of OUTCOMES."""
    if summary is None:
        return "not measured"
    return "met" if summary[1] >= target.at_least else "not met"


def _finding(target: Target, frame: pd.DataFrame, baselines: Sequence[str], cfg: BenchAuditSettings) -> Finding:
    found = ratios(frame, target, baselines)
    lacking = len(_rows(frame, target, baselines)[_KEYS].drop_duplicates()) - len(found)
    summary = summarised(found, lacking, target, cfg)
    judged = outcome(summary, target)
    least = f"{target.at_least:g} times"
    if summary is None:
        hardware = "a GPU" if target.device == "cuda" else "a CPU"
        answer = f"{target.words}: not measured; it takes {hardware} and rows of both forms. The target is {least}."
        answer += f" Without a ratio: {lacking} of {lacking + len(found)}." if lacking else ""
    else:
        spread = "" if summary[1] == summary[2] else f" ({number(summary[1], 2)} to {number(summary[2], 2)})"
        answer = f"{target.words}: {number(summary[0], 2)} times{spread} over {plural(len(found), 'row')}"
        answer += f" ({lacking} more without a ratio); " if lacking else "; "
        answer += f"the target is {least}: {judged}."
    return Finding(
        id=f"bench.{target.name}",
        question=f"{target.words}: at least {least}?",
        answer=answer[0].upper() + answer[1:],
        verdict="not_testable" if summary is None else "measured",
        method=METHOD,
        estimate=None if summary is None else summary[0],
        unit=None if summary is None else "times",
        n=len(found),
        tables=["bench", "ratios"],
        details={
            "outcome": judged,
            "lacking": lacking,
            "at_least": target.at_least,
            "low": None if summary is None else summary[1],
            "high": None if summary is None else summary[2],
            "machines": sorted(set(found["machine"])),
        },
    )


def target_table(findings: Sequence[Finding], cfg: BenchAuditSettings) -> pd.DataFrame:
    """target, ratio, low, high, at_least, rows, machine, outcome."""
    rows = [
        {
            "target": target.words,
            "ratio": finding.estimate,
            "low": finding.details["low"],
            "high": finding.details["high"],
            "at_least": target.at_least,
            "rows": finding.n,
            "machine": ", ".join(finding.details["machines"]),
            "outcome": finding.details["outcome"],
        }
        for target, finding in zip(cfg.targets, findings, strict=True)
    ]
    frame = pd.DataFrame(rows)
    return frame.astype({"ratio": float, "low": float, "high": float})


def ratio_table(frame: pd.DataFrame, baselines: Sequence[str], cfg: BenchAuditSettings) -> pd.DataFrame:
    """Every ratio behind every target."""
    parts = [ratios(frame, target, baselines).assign(target=target.words) for target in cfg.targets]
    table = pd.concat(parts, ignore_index=True)
    return table[["target", *_KEYS, "ratio", "low", "high"]]


def with_shares(frame: pd.DataFrame) -> pd.DataFrame:
    """Operators with what they reach: flops_per_second, bytes_per_second, intensity (operations a byte), and
    share_of_ceiling, the shortest time that copy and matrix products of the same machine allow over the time taken.

    Time is that of a graph's replay where there is one.
    """
    rows = frame[(frame["kind"] == "operator") & (frame["status"] == "ok")].copy()
    seconds = rows["graph_seconds"].fillna(rows["seconds"])
    rows["flops_per_second"], rows["bytes_per_second"] = rows["flops"] / seconds, rows["bytes"] / seconds
    rows["intensity"] = rows["flops"] / rows["bytes"]
    limits = [ceiling(frame, machine, dtype, device) for machine, dtype, device in
              zip(rows["machine"], rows["dtype"], rows["device"], strict=True)]  # fmt: skip
    copies, products = np.array(limits, dtype=float).reshape(-1, 2).T
    floor = np.maximum(rows["bytes"] / copies, rows["flops"] / products)
    rows["share_of_ceiling"] = floor / seconds
    return rows


def ceiling(frame: pd.DataFrame, machine: str, dtype: str, device: str) -> tuple[float, float]:
    """Bytes a second of a copy, and operations a second of a matrix product in a number format; NaN where unknown."""
    kind = "tf32" if dtype == "float32" and device == "cuda" else dtype
    rows = frame[(frame["kind"] == "ceiling") & (frame["machine"] == machine) & (frame["status"] == "ok")]
    copy = rows[rows["name"] == "copy"]
    product = rows[(rows["name"] == "matmul") & (rows["form"] == kind)]
    return (
        float((copy["bytes"] / copy["seconds"]).max()) if len(copy) else float("nan"),
        float((product["flops"] / product["seconds"]).max()) if len(product) else float("nan"),
    )
