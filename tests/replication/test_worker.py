"""Whatever a candidate does becomes the status of its run, in one line, and the next job finds a living worker."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from replication.engines import LocalEngine
from replication.evaluate import HonestRows
from replication.measure import _Answer, _checked_probe
from replication.mixers import build_mixers
from replication.model import build_model
from replication.processes import EngineSettings, Stopped, WarmWorker
from replication.settings import InputError
from replication.train import train
from replication.wire import WireError

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
    assert set(record.confinement.values()) == {"off: engine.containment.confine is false"}


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
    assert home == folder
    assert "archaudit-worker-" in home


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


# A worker that does not keep to the protocol.


@pytest.fixture
def answer(rig: Any) -> _Answer:
    spec = rig.spec(steps=3)
    targets, curve = np.zeros((4, 32), dtype=np.int64), np.full(3, np.nan, np.float32)
    return _Answer(spec, targets, None, lambda first, losses: None, lambda state: None, curve)


@pytest.fixture
def honest_answer(rig: Any) -> _Answer:
    """Trained and evaluated, with five honest rows to score: the windows 0 to 3, and 0 again."""
    targets, curve = np.arange(4 * 32).reshape(4, 32), np.full(3, np.nan, np.float32)
    rows = HonestRows(
        inputs=np.zeros((5, 32), dtype=np.int64),
        windows=np.array([0, 1, 2, 3, 0]),
        positions=np.array([2, 30, 31, 0, 3]),
        passes=np.array([4, 1]),
    )
    answer = _Answer(
        rig.spec(steps=3, honest=rig.honest), targets, rows, lambda first, losses: None, lambda state: None, curve
    )
    answer.take({"kind": "steps", "first": 0}, [losses(3)])
    answer.take({"kind": "logits", "first": 0}, [logits(4)])
    return answer


def losses(count: int) -> np.ndarray:
    return np.ones(count, dtype=np.float32)


def logits(windows: int, length: int = 32, vocabulary: int = 256) -> np.ndarray:
    return np.zeros((windows, length, vocabulary), dtype=np.float32)


def test_an_answer_in_order_is_scored(answer: _Answer) -> None:
    answer.take({"kind": "model", "parameters": 5, "notes": ["a"]}, [])
    answer.take({"kind": "steps", "first": 0}, [losses(2)])
    answer.take({"kind": "steps", "first": 2}, [losses(1)])
    answer.take({"kind": "logits", "first": 0}, [logits(3)])
    answer.take({"kind": "logits", "first": 3}, [logits(1)])
    answer.take({"kind": "done"}, [])
    assert answer.done
    loss = answer.scores()["val_loss"]
    assert loss == pytest.approx(math.log(256))
    assert answer.scores() == {"val_loss": loss, "honest_loss": loss, "leak_gain": None, "leak_gain_se": None}


def test_honest_logits_are_scored_against_the_token_after_each_rows_position(honest_answer: _Answer) -> None:
    sure = np.zeros((5, 256), dtype=np.float32)
    sure[np.arange(5), [2, 62, 95, 96, 3]] = 100.0  # window * 32 + position is the target there
    honest_answer.take({"kind": "honest", "first": 0}, [sure[:4]])
    honest_answer.take({"kind": "honest", "first": 4}, [sure[4:]])
    np.testing.assert_allclose(honest_answer.honest_losses, 0.0, atol=1e-12)
    honest_answer.take({"kind": "done"}, [])
    scores = honest_answer.scores()
    assert honest_answer.done
    assert scores["leak_gain"] == pytest.approx(-math.log(256))
    assert scores["leak_gain_se"] == pytest.approx(0.0, abs=1e-12)
    assert scores["honest_loss"] == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize(
    ("first", "array"),
    [
        (1, np.zeros((4, 256), dtype=np.float32)),
        (0, np.zeros((6, 256), dtype=np.float32)),
        (0, np.zeros((0, 256), dtype=np.float32)),
        (0, np.zeros((4, 255), dtype=np.float32)),
        (0, np.zeros((4, 1, 256), dtype=np.float32)),
        (0, np.zeros(256, dtype=np.float32)),
    ],
)
def test_honest_logits_of_another_shape_or_place_are_refused(
    honest_answer: _Answer, first: int, array: np.ndarray
) -> None:
    with pytest.raises(WireError, match="honest logits"):
        honest_answer.take({"kind": "honest", "first": first}, [array])
    assert np.isnan(honest_answer.honest_losses).all()


def test_honest_logits_come_once_and_after_the_others(honest_answer: _Answer, answer: _Answer) -> None:
    honest = np.zeros((5, 256), dtype=np.float32)
    with pytest.raises(WireError, match="logits out of order"):
        honest_answer.take({"kind": "logits", "first": 0}, [logits(4)])
    honest_answer.scored = 3
    with pytest.raises(WireError, match="honest logits out of order"):
        honest_answer.take({"kind": "honest", "first": 0}, [honest])
    honest_answer.scored = 4
    honest_answer.take({"kind": "honest", "first": 0}, [honest])
    with pytest.raises(WireError, match="honest logits"):
        honest_answer.take({"kind": "honest", "first": 5}, [honest])
    answer.take({"kind": "steps", "first": 0}, [losses(3)])
    answer.take({"kind": "logits", "first": 0}, [logits(4)])
    with pytest.raises(WireError, match="honest logits"):  # nobody asked for them
        answer.take({"kind": "honest", "first": 0}, [honest])


def test_an_answer_without_its_honest_logits_is_not_done(honest_answer: _Answer) -> None:
    honest_answer.take({"kind": "honest", "first": 0}, [np.zeros((4, 256), dtype=np.float32)])
    honest_answer.take({"kind": "done"}, [])
    assert not honest_answer.done


@pytest.mark.parametrize(
    ("header", "arrays"),
    [
        ({"kind": "other"}, []),
        ({"kind": ["done"]}, []),
        ({"kind": "model", "notes": []}, []),
        ({"kind": "model", "parameters": -1, "notes": []}, []),
        ({"kind": "model", "parameters": 10**400, "notes": []}, []),
        ({"kind": "model", "parameters": 1.5, "notes": []}, []),
        ({"kind": "model", "parameters": True, "notes": []}, []),
        ({"kind": "model", "parameters": 1, "notes": "text"}, []),
        ({"kind": "model", "parameters": 1, "notes": [1]}, []),
        ({"kind": "steps", "first": 0}, []),
        ({"kind": "steps", "first": 0}, [losses(1), losses(1)]),
        ({"kind": "steps", "first": 1}, [losses(1)]),
        ({"kind": "steps", "first": "0"}, [losses(1)]),
        ({"kind": "steps", "first": 0}, [losses(4)]),
        ({"kind": "steps", "first": 0}, [losses(2).reshape(1, 2)]),
        ({"kind": "steps", "first": 0}, [losses(2) * math.nan]),
        ({"kind": "steps", "first": 0}, [np.full(2, 1e300)]),
        ({"kind": "logits", "first": 0}, [logits(4)]),  # before training has ended
        ({"kind": "failed"}, []),
        ({"kind": "failed", "status": "ok", "error": "", "step": None}, []),
        ({"kind": "failed", "status": "timed_out", "error": "", "step": None}, []),
        ({"kind": "failed", "status": "crashed", "error": None, "step": None}, []),
        ({"kind": "failed", "status": "crashed", "error": "", "step": "1"}, []),
    ],
)
def test_a_frame_out_of_protocol_is_refused(answer: _Answer, header: dict[str, Any], arrays: list[np.ndarray]) -> None:
    with pytest.raises(WireError):
        answer.take(header, arrays)
    assert not answer.done
    assert answer.failure is None


@pytest.mark.parametrize(
    ("first", "array"),
    [
        (1, logits(4)),
        (0, logits(5)),
        (0, logits(0)),
        (0, logits(4, length=31)),
        (0, logits(4, vocabulary=255)),
        (0, logits(4)[0]),
    ],
)
def test_logits_of_another_shape_or_place_are_refused(answer: _Answer, first: int, array: np.ndarray) -> None:
    answer.take({"kind": "steps", "first": 0}, [losses(3)])
    with pytest.raises(WireError, match="logits out of order or of the wrong shape"):
        answer.take({"kind": "logits", "first": first}, [array])


def test_an_answer_that_claims_to_be_done_early_is_not(answer: _Answer) -> None:
    answer.take({"kind": "done"}, [])
    answer.take({"kind": "steps", "first": 0}, [losses(3)])
    answer.take({"kind": "logits", "first": 0}, [logits(3)])
    answer.take({"kind": "done"}, [])
    assert not answer.done


def test_the_error_of_a_worker_is_kept_as_one_printable_line(answer: _Answer) -> None:
    text = json.loads('"\\u001b[2Ja\\nb\\ud800\\u202e ' + "c" * 600 + '"')
    answer.take({"kind": "failed", "status": "crashed", "error": text, "step": None}, [])
    assert answer.failure is not None
    assert answer.failure["error"].startswith("[2Ja b ccc")
    assert answer.failure["error"].isprintable()
    assert len(answer.failure["error"]) == 500


@pytest.mark.parametrize("value", [None, "1", True, -1.0, math.nan, math.inf, 10**400])
def test_a_probe_with_impossible_numbers_is_refused(value: object) -> None:
    good = {"kind": "probe", "parameters": 1, "flops_per_step": 1.0, "seconds_per_step": 0.5}
    assert _checked_probe(good).seconds_per_step == 0.5
    with pytest.raises(WireError):
        _checked_probe({**good, "flops_per_step": value})


# Engines.


@pytest.fixture
def engine(rig: Any) -> Iterator[LocalEngine[int, int]]:
    with LocalEngine[int, int](2, rig.bench().settings) as engine:
        yield engine


def test_an_engine_gives_every_item_its_result_and_tries_unfinished_ones_again(engine: LocalEngine[int, int]) -> None:
    tries: dict[int, int] = dict.fromkeys(range(6), 0)

    def work(worker: WarmWorker, item: int) -> int | None:
        tries[item] += 1
        return None if item == 0 and tries[item] < 3 else item * item

    assert dict(engine.map(list(range(6)), work)) == {item: item * item for item in range(6)}
    assert tries == {0: 3, 1: 1, 2: 1, 3: 1, 4: 1, 5: 1}


def test_what_a_work_function_raises_ends_the_map(engine: LocalEngine[int, int]) -> None:
    def work(worker: WarmWorker, item: int) -> int:
        if item == 3:
            raise InputError("disk full")
        return item

    with pytest.raises(InputError, match="^disk full$"):
        list(engine.map(list(range(6)), work))


def test_closing_an_engine_ends_the_job_in_hand(rig: Any) -> None:
    began, ended = threading.Event(), threading.Event()

    def work(worker: WarmWorker, item: int) -> int:
        try:
            arrays = [np.zeros((1, 32), dtype=np.int64)]
            with Path(str(rig.corpus.open("train").filename)).open("rb") as text:
                worker.run(header, arrays, lambda *_: began.set(), bench.settings.limits(600), files=[text.fileno()])
        except Stopped:
            ended.set()
            raise
        return item

    planned = rig.planned(rig.source(forward="\n        while True: pass"))
    bench = rig.bench()
    header = bench._header("train", planned, seats=2) | {"resumes": False, "checkpoint_seconds": 1.0}
    header["token_dtype"] = str(rig.corpus.open("train").dtype)
    with LocalEngine[int, int](1, bench.settings) as engine:
        thread = threading.Thread(target=lambda: next(engine.map([1], work), None), daemon=True)
        thread.start()
        assert began.wait(60)
    assert ended.is_set()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"processes": 0}, "engine.processes: must be above 0 or null"),
        ({"threads": 0}, "engine.threads: must be above 0"),
        ({"memory_gib": 0.0}, "engine.memory_gib: must be above 0"),
        ({"checkpoint_seconds": -1.0}, "engine.checkpoint_seconds: must not be negative"),
    ],
)
def test_engine_settings_out_of_range_are_named(rig: Any, change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        rig.bench(**change)


def test_the_number_of_workers_is_what_is_set_or_one_for_each_threads_cores(
    rig: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slots(**change: Any) -> int:
        settings: EngineSettings = rig.bench(processes=None, **change).settings
        return settings.slots()

    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(6)))
    assert [slots(), slots(threads=2), slots(threads=8), rig.bench(processes=5).settings.slots()] == [6, 3, 1, 5]
