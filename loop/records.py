"""What the modules of the loop hand each other: plain records, JSON all the way down."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, get_args

Origin = Literal["cognition", "analysis", "original"]
ORIGINS: tuple[Origin, ...] = get_args(Origin)
Purpose = Literal["summarise", "propose", "repair", "novelty", "judge", "analyse", "extract"]
PURPOSES: tuple[Purpose, ...] = get_args(Purpose)
Verdict = Literal["accepted", "malformed", "does_not_load", "duplicate", "leaky", "too_costly", "not_examined"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)


@dataclass(frozen=True, kw_only=True)
class Component:
    """One design component of an experiment and where it came from."""

    component: str
    origin: Origin
    labelled_by: Literal["truth", "model"]  # the proposer that knows, or somebody's judgement


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One version of a program: as first proposed, proposed again after a rejection, or repaired after a failure."""

    stage: Literal["propose", "repair"]
    name: str
    motivation: str
    source: str
    verdict: Verdict
    reason: str  # in one line; empty where accepted
    certificate: dict[str, Any] | None  # check -> {"outcome", "detail"}
    nearest: tuple[dict[str, Any], ...]  # {"number", "similarity"}, most similar motivation first
    truth: dict[str, Any]  # what the offline proposer knows of it: genome, components, mistakes; else empty


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One proposal with everything that became of it. A failure has a status and no score.

    Losses are in nats per token, accuracies fractions. `device_seconds` and `timings` (wall seconds) are the only
    fields that may differ between two searches of the same seed and settings.
    """

    number: int
    name: str
    status: str  # of the run, as replication.record.Status; "rejected" where no version was accepted
    reason: str  # why there is no score, in one line; empty for status ok
    parent: int | None
    references: tuple[int, ...]
    entries: tuple[str, ...]  # ids of the Cognition entries that were retrieved
    seed: int  # of the training
    motivation: str
    source: str
    attempts: tuple[Attempt, ...]
    run_id: str | None
    loss: float | None  # ordinary validation loss
    honest_loss: float | None
    looks_ahead: bool | None
    certified: bool | None
    benchmarks: dict[str, float]  # task -> accuracy
    parameters: int | None
    flops: float | None
    truth: dict[str, Any]  # of the last attempt
    device_seconds: float  # of training and benchmarks: compute spent, failures included
    marks: dict[str, float] = field(default_factory=dict)  # innovation, complexity, performance
    mark: float | None = None
    fitness: dict[str, float] = field(default_factory=dict)  # kind -> value; a kind that has none is left out
    rules: dict[str, bool] = field(default_factory=dict)  # discard rule -> whether it would have thrown this run away
    analysis: dict[str, str] = field(default_factory=dict)  # worked, failed, weakness
    components: tuple[Component, ...] = ()
    timings: dict[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return dataclasses.asdict(self)


@dataclass(frozen=True, kw_only=True)
class Request:
    """A question to the proposer. `payload` holds JSON values; loop/prompts/ says which for each purpose."""

    purpose: Purpose
    payload: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Reply:
    """An answer. `content` follows the JSON schema of its purpose in loop/prompts/; None where no reading gave one."""

    content: dict[str, Any] | None
    error: str  # why content is None; else empty
    prompt: str  # as sent
    text: str  # as received
    model: str
    parameters: dict[str, Any]
    prompt_tokens: int
    completion_tokens: int
    cost: float  # in the unit of llm.price
    seconds: float
    truth: dict[str, Any] = field(default_factory=dict)  # what the offline proposer knows


class Mind(Protocol):
    """Who answers: a language model behind an endpoint (llm.py) or the deterministic proposer (offline.py)."""

    def reply(self, request: Request) -> Reply:
        """Answer one question. Raises InputError where no answer can be had at all: key, endpoint."""


def member(experiment: Experiment) -> dict[str, Any]:
    """An experiment as the payloads of requests show it; `truth` is for the offline proposer and never in a prompt."""
    shown = ("number", "name", "motivation", "source", "status", "reason", "honest_loss", "benchmarks", "mark")
    found = {name: getattr(experiment, name) for name in (*shown, "parameters", "flops", "analysis", "truth")}
    return found | {"summary": ""}
