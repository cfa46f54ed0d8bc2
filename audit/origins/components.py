"""Which components there are: concentration, the long tail, and what is more common in the gallery."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from audit.claims.reading import between
from audit.finding import Finding, Withheld, permitted
from audit.origins.archive import SearchArchive
from audit.origins.plan import OriginSettings
from audit.origins.published import ARCHITECTURES, FITTED, SOURCE, PublishedOrigins, assumptions
from audit.origins.text import TextLabels
from audit.statistics.concentration import MEASURES, concentration_intervals, concentration_null, rarefied, tail
from audit.statistics.enrichment import enrichment
from audit.statistics.estimate import Estimate, Floats
from audit.statistics.multiplicity import benjamini_hochberg
from audit.statistics.shares import wilson
from audit.wording import count, number, p_equals, plural, signed, span

EMPTY = pd.DataFrame()


@dataclass(frozen=True, kw_only=True)
class ComponentResults:
    """One body of labels.

    name: as in findings' ids. title: in words. labels: group -> counts of categories [k]. concentration: group,
    measure, estimate, low, high, n. null: of gallery against rest, see `concentration_null`; empty with one group.
    top: the share of the largest categories in the first group. tails: `tail_table`; empty where not asked. enriched:
    see `enrichment`; empty with one group. by_number: `enriched_by_number`; empty where the numbers are known.
    """

    name: str
    title: str
    labels: Mapping[str, Floats]
    concentration: pd.DataFrame
    null: pd.DataFrame
    top: Estimate
    tails: pd.DataFrame
    enriched: pd.DataFrame
    by_number: pd.DataFrame


def measure_components(
    published: PublishedOrigins | None,
    text: TextLabels | None,
    archive: SearchArchive,
    cfg: OriginSettings,
    streams: Iterator[np.random.Generator],
) -> tuple[ComponentResults, ...]:
    """As published, from the texts, and in the archive, in this order; what is not at hand is left out."""
    first, second = next(streams), next(streams)
    found = [] if published is None else [_as_published(published, cfg, first)]
    found += [] if text is None else [_from_text(text, cfg)]
    return (*found, _in_archive(archive, cfg, second))


def _as_published(published: PublishedOrigins, cfg: OriginSettings, rng: np.random.Generator) -> ComponentResults:
    counts = published.counts
    labels = {group: counts[group].to_numpy(dtype=np.float64) for group in ("gallery", "rest")}
    null = concentration_null(
        labels["gallery"], labels["rest"], top=cfg.top, level=cfg.level, rng=rng, draws=cfg.resamples
    )
    largest = float(np.sort(labels["gallery"])[-cfg.top :].sum() / labels["gallery"].sum())
    sizes = zip(("gallery", "rest"), ("first", "second"), strict=True)
    rows = [
        {"group": group, "measure": row["measure"], "estimate": row[side], "low": np.nan, "high": np.nan, "n": total}
        for group, side in sizes
        for row in null.to_dict("records")
        for total in [int(labels[group].sum())]
    ]
    return ComponentResults(
        name=SOURCE,
        title="figure 7 as printed",
        labels=labels,
        concentration=pd.DataFrame(rows),
        null=null,
        top=wilson(largest, published.sizes[0], cfg.level),
        tails=tail_table(published, cfg),
        enriched=_enriched_units(published, cfg),
        by_number=enriched_by_number(published, cfg),
    )


def _from_text(text: TextLabels, cfg: OriginSettings) -> ComponentResults:
    found = concentration_intervals(text.counts, top=cfg.top, level=cfg.level)
    return ComponentResults(
        name=f"{SOURCE}_text",
        title=f"labelled again by {text.main}",
        labels={"gallery": text.counts.sum(axis=0)},
        concentration=_measured("gallery", found),
        null=EMPTY,
        top=found[MEASURES[0]],
        tails=EMPTY,
        enriched=EMPTY,
        by_number=EMPTY,
    )


def _in_archive(archive: SearchArchive, cfg: OriginSettings, rng: np.random.Generator) -> ComponentResults:
    names = tuple(sorted(archive.components["component"].unique()))
    table = archive.table("component", names)
    inside, counts = archive.group(table.index), table.to_numpy(dtype=np.float64)
    groups = {"gallery": counts[inside], "rest": counts[~inside]}
    top = min(cfg.top, len(names))
    whole = concentration_intervals(counts, top=top, level=cfg.level)
    parts = [_measured("all", whole)]
    null = enriched = EMPTY
    if all(len(group) for group in groups.values()):
        parts += [
            _measured(name, concentration_intervals(group, top=top, level=cfg.level)) for name, group in groups.items()
        ]
        null = concentration_null(*groups.values(), top=top, level=cfg.level, rng=rng, draws=cfg.resamples)
        having = [dict(zip(names, (group > 0).sum(axis=0).tolist(), strict=True)) for group in groups.values()]
        enriched = enrichment(having[0], len(groups["gallery"]), having[1], len(groups["rest"]), cfg.level)
    return ComponentResults(
        name=archive.name,
        title=f"archive {archive.name}",
        labels={name: group.sum(axis=0) for name, group in groups.items() if len(group)},
        concentration=pd.concat(parts, ignore_index=True),
        null=null,
        top=whole[MEASURES[0]],
        tails=EMPTY,
        enriched=enriched,
        by_number=EMPTY,
    )


def _measured(group: str, found: Mapping[str, Estimate]) -> pd.DataFrame:
    rows = [
        {"group": group, "measure": name, "estimate": one.estimate, "low": low, "high": high, "n": one.n}
        for name, one in found.items()
        for low, high in [one.interval]
    ]
    return pd.DataFrame(rows)


def tail_table(published: PublishedOrigins, cfg: OriginSettings) -> pd.DataFrame:
    """The gallery's rare categories beside as many units drawn from the rest, at each assumed number of units.

    Columns: heads (largest categories of the rest that are no tail), assumption, design_effect, n, share (observed),
    expected, sd, distance (in SDs); seen, expected_seen, seen_sd: categories with any unit, where n is the fitted
    number, else NaN, as what a group shows depends on how many are drawn.
    """
    counts = published.counts
    rest, gallery = (counts[group].to_numpy(dtype=np.float64) for group in ("rest", "gallery"))
    rows = []
    for heads in cfg.heads:
        rare = tail(rest, heads)
        share = float(gallery[rare].sum() / gallery.sum())
        for name, first, _, effect in assumptions(published, cfg):
            size = min(max(1, round(first / effect)), int(rest.sum()))
            drawn = rarefied(rest, [size], rare).iloc[0]
            exact = name == FITTED and effect == 1.0
            rows.append(
                {
                    "heads": heads,
                    "assumption": name,
                    "design_effect": effect,
                    "n": size,
                    "share": share,
                    "expected": drawn["rare_share"],
                    "sd": drawn["rare_share_sd"],
                    "distance": (share - drawn["rare_share"]) / drawn["rare_share_sd"],
                    "seen": float((gallery > 0).sum()) if exact else np.nan,
                    "expected_seen": drawn["categories"] if exact else np.nan,
                    "seen_sd": drawn["categories_sd"] if exact else np.nan,
                }
            )
    return pd.DataFrame(rows)


def enriched_by_number(published: PublishedOrigins, cfg: OriginSettings) -> pd.DataFrame:
    """How many categories differ between the groups at each assumed number of units.

    Columns: assumption, design_effect, n_gallery, n_rest, more, fewer (categories in the gallery), names. Tests
    and their correction as in `enrichment`.
    """
    shares = published.categories
    rows = []
    for name, first, second, effect in assumptions(published, cfg):
        sizes = (round(first / effect), round(second / effect))
        having = zip((shares["gallery"] * sizes[0]).round(), (shares["rest"] * sizes[1]).round(), strict=True)
        p_values = [stats.fisher_exact([[a, sizes[0] - a], [b, sizes[1] - b]]).pvalue for a, b in having]
        told = shares[benjamini_hochberg(p_values) <= 1.0 - cfg.level]
        rows.append(
            {
                "assumption": name,
                "design_effect": effect,
                "n_gallery": sizes[0],
                "n_rest": sizes[1],
                "more": int((told["gallery"] > told["rest"]).sum()),
                "fewer": int((told["gallery"] < told["rest"]).sum()),
                "names": ", ".join(map(str, told.index)),
            }
        )
    return pd.DataFrame(rows)


def _enriched_units(published: PublishedOrigins, cfg: OriginSettings) -> pd.DataFrame:
    """`enrichment` of the units that the percentages fit, as if independent."""
    having = [{str(name): int(units) for name, units in column.items()} for _, column in published.counts.items()]
    return enrichment(having[0], published.units[0].n, having[1], published.units[1].n, cfg.level)


def component_findings(results: ComponentResults, cfg: OriginSettings, withheld: Withheld) -> list[Finding]:
    """`components.<source>.top<k>_share`, and where there are two groups what differs between them."""
    findings = [_top_finding(results, cfg, withheld)]
    if not results.tails.empty:
        findings.append(_tail_finding(results, cfg))
    if not results.enriched.empty:
        findings.append(_enrichment_finding(results, cfg))
    return findings


def _top_finding(results: ComponentResults, cfg: OriginSettings, withheld: Withheld) -> Finding:
    method = top_method(results)
    low, high = permitted(results.top.interval, method, results.top.n, withheld)
    interval = (100 * low, 100 * high)
    told = f"{between(interval, 1)}%" if np.isfinite(low) else span(interval)
    between_architectures = not results.null.empty and results.name != SOURCE
    where = "the gallery" if "all" not in set(results.concentration["group"]) else "all experiments"
    group = results.concentration["group"].iloc[0]
    rows = results.concentration[results.concentration["group"] == group].set_index("measure")["estimate"]
    against = ""
    if not results.null.empty:
        null = results.null.set_index("measure")
        independent = ", as if units were independent" if results.name == SOURCE else ""
        one, many = null.loc["top_share"], null.loc["effective_number"]
        against = (
            f" Gallery against rest{independent}: {100 * one['first']:.1f}% and {100 * one['second']:.1f}% "
            f"({p_equals(one['p_value'])}), {many['first']:.1f} and {many['second']:.1f} categories in effect "
            f"({p_equals(many['p_value'])})."
        )
    return Finding(
        id=f"components.{results.name}.top{cfg.top}_share",
        question=f"How much of all labels do the {cfg.top} largest categories hold ({results.title})?",
        answer=(
            f"{results.title[0].upper()}{results.title[1:]}: the {cfg.top} largest categories hold "
            f"{100 * results.top.estimate:.1f}% of the labels of {where} ({told}, "
            f"{plural(results.top.n, 'architecture')}); Gini {number(rows['gini'], 2)}, entropy "
            f"{number(rows['entropy'], 2)} bits, as many as "
            f"{rows['effective_number']:.1f} equally common categories.{against}"
        ),
        verdict="measured",
        method=(
            "Wilson's interval with one unit an architecture, the categories taken as given; groups against single "
            "units dealt out anew, as if independent, which makes p-values too small where units go together."
            if results.name == SOURCE
            else "Jackknife interval over architectures; errors of the labels are not in it."
        )
        + (" Groups against whole architectures dealt out anew." if between_architectures else "")
        + (
            f" {cfg.resamples} deals, so no p-value is below {2 / (cfg.resamples + 1):.1g}."
            if not results.null.empty
            else ""
        ),
        estimate=100.0 * results.top.estimate,
        unit="percent",
        interval=interval,
        level=cfg.level,
        n=results.top.n,
        tables=["components_concentration", "components_null"],
        figures=["lorenz"],
        details={
            "kind": "concentration",
            "outcome": "measured",
            "measures": {str(k): float(v) for k, v in rows.items()},
        },
    )


def top_method(results: ComponentResults) -> str:
    """The calibrated method behind `ComponentResults.top`."""
    return "wilson" if results.name == SOURCE else "concentration_intervals.top_share"


def _tail_finding(results: ComponentResults, cfg: OriginSettings) -> Finding:
    table = results.tails
    limit = float(stats.norm.ppf(0.5 + cfg.level / 2.0))
    fitted = table[(table["assumption"] == FITTED) & (table["design_effect"] == table["design_effect"].min())]
    cautious = table[table["assumption"] == ARCHITECTURES]
    first, least = fitted.iloc[0], cautious.iloc[0]
    below, above = (sign * table["distance"] < -limit for sign in (1.0, -1.0))
    outcome = "lighter" if below.all() else "heavier" if above.all() else "depends on the number of units"
    if not (below | above).any():
        outcome = "as expected"
    return Finding(
        id=f"components.{results.name}.long_tail",
        question="Is the gallery's tail of rare categories lighter than that of as many units drawn from the rest?",
        answer=(
            f"The gallery shows {first['seen']:.0f} of the categories; {count(first['n'])} units drawn from the rest "
            f"would show {first['expected_seen']:.1f} (SD {first['seen_sd']:.1f}). Outside the {first['heads']:.0f} "
            f"largest it has {100 * first['share']:.1f}% of its units against {100 * first['expected']:.1f}% expected: "
            f"{signed(first['distance'], 1)} SDs with independent units, {signed(least['distance'], 1)} with one unit "
            f"an architecture; over all cuts and numbers {signed(table['distance'].min(), 1)} to "
            f"{signed(table['distance'].max(), 1)}."
        ),
        verdict="measured",
        method=(
            "Rarefaction: exact means and SDs of draws without replacement from the rest's units, whose shares "
            "are taken as known. A small group misses rare categories for its size alone."
        ),
        estimate=float(first["distance"]),
        unit="standard deviations",
        n=int(first["n"]),
        tables=["components_tail"],
        details={"kind": "concentration", "outcome": outcome},
    )


def _enrichment_finding(results: ComponentResults, cfg: OriginSettings) -> Finding:
    table = results.enriched
    told = table[table["q_value"] <= 1.0 - cfg.level].sort_values("q_value", kind="stable")
    names = ", ".join(f"{row.component} ({number(row.odds_ratio, 2)})" for row in told.itertuples())
    listed = f" (odds ratios): {names}" if names else ""
    by_number = ""
    if not results.by_number.empty:
        cautious = results.by_number[results.by_number["assumption"] == ARCHITECTURES].iloc[0]
        last = results.by_number.iloc[-1]
        by_number = (
            f" With a design effect of {last['design_effect']:g}: {last['more'] + last['fewer']}; with one unit an "
            f"architecture: {cautious['more'] + cautious['fewer']}."
        )
    unit = "units that figure 7 fits, as if independent" if results.name == SOURCE else "architectures"
    return Finding(
        id=f"components.{results.name}.enrichment",
        question=f"Which components are more or less common in the gallery ({results.title})?",
        answer=(
            f"Of {len(table)} categories {len(told) or 'none'} {'is' if len(told) < 2 else 'are'} established as "
            f"different after correction, with {unit}{listed}."
            f"{by_number} A category that is common among chosen programs need not be why they were chosen."
        ),
        verdict="measured",
        method="Fisher's exact test; conditional odds ratios; Benjamini-Hochberg over the categories, for screening.",
        estimate=float(len(told)),
        unit="categories",
        n=int(sum(counts.sum() for counts in results.labels.values())),
        tables=["components_enrichment", "components_by_number"],
        figures=["enrichment"],
        details={"kind": "enrichment", "outcome": "measured", "components": list(told["component"])},
    )
