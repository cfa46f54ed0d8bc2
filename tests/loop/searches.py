"""Searches at a tiny scale: their settings, their text, and `python -m loop` as a process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from loop.archive import Archive
from loop.discover import archive_url, configure

ROOT = Path(__file__).resolve().parents[2]
# A model of a few thousand parameters on a few kilobytes; every benchmark counts, whatever its noise.
TINY = [
    "corpus=files",
    "scale=[smoke,recall]",
    "tracks.text=smoke",
    "scale.smoke.evaluation_windows=8",
    "scale.recall.steps=3",
    "scale.recall.evaluation_windows=64",
    "tasks.margin=0",
    "tasks.most_sd=1",
    "baseline_seeds=2",
    "spot_check.positions=16",
    "honest.positions=16",
    "certificate.lengths=[1,33,64]",
    "certificate.layers=[0]",
    "pool.cold_start=3",
    "pool.update_every=2",
    "offline.crash=0.15",
    "offline.leak=0.3",
]


def write_texts(folder: Path) -> Path:
    """Sixty short documents of a repetitive language, the same at every call."""
    folder.mkdir(parents=True, exist_ok=True)
    words = ["alpha", "beta", "gamma", "delta", "if", "then", "else", "=", "(", ")", "\n"]
    generator = np.random.default_rng(5)
    for number in range(60):
        text = " ".join(words[i] for i in generator.integers(len(words), size=120))
        (folder / f"{number:02}.txt").write_text(f"{number} {text}")
    return folder


def overrides(texts: Path, results: Path, archive: Path | str, *more: str) -> list[str]:
    """A tiny search's command line; what comes last wins."""
    paths = [f"corpus.paths=['{texts}/*.txt']", f"paths.results={results}", f"archive='{archive}'"]
    return [*TINY, *paths, *more]


def dump(settings: Sequence[str]) -> str:
    """Everything that the archive of a search holds, but for times."""
    configuration = configure(settings)
    return Archive.open(archive_url(configuration), configuration.identity).dump()


def start(settings: Sequence[str], *before: str, **environment: str) -> subprocess.Popen[str]:
    """`python -m loop`, behind a command that starts it; its output and errors in one stream."""
    return subprocess.Popen(
        [*before, sys.executable, "-m", "loop", *settings],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # a test run in the background is born deaf to Ctrl-C
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def run(settings: Sequence[str], *before: str, seconds: float = 600, **environment: str) -> tuple[int, str]:
    """Exit code and output of `python -m loop`."""
    with start(settings, *before, **environment) as process:
        try:
            output = process.communicate(timeout=seconds)[0]
        finally:
            process.kill()
    return process.returncode, output
