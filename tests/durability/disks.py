"""A disk of a given size, or one that becomes read-only, for one folder and without a trace on the machine."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.durability.injections import InMounts


@dataclass(frozen=True, kw_only=True)
class Disk:
    """A folder that is a disk of its own for sessions started with `inside`; others see it below `seen`."""

    folder: Path
    holder: int

    @property
    def inside(self) -> InMounts:
        """Puts a session among the mounts that hold this disk."""
        return InMounts(self.holder)

    @property
    def seen(self) -> Path:
        """The folder as the rest of the machine can reach it."""
        return Path(f"/proc/{self.holder}/root{self.folder}")

    def resize(self, kilobytes: int) -> None:
        """Change its size; what it holds stays."""
        self._mount("-o", f"remount,size={kilobytes}k", str(self.folder))

    def free(self) -> int:
        """Bytes that can still be written."""
        found = os.statvfs(self.seen)
        return found.f_bavail * found.f_frsize

    def is_read_only(self) -> bool:
        """Whether it is protected now."""
        return bool(os.statvfs(self.seen).f_flag & os.ST_RDONLY)

    def protect(self) -> None:
        """From now on nothing new can be written, as when a disk fails; files that are open go on."""
        aside = self.folder.with_name(f"{self.folder.name}-protected")
        aside.mkdir(exist_ok=True)
        self._mount("--bind", str(self.folder), str(aside))
        self._mount("-o", "remount,bind,ro", str(aside))
        self._mount("--bind", str(aside), str(self.folder))  # in one step: nobody writes there now
        self._enter("umount", str(aside))

    def release(self) -> None:
        """It can be written again, if it was protected."""
        if self.is_read_only():
            self._enter("umount", str(self.folder))

    def _mount(self, *arguments: str) -> None:
        self._enter("mount", *arguments)

    def _enter(self, *command: str) -> None:
        namespaces = ["--mount"] if os.geteuid() == 0 else ["--user", "--preserve-credentials", "--mount"]
        subprocess.run(["nsenter", "--target", str(self.holder), *namespaces, *command], check=True)


@contextlib.contextmanager
def small_disk(folder: Path, kilobytes: int) -> Iterator[Disk]:
    """A disk of `kilobytes` at `folder`, in mounts of its own, so that it ends with this block. See `disks_work`."""
    folder.mkdir(parents=True)
    rights = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    mount = 'mount -t tmpfs -o size="$1"k none "$0" && echo ready && exec cat'
    command = ["unshare", *rights, "--mount", "sh", "-c", mount, str(folder), str(kilobytes)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        try:
            if holder.stdout.readline() != "ready\n":
                raise OSError(f"no disk at {folder}: this machine forbids mounts of one's own")
            yield Disk(folder=folder, holder=holder.pid)
        finally:
            holder.kill()


def disks_work(folder: Path) -> bool:
    """Whether this machine lets us make such disks."""
    if sys.platform != "linux" or not shutil.which("unshare") or not shutil.which("nsenter"):
        return False
    try:
        with small_disk(folder, 64):
            return True
    except OSError:
        return False
