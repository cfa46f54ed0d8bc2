"""Faults of disks and files: full, read-only, and every kind of damage to what a session keeps."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.durability.disks import Disk, small_disk
from tests.durability.shop import Session
from tests.durability.trials import DONE, WRONG_INPUT, Bench, Row

AMPLE = 100_000  # kilobytes


def full_disks(bench: Bench, shares: list[float]) -> Iterator[Row]:
    """A disk that holds a share of what a session needs; then it grows and the same command goes on."""
    needed = sum(path.stat().st_blocks * 512 for path in bench.undisturbed.rglob("*") if path.is_file()) // 1024
    for share in shares:
        case = bench.empty_case(f"full-{share:.2f}")
        with small_disk(case / "results", max(16, int(share * needed))) as disk:
            row = bench.hurt(
                case, f"a disk of {share:.0%} of what is needed", disk.inside, allowed=[WRONG_INPUT], results=disk.seen
            )
            disk.resize(AMPLE)
            yield bench.go_on(case, row, disk.inside, results=disk.seen)


def fill(disk: Disk) -> Path:
    """A file that takes all the space there is."""
    filler = disk.seen / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(b"\0" * 2**16):
            pass
    return filler


def filled_at(bench: Bench, stage: str) -> Row:
    """Something else fills the disk while the session is at `stage`; then that goes away."""
    case = bench.empty_case(f"filled {stage}")
    with small_disk(case / "results", AMPLE) as disk:
        bench.begin(disk.seen)
        row = bench.hurt(
            case,
            f"the disk fills while {stage}",
            disk.inside,
            when=lambda session: session.stage() == stage,
            act=lambda session: fill(disk),
            allowed=[WRONG_INPUT],
            results=disk.seen,
        )
        (disk.seen / "filler").unlink(missing_ok=True)
        return bench.go_on(case, row, disk.inside, results=disk.seen)


def read_only_from_the_start(bench: Bench) -> Row:
    """A results folder that cannot be written; then it can."""
    case = bench.empty_case("read-only")
    with small_disk(case / "results", AMPLE) as disk:
        bench.begin(disk.seen)
        disk.protect()
        row = bench.hurt(case, "a read-only folder", disk.inside, allowed=[WRONG_INPUT], results=disk.seen)
        disk.release()
        return bench.go_on(case, row, disk.inside, results=disk.seen)


def read_only_at(bench: Bench, stage: str) -> Row:
    """The results folder becomes read-only while the session is at `stage`; then it can be written again."""
    case = bench.empty_case(f"read-only {stage}")
    with small_disk(case / "results", AMPLE) as disk:
        bench.begin(disk.seen)
        row = bench.hurt(
            case,
            f"read-only from {stage} on",
            disk.inside,
            when=lambda session: session.stage() == stage,
            act=lambda session: disk.protect(),
            allowed=[WRONG_INPUT],
            results=disk.seen,
        )
        disk.release()
        return bench.go_on(case, row, disk.inside, results=disk.seen)


# Damage.


def flip(path: Path, where: float = 0.5) -> None:
    """Turn one bit over, somewhere in the middle of a file."""
    data = bytearray(path.read_bytes()) or bytearray(1)
    data[min(len(data) - 1, int(where * len(data)))] ^= 1
    path.write_bytes(data)


HARMS: dict[str, Callable[[Path], object]] = {
    "truncated": lambda path: os.truncate(path, path.stat().st_size // 2),
    "flipped bit": flip,
    "flipped bit near the end": lambda path: flip(path, 0.9),
    "zero length": lambda path: os.truncate(path, 0),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "missing": lambda path: path.unlink(),
    "a folder in its place": lambda path: _replace(path),
}
# What a session keeps and reads again: name -> pattern below the results folder; the first match is harmed.
KEPT = {
    "record": "ledger/runs/*/record.json",
    "curve": "ledger/runs/*/curve.npy",
    "source": "ledger/runs/*/candidate.py",
    "checksums": "ledger/runs/*/sha256.json",
    "certificate": "ledger/certificates/*.json",
    "corpus shard": "cache/corpus/*/train.bin",
    "validation shard": "cache/corpus/*/val.bin",
    "corpus description": "cache/corpus/*/meta.json",
    "counts": "cache/corpus/*/ngram-*.json",
    "lock": "ledger/locks/*.lock",
}


def harmed_copy(bench: Bench, name: str, harm: Callable[[Path], object], pattern: str) -> Path:
    """A case with what an undisturbed session left, one file harmed."""
    case = bench.finished_case(name)
    harm(sorted((case / "results").glob(pattern))[0])
    return case


def harmed_files(bench: Bench, kept: dict[str, str]) -> Iterator[Row]:
    """Every harm to every kind of file that is kept: measured again or said in a line, never believed."""
    for what, pattern in kept.items():
        for harm, act in HARMS.items():
            case = harmed_copy(bench, f"{what} {harm}", act, pattern)
            allowed = [DONE, WRONG_INPUT] if harm == "a folder in its place" else [DONE]
            yield bench.after(case, f"{what}: {harm}", allowed=allowed)


def harmed_checkpoints(bench: Bench, harms: dict[str, Callable[[Path], object]]) -> Iterator[Row]:
    """A session killed in the middle of a run, and the checkpoint of that run harmed."""
    for harm, act in harms.items():
        case = bench.case(f"checkpoint {harm}")
        row = bench.hurt(
            case,
            f"checkpoint: {harm}",
            when=lambda session: session.stage() == "training, checkpoint kept",
            act=Session.kill,
            allowed=[-9],
        )
        for path in (case / "results" / "ledger" / "work").glob("*/checkpoint"):
            act(path)
        yield bench.go_on(case, row)


def _latest_is_a_file(results: Path) -> None:
    (results / "replicate" / "latest").unlink()
    (results / "replicate" / "latest").write_text("no link")


def _latest_is_a_folder(results: Path) -> None:
    latest = results / "replicate" / "latest"
    report = latest.resolve()
    latest.unlink()
    shutil.copytree(report, latest)


def _latest_points_nowhere(results: Path) -> None:
    (results / "replicate" / "latest").unlink()
    (results / "replicate" / "latest").symlink_to("gone")


def debris(results: Path) -> None:
    """What sessions of this and other times may leave when they are killed."""
    run = next((results / "ledger" / "runs").iterdir())
    for folder in (results / "ledger" / "work" / f"{run.name}.0123", results / "ledger" / "work" / run.name):
        shutil.copytree(run, folder)
        (folder / "record.json").unlink()
    (results / "ledger" / "work" / ".0123").write_text("")
    (results / "ledger" / "certificates" / ".0123.json.4567").write_text("{")
    (results / "replicate" / ".20200101-000000-000000.abc").mkdir()
    (results / "replicate" / ".latest.0123").symlink_to("gone")
    shutil.copytree(next((results / "cache" / "corpus").glob("*/")), results / "cache" / "corpus" / "0123.part")
    shutil.rmtree(run)


def _curves_are_a_file(results: Path) -> None:
    debris(results)
    _replace(results / "tensorboard")


def _replace(path: Path) -> None:
    """A file where a folder was, and a folder where a file was."""
    if path.is_dir():
        shutil.rmtree(path)
        path.write_text("no folder")
    else:
        path.unlink()
        path.mkdir()


STRANGE: dict[str, Callable[[Path], object]] = {
    "latest is a file": _latest_is_a_file,
    "latest is a folder": _latest_is_a_folder,
    "latest points nowhere": _latest_points_nowhere,
    "leftovers of killed sessions": debris,
    "a run is a file": lambda results: _replace(next((results / "ledger" / "runs").iterdir())),
    "curves are gone": lambda results: shutil.rmtree(results / "tensorboard"),
    "curves are a file": _curves_are_a_file,
}


def strange_folders(bench: Bench, strange: dict[str, Callable[[Path], object]]) -> Iterator[Row]:
    """Results folders in which other things lie than a session leaves."""
    for name, act in strange.items():
        case = bench.finished_case(name)
        act(case / "results")
        yield bench.after(case, name, allowed=[DONE, WRONG_INPUT] if name == "curves are a file" else [DONE])
