"""Is every candidate's mean accuracy above every baseline's, given the number of test items behind each?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from audit.claims.arms import POINTS, Arms, Benchmarks, Split, accuracies, complete, items_of, need, overall, split
from audit.claims.outcome import ClaimEvidence, Decision, Outcome
from audit.finding import Verdict, permitted
from audit.statistics.benchmarks import compare_with_baselines, leave_one_out
from audit.statistics.estimate import Floats
from audit.wording import plural, signed, span

INTERVAL = "compare_with_baselines.interval"
P_VALUE = "compare_with_baselines.p_value"
ERROR = (
    "This error is that of the test items alone; that of training with another seed comes on top, and no run was "
    "repeated."
)


@dataclass(frozen=True, kw_only=True)
class MeansExceed:
    """Every candidate's mean accuracy against every baseline's.

    rho: per-item correlation of two models' answers, an assumption; the verdict is at this value. rhos: others, shown
    beside it. without_each: supported only if every difference stays above 0 without any one benchmark.
    """

    arms: Arms
    accuracies: Benchmarks
    rho: float
    rhos: tuple[float, ...]
    without_each: bool


@dataclass(frozen=True)
class _Measured:
    split: Split
    candidates: list[int]
    baselines: list[int]
    ours: Floats
    theirs: Floats
    items: Floats
    left_out: list[str]


def means_exceed(evidence: ClaimEvidence, p: MeansExceed, decision: Decision) -> Outcome:
    """Is every candidate's mean accuracy above every baseline's, by more than the test items explain?"""
    data = _measured(evidence, p.arms, p.accuracies)
    tables = {rho: _compared(data, p.accuracies, rho, decision) for rho in sorted({p.rho, *p.rhos})}
    table = tables[p.rho].sort_values("difference", kind="stable", ignore_index=True)
    verdicts = {rho: _verdict(found, data, p.without_each) for rho, found in tables.items()}
    least = table.iloc[0]
    m = len(data.candidates)
    interval = permitted((float(least["low"]), float(least["high"])), INTERVAL, m, decision.withheld)
    return Outcome(
        answer=_means_answer(table, least, interval, p, verdicts, data),
        verdict=verdicts[p.rho],
        method=(
            "Differences of mean accuracies; normal, variance from the number of items, with one shared measurement of "
            f"each baseline, simultaneous intervals, Holm over {len(table)} differences; per-item correlation "
            f"{p.rho:g} assumed, {', '.join(f'{rho:g}' for rho in tables)} tried; leave-one-benchmark-out."
        ),
        estimate=float(least["difference"]),
        unit="points of mean accuracy",
        interval=interval,
        n=len(table),
        p_value=float(table["p_holm"].max()),
        rows=table,
        calibrated=((INTERVAL, m), (P_VALUE, m)),
        details={
            "sweep": {
                f"{rho:g}": {"verdict": verdicts[rho], **found["outcome"].value_counts().sort_index().to_dict()}
                for rho, found in tables.items()
            },
            "significant_bh": int(((table["p_bh"] <= 1 - decision.level) & (table["difference"] > 0)).sum()),
            "left_out": data.left_out,
        },
    )


def _measured(evidence: ClaimEvidence, arms: Arms, benchmarks: Benchmarks) -> _Measured:
    rows = split(evidence.sheets, arms)
    sizes = items_of(evidence, benchmarks)
    theirs = accuracies(rows.sheet, benchmarks, rows.baselines)
    need(bool(np.isfinite(theirs).all()), f"an accuracy of a baseline in {rows.sheet.file} is missing")
    kept, ours = complete(rows.sheet, benchmarks, rows.candidates)
    need(bool(kept), f"no candidate in {rows.sheet.file} has every accuracy")
    dropped = [row for row in rows.candidates if row not in kept]
    return _Measured(rows, kept, rows.baselines, ours, theirs, sizes, rows.names(dropped))


def _compared(data: _Measured, benchmarks: Benchmarks, rho: float, decision: Decision) -> pd.DataFrame:
    table = compare_with_baselines(
        data.ours,
        data.theirs,
        data.items,
        rho=rho,
        level=decision.level,
        rng=decision.rng(),
        draws=decision.resamples,
    )
    table[["difference", "se", "low", "high"]] *= POINTS
    without = [
        _without_each(data, int(pair.candidate), int(pair.baseline), benchmarks, rho, decision.level)
        for pair in table.itertuples()
    ]
    table["outcome"] = [_outcome(row, decision) for _, row in table.iterrows()]
    table = table.join(pd.DataFrame(without))
    table.insert(0, "file", data.split.sheet.file)
    table.insert(1, "row", [data.candidates[i] for i in table["candidate"]])
    table.insert(2, "baseline_row", [data.baselines[i] for i in table["baseline"]])
    ours, theirs = data.split.names(data.candidates), data.split.names(data.baselines)
    return table.assign(
        candidate=[ours[i] for i in table["candidate"]], baseline=[theirs[i] for i in table["baseline"]]
    )


def _outcome(row: pd.Series, decision: Decision) -> str:
    margin = decision.sesoi
    if margin is not None and -margin < row["low"] and row["high"] < margin:
        return "equivalent"
    if not row["p_holm"] <= 1.0 - decision.level:
        return "undecided"
    return "better" if row["difference"] > 0 else "worse"


def _without_each(
    data: _Measured, candidate: int, baseline: int, benchmarks: Benchmarks, rho: float, level: float
) -> dict[str, object]:
    """The benchmark without which the difference is smallest; none where only the mean was printed."""
    if len(benchmarks.columns) != len(benchmarks.benchmarks) or len(benchmarks.columns) < 2:
        return {"smallest_without": "", "difference_without": np.nan, "p_without": np.nan}
    rows = leave_one_out(
        data.ours[candidate], data.theirs[baseline], data.items, benchmarks.benchmarks, rho=rho, level=level
    ).iloc[1:]
    least = rows.loc[rows["difference"].idxmin()]
    return {
        "smallest_without": least["left_out"],
        "difference_without": POINTS * float(least["difference"]),
        "p_without": float(least["p_value"]),
    }


def _verdict(table: pd.DataFrame, data: _Measured, without_each: bool) -> Verdict:
    found = overall(list(table["outcome"]))
    shaky = without_each and not bool((table["difference_without"] > 0).all())
    return "inconclusive" if found == "supported" and (shaky or data.left_out) else found


def _means_answer(
    table: pd.DataFrame,
    least: pd.Series,
    interval: tuple[float, float],
    p: MeansExceed,
    verdicts: dict[float, Verdict],
    data: _Measured,
) -> str:
    counts = table["outcome"].value_counts()
    sentences = [
        (
            f"As printed, {int((table['difference'] > 0).sum())} of {len(table)} differences are above 0; "
            f"{counts.get('better', 0)} by more than the sampling of test items explains (Holm), "
            f"{counts.get('worse', 0)} below 0 by more, {counts.get('equivalent', 0)} negligible, "
            f"{counts.get('undecided', 0)} undecided, at a per-item correlation of {p.rho:g}."
        ),
        (
            f"The smallest is {signed(least['difference'], 2)} ({least['candidate']} against {least['baseline']}, "
            f"simultaneous interval {span(interval, 2)}, n = {len(data.items)} benchmarks)."
        ),
    ]
    if table["difference_without"].notna().any():
        sentences.append(_without_text(table))
    if len(set(verdicts.values())) > 1:
        sentences.append("The verdict changes with the correlation assumed, which nothing released settles.")
    if data.left_out:
        sentences.append(f"{plural(len(data.left_out), 'candidate')} without every accuracy could not be compared.")
    return " ".join([*sentences, ERROR])


def _without_text(table: pd.DataFrame) -> str:
    turned = table[table["difference_without"] <= 0]
    which = ", ".join(sorted({str(name) for name in turned["smallest_without"]}))
    most = table.loc[(table["difference"] - table["difference_without"]).idxmax()]
    return (
        f"Leaving out one benchmark brings {len(turned)} of them to 0 or below"
        + (f" ({which})" if which else "")
        + f"; it takes most from {most['candidate']} against {most['baseline']}: {signed(most['difference'], 2)}, but "
        f"{signed(most['difference_without'], 2)} without {most['smallest_without']}."
    )
