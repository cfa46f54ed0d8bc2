"""`python -m replication` as a user meets it: exit codes, messages, interruptions, several at once."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from replication.ledger import Ledger
from replication.record import RunRecord

ROOT = Path(__file__).resolve().parents[2]
STOPPED = "replication: stopped; what was measured is kept, nothing is half-written, and the same command goes on"
# Runs each command in a fork of a process that has PyTorch loaded: the same module, started as by `python -m`.
FAST_PYTHON = """
import json, os, runpy, sys
import replication.configure, replication.execute
for line in sys.stdin:
    job = json.loads(line)
    pid = os.fork()
    if pid == 0:
        os.chdir(job["folder"])
        for descriptor, path in ((1, job["out"]), (2, job["err"])):
            os.dup2(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC), descriptor)
        sys.argv = ["replication", *job["overrides"]]
        runpy.run_module("replication", run_name="__main__", alter_sys=True)
        sys.exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


@dataclass(frozen=True)
class Shop:
    """A user's folder: a candidate, some text, and a command that runs them.

    While the folder `pause` is there, the candidate stops in the middle of a run and leaves a file there to say so.
    """

    folder: Path
    started: list[subprocess.Popen[str]]

    @property
    def pause(self) -> Path:
        return self.folder / "pause"

    def overrides(self, results: Path, **changes: object) -> list[str]:
        settings: dict[str, object] = {
            "scale": "smoke",
            "scale.smoke.steps": 60,
            "seeds": 3,
            "baselines": "[linear_attention]",
            "candidates": "files",
            "candidates.paths": f"[{self.folder}/candidates/*.py]",
            "corpus": "files",
            "corpus.paths": f"[{self.folder}/texts/*.txt]",
            "corpus.val_fraction": 0.2,
            "corpus.test_fraction": 0.1,
            "engine.processes": 1,
            "engine.device": "cpu",
            "engine.checkpoint_seconds": 0.05,
            "containment": "off",  # the candidates here tell the test where they are through files
            "sampling_key": 5,
            "paths.results": results,
            "paths.cache": self.folder / "cache",
        }
        return [f"{name}={value}" for name, value in {**settings, **changes}.items()]

    def start(self, results: Path, file_limit: int | None = None, **changes: object) -> subprocess.Popen[str]:
        def limit() -> None:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # a test run in the background is born deaf to Ctrl-C
            if file_limit is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))

        temporary = self.folder / "tmp"  # what a killed parent leaves behind goes with the test
        temporary.mkdir(exist_ok=True)
        process = subprocess.Popen(
            [sys.executable, "-m", "replication", *self.overrides(results, **changes)],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "TMPDIR": str(temporary)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=limit,
        )
        self.started.append(process)
        return process

    def run(self, results: Path, file_limit: int | None = None, **changes: object) -> tuple[int, str, str]:
        process = self.start(results, file_limit, **changes)
        out, err = process.communicate(timeout=120)
        assert "Traceback" not in err, err
        return process.returncode, out, err


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    from importlib.util import module_from_spec, spec_from_file_location

    folder = tmp_path_factory.mktemp("shop")
    spec = spec_from_file_location("tiny_bench", Path(__file__).with_name("conftest.py"))
    assert spec is not None
    assert spec.loader is not None
    bench = module_from_spec(spec)
    sys.modules["tiny_bench"] = bench
    spec.loader.exec_module(bench)
    bench.write_texts(folder / "texts")
    (folder / "candidates").mkdir()
    shop = Shop(folder, [])
    lines = [
        f"while self.calls == 31 and torch.os.path.isdir({str(shop.pause)!r}):",
        f"            open({str(shop.pause)!r} + '/' + str(torch.os.getpid()), 'w').close()",
        "        return y",
    ]
    (folder / "candidates" / "stateful.py").write_text(bench.STATEFUL.replace("return y", "\n".join(lines)))
    return shop


@pytest.fixture(autouse=True)
def going_on_afterwards(shop: Shop) -> Iterator[None]:
    yield
    shutil.rmtree(shop.pause, ignore_errors=True)
    for process in shop.started:
        process.kill()  # a failed test leaves nothing behind
        process.communicate()


@pytest.fixture(scope="module")
def undisturbed(shop: Shop) -> Path:
    """The results folder of a command that nothing interrupted."""
    results = shop.folder / "undisturbed"
    code, out, err = shop.run(results)
    assert (code, out.splitlines()[0]) == (0, "6 runs: 0 in the ledger, 6 to do"), err
    return results


def finished(results: Path) -> list[str]:
    return sorted(path.name for path in (results / "ledger" / "runs").glob("*"))


def measured(results: Path) -> dict[str, tuple[bytes, float | None]]:
    """Curve and score of each run; every one must be whole."""
    ledger = Ledger(results / "ledger")
    records = {run_id: ledger.find(run_id) for run_id in finished(results)}
    assert all(isinstance(record, RunRecord) and record.status == "ok" for record in records.values())
    return {run_id: (ledger.curve(run_id).tobytes(), record.val_loss) for run_id, record in records.items() if record}


def wait_for(condition: Callable[[], Any], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def parents() -> dict[int, int]:
    """Parent of each living process; zombies are dead."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, parent = path.read_text(errors="replace").rpartition(")")[2].split()[:2]
            if state not in "ZX":
                found[int(path.parent.name)] = int(parent)
    return found


def descendants(pid: int) -> set[int]:
    tree = parents()
    found = {pid}
    while more := {child for child, parent in tree.items() if parent in found} - found:
        found |= more
    return found - {pid}


def started_and_paused(
    shop: Shop, undisturbed: Path, results: Path, slots: int
) -> tuple[set[int], subprocess.Popen[str]]:
    """A command whose workers all stand in the middle of a run, after one run of the baseline each; and its workers.

    The certificates are there already: the candidate would pause while it is examined, too.
    """
    shutil.copytree(undisturbed / "ledger" / "certificates", results / "ledger" / "certificates")
    shop.pause.mkdir()
    process = shop.start(results, **{"engine.processes": slots, "engine.checkpoint_seconds": 0})
    wait_for(lambda: len(list(shop.pause.iterdir())) == slots)
    workers = descendants(process.pid)
    assert len(workers) == 5 * slots  # a warm worker, a trainer, three hosts of mixers
    assert len(list((results / "ledger" / "work").glob("*/checkpoint"))) == slots
    return workers, process


def alive(pids: set[int]) -> set[int]:
    return pids & parents().keys()


# Work done.


def test_a_command_measures_its_plan_and_a_second_one_finds_it_done(shop: Shop, undisturbed: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (undisturbed / "ledger" / "runs").rglob("*")}
    assert len(measured(undisturbed)) == 6
    assert shop.run(undisturbed) == (0, "6 runs: 6 in the ledger, 0 to do\n", "")
    assert {path: path.stat().st_mtime_ns for path in (undisturbed / "ledger" / "runs").rglob("*")} == before


# Wrong input.


@pytest.fixture(scope="module")
def fast_python(shop: Shop) -> Iterator[Callable[[list[str]], tuple[int, str, str]]]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", FAST_PYTHON]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as python:

        def run(overrides: list[str]) -> tuple[int, str, str]:
            assert python.stdin is not None
            assert python.stdout is not None
            out, err = shop.folder / "out", shop.folder / "err"
            job = {"folder": str(shop.folder), "out": str(out), "err": str(err), "overrides": overrides}
            python.stdin.write(json.dumps(job) + "\n")
            python.stdin.flush()
            answer = int(python.stdout.readline()), out.read_text(), err.read_text()
            out.unlink()
            err.unlink()
            return answer

        yield run


ERRORS = [
    ({"sedes": 3}, "unknown setting 'sedes'"),
    ({"engine.thread": 3}, "unknown setting 'engine.thread'"),
    ({"+engine.thread": 3}, "engine.thread: unknown setting"),
    ({"scale": "smokey"}, "Could not find 'scale/smokey' Available options in 'scale': cpu-large"),
    ({"corpus": "web"}, "Could not find 'corpus/web'"),
    ({"seeds": 0}, "seeds: at least 1 is needed, got 0"),
    ({"seeds": "abc"}, "seeds: expected a whole number, got 'abc'"),
    ({"seeds": 1.5}, "seeds: expected a whole number, got 1.5"),
    ({"seeds": "["}, "seeds=[: "),
    ({"scale.smoke.num_heads": 5}, "scale.smoke.num_heads: 5 does not divide hidden_size 32"),
    ({"optimiser.schedule": "linear"}, "optimiser.schedule: expected one of cosine, wsd; got 'linear'"),
    ({"paths.results": "${nowhere}"}, "'nowhere'"),
    ({"candidates.paths": "[missing.py]"}, "candidates.paths: no file matches 'missing.py'"),
    ({"candidates.paths": "[]"}, "candidates.paths: name at least one file"),
    ({"candidates.paths": "[texts]"}, "texts: cannot read this candidate: Is a directory"),
    ({"baselines": "[delta_nets]"}, "baselines: unknown baseline 'delta_nets'"),
    ({"baselines": "[]"}, "baselines: at least one is needed"),
    ({"engine.processes": 0}, "engine.processes: must be above 0 or null"),
    ({"paths.results": "texts/00.txt/results"}, "cannot write texts/00.txt/results/ledger/runs: Not a directory"),
]
if not torch.cuda.is_available():
    ERRORS.append(({"engine.device": "cuda"}, "engine.device=cuda: no CUDA device is usable here"))


@pytest.mark.parametrize(
    ("change", "message"), ERRORS, ids=[" ".join(f"{k}={v}" for k, v in change.items()) for change, _ in ERRORS]
)
def test_wrong_input_is_one_line_with_exit_code_2_and_creates_nothing(
    shop: Shop, fast_python: Any, change: dict[str, object], message: str
) -> None:
    before = sorted(shop.folder.rglob("*"))
    code, out, err = fast_python(shop.overrides(shop.folder / "never", **change))
    assert (code, out) == (2, "")
    assert err.startswith("replication: ")
    assert message in err
    assert err.count("\n") == 1
    assert err.endswith("\n")
    assert sorted(shop.folder.rglob("*")) == before


def test_a_corpus_too_small_for_its_scale_is_one_line(shop: Shop, fast_python: Any, tmp_path: Path) -> None:
    code, out, err = fast_python(shop.overrides(tmp_path, **{"scale.smoke.evaluation_windows": 1000}))
    assert (code, out) == (2, "")
    assert err.startswith("replication: corpus 'files' is too small for scale 'smoke': 1000 evaluation windows")
    assert err.count("\n") == 1


def test_wrong_input_to_the_module_itself_has_the_same_end(shop: Shop) -> None:
    code, out, err = shop.run(shop.folder / "never", seeds="none")
    assert (code, out, err) == (2, "", "replication: seeds: expected a whole number, got 'none'\n")


def test_a_disk_that_fills_up_ends_the_command_and_keeps_what_was_measured(
    shop: Shop, undisturbed: Path, tmp_path: Path
) -> None:
    results = tmp_path / "results"
    shutil.copytree(undisturbed, results)
    before = finished(results)
    changes = {"scale.smoke.steps": 5, "seeds": 4, "engine.checkpoint_seconds": 0}
    code, _, err = shop.run(results, file_limit=1500, **changes)  # the curves fit, the record does not
    assert code == 2
    last = err.replace("\r", "\n").splitlines()[-1]
    assert last.startswith(f"replication: cannot write {results}/ledger/runs/"), err
    assert last.endswith("(paths.results sets the folder)")
    assert finished(results) == before
    assert measured(results) == measured(undisturbed)


# Interruptions.


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_command_keeps_finished_runs_and_leaves_no_process(
    shop: Shop, undisturbed: Path, tmp_path: Path, number: signal.Signals
) -> None:
    results, slots = tmp_path / "results", 2 if number == signal.SIGINT else 1
    workers, process = started_and_paused(shop, undisturbed, results, slots)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert err.replace("\r", "\n").splitlines()[-1] == STOPPED
    assert "Traceback" not in err
    assert alive(workers) == set()
    assert len(measured(results)) == slots  # of the baseline: the candidate's runs stand still
    assert list(shop.folder.joinpath("tmp").glob("archaudit-worker-*")) == []


def test_after_kill_9_the_workers_end_too_and_a_second_command_gives_the_same_bytes(
    shop: Shop, undisturbed: Path, tmp_path: Path
) -> None:
    results = tmp_path / "results"
    workers, process = started_and_paused(shop, undisturbed, results, 1)
    process.kill()
    wait_for(lambda: not alive(workers), seconds=20)
    process.communicate()
    shutil.rmtree(shop.pause)
    code, out, err = shop.run(results)
    assert (code, out.splitlines()[0]) == (0, "6 runs: 1 in the ledger, 5 to do"), err
    assert measured(results) == measured(undisturbed)
    shutil.rmtree(shop.folder / "tmp")  # the home folders of workers whose parent could not clear them


def test_two_commands_on_one_ledger_measure_every_run_once_and_lose_none(
    shop: Shop, undisturbed: Path, tmp_path: Path
) -> None:
    results = tmp_path / "results"
    processes = [shop.start(results) for _ in range(2)]
    outputs = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert all(out.startswith("6 runs: 0 in the ledger, 6 to do\n") for out, _ in outputs)  # they did overlap
    assert measured(results) == measured(undisturbed)
    assert list((results / "ledger" / "torn").iterdir()) == []  # where a run stored twice would lie
