"""The threshold audit's findings laid out for a reader: tables, figures and the words of the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from audit.calibrate import CalibrationStatus, calibration_row
from audit.finding import Finding, Withheld
from audit.statistics.estimate import NO_INTERVAL
from audit.threshold import certificate_figures
from audit.threshold import figures as threshold_figures
from audit.threshold.evidence import ThresholdEvidence
from audit.threshold.frames import (
    certificates_published,
    certificates_zoo,
    discard_shares,
    first_seed_rates,
    leak_gains,
    panel_name,
    roc_corners,
)
from audit.threshold.outcomes import discard_table, discovery_table
from audit.threshold.plan import ThresholdSettings
from audit.threshold.rates import rate_table
from audit.threshold.selection import selection_table
from audit.threshold.summary import of_kind, summary

ANSWERS = {  # part of the page -> kinds of the findings whose answers it prints
    "census": ("census",),
    "area": ("roc_area",),
    "released": ("released_rule",),
    "smallest": ("smallest_leak",),
    "discards": ("discards",),
    "discoveries": ("discoveries",),
    "published": ("published_released_rule", "margin", "sensitivity"),
    "intervention": ("intervention",),
}
METHODS = {  # kind of a finding -> how its method is called on the page
    "certificate": "Certificates",
    "rate": "Rates",
    "roc_area": "Area under the ROC",
    "released_rule": "Released rule",
    "smallest_leak": "Smallest leak",
    "discoveries": "Discoveries",
    "selection": "Selection",
    "intervention": "Intervention",
}
MARKED = (0.01, 0.05, 0.10, 0.20)  # thresholds with a label on the ROC


@dataclass(frozen=True, kw_only=True)
class About:
    """What the page says beside evidence and findings.

    origin: sentences on where the trained results come from. published_note: why there are no published programs,
    empty where there are. maps: title -> dependency map. calibration: (method, n) -> status, for methods in use.
    """

    byline: str
    origin: Sequence[str]
    published_note: str
    archive_note: str
    maps: Mapping[str, np.ndarray]
    calibration: Mapping[tuple[str, int], CalibrationStatus]

    @property
    def withheld(self) -> Withheld:
        """Intervals that are not shown."""
        return frozenset(key for key, status in self.calibration.items() if status.failures)


def tables(evidence: ThresholdEvidence, about: About, cfg: ThresholdSettings) -> dict[str, pd.DataFrame]:
    """Every table of the session by name; a table without rows is kept, so that the absence is seen."""
    return {
        "certificates": evidence.certificates,
        "proposals": evidence.proposals,
        "rates": rate_table(evidence, cfg, about.withheld),
        "discards": discard_table(evidence, cfg),
        "discoveries": discovery_table(evidence, cfg),
        "selections": selection_table(evidence, cfg),
        "leak_gains": leak_gains(evidence),
        "calibration": pd.DataFrame([calibration_row(*entry) for entry in about.calibration.items()]),
    }


def draw(
    evidence: ThresholdEvidence, findings: Sequence[Finding], about: About, cfg: ThresholdSettings
) -> dict[str, Figure]:
    """Every figure that has something to draw, by name."""
    drawn: dict[str, Figure] = {}
    if not (zoo := certificates_zoo(evidence)).empty:
        drawn["certificates_zoo"] = certificate_figures.matrix(zoo)
    if not (published := certificates_published(evidence)).empty:
        drawn["certificates_published"] = certificate_figures.patterns(published)
    if about.maps:
        drawn["dependency"] = certificate_figures.dependency(about.maps)
    rates, corners = rate_table(evidence, cfg, about.withheld), roc_corners(findings)
    if not corners.empty:
        marked = sorted({*(x for x in MARKED if x in cfg.thresholds), cfg.headline})
        drawn["roc"] = threshold_figures.roc(corners, first_seed_rates(rates), marked=marked)
    discards = discard_table(evidence, cfg)
    if not discards.empty:
        drawn["discards"] = threshold_figures.discards(discard_shares(discards, rates), headline=cfg.headline)
    gains = leak_gains(evidence)
    if not gains.empty:
        graded = gains["source"] == "mixed"
        lines = gains[graded].assign(name=gains.loc[graded, "family"])
        drawn["leak_gain"] = threshold_figures.leak_gain(gains[~graded], lines, headline=cfg.headline)
    return drawn


def page(
    evidence: ThresholdEvidence, findings: Sequence[Finding], about: About, cfg: ThresholdSettings
) -> dict[str, Any]:
    """The template's context: `page`, words and blocks."""
    rates = rate_table(evidence, cfg, about.withheld)
    published = [f for f in of_kind(findings, "certificate") if f.details["source"] == "asi_arch"]
    return {
        "page": {
            "byline": about.byline,
            "summary": summary(evidence, findings, about.published_note, cfg),
            "origin": about.origin,
            "published_note": about.published_note,
            "archive_note": about.archive_note,
            "level_percent": f"{100 * cfg.level:g}%",
            "headline_percent": f"{100 * cfg.headline:g}%",
            "leaky": [f.answer for f in published if f.details["leaky"]],
            "unsettled": [f.answer for f in published if f.details["leaky"] is None],
            "stopped": [
                {"name": f.details["name"], "index": f.details["candidate"], "checks": f.details["not_runnable"]}
                for f in published
                if f.details["not_runnable"]
            ],
            "unplanted": _unplanted(evidence),
            "rates": [] if rates.empty else _rate_blocks(first_seed_rates(rates)),
            "selections": _selection_blocks(findings),
            "methods": _methods(findings),
            "answers": {
                kind: [finding.answer for finding in of_kind(findings, *kinds)] for kind, kinds in ANSWERS.items()
            },
        }
    }


def _unplanted(evidence: ThresholdEvidence) -> list[str]:
    """Outcomes of the zoo that are not what was planted, in words."""
    zoo = certificates_zoo(evidence)
    odd = zoo[zoo["expected"].notna() & (zoo["expected"] != zoo["outcome"])]
    return [f"{row.name_}: {row.check} is {row.outcome}, planted was {row.expected}"
            for row in odd.rename(columns={"name": "name_"}).itertuples()]  # fmt: skip


def _rate_blocks(rates: pd.DataFrame) -> list[dict[str, Any]]:
    """One block a source and scale: a row a threshold, each rate with counts and interval."""
    blocks = []
    for panel, rows in rates.groupby("panel", sort=False):
        first = rows.iloc[0]
        blocks.append(
            {
                "panel": panel,
                "leaky": int(first["leaky"]),
                "clean": int(first["clean"]),
                "rows": rows.to_dict("records"),
            }
        )
    return blocks


def _selection_blocks(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """What a search would select under each rule; one row a finding."""
    return [
        {
            "panel": panel_name(f.details["source"], f.details["scale"]),
            "rule": f.details["rule"],
            "estimate": f.estimate,
            "interval": f.interval or NO_INTERVAL,
            "n": f.n,
            "without": f.details["seeds_without_an_answer"],
            "names": _counted([f"{row['name']} ({row['state']})" for row in f.details["selected"]]),
        }
        for f in of_kind(findings, "selection")
    ]


def _methods(findings: Sequence[Finding]) -> list[dict[str, str]]:
    """How each kind of finding was made, in the own words of the last of its kind."""
    texts: dict[str, str] = {}
    for finding in findings:
        title = METHODS.get(finding.details.get("kind", ""))
        if title is not None:
            texts[title] = finding.method
    return [{"title": title, "text": text} for title, text in texts.items()]


def _counted(names: Sequence[str]) -> str:
    return ", ".join(
        f"{name} × {names.count(name)}" if names.count(name) > 1 else name for name in dict.fromkeys(names)
    )
