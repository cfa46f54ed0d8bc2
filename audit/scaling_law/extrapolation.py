"""Does a candidate's advantage survive beyond the largest scale that was run? Curves of loss against scale, by arm.

The reference runs, `results/reference/scaling/runs.csv`, are the table of runs of

    python -m audit replicate 'scale=[cpu-tokens-1,cpu-tokens-2,cpu-tokens-3,cpu-tokens-4,cpu-tokens-5]' \\
        candidates=discovered 'candidates.paths=[results/reference/search/candidates.json]' top=2 seeds=2
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from audit.evidence import printable
from audit.figures import CURVE_POINTS, DASHES, INK, MUTED, SERIES, shown, styled
from audit.finding import Finding, Interval, Withheld, name_slug, permitted
from audit.scaling_law.curves import logarithmic_ticks
from audit.statistics.estimate import Floats
from audit.statistics.scaling_fit import FEWEST_VALUES, ScalingDraws, bootstrap_scaling, difference_at, unidentified
from audit.statistics.scaling_sensitivity import lack_of_fit
from audit.wording import compact, number, p_equals, plural, span
from replication.settings import require

UNIT = "nats per token"
MEASURED, BEYOND = "scaling_difference.measured", "scaling_difference.beyond"  # calibrated methods
RUN_COLUMNS = ("name", "role", "scale", "seed", "parameters", "tokens", "honest_loss")
TABLE_COLUMNS = (
    "candidate", "baseline", "form", "runs", "at", "advantage", "low", "high", "beyond", "advantage_beyond",
    "low_beyond", "high_beyond", "outcome", "why",
)  # fmt: skip
METHOD = (
    "Advantage: loss of the baseline's curve minus that of the candidate's at the same size; positive is better. Each "
    "arm has its own curve, fitted to log losses with Huber's loss; the intervals come from refits of both to runs "
    "drawn with replacement (expanded percentiles, each interval for itself), the same scales and seeds in both where "
    "they have the same. They take the form of the curve for granted: a form that is wrong beyond the data is no part "
    "of them. Seeds of one arm are taken to be independent between scales. The baseline is the one whose curve is "
    "lowest at the largest size that was run."
)


@dataclass(frozen=True, kw_only=True)
class ExtrapolationSettings:
    """The group `extrapolation` of conf/audit/scaling_law.yaml, where every setting is explained."""

    delta: float
    factor: float
    level: float
    resamples: int

    def __post_init__(self) -> None:
        require(self.delta > 0, f"extrapolation.delta: must be positive, got {self.delta}")
        require(self.factor > 1, f"extrapolation.factor: must be above 1, got {self.factor}")
        require(0.5 < self.level < 1, f"extrapolation.level: must lie between 0.5 and 1, got {self.level}")
        require(self.resamples >= 100, f"extrapolation.resamples: at least 100 are needed, got {self.resamples}")


@dataclass(frozen=True, kw_only=True)
class ArmCurve:
    """An arm's finished runs and their curve. draws: None where they cannot identify one, for the reason `why`."""

    name: str
    role: str
    runs: pd.DataFrame
    failed: int
    sizes: tuple[str, ...]
    draws: ScalingDraws | None
    why: str
    misfit_p: float

    def at(self, factor: float) -> dict[str, float]:
        """The arm's largest sizes times `factor`, as `predict` takes them."""
        names = {"parameters": "n_parameters", "tokens": "tokens"}
        return {names[size]: factor * float(self.runs[size].max()) for size in self.sizes}


def arm_curves(runs: pd.DataFrame, settings: ExtrapolationSettings, rng: np.random.Generator) -> list[ArmCurve]:
    """A curve for each arm of `runs` (columns RUN_COLUMNS; a run without a finite loss failed), in their order.

    All arms draw their refits from equal generators, so that arms with the same scales and seeds stay paired.
    """
    seed = int(rng.integers(2**63))
    ordered = runs.sort_values(["tokens", "parameters", "scale", "seed"], kind="stable")
    return [_arm_curve(str(name), ordered[ordered["name"] == name], settings, seed) for name in runs["name"].unique()]


def _arm_curve(name: str, rows: pd.DataFrame, settings: ExtrapolationSettings, seed: int) -> ArmCurve:
    finished = rows[np.isfinite(rows["honest_loss"])]
    varied = tuple(size for size in ("parameters", "tokens") if finished[size].nunique() >= FEWEST_VALUES)
    given: Mapping[str, Any] = {size: finished[size].to_numpy(dtype=float) for size in varied}
    why = unidentified(**given) if varied else f"fewer than {FEWEST_VALUES} different sizes"
    loss = finished["honest_loss"].to_numpy(dtype=float)
    draws, misfit_p = None, math.nan
    if not why:
        draws = bootstrap_scaling(
            loss,
            **given,
            delta=settings.delta,
            level=settings.level,
            rng=np.random.default_rng(seed),
            resamples=settings.resamples,
        )
        misfit_p = lack_of_fit(loss, **given).p_value
    return ArmCurve(
        name=printable(name),
        role=str(rows["role"].iloc[0]),
        runs=finished,
        failed=len(rows) - len(finished),
        sizes=varied,
        draws=draws,
        why=why,
        misfit_p=misfit_p,
    )


def advantage_table(curves: Sequence[ArmCurve], settings: ExtrapolationSettings, withheld: Withheld) -> pd.DataFrame:
    """One row a candidate and baseline: the advantage at the candidate's largest size, and `factor` times beyond it.

    outcome: ahead, behind or open beyond the data, as the interval there lies above, below or about 0; not identified
    where `why` says.
    """
    rows = [
        _comparison(candidate, baseline, settings, withheld)
        for candidate in curves
        if candidate.role == "candidate"
        for baseline in curves
        if baseline.role == "baseline"
    ]
    return pd.DataFrame(rows, columns=list(TABLE_COLUMNS))


def _comparison(
    candidate: ArmCurve, baseline: ArmCurve, settings: ExtrapolationSettings, withheld: Withheld
) -> dict[str, object]:
    row: dict[str, object] = dict.fromkeys(TABLE_COLUMNS)
    row |= {"candidate": candidate.name, "baseline": baseline.name, "outcome": "not identified", "why": ""}
    row |= dict.fromkeys(("advantage", "low", "high", "advantage_beyond", "low_beyond", "high_beyond"), math.nan)
    row["runs"] = min(len(candidate.runs), len(baseline.runs))
    whys = [f"{arm.name}: {arm.why}" for arm in (candidate, baseline) if arm.why]
    if not whys and candidate.sizes != baseline.sizes:
        whys = ["the arms were run at different kinds of sizes"]
    if whys:
        return row | {"why": "; ".join(whys)}
    assert candidate.draws is not None
    assert baseline.draws is not None
    row |= {
        "form": candidate.draws.fit.form,
        "at": _where(candidate, 1.0),
        "beyond": _where(candidate, settings.factor),
    }
    for ending, factor, method in (("", 1.0, MEASURED), ("_beyond", settings.factor, BEYOND)):
        found = difference_at(baseline.draws, candidate.draws, **candidate.at(factor))
        low, high = permitted(found.interval, method, found.n, withheld)
        row |= {f"advantage{ending}": found.estimate, f"low{ending}": low, f"high{ending}": high}
    stuck = [f"{arm.name}: {_stuck_words(name)}" for arm in (candidate, baseline) for name in _stuck(arm)]
    if stuck:
        return row | {"why": "; ".join(stuck)}
    return row | {"outcome": _outcome((row["low_beyond"], row["high_beyond"]))}  # type: ignore[arg-type]


def _stuck(arm: ArmCurve) -> tuple[str, ...]:
    return () if arm.draws is None else arm.draws.fit.at_bound


def _stuck_words(name: str) -> str:
    return "its runs show no floor (E is 0)" if name == "E" else f"{name} is at the end of what is allowed"


def _where(arm: ArmCurve, factor: float) -> str:
    return ", ".join(f"{compact(value)} {name.removeprefix('n_')}" for name, value in arm.at(factor).items())


def _outcome(interval: Interval) -> str:
    if not all(map(math.isfinite, interval)):
        return "no interval"
    return "ahead" if interval[0] > 0 else "behind" if interval[1] < 0 else "open"


def advantage_findings(
    curves: Sequence[ArmCurve], source: str, settings: ExtrapolationSettings, withheld: Withheld
) -> list[Finding]:
    """`law.<source>.advantage.<candidate>`, against the baseline that is strongest at the largest size run."""
    table = advantage_table(curves, settings, withheld)
    arms = {curve.name: curve for curve in curves}
    return [
        _finding(arms[str(name)], rows.reset_index(drop=True), arms, source, settings)
        for name, rows in table.groupby("candidate", sort=False)
    ]


def _finding(
    candidate: ArmCurve,
    rows: pd.DataFrame,
    arms: Mapping[str, ArmCurve],
    source: str,
    settings: ExtrapolationSettings,
) -> Finding:
    known = rows["advantage"].notna()
    row: dict[str, Any] = rows.loc[int(rows["advantage"].idxmin()) if known.any() else 0].to_dict()
    used = (candidate, arms[row["baseline"]])
    interval = (row["low_beyond"], row["high_beyond"])
    return Finding(
        id=f"law.{source}.advantage.{name_slug(candidate.name)}",
        question=f"Does the advantage of {candidate.name} survive at {settings.factor:g} times the largest size run?",
        answer=_answer(row, used, settings),
        verdict="measured",
        method=METHOD,
        estimate=None if row["outcome"] == "not identified" else row["advantage_beyond"],
        unit=UNIT,
        interval=None if row["outcome"] == "not identified" else interval,
        level=settings.level,
        n=row["runs"],
        tables=["tables/advantages.csv", "tables/curves.csv"],
        figures=["figures/advantages.svg"],
        details={
            "kind": "advantage",
            "outcome": row["outcome"],
            "why": row["why"],
            "candidate": candidate.name,
            "strongest_baseline": row["baseline"],
            "measured": {"advantage": row["advantage"], "low": row["low"], "high": row["high"]},
            "misfit_p": {arm.name: arm.misfit_p for arm in used},
            "failed_runs": {arm.name: arm.failed for arm in used},
            "against": rows.to_dict("records"),
        },
    )


def _answer(row: Mapping[str, Any], used: Sequence[ArmCurve], settings: ExtrapolationSettings) -> str:
    candidate, baseline, level = row["candidate"], row["baseline"], f"{100 * settings.level:g}%"
    if not math.isfinite(row["advantage"]):
        return f"Not identified: {row['why']}. No curve is fitted, so nothing is said about larger sizes."
    text = (
        f"At the largest size run ({row['at']}) the curves put {candidate} {_ahead(row['advantage'])} {baseline}, the "
        f"strongest baseline ({level} interval {span((row['low'], row['high']), 4)} {UNIT}). At {row['beyond']} they "
        f"put it {_ahead(row['advantage_beyond'])} it"
    )
    if row["outcome"] == "not identified":
        text += f", but that is not identified ({row['why']})."
    else:
        text += f" ({span((row['low_beyond'], row['high_beyond']), 4)}): {_meaning(row)}."
    for arm in used:
        if arm.misfit_p < 1.0 - settings.level:
            text += (
                f" The form does not fit the runs of {arm.name} ({p_equals(arm.misfit_p)}), so beyond them it may not."
            )
        if arm.failed:
            text += f" {plural(arm.failed, 'run')} of {arm.name} failed and had no part in its curve."
    return text + " That the form holds beyond the runs is assumed, not tested."


def _ahead(advantage: float) -> str:
    return f"{number(abs(advantage), 4)} {'below' if advantage >= 0 else 'above'}"


def _meaning(row: Mapping[str, Any]) -> str:
    if row["outcome"] == "ahead":
        return (
            "if the form holds, it is still ahead there" if row["advantage"] > 0 else "if the form holds, it overtakes"
        )
    if row["outcome"] == "behind":
        return "if the form holds, it is behind there"
    return "whether it is ahead there is open"


def curve_table(curves: Sequence[ArmCurve]) -> pd.DataFrame:
    """One row an arm and parameter of its curve, with interval; a row without parameter for an arm without a curve."""
    rows: list[dict[str, object]] = []
    for arm in curves:
        about = {"arm": arm.name, "role": arm.role, "runs": len(arm.runs), "failed": arm.failed}
        if arm.draws is None:
            rows.append(about | {"form": "", "why": arm.why})
            continue
        fit = arm.draws.fit
        for name, found in arm.draws.intervals().items():
            low, high = found.interval
            row = {"form": fit.form, "parameter": name, "value": found.estimate, "low": low, "high": high}
            why = "at its bound" if name in fit.at_bound else ""
            rows.append(about | row | {"misfit_p": arm.misfit_p, "why": why})
    columns = ["arm", "role", "runs", "failed", "form", "parameter", "value", "low", "high", "misfit_p", "why"]
    return pd.DataFrame(rows, columns=columns)


@styled
def advantage_figure(curves: Sequence[ArmCurve], settings: ExtrapolationSettings) -> Figure:
    """Losses against size with the fitted curves, and below the advantages on the strongest baseline with their bands.

    The size is tokens where arms differ in them, else parameters. Arms without a curve show their runs alone.
    """
    figure = Figure(figsize=(7.4, 6.6), layout="constrained")
    losses, advantages = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    fitted = [arm for arm in curves if arm.draws is not None]
    size = "tokens" if any("tokens" in arm.sizes for arm in fitted) or not fitted else "parameters"
    for place, arm in enumerate(curves):
        style: dict[str, Any] = {"color": SERIES[place % len(SERIES)], "ls": DASHES[place % len(DASHES)]}
        losses.plot(
            arm.runs[size], arm.runs["honest_loss"], "os^Dv"[place % 5], ms=3.5, mfc="none", color=style["color"]
        )
        if arm.draws is not None and size in arm.sizes:
            sizes = _sizes(arm, size, settings.factor)
            losses.plot(sizes[size], arm.draws.fit.predict(**_named(sizes)), lw=1.3, label=shown(arm.name), **style)
            _advantage_band(advantages, arm, fitted, sizes, size, style)
    largest = max((float(arm.runs[size].max()) for arm in curves if len(arm.runs)), default=math.nan)
    for axes in (losses, advantages):
        axes.axvline(largest, color=MUTED, lw=0.9, ls=":")
        axes.grid(color="#efefef", lw=0.7)
    losses.text(largest, 0.97, " extrapolated →", transform=losses.get_xaxis_transform(), color=MUTED, size=8, va="top")
    losses.set(xscale="log", yscale="log", ylabel=f"honest validation loss\n({UNIT}, log scale)")
    logarithmic_ticks(losses.xaxis, sizes=True)
    logarithmic_ticks(losses.yaxis, sizes=False)
    advantages.axhline(0, color=INK, lw=0.8)
    what = "training tokens" if size == "tokens" else "model parameters"
    advantages.set(ylabel=f"advantage on the\nstrongest baseline ({UNIT})", xlabel=f"{what} (log scale)")
    if fitted:
        losses.legend(frameon=False, loc="lower left")
    return figure


def _advantage_band(
    axes: Axes,
    arm: ArmCurve,
    fitted: Sequence[ArmCurve],
    sizes: Mapping[str, Floats],
    size: str,
    style: Mapping[str, Any],
) -> None:
    """Advantage of a candidate on the baseline that is lowest at its largest size, with a band from the refits."""
    rivals = [other for other in fitted if other.role == "baseline" and other.sizes == arm.sizes]
    if arm.role != "candidate" or not rivals or arm.draws is None:
        return
    best = min(rivals, key=lambda other: float(other.draws.fit.predict(**arm.at(1.0))[0]))  # type: ignore[union-attr]
    assert best.draws is not None
    drawn = best.draws.predict(**_named(sizes)) - arm.draws.predict(**_named(sizes))
    limits = np.array([arm.draws.limits(column) for column in drawn.T])
    middle = best.draws.fit.predict(**_named(sizes)) - arm.draws.fit.predict(**_named(sizes))
    axes.plot(sizes[size], middle, lw=1.3, **style)
    axes.fill_between(sizes[size], limits[:, 0], limits[:, 1], color=style["color"], alpha=0.15, lw=0)
    for edge in limits.T:
        axes.plot(sizes[size], edge, lw=0.6, **style)


def _sizes(arm: ArmCurve, drawn: str, factor: float) -> dict[str, Floats]:
    """Sizes [CURVE_POINTS] from the smallest to `factor` times the largest; a size that is not drawn is the largest."""
    low, high = float(arm.runs[drawn].min()), factor * float(arm.runs[drawn].max())
    line = np.geomspace(low, high, CURVE_POINTS)
    return {size: line if size == drawn else np.full(CURVE_POINTS, float(arm.runs[size].max())) for size in arm.sizes}


def _named(sizes: Mapping[str, Floats]) -> dict[str, Floats]:
    return {("n_parameters" if size == "parameters" else size): values for size, values in sizes.items()}
