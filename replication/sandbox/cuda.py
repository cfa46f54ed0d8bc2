"""What CUDA needs besides libraries: the driver's devices, and the compilers that Triton starts for a kernel."""

from __future__ import annotations

import functools
import shutil
import sysconfig
from pathlib import Path

from replication.sandbox import libraries

# What the driver asks about the machine. /proc/self holds nothing that the process does not know.
FOLDERS = (
    *("/proc/driver/nvidia", "/proc/cpuinfo", "/proc/meminfo", "/proc/devices", "/proc/modules", "/proc/sys/vm"),
    *("/proc/self", "/sys/bus/pci", "/sys/devices", "/sys/module", "/sys/class", "/usr/share/nvidia", "/etc/nvidia"),
)
_PROGRAMS = ("cc", "gcc", "as", "ld", "ld.bfd", "ld.gold", "collect2", "ptxas", "ldconfig", "ldconfig.real")
_COMPILER_FOLDERS = ("/usr/lib/gcc", "/usr/libexec/gcc", "/usr/local/cuda", "/usr/include", "/usr/local/include")


def devices() -> tuple[str, ...]:
    """The driver's device files."""
    return tuple(str(path) for path in Path("/dev").glob("nvidia*"))


@functools.cache
def programs() -> tuple[str, ...]:
    """Existing programs, and folders of them, that may be started: compiler, assembler, linker, and their loader."""
    path = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
    found = [Path(program) for name in _PROGRAMS if (program := shutil.which(name, path=path)) is not None]
    found += [path for folder in ("/lib", "/lib64") for path in Path(folder).glob("ld-linux*")]
    found += [Path(folder) for folder in _COMPILER_FOLDERS]
    found += [Path(path) for path in libraries.readable() if Path(path).name in ("triton", "nvidia")]
    return tuple(dict.fromkeys(str(path) for path in found if path.exists()))


def headers() -> str:
    """Python's own headers."""
    return sysconfig.get_path("include")
