"""Claims on how parents were chosen: the stated policy replayed on the released tree."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from audit.claims.outcome import ClaimCheck, ClaimEvidence, Decision, Outcome
from audit.claims.reading import EXACT, between, located, numbers, unreadable, verdict
from audit.claims.tree import Ints, Reading, Tree, best_mean, parent_ranks, pool_size, read_tree
from audit.finding import permitted
from audit.sheets import Sheet
from audit.statistics.estimate import Floats
from audit.statistics.proportions import clopper_pearson
from audit.wording import count, number, p_equals, plural, span

READINGS: dict[str, str] = {
    "every_entry": "ranking refreshed at every entry",
    "rows": "refreshed at the stated interval, counted in rows",
    "identifiers": "refreshed at the stated interval, counted by identifier",
    "one_late": "the same, one refresh late",
    "own_entry": "each parent's rank at its own entry, its best ever",
}
NO_POOL = (
    "Which nodes the pool held was not released: nodes left out of it, as suspected leaks are said to be, or scores "
    "given again later would explain it, and then the released scores are not those the search ranked by."
)


@dataclass(frozen=True, kw_only=True)
class RankParameters:
    """best: parents are said to have ranks 1 to this. every: entries between refreshes. first: nodes before the policy.

    readings: ways to read the policy (`Reading`); a verdict needs all of them.
    """

    best: int
    every: int
    first: int
    readings: tuple[Reading, ...]


def parent_policy(evidence: ClaimEvidence, p: RankParameters, decision: Decision) -> Outcome:
    """Share of nodes whose parent was among the best, under several readings of the stated policy.

    Never contradicted: the pool itself was not released, and nodes may have been left out of it. decision.sesoi: the
    share of nodes that may break the policy.
    """
    assert decision.sesoi is not None
    sheet = evidence.sheets["tree"]
    tree, judged = _judged(sheet, p.first)
    if not judged.any():
        return _none_judged(sheet, p.first)
    ranks = {reading: parent_ranks(tree, pool_size(tree, reading, p.every))[judged] for reading in p.readings}
    table = _shares(ranks, p, decision)
    need = 1.0 - decision.sesoi
    within = table["share"]
    best = table.loc[within.idxmax()]
    n = int(judged.sum())
    by_chance = float(np.mean(p.best / np.maximum(np.flatnonzero(judged), p.best)))
    return Outcome(
        answer=(
            f"Of {count(n)} nodes after the first {p.first}, {100 * within.min():.1f}% to {100 * within.max():.1f}% "
            f"have a parent of rank 1 to {p.best} by released score, depending on how the policy is read; most under "
            f"'{READINGS[str(best['reading'])]}' ({between((100 * best['low'], 100 * best['high']), 1)}%). A parent "
            f"drawn from all earlier nodes would be there for {100 * by_chance:.1f}%. "
            f"{_by_parent(tree, ranks, judged, p.best)}{_unexplained(tree, ranks, judged, p.best)}{NO_POOL}"
        ),
        verdict=verdict(supported=bool((table["low"] >= need).all()), contradicted=False),
        method=(
            "Replay of the stated policy on the released tree. Clopper-Pearson for nodes drawn independently, which "
            "siblings are not: the interval is nominal, and stands beside a count of all nodes."
        ),
        estimate=float(best["share"]),
        unit="share of nodes",
        interval=(float(best["low"]), float(best["high"])),
        n=n,
        rows=_parents(sheet.file, tree, judged, ranks),
        calibrated=(("clopper_pearson", n),),
        details={"readings": table.to_dict("records"), "by_chance": by_chance, "left_out": tree.left_out},
    )


def _judged(sheet: Sheet, first: int) -> tuple[Tree, NDArray[np.bool_]]:
    """The tree, and which nodes [n] the policy speaks of: those after the first ones, where the parent is there."""
    tree = read_tree(sheet)
    return tree, (tree.identifier > first) & (tree.parent >= 0)


def _none_judged(sheet: Sheet, first: int) -> Outcome:
    return unreadable(sheet, f"a node after the first {first} with a parent")


def _shares(ranks: dict[Reading, Floats], p: RankParameters, decision: Decision) -> pd.DataFrame:
    rows = []
    for reading, values in ranks.items():
        found = clopper_pearson(int((values <= p.best).sum()), len(values), decision.level)
        low, high = permitted(found.interval, "clopper_pearson", found.n, decision.withheld)
        median = float(np.median(values))
        rows.append({"reading": reading, "share": found.estimate, "low": low, "high": high, "median_rank": median})
    return pd.DataFrame(rows)


def _by_parent(tree: Tree, ranks: dict[Reading, Floats], judged: np.ndarray, best: int) -> str:
    """The same by parents, since nodes of one parent are no independent draws."""
    parents = np.unique(tree.parent[judged])
    lowest = np.min(list(ranks.values()), axis=0)
    inside = sum(bool((lowest[tree.parent[judged] == parent] <= best).any()) for parent in parents)
    return f"By parents, {inside} of {len(parents)} are inside under some reading. "


def _unexplained(tree: Tree, ranks: dict[Reading, Floats], judged: np.ndarray, best: int) -> str:
    """What a pool that lacks some nodes would have to lack."""
    lowest = np.min(list(ranks.values()), axis=0)
    outside = lowest > best
    if not outside.any():
        return ""
    parents = np.unique(tree.parent[judged][outside])
    finite = lowest[outside][np.isfinite(lowest[outside])]
    lacking = f" A pool without some nodes would have to lack up to {int(finite.max()) - best} better ones."
    return (
        f"{plural(len(parents), 'parent')} of {count(int(outside.sum()))} nodes are outside under every reading."
        + (lacking if len(finite) else "")
        + " "
    )


def _parents(file: str, tree: Tree, judged: np.ndarray, ranks: dict[Reading, Floats]) -> pd.DataFrame:
    parent = tree.parent[judged]
    frame = {"file": file, "row": tree.rows[judged], "index": tree.identifier[judged]}
    return pd.DataFrame(
        frame
        | {"parent": tree.identifier[parent], "parent_score": tree.score[parent]}
        | {f"rank.{reading}": values for reading, values in ranks.items()}
    )


@dataclass(frozen=True, kw_only=True)
class InitialParameters:
    """first: identifiers up to this one are said to have been made before the pool was first updated."""

    first: int


def initial_parents(evidence: ClaimEvidence, p: InitialParameters, _decision: Decision) -> Outcome:
    """Whether every early node descends directly from the root, as it must where the pool is not updated."""
    sheet = evidence.sheets["tree"]
    tree = read_tree(sheet)
    early = (tree.identifier <= p.first) & (tree.parent != -1)
    if not early.any():
        return unreadable(sheet, f"a node among the first {p.first} with a parent")
    root = np.flatnonzero(tree.parent == -1)
    direct = np.isin(tree.parent, root)
    hits, n = int((early & direct).sum()), int(early.sum())
    others = tree.identifier[(tree.parent != -1) & ~direct]
    later = f"the first node with another parent is {others.min()}" if len(others) else "no node has another parent"
    return Outcome(
        answer=(
            f"{count(hits)} of the {count(n)} released nodes up to identifier {p.first} have the root as parent; "
            f"{later}. Parents show what was drawn from, not when the pool was updated."
        ),
        verdict=verdict(supported=hits == n, contradicted=hits < n),
        method=EXACT,
        estimate=hits / n,
        unit="share of nodes",
        n=n,
        rows=located(sheet, sheet.cells.loc[tree.rows[early & ~direct], ["index", "parent"]]),
    )


@dataclass(frozen=True, kw_only=True)
class RefreshParameters:
    """every: entries between refreshes. first: nodes before the policy. best, draws: of the simulated search.

    others: other intervals, which the data must tell from the stated one.
    """

    every: int
    first: int
    best: int
    draws: int
    others: tuple[int, ...]


def refresh_interval(evidence: ClaimEvidence, p: RefreshParameters, decision: Decision) -> Outcome:
    """Nodes whose parent is newer than the last refresh, at the phase that leaves fewest, against no batching.

    decision.sesoi: share of nodes that may be newer, since runs overlap.
    """
    assert decision.sesoi is not None
    sheet = evidence.sheets["tree"]
    tree, judged = _judged(sheet, p.first)
    if not judged.any():
        return _none_judged(sheet, p.first)
    n = int(judged.sum())
    child, parent = tree.identifier[judged], tree.identifier[tree.parent[judged]]
    newer = _newer(child, parent, p.every)
    others = {every: int(_newer(child, parent, every).min()) for every in p.others}
    tried = ", ".join(f"{violations} ({every} entries)" for every, violations in others.items())
    alike = [every for every, violations in others.items() if violations <= decision.sesoi * n]
    simulated = _unbatched(tree, judged, p, decision.rng())
    p_value = (1.0 + float((simulated <= newer.min()).sum())) / (p.draws + 1.0)
    share = float(newer.min()) / n
    return Outcome(
        answer=(
            f"With a refresh after every {p.every} entries, {plural(int(newer.min()), 'node')} of {count(n)} (at the "
            f"best phase; {int(newer.max())} at the worst) have a parent newer than the last refresh. Had parents been "
            f"drawn from the {p.best} best of all earlier nodes by released score at every entry, it would be "
            f"{number(float(np.median(simulated)), 0)} ({p_equals(p_value)}). "
            f"At their best phase, other intervals have {tried}; {len(alike)} of these pass too. A slow search that "
            "looks at new nodes late would look the same."
        ),
        verdict=verdict(
            supported=share <= decision.sesoi and p_value < 1.0 - decision.level and not alike,
            contradicted=clopper_pearson(int(newer.min()), n, decision.level).interval[0] > decision.sesoi,
        ),
        method=(
            f"Fewest violations over all {p.every} phases; p-value: {count(p.draws)} simulated searches on the "
            "released scores without batching, at their own best phase. No correction."
        ),
        estimate=share,
        unit="share of nodes",
        n=n,
        p_value=p_value,
        calibrated=(("clopper_pearson", n),),
        details={"newer_by_phase": newer, "others": others, "simulated_median": float(np.median(simulated))},
    )


def _newer(child: Ints, parent: Ints, every: int) -> Ints:
    """Children [n] whose parent is newer than the last refresh before them, for each phase [every]."""
    phase = np.arange(every)[:, None]
    last = (child - 1 - phase) // every * every + phase
    return np.asarray((parent > last).sum(axis=1))


def _unbatched(tree: Tree, judged: np.ndarray, p: RefreshParameters, rng: np.random.Generator) -> Ints:
    """Fewest violations of each of `draws` searches that rank anew at every entry."""
    places = np.flatnonzero(judged)
    pools = np.array([np.argsort(-tree.score[:place], kind="stable")[np.arange(p.best) % place] for place in places])
    drawn = pools[np.arange(len(places)), rng.integers(0, p.best, size=(p.draws, len(places)))]
    return np.array([_newer(tree.identifier[places], tree.identifier[row], p.every).min() for row in drawn])


@dataclass(frozen=True, kw_only=True)
class PoolMeanParameters:
    """capacity: nodes in the pool. terms: of the score. samples, total: columns of figure 6."""

    capacity: int
    terms: int
    samples: str
    total: str


def pool_mean(evidence: ClaimEvidence, p: PoolMeanParameters, _decision: Decision) -> Outcome:
    """The figure's mean score against that of the best released nodes so far.

    Nothing says that the figure shows the pool: agreement supports the claim, disagreement does not contradict it.
    """
    sheet = evidence.sheets["figure6"]
    tree = read_tree(evidence.sheets["tree"])
    points = numbers(sheet, [p.samples, p.total])
    if points.empty:
        return unreadable(sheet, f"numbers in the columns {p.samples} and {p.total}")
    # Trailing zeros are not printed in the file, so the longest number tells the digits.
    half = min(cell.half for cell in sheet.printed(p.total).loc[points.index])
    points["best_so_far"] = [best_mean(tree, up_to, p.capacity) / p.terms for up_to in points[p.samples]]
    gap = points[p.total] - points["best_so_far"]
    fits = gap.abs() <= half + 1e-9
    most = best_mean(tree, np.inf, p.capacity) / p.terms
    above = int((points[p.total] > most + half + 1e-9).sum())
    return Outcome(
        answer=(
            f"The mean released score of the {p.capacity} best nodes so far gives {int(fits.sum())} of {len(points)} "
            f"points of the figure's total within rounding; the gap is "
            f"{span((float(gap.min()), float(gap.max())), 4)}. {plural(above, 'point')} of the figure lie above "
            f"{number(most, 4)}, the most that any {p.capacity} released nodes can reach. The figure is not "
            "said to show the pool, and the pool was not released."
        ),
        verdict=verdict(supported=bool(fits.all()), contradicted=False),
        method=EXACT,
        estimate=float(gap.abs().max()),
        unit="fitness",
        n=len(points),
        rows=located(sheet, points.assign(gap=gap)),
        details={"points_within_rounding": int(fits.sum()), "points_above": above, "highest_possible": most},
    )


POLICY_CHECKS = {
    "parent_policy": ClaimCheck(RankParameters, parent_policy),
    "initial_parents": ClaimCheck(InitialParameters, initial_parents),
    "refresh_interval": ClaimCheck(RefreshParameters, refresh_interval),
    "pool_mean": ClaimCheck(PoolMeanParameters, pool_mean),
}
