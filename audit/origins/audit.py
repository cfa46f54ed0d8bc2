"""Every finding of the audit of origins. All are `measured`: the published claims are judged by the registry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from audit.finding import Finding, Withheld
from audit.origins import components, published, searched, text, truth
from audit.origins.archive import SearchArchive
from audit.origins.components import ComponentResults
from audit.origins.plan import OriginSettings
from audit.origins.published import PublishedOrigins
from audit.origins.text import TextLabels
from audit.origins.truth import TruthCheck

AUDIT = "audit_origins"
CONCENTRATION, CORRECTED = "concentration_intervals.", "corrected_shares.clusters"


@dataclass(frozen=True, kw_only=True)
class OriginEvidence:
    """What is at hand. published: None without the tables. text: None without the programs."""

    published: PublishedOrigins | None
    text: TextLabels | None
    archive: SearchArchive


@dataclass(frozen=True, kw_only=True)
class OriginResults:
    """Everything that is estimated, once. Tables of what is not at hand are empty."""

    differences: pd.DataFrame
    components: tuple[ComponentResults, ...]
    agreement: pd.DataFrame
    by_category: pd.DataFrame
    text_shares: pd.DataFrame
    archive_shares: pd.DataFrame
    archive_origins: pd.DataFrame
    archive_parts: pd.DataFrame
    truth: TruthCheck | None


def measure(evidence: OriginEvidence, cfg: OriginSettings) -> OriginResults:
    """Estimate everything. Each part draws from a stream of its own, so that none depends on which others there are."""
    streams = iter(np.random.default_rng(cfg.seed).spawn(8))
    about_components = components.measure_components(evidence.published, evidence.text, evidence.archive, cfg, streams)
    first, second, third, fourth, fifth, sixth = (next(streams) for _ in range(6))
    empty = pd.DataFrame()
    words, printed = evidence.text, evidence.published
    return OriginResults(
        differences=empty if printed is None else published.difference_table(printed, cfg),
        components=about_components,
        agreement=empty if words is None else text.agreement_table(words, cfg, first),
        by_category=empty if words is None else text.category_agreement(words),
        text_shares=empty if words is None or printed is None else text.share_table(words, printed, cfg, second),
        archive_shares=searched.origin_shares(evidence.archive, cfg, sixth),
        archive_origins=searched.origin_differences(evidence.archive, cfg, third),
        archive_parts=searched.origins_by_part(evidence.archive, cfg, fourth),
        truth=truth.check_truth(evidence.archive, cfg, fifth),
    )


def audit(evidence: OriginEvidence, results: OriginResults, cfg: OriginSettings, withheld: Withheld) -> list[Finding]:
    """Origins, then components: as published, from the texts, in the archive; then what cannot be tested."""
    findings = list[Finding]()
    if evidence.published is not None:
        findings += published.difference_findings(evidence.published, cfg, withheld)
    findings += searched.origin_findings(evidence.archive, results.archive_origins, cfg, withheld)
    for one in results.components:
        findings += components.component_findings(one, cfg, withheld)
    if evidence.published is not None and evidence.text is not None:
        findings += text.text_findings(
            evidence.text, results.agreement, results.text_shares, evidence.published, cfg, withheld
        )
    if results.truth is not None:
        findings += truth.truth_findings(evidence.archive, results.truth, cfg, withheld)
    if evidence.published is not None:
        findings += published.untestable_findings(evidence.published)
    return findings


def summary(evidence: OriginEvidence, findings: Sequence[Finding]) -> list[str]:
    """The answers that matter most, in plain sentences."""
    parts = [headline(findings)]
    for source, what in (
        ("published_origins", "experience_difference"),
        ("concentration", "asi_arch.long_tail"),
        ("text", "asi_arch_text.agreement"),
        ("archive_origins", f"{evidence.archive.name}.experience_difference"),
    ):
        parts += [f.answer for f in findings if f.details["kind"] == source and f.id.endswith(what)]
    return parts


def headline(findings: Sequence[Finding]) -> str:
    """What the published differences in origins come to."""
    printed = [finding for finding in findings if finding.details["kind"] == "published_origins"]
    if not printed:
        return "Nothing published was at hand: what follows is about the archive alone."
    outcomes = {
        finding.id.split(".")[-1].removesuffix("_difference"): finding.details["outcome"] for finding in printed
    }
    if set(outcomes.values()) == {published.EVERYWHERE}:
        return "Gallery and the other programs differ in every origin, whatever number of labels is assumed."
    told = "; ".join(f"{channel}: {outcome}" for channel, outcome in outcomes.items())
    return f"Whether the gallery differs from the other programs in where its labels say ideas come from: {told}."


def methods_in_use(evidence: OriginEvidence, results: OriginResults) -> list[tuple[str, int]]:
    """(calibrated method, n) of every interval and test behind `audit` and its tables."""
    gallery = [int(n) for n in results.archive_origins["n_gallery"]]
    found = {(f"cluster_difference.{what}", n) for n in gallery for what in ("interval", "p_value")}
    found |= {(name, n) for n in gallery for name in ("rao_scott", "cluster_share", "concentration_null.clusters")}
    found |= {(f"enrichment.{what}", n) for n in gallery for what in ("interval", "p_value")}
    if evidence.published is not None:
        sizes, units = evidence.published.sizes, evidence.published.units[0].n
        assumed = {round(row.n_gallery / row.design_effect) for row in results.differences.itertuples()}
        found |= {(f"share_difference.{what}", n) for n in assumed for what in ("interval", "p_value")}
        found |= {(f"enrichment.{what}", units) for what in ("interval", "p_value")}
        found |= {("wilson", sizes[0]), ("concentration_null.units", units)}
    if evidence.text is not None:
        found |= {("cluster_share", int(n)) for n in (len(evidence.text.counts), *results.agreement["programs"])}
        found |= {("corrected_shares.clusters", len(evidence.text.counts))}
    for one in results.components:
        rows = one.concentration.dropna(subset=["low"])
        found |= {(f"{CONCENTRATION}{row.measure}", int(row.n)) for row in rows.itertuples()}
    if results.truth is not None:
        found |= {("cohen_kappa", len(results.truth.origins)), (CORRECTED, results.truth.clusters)}
        found |= {("cluster_share", int(n)) for n in results.truth.components["programs"]}
    return sorted(found)


def without(results: OriginResults, withheld: Withheld) -> OriginResults:
    """The results with no limits in a table whose interval's method is withheld at any size."""
    names = {name for name, _ in withheld}
    shares, corrected = "cluster_share", ("corrected_low", "corrected_high")
    limits = [f"{what}_{end}" for what in ("precision", "recall", "jaccard") for end in ("low", "high")]
    return replace(
        results,
        differences=_blank(results.differences, "share_difference.interval" in names),
        components=tuple(
            replace(
                one,
                concentration=_blank(one.concentration, any(name.startswith(CONCENTRATION) for name in names)),
                enriched=_blank(one.enriched, "enrichment.interval" in names),
            )
            for one in results.components
        ),
        agreement=_blank(results.agreement, shares in names, limits),
        text_shares=_blank(_blank(results.text_shares, shares in names), CORRECTED in names, corrected),
        archive_shares=_blank(results.archive_shares, shares in names),
        archive_origins=_blank(results.archive_origins, "cluster_difference.interval" in names),
        archive_parts=_blank(results.archive_parts, shares in names),
        truth=results.truth
        and replace(
            results.truth,
            components=_blank(results.truth.components, shares in names, limits),
            shares=_blank(results.truth.shares, CORRECTED in names),
        ),
    )


def _blank(table: pd.DataFrame, hide: bool, columns: Sequence[str] = ("low", "high")) -> pd.DataFrame:
    return table.assign(**dict.fromkeys(columns, np.nan)) if hide and not table.empty else table
