"""Curves of loss against scale, one an arm: findings, tables, warnings and a figure."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FuncFormatter, LogLocator, NullFormatter

from audit.evidence import printable
from audit.figures import CURVE_POINTS, DASHES, INK, SERIES, shown, styled
from audit.finding import Finding, Withheld, name_slug, permitted
from audit.statistics.estimate import Estimate, Floats
from audit.statistics.scaling_fit import TERMS, ScalingDraws, bootstrap_scaling, difference_at, unidentified
from audit.statistics.scaling_sensitivity import LackOfFit, lack_of_fit, sensitivity
from audit.wording import compact, number, p_equals, signed, span
from replication.settings import InputError, require

ARGUMENTS = {"parameters": "n_parameters", "tokens": "tokens"}  # sizes as `predict` names them
EXPONENT, TWO_VARIABLES, DIFFERENCE = (
    "scaling_exponent", "scaling_exponent.two_variables", "scaling_difference.beyond",
)  # fmt: skip
MARKERS = "os^Dv"
FIT_METHOD = (
    "Huber's loss on logs of the loss, many starts, analytic derivatives, L-BFGS at the end (Hoffmann et al. 2022; "
    "Besiroglu et al. 2024). Intervals: expanded percentiles of full refits to runs drawn with replacement. Residual "
    "check: F test of the least-squares curve against the means of repeated sizes, which needs such; it takes the "
    "noise of log losses to be normal and alike at all sizes."
)
DIFFERENCE_METHOD = (
    "Loss of the first arm's curve minus that of the second at one size, with the expanded percentiles of the "
    "differences of their refits; the arms are taken to be independent. The interval takes both forms for granted."
)


@dataclass(frozen=True, kw_only=True)
class CurveSettings:
    """conf/audit/scaling_fit.yaml, where every setting is explained."""

    delta: float
    level: float
    resamples: int
    random_seed: int
    registered_plan: str

    def __post_init__(self) -> None:
        require(self.delta > 0, f"audit.delta: must be positive, got {self.delta}")
        require(0.5 < self.level < 1, f"audit.level: must lie between 0.5 and 1, got {self.level}")
        require(self.resamples >= 100, f"audit.resamples: at least 100 are needed, got {self.resamples}")
        require(self.random_seed >= 0, f"audit.random_seed: must not be negative, got {self.random_seed}")

    @property
    def plan(self) -> dict[str, Any]:
        """Everything that decides; what `registered_plan` is the sha256 of."""
        return {key: value for key, value in dataclasses.asdict(self).items() if key != "registered_plan"}


@dataclass(frozen=True, kw_only=True)
class Curve:
    """An arm: its runs (loss and sizes), curve, residual check, refits without parts, and why it tells too little."""

    arm: str
    runs: pd.DataFrame
    draws: ScalingDraws
    misfit: LackOfFit
    refits: pd.DataFrame
    doubt: str

    @property
    def method(self) -> str:
        """The calibrated method of its exponents' intervals."""
        return EXPONENT if len(self.draws.fit.sizes) == 1 else TWO_VARIABLES


def fit_curves(table: pd.DataFrame, cfg: CurveSettings, where: str) -> list[Curve]:
    """A curve for each arm of a table as `read_losses` gives it. InputError, naming `where`: too few runs in an arm."""
    streams = np.random.default_rng(cfg.random_seed).spawn(table["arm"].nunique())
    sizes = [name for name in TERMS if name in table]
    curves = []
    for (arm, runs), rng in zip(table.groupby("arm", sort=False), streams, strict=True):
        given: dict[str, Any] = {name: runs[name].to_numpy(dtype=float) for name in sizes}
        free = 1 + 2 * len(sizes)
        if len(runs) <= free:
            raise InputError(f"{where}: arm {arm} has {len(runs)} runs; a curve of {free} parameters needs {free + 1}")
        groups = len(runs) if "group" not in runs else runs["group"].nunique()
        if groups <= free:  # what is drawn are groups: few of them hardly vary, however many runs they hold
            raise InputError(f"{where}: arm {arm} has {groups} groups; intervals need {free + 1}")
        draws = bootstrap_scaling(
            runs["loss"],
            **given,
            delta=cfg.delta,
            level=cfg.level,
            rng=rng,
            resamples=cfg.resamples,
            groups=None if "group" not in runs else list(runs["group"]),
        )
        curves.append(
            Curve(
                arm=printable(str(arm)),
                runs=runs.reset_index(drop=True),
                draws=draws,
                misfit=lack_of_fit(runs["loss"], **given),
                refits=sensitivity(runs["loss"], **given, delta=cfg.delta),
                doubt=unidentified(**given),
            )
        )
    return curves


def methods_in_use(curves: Sequence[Curve]) -> list[tuple[str, int]]:
    """(calibrated method, n) of every interval that is shown."""
    used = {(curve.method, curve.draws.fit.n) for curve in curves}
    if len(curves) == 2:
        used.add((DIFFERENCE, min(curve.draws.fit.n for curve in curves)))
    return sorted(used)


def estimates(curve: Curve, withheld: Withheld) -> dict[str, Estimate]:
    """Every parameter with the interval that may be shown."""
    return {
        name: dataclasses.replace(found, interval=permitted(found.interval, curve.method, found.n, withheld))
        for name, found in curve.draws.intervals().items()
    }


def findings(
    curves: Sequence[Curve], source: str, at: Mapping[str, float | None], cfg: CurveSettings, withheld: Withheld
) -> list[Finding]:
    """`scaling_fit.<source>.<arm>.<exponent>`, and with two arms `scaling_fit.<source>.difference`."""
    found = [
        _exponent(curve, name, found, source, cfg)
        for curve in curves
        for name, found in estimates(curve, withheld).items()
        if name in ("alpha", "beta")
    ]
    return found + ([_difference(curves, source, at, cfg, withheld)] if len(curves) == 2 else [])


def _exponent(curve: Curve, name: str, found: Estimate, source: str, cfg: CurveSettings) -> Finding:
    doubts = doubts_about(curve, name)
    fit = curve.draws.fit
    known = all(map(math.isfinite, found.interval))
    interval = f"{number(found.interval[0])} to {number(found.interval[1])}" if known else "none"
    answer = f"{curve.arm}: {name} = {number(found.estimate)} ({100 * cfg.level:g}% interval {interval})"
    answer += f", from {found.n} runs and {fit.form}; {_residuals(curve.misfit)}."
    answer += f" It is not identified: {'; '.join(doubts)}." if doubts else ""
    return Finding(
        id=f"scaling_fit.{source}.{name_slug(curve.arm)}.{name}",
        question=f"How fast does the loss of {curve.arm} fall with {'parameters' if name == 'alpha' else 'tokens'}?",
        answer=answer,
        verdict="measured",
        method=FIT_METHOD,
        estimate=found.estimate,
        interval=found.interval if known else None,
        level=cfg.level,
        n=found.n,
        tables=["tables/parameters.csv", "tables/sensitivity.csv"],
        figures=["figures/curves.svg"],
        details={
            "kind": "exponent",
            "outcome": "not identified" if doubts else "identified",
            "doubts": doubts,
            "form": fit.form,
            "parameters": dict(fit.parameters),
            "misfit": dataclasses.asdict(curve.misfit),
        },
    )


def doubts_about(curve: Curve, name: str) -> list[str]:
    """Why an exponent is not identified; empty where it is."""
    doubts = [curve.doubt] if curve.doubt else []
    term, exponent = next(pair for pair in TERMS.values() if name in pair)
    stuck = [each for each in (term, exponent) if each in curve.draws.fit.at_bound]
    doubts += [f"{each} is at the end of what is allowed" for each in stuck]
    if not stuck and not all(map(math.isfinite, curve.draws.intervals()[name].interval)):
        doubts.append("refits give it no interval")
    return doubts


def _residuals(misfit: LackOfFit) -> str:
    text = f"residual SD {100 * misfit.residual_sd:.2g}% of the loss"
    if not math.isfinite(misfit.p_value):
        return f"{text}, and no repeated sizes to test the form against"
    return f"{text}, lack of fit {p_equals(misfit.p_value)}"


def _difference(
    curves: Sequence[Curve], source: str, at: Mapping[str, float | None], cfg: CurveSettings, withheld: Withheld
) -> Finding:
    first, second = curves
    where = {name: float(at[name] or min(curve.runs[name].max() for curve in curves)) for name in first.draws.fit.sizes}
    found = difference_at(first.draws, second.draws, **{ARGUMENTS[name]: value for name, value in where.items()})
    interval = permitted(found.interval, DIFFERENCE, found.n, withheld)
    beyond = any(value > min(curve.runs[name].max() for curve in curves) for name, value in where.items())
    place = ", ".join(f"{compact(value)} {name}" for name, value in where.items())
    doubts = [f"{curve.arm}: {doubt}" for curve in curves for doubt in _all_doubts(curve)]
    known = all(map(math.isfinite, interval)) and not doubts
    outcome = "not identified" if doubts else "no interval" if not known else _side(interval)
    answer = f"At {place}, {'beyond the runs' if beyond else 'within the runs'}, the loss of {first.arm} less that of "
    answer += f"{second.arm} is {signed(found.estimate, 4)} ({100 * cfg.level:g}% interval "
    answer += f"{span(interval, 4) if known else 'none'}): {outcome}."
    answer += f" {'; '.join(doubts)}." if doubts else ""
    return Finding(
        id=f"scaling_fit.{source}.difference",
        question=f"Is the loss of {first.arm} below that of {second.arm} at {place}?",
        answer=answer,
        verdict="measured",
        method=DIFFERENCE_METHOD,
        estimate=found.estimate,
        unit="as the losses",
        interval=interval if known else None,
        level=cfg.level,
        n=found.n,
        tables=["tables/parameters.csv"],
        figures=["figures/curves.svg"],
        details={"kind": "difference", "outcome": outcome, "at": where, "beyond_the_runs": beyond, "doubts": doubts},
    )


def _side(interval: tuple[float, float]) -> str:
    return "lower" if interval[1] < 0 else "higher" if interval[0] > 0 else "open"


def _all_doubts(curve: Curve) -> list[str]:
    names = [name for name in curve.draws.fit.parameters if name in ("alpha", "beta")]
    return list(dict.fromkeys(doubt for name in names for doubt in doubts_about(curve, name)))


def warnings(curves: Sequence[Curve]) -> list[str]:
    """What a reader must know before using a curve."""
    lines = []
    for curve in curves:
        fit = curve.draws.fit
        lines += [f"{curve.arm}: not identified: {doubt}." for doubt in _all_doubts(curve)]
        if "E" in fit.at_bound:
            lines.append(
                f"{curve.arm}: the data show no floor: E is nothing, so every prediction beyond them is loose."
            )
        if curve.misfit.p_value < 0.05:
            lines.append(f"{curve.arm}: {fit.form} does not fit ({p_equals(curve.misfit.p_value)}).")
    return lines


def parameter_table(curves: Sequence[Curve], cfg: CurveSettings, withheld: Withheld) -> pd.DataFrame:
    """One row an arm and parameter: arm, form, runs, parameter, value, low, high, level, at_bound."""
    rows = [
        {
            "arm": curve.arm,
            "form": curve.draws.fit.form,
            "runs": found.n,
            "parameter": name,
            "value": found.estimate,
            "low": found.interval[0],
            "high": found.interval[1],
            "level": cfg.level,
            "at_bound": name in curve.draws.fit.at_bound,
        }
        for curve in curves
        for name, found in estimates(curve, withheld).items()
    ]
    return pd.DataFrame(rows)


def tables(curves: Sequence[Curve], cfg: CurveSettings, withheld: Withheld) -> dict[str, pd.DataFrame]:
    """Parameters, refits without parts of the data, and every run with its fitted loss."""
    runs = [
        curve.runs.assign(arm=curve.arm, fitted=_fitted(curve), log_residual=curve.draws.fit.log_residuals)
        for curve in curves
    ]
    refits = [curve.refits.assign(arm=curve.arm) for curve in curves]
    return {
        "parameters": parameter_table(curves, cfg, withheld),
        "sensitivity": pd.concat(refits, ignore_index=True).pipe(_arm_first),
        "runs": pd.concat(runs, ignore_index=True).pipe(_arm_first),
    }


def _arm_first(table: pd.DataFrame) -> pd.DataFrame:
    return table[["arm", *(name for name in table.columns if name != "arm")]]


def parameter_lines(curves: Sequence[Curve], cfg: CurveSettings, withheld: Withheld) -> str:
    """The parameters as lines of a terminal."""
    table = parameter_table(curves, cfg, withheld)
    lines = [f"{'arm':<24}{'parameter':<11}{'value':>12}  {100 * cfg.level:g}% interval"]
    for row in table.itertuples():
        limits = "none" if not math.isfinite(row.low) else f"{compact(row.low)} to {compact(row.high)}"
        lines.append(f"{row.arm[:23]:<24}{row.parameter:<11}{compact(row.value):>12}  {limits}")
    return "\n".join(lines)


def _fitted(curve: Curve) -> Floats:
    sizes = {ARGUMENTS[name]: curve.runs[name] for name in curve.draws.fit.sizes}
    return curve.draws.fit.predict(**sizes)


def logarithmic_ticks(axis: Axis, *, sizes: bool) -> None:
    """Plain numbers on a logarithmic axis: sizes as 20k or 1M, losses as they are."""
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if sizes else (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)))
    axis.set_major_formatter(EngFormatter(sep="") if sizes else FuncFormatter(lambda value, _place: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


@styled
def draw(curves: Sequence[Curve]) -> Figure:
    """Left: losses with each curve and its pointwise band; with two sizes, against fitted ones. Right: residuals."""
    figure = Figure(figsize=(8.6, 3.9), layout="constrained")
    left, right = figure.subplots(1, 2)
    sizes = curves[0].draws.fit.sizes
    for place, curve in enumerate(curves):
        style: dict[str, Any] = {"color": SERIES[place % len(SERIES)]}
        points = style | {"marker": MARKERS[place % len(MARKERS)], "ms": 3.5, "mfc": "none", "ls": ""}
        fitted = _fitted(curve)
        across = curve.runs[sizes[0]] if len(sizes) == 1 else fitted
        left.plot(across, curve.runs["loss"], **points, label=shown(curve.arm))
        right.plot(fitted, 100 * curve.draws.fit.log_residuals, **points)
        if len(sizes) == 1:
            line = np.geomspace(across.min(), across.max(), CURVE_POINTS)
            at: dict[str, Any] = {ARGUMENTS[sizes[0]]: line}
            left.plot(line, curve.draws.fit.predict(**at), ls=DASHES[place % len(DASHES)], lw=1.3, **style)
            limits = np.array([curve.draws.limits(column) for column in curve.draws.predict(**at).T])
            left.fill_between(line, limits[:, 0], limits[:, 1], alpha=0.15, lw=0, **style)
        else:
            ends = [fitted.min(), fitted.max()]
            left.plot(ends, ends, color=INK, lw=0.8)
    words = {"parameters": "model parameters (log scale)", "tokens": "training tokens (log scale)"}
    left.set(xscale="log", yscale="log", ylabel="loss (log scale)")
    left.set_xlabel(words[sizes[0]] if len(sizes) == 1 else "fitted loss (log scale)")
    logarithmic_ticks(left.xaxis, sizes=len(sizes) == 1)
    logarithmic_ticks(left.yaxis, sizes=False)
    right.axhline(0, color=INK, lw=0.8)
    right.set(xlabel="fitted loss", ylabel="residual of the log loss (%)")
    for axes in (left, right):
        axes.grid(color="#efefef", lw=0.7)
        axes.set_axisbelow(True)
    left.legend(frameon=False)
    return figure
