"""Published shares of origins and of component categories, at every number of units that they may be shares of.

The labels themselves, and how many there are, were not published.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from audit.claims.motifs import Units, units
from audit.finding import Finding, Withheld, permitted
from audit.origins.plan import OriginSettings
from audit.sheets import Sheet
from audit.statistics.clusters import share_difference_by_n
from audit.statistics.multiplicity import holm
from audit.statistics.shares import smallest_significant
from audit.wording import count, p_equals, signed, span
from replication.settings import require

SOURCE = "asi_arch"
ARCHITECTURES = "one unit an architecture"
FITTED = "units that figure 7 fits"
STATED = "the stated total"
EVERYWHERE = "different at every assumed number of units"
LABELS = (
    "The shares tell which labels one language model gave, not where ideas came from; errors of the labels are not in "
    "the interval."
)
LATER = (
    "Nor is a cause told: better programs may be the later ones, which have more earlier results to draw on, and that "
    "alone could raise the share of experience in a gallery."
)


@dataclass(frozen=True, kw_only=True)
class PublishedOrigins:
    """What was published.

    shares: one row a channel: gallery, rest (from 0 to 1). sizes: architectures of both groups. categories: one row a
    category: gallery, rest (from 0 to 1). units: what the percentages of the two groups can be shares of.
    """

    shares: pd.DataFrame
    sizes: tuple[int, int]
    categories: pd.DataFrame
    units: tuple[Units, Units]

    @property
    def counts(self) -> pd.DataFrame:
        """Units of each category that the percentages fit, whole numbers, in both groups."""
        found = {
            group: (self.categories[group] * one.n).round().astype(int)
            for group, one in zip(("gallery", "rest"), self.units, strict=True)
        }
        return pd.DataFrame(found, index=self.categories.index)


def read_published(origins: Sheet, components: Sheet, cfg: OriginSettings) -> PublishedOrigins:
    """The two tables. Raises InputError where a row, a column or a number is missing; names it."""
    layout, drawn = cfg.origins_table, cfg.components_table
    rows = [origins.row_of(layout.group, name) for name in (layout.gallery, layout.rest)]
    shares = {name: origins.numbers(channel.column).loc[rows] / 100.0 for name, channel in cfg.channels.items()}
    table = pd.DataFrame({name: column.to_numpy() for name, column in shares.items()}, index=["gallery", "rest"]).T
    good = bool(table.notna().all(axis=None)) and bool(((table >= 0.0) & (table <= 1.0)).all(axis=None))
    require(good, f"{origins.file}: rows {layout.gallery} and {layout.rest} should hold percentages")
    sizes = origins.numbers(layout.size).loc[rows]
    require(bool((sizes >= 2).all()), f"{origins.file}: column {layout.size} should hold numbers of architectures")
    columns = {"gallery": drawn.gallery, "rest": drawn.rest}
    categories = pd.DataFrame({group: components.numbers(column) / 100.0 for group, column in columns.items()})
    categories.index = pd.Index(components.column(drawn.category).astype(str), name="category")
    require(
        bool(categories.notna().all(axis=None)) and categories.index.is_unique and len(categories) > max(cfg.heads),
        f"{components.file}: expected a percentage in each row and more than {max(cfg.heads)} different categories",
    )
    found = [units(components, column, cfg.most_units) for column in columns.values()]
    known = [one for one in found if one is not None]
    require(len(known) == 2, f"{components.file}: no percentages in {' or '.join(columns.values())}")
    return PublishedOrigins(
        shares=table,
        sizes=(int(sizes.iloc[0]), int(sizes.iloc[1])),
        categories=categories,
        units=(known[0], known[1]),
    )


def assumptions(published: PublishedOrigins, cfg: OriginSettings) -> list[tuple[str, float, float, float]]:
    """What may be behind the percentages: name, units of the gallery and of the rest, design effect."""
    first, second = published.sizes
    fitted = (float(published.units[0].n), float(published.units[1].n))
    stated = cfg.stated_units * first / (first + second)
    found = [(ARCHITECTURES, float(first), float(second), 1.0)]
    found += [(STATED, stated, cfg.stated_units - stated, 1.0)]
    return found + [(FITTED, fitted[0], fitted[1], effect) for effect in cfg.design_effects]


def difference_table(published: PublishedOrigins, cfg: OriginSettings) -> pd.DataFrame:
    """Each channel's difference, gallery minus rest, at each assumed number of units.

    Columns: channel, gallery, rest, assumption, n_gallery, n_rest, design_effect, difference, low, high (shares),
    p_value, p_holm (over the channels, at one assumption).
    """
    rows = []
    for channel, (gallery, rest) in published.shares.iterrows():
        for name, first, second, effect in assumptions(published, cfg):
            found = share_difference_by_n(gallery, rest, [first], second / first, cfg.level, [effect]).iloc[0]
            rows.append(
                {
                    "channel": channel,
                    "gallery": gallery,
                    "rest": rest,
                    "assumption": name,
                    "n_gallery": round(first),
                    "n_rest": round(second),
                    "design_effect": effect,
                    **{key: float(found[key]) for key in ("difference", "low", "high", "p_value")},
                }
            )
    table = pd.DataFrame(rows)
    table["p_holm"] = table.groupby(["assumption", "design_effect"])["p_value"].transform(holm)
    return table


def difference_findings(published: PublishedOrigins, cfg: OriginSettings, withheld: Withheld) -> list[Finding]:
    """`origins.asi_arch.<channel>_difference`: the headline is the most cautious reading."""
    table = difference_table(published, cfg)
    return [
        _difference_finding(str(channel), rows, cfg, withheld) for channel, rows in table.groupby("channel", sort=False)
    ]


def _difference_finding(channel: str, rows: pd.DataFrame, cfg: OriginSettings, withheld: Withheld) -> Finding:
    first = rows.iloc[0]
    difference, n, p_value = float(first["difference"]), int(first["n_gallery"]), float(first["p_holm"])
    interval = permitted((float(first["low"]), float(first["high"])), "share_difference.interval", n, withheld)
    points = (100.0 * interval[0], 100.0 * interval[1])
    ratio = float(first["n_rest"]) / n
    needed = smallest_significant(float(first["gallery"]), float(first["rest"]), ratio, cfg.level)
    significant = rows["p_holm"] < 1.0 - cfg.level
    fitted = rows[(rows["assumption"] == FITTED) & (rows["design_effect"] == rows["design_effect"].min())]
    return Finding(
        id=f"origins.{SOURCE}.{channel}_difference",
        question=f"Is the share of {channel} different in the gallery than in the other programs?",
        answer=(
            f"{channel.capitalize()}: {signed(100 * difference, 1)} points in the gallery "
            f"({100 * first['gallery']:.1f}%) against the others ({100 * first['rest']:.1f}%). "
            f"With one unit an architecture ({count(n)} and "
            f"{count(first['n_rest'])}), the most cautious reading tried: {span(points, 1)}, {p_equals(p_value)}. "
            + "".join(
                f"With the units that figure 7 fits ({count(row.n_gallery)} and {count(row.n_rest)}), as if "
                f"independent: {span((100 * row.low, 100 * row.high), 1)}, {p_equals(row.p_holm)}. "
                for row in fitted.itertuples()
            )
            + (
                f"Taken alone it is significant from {count(needed)} independent units in the gallery on. "
                if needed
                else ""
            )
            + f"{LABELS}"
            + (f" {LATER}" if cfg.channels[channel].origin == "analysis" else "")
        ),
        verdict="measured",
        method=(
            "Newcombe's interval and the score test of two shares at each assumed number of units; Holm over the "
            "channels at each."
        ),
        estimate=100.0 * difference,
        unit="percentage points",
        interval=points,
        level=cfg.level,
        n=n + int(first["n_rest"]),
        p_value=p_value,
        tables=["origin_differences"],
        figures=["origin_differences", "origin_shares"],
        details={
            "kind": "published_origins",
            "outcome": _outcome(significant),
            "smallest_significant": needed,
            "readings": rows.drop(columns=["channel", "gallery", "rest"]).to_dict("records"),
        },
    )


def _outcome(significant: pd.Series[bool]) -> str:
    if significant.all():
        return EVERYWHERE
    return "depends on the number of units" if significant.any() else "not established at any assumed number"


def untestable_findings(published: PublishedOrigins) -> list[Finding]:
    """What takes data that were never released."""
    first, second = published.sizes
    missing = [
        (
            f"origins.{SOURCE}.clustered_test",
            "Do the two groups differ in origins, with components of one architecture going together?",
            (
                "Rao and Scott's test and a cluster bootstrap take the labels architecture by architecture; only three "
                "percentages a group were published. The design effect is therefore not known, and differences are "
                "shown at several."
            ),
        ),
        (
            f"origins.{SOURCE}.label_errors",
            "How often are the labels of origin wrong?",
            (
                "It takes the labels, the labeller's answers and a sample labelled a second time by somebody else; "
                "none was released, so the shares cannot be corrected."
            ),
        ),
        (
            f"components.{SOURCE}_text.rest",
            f"Which components do the {count(second)} programs outside the gallery have?",
            (
                f"Motivations and programs were released for the {count(first)} of the gallery alone, so nothing can "
                "be labelled again for the others, and no comparison of the two groups can be regenerated."
            ),
        ),
    ]
    return [
        Finding(
            id=name,
            question=question,
            answer=answer,
            verdict="not_testable",
            method="None: the data were not released.",
            details={"kind": "not_testable", "outcome": "not_testable"},
        )
        for name, question, answer in missing
    ]


def share_columns(published: PublishedOrigins) -> Mapping[str, Sequence[float]]:
    """Shares of categories of the two groups, largest first in the gallery."""
    ordered = published.categories.sort_values("gallery", ascending=False, kind="stable")
    return {group: np.asarray(ordered[group]).tolist() for group in ("gallery", "rest")}
