"""What the bench runs, in which order, and how it becomes a table."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import os
import platform
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import torch

from kernels.bench_cases import Profile, cases
from replication.bench.jobs import CEILINGS, Job, run_jobs
from replication.bench.settings import BenchSettings, DeviceSettings, Repeats, StepSettings, read_group, read_scale
from replication.bench.steps import FORMS
from replication.bench.table import checked_row, compared, table
from replication.candidate import Candidate, read_candidate
from replication.provenance import ROOT, code_commit, cpu_name
from replication.published import load_published, published_root
from replication.record import Scale

Tell = Callable[[str], None]
PACKAGES = ("torch", "triton", "flash-linear-attention", "fla-core", "numpy", "einops")
LIFT_SECONDS = 120.0
NEEDS_LIFT = tuple(form for form, variant in FORMS.items() if variant.lifted)


@dataclass(frozen=True, kw_only=True)
class Bench:
    """A table and what it was measured with."""

    frame: pd.DataFrame
    about: dict[str, Any]


def run_bench(settings: BenchSettings, *, dry: bool, tell: Tell) -> Bench:
    """Measure ceilings, operators and steps on this machine.

    Args:
        dry: every row of a GPU's plan at tiny sizes, without keeping times.
        tell: called with a line for every row.

    Raises:
        InputError: the published programs are asked for and not there, or a setting does not fit.
    """
    return _Run(settings, dry, tell).run()


class _Run:
    def __init__(self, settings: BenchSettings, dry: bool, tell: Tell) -> None:
        self._settings, self._dry, self._tell = settings, dry, tell
        self._device = settings.resolved_device()
        self._plan: DeviceSettings = settings.gpu if dry or self._device == "cuda" else settings.cpu
        self._profile: Profile = "tiny" if dry else "gpu" if self._device == "cuda" else "cpu"
        self._baselines = [read_candidate(ROOT / "replication/baselines" / f"{name}.py", "baseline")
                           for name in settings.baselines]  # fmt: skip
        self._programs = self._published()
        self._lifted: dict[str, tuple[str, dict[str, str]]] = {}
        self._refused: dict[str, str] = {}
        self._rows: dict[str, list[dict[str, Any]]] = {}

    def run(self) -> Bench:
        """Everything, in the order of the plan."""
        with tempfile.TemporaryDirectory(prefix="archaudit-bench-cache-", ignore_cleanup_errors=True) as cache:
            # The children's homes are their own; what one has compiled serves the others.
            caches = {"TRITON_CACHE_DIR": f"{cache}/triton", "TORCHINDUCTOR_CACHE_DIR": f"{cache}/inductor"}
            self._environment = caches if self._device == "cuda" else {}
            return self._measured()

    def _measured(self) -> Bench:
        started = datetime.now(UTC)
        self._deadline = time.monotonic() + 60 * self._settings.minutes
        measured = [self._ceilings(), *self._operators()]
        self._work(measured, self._plan.processes)
        self._work(self._lifts(), min(8, os.cpu_count() or 1))
        steps = [self._step(one, program) for one in self._plan.steps for program in self._arms(one)]
        self._work(steps, self._plan.processes)
        rows = [row for job in (*measured, *steps) for row in self._rows[job.key]]
        return Bench(frame=table(rows, dry=self._dry), about=self._about(started))

    def _published(self) -> list[Candidate]:
        wanted = self._settings.programs > 0 and any(one.programs for one in self._plan.steps)
        settings = self._settings.published_settings()
        if wanted and not (published_root(settings) / settings.gallery.file).exists():
            self._tell(f"{published_root(settings) / settings.gallery.file} is not there: no published programs")
            return []
        return load_published(settings) if wanted else []

    def _arms(self, one: StepSettings) -> list[Candidate]:
        return [*self._baselines, *(self._programs if one.programs else [])]

    def _work(self, jobs: Sequence[Job], processes: int) -> None:
        run_jobs(
            jobs,
            processes=processes,
            threads=1 if self._device == "cpu" else 4,
            environment=self._environment,
            deadline=self._deadline,
            done=self._take,
        )

    # Jobs.

    def _job(self, key: str, kind: str, groups: list[list[str]], calls: Repeats, **header: Any) -> Job:
        calls = dataclasses.replace(calls, warmup=1, repeats=2) if self._dry else calls
        common = {"kind": kind, "device": self._device, "profile": self._profile, "threads": 1,
                  "processes": self._plan.processes,
                  "warmup": calls.warmup, "repeats": calls.repeats,
                  "containment": read_group("containment", self._settings.containment)}  # fmt: skip
        return Job(key=key, header=common | header, groups=groups, seconds=calls.seconds)

    def _ceilings(self) -> Job:
        return self._job("ceilings", "ceilings", [[CEILINGS]], self._plan.operators)

    def _operators(self) -> list[Job]:
        return [
            self._job(case.name, "operator", [[form] for form in case.forms], self._plan.operators, case=case.name)
            for case in cases(self._profile)
        ]

    def _scale(self, one: StepSettings) -> Scale:
        small = {"sequence_length": 64, "num_layers": 1, "hidden_size": 64, "num_heads": 4} if self._dry else {}
        return read_scale(one.scale, **small)

    def _lifts(self) -> list[Job]:
        calls = dataclasses.replace(self._plan.operators, seconds=LIFT_SECONDS)
        # One proof a program will do: it has sizes of its own.
        sizes = [self._scale(one) for one in self._plan.steps if one.programs][:1]
        return [
            self._job(f"lift {program.name}", "lift", [["lift"]], calls, source=program.source, device="cpu",
                      hidden_size=scale.hidden_size, num_heads=scale.num_heads, name=program.name)
            for program in self._programs for scale in sizes
        ]  # fmt: skip

    def _step(self, one: StepSettings, program: Candidate) -> Job:
        scale, settings = self._scale(one), self._settings
        lifted, parts = self._lifted.get(program.name, (program.source, {}))
        refused = [form for form in one.forms if program.name in self._refused and form in NEEDS_LIFT]
        forms = [form for form in one.forms if form not in refused]
        together = self._device == "cpu" and not self._dry and bool(forms)
        groups: list[list[str]] = [list(forms)] if together else [[form] for form in forms]
        job = self._job(
            f"step {scale.name} {program.name}", "step", groups, one.calls,
            source=program.source, lifted=lifted, imports_fla=program in self._programs,
            scale=dataclasses.asdict(scale),
            batch=min(one.batch, 2) if self._dry else one.batch,
            refused=[{"form": form, "status": "refused", "reason": self._refused[program.name]} for form in refused],
            precision=one.precision, seed=settings.seed, tokens=settings.tokens,
            vocab_size=min(one.vocab_size, 256) if self._dry else one.vocab_size,
            optimiser=read_group("optimiser", settings.optimiser),
            known={"kind": "step", "name": program.name, "size": scale.name, "device": self._device,
                   "dtype": one.precision, "shape": f"T{scale.sequence_length} D{scale.hidden_size}",
                   "lifted": " ".join(part for part, how in parts.items() if how == "lifted")},
        )  # fmt: skip
        job.pause_after = sum(form != "compiled" for form in forms) if len(groups) > 1 else 0  # no target needs it
        return job

    # Results.

    def _take(self, job: Job) -> None:
        kind = job.header["kind"]
        if kind == "lift":
            self._take_lift(job)
            return
        if kind == "ceilings":
            known = {"kind": "ceiling", "device": self._device}
            rows = [checked_row(row, known) for row in job.rows]
        elif kind == "operator":
            case = next(each for each in cases(self._profile) if each.name == job.header["case"])
            known = {"kind": "operator", "name": case.operator, "size": case.size, "shape": case.shape,
                     "device": self._device}  # fmt: skip
            rows = [checked_row(row, known) for row in job.rows]
        else:
            told = [*job.rows, *job.header["refused"]]
            rows = [checked_row(row, job.header["known"]) | {"check": row.get("check")} for row in told]
            rows = compared(rows, self._settings.tolerance[job.header["precision"]])
        self._rows[job.key] = rows
        for row in rows:
            self._tell(_line(row, dry=self._dry))

    def _take_lift(self, job: Job) -> None:
        name = job.header["name"]
        (row,) = job.rows
        parts = row.get("parts")
        if row["status"] == "ok" and isinstance(row.get("source"), str) and isinstance(parts, dict):
            self._lifted[name] = row["source"], {str(part): str(how) for part, how in parts.items()}
        else:
            self._refused[name] = f"lifting {row['status']}: {row.get('reason')}"

    def _about(self, started: datetime) -> dict[str, Any]:
        gpu = torch.cuda.get_device_name() if self._device == "cuda" else None
        return {
            "machine": gpu or cpu_name(),
            "gpu": gpu,
            "cpu": cpu_name(),
            "cores": os.cpu_count(),
            "device": self._device,
            "dry_run": self._dry,
            "python": platform.python_version(),
            "packages": _versions(),
            "commit": code_commit(),
            "started": started.isoformat(timespec="seconds"),
            "minutes": round((datetime.now(UTC) - started).total_seconds() / 60, 2),
            "settings": dataclasses.asdict(self._settings),
        }


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _line(row: dict[str, Any], *, dry: bool) -> str:
    what = (
        f"{row['kind']:8} {row['name'] or '':32} {row['size'] or '':12} {row['shape'] or '':28} {row['form'] or '':10}"
    )
    if row["status"] != "ok" or dry:
        return f"{what} {'dry run' if row['status'] == 'ok' else row['status']} {row['reason'] or ''}".rstrip()
    graph = f"   graph {1e3 * row['graph_seconds']:.3f} ms" if row["graph_seconds"] else ""
    return f"{what} {1e3 * row['seconds']:.3f} ms ({1e3 * row['low']:.3f}-{1e3 * row['high']:.3f}){graph}"
