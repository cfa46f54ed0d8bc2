"""The bench laid out for a reader: tables with readable units, figures, and the words around them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from audit.bench.audit import METHOD, ceiling, with_shares
from audit.bench.figures import roofline
from audit.finding import Finding
from audit.wording import plural
from replication.seeds import fastest_together

Source = Mapping[str, Any]  # bench.json


def tables(frame: pd.DataFrame, targets: pd.DataFrame, ratio_rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """`bench` as measured; `targets`, `ratios`, `ceilings`, `operators` and `steps` for the page."""
    return {
        "bench": frame,
        "targets": targets,
        "ratios": ratio_rows,
        "ceilings": _ceilings(frame),
        "operators": _operators(frame),
        "steps": _steps(frame),
    }


def draw(frame: pd.DataFrame) -> dict[str, Figure]:
    """A roofline for each machine that measured operators: `roofline`, then `roofline_2` and so on."""
    figures = {}
    for place, machine in enumerate(frame["machine"].unique(), start=1):
        rows = with_shares(frame[frame["machine"] == machine])
        if rows.empty:
            continue
        copy, product = ceiling(frame, machine, rows["dtype"].iloc[0], rows["device"].iloc[0])
        if np.isfinite([copy, product]).all():
            figures["roofline" if place == 1 else f"roofline_{place}"] = roofline(rows, copy, product, machine)
    return figures


def page(frame: pd.DataFrame, sources: Sequence[Source], findings: Sequence[Finding], byline: str) -> dict[str, Any]:
    """What the template shows besides tables and figures."""
    lost = frame[~frame["status"].isin(["ok", "dry run"])]
    return {
        "byline": byline,
        "verdict": verdict(findings),
        "warnings": _warnings(sources),
        "lost": [f"{plural(count, 'row')} {status}" for status, count in lost["status"].value_counts().items()],
        "method": METHOD,
        "together": together(frame),
        "machines": [_machine(source) for source in sources],
    }


def together(frame: pd.DataFrame) -> list[str]:
    """A sentence for each program of which several seeds were trained at once: how many of them still pay."""
    alone = frame[(frame["kind"] == "step") & (frame["status"] == "ok") & frame["form"].str.fullmatch(r"ours(_x\d+)?")]
    said = []
    for (machine, name, size), rows in alone.groupby(["machine", "name", "size"], sort=True):
        times = {
            int(form.partition("_x")[2] or 1): float(s) for form, s in zip(rows["form"], rows["seconds"], strict=True)
        }
        if len(times) < 2 or 1 not in times:
            continue
        best = fastest_together({count: count * seconds for count, seconds in times.items()})
        gain = f"{times[1] / times[best]:.2f} times as fast as one alone" if best > 1 else "more at once gain nothing"
        said.append(
            f"{name} at {size} on {machine}: {plural(best, 'seed')} at once, {gain}; up to {max(times)} were tried."
        )
    return said


def verdict(findings: Sequence[Finding]) -> str:
    """How many targets are met, in a sentence."""
    outcomes = [finding.details["outcome"] for finding in findings]
    met, missed, unknown = (outcomes.count(word) for word in ("met", "not met", "not measured"))
    return f"Of {plural(len(outcomes), 'target')}, {met} met, {missed} not met, {unknown} not measured."


def _warnings(sources: Sequence[Source]) -> list[str]:
    said = []
    if not any(source["device"] == "cuda" for source in sources):
        said.append("No GPU was at hand: targets for a GPU are not measured, and none of them is called met.")
    if any(source["dry_run"] for source in sources):
        said.append("This was a dry run at tiny sizes: it shows that every row runs, and no time of it is kept.")
    return said


def _machine(source: Source) -> str:
    packages = ", ".join(f"{name} {version}" for name, version in source["packages"].items())
    where = source["machine"] if source["gpu"] is None else f"{source['machine']} with {source['cpu']}"
    commit = f", commit {source['commit'][:12]}" if source["commit"] else ""
    return f"{where}: {packages}; {source['started']}, {source['minutes']:g} minutes{commit}."


def _ceilings(frame: pd.DataFrame) -> pd.DataFrame:
    rows = frame[(frame["kind"] == "ceiling") & (frame["status"] == "ok")]
    work = rows["bytes"].where(rows["name"] == "copy", rows["flops"]) / rows["seconds"]
    units = np.where(rows["name"] == "copy", "GB/s, read and written", "10⁹ operations/s")
    return rows[[*_machine_column(frame), "name", "shape", "form"]].assign(reached=work / 1e9, unit=units)


def _operators(frame: pd.DataFrame) -> pd.DataFrame:
    shares = with_shares(frame)["share_of_ceiling"]
    rows = frame[frame["kind"] == "operator"]
    return rows[[*_machine_column(frame), "name", "size", "shape", "form"]].assign(
        status=_status(rows),
        ms=1e3 * rows["seconds"],
        low=1e3 * rows["low"],
        high=1e3 * rows["high"],
        graph_ms=1e3 * rows["graph_seconds"],
        kept_MiB=rows["saved_bytes"] / 2**20,
        share_of_ceiling=shares.reindex(rows.index),
        error=rows["error"],
    )


def _steps(frame: pd.DataFrame) -> pd.DataFrame:
    rows = frame[frame["kind"] == "step"]
    return rows[[*_machine_column(frame), "name", "size", "form", "batch"]].assign(
        status=_status(rows),
        ms=1e3 * rows["seconds"],
        low=1e3 * rows["low"],
        high=1e3 * rows["high"],
        lifted=rows["lifted"],
        error=rows["error"],
    )


def _status(rows: pd.DataFrame) -> pd.Series:
    """With the reason, where there is one."""
    return rows["status"].where(rows["reason"].isna(), rows["status"] + ": " + rows["reason"].fillna(""))


def _machine_column(frame: pd.DataFrame) -> list[str]:
    """Only where there is more than one machine to tell apart."""
    return ["machine"] if frame["machine"].nunique() > 1 else []
