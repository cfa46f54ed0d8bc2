"""A user's folder with a small session in it, and `audit replicate` as a process that can be hurt."""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import runpy
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
PR_SET_CHILD_SUBREAPER = 36
RUNS = 4
# A mixer that a resumed run easily gets wrong: a counter of its own, dropout, and randomness of two libraries.
STATEFUL = """
import numpy as np
import torch
from torch import nn

class Mixer(nn.Module):
    def __init__(self, hidden_size, num_heads, layer_idx):
        super().__init__()
        self.proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.drop, self.calls = nn.Dropout(0.2), 0

    def forward(self, x):
        self.calls += 1
        count = torch.arange(1, x.shape[1] + 1, device=x.device)[:, None]
        y = self.drop(self.proj(x).cumsum(1) / count) * (1 + self.calls / 999)
        return y + (torch.randn_like(y) + np.random.rand()) / 20
"""
Injection = Callable[[], object]  # done in the session's process before its first line; must be a picklable function


@dataclass(frozen=True, kw_only=True)
class Shop:
    """`folder` holds text and a candidate; every case below it is a working directory with a results folder."""

    folder: Path
    steps: int

    @classmethod
    def open(cls, folder: Path, steps: int) -> Shop:
        """Sixty short documents of a repetitive language and one candidate, the same at every call."""
        (folder / "texts").mkdir(parents=True)
        words = ["alpha", "beta", "gamma", "delta", "if", "then", "else", "=", "(", ")", "\n"]
        generator = np.random.default_rng(5)
        for number in range(60):
            text = " ".join(words[i] for i in generator.integers(len(words), size=120))
            (folder / "texts" / f"{number:02}.txt").write_text(f"{number} {text}")
        (folder / "stateful.py").write_text(STATEFUL)
        (folder / "tmp").mkdir()
        return cls(folder=folder, steps=steps)

    def arguments(self, **changes: object) -> list[str]:
        """Two arms, two seeds, checkpoints many times a second, a short certificate."""
        settings: dict[str, object] = {
            "scale": "smoke",
            "scale.smoke.steps": self.steps,
            "seeds": 2,
            "baselines": "[linear_attention]",
            "candidates": "files",
            "candidates.paths": f"[{self.folder}/stateful.py]",
            "corpus": "files",
            "corpus.paths": f"[{self.folder}/texts/*.txt]",
            "corpus.val_fraction": 0.2,
            "corpus.test_fraction": 0.1,
            "engine.processes": 1,
            "engine.device": "cpu",
            "engine.checkpoint_seconds": 0.05,
            "certificate.layers": "[0]",
            "certificate.lengths": "[1,33,64]",
            "certificate.sizes": "[1.0]",
            "certificate.cost_lengths": "[8,16,32]",
            "honest.positions": 32,
            "spot_check.positions": 16,
            "audit.resamples": 100,
            "ngram.orders": "[1,2]",
            "paths.results": "results",
        }
        if "sampling_key" in (ROOT / "conf" / "replicate.yaml").read_text():
            settings["sampling_key"] = 11
        return ["replicate", *(f"{name}={value}" for name, value in {**settings, **changes}.items())]

    def start(self, case: Path, *injections: Injection, **changes: object) -> Session:
        """The session in the working directory `case`, as `python -m audit` would run it, after `injections`.

        It is forked from a process that has the libraries loaded, which saves seconds.
        """
        temporary = self.folder / "tmp"
        log = temporary / f"{case.name}-{time.monotonic_ns()}.log"
        arguments = (str(case), str(log), self.arguments(**changes), str(temporary), injections)
        process = CONTEXT.Process(target=_be_session, args=arguments)
        process.start()
        return Session(process=process, log=log, results=case / "results")

    def run(self, case: Path, *injections: Injection, seconds: float = 120, **changes: object) -> tuple[int, str]:
        """Exit code and output of a session that is left alone."""
        session = self.start(case, *injections, **changes)
        return session.wait(seconds), session.output()

    def case(self, name: str) -> Path:
        """A new working directory."""
        folder = self.folder / "cases" / name
        folder.mkdir(parents=True)
        return folder


# The tracker of semaphores would remark on those of sessions that were killed.
os.environ.setdefault("PYTHONWARNINGS", "ignore::UserWarning:multiprocessing.resource_tracker")
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["audit.rerun.session", "tests.durability.shop"])


def _be_session(case: str, log: str, arguments: list[str], temporary: str, injections: tuple[Injection, ...]) -> None:
    os.setsid()  # so that a signal to the group reaches what it starts, and nobody else
    with Path(log).open("ab") as file, Path(os.devnull).open("rb") as null:
        for descriptor, target in ((0, null), (1, file), (2, file)):
            os.dup2(target.fileno(), descriptor)
    os.environ |= {"TMPDIR": temporary, "OMP_NUM_THREADS": "1"}
    tempfile.tempdir = None
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # a test run under nohup is deaf to it
    for injection in injections:
        injection()
    os.chdir(case)
    sys.argv = ["audit", *arguments]
    runpy.run_module("audit", run_name="__main__", alter_sys=True)


@dataclass(frozen=True, kw_only=True)
class Session:
    """A session's process, its output so far and its results folder."""

    process: ForkServerProcess
    log: Path
    results: Path

    @property
    def pid(self) -> int:
        """Of the session itself."""
        assert self.process.pid is not None
        return self.process.pid

    def output(self) -> str:
        """Standard output and standard error, redrawn lines one below the other."""
        return self.log.read_text(errors="replace").replace("\r", "\n") if self.log.exists() else ""

    def last_line(self) -> str:
        """The last line on the screen."""
        return next((line.strip() for line in reversed(self.output().splitlines()) if line.strip()), "")

    def ended(self) -> bool:
        """Whether the process has ended."""
        return self.process.exitcode is not None

    def wait(self, seconds: float) -> int:
        """The exit code; the process is killed, and AssertionError raised, where it takes longer than that."""
        self.process.join(seconds)
        if self.process.exitcode is None:
            self.process.kill()
            self.process.join()
            raise AssertionError(f"no end within {seconds} seconds: {self.output()[-500:]}")
        return self.process.exitcode

    def until(self, condition: Callable[[], Any], seconds: float = 120) -> bool:
        """Wait for a condition; False where the session ends before it holds."""
        deadline = time.monotonic() + seconds
        while not condition():
            if self.ended():
                return False
            assert time.monotonic() < deadline, f"waited in vain: {self.output()[-500:]}"
            time.sleep(0.002)
        return True

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal to the session alone."""
        os.kill(self.pid, number)

    def workers(self) -> list[int]:
        """Its processes, nearest first: the warm worker, then what that has forked, and so on."""
        return descendants(self.pid)

    def stage(self) -> str:
        """What is going on, as files and output show it."""
        work, text = self.results / "ledger" / "work", self.output()
        if list((self.results / "replicate").glob(".2*")):
            return "writing the report"
        if any("." in path.name for path in work.glob("[!.]*")):
            return "storing"
        last = text.splitlines()[-1] if text else ""
        if "0 to do" in text or f"{RUNS}/{RUNS} runs" in text:
            return "verdicts"
        for word, stage in (("training", "training"), ("probing", "probing"), ("certificates:", "certificates")):
            if word in last:
                if stage == "training" and list(work.glob("*/checkpoint")):
                    return "training, checkpoint kept"
                return stage
        return "between stages" if "to do" in text else "start-up"


def descendants(pid: int) -> list[int]:
    """Living processes below `pid`, nearest first."""
    tree: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, parent = path.read_text(errors="replace").rpartition(")")[2].split()[:2]
            if state not in "ZX":
                tree.setdefault(int(parent), []).append(int(path.parent.name))
    found, level = [], [pid]
    while level := sorted(child for parent in level for child in tree.get(parent, [])):
        found += level
    return found


@contextlib.contextmanager
def no_orphans(seconds: float = 20) -> Iterator[None]:
    """Processes that lose their parent in this block must end by themselves soon after; raises AssertionError else."""
    libc = ctypes.CDLL(None)
    first = CONTEXT.Process(target=int)  # the server that sessions are forked from is no orphan
    first.start()
    first.join()
    before = set(_children())
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1)  # they become our children then
    try:
        yield
        deadline = time.monotonic() + seconds
        while orphans := [pid for pid in _children() if pid not in before and not _reaped(pid)]:
            assert time.monotonic() < deadline, f"processes left behind: {orphans}"
            time.sleep(0.02)
    finally:
        libc.prctl(PR_SET_CHILD_SUBREAPER, 0)


def _children() -> list[int]:
    return [int(pid) for path in Path("/proc/self/task").glob("*/children") for pid in path.read_text().split()]


def _reaped(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True
