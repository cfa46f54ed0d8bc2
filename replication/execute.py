"""Bring a plan's runs into the ledger: probe what they cost, say so, run what is missing, show progress."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from tqdm import tqdm

from replication.engines import LocalEngine
from replication.ledger import Ledger, writing
from replication.measure import Bench, Planned, Probe
from replication.plan import Plan
from replication.processes import WarmWorker
from replication.record import RunRecord

ProbeKey = tuple[str, str]  # candidate id, scale name


def execute(plan: Plan, ledger: Ledger, bench: Bench, curves: Path) -> None:
    """Measure every run of `plan` that the ledger does not hold; returns when all are there.

    Args:
        curves: folder for TensorBoard event files, one run each.

    Raises:
        InputError: the ledger cannot be written; runs stored so far stay.
    """
    layers = bench.settings.containment.minimum
    pending = [planned for planned in plan.runs if ledger.reusable(planned.run_id, layers) is None]
    print(f"{len(plan.runs)} runs: {len(plan.runs) - len(pending)} in the ledger, {len(pending)} to do", flush=True)
    if not pending:
        return
    settings = bench.settings
    engine: LocalEngine[Planned, Any] = LocalEngine(settings.slots(), settings)
    with engine:
        probes = _probe_all(engine, bench, pending)
        _print_costs(pending, probes, settings.slots())
        with Progress(pending, probes, curves) as progress:

            def work(worker: WarmWorker, planned: Planned) -> RunRecord | None:
                return _run_claimed(worker, planned, probes[_key(planned)], ledger, bench, progress)

            for planned, record in engine.map(pending, work):
                progress.finished(planned, record)


def _run_claimed(
    worker: WarmWorker, planned: Planned, probe: Probe, ledger: Ledger, bench: Bench, progress: Progress
) -> RunRecord | None:
    """Measure and store one run; None while another process is at it."""
    with ledger.claim(planned.run_id) as mine:
        if not mine:
            return None
        found = ledger.reusable(planned.run_id, bench.settings.containment.minimum)
        if found is not None:
            return found
        with progress.curve(planned) as on_steps:
            record, curve = bench.measure(worker, planned, probe, ledger.work_folder(planned.run_id), on_steps)
        ledger.store(record, curve, planned.candidate.source)
        ledger.clear_work(planned.run_id)
        return record


def _key(planned: Planned) -> ProbeKey:
    return planned.spec.candidate, planned.spec.scale.name


def _probe_all(engine: LocalEngine[Any, Any], bench: Bench, pending: list[Planned]) -> dict[ProbeKey, Probe]:
    first = {_key(planned): planned for planned in reversed(pending)}
    bar = tqdm(total=len(first), desc="probing costs", unit="arm", leave=False)
    with bar:
        probes = {}
        for planned, probe in engine.map(list(first.values()), bench.probe):
            probes[_key(planned)] = probe
            bar.update()
    return probes


def _print_costs(pending: list[Planned], probes: dict[ProbeKey, Probe], slots: int) -> None:
    """Parameters, FLOPs and estimated time of each arm and scale, before anything starts."""
    print(f"{'scale':<14}{'arm':<34}{'parameters':>12}{'FLOPs a run':>13}{'s a run':>9}{'runs':>6}")
    for key in dict.fromkeys(_key(planned) for planned in pending):
        runs = [planned for planned in pending if _key(planned) == key]
        scale, probe = runs[0].spec.scale, probes[key]
        if probe.error is not None:
            print(f"{scale.name:<14}{runs[0].candidate.name:<34}  does not run: {probe.error}")
            continue
        flops, seconds = (probe.flops_per_step or 0.0) * scale.steps, (probe.seconds_per_step or 0.0) * scale.steps
        print(
            f"{scale.name:<14}{runs[0].candidate.name:<34}{probe.parameters:>12,}{flops:>13.2e}{seconds:>9.1f}{len(runs):>6}"
        )
    total = sum((probes[_key(p)].seconds_per_step or 0.0) * p.spec.scale.steps for p in pending)
    print(f"estimated time: {total / slots / 60:.1f} minutes with {slots} worker(s)", flush=True)


class Progress:
    """A bar over the estimated seconds of all pending runs, and TensorBoard curves as they come."""

    def __init__(self, pending: list[Planned], probes: dict[ProbeKey, Probe], curves: Path) -> None:
        self._weights = {p.run_id: probes[_key(p)].seconds_per_step or 1e-3 for p in pending}
        total = sum(self._weights[p.run_id] * p.spec.scale.steps for p in pending)
        self._shown = {p.run_id: 0 for p in pending}
        self._runs, self._done, self._failed = len(pending), 0, 0
        self._curves = curves
        form = "{l_bar}{bar}| {elapsed} elapsed, {remaining} left{postfix}"
        self._bar = tqdm(total=total, desc="training", bar_format=form)
        self._bar.set_postfix_str(f"0/{self._runs} runs")

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()

    @contextlib.contextmanager
    def curve(self, planned: Planned) -> Iterator[Any]:
        """A callback (first step, losses) that moves the bar and writes the run's TensorBoard curve."""
        folder = (
            self._curves
            / planned.spec.scale.name
            / f"{planned.candidate.name}-seed{planned.spec.seed}-{planned.run_id[:8]}"
        )
        with writing(folder):
            for old in folder.glob("*"):  # the folder stays: without locks, another machine may be writing there
                old.unlink(missing_ok=True)
            writer = summary_writer(folder)

        def on_steps(first: int, losses: np.ndarray) -> None:
            self._advance(planned, first + len(losses))
            if writer is not None:
                with writing(folder):
                    for offset, loss in enumerate(losses):
                        writer.add_scalar("train/loss", float(loss), first + offset + 1)

        try:
            yield on_steps
        finally:
            if writer is not None:
                with writing(folder):
                    writer.close()

    def _advance(self, planned: Planned, steps: int) -> None:
        self._bar.update(self._weights[planned.run_id] * max(0, steps - self._shown[planned.run_id]))
        self._shown[planned.run_id] = max(steps, self._shown[planned.run_id])

    def finished(self, planned: Planned, record: RunRecord) -> None:
        """Count a finished run; say at once where one failed."""
        self._advance(planned, planned.spec.scale.steps)
        self._done += 1
        if record.status != "ok":
            self._failed += 1
            self._bar.write(
                f"{planned.spec.scale.name} {record.name} seed {planned.spec.seed}: {record.status} ({record.error})"
            )
        failed = f", {self._failed} failed" if self._failed else ""
        self._bar.set_postfix_str(f"{self._done}/{self._runs} runs{failed}")


def summary_writer(folder: Path) -> Any:
    """A TensorBoard writer, or None where tensorboard is not installed (a bare GPU machine)."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder))
