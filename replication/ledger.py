"""The ledger: an append-only folder of finished runs, one directory each.

    <root>/runs/<run_id>/record.json    the RunRecord
    <root>/runs/<run_id>/curve.npy      float32 training loss of each step
    <root>/runs/<run_id>/candidate.py   the source that was measured
    <root>/runs/<run_id>/sha256.json    checksums of the three
    <root>/sampling_key                 secret: decides at which positions runs are scored honestly

A run is written under a temporary name, fsynced and renamed, so it is there whole or not at all. A directory that
does not match its checksums is moved aside and measured again.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import secrets
import shutil
import uuid
from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np

from replication.containment import is_on
from replication.durable import exclusive, sync_folder, write_new, write_synced
from replication.record import RETRIED_STATUSES, RunRecord
from replication.settings import InputError

CHECKSUMS = "sha256.json"


class Ledger:
    """Finished runs below `root`. Safe for several processes at once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in ("runs", "locks", "work", "torn"):
            with writing(root / name):
                (root / name).mkdir(parents=True, exist_ok=True)
        with writing(root):
            probe = root / "work" / f".{uuid.uuid4().hex}"
            probe.write_bytes(b"")
            probe.unlink()

    def find(self, run_id: str) -> RunRecord | None:
        """The record of a run that is finished and whole; None otherwise. A torn one is moved aside."""
        folder = self.root / "runs" / run_id
        record = _read_whole(folder)
        if record is None and folder.is_dir():
            with self.claim(run_id) as mine:  # whoever holds it is about to replace the folder
                if mine and _read_whole(folder) is None:
                    self._set_aside(folder)
        return record

    def reusable(self, run_id: str, layers: Collection[str] = ()) -> RunRecord | None:
        """Like find, but leaves out failures that another limit may cure: those are tried again.

        layers: of confinement; a run that was measured without one of them is measured again.
        """
        record = self.find(run_id)
        if record is None or record.status in RETRIED_STATUSES:
            return None
        return record if all(is_on(record.confinement.get(layer, "off")) for layer in layers) else None

    def curve(self, run_id: str) -> np.ndarray:
        """Training loss of each step in nats per token, float32 [steps done]."""
        curve: np.ndarray = np.load(self.root / "runs" / run_id / "curve.npy", allow_pickle=False)
        return curve

    def store(self, record: RunRecord, curve: np.ndarray, source: str) -> None:
        """Add a finished run; replaces one that is torn, to be tried again, or measured under other confinement.

        Raises:
            InputError: the folder cannot be written (disk full, read-only, ...); nothing half-written remains.
        """
        buffer = io.BytesIO()
        np.save(buffer, curve.astype(np.float32), allow_pickle=False)
        files = {
            "record.json": record.to_json().encode(),
            "curve.npy": buffer.getvalue(),
            "candidate.py": source.encode(),
        }
        sums = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
        files[CHECKSUMS] = (json.dumps(sums, sort_keys=True) + "\n").encode()
        final = self.root / "runs" / record.run_id
        temporary = self.root / "work" / f"{record.run_id}.{uuid.uuid4().hex}"
        try:
            with writing(final):
                temporary.mkdir()
                for name, data in files.items():
                    write_synced(temporary / name, data)
                sync_folder(temporary)
                self._put(temporary, final, record)
                sync_folder(final.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def sampling_key(self) -> int:
        """A number below 2**62 that was drawn when this was first asked, for this ledger alone; readable by its owner.

        Raises:
            InputError: the file that holds it is damaged or cannot be written.
        """
        path = self.root / "sampling_key"
        with writing(path):
            if not path.exists():
                key = str(secrets.randbelow(2**62)).encode()
                write_new(path, key + b" " + hashlib.sha256(key).hexdigest().encode() + b"\n", mode=0o600)
            key, _, checksum = path.read_bytes().strip().partition(b" ")
        if hashlib.sha256(key).hexdigest().encode() != checksum:
            raise InputError(
                f"{path}: damaged, and without it runs cannot go on as they began: give its number as sampling_key=... "
                "(manifest.json of an earlier session has it), or delete it to measure everything again"
            )
        return int(key)

    def _put(self, whole: Path, final: Path, record: RunRecord) -> None:
        """Give a whole run its name, unless it is there: without locks, two machines may measure the same run."""
        while True:
            try:
                whole.rename(final)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                    raise
            else:
                return
            found = _read_whole(final)
            if found is not None and found.status not in RETRIED_STATUSES and found.confinement == record.confinement:
                return
            self._set_aside(final)

    def _set_aside(self, folder: Path) -> None:
        with writing(folder), contextlib.suppress(FileNotFoundError):
            folder.rename(self.root / "torn" / f"{folder.name}-{uuid.uuid4().hex[:8]}")

    @contextlib.contextmanager
    def claim(self, run_id: str) -> Iterator[bool]:
        """Hold a run for this process; yields False at once where another process holds it."""
        path = self.root / "locks" / f"{run_id}.lock"
        with contextlib.ExitStack() as stack:
            with writing(path):
                mine = stack.enter_context(exclusive(path, wait=False))
            yield mine

    def work_folder(self, run_id: str) -> Path:
        """Where a run in progress keeps its checkpoint; call with the run claimed."""
        folder = self.root / "work" / run_id
        with writing(folder):
            folder.mkdir(exist_ok=True)
        return folder

    def clear_work(self, run_id: str) -> None:
        """Drop the checkpoint of a finished run."""
        shutil.rmtree(self.root / "work" / run_id, ignore_errors=True)


def _read_whole(folder: Path) -> RunRecord | None:
    """The record in `folder`; None unless all files are there, match their checksums and belong to that run."""
    try:
        sums = json.loads((folder / CHECKSUMS).read_text())
        files = {name: (folder / name).read_bytes() for name in ("record.json", "curve.npy", "candidate.py")}
        text = files["record.json"].decode()
        record = RunRecord.from_json(text, str(folder / "record.json"))
    except (OSError, ValueError, InputError):  # torn, or of another version of this project
        return None
    whole = sums == {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    return record if whole and record.run_id == folder.name else None


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn a failure to write into one clear line."""
    try:
        yield
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error} (paths.results sets the folder)") from error
