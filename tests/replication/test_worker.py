"""Whatever a candidate does becomes the status of its run, in one line, and the next job finds a living worker."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import re
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from replication.containment import LAYERS
from replication.mixers import build_mixers
from replication.model import build_model
from replication.processes import WarmWorker
from replication.train import train

RAISE = "raise ValueError('first line\\n  second line')"
ENVIRONMENT = "raise KeyError(' '.join(sorted(torch.os.environ)), torch.os.environ['HOME'], torch.os.getcwd())"
SMALL_OBJECTS = "y = [[0] * 60 for i in range(10**12)]"
# A child leaves the job's process group and holds the socket open after the job itself is gone.
HOLD = "sleep 5"
ESCAPE = f"torch.os.fork() and torch.os._exit(0); torch.os.setsid(); torch.os.system('{HOLD}'); torch.os._exit(0)"
GARBAGE = """
for fd in range(3, 64):
    try:
        torch.os.write(fd, b"\\xff" * 64)
    except OSError:
        pass
"""


def outcome(rig: Any, source: str, **settings: Any) -> tuple[str, str | None, int | None]:
    """Status, error and step of a run of 2 steps; then makes sure that the same worker still works."""
    record, _ = rig.measure(source, steps=2, bench=rig.bench(**settings))
    assert (record.val_loss, record.bits_per_byte) == (None, None)
    assert record.error is None or (record.error.isprintable() and len(record.error) <= 500)
    after, _ = rig.measure(rig.source(), steps=2)
    assert (after.status, after.error) == ("ok", None)
    return record.status, record.error, record.failed_step


def line_of(source: str, text: str) -> int:
    return next(number for number, line in enumerate(source.splitlines(), start=1) if text in line)


# Faults of candidates.


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("class Mixer(:\n  pass", "line 1: syntax error: invalid syntax"),
        ("\n\nimport socket\n", "line 3 imports 'socket', which is not allowed"),
        ("x = 1 / 0", "line 1: ZeroDivisionError: division by zero"),
        ("class Other: pass", "no torch module named Mixer or DeltaNet (classes found: Other)"),
        ("raise SystemExit(0)", "line 1: SystemExit: 0"),
        ("raise KeyboardInterrupt", "line 1: KeyboardInterrupt:"),
        ("import torch\ntorch.os._exit(7)", "the worker ended with exit code 7 before its result"),
        ("import torch\ntorch.os._exit(0)", "the worker ended with exit code 0 before its result"),
        ("import torch\ntorch.ctypes.string_at(0)", "the worker was ended by signal 11 before its result"),
        ("input()", "line 1: EOFError: EOF when reading a line"),
        (f"import torch\n{GARBAGE}while True: pass", "the worker's answer was refused: header of 4294967295 bytes"),
    ],
)
def test_a_fault_while_a_candidate_is_loaded_is_a_crash_that_names_the_cause(rig: Any, source: str, error: str) -> None:
    assert outcome(rig, source) == ("crashed", error, None)


def test_an_exception_in_the_forward_pass_names_its_line_and_fills_one_line(rig: Any) -> None:
    source = rig.source(forward=RAISE)
    expected = f"line {line_of(source, 'raise')}: ValueError: first line second line"
    assert outcome(rig, source) == ("crashed", expected, None)


def test_an_exception_in_the_backward_pass_is_a_crash(rig: Any) -> None:
    status, error, _ = outcome(rig, rig.source(forward="y = torch.sqrt(y.abs()); y.add_(1)"))
    assert status == "crashed"
    assert error is not None
    assert error.startswith("RuntimeError: one of the variables needed for gradient computation has been modified")


@pytest.mark.parametrize(
    ("forward", "found"),
    [
        ("return y[:, 1:]", "shape [4, 31, 16], torch.float32"),
        ("return y.long()", "shape [4, 32, 16], torch.int64"),
        ("return None", "NoneType"),
    ],
)
def test_an_output_of_another_kind_is_a_crash_that_says_what_came(rig: Any, forward: str, found: str) -> None:
    status, error, _ = outcome(rig, rig.source(forward=forward))
    assert status == "crashed"
    assert error is not None
    assert error.endswith(f"it returned: {found}")


def test_an_output_that_is_not_finite_diverges_at_that_step(rig: Any) -> None:
    source = rig.source(init="self.calls = 0", forward="self.calls += 1; y = y / (self.calls != 2)")
    assert outcome(rig, source) == ("diverged", "non-finite training loss or gradient at step 2", 2)


def test_an_output_that_is_not_finite_in_evaluation_alone_diverges(rig: Any) -> None:
    source = rig.source(forward="y = y if self.training else y * float('nan')")
    assert outcome(rig, source) == ("diverged", "non-finite logits in the final evaluation", 2)


def test_a_logit_that_is_not_finite_in_the_honest_evaluation_alone_diverges(rig: Any) -> None:
    poison = "self.calls += not self.training; y = y * (float('nan') if self.calls == 1 else 1)"
    source = rig.source(init="self.calls = 0", forward=poison)
    record, _ = rig.measure(source, steps=2, honest=rig.honest)
    assert (record.status, record.error) == ("diverged", "non-finite logits in the final evaluation")
    assert (record.val_loss, record.honest_loss, record.leak_gain) == (None, None, None)


def test_a_candidate_that_does_not_end_is_timed_out(rig: Any) -> None:
    assert outcome(rig, "while True: pass", time_floor_seconds=0.5) == ("timed_out", "killed at its time limit", None)


def test_a_process_cannot_escape_from_its_job(rig: Any) -> None:
    status, error, _ = outcome(rig, f"import torch\n{ESCAPE}")
    assert (status, error) == ("crashed", "line 2: PermissionError: [Errno 1] Operation not permitted")


def test_even_unconfined_a_process_that_escapes_cannot_hold_up_the_bench(rig: Any) -> None:
    unconfined = dataclasses.replace(rig.bench().settings.containment, confine=False)
    bench = rig.bench(time_floor_seconds=0.5, containment=unconfined)
    with contextlib.closing(WarmWorker(bench.settings)) as worker:
        record, _ = rig.measure(f"import torch\n{ESCAPE}", steps=2, bench=bench, worker=worker)
        after, _ = rig.measure(rig.source(), steps=2, worker=worker)
    assert (record.status, record.error) == ("timed_out", "killed at its time limit")
    assert (after.status, after.error) == ("ok", None)
    assert {record.confinement[layer] for layer in LAYERS} == {"off: engine.containment.confine is false"}


@pytest.mark.parametrize(
    "forward",
    ["y = torch.zeros(10**10)", "y = np.zeros(10**10)", "y = bytearray(10**10)", SMALL_OBJECTS],
    ids=["tensor", "array", "bytes", "small objects"],
)
def test_memory_without_bound_is_out_of_memory(rig: Any, forward: str) -> None:
    status, error, _ = outcome(rig, rig.source(forward=forward), memory_gib=0.6)
    assert status == "out_of_memory"
    assert error in ("memory limit reached", "killed at its memory limit")


def test_a_candidate_that_closes_everything_it_can_is_a_crash(rig: Any) -> None:
    status, error, _ = outcome(rig, "import torch\ntorch.os.closerange(0, 500)\nraise ValueError")
    assert (status, error) == ("crashed", "the worker was ended by signal 9 before its result")


def test_a_flood_of_output_goes_nowhere(rig: Any, capfd: pytest.CaptureFixture[str]) -> None:
    source = rig.source(forward="print('flood' * 100_000); torch.os.write(2, b'flood' * 100_000)")
    record, _ = rig.measure(source, steps=2)
    assert (record.status, record.error) == ("ok", None)
    assert capfd.readouterr() == ("", "")


def test_a_candidate_sees_no_secret_and_not_the_users_home(rig: Any) -> None:
    error = outcome(rig, rig.source(forward=ENVIRONMENT))[1]
    assert error is not None
    names, home, folder = re.findall(r"'([^']*)'", error)
    assert "PATH" in names.split()
    assert "OPENAI_API_KEY" not in names
    assert home == folder == "/"  # an empty root of its own


def test_a_candidate_leaves_no_trace_for_the_next_one(rig: Any) -> None:
    poison = rig.source(init="torch.zeros = None; nn.Linear = None; torch.os.environ['X'] = '1'")
    rig.measure(poison, steps=2)
    clean = rig.source(forward="y = y + torch.zeros(1) + len(torch.os.environ.get('X', ''))")
    before = rig.source(forward="y = y + torch.zeros(1)")
    one, other = rig.measure(clean, steps=2)[1], rig.measure(before, steps=2)[1]
    assert one.tobytes() == other.tobytes()


# What a sound run and a probe say.


def test_the_recorded_score_is_the_mean_cross_entropy_on_the_validation_windows(rig: Any) -> None:
    record, curve = rig.measure(rig.source())
    spec = record.spec
    mixers = build_mixers(rig.source(), spec.scale, spec.seed)
    model = build_model(list(mixers.layers()), spec.scale, 256, spec.seed)
    nothing: Any = lambda *_: None  # noqa: E731
    train(model, mixers, spec, rig.corpus.open("train"), nothing, nothing, 1e9, None)
    tokens = torch.from_numpy(rig.corpus.open("val").astype(np.int64))
    starts = rig.bench().evaluation_offsets(spec.scale)
    windows = torch.stack([tokens[start : start + 33] for start in starts.tolist()])
    with torch.no_grad():
        logits = model.eval()(windows[:, :-1])[0].double()
    expected = F.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten()).item()
    assert record.val_loss == pytest.approx(expected, rel=1e-7)
    assert record.bits_per_byte == pytest.approx(expected / math.log(2), rel=1e-7)
    assert (record.status, record.steps_done, len(curve)) == ("ok", 12, 12)
    assert record.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert (record.peak_memory_bytes or 0) > 50 * 2**20


def test_a_probe_counts_parameters_and_the_floating_point_operations_of_every_matrix(rig: Any) -> None:
    probe = rig.bench().probe(rig.worker, rig.planned(rig.source()))
    weights = 16 * 16 + 3 * 16 * 32 + 16 * 256
    assert probe.error is None
    assert probe.parameters == weights + 3 * 16
    assert probe.flops_per_step == 6 * weights * 4 * 32  # two a weight and token forwards, four backwards
    assert probe.seconds_per_step > 0


def test_a_probe_of_a_broken_candidate_carries_its_error(rig: Any) -> None:
    probe = rig.bench().probe(rig.worker, rig.planned("import socket"))
    assert (probe.parameters, probe.error) == (None, "line 1 imports 'socket', which is not allowed")


def test_a_probe_of_a_candidate_that_hangs_ends(rig: Any) -> None:
    probe = rig.bench(time_floor_seconds=0.5).probe(rig.worker, rig.planned("while True: pass"))
    assert probe.error == "killed at its time limit"
