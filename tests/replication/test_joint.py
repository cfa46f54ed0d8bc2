"""A program's own process can train the whole model: the same bits, and no trust in what comes back."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from replication.configure import compose
from replication.exchange import ExchangeError, to_bytes
from replication.joint import Trained
from replication.plan import BASELINES
from replication.processes import EngineSettings, WarmWorker
from replication.settings import typed

# Buffers and counters, dropout, an auxiliary loss, a parameter that two layers share, one that is not trained and one
# that is not used; and it writes into its input.
RICH = """
import torch
from torch import nn

SHARED = nn.Parameter(torch.full((4,), 0.5))

class Mixer(nn.Module):
    def __init__(self, hidden_size, num_heads, layer_idx):
        super().__init__()
        self.proj = nn.Linear(hidden_size, hidden_size)
        self.shared = SHARED
        self.fixed = nn.Parameter(torch.ones(3), requires_grad=False)
        self.unused = nn.Parameter(torch.ones(2))
        self.register_buffer("mean", torch.zeros(hidden_size))
        self.calls = 0
        self.drop = nn.Dropout(0.1)

    def forward(self, x):
        self.calls += 1
        self.mean.lerp_(x.detach().mean((0, 1)), 0.1)
        x.mul_(1.5)
        y = self.drop(self.proj(x)).cumsum(1) / 9 + self.mean * self.shared.sum() + self.calls / 99
        return y, 0.1 * self.proj.weight.square().mean()
"""
LAYERS = {"num_layers": 2, "micro_batch_size": 2}


@pytest.mark.parametrize("name", ["gated_delta_net", "dropout and counters", "all that is hard"])
def test_training_in_the_programs_process_gives_the_bits_of_training_apart(rig: Any, name: str) -> None:
    source = {"dropout and counters": rig.stateful, "all that is hard": RICH}.get(name)
    source = source or (BASELINES / f"{name}.py").read_text()
    (apart, curve), (joint, other) = (
        rig.measure(source, honest=rig.honest, training=training, **LAYERS) for training in ("separate", "joint")
    )
    assert (joint.status, joint.error, joint.steps_done) == ("ok", None, 12)
    assert other.tobytes() == curve.tobytes()
    for field in ("val_loss", "honest_loss", "leak_gain", "bits_per_byte", "parameters", "benchmarks"):
        assert getattr(joint, field) == getattr(apart, field)
    assert joint.run_id != apart.run_id
    assert [record.confinement["training"][:5] for record in (apart, joint)] == ["apart", "joint"]


@pytest.mark.parametrize("killed", ["trainer", "program"])
def test_a_run_whose_process_is_killed_goes_on_from_its_checkpoint_to_the_same_bytes(rig: Any, killed: str) -> None:
    shape = {"steps": 150, "training": "joint", **LAYERS}
    whole, curve = rig.measure(RICH, work=made(rig.folder / "whole"), **shape)
    work, starts = made(rig.folder / "killed"), []
    place = 0 if killed == "trainer" else 1
    killer = threading.Thread(target=kill_after_checkpoint, args=(rig.worker, work / "checkpoint", place))
    killer.start()
    again, other = rig.measure(
        RICH,
        work=work,
        bench=rig.bench(checkpoint_seconds=0.0),
        on_steps=lambda first, new: starts.append(len(new)) if first == 0 else None,
        **shape,
    )
    killer.join()
    assert (again.status, again.error) == ("ok", None)
    assert 3 <= starts[-1] < 150  # the second time, from the checkpoint
    assert other.tobytes() == curve.tobytes()
    assert again.val_loss == whole.val_loss


@pytest.mark.parametrize(
    ("forward", "status", "error", "step"),
    [
        ("self.calls += 1; y = y / (self.calls != 2)", "diverged", "non-finite training loss or gradient at step 2", 2),
        ("self.calls += 1; self.calls == 2 and torch.os._exit(3)", "crashed", "exit code 3 before its result", None),
        ("self.calls += 1; y = y[:, self.calls // 2 :]", "crashed", "it returned: shape", None),
        ("y = torch.zeros(10**10)", "out_of_memory", "memory limit", None),
        ("y = y * (1 if self.training else float('nan'))", "diverged", "non-finite logits in the final", None),
    ],
)
def test_a_fault_in_such_a_training_has_the_status_that_it_has_apart(
    rig: Any, forward: str, status: str, error: str, step: int | None
) -> None:
    source = rig.source(init="self.calls = 0", forward=forward)
    found = [rig.measure(source, steps=3, training=training)[0] for training in ("separate", "joint")]
    assert [record.status for record in found] == [status, status]
    assert all(error in str(record.error) for record in found)
    assert found[0].failed_step == found[1].failed_step
    assert step is None or found[1].failed_step == step


def test_weights_that_are_not_finite_are_a_divergence_and_no_score(rig: Any) -> None:
    spoil = "self.calls += 1; self.calls == 3 and self.proj.weight.data.fill_(float('nan'))"
    record, _ = rig.measure(rig.source(init="self.calls = 0", forward=spoil), steps=3, training="joint")
    assert (record.status, record.val_loss) == ("diverged", None)


def test_a_training_that_does_not_end_is_timed_out(rig: Any) -> None:
    bench = rig.bench(time_floor_seconds=1.0)
    source = rig.source(forward="\n        while self.training: pass")
    record, _ = rig.measure(source, bench=bench, training="joint")
    assert (record.status, record.error) == ("timed_out", "killed at its time limit")


def test_a_checkpoint_of_one_way_of_training_is_never_read_by_the_other(rig: Any) -> None:
    warnings: list[str] = []
    bench = rig.bench(checkpoint_seconds=0.0)
    rig.measure(bench=bench, training="joint")
    apart, curve = rig.measure(bench=rig.bench(warnings.append), training="separate")
    fresh, other = rig.measure(work=made(rig.folder / "fresh"))
    assert (apart.val_loss, curve.tobytes()) == (fresh.val_loss, other.tobytes())
    assert "belongs to run" in "".join(warnings)


# What a process that trains may send.


class Sink:
    """Takes what is passed on."""

    def __init__(self, pause: float = 0.0) -> None:
        self.model = nn.Linear(2, 3)
        self.losses: list[np.ndarray] = []
        self.states: list[bytes] = []
        self.trained = Trained(self.model, 4, lambda _, new: self.losses.append(new), self.states.append, pause)

    def take(self, kind: str, array: np.ndarray, **told: object) -> None:
        self.trained.take({"kind": kind, **told}, [array])


def weights(*values: float) -> np.ndarray:
    return to_bytes(torch.tensor(values))


CURVE = np.ones(4, np.float32)
SIX = (0.0, 1.0, 2.0, 3.0, 4.0, 5.0)


def test_curve_checkpoints_and_weights_are_passed_on() -> None:
    sink = Sink()
    sink.take("steps", CURVE[:3], first=0)
    sink.take("checkpoint", np.arange(5, dtype=np.uint8))
    sink.take("steps", CURVE[3:], first=3)
    sink.take("weights", weights(*SIX), place=0)
    sink.take("weights", weights(7.0, 8.0, 9.0), place=1)
    assert not sink.trained.complete
    sink.trained.take({"kind": "trained", "notes": ["a note"]}, [])
    assert (sink.trained.complete, sink.trained.notes) == (True, ["a note"])
    assert (np.concatenate(sink.losses).tolist(), sink.states) == ([1.0] * 4, [bytes(range(5))])
    assert sink.model.weight.flatten().tolist() == list(SIX)
    assert sink.model.bias.tolist() == [7.0, 8.0, 9.0]


def test_checkpoints_at_too_high_a_pace_are_left_out() -> None:
    sink = Sink(pause=1000.0)
    for _ in range(9):
        sink.take("checkpoint", np.zeros(5, np.uint8))
    assert sink.states == []


@pytest.mark.parametrize(
    ("kind", "array", "told"),
    [
        ("steps", CURVE[:1], {"first": 1}),
        ("steps", CURVE[:1], {}),
        ("steps", np.ones(5, np.float32), {"first": 0}),
        ("steps", CURVE.reshape(2, 2), {"first": 0}),
        ("steps", CURVE.astype(np.float64), {"first": 0}),
        ("steps", np.full(2, np.nan, np.float32), {"first": 0}),
        ("checkpoint", np.zeros(3, np.float32), {}),
        ("weights", weights(*SIX), {"place": 0}),
    ],
    ids=["late", "nowhere", "too long", "a matrix", "float64", "not finite", "of numbers", "before the end"],
)
def test_another_frame_is_refused(kind: str, array: np.ndarray, told: dict[str, object]) -> None:
    with pytest.raises(ExchangeError):
        Sink().take(kind, array, **told)


@pytest.mark.parametrize(
    ("array", "told"),
    [
        (weights(*SIX), {"place": 1}),
        (weights(*SIX, 6.0), {"place": 0}),
        (weights(1.0), {"place": 0}),
        (np.array(SIX, np.float32), {"place": 0}),
        (weights(*SIX).reshape(2, 12), {"place": 0}),
    ],
    ids=["of another place", "too many", "too few", "not as bytes", "of another shape"],
)
def test_weights_of_another_form_are_refused(array: np.ndarray, told: dict[str, object]) -> None:
    sink = Sink()
    sink.take("steps", CURVE, first=0)
    with pytest.raises(ExchangeError):
        sink.take("weights", array, **told)


def test_an_end_without_all_weights_is_refused() -> None:
    sink = Sink()
    sink.take("steps", CURVE, first=0)
    sink.take("weights", weights(*SIX), place=0)
    with pytest.raises(ExchangeError):
        sink.trained.take({"kind": "trained", "notes": []}, [])


# Which way is taken.


@pytest.mark.parametrize(("chosen", "found"), [("auto", "separate"), ("separate", "separate"), ("joint", "joint")])
def test_on_a_cpu_training_is_apart_unless_it_is_asked_for(chosen: str, found: str) -> None:
    group = compose("replicate", ["engine.device=cpu", f"engine.training={chosen}"])["engine"]
    assert typed(EngineSettings, group, "engine").resolved_training() == found


def test_on_a_gpu_training_is_joint_unless_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for chosen, found in (("auto", "joint"), ("separate", "separate")):
        group = compose("replicate", ["engine.device=cuda", f"engine.training={chosen}"])["engine"]
        assert typed(EngineSettings, group, "engine").resolved_training() == found


def made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def kill_after_checkpoint(worker: WarmWorker, checkpoint: Path, place: int) -> None:
    """Kill the process of a job that was the first to start, or the one after it, once a few steps are kept."""
    while not checkpoint.exists() or steps_in(checkpoint) < 3:
        time.sleep(0.002)
    os.kill(sorted(worker._children)[place], signal.SIGKILL)


def steps_in(checkpoint: Path) -> int:
    with checkpoint.open("rb") as file:
        file.seek(32)
        count: int = torch.load(file, weights_only=True)["losses"].numel()
    return count
