"""The environment of a worker: nothing secret, and settings of libraries on which bits depend."""

from __future__ import annotations

import os
from pathlib import Path

PASSED_ON = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "CUDA_HOME", "TRITON_INTERPRET")


def clean_environment(threads: int, home: str) -> dict[str, str]:
    """What a worker may know: no keys, no user's home, one thread count, reproducible libraries."""
    package_root = str(Path(__file__).resolve().parents[1])
    return {name: os.environ[name] for name in PASSED_ON if name in os.environ} | {
        "PYTHONPATH": os.pathsep.join([package_root, *filter(None, [os.environ.get("PYTHONPATH")])]),
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "HOME": home,
        "TMPDIR": home,
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": "PASSIVE",  # on a busy machine, spinning threads cost ten times what they do
        "MKL_CBWR": "AUTO,STRICT",  # the same bits for any number of threads, as far as MKL goes
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    }
