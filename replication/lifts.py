"""Which parts of the published programs are lifted: each program is tried in a confined process of its own.

`python -m replication lift [setting=value ...]` writes lift.csv into paths.results: a row a program with its `index`
and `name`, and a column a part, "lifted", "absent" or why it stays as published.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from replication.answer import checked_failure, parts
from replication.candidate import Candidate
from replication.certificate import CertificateSettings
from replication.durable import write_atomic
from replication.engines import LocalEngine
from replication.ledger import writing
from replication.lift import PARTS
from replication.measure import explain
from replication.processes import EngineSettings, WarmWorker
from replication.published import load_gallery
from replication.watchdog import Limits, Meter
from replication.wire import WireError

FILE = "lift.csv"


def run_lift(overrides: Sequence[str]) -> None:
    """Try every published program, and write the table."""
    from replication.configure import configure

    configuration = configure(overrides).bench
    programs = load_gallery(configuration.published)
    found = try_all(list(programs.values()), configuration.certificate, configuration.engine)
    rows = [
        {"index": str(index), "name": program.name, **found[program.id]} for index, program in sorted(programs.items())
    ]
    path = Path(configuration.paths.results) / FILE
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, table(rows).encode())
    for part in PARTS:
        counts = Counter(row[part] if row[part] in ("lifted", "absent") else "as published" for row in rows)
        print(f"{part:<16}" + ", ".join(f"{count} {what}" for what, count in sorted(counts.items())))
    print(f"table: {path}")


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
    with worker.jobs(limits, 1, Meter(device, None)) as (job,):
        sizes = {"hidden_size": settings.hidden_size, "num_heads": settings.num_heads}
        job.send({"kind": "lift", "source": program.source, "device": device, **sizes})
        try:
            frame = job.receive(0)
            if frame is not None:
                return _told(frame[0])
        except WireError as error:
            return dict.fromkeys(PARTS, f"the worker's answer was refused: {error}")
    assert job.ended is not None
    return dict.fromkeys(PARTS, explain(job.ended))


def _told(header: dict[str, Any]) -> dict[str, str]:
    """The checked answer of a job. Raises WireError."""
    if header["kind"] == "failed":
        return dict.fromkeys(PARTS, checked_failure(header)["error"])
    if header["kind"] != "lift":
        raise WireError(f"unexpected frame {str(header['kind'])[:40]!r}")
    told = parts(header)
    if set(told) != set(PARTS):
        raise WireError("parts are missing")
    return told


def table(rows: Sequence[Mapping[str, str]]) -> str:
    """The rows as CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, ("index", "name", *PARTS), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
