"""The findings of a search laid out for a reader: tables, figures and the words of the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from audit.calibrate import CalibrationStatus, calibration_row
from audit.evidence import printable
from audit.finding import Finding, Withheld
from audit.search import evidence as tidy
from audit.search import figures
from audit.search.audit import SearchAuditSettings, summary
from audit.search.evidence import KEPT, SCORED, SearchEvidence
from audit.search.gains import discovery_table
from audit.search.tree import family_tree


@dataclass(frozen=True, kw_only=True)
class About:
    """What the page says beside evidence and findings.

    ran: how the search ran, label -> text (proposer, seeds, discard rule, budgets, ...). confinement: how programs were
    confined, in words; empty where none was run. offline: whether the proposer was the built-in one. candidates: how
    many programs stand in candidates.json. calibration: (method, n) -> status, for methods in use.
    """

    byline: str
    ran: Mapping[str, str]
    confinement: str
    offline: bool
    candidates: int
    calibration: Mapping[tuple[str, int], CalibrationStatus]

    @property
    def withheld(self) -> Withheld:
        """Intervals that are not shown."""
        return frozenset(key for key, status in self.calibration.items() if status.failures)


def tables(evidence: SearchEvidence, about: About) -> dict[str, pd.DataFrame]:
    """Every table of the search by name; a table without rows is kept, so that the absence is seen."""
    return {
        "experiments": tidy.experiment_table(evidence),
        "attempts": tidy.attempt_table(evidence),
        "outcomes": tidy.outcome_table(evidence),
        "rules": tidy.rule_table(evidence),
        "baselines": tidy.baseline_means(evidence).reset_index(),
        "components": tidy.component_table(evidence),
        "discoveries": discovery_table(evidence),
        "calibration": pd.DataFrame([calibration_row(*entry) for entry in about.calibration.items()]),
    }


def draw(evidence: SearchEvidence) -> dict[str, Figure]:
    """Every figure that has something to draw, by name."""
    table, baselines = tidy.experiment_table(evidence), tidy.baseline_means(evidence)
    if table.empty:
        return {}
    measure = f"fitness ({printable(evidence.ranking)})"
    drawn = {"tree": family_tree(table, measure=measure)}
    drawn["outcomes"] = figures.outcomes(tidy.outcome_table(evidence))
    scored = table["outcome"].isin(SCORED)
    if scored.any():
        drawn["trend"] = figures.trend(table, baselines, measure=measure, pool=evidence.pool)
    if scored.any() and table.loc[scored, ["parameters", "flops"]].notna().any(axis=None):
        drawn["sizes"] = figures.sizes(table, baselines)
    if (table["outcome"] == KEPT).any():
        drawn["discoveries"] = figures.discoveries(discovery_table(evidence), reference=printable(evidence.reference))
    return drawn


def page(
    evidence: SearchEvidence, findings: Sequence[Finding], about: About, cfg: SearchAuditSettings
) -> dict[str, Any]:
    """The template's context: `page`, words and rows."""
    kept = _kept(evidence)
    return {
        "page": {
            "byline": printable(about.byline),
            "summary": summary(evidence, findings),
            "reference": printable(evidence.reference),
            "ranking": printable(evidence.ranking),
            "level_percent": f"{100 * cfg.level:g}%",
            "tasks": _tasks(evidence),
            "best": kept.head(cfg.shown).to_dict("records"),
            "kept": len(kept),
            "training_seeds": int(kept["seed"].nunique()) if len(kept) else 0,
            "answers": {
                kind: [finding.answer for finding in findings if finding.details["kind"] == kind]
                for kind in ("failures", "rule", "discoveries")
            },
            "methods": {finding.details["kind"].replace("_", " "): finding.method for finding in findings},
            "origins": _origins(evidence),
            "offline": about.offline,
            "ran": {printable(name): printable(text) for name, text in about.ran.items()},
            "confinement": printable(about.confinement),
            "candidates": about.candidates,
        }
    }


def _kept(evidence: SearchEvidence) -> pd.DataFrame:
    """Kept runs, the fittest first."""
    table = tidy.experiment_table(evidence)
    return table[table["outcome"] == KEPT].sort_values(["fitness", "number"], ascending=[False, True])


def _tasks(evidence: SearchEvidence) -> dict[str, str]:
    """Column of a benchmark -> what it is called on the page."""
    columns = [*tidy.experiment_table(evidence).columns, *tidy.baseline_means(evidence).columns]
    found = [name for name in dict.fromkeys(columns) if name.startswith("accuracy_")]
    return {name: name.removeprefix("accuracy_").replace("_", " ") for name in found}


def _origins(evidence: SearchEvidence) -> list[dict[str, Any]]:
    """How many components of experiments come from where, by who says so."""
    table = tidy.component_table(evidence)
    counted = table.groupby(["origin", "labelled_by"], as_index=False)["experiments"].sum()
    total = int(table["experiments"].sum())
    return [row | {"share": row["experiments"] / total} for row in counted.to_dict("records")]
