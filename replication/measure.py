"""One run from the parent's side: hand the job to a worker, and make the record of what it answers."""

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

from replication.answer import Answer, Monitor, checked_failure, number, whole
from replication.candidate import Candidate
from replication.checkpoint import Checkpoint
from replication.corpus import Corpus, answer_positions, evaluation_windows, read_windows
from replication.evaluate import bits_per_byte, honest_rows
from replication.processes import Ended, EngineSettings, WarmWorker
from replication.provenance import code_commit, hardware, now, version_of
from replication.questions import QuestionRows, Questions, shares
from replication.record import RunRecord, RunSpec, Scale, Status
from replication.settings import require
from replication.watchdog import Meter
from replication.wire import WireError

TRAINING = {
    "separate": "apart: in a process that runs no candidate code",
    "joint": "joint: in the program's own process, so how it was trained is its word, and its score is not",
}
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


class Bench:
    """Measures planned runs of one corpus with one engine's settings; `questions` are for runs planned with them."""

    def __init__(
        self,
        corpus: Corpus,
        settings: EngineSettings,
        warn: Callable[[str], None],
        questions: Questions | None = None,
    ) -> None:
        self.corpus, self.settings, self.warn, self.questions = corpus, settings, warn, questions
        self.train_tokens = corpus.open("train")

    def probe(self, worker: WarmWorker, planned: Planned) -> Probe:
        """Build the model once, count it and time a step."""
        answers: list[Probe] = []

        def take(header: dict[str, Any], _: list[np.ndarray]) -> None:
            answers.append(_checked_probe(header))

        header = self._header("probe", planned, seats=1)
        limits, meter = self.settings.limits(self.settings.time_floor_seconds), Meter(planned.spec.device, None)
        for _ in range(2):
            ended = worker.run(header, [], take, limits, files=[], meter=meter)
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
        monitor: Monitor | None = None,
    ) -> tuple[RunRecord, np.ndarray]:
        """Train and score one run; returns its record and its loss curve (float32, nats per token)."""
        spec, scale = planned.spec, planned.spec.scale
        windows, tasks = self.evaluation(scale)
        inputs, targets = np.ascontiguousarray(windows[:, :-1]), windows[:, 1:]
        rows, arrays = None, [inputs]
        if spec.honest is not None:
            key = f"{spec.sampling_key} {spec.candidate} {spec.seed}"  # none can learn from another run what it is for
            rows = honest_rows(inputs, self.train_tokens, spec.honest, spec.corpus.vocab_size, key, tasks)
            arrays += [rows.inputs, rows.positions, rows.passes]
        asked = self._asked(spec)
        if asked is not None:
            arrays[0], targets, tasks = asked.after(inputs, targets, tasks)
        checkpoint = Checkpoint(work / "checkpoint", self.warn)
        limits = self.settings.limits(self._time_limit(planned, probe, asked))
        meter = Meter(spec.device, None if monitor is None else monitor.cpu_seconds)
        started, began = now(), time.monotonic()
        for _ in range(2):
            curve = np.full(scale.steps, np.nan, np.float32)
            answer = Answer(spec, targets, tasks, monitor, rows, on_steps, checkpoint.save, curve)
            saved = checkpoint.load()
            header = self._header("train", planned, seats=2 if rows is None else 3)
            header |= {"resumes": saved is not None, "token_dtype": str(self.train_tokens.dtype)}
            header |= {"checkpoint_seconds": self.settings.checkpoint_seconds}
            with Path(str(self.train_tokens.filename)).open("rb") as text:
                given = arrays if saved is None else [*arrays, saved]
                ended = worker.run(header, given, answer.take, limits, files=[text.fileno()], meter=meter)
            if answer.failure is not None and answer.failure["status"] == "bad_checkpoint":
                checkpoint.drop(answer.failure["error"])
            elif answer.done or answer.failure is not None or not _killed_from_outside(ended):
                break
        return self._record(planned, probe, answer, asked, ended, meter, started, time.monotonic() - began)

    def _record(
        self,
        planned: Planned,
        probe: Probe,
        answer: Answer,
        asked: QuestionRows | None,
        ended: Ended,
        meter: Meter,
        started: str,
        seconds: float,
    ) -> tuple[RunRecord, np.ndarray]:
        spec = planned.spec
        status, error, step = _outcome(answer, ended)
        names = ("val_loss", "honest_loss", "leak_gain", "leak_gain_se")
        scores = answer.scores() if status == "ok" else dict.fromkeys(names)
        honest = scores["honest_loss"]
        items, note = self._answered(spec, asked, answer) if status == "ok" else ({}, ())
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
            benchmarks=answer.benchmarks() | shares(items) if status == "ok" else {},
            steps_done=answer.steps,
            parameters=answer.parameters or probe.parameters,
            flops=None if probe.flops_per_step is None else probe.flops_per_step * spec.scale.steps,
            tokens_per_second=done_tokens / training if training > 0 else None,
            wall_seconds=seconds,
            cpu_seconds=meter.cpu_seconds,
            peak_memory_bytes=ended.peak_memory_bytes,
            hardware=hardware(spec.device),
            versions={name: version_of(name) for name in VERSIONS},
            commit=code_commit(),
            notes=answer.notes + note,
            confinement={"training": TRAINING[spec.training]}
            | {str(layer): how for layer, how in ended.layers.items()},
            started=started,
            ended=now(),
            items=items,
            lifted=answer.lifted,
        )
        return record, answer.curve[: answer.steps]

    def _asked(self, spec: RunSpec) -> QuestionRows | None:
        """The rows of the questions that a run was planned with; None where there are none for it."""
        if spec.questions is None or not spec.certified:
            return None
        assert self.questions is not None
        assert spec.questions == self.questions.sha256
        return self.questions.rows(spec.scale.sequence_length)

    def _answered(
        self, spec: RunSpec, asked: QuestionRows | None, answer: Answer
    ) -> tuple[dict[str, str], tuple[str, ...]]:
        """Benchmark -> 1 or 0 for each question of a complete answer, and a note where something is to be said."""
        if spec.questions is None:
            return {}, ()
        if asked is None or answer.looks_ahead():
            return {}, ("lm-eval: left out, because only a certified program that holds to it can be asked",)
        assert self.questions is not None
        rows = slice(len(answer.targets) - len(asked.inputs), None)
        items = self.questions.judge(asked, answer.losses[rows], answer.hits[rows])
        told = f"lm-eval: {asked.cut} of {len(asked.inputs)} contexts are cut to fit into a row of the scale"
        return items, ((told,) if asked.cut else ())

    def evaluation_offsets(self, scale: Scale) -> np.ndarray:
        """Where the validation windows of a scale start, the same for every run."""
        return evaluation_windows(
            self.corpus.tokens["val"],
            scale.sequence_length,
            scale.evaluation_windows,
            corpus=self.corpus.name,
            scale=scale.name,
        )

    def evaluation(self, scale: Scale) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """The validation windows of a scale [W, T + 1], and task -> which of their targets count for it [W, T].

        Raises:
            InputError: the corpus is too small for the scale, no window holds a whole episode of a task, or no row an
                answer of the questions.
        """
        if self.questions is not None:
            self.questions.rows(scale.sequence_length)
        windows = read_windows(self.corpus.open("val"), self.evaluation_offsets(scale), scale.sequence_length)
        tasks = answer_positions(self.corpus, windows)
        for task, mask in tasks.items():
            where = f"scale.{scale.name}: its {len(windows)} evaluation windows of {scale.sequence_length} tokens"
            require(bool(mask.any()), f"{where} hold no whole episode of {task} of corpus '{self.corpus.name}'")
        return windows, tasks

    def _header(self, kind: str, planned: Planned, seats: int) -> dict[str, Any]:
        return {
            "kind": kind,
            "device": planned.spec.device,
            "spec": dataclasses.asdict(planned.spec),
            "source": planned.candidate.source,
            "seats": seats,
        }

    def _time_limit(self, planned: Planned, probe: Probe, asked: QuestionRows | None) -> float:
        scale = planned.spec.scale
        rows = 0 if asked is None else len(asked.inputs)
        estimate = (probe.seconds_per_step or 0.0) * (scale.steps + rows / scale.batch_size)
        limit = max(self.settings.time_floor_seconds, self.settings.time_factor * estimate)
        return min(limit, self.settings.time_ceiling_seconds)  # the estimate rests on the program's own speed


def _outcome(answer: Answer, ended: Ended) -> tuple[Status, str | None, int | None]:
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
    if ended.killed_for == "compute":
        assert answer.monitor is not None
        unit = "CPU seconds of all its processes" if answer.spec.device == "cpu" else "seconds"
        return "too_slow", f"stopped when it had used more than {answer.monitor.cpu_seconds:.4g} {unit}", None
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
        parameters=whole(header, "parameters"),
        flops_per_step=number(header, "flops_per_step"),
        seconds_per_step=number(header, "seconds_per_step"),
        error=None,
    )
