"""Origins of components in the archive of a search: the gallery against the rest, and at equal age."""

from __future__ import annotations

import numpy as np
import pandas as pd

from audit.finding import Finding, Interval, Withheld, permitted
from audit.origins.archive import SearchArchive
from audit.origins.plan import OriginSettings
from audit.statistics.clusters import ClusteredTest, cluster_difference, cluster_share, rao_scott
from audit.statistics.estimate import Floats
from audit.statistics.multiplicity import holm
from audit.wording import number, p_equals, signed, span

AS_FOUND, SAME_AGE = "as found", "at equal age"
BUILT_IN = (
    "The built-in proposer draws the origin of each component from its settings, so these shares follow from the "
    "settings and are no evidence about ASI-Arch."
)


def origin_differences(archive: SearchArchive, cfg: OriginSettings, rng: np.random.Generator) -> pd.DataFrame:
    """Each channel's share in gallery and rest, one row a channel and comparison.

    Columns: channel, comparison (as found; at equal age: the rest weighted to the gallery's units in each part of the
    order), gallery, rest, difference, low, high (shares), p_value, p_holm (over the channels), n_gallery, n_rest
    (experiments with components), units_gallery, units_rest.
    """
    origins = tuple(channel.origin for channel in cfg.channels.values())
    counts = archive.table("origin", origins)
    totals = counts.sum(axis=1).to_numpy(dtype=np.float64)
    inside = archive.group(counts.index)
    rows = []
    for channel, meaning in cfg.channels.items():
        hits = counts[meaning.origin].to_numpy(dtype=np.float64)
        for comparison in (AS_FOUND, SAME_AGE):
            weights = np.ones(len(counts))
            if comparison == SAME_AGE:
                weights = archive.matching_weights(counts.index, totals)
            first, rest = (hits[inside], totals[inside]), ((weights * hits)[~inside], (weights * totals)[~inside])
            found = cluster_difference(*first, *rest, cfg.level, rng, cfg.resamples)
            rows.append(
                {
                    "channel": channel,
                    "comparison": comparison,
                    "gallery": _share(*first),
                    "rest": _share(*rest),
                    "difference": found.estimate,
                    "low": found.interval[0],
                    "high": found.interval[1],
                    "p_value": found.p_value,
                    "n_gallery": found.n[0],
                    "n_rest": found.n[1],
                    "units_gallery": int(first[1].sum()),
                    "units_rest": int(totals[~inside].sum()),
                }
            )
    table = pd.DataFrame(rows)
    # Holm's correction takes an unknown p-value for 1; it stays unknown here.
    table["p_holm"] = table.groupby("comparison")["p_value"].transform(holm).where(table["p_value"].notna())
    return table


def origin_shares(archive: SearchArchive, cfg: OriginSettings, rng: np.random.Generator) -> pd.DataFrame:
    """Shares of origins in gallery and rest: channel, group, share, low, high."""
    counts = archive.table("origin", tuple(channel.origin for channel in cfg.channels.values()))
    totals, inside = counts.sum(axis=1).to_numpy(dtype=np.float64), archive.group(counts.index)
    rows = []
    for channel, meaning in cfg.channels.items():
        hits = counts[meaning.origin].to_numpy(dtype=np.float64)
        for group, here in (("gallery", inside), ("rest", ~inside)):
            found = cluster_share(hits[here], totals[here], cfg.level, rng, cfg.resamples)
            rows.append((channel, group, found.estimate, *found.interval))
    return pd.DataFrame(rows, columns=["channel", "group", "share", "low", "high"])


def origins_by_part(archive: SearchArchive, cfg: OriginSettings, rng: np.random.Generator) -> pd.DataFrame:
    """Shares of origins in each part of the order, over gallery and rest together.

    Columns: part (from 1), experiments, units, gallery_experiments, channel, share, low, high.
    """
    origins = tuple(channel.origin for channel in cfg.channels.values())
    counts = archive.table("origin", origins)
    totals, inside = counts.sum(axis=1).to_numpy(dtype=np.float64), archive.group(counts.index)
    parts = archive.experiments.loc[counts.index, "part"].to_numpy()
    rows = []
    for part in range(cfg.parts):
        here = parts == part
        if not here.any():
            continue
        for channel, meaning in cfg.channels.items():
            hits = counts[meaning.origin].to_numpy(dtype=np.float64)
            found = cluster_share(hits[here], totals[here], cfg.level, rng, cfg.resamples)
            rows.append(
                {
                    "part": part + 1,
                    "experiments": int(here.sum()),
                    "units": int(totals[here].sum()),
                    "gallery_experiments": int((here & inside).sum()),
                    "channel": channel,
                    "share": found.estimate,
                    "low": found.interval[0],
                    "high": found.interval[1],
                }
            )
    return pd.DataFrame(rows)


def clustered_test(archive: SearchArchive, cfg: OriginSettings) -> ClusteredTest:
    """Rao and Scott's test of equal shares of origins in gallery and rest; all NaN where one of them has no program."""
    counts = archive.table("origin", tuple(channel.origin for channel in cfg.channels.values()))
    inside = archive.group(counts.index)
    if inside.all() or not inside.any():
        return ClusteredTest(statistic=np.nan, df=(np.nan, np.nan), p_value=np.nan, design_effect=np.nan)
    return rao_scott(counts.to_numpy(dtype=np.float64), inside)


def origin_findings(
    archive: SearchArchive, table: pd.DataFrame, cfg: OriginSettings, withheld: Withheld
) -> list[Finding]:
    """`origins.<source>.<channel>_difference` and the test of all channels together."""
    found = table[table["comparison"] == AS_FOUND].set_index("channel")
    aged = table[table["comparison"] == SAME_AGE].set_index("channel")
    findings = [
        _difference(archive, str(channel), row, aged.loc[channel], cfg, withheld) for channel, row in found.iterrows()
    ]
    test = clustered_test(archive, cfg)
    return [
        *findings,
        Finding(
            id=f"origins.{archive.name}.clustered_test",
            question=f"Do the shares of all origins differ between gallery and rest of {archive.name}?",
            answer=(
                f"Rao and Scott's test: F = {number(test.statistic, 2)}, {p_equals(test.p_value)}; mean design effect "
                f"{number(test.design_effect, 2)}: so many components tell as much as one independent one."
            ),
            verdict="measured",
            method="Second-order correction of Pearson's statistic (Rao and Scott 1984, 1987), programs as clusters.",
            n=int(found["n_gallery"].iloc[0] + found["n_rest"].iloc[0]),
            p_value=test.p_value,
            tables=["archive_origins"],
            details={
                "kind": "archive_origins",
                "outcome": _outcome(test.p_value, cfg),
                "design_effect": test.design_effect,
                "df": list(test.df),
            },
        ),
    ]


def _difference(
    archive: SearchArchive,
    channel: str,
    row: pd.Series[float],
    aged: pd.Series[float],
    cfg: OriginSettings,
    withheld: Withheld,
) -> Finding:
    n, p_value = int(row["n_gallery"]), float(row["p_holm"])
    points, aged_points = (
        _points(permitted((float(one["low"]), float(one["high"])), "cluster_difference.interval", n, withheld))
        for one in (row, aged)
    )
    return Finding(
        id=f"origins.{archive.name}.{channel}_difference",
        question=f"Is the share of {channel} different in the gallery of {archive.name} than in the rest?",
        answer=(
            f"{channel.capitalize()}: {signed(100 * row['difference'], 1)} points in the gallery "
            f"({number(100 * row['gallery'], 1)}% of {int(row['units_gallery'])} components) against the rest "
            f"({number(100 * row['rest'], 1)}% of "
            f"{int(row['units_rest'])}): {span(points, 1)}, {p_equals(p_value)}, {n} and {int(row['n_rest'])} "
            f"programs. With the rest weighted to the gallery's age: {signed(100 * aged['difference'], 1)} points "
            f"({span(aged_points, 1)}). " + (BUILT_IN if archive.labelled_by == ("truth",) else "")
        ).strip(),
        verdict="measured",
        method=(
            "Difference of ratios, programs drawn anew as clusters; Newcombe's interval and the score test at the "
            f"effective number of units; Holm over the channels. Equal age: the order in {cfg.parts} equal parts, each "
            "with the gallery's weight; the weights are taken as given."
        ),
        estimate=100.0 * float(row["difference"]),
        unit="percentage points",
        interval=points,
        level=cfg.level,
        n=n + int(row["n_rest"]),
        p_value=p_value,
        tables=["archive_origins", "archive_parts"],
        figures=["origin_shares", "origin_differences"],
        details={
            "kind": "archive_origins",
            "outcome": _outcome(p_value, cfg),
            "at_equal_age": {"difference": 100.0 * float(aged["difference"]), "interval": list(aged_points)},
            "labelled_by": list(archive.labelled_by),
        },
    )


def _share(hits: Floats, totals: Floats) -> float:
    """NaN of no units."""
    return float(hits.sum() / totals.sum()) if totals.sum() > 0.0 else np.nan


def _points(interval: Interval) -> Interval:
    return 100.0 * interval[0], 100.0 * interval[1]


def _outcome(p_value: float, cfg: OriginSettings) -> str:
    if not np.isfinite(p_value):
        return "not testable"
    return "different" if p_value < 1.0 - cfg.level else "not established"
