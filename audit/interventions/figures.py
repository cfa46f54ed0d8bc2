"""The figure of the experiments on the loop."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from audit.figures import shown, styled
from audit.finding import Finding
from audit.interventions.audit import words
from audit.interventions.plan import InterventionSettings

PANELS = {  # kind of a finding -> label of its axis, value without an effect, factor
    "rate_ratio": ("confirmed discoveries an hour,\nratio", 1.0, 1.0),
    "exploratory_rate_ratio": ("confirmed against one baseline\n(exploratory), ratio", 1.0, 1.0),
    "best": ("best program,\nΔ bits per byte", 0.0, 1.0),
    "false_share": ("claims not confirmed,\nΔ points", 0.0, 100.0),
    "leak_share": ("leaks among the kept,\nΔ points", 0.0, 100.0),
}


@styled
def arms(findings: Sequence[Finding], outcomes: pd.DataFrame, settings: InterventionSettings) -> Figure:
    """Forest of the arms: one panel an outcome, each search seed's own contrast as a faint mark where it has one."""
    names = list(dict.fromkeys(str(finding.details["arm"]) for finding in findings))
    drawn = {kind: panel for kind, panel in PANELS.items() if _tells(findings, kind)} or PANELS
    figure = Figure(figsize=(1.6 + 2.1 * len(drawn), 1.3 + 0.42 * len(names)), layout="constrained")
    panels = figure.subplots(1, len(drawn), sharey=True, squeeze=False)[0]
    for axes, (kind, (label, zero, factor)) in zip(panels, drawn.items(), strict=True):
        here = {str(one.details["arm"]): one for one in findings if one.details["kind"] == kind}
        axes.axvline(zero, color="0.35", linewidth=0.8)
        for place, name in enumerate(names):
            _row(axes, place, here[name], factor)
        axes.set_xlabel(label)
        axes.grid(axis="x", color="0.9", linewidth=0.6)
        axes.set_axisbelow(True)
    panels[0].set_yticks(range(len(names)), [shown(_label(name)) for name in names])
    panels[0].set_ylim(len(names) - 0.5, -0.5)
    seeds = int(outcomes["seed"].nunique())
    figure.supylabel("arm", fontsize="medium")
    figure.suptitle(
        f"against {words(settings.reference_arm)}; {seeds} pairs of searches, {100 * settings.level:g}% intervals",
        fontsize="medium",
    )
    return figure


def _tells(findings: Sequence[Finding], kind: str) -> bool:
    """Whether any arm has an interval: a panel without one is left out, and its answers stand in words."""
    return any(
        one.interval is not None and math.isfinite(one.interval[0]) for one in findings if one.details["kind"] == kind
    )


def _label(name: str) -> str:
    return name.replace("_", " ").replace("below ", "rule: below −").replace("no rule", "rule: none") + (
        "%" if name.startswith("below_") else ""
    )


def _row(axes: Axes, place: int, finding: Finding, factor: float) -> None:
    estimate = finding.estimate
    if estimate is None or not math.isfinite(estimate):
        axes.annotate(
            "no pair", (0.5, place), xycoords=("axes fraction", "data"), ha="center", va="center", color="0.4"
        )
        return
    told = finding.details["outcome"] not in ("undecided", "equivalent")
    if finding.interval is not None and all(map(math.isfinite, finding.interval)):
        low, high = (factor * limit for limit in finding.interval)
        axes.plot([low, high], [place, place], color="black", linewidth=1.4)
    axes.plot(factor * estimate, place, "o", markersize=5, color="black", markerfacecolor="black" if told else "white")
