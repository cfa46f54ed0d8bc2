"""The Engineer: trains what the Researcher proposes, sends failures back for repair, and has the result judged.

Records decide what happened, never a model's word. Two runs an experiment: on text, whose loss counts, and on
synthetic recall tasks, as benchmarks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.random import Generator

from loop.fitness import FitnessSettings
from loop.llm import Conversation
from loop.records import Attempt, Experiment, member
from loop.researcher import Checker, attempt, program
from replication.answer import Monitor
from replication.candidate import Candidate
from replication.ledger import Ledger
from replication.measure import Bench, Planned
from replication.processes import WarmWorker
from replication.record import RunRecord
from replication.settings import require

Track = Literal["text", "recall"]
TRACKS: tuple[Track, ...] = ("text", "recall")


@dataclass(frozen=True, kw_only=True)
class MonitorSettings:
    """The settings `monitor.*`."""

    time_factor: float  # a run may use this many times the anchor's time

    def __post_init__(self) -> None:
        require(self.time_factor > 1, "monitor.time_factor: must be above 1")


@dataclass(frozen=True, kw_only=True)
class DiscardSettings:
    """The settings `discard.*`: what counts as a leak."""

    certificate: bool  # a program that is not certified to be causal is not trained
    below: float | None  # a run whose loss falls more than this share below the anchor's is stopped
    over_steps: int  # of training, over which that loss is averaged

    def __post_init__(self) -> None:
        require(self.below is None or 0 < self.below < 1, "discard.below: must lie between 0 and 1")
        require(self.over_steps >= 1, "discard.over_steps: must be at least 1")


@dataclass(frozen=True, kw_only=True)
class JudgeSettings:
    """The settings `judge.*`: marks of known programs, and what the parts of a mark weigh."""

    anchors: dict[str, float]
    weights: dict[str, float]

    def __post_init__(self) -> None:
        named = set(self.weights) == {"innovation", "complexity", "performance"}
        require(named, "judge.weights: give innovation, complexity and performance a weight")
        require(min(self.weights.values()) >= 0 < sum(self.weights.values()), "judge.weights: must not be negative")


@dataclass(frozen=True, kw_only=True)
class TaskSettings:
    """The settings `tasks.*`: which benchmarks count."""

    margin: float  # accuracy above chance that each baseline needs, as a fraction
    most_sd: float  # seed SD of each baseline's accuracy, at most

    def __post_init__(self) -> None:
        require(self.margin >= 0 < self.most_sd, "tasks.margin: must not be negative")


@dataclass(frozen=True, kw_only=True)
class Reference:
    """What the baselines measured, with several seeds each. name: of the anchor, which gains are measured against."""

    name: str
    baselines: tuple[dict[str, Any], ...]  # name -> means: loss, honest_loss, benchmarks, parameters, flops
    seconds: Mapping[Track, float]  # the anchor's device seconds a run
    final_loss: float  # the anchor's training loss at the end, nats per token
    tasks: tuple[str, ...]  # that count

    @property
    def anchor(self) -> dict[str, Any]:
        """The anchor's means."""
        return next(baseline for baseline in self.baselines if baseline["name"] == self.name)

    def benchmark(self, accuracies: Mapping[str, float]) -> float:
        """Mean accuracy of the tasks that count; NaN where one is missing."""
        return float(np.mean([accuracies.get(task, np.nan) for task in self.tasks])) if self.tasks else float("nan")

    def scored(self, settings: FitnessSettings) -> FitnessSettings:
        """The fitness with the anchor's loss and benchmark where the paper's baseline was."""
        anchor = self.anchor
        return replace(settings, baseline_loss=anchor["loss"], baseline_benchmark=self.benchmark(anchor["benchmarks"]))


def reference(
    runs: Sequence[dict[str, Any]], name: str, chance: Mapping[str, float], settings: TaskSettings, over_steps: int
) -> Reference:
    """Means of the baselines' runs, and the tasks at which each of them beats chance with a small seed SD.

    Args:
        runs: one of each baseline and seed, as `baseline_run` makes them.
        name: of the baseline that is the anchor.
        chance: accuracy of a guess, by task.
    """
    by_name: dict[str, list[dict[str, Any]]] = {}
    for run in runs:
        by_name.setdefault(run["name"], []).append(run)
    means = []
    for baseline, found in sorted(by_name.items()):
        accuracies = {task: float(np.mean([run["benchmarks"][task] for run in found])) for task in chance}
        numbers = {key: float(np.mean([run[key] for run in found])) for key in ("loss", "honest_loss", "flops")}
        means.append({"name": baseline, "benchmarks": accuracies, "parameters": found[0]["parameters"], **numbers})
    anchor = by_name[name]
    return Reference(
        name=name,
        baselines=tuple(means),
        seconds={track: float(np.median([run["seconds"][track] for run in anchor])) for track in anchor[0]["seconds"]},
        final_loss=float(np.mean([np.mean(run["curve"][-over_steps:]) for run in anchor])),
        tasks=tuple(task for task in sorted(chance) if _counts(task, by_name, chance[task], settings)),
    )


def _counts(task: str, by_name: Mapping[str, list[dict[str, Any]]], chance: float, settings: TaskSettings) -> bool:
    for runs in by_name.values():
        accuracies = [run["benchmarks"][task] for run in runs]
        steady = len(accuracies) >= 2 and float(np.std(accuracies, ddof=1)) <= settings.most_sd
        if not steady or float(np.mean(accuracies)) < chance + settings.margin:
            return False
    return True


@dataclass(frozen=True, kw_only=True)
class Development:
    """What became of a proposal: all versions of it, and the runs of the last one that was trained."""

    attempts: tuple[Attempt, ...]
    records: dict[Track, RunRecord]  # up to the first that failed
    certified: bool | None
    device_seconds: float
    seconds: dict[str, float]  # wall time by activity

    @property
    def status(self) -> str:
        """Of the first run that failed, else ok; "rejected" where the last version was not trained."""
        if self.attempts[-1].verdict != "accepted" and not self.records:
            return "rejected"
        return next((record.status for record in self.records.values() if record.status != "ok"), "ok")

    @property
    def reason(self) -> str:
        """Why there is no score; empty where there is one."""
        failed = next((f"{track}: {why(r)}" for track, r in self.records.items() if r.status != "ok"), "")
        return failed or (self.attempts[-1].reason if self.status == "rejected" else "")


@dataclass
class Engineer:
    """Trains on `benches` what `checker` lets pass."""

    benches: Mapping[Track, Bench]
    plans: Mapping[Track, Callable[..., Planned]]  # (candidate, seed=, certificate=) -> what to run; text first
    ledger: Ledger
    checker: Checker
    discard: DiscardSettings
    monitor: MonitorSettings
    judge_settings: JudgeSettings
    repairs: int

    def baseline_run(self, worker: WarmWorker, candidate: Candidate, seed: int) -> dict[str, Any]:
        """The two runs of a baseline as one document. Raises InputError where one of them fails."""
        _, _, certificate = self.checker.check(worker, candidate)
        records = {
            track: self._run(worker, track, self.plans[track](candidate, seed=seed, certificate=certificate), None)
            for track in self.plans
        }
        for track, record in records.items():
            require(record.status == "ok", f"baselines: {candidate.name} fails on {track}: {record.error}")
        text = records["text"]
        return {
            "name": candidate.name,
            "seed": seed,
            "loss": text.val_loss,
            "honest_loss": text.honest_loss,
            "benchmarks": {
                task: accuracy for record in records.values() for task, accuracy in record.benchmarks.items()
            },
            "parameters": text.parameters,
            "flops": text.flops,
            "seconds": {track: device_seconds(record) for track, record in records.items()},
            "curve": [round(float(loss), 6) for loss in self.ledger.curve(text.run_id)],
        }

    def develop(
        self,
        worker: WarmWorker,
        conversation: Conversation,
        attempts: Sequence[Attempt],
        seed: int,
        monitors: Mapping[Track, Monitor],
        repeats: Callable[[str], str],
        draws: Generator,
    ) -> Development:
        """Train the last version; where it fails, have it repaired, checked and trained again, a few times.

        repeats: says of a repaired program which one it repeats; empty where none.
        """
        versions, spent, took = list(attempts), 0.0, {"training": 0.0, "benchmarks": 0.0}
        records: dict[Track, RunRecord] = {}
        certified: bool | None = None
        left = self.repairs
        while versions[-1].verdict == "accepted":
            last = versions[-1]
            candidate = program(last.name, last.source)
            _, _, certificate = self.checker.check(worker, candidate)  # kept from before
            certified, records = certificate.causal, {}
            for track in self.plans:
                began = time.monotonic()
                planned = self.plans[track](candidate, seed=seed, certificate=certificate)
                records[track] = record = self._run(worker, track, planned, monitors[track])
                took["training" if track == "text" else "benchmarks"] += time.monotonic() - began
                spent += device_seconds(record)
                if record.status != "ok":
                    break
            failure = next((f"{r.status}: {why(r)}" for r in records.values() if r.status != "ok"), None)
            while failure is not None and left:
                left -= 1
                versions.append(self._repaired(worker, conversation, versions[-1], failure, repeats, draws))
                failure = None if versions[-1].verdict == "accepted" else versions[-1].reason
            if versions[-1] is last or failure is not None:
                break
        return Development(
            attempts=tuple(versions), records=records, certified=certified, device_seconds=spent, seconds=took
        )

    def _repaired(
        self,
        worker: WarmWorker,
        conversation: Conversation,
        last: Attempt,
        failure: str,
        repeats: Callable[[str], str],
        draws: Generator,
    ) -> Attempt:
        payload: dict[str, Any] = {name: getattr(last, name) for name in ("name", "motivation", "source", "truth")}
        payload |= {"error": failure, "draw": int(draws.integers(2**31))}
        reply = conversation.ask("repair", payload)
        if reply.content is None:
            told = f"no program in the reply: {reply.error}"
            return attempt("repair", last.name, last.motivation, last.source, "malformed", told, truth=last.truth)
        source, truth = str(reply.content["code"]), reply.truth or last.truth
        if told := repeats(source):
            return attempt("repair", last.name, last.motivation, source, "duplicate", told, truth=truth)
        verdict, reason, certificate = self.checker.check(worker, program(last.name, source))
        return attempt("repair", last.name, last.motivation, source, verdict, reason, certificate, truth=truth)

    def judge(
        self,
        conversation: Conversation,
        experiment: Experiment,
        parent: Experiment | None,
        baselines: Sequence[dict[str, Any]],
    ) -> tuple[dict[str, float], float | None]:
        """The judge's marks from 1 to 10, and their mean with our weights; none where there is no usable answer."""
        marks = self.judge_settings.anchors
        anchors = [{**baseline, "mark": marks.get(baseline["name"])} for baseline in baselines]
        payload = {"member": member(experiment), "anchors": anchors, "parent": member(parent) if parent else None}
        content = conversation.ask("judge", payload).content
        if content is None:
            return {}, None
        weights = self.judge_settings.weights
        given = {name: float(content[name]) for name in sorted(weights)}
        return given, sum(weights[name] * mark for name, mark in given.items()) / sum(weights.values())

    def monitors(self, anchor: Reference, *, start: bool) -> dict[Track, Monitor]:
        """When a run is stopped. start: of a program that the search starts from, which is known to be no leak."""
        below = None if self.discard.below is None or start else (1 - self.discard.below) * anchor.final_loss
        return {
            track: Monitor(
                cpu_seconds=self.monitor.time_factor * seconds,
                below=below if track == "text" else None,
                over_steps=self.discard.over_steps,
            )
            for track, seconds in anchor.seconds.items()
        }

    def _run(self, worker: WarmWorker, track: Track, planned: Planned, monitor: Monitor | None) -> RunRecord:
        """Measure one run, or find it in the ledger. What the monitor stopped is no finished run, and is not kept."""
        bench = self.benches[track]
        found = self.ledger.reusable(planned.run_id, bench.settings.containment.minimum)
        if found is not None and (monitor is None or not monitor.stops(found, self.ledger.curve(found.run_id))):
            return found
        probe = bench.probe(worker, planned)
        work = self.ledger.work_folder(planned.run_id)
        record, curve = bench.measure(worker, planned, probe, work, lambda _first, _losses: None, monitor)
        if record.status not in ("too_slow", "leaky"):
            self.ledger.store(record, curve, planned.candidate.source)
        self.ledger.clear_work(planned.run_id)
        return record


def why(record: RunRecord) -> str:
    """The error of a failed run, without the seconds of this machine."""
    return "it takes too many times as long as the anchor" if record.status == "too_slow" else str(record.error)


def device_seconds(record: RunRecord) -> float:
    """Compute that a run took: CPU seconds on a CPU, wall seconds on a GPU."""
    return record.wall_seconds if record.spec.device == "cuda" else record.cpu_seconds
