"""Resource limits of a process: hard ones, which it can lower and never raise."""

from __future__ import annotations

import os
import sys

if sys.platform != "win32":  # where results can be read, too
    import resource


def limit(*, memory_bytes: int | None, file_bytes: int, open_files: int, threads: int | None) -> str:
    """Set the limits of this process, where the present ones are not lower; say which.

    Args:
        memory_bytes: private memory: heap, stacks of threads, anonymous mappings; None for no such limit.
        file_bytes: size of a file that it writes.
        open_files: descriptors.
        threads: of the user in this process's user namespace; None where that is everything else of the user's, too.
    """
    stack = resource.getrlimit(resource.RLIMIT_STACK)[0]  # grows outside private memory
    limits = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: file_bytes,
        resource.RLIMIT_NOFILE: open_files,
        resource.RLIMIT_MSGQUEUE: 0,
        resource.RLIMIT_STACK: stack,
    }
    said = ["file size", "open files"]
    if memory_bytes is not None:
        limits |= {resource.RLIMIT_DATA: memory_bytes, resource.RLIMIT_MEMLOCK: 1 << 20}
        said.insert(0, "memory")
    if threads is not None and os.getuid() != 0:  # the kernel exempts root
        limits[resource.RLIMIT_NPROC] = threads
        said.append("threads")
    for which, most in limits.items():
        hard = resource.getrlimit(which)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(which, (most, most))
    return ", ".join(said)
