"""One run from the parent's side: hand the job to a worker, check what comes back, score it, make the record."""

from __future__ import annotations

import dataclasses
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from replication.candidate import Candidate
from replication.checkpoint import Checkpoint
from replication.corpus import Corpus, evaluation_windows, read_windows
from replication.evaluate import (
    HonestRows,
    NonFiniteLogits,
    bits_per_byte,
    contradicts,
    estimate_leak_gain,
    honest_rows,
    leak_gains,
    negative_log_likelihood,
)
from replication.processes import Ended, EngineSettings, WarmWorker
from replication.provenance import code_commit, hardware, now, version_of
from replication.record import RunRecord, RunSpec, Scale, Status
from replication.wire import WireError

MAX_TEXT = 500
WORKER_STATUSES = ("diverged", "out_of_memory", "crashed", "bad_checkpoint")  # what a process may say of a job
VERSIONS = ("torch", "numpy", "einops", "flash-linear-attention", "triton")


@dataclass(frozen=True, kw_only=True)
class Planned:
    """One run that the plan asks for."""

    spec: RunSpec
    candidate: Candidate

    @property
    def run_id(self) -> str:
        """The spec's."""
        return self.spec.run_id


@dataclass(frozen=True, kw_only=True)
class Probe:
    """What a candidate costs at a scale, measured before training. `error` is set where it does not run."""

    parameters: int | None
    flops_per_step: float | None
    seconds_per_step: float | None
    error: str | None


@dataclass
class _Answer:
    """What a worker has sent so far; every frame is checked against what the job may send."""

    spec: RunSpec
    targets: np.ndarray  # [windows, T]
    rows: HonestRows | None
    on_steps: Callable[[int, np.ndarray], None]
    save: Callable[[bytes], None]
    curve: np.ndarray
    steps: int = 0
    restored_steps: int = 0  # from a checkpoint, so not of this process's time
    parameters: int | None = None
    notes: tuple[str, ...] = ()
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

    def take(self, header: dict[str, Any], arrays: list[np.ndarray]) -> None:
        """Accept one frame. Raises WireError where it is not what the protocol says."""
        kind = header["kind"]
        if kind == "model":
            self.parameters, self.notes = _whole(header, "parameters"), _texts(header, "notes")
            self.training_began = time.monotonic()
        elif kind == "steps":
            self._take_steps(_whole(header, "first"), _one(arrays), restored=header.get("restored") is True)
        elif kind == "honest":
            self._take_honest(_whole(header, "first"), _one(arrays))
        elif kind == "logits":
            self._take_logits(_whole(header, "first"), _one(arrays))
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
        self.scored += len(logits)

    def _score(self, logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Losses of `targets`; NaN, and `finite` is false from then on, where a logit is not finite."""
        try:
            return negative_log_likelihood(logits, targets)
        except NonFiniteLogits:
            self.finite = False
            return np.full(targets.shape, np.nan)

    def scores(self) -> dict[str, float | None]:
        """The losses of a complete answer as the record names them, in nats per token."""
        loss = float(self.losses.mean())
        if self.rows is None:
            return {"val_loss": loss, "honest_loss": loss, "leak_gain": None, "leak_gain_se": None}
        gain, error = estimate_leak_gain(self.rows, self.honest_losses, self.losses)
        # a loss below both is no merit: only a program that means to be lucky has a gain far below 0
        return {"val_loss": loss, "honest_loss": loss + max(gain, 0.0), "leak_gain": gain, "leak_gain_se": error}

    def looks_ahead(self) -> bool | None:
        """Whether a complete answer shows a dependence on what follows a position; None where none was looked for."""
        if self.rows is None:
            return None
        gains = leak_gains(self.rows, self.honest_losses, self.losses)
        return contradicts(gains, *estimate_leak_gain(self.rows, self.honest_losses, self.losses))


class Bench:
    """Measures planned runs of one corpus with one engine's settings."""

    def __init__(self, corpus: Corpus, settings: EngineSettings, warn: Callable[[str], None]) -> None:
        self.corpus, self.settings, self.warn = corpus, settings, warn
        self.train_tokens = corpus.open("train")

    def probe(self, worker: WarmWorker, planned: Planned) -> Probe:
        """Build the model once, count it and time a step."""
        answers: list[Probe] = []

        def take(header: dict[str, Any], _: list[np.ndarray]) -> None:
            answers.append(_checked_probe(header))

        header = self._header("probe", planned, seats=1)
        for _ in range(2):
            ended = worker.run(header, [], take, self.settings.limits(self.settings.time_floor_seconds), files=[])
            if answers or not _killed_from_outside(ended):
                break
        if answers:
            return answers[0]
        return Probe(parameters=None, flops_per_step=None, seconds_per_step=None, error=explain(ended))

    def measure(
        self,
        worker: WarmWorker,
        planned: Planned,
        probe: Probe,
        work: Path,
        on_steps: Callable[[int, np.ndarray], None],
    ) -> tuple[RunRecord, np.ndarray]:
        """Train and score one run; returns its record and its loss curve (float32, nats per token)."""
        spec, scale = planned.spec, planned.spec.scale
        windows = read_windows(self.corpus.open("val"), self.evaluation_offsets(scale), scale.sequence_length)
        inputs, targets = np.ascontiguousarray(windows[:, :-1]), windows[:, 1:]
        rows, arrays = None, [inputs]
        if spec.honest is not None:
            key = f"{spec.sampling_key} {spec.candidate} {spec.seed}"  # none can learn from another run what it is for
            rows = honest_rows(inputs, self.train_tokens, spec.honest, spec.corpus.vocab_size, key)
            arrays += [rows.inputs, rows.positions, rows.passes]
        checkpoint = Checkpoint(work / "checkpoint", self.warn)
        limits = self.settings.limits(self._time_limit(planned, probe))
        started, began = now(), time.monotonic()
        for _ in range(2):
            answer = _Answer(spec, targets, rows, on_steps, checkpoint.save, np.full(scale.steps, np.nan, np.float32))
            saved = checkpoint.load()
            header = self._header("train", planned, seats=2 if rows is None else 3)
            header |= {"resumes": saved is not None, "token_dtype": str(self.train_tokens.dtype)}
            header |= {"checkpoint_seconds": self.settings.checkpoint_seconds}
            with Path(str(self.train_tokens.filename)).open("rb") as text:
                given = arrays if saved is None else [*arrays, saved]
                ended = worker.run(header, given, answer.take, limits, files=[text.fileno()])
            if answer.failure is not None and answer.failure["status"] == "bad_checkpoint":
                checkpoint.drop(answer.failure["error"])
            elif answer.done or answer.failure is not None or not _killed_from_outside(ended):
                break
        return self._record(planned, probe, answer, ended, started, time.monotonic() - began)

    def _record(
        self, planned: Planned, probe: Probe, answer: _Answer, ended: Ended, started: str, seconds: float
    ) -> tuple[RunRecord, np.ndarray]:
        spec = planned.spec
        status, error, step = _outcome(answer, ended)
        names = ("val_loss", "honest_loss", "leak_gain", "leak_gain_se")
        scores = answer.scores() if status == "ok" else dict.fromkeys(names)
        honest = scores["honest_loss"]
        training = (answer.training_ended or 0.0) - (answer.training_began or 0.0)
        done_tokens = (answer.steps - answer.restored_steps) * spec.scale.batch_size * spec.scale.sequence_length
        record = RunRecord(
            run_id=planned.run_id,
            spec=spec,
            name=planned.candidate.name,
            status=status,
            error=error,
            failed_step=step,
            **scores,
            looks_ahead=answer.looks_ahead() if status == "ok" else None,
            bits_per_byte=None if honest is None else bits_per_byte(honest, self.corpus.bytes_per_token["val"]),
            steps_done=answer.steps,
            parameters=answer.parameters or probe.parameters,
            flops=None if probe.flops_per_step is None else probe.flops_per_step * spec.scale.steps,
            tokens_per_second=done_tokens / training if training > 0 else None,
            wall_seconds=seconds,
            peak_memory_bytes=ended.peak_memory_bytes,
            hardware=hardware(spec.device),
            versions={name: version_of(name) for name in VERSIONS},
            commit=code_commit(),
            notes=answer.notes,
            confinement={str(layer): how for layer, how in ended.layers.items()},
            started=started,
            ended=now(),
        )
        return record, answer.curve[: answer.steps]

    def evaluation_offsets(self, scale: Scale) -> np.ndarray:
        """Where the validation windows of a scale start, the same for every run."""
        return evaluation_windows(
            self.corpus.tokens["val"],
            scale.sequence_length,
            scale.evaluation_windows,
            corpus=self.corpus.name,
            scale=scale.name,
        )

    def _header(self, kind: str, planned: Planned, seats: int) -> dict[str, Any]:
        return {
            "kind": kind,
            "device": planned.spec.device,
            "spec": dataclasses.asdict(planned.spec),
            "source": planned.candidate.source,
            "seats": seats,
        }

    def _time_limit(self, planned: Planned, probe: Probe) -> float:
        estimate = (probe.seconds_per_step or 0.0) * planned.spec.scale.steps
        limit = max(self.settings.time_floor_seconds, self.settings.time_factor * estimate)
        return min(limit, self.settings.time_ceiling_seconds)  # the estimate rests on the program's own speed


def _outcome(answer: _Answer, ended: Ended) -> tuple[Status, str | None, int | None]:
    """Status, error and step of a job, from what it sent and how it ended."""
    if answer.failure is not None:
        status = answer.failure["status"]
        # only a program that meddles says so once the checkpoint is gone
        return "crashed" if status == "bad_checkpoint" else status, answer.failure["error"], answer.failure["step"]
    if answer.done and answer.finite:
        return "ok", None, None
    if answer.done:
        return "diverged", "non-finite logits in the final evaluation", answer.spec.scale.steps
    if ended.killed_for == "time":
        return "timed_out", explain(ended), None
    if ended.killed_for == "memory" or _killed_from_outside(ended):
        return "out_of_memory", explain(ended), None
    return "crashed", explain(ended), None


def _killed_from_outside(ended: Ended) -> bool:
    """Whether somebody else killed the process: as a rule the system, whose memory ran out. Such a run is retried."""
    return ended.by_itself and os.WIFSIGNALED(ended.exit_status) and os.WTERMSIG(ended.exit_status) == signal.SIGKILL


def explain(ended: Ended) -> str:
    """Why a job ended without a result, in one line."""
    if ended.killed_for is not None:
        return f"killed at its {ended.killed_for} limit"
    if _killed_from_outside(ended):
        return "killed from outside before its result, as the system does where memory runs out"
    if ended.refused is not None and ended.exit_status == signal.SIGKILL:
        return f"the worker's answer was refused: {ended.refused}"
    if os.WIFSIGNALED(ended.exit_status):
        return f"the worker was ended by signal {os.WTERMSIG(ended.exit_status)} before its result"
    return f"the worker ended with exit code {os.waitstatus_to_exitcode(ended.exit_status)} before its result"


def _checked_probe(header: dict[str, Any]) -> Probe:
    if header["kind"] == "failed":
        return Probe(
            parameters=None, flops_per_step=None, seconds_per_step=None, error=checked_failure(header)["error"]
        )
    if header["kind"] != "probe":
        raise WireError(f"unexpected frame {str(header['kind'])[:40]!r}")
    return Probe(
        parameters=_whole(header, "parameters"),
        flops_per_step=_number(header, "flops_per_step"),
        seconds_per_step=_number(header, "seconds_per_step"),
        error=None,
    )


def checked_failure(header: dict[str, Any]) -> dict[str, Any]:
    """Status, error (one printable line) and step of a `failed` frame. Raises WireError where it is malformed."""
    status, error, step = header.get("status"), header.get("error"), header.get("step")
    if status not in WORKER_STATUSES or not isinstance(error, str) or not (step is None or type(step) is int):
        raise WireError("malformed failure")
    return {"status": status, "error": _line(error), "step": step}


def _whole(header: dict[str, Any], key: str) -> int:
    value = header.get(key)
    if type(value) is not int or not 0 <= value < 2**63:
        raise WireError(f"{key} is no whole number")
    return value


def _number(header: dict[str, Any], key: str) -> float:
    value = header.get(key)
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < 1e300:
        raise WireError(f"{key} is no number")
    return float(value)


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
