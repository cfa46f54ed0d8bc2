"""Which parts of the published programs are lifted, and what that gives. Each is tried in a confined process.

`python -m replication lift [setting=value ...]` writes lift.csv into paths.results: a row a program with its `index`
and `name`, and a column a part, "lifted", "absent" or why it stays as published.

With `time=true` it writes lift_time.csv instead: how long a training step takes on a CPU as published and lifted, at
the last scale of `scale`, which share of the step as published its lifted parts have (empty for a part that is not
lifted), and in `error` why a program has no times (`lift_time`). The numbers come from the program's own process.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from replication import compat
from replication.answer import checked_failure, number, parts
from replication.candidate import Candidate
from replication.certificate import CertificateSettings
from replication.configure import BenchSettings
from replication.durable import write_atomic
from replication.engines import LocalEngine
from replication.ledger import writing
from replication.lift import LIFTED, PARTS
from replication.measure import explain
from replication.processes import EngineSettings, WarmWorker
from replication.provenance import code_sha256
from replication.published import load_gallery
from replication.record import CorpusRef, Optimiser, RunSpec, Scale
from replication.settings import require
from replication.watchdog import Limits, Meter
from replication.wire import WireError

FILE, TIME_FILE = "lift.csv", "lift_time.csv"
COLUMNS = ("index", "name", *PARTS)
TIME_COLUMNS = (
    *("index", "name", "scale", "published_ms", "lifted_ms", "ratio"),
    *(f"share_{part}" for part in PARTS),
    "error",
)
TIME_SECONDS = 300.0  # that the times of one program may take
TIME_VOCABULARY = 256  # of the random tokens: bytes
_TIME = "time="


def run_lift(overrides: Sequence[str]) -> None:
    """Try every published program, and write the table."""
    from replication.configure import configure

    times = [each.removeprefix(_TIME) for each in overrides if each.startswith(_TIME)]
    require(set(times) <= {"true", "false"}, f"time: true or false, got {', '.join(times)}")
    settings = configure([each for each in overrides if not each.startswith(_TIME)]).bench
    programs = load_gallery(settings.published)
    run = _write_times if times[-1:] == ["true"] else _write_parts
    run({str(index): program for index, program in sorted(programs.items())}, settings)


def _write_parts(programs: Mapping[str, Candidate], settings: BenchSettings) -> None:
    found = try_all(list(programs.values()), settings.certificate, settings.engine)
    rows = [{"index": index, "name": program.name, **found[program.id]} for index, program in programs.items()]
    path = _write(Path(settings.paths.results) / FILE, table(rows, COLUMNS))
    for part in PARTS:
        counts = Counter(row[part] if row[part] in ("lifted", "absent") else "as published" for row in rows)
        print(f"{part:<16}" + ", ".join(f"{count} {what}" for what, count in sorted(counts.items())))
    print(f"table: {path}")


def _write_times(programs: Mapping[str, Candidate], settings: BenchSettings) -> None:
    scale = list(settings.scale.values())[-1]
    found = time_all(list(programs.values()), scale, settings.optimiser, settings.engine)
    rows = [
        {"index": index, "name": program.name, "scale": scale.name, **found[program.id].row}
        for index, program in programs.items()
    ]
    path = _write(Path(settings.paths.results) / TIME_FILE, table(rows, TIME_COLUMNS))
    ratios = [float(row["ratio"]) for row in rows if row["ratio"]]
    if ratios:
        print(f"{len(ratios)} programs at {scale.name}: a step as published takes {min(ratios):.2f} to "
              f"{max(ratios):.2f} times as long as lifted, {statistics.median(ratios):.2f} in the median")  # fmt: skip
    print(f"table: {path}")


def _write(path: Path, text: str) -> Path:
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, text.encode())
    return path


def try_all(
    programs: Sequence[Candidate], settings: CertificateSettings, engine: EngineSettings
) -> dict[str, dict[str, str]]:
    """What becomes of each part of each program (`lift.Lifted.parts`), by candidate id.

    settings: sizes and limits of the processes that try it, those of an examination.
    """
    found: dict[str, dict[str, str]] = {}
    waiting = list({program.id: program for program in programs}.values())
    workers: LocalEngine[Candidate, dict[str, str]] = LocalEngine(min(engine.slots(), max(len(waiting), 1)), engine)
    with workers, tqdm(total=len(waiting), desc="lifting", unit="program", leave=False) as bar:
        for program, told in workers.map(waiting, lambda worker, program: try_one(worker, program, settings, engine)):
            found[program.id] = told
            bar.update()
    return found


def try_one(
    worker: WarmWorker, program: Candidate, settings: CertificateSettings, engine: EngineSettings
) -> dict[str, str]:
    """What becomes of each part of one program; the same reason for all where it does not run.

    Raises:
        Stopped, WorkerEnded: as WarmWorker.run.
    """
    device = engine.resolved_device()
    limits = Limits(seconds=settings.seconds, memory_bytes=int(settings.memory_gib * 2**30), device=device)
    sizes = {"hidden_size": settings.hidden_size, "num_heads": settings.num_heads}
    try:
        return _told(_asked(worker, {"kind": "lift", "source": program.source, "device": device, **sizes}, limits))
    except _Unanswered as reason:
        return dict.fromkeys(PARTS, str(reason))


@dataclass(frozen=True)
class Times:
    """Seconds of a training step as published and lifted, and shares of the step as published by part; or why not."""

    published: float | None = None
    lifted: float | None = None
    shares: Mapping[str, float] = dataclasses.field(default_factory=dict)
    error: str = ""

    @property
    def row(self) -> dict[str, str]:
        """As columns of the table."""
        row = {f"share_{part}": f"{self.shares[part]:.3f}" if part in self.shares else "" for part in PARTS}
        if self.published is None or self.lifted is None:
            return {"published_ms": "", "lifted_ms": "", "ratio": "", **row, "error": self.error}
        milliseconds = {"published_ms": f"{1e3 * self.published:.1f}", "lifted_ms": f"{1e3 * self.lifted:.1f}"}
        return {**milliseconds, "ratio": f"{self.published / self.lifted:.3f}", **row, "error": self.error}


def time_all(
    programs: Sequence[Candidate], scale: Scale, optimiser: Optimiser, engine: EngineSettings
) -> dict[str, Times]:
    """The times of each program on this machine's CPU, by candidate id."""
    engine = dataclasses.replace(engine, device="cpu")
    found: dict[str, Times] = {}
    waiting = list({program.id: program for program in programs}.values())
    workers: LocalEngine[Candidate, Times] = LocalEngine(min(engine.slots(), max(len(waiting), 1)), engine)
    with workers, tqdm(total=len(waiting), desc="timing", unit="program", leave=False) as bar:
        for program, times in workers.map(
            waiting, lambda worker, program: time_one(worker, program, scale, optimiser, engine)
        ):
            found[program.id] = times
            bar.update()
    return found


def time_one(
    worker: WarmWorker, program: Candidate, scale: Scale, optimiser: Optimiser, engine: EngineSettings
) -> Times:
    """The times of one program on a CPU.

    Raises:
        Stopped, WorkerEnded: as WarmWorker.run.
    """
    spec = RunSpec(
        candidate=program.id, scale=scale, optimiser=optimiser,
        corpus=CorpusRef(name="random", sha256="", vocab_size=TIME_VOCABULARY), certified=True, honest=None,
        sampling_key=0, seed=0, device="cpu", threads=engine.threads, lift=True, training="joint",
        torch=torch.__version__, numpy=np.__version__, fla=compat.serving("cpu"), code=code_sha256(),
    )  # fmt: skip
    limits = Limits(seconds=TIME_SECONDS, memory_bytes=int(engine.memory_gib * 2**30), device="cpu")
    message = {"kind": "time", "source": program.source, "device": "cpu", "spec": dataclasses.asdict(spec)}
    try:
        return _times(_asked(worker, message, limits))
    except _Unanswered as reason:
        return Times(error=str(reason))


class _Unanswered(Exception):
    """Why a process gave no answer, in one line."""


def _asked(worker: WarmWorker, message: dict[str, Any], limits: Limits) -> dict[str, Any]:
    """The header of a confined process's one answer; raises _Unanswered."""
    with worker.jobs(limits, 1, Meter(limits.device, None)) as (job,):
        job.send(message)
        try:
            frame = job.receive(0)
            if frame is not None:
                header = frame[0]
                if header["kind"] == "failed":
                    raise _Unanswered(checked_failure(header)["error"])
                if header["kind"] != message["kind"]:
                    raise WireError(f"unexpected frame {str(header['kind'])[:40]!r}")
                return header
        except WireError as error:
            raise _Unanswered(f"the worker's answer was refused: {error}") from error
    assert job.ended is not None
    raise _Unanswered(explain(job.ended))


def _told(header: dict[str, Any]) -> dict[str, str]:
    """What became of each part."""
    try:
        told = parts(header)
        if set(told) != set(PARTS):
            raise WireError("parts are missing")
    except WireError as error:
        raise _Unanswered(f"the worker's answer was refused: {error}") from error
    return told


def _times(header: dict[str, Any]) -> Times:
    shares = header.get("shares")
    try:
        if not isinstance(shares, dict):
            raise WireError("shares are missing")
        found = {part: number(shares, part) for part in PARTS if part in shares}
        times = Times(number(header, "published"), number(header, "after"), found)
        if (
            not times.published
            or not times.lifted
            or found.keys() != {part for part, how in _told(header).items() if how == LIFTED}
        ):
            raise WireError("times or shares are missing")
    except WireError as error:
        raise _Unanswered(f"the worker's answer was refused: {error}") from error
    return times


def table(rows: Sequence[Mapping[str, str]], columns: Sequence[str] = COLUMNS) -> str:
    """The rows as CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
