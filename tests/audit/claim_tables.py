"""Synthetic tables of a search, and a way to ask one check about them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from audit.claims.outcome import ClaimEvidence, Decision, Outcome
from audit.claims.search import SEARCH_CHECKS
from audit.finding import plain
from audit.sheets import Sheet, SheetTable
from loop.fitness import FitnessSettings
from replication.settings import typed

CONF = Path(__file__).parents[2] / "conf"
FITNESS = typed(FitnessSettings, yaml.safe_load((CONF / "fitness" / "asi_arch.yaml").read_text("utf-8")), "fitness")
CLAIMS = yaml.safe_load((CONF / "claims" / "asi_arch.yaml").read_text("utf-8"))["claims"]
REGISTRY = [claim for claim in CLAIMS if claim["check"] in (*SEARCH_CHECKS, "not_testable")]


def sheet(title: str, /, **columns: object) -> Sheet:
    frame = pd.DataFrame(columns, dtype=object)
    frame.index = pd.RangeIndex(1, len(frame) + 1)
    return Sheet(title, f"{title}.csv", frame)


def ask(check: str, parameters: dict[str, object], *sheets: Sheet, sesoi: float | None = None) -> Outcome:
    found = SEARCH_CHECKS[check]
    decision = Decision(level=0.95, sesoi=sesoi, resamples=500, seed=1, withheld=frozenset())
    evidence = ClaimEvidence(sheets=SheetTable({one.name: one for one in sheets}), items={})
    outcome = found.run(evidence, typed(found.parameters, parameters, check), decision)
    plain(outcome.details)
    return outcome


def search_tree(n: int, every: int, best: int, seed: int, root: str = "Root") -> Sheet:
    """A search that follows the stated policy: the root for the first `every` nodes, then ranks 1 to `best`."""
    rng = np.random.default_rng(seed)
    scores = np.sort(rng.uniform(0.9, 2.2, n)) + rng.normal(0.0, 0.15, n)
    parents: list[int | None] = [None]
    for place in range(1, n):
        seen = place // every * every
        pool = np.argsort(-scores[:seen], kind="stable")[:best] if seen else np.array([0])
        parents.append(int(rng.choice(pool)) + 1)
    names = [root] + [f"net {place}" for place in range(1, n)]
    return sheet("tree", index=list(range(1, n + 1)), parent=parents, score=scores.tolist(), name=names, name_new=names)


def drop(table: Sheet, *rows: int) -> Sheet:
    kept = table.cells.drop(index=list(rows)).set_axis(range(1, len(table.cells) - len(rows) + 1), axis=0)
    return Sheet(table.name, table.file, kept)
