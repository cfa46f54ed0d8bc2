"""What a worker answers to the job of a run: every frame checked against what the job may send, and scored here."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from replication.evaluate import (
    HonestRows,
    NonFiniteLogits,
    accuracies,
    contradicts,
    estimate_leak_gain,
    hits,
    leak_gains,
    negative_log_likelihood,
)
from replication.lift import PARTS
from replication.record import RunRecord, RunSpec
from replication.wire import WireError

MAX_TEXT = 500
WORKER_STATUSES = ("diverged", "out_of_memory", "crashed", "bad_checkpoint")  # what a process may say of a job


@dataclass(frozen=True, kw_only=True)
class Monitor:
    """When a run is stopped before its end; None: never for that reason. Whose rule it is decides what it means.

    Attributes:
        cpu_seconds: its processes used more than that together (on a GPU: seconds): "too_slow".
        below, over_steps: the mean training loss of so many steps in a row is below so many nats per token: "leaky".
    """

    cpu_seconds: float | None
    below: float | None
    over_steps: int

    def fell(self, curve: np.ndarray, first: int) -> int | None:
        """The first step, counted from 1, after step `first` up to which the mean loss was too low; None: it never was.

        curve: training loss of each step so far.
        """
        if self.below is None:
            return None
        for done in range(max(first + 1, self.over_steps), len(curve) + 1):
            if curve[done - self.over_steps : done].mean(dtype=np.float64) < self.below:
                return done
        return None

    def stops(self, record: RunRecord, curve: np.ndarray) -> bool:
        """Whether it would have stopped a run that was measured without it."""
        used = record.wall_seconds if record.spec.device == "cuda" else record.cpu_seconds
        return self.fell(curve, 0) is not None or (self.cpu_seconds is not None and used > self.cpu_seconds)


@dataclass
class Answer:
    """What a worker has sent so far; every frame is checked against what the job may send."""

    spec: RunSpec
    targets: np.ndarray  # [windows, T]
    tasks: dict[str, np.ndarray]  # task -> bool [windows, T], which targets count
    monitor: Monitor | None
    rows: HonestRows | None
    on_steps: Callable[[int, np.ndarray], None]
    save: Callable[[bytes], None]
    curve: np.ndarray
    steps: int = 0
    restored_steps: int = 0  # from a checkpoint, so not of this process's time
    parameters: int | None = None
    notes: tuple[str, ...] = ()
    lifted: dict[str, str] = field(default_factory=dict)
    training_began: float | None = None
    training_ended: float | None = None
    scored: int = 0  # windows
    honest_scored: int = 0  # rows
    finite: bool = True
    done: bool = False
    failure: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        self.losses = np.full(self.targets.shape, np.nan)
        self.honest_losses = np.full(0 if self.rows is None else len(self.rows.inputs), np.nan)
        self.hits = np.zeros(self.targets.shape, dtype=bool)
        self.honest_hits = np.zeros(self.honest_losses.shape, dtype=bool)

    def take(self, header: dict[str, Any], arrays: list[np.ndarray]) -> None:
        """Accept one frame. Raises WireError where it is not what the protocol says."""
        kind = header["kind"]
        if kind == "model":
            self.parameters, self.notes = whole(header, "parameters"), _texts(header, "notes")
            self.lifted = parts(header)
            self.training_began = time.monotonic()
        elif kind == "trained":
            self.notes += _texts(header, "notes")
        elif kind == "steps":
            self._take_steps(whole(header, "first"), _one(arrays), restored=header.get("restored") is True)
        elif kind == "honest":
            self._take_honest(whole(header, "first"), _one(arrays))
        elif kind == "logits":
            self._take_logits(whole(header, "first"), _one(arrays))
        elif kind == "checkpoint":
            self.save(_one(arrays).tobytes())
        elif kind == "failed":
            self.failure = checked_failure(header)
        elif kind == "done":
            self.done = self.scored == len(self.targets) and self._trained and self._honest_complete
        else:
            raise WireError(f"unexpected frame {str(kind)[:40]!r}")

    def _take_steps(self, first: int, losses: np.ndarray, *, restored: bool) -> None:
        if first != self.steps or losses.ndim != 1 or first + len(losses) > len(self.curve):
            raise WireError("loss curve out of order")
        if losses.dtype != np.float32 or not np.isfinite(losses).all():
            raise WireError("loss curve with other values than finite float32")
        self.curve[first : first + len(losses)] = losses
        self.steps += len(losses)
        self.training_ended = time.monotonic()
        if restored:
            self.restored_steps, self.training_began = len(losses), self.training_ended
        self.on_steps(first, losses)
        if self.monitor is not None and (step := self.monitor.fell(self.curve[: self.steps], first)) is not None:
            self._stop(self.monitor, step)

    def _stop(self, monitor: Monitor, step: int) -> None:
        """End the job as leaky at a step."""
        mean = self.curve[step - monitor.over_steps : step].mean(dtype=np.float64)
        lost = f"the mean training loss of {monitor.over_steps} steps fell to {mean:.4f} nats per token"
        self.steps = step
        self.failure = {"status": "leaky", "error": f"{lost}, below {monitor.below:g}", "step": step}
        raise WireError(lost)

    @property
    def _trained(self) -> bool:
        return self.steps == self.spec.scale.steps

    @property
    def _honest_complete(self) -> bool:
        return self.honest_scored == len(self.honest_losses)

    def _take_honest(self, first: int, logits: np.ndarray) -> None:
        expected = (len(logits), self.spec.corpus.vocab_size) if logits.ndim == 2 else None
        in_order = self._trained and self.scored == len(self.targets) and first == self.honest_scored
        if self.rows is None or not in_order or logits.shape != expected:
            raise WireError("honest logits out of order or of the wrong shape")
        if not 0 < len(logits) <= len(self.honest_losses) - first:
            raise WireError("honest logits of another number of rows")
        part = slice(first, first + len(logits))
        targets = self.targets[self.rows.windows[part], self.rows.positions[part]]
        self.honest_losses[part] = self._score(logits[:, None], targets[:, None])[:, 0]
        self.honest_hits[part] = hits(logits, targets)
        self.honest_scored += len(logits)

    def _take_logits(self, first: int, logits: np.ndarray) -> None:
        expected = (len(logits), self.targets.shape[1], self.spec.corpus.vocab_size) if logits.ndim == 3 else None
        if (
            not self._trained
            or first != self.scored
            or logits.shape != expected
            or not 0 < len(logits) <= len(self.targets) - first
        ):
            raise WireError("logits out of order or of the wrong shape")
        part = slice(first, first + len(logits))
        self.losses[part] = self._score(logits, self.targets[part])
        self.hits[part] = hits(logits, self.targets[part])
        self.scored += len(logits)

    def _score(self, logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Losses of `targets`; NaN, and `finite` is false from then on, where a logit is not finite."""
        try:
            return negative_log_likelihood(logits, targets)
        except NonFiniteLogits:
            self.finite = False
            return np.full(targets.shape, np.nan)

    def scores(self) -> dict[str, float | None]:
        """The losses of a complete answer as the record names them, in nats per token that counts."""
        loss = float(self.losses[np.logical_or.reduce(list(self.tasks.values()))].mean())
        if self.rows is None:
            return {"val_loss": loss, "honest_loss": loss, "leak_gain": None, "leak_gain_se": None}
        gain, error = estimate_leak_gain(self.rows, self.honest_losses, self.losses)
        # a loss below both is no merit: only a program that means to be lucky has a gain far below 0
        return {"val_loss": loss, "honest_loss": loss + max(gain, 0.0), "leak_gain": gain, "leak_gain_se": error}

    def benchmarks(self) -> dict[str, float]:
        """Task -> accuracy of a complete answer."""
        return accuracies(self.tasks, self.hits, self.rows, self.honest_hits)

    def looks_ahead(self) -> bool | None:
        """Whether a complete answer shows a dependence on what follows a position; None where none was looked for."""
        if self.rows is None:
            return None
        gains = leak_gains(self.rows, self.honest_losses, self.losses)
        return contradicts(gains, *estimate_leak_gain(self.rows, self.honest_losses, self.losses))


def checked_failure(header: dict[str, Any]) -> dict[str, Any]:
    """Status, error (one printable line) and step of a `failed` frame. Raises WireError where it is malformed."""
    status, error, step = header.get("status"), header.get("error"), header.get("step")
    if status not in WORKER_STATUSES or not isinstance(error, str) or not (step is None or type(step) is int):
        raise WireError("malformed failure")
    return {"status": status, "error": _line(error), "step": step}


def whole(header: dict[str, Any], key: str) -> int:
    """A whole number of a frame. Raises WireError."""
    value = header.get(key)
    if type(value) is not int or not 0 <= value < 2**63:
        raise WireError(f"{key} is no whole number")
    return value


def number(header: dict[str, Any], key: str) -> float:
    """A number of at least 0 of a frame. Raises WireError."""
    value = header.get(key)
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < 1e300:
        raise WireError(f"{key} is no number")
    return float(value)


def parts(header: dict[str, Any]) -> dict[str, str]:
    """What a process says became of the parts of a program (`lift.Lifted.parts`). Raises WireError."""
    told = header.get("lifted")
    if not isinstance(told, dict) or not set(told) <= set(PARTS) or not all(isinstance(t, str) for t in told.values()):
        raise WireError("lifted is no list of parts")
    return {part: _line(told[part]) for part in PARTS if part in told}


def _texts(header: dict[str, Any], key: str) -> tuple[str, ...]:
    value = header.get(key)
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise WireError(f"{key} is no list of texts")
    return tuple(_line(item) for item in value[:20])


def _line(text: str) -> str:
    """One printable line: what a candidate says ends up on terminals and in reports."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())[:MAX_TEXT]


def _one(arrays: list[np.ndarray]) -> np.ndarray:
    if len(arrays) != 1:
        raise WireError("expected one array")
    return arrays[0]
