"""The findings on origins laid out for a reader: tables, figures and the words of the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from audit.calibrate import CalibrationStatus, calibration_row
from audit.claims.reading import between
from audit.finding import Finding, Withheld
from audit.origins import figures
from audit.origins.audit import OriginEvidence, OriginResults, summary
from audit.origins.plan import OriginSettings
from audit.origins.published import ARCHITECTURES, FITTED, LABELS, LATER, SOURCE
from audit.origins.searched import BUILT_IN
from audit.origins.text import shown_categories
from audit.statistics.shares import wilson
from audit.wording import count, number

SHOWN = 20  # categories of a figure


@dataclass(frozen=True, kw_only=True)
class About:
    """What the page says beside evidence and findings.

    published_note: why there is nothing published; empty where there is. labeller: who labelled the texts.
    calibration: (method, n) -> status, for methods in use.
    """

    byline: str
    published_note: str
    labeller: str
    calibration: Mapping[tuple[str, int], CalibrationStatus]

    @property
    def withheld(self) -> Withheld:
        """Intervals that are not shown."""
        return frozenset(key for key, status in self.calibration.items() if status.failures)


def tables(evidence: OriginEvidence, results: OriginResults, about: About) -> dict[str, pd.DataFrame]:
    """Every table by name; what is not at hand has none."""
    parts = {
        "concentration": {one.name: one.concentration for one in results.components},
        "null": {one.name: one.null for one in results.components},
        "tail": {one.name: one.tails for one in results.components},
        "enrichment": {one.name: one.enriched for one in results.components},
        "by_number": {one.name: one.by_number for one in results.components},
    }
    found = {f"components_{what}": _stacked(by_source) for what, by_source in parts.items()}
    found |= {
        "origin_differences": results.differences,
        "text_agreement": results.agreement,
        "text_categories": results.by_category,
        "text_shares": results.text_shares,
        "archive_origins": results.archive_origins,
        "archive_parts": results.archive_parts,
    }
    if evidence.text is not None:
        found["text_labels"] = pd.DataFrame(
            [
                {"index": index, "labeller": name, "categories": "; ".join(given)}
                for name, labels in evidence.text.labels.items()
                for index, given in labels.items()
            ]
        )
    if results.truth is not None:
        found["archive_labels"] = results.truth.components
        found["archive_confusion"] = results.truth.confusion.rename_axis("truth").reset_index()
        found["archive_corrected"] = results.truth.shares
    found["calibration"] = pd.DataFrame([calibration_row(*entry) for entry in about.calibration.items()])
    return {name: table for name, table in found.items() if not table.empty}


def _stacked(by_source: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    filled = [table.assign(source=name) for name, table in by_source.items() if not table.empty]
    if not filled:
        return pd.DataFrame()
    stacked = pd.concat(filled, ignore_index=True)
    return stacked[["source", *(column for column in stacked.columns if column != "source")]]


def draw(evidence: OriginEvidence, results: OriginResults, cfg: OriginSettings) -> dict[str, Figure]:
    """Every figure that has something to draw, by name."""
    found = {}
    found["origin_shares"] = figures.shares(_share_rows(evidence, results, cfg), xlabel="share of labels (percent)")
    found["origin_differences"] = figures.differences(
        _difference_rows(evidence, results), xlabel="gallery minus rest, percentage points"
    )
    found["lorenz"] = figures.lorenz(
        {f"{one.title}, {group}": counts for one in results.components for group, counts in one.labels.items()}
    )
    panels = {}
    for one in results.components:
        if not one.enriched.empty:
            drawable = one.enriched.dropna(subset="odds_ratio")
            panels[one.title] = drawable.sort_values("odds_ratio", ascending=False, kind="stable")
    if panels:
        found["enrichment"] = figures.enrichment(panels, level=cfg.level)
    if not results.text_shares.empty:
        chosen = shown_categories(results.text_shares, SHOWN)
        table = results.text_shares[results.text_shares["category"].isin(chosen)]
        found["text_shares"] = figures.text_shares(table.sort_values("printed", ascending=False, kind="stable"))
    return found


def _share_rows(evidence: OriginEvidence, results: OriginResults, cfg: OriginSettings) -> pd.DataFrame:
    """Shares of origins in both groups, as printed at two numbers of units, and in the archive."""
    rows = []
    if not results.differences.empty:
        table = results.differences
        plain = table[(table["assumption"] == ARCHITECTURES) | (table["assumption"] == FITTED)]
        for row in plain[plain["design_effect"] == plain["design_effect"].min()].itertuples():
            for group, n in (("gallery", row.n_gallery), ("rest", row.n_rest)):
                share = getattr(row, group)
                low, high = wilson(share, n, cfg.level).interval
                series = f"{group}, {row.assumption}"
                rows.append(("as printed", row.channel, series, share, low, high))
    panel = f"archive {evidence.archive.name}"
    for row in results.archive_shares.itertuples():
        series = f"{row.group}, programs drawn anew"
        rows.append((panel, row.channel, series, row.share, row.low, row.high))
    return pd.DataFrame(rows, columns=["panel", "channel", "series", "share", "low", "high"])


def _difference_rows(evidence: OriginEvidence, results: OriginResults) -> pd.DataFrame:
    """Differences at every assumed number of units, then those of the archive."""
    rows = []
    if not results.differences.empty:
        for row in results.differences.itertuples():
            effect = f", design effect {row.design_effect:g}" if row.assumption == FITTED else ""
            units = f"{count(row.n_gallery / row.design_effect)} and {count(row.n_rest / row.design_effect)}"
            rows.append((row.channel, f"{row.assumption}{effect}: {units}", row.difference, row.low, row.high))
    for row in results.archive_origins.itertuples():
        reading = f"archive {evidence.archive.name}, {row.comparison}"
        rows.append((row.channel, reading, row.difference, row.low, row.high))
    return pd.DataFrame(rows, columns=["channel", "reading", "difference", "low", "high"])


def _short(finding: Finding) -> str:
    """An answer without what the page says once for all."""
    answer = finding.answer
    for said in (LABELS, LATER, BUILT_IN):
        answer = answer.replace(said, "")
    return answer.strip()


def _units(evidence: OriginEvidence) -> str:
    """What the percentages of figure 7 can be shares of, in words; empty without them."""
    if evidence.published is None:
        return ""
    gallery, rest = evidence.published.units
    return f"{gallery.told} in the gallery and {rest.told} in the rest"


def _agreement_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of the table of agreement: percentages with their intervals in words."""
    rows = []
    for row in table.to_dict("records"):
        told = {}
        for measure in ("precision", "recall", "jaccard"):
            limits = tuple(100 * row[f"{measure}_{end}"] for end in ("low", "high"))
            told[measure] = (number(100 * row[measure], 0), between((limits[0], limits[1]), 0))
        rows.append({**{key: row[key] for key in ("comparison", "programs", "said", "true", "kappa")}, **told})
    return rows


def page(
    evidence: OriginEvidence,
    results: OriginResults,
    findings: Sequence[Finding],
    about: About,
    cfg: OriginSettings,
) -> dict[str, Any]:
    """The template's context: `page`, words and rows."""
    kinds = dict.fromkeys(str(finding.details["kind"]) for finding in findings)
    return {
        "page": {
            "byline": about.byline,
            "summary": summary(evidence, findings),
            "note": about.published_note,
            "answers": {kind: [_short(f) for f in findings if f.details["kind"] == kind] for kind in kinds},
            "labels": LABELS,
            "later": LATER,
            "agreement": _agreement_rows(results.agreement),
            "untestable": [(f.question, f.answer) for f in findings if f.verdict == "not_testable"],
            "methods": {f.question: f.method for f in findings if f.verdict != "not_testable"},
            "archive": evidence.archive.name,
            "gallery": f"the {cfg.best} best by strict fitness"
            if cfg.gallery == "best"
            else "what the archive calls discoveries",
            "built_in": BUILT_IN if evidence.archive.labelled_by == ("truth",) else "",
            "labelled_by": " and ".join(evidence.archive.labelled_by),
            "notes": list(evidence.text.notes) if evidence.text is not None else [],
            "labeller": about.labeller,
            "by_model": about.labeller == "llm",
            "published": SOURCE if evidence.published is not None else "",
            "level_percent": f"{100 * cfg.level:g}%",
            "q_percent": f"{100 * (1 - cfg.level):g}%",
            "parts": cfg.parts,
            "units": _units(evidence),
        }
    }
