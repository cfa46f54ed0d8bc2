"""The Researcher: chooses a parent and what to show of others, asks for a program, and lets nothing pass unexamined."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.random import Generator

from loop.cognition import Cognition, Entry, Neighbours
from loop.fitness import FitnessKind
from loop.llm import Conversation
from loop.records import Attempt, Experiment, Verdict, member
from replication.candidate import Candidate
from replication.certificate import LEAKS, Certificate, CertificateSettings
from replication.certify import certified
from replication.fingerprint import fingerprint
from replication.processes import EngineSettings, WarmWorker
from replication.settings import InputError, require


@dataclass(frozen=True, kw_only=True)
class PoolSettings:
    """The settings `pool.*`; conf/discover.yaml explains each."""

    size: int
    parents: int
    references: int
    cold_start: int
    update_every: int

    def __post_init__(self) -> None:
        require(1 <= self.parents <= self.size, f"pool.parents: must lie between 1 and pool.size ({self.size})")
        require(self.references >= 0, "pool.references: must not be negative")
        require(self.cold_start >= 0 and self.update_every >= 1, "pool.update_every: must be at least 1")


@dataclass(frozen=True, kw_only=True)
class NoveltySettings:
    """The settings `novelty.*`."""

    check: bool
    nearest: int
    returns: int  # of a rejected proposal to its author


@dataclass(frozen=True, kw_only=True)
class Context:
    """What a proposal starts from."""

    parent: Experiment
    references: tuple[Experiment, ...]
    entries: tuple[Entry, ...]
    weakness: str


def pool(seen: Sequence[Experiment], kind: FitnessKind, settings: PoolSettings) -> list[Experiment]:
    """The candidate pool, best first: of everything before the cold start's end, then of the last update's entries."""
    entries = len(seen)
    if entries >= settings.cold_start:
        entries = settings.cold_start + (entries - settings.cold_start) // settings.update_every * settings.update_every
    scored = [experiment for experiment in seen[:entries] if kind in experiment.fitness]
    ranked = sorted(scored, key=lambda experiment: experiment.fitness[kind], reverse=True)  # equal ones by number
    return ranked if len(seen) < settings.cold_start else ranked[: settings.size]


@dataclass
class Checker:
    """Says whether a program may be trained: its certificate decides, never an opinion."""

    settings: CertificateSettings
    engine: EngineSettings
    store: Path
    leaks_pass: bool  # a search whose rule against leaks is another one
    _incomplete: dict[str, Certificate] = field(default_factory=dict)  # which nobody else keeps, by candidate

    def check(self, worker: WarmWorker, candidate: Candidate) -> tuple[Verdict, str, Certificate]:
        """Verdict, reason in one line and certificate. A program that does not run at all is "does_not_load"."""
        certificate = self._incomplete.get(candidate.id)
        if certificate is None:
            certificate = certified(worker, candidate, self.settings, self.engine, self.store)
        if not certificate.complete:
            self._incomplete[candidate.id] = certificate
        checks = certificate.checks
        if {result.outcome for result in checks.values()} == {"not_runnable"}:
            return "does_not_load", f"it does not run: {checks['future'].detail}", certificate
        if certificate.leaks and not self.leaks_pass:
            told = "; ".join(f"{check}: {checks[check].detail}" for check in certificate.leaks)
            return "leaky", f"it sees what it must not see: {told}", certificate
        if checks["cost"].outcome == "violated":
            return "too_costly", f"its cost grows too fast with the length: {checks['cost'].detail}", certificate
        unknown = [check for check in LEAKS if checks[check].outcome == "not_runnable"]
        if unknown and not self.leaks_pass:
            told = "; ".join(f"{check}: {checks[check].detail}" for check in unknown)
            return "not_examined", f"its causality could not be examined: {told}", certificate
        return "accepted", "", certificate


@dataclass
class Known:
    """What the novelty check compares with, brought up to date as experiments come."""

    neighbours: Neighbours
    _fingerprints: dict[str, list[int]] = field(default_factory=dict)
    _counted: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def update(self, seen: Sequence[Experiment]) -> None:
        """Take in the experiments that were not there at the last call; `seen` only grows."""
        with self._lock:
            for experiment in seen[self._counted :]:
                self.neighbours.add(experiment.number, experiment.motivation)
                if (mark := fingerprint(experiment.source)) is not None:
                    self._fingerprints.setdefault(mark, []).append(experiment.number)
            self._counted = max(self._counted, len(seen))

    def twin(self, source: str, upto: int) -> int | None:
        """Number of the first experiment up to `upto` that is the same program but for names and layout."""
        numbers = self._fingerprints.get(fingerprint(source) or "", ())
        return min((number for number in numbers if number <= upto), default=None)

    def nearest(self, motivation: str, count: int, upto: int) -> list[tuple[int, float]]:
        """(number, similarity) of the experiments up to `upto` with the most similar motivations."""
        with self._lock:
            return self.neighbours.nearest(motivation, count, upto)


@dataclass
class Researcher:
    """Proposes programs. `cognition` is None in a search without it."""

    pool: PoolSettings
    novelty: NoveltySettings
    kind: FitnessKind
    cognition: Cognition | None
    analysis: bool
    known: Known
    checker: Checker

    def context(self, seen: Sequence[Experiment], draws: Generator) -> Context:
        """A parent from the first ranks of the pool, references from the others, entries for the parent's weakness.

        Before the cold start has ended, everything that has a score may be the parent. Raises InputError where nothing
        has one.
        """
        members = pool(seen, self.kind, self.pool)
        if not members:
            reasons = "; ".join(f"{e.name}: {e.status} ({e.reason})" for e in seen)
            raise InputError(f"roots: none of them has a score: {reasons[:400]}")
        cold = len(seen) < self.pool.cold_start
        parent = members[int(draws.integers(len(members) if cold else min(self.pool.parents, len(members))))]
        rest = [experiment for experiment in members if experiment is not parent]
        others = (members[self.pool.parents :] if len(members) > self.pool.parents and not cold else rest) or rest
        chosen = draws.permutation(len(others))[: self.pool.references]
        weakness = parent.analysis.get("weakness", "") if self.analysis else ""
        entries = self.cognition.retrieve(weakness or parent.motivation) if self.cognition else []
        references = tuple(others[place] for place in sorted(chosen.tolist()))
        return Context(parent=parent, references=references, entries=tuple(entries), weakness=weakness)

    def propose(
        self,
        worker: WarmWorker,
        conversation: Conversation,
        seen: Sequence[Experiment],
        context: Context,
        background: dict[str, Any],
        draws: Generator,
    ) -> list[Attempt]:
        """Versions of one idea, the last of which is accepted or the end of it.

        background: "statistics" and "baselines" of the payload.
        """
        self.known.update(seen)
        shown = [context.parent, *context.references]
        parent, *references = [self._summarised(conversation, experiment) for experiment in shown]
        attempts: list[Attempt] = []
        while not attempts or (attempts[-1].verdict != "accepted" and len(attempts) <= self.novelty.returns):
            payload = background | {
                "parent": parent,
                "references": references,
                "entries": [entry.to_dict() for entry in context.entries],
                "weakness": context.weakness,
                "rejected": [_rejection(attempt) for attempt in attempts],
                "draw": int(draws.integers(2**31)),
            }
            attempts.append(self._attempt(worker, conversation, seen, payload, attempts))
        return attempts

    def repeats(self, source: str, seen: Sequence[Experiment]) -> str:
        """Which of the experiments `seen` is the same program, in words; empty where none is, or nobody checks."""
        twin = self.known.twin(source, len(seen) - 1) if self.novelty.check else None
        return "" if twin is None else f"the same program as experiment {twin} but for names and layout"

    def _summarised(self, conversation: Conversation, experiment: Experiment) -> dict[str, Any]:
        shown = member(experiment) | ({} if self.analysis else {"analysis": {}})
        reply = conversation.ask("summarise", {"member": shown})
        return shown | {"summary": reply.content["summary"] if reply.content else experiment.motivation}

    def _attempt(
        self,
        worker: WarmWorker,
        conversation: Conversation,
        seen: Sequence[Experiment],
        payload: dict[str, Any],
        earlier: Sequence[Attempt],
    ) -> Attempt:
        reply = conversation.ask("propose", payload)
        if reply.content is None:
            return attempt("propose", "", "", "", "malformed", f"no program in the reply: {reply.error}")
        name, motivation, source = (str(reply.content[key]) for key in ("name", "motivation", "code"))
        upto = seen[-1].number
        nearest = self.known.nearest(motivation, self.novelty.nearest, upto) if self.novelty.check else []
        if self.novelty.check:
            reason = self._repeats(conversation, name, motivation, source, seen, nearest, earlier)
            if reason:
                return attempt("propose", name, motivation, source, "duplicate", reason, None, nearest, reply.truth)
        verdict, reason, certificate = self.checker.check(worker, program(name, source))
        return attempt("propose", name, motivation, source, verdict, reason, certificate, nearest, reply.truth)

    def _repeats(
        self,
        conversation: Conversation,
        name: str,
        motivation: str,
        source: str,
        seen: Sequence[Experiment],
        nearest: Sequence[tuple[int, float]],
        earlier: Sequence[Attempt],
    ) -> str:
        """Why a proposal is nothing new; empty where it is."""
        if told := self.repeats(source, seen):
            return told
        own = fingerprint(source)
        ran = [version.source for version in earlier if version.verdict != "does_not_load"]  # a name may mend that
        if own is not None and any(own == fingerprint(source) for source in ran):
            return "the same program as a rejected version of it but for names and layout"
        shown = [
            {"number": number, "name": seen[number].name, "similarity": round(similarity, 4)}
            | {"motivation": seen[number].motivation}
            for number, similarity in nearest
        ]
        reply = conversation.ask("novelty", {"name": name, "motivation": motivation, "nearest": shown})
        if reply.content is not None and reply.content["duplicate"]:
            return f"judged a repetition: {reply.content['reason']}"
        return ""


def program(name: str, source: str) -> Candidate:
    """A proposal as a candidate."""
    return Candidate(name=name, label=name, source=source, role="candidate", origin="the search", search=None)


def attempt(
    stage: str,
    name: str,
    motivation: str,
    source: str,
    verdict: Verdict,
    reason: str,
    certificate: Certificate | None = None,
    nearest: Sequence[tuple[int, float]] = (),
    truth: dict[str, Any] | None = None,
) -> Attempt:
    """The record of one version."""
    checks = certificate.checks if certificate else {}
    return Attempt(
        stage="repair" if stage == "repair" else "propose",
        name=name,
        motivation=motivation,
        source=source,
        verdict=verdict,
        reason=" ".join(reason.split())[:500],
        certificate={check: {"outcome": r.outcome, "detail": r.detail} for check, r in checks.items()} or None,
        nearest=tuple({"number": number, "similarity": round(similarity, 4)} for number, similarity in nearest),
        truth=truth or {},
    )


def _rejection(version: Attempt) -> dict[str, Any]:
    shown = ("source", "motivation", "verdict", "reason", "truth")
    return {name: getattr(version, name) for name in shown}
