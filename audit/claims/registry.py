"""A paper's claims as a registry: what each says, which check answers it, and the rule fixed before the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from audit.claims.outcome import ClaimCheck, ClaimEvidence, Decision, Outcome
from audit.claims.search import SEARCH_CHECKS
from audit.claims.tables import TABLE_CHECKS
from audit.consistency.checks import ConsistencyEntry, read_entries
from replication.settings import InputError, require, typed


@dataclass(frozen=True, kw_only=True)
class Paper:
    """What a registry file says beside its lists.

    slug: its part of finding ids. source: the adapter that reads its files. files: sheet -> CSV file in the published
    data folder. items: items of each benchmark. figures: figure -> claims or measurements that it is drawn from.
    """

    slug: str
    title: str
    cite: str
    source: str
    files: dict[str, str]
    items: dict[str, int]
    figures: dict[str, tuple[str, ...]]
    level: float
    resamples: int
    random_seed: int

    def __post_init__(self) -> None:
        require(0.5 < self.level < 1, f"claims.level: must lie between 0.5 and 1, got {self.level}")
        require(self.resamples >= 100, f"claims.resamples: must be at least 100, got {self.resamples}")
        require(self.random_seed >= 0, f"claims.random_seed: must be at least 0, got {self.random_seed}")
        for name, items in self.items.items():
            require(items >= 1, f"claims.items.{name}: must be at least 1, got {items}")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One claim, as the registry has it; `conf/claims/asi_arch.yaml` explains the fields."""

    id: str
    statement: str
    where: str
    check: str
    rule: str
    sesoi: float | None
    family: str | None
    links: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Claim:
    """An entry with the parameters of its check."""

    entry: Entry
    parameters: Any


@dataclass(frozen=True, kw_only=True)
class Registry:
    """A paper, its claims and the consistency checks of its files. plan: all of it as read, for its hash.

    measurements: what was measured beside the claims; they have no verdict.
    """

    paper: Paper
    claims: tuple[Claim, ...]
    measurements: tuple[Claim, ...]
    consistency: tuple[ConsistencyEntry, ...]
    registered_plan: str
    plan: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class NotTestableParameters:
    """needs: what it would take. offered: what the released data do say; empty where they say nothing."""

    needs: str
    offered: str


def not_testable(evidence: ClaimEvidence, p: NotTestableParameters, decision: Decision) -> Outcome:
    """For a claim that the released data cannot answer."""
    offered = f" {p.offered}" if p.offered else ""
    return Outcome(
        answer=f"Not testable with what was released; it would take {p.needs}.{offered}",
        verdict="not_testable",
        method="None: a judgement on what was released, made when the registry was written.",
        details={"needs": p.needs},
    )


CLAIM_CHECKS: dict[str, ClaimCheck] = {
    **SEARCH_CHECKS,
    **TABLE_CHECKS,
    "not_testable": ClaimCheck(NotTestableParameters, not_testable),
}


def read_registry(mapping: Mapping[str, Any], where: str) -> Registry:
    """The registry that stands at `where` in the configuration.

    Raises:
        InputError: a field is missing, unknown or of another type, a check is not known, or two claims share an id.
    """
    lists = {name: mapping.get(name) for name in ("claims", "measurements")}
    for name, entries in lists.items():
        good = isinstance(entries, Sequence) and all(isinstance(entry, Mapping) for entry in entries)
        require(good and not isinstance(entries, str), f"{where}.{name}: expected a list of entries")
    own = {key: value for key, value in mapping.items() if key not in (*lists, "consistency", "registered_plan")}
    claims, measurements = (
        tuple(_claim(raw, f"{where}.{name}[{i}]") for i, raw in enumerate(lists[name] or ()))
        for name in ("claims", "measurements")
    )
    ids = [entry.entry.id for entry in (*claims, *measurements)]
    for i, name in enumerate(ids):
        require(name not in ids[:i], f"{where}: two entries have the id {name!r}")
    registered = mapping.get("registered_plan")
    require(isinstance(registered, str), f"{where}.registered_plan: expected a sha256, got {registered!r}")
    return Registry(
        paper=typed(Paper, own, where),
        claims=tuple(sorted(claims, key=lambda claim: claim.entry.id)),
        measurements=measurements,
        consistency=tuple(read_entries(mapping.get("consistency"), f"{where}.consistency")),
        registered_plan=str(registered),
        plan={key: value for key, value in mapping.items() if key != "registered_plan"},
    )


def _claim(raw: Mapping[str, Any], where: str) -> Claim:
    entry = typed(Entry, {key: value for key, value in raw.items() if key != "parameters"}, where)
    if entry.check not in CLAIM_CHECKS:
        raise InputError(f"{where}.check: {entry.check!r} is no check (known: {', '.join(sorted(CLAIM_CHECKS))})")
    parameters = typed(CLAIM_CHECKS[entry.check].parameters, raw.get("parameters"), f"{where}.parameters")
    return Claim(entry=entry, parameters=parameters)
