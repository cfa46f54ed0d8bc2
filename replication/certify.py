"""Certificates of candidates: each examined in worker processes, and kept on disk.

The examiner runs here, in the trusted process; the candidate's process only turns inputs into outputs.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from replication.answer import checked_failure
from replication.candidate import Candidate, read_candidate
from replication.causality import certify, dependency, reproduce
from replication.certificate import Certificate, CertificateSettings
from replication.durable import write_atomic
from replication.engines import LocalEngine
from replication.ledger import writing
from replication.lookahead import FLOAT64, Floats, OutOfMemory, ProgramEnded, ProgramFailed
from replication.measure import explain
from replication.processes import EngineSettings, Job, WarmWorker
from replication.provenance import ROOT, code_sha256, files_sha256
from replication.published import PublishedSettings, load_gallery
from replication.record import canonical_json
from replication.settings import InputError, require
from replication.states import Mode, ProgramState
from replication.watchdog import Limits, Meter
from replication.wire import WireError

SOURCES = (
    "certificate",
    "causality",
    "examiner",
    "properties",
    "lookahead",
    "growth",
    "hidden",
    "states",
    "subject",
    "precision",
)
COARSEST_EPSILON = 0.01  # bfloat16's is 0.0078
MOST_OPERATIONS = 10_000  # kinds of operation that a program counts
STARTS = 40  # processes that one examination may use up


def certify_all(
    candidates: Sequence[Candidate], settings: CertificateSettings, engine: EngineSettings, store: Path
) -> dict[str, Certificate]:
    """The certificate of each candidate, by candidate id; examines those that `store` does not hold.

    A candidate that cannot be examined has a certificate that says so.

    Raises:
        InputError: `store` cannot be written, or the device is not there.
    """
    found = {candidate.id: _stored(candidate, settings, engine, store) for candidate in candidates}
    waiting = list({c.id: c for c in candidates if found[c.id] is None}.values())
    if waiting:
        workers: LocalEngine[Candidate, Certificate] = LocalEngine(min(engine.slots(), len(waiting)), engine)
        with workers, tqdm(total=len(waiting), desc="causality certificates", unit="program", leave=False) as bar:
            for candidate, certificate in workers.map(
                waiting, lambda worker, candidate: certified(worker, candidate, settings, engine, store)
            ):
                found[candidate.id] = certificate
                bar.update()
    return {identity: certificate for identity, certificate in found.items() if certificate is not None}


def certified(
    worker: WarmWorker, candidate: Candidate, settings: CertificateSettings, engine: EngineSettings, store: Path
) -> Certificate:
    """The certificate of one candidate: from `store`, or made on a worker and kept there.

    Raises:
        InputError: `store` cannot be written, or the device is not there.
        Stopped, WorkerEnded: as WarmWorker.run.
    """
    kept = _stored(candidate, settings, engine, store)
    if kept is not None:
        return kept
    certificate = examine(worker, candidate, settings, engine)
    if certificate.complete:  # else a quieter machine may do better
        path = _path(candidate, settings, engine, store)
        with writing(path):
            store.mkdir(parents=True, exist_ok=True)
            write_atomic(path, certificate.to_json().encode())
    return certificate


def examine(
    worker: WarmWorker, candidate: Candidate, settings: CertificateSettings, engine: EngineSettings
) -> Certificate:
    """Examine one candidate on a worker."""
    with contextlib.closing(RemoteProgram(worker, candidate.source, settings, engine)) as program:
        found = certify(program, settings)
    return Certificate(
        candidate=candidate.id,
        checks=found.checks,
        complete=found.complete,
        settings=settings,
        device=engine.resolved_device(),
        torch=torch.__version__,
        code=certificate_sha256(),
        parameters=found.parameters,
        notes=found.notes,
    )


def dependency_map(
    candidate: Candidate, settings: CertificateSettings, engine: EngineSettings, length: int
) -> Floats | None:
    """`causality.dependency` of a candidate, in a worker; None where it cannot be run."""
    try:
        with _program(candidate, settings, engine) as program:
            return dependency(program, settings, length)
    except (ProgramFailed, ProgramEnded):
        return None


def run(arguments: Sequence[str]) -> None:
    """`python -m replication.causality FILE... [setting=value ...]`: print the certificate of each candidate.

    A .json file is a gallery of programs. `again=...` brings one violation about again.
    """
    overrides = [argument for argument in arguments if "=" in argument and not argument.startswith("again=")]
    again = [argument.removeprefix("again=") for argument in arguments if argument.startswith("again=")]
    files = [Path(argument) for argument in arguments if "=" not in argument]
    from replication.configure import configure

    configuration = configure(overrides).bench
    require(len(files) > 0, "name at least one candidate: python -m replication.causality FILE...")
    candidates = [candidate for path in files for candidate in _read(path, configuration.published)]
    settings, engine = configuration.certificate, configuration.engine
    if again:
        require(len(candidates) == 1, "again=...: name the one candidate that it belongs to")
        print(_again(candidates[0], settings, engine, again[-1]))
        return
    certificates = certify_all(
        candidates, settings, engine, Path(configuration.paths.results) / "ledger" / "certificates"
    )
    for candidate in candidates:
        print(describe(candidate, certificates[candidate.id]))


def describe(candidate: Candidate, certificate: Certificate) -> str:
    """A certificate as text, one line a check."""
    if certificate.leaks:
        verdict = f"LEAKS ({', '.join(certificate.leaks)})"
    else:
        verdict = "causal" if certificate.causal else "not known to be causal"
    lines = [f"{candidate.label} [{candidate.id[:12]}]: {verdict}"]
    results = certificate.checks
    if len({(result.outcome, result.detail) for result in results.values()}) == 1:
        lines.append(f"  {results['future'].outcome.replace('_', ' ')}: {results['future'].detail}")
        return "\n".join(lines)
    for check, result in results.items():
        lines.append(f"  {check:<8}{result.outcome.replace('_', ' '):<14}{result.detail}")
        again = next((violation.again for violation in result.violations if violation.again), "")
        lines += [f"{'':<24}again={again}"] * bool(again)
    return "\n".join(lines + [f"  note: {note}" for note in certificate.notes])


def _read(path: Path, published: PublishedSettings) -> list[Candidate]:
    if path.suffix != ".json":
        return [read_candidate(path, "candidate")]
    gallery = dataclasses.replace(published.gallery, file=path.name, sha256=None)
    return list(load_gallery(dataclasses.replace(published, root=str(path.parent), gallery=gallery)).values())


def _again(candidate: Candidate, settings: CertificateSettings, engine: EngineSettings, again: str) -> str:
    try:
        with _program(candidate, settings, engine) as program:
            return f"outputs before the changed input move by {reproduce(program, settings, again):.6g} of their size"
    except (ProgramFailed, ProgramEnded) as failed:
        return f"the program does not run: {failed}"


@contextlib.contextmanager
def _program(candidate: Candidate, settings: CertificateSettings, engine: EngineSettings) -> Iterator[RemoteProgram]:
    """A candidate behind a worker of its own."""
    with (
        contextlib.closing(WarmWorker(engine)) as worker,
        contextlib.closing(RemoteProgram(worker, candidate.source, settings, engine)) as program,
    ):
        yield program


class RemoteProgram:
    """The oracle over a socket. A call that fails ends the candidate's process; the next call starts another one."""

    def __init__(self, worker: WarmWorker, source: str, settings: CertificateSettings, engine: EngineSettings) -> None:
        self._worker, self._source, self._settings = worker, source, settings
        self._device = engine.resolved_device()
        self._deadline = time.monotonic() + settings.seconds
        self._stack = contextlib.ExitStack()
        self._job: Job | None = None
        self._state: ProgramState | None = None
        self._starts = 0

    def build(self, state: ProgramState) -> dict[str, Any]:
        """As Subject.build."""
        self._state = None
        told = self._told("build", **dataclasses.asdict(state))
        parameters, epsilon = told.get("parameters"), told.get("epsilon")
        known = type(parameters) is int and 0 <= parameters < 2**63
        if not known or not isinstance(epsilon, float) or not 0 <= epsilon <= COARSEST_EPSILON:
            raise self._nonsense("build")
        self._state = state
        return {"parameters": parameters, "epsilon": max(epsilon, FLOAT64)}

    def outputs(self, x: Floats, mode: Mode, *, restore: bool = True, draw: int = 0, grad: bool = False) -> Floats:
        """As Subject.outputs."""
        return self._array("outputs", x, mode=mode, restore=restore, draw=draw, grad=grad, like=x)

    def gradient(self, x: Floats, weights: Floats, mode: Mode, *, draw: int = 0) -> Floats:
        """As Subject.gradient."""
        return self._array("gradient", x, weights, mode=mode, draw=draw, like=x)

    def reloaded(self, x: Floats) -> Floats:
        """As Subject.reloaded."""
        return self._array("reloaded", x, like=x)

    def growth(self, length: int) -> dict[str, Any]:
        """As Subject.growth."""
        told = self._told("growth", length=length)
        work, memory = told.get("work"), told.get("memory")
        if not isinstance(work, dict):
            raise self._nonsense("growth")
        numbers = [*work.values(), memory]
        sound = all(isinstance(n, int | float) and not isinstance(n, bool) and 0 <= n < 1e300 for n in numbers)
        if not sound or len(numbers) > MOST_OPERATIONS:
            raise self._nonsense("growth")
        return {"work": {name[:100]: float(n) for name, n in work.items()}, "memory": float(numbers[-1])}

    def close(self) -> None:
        """End the process."""
        self._job = None
        self._stack.close()

    def _array(self, kind: str, *arrays: Floats, like: Floats, **told: Any) -> Floats:
        header, answer = self._ask(kind, arrays, told, most=2 * like.nbytes)  # float64 for float32, at most
        if header["kind"] != "outputs" or len(answer) != 1 or answer[0].shape != like.shape:
            raise self._nonsense(kind)
        if answer[0].dtype not in (np.float32, np.float64):
            raise self._nonsense(kind)
        return answer[0].copy()

    def _told(self, kind: str, **told: Any) -> dict[str, Any]:
        header, answer = self._ask(kind, (), told, most=0)
        if header["kind"] != "told" or answer:
            raise self._nonsense(kind)
        return header

    def _ask(
        self, kind: str, arrays: Sequence[Floats], told: dict[str, Any], most: int
    ) -> tuple[dict[str, Any], list[Floats]]:
        if self._job is None:
            self._start()
            if self._state is not None and kind != "build":
                self.build(self._state)
        assert self._job is not None
        self._job.send({"kind": kind, **told}, *arrays)
        try:
            frame = self._job.receive(most)
        except WireError as error:
            self.close()
            raise ProgramFailed(f"the worker's answer was refused: {error}") from error
        if frame is None:
            raise self._gone()
        if frame[0]["kind"] == "failed":
            self.close()
            raise _failure(frame[0])
        return frame

    def _start(self) -> None:
        self._starts += 1
        seconds = self._deadline - time.monotonic()
        if seconds <= 0:
            raise ProgramEnded(f"no answer within {self._settings.seconds:g} seconds")
        if self._starts > STARTS:
            raise ProgramEnded(f"failed in {STARTS} calls")
        memory = int(self._settings.memory_gib * 2**30)
        limits = Limits(seconds=seconds, memory_bytes=memory, device=self._device)
        (self._job,) = self._stack.enter_context(self._worker.jobs(limits, 1, Meter(self._device, None)))
        sizes = {"hidden_size": self._settings.hidden_size, "num_heads": self._settings.num_heads}
        self._job.send({"kind": "examine", "source": self._source, "device": self._device, **sizes})

    def _gone(self) -> Exception:
        """The process ended without an answer."""
        job = self._job
        self.close()
        assert job is not None
        assert job.ended is not None
        if job.ended.killed_for == "memory":
            return OutOfMemory(f"killed at its limit of {self._settings.memory_gib:g} GiB of memory")
        if job.ended.killed_for == "time":
            return ProgramEnded(f"killed at its limit of {self._settings.seconds:g} seconds")
        return ProgramFailed(explain(job.ended))

    def _nonsense(self, kind: str) -> ProgramFailed:
        self.close()
        return ProgramFailed(f"the worker's answer to {kind} was refused")


def _failure(header: dict[str, Any]) -> Exception:
    try:
        failure = checked_failure(header)
    except WireError as error:
        return ProgramFailed(str(error))
    return (OutOfMemory if failure["status"] == "out_of_memory" else ProgramFailed)(failure["error"])


@functools.cache
def certificate_sha256() -> str:
    """sha256 of the code that a certificate rests on."""
    own = files_sha256([ROOT / "replication" / f"{name}.py" for name in SOURCES])
    return hashlib.sha256(f"{own} {code_sha256()}".encode()).hexdigest()


def _path(candidate: Candidate, settings: CertificateSettings, engine: EngineSettings, store: Path) -> Path:
    made_by = [
        candidate.id,
        dataclasses.asdict(settings),
        engine.resolved_device(),
        engine.threads,
        torch.__version__,
        certificate_sha256(),
    ]
    return store / f"{hashlib.sha256(canonical_json(made_by).encode()).hexdigest()[:20]}.json"


def _stored(
    candidate: Candidate, settings: CertificateSettings, engine: EngineSettings, store: Path
) -> Certificate | None:
    """The kept certificate; None where there is none, or a damaged one."""
    path = _path(candidate, settings, engine, store)
    try:
        certificate = Certificate.from_json(path.read_text(), str(path))
    except (OSError, ValueError, InputError):
        return None
    return certificate if certificate.candidate == candidate.id else None
