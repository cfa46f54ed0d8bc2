"""Mixers in another process compute what they would compute here, and nothing that they say is taken on trust."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

from replication import mixers as hosting
from replication.evaluate import negative_log_likelihood
from replication.exchange import SharedMemory
from replication.mixers import build_mixers
from replication.model import build_model
from replication.remote import MixerFailed, MixerGone, RemoteMixers, Seat
from replication.train import train
from replication.wire import receive, send

# Two losses, a parameter that two layers share, one that is not trained, one that is not used, and hidden state.
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


@pytest.mark.parametrize("source", ["stateful", "rich"])
def test_a_run_in_processes_apart_gives_the_bits_of_one_in_a_single_process(rig: Any, source: str) -> None:
    text = rig.stateful if source == "stateful" else RICH
    record, curve = rig.measure(text, num_layers=2, micro_batch_size=2)
    assert (record.status, record.error) == ("ok", None)
    spec = record.spec
    mixers = build_mixers(text, spec.scale, spec.seed)
    model = build_model(list(mixers.layers()), spec.scale, 256, spec.seed)
    found: list[np.ndarray] = []
    train(model, mixers, spec, rig.corpus.open("train"), lambda _, new: found.append(new), lambda _: None, 1e9, None)
    assert np.concatenate(found).astype(np.float32).tobytes() == curve.tobytes()
    tokens, offsets = rig.corpus.open("val"), rig.bench().evaluation_offsets(spec.scale)
    windows = tokens[offsets[:, None] + np.arange(33)].astype(np.int64)
    mixers.begin(spec.seed, "evaluation")
    with torch.no_grad():
        logits = model.eval()(torch.from_numpy(windows[:, :-1]))[0].numpy()
    assert record.val_loss == float(negative_log_likelihood(logits, windows[:, 1:]).mean())


def test_globals_and_unseen_attributes_do_not_reach_the_evaluation(rig: Any) -> None:
    count = "self.seen.append(1); torch.seen = getattr(torch, 'seen', 0) + 1"
    use = "y = y if self.training else y * (len(self.seen) + torch.seen)"
    counting, curve = rig.measure(rig.source(init="self.seen = []", forward=f"{count}; {use}"))
    doubling, other = rig.measure(rig.source(forward="y = y if self.training else y * 2"))
    assert curve.tobytes() == other.tobytes()
    assert counting.val_loss == doubling.val_loss  # one call, the first of its process


def test_what_a_program_writes_into_its_parameters_is_gone_at_the_next_step(rig: Any) -> None:
    mixers, memory = build_mixers(rig.source(), rig.scale, 1), os.memfd_create("test")
    os.ftruncate(memory, 1 << 20)
    host = hosting.Host(mixers, memory, 1 << 16, "cpu")
    before = [parameter.detach().clone() for parameter in mixers.parameters()]
    with torch.no_grad():
        for parameter in mixers.parameters():
            parameter.add_(1.0)
    host.begin(1, "step")
    assert all(torch.equal(*pair) for pair in zip(mixers.parameters(), before, strict=True))


# A process that does not keep to the protocol.


class Liar:
    """A mixer process played by a thread, which may change every answer before it is sent."""

    def __init__(self, change: Callable[[dict[str, Any], SharedMemory | None], dict[str, Any] | None]) -> None:
        self.ours, self.theirs = socket.socketpair()
        self.memory = os.memfd_create("liar")
        os.ftruncate(self.memory, 1 << 22)
        self._change = change
        self._thread = threading.Thread(target=self._play, daemon=True)

    def _play(self) -> None:
        frame = receive(self.theirs)
        assert frame is not None
        scale = hosting.Scale(**frame[0]["scale"])
        mixers = build_mixers(frame[0]["source"], scale, frame[0]["seed"])
        host = hosting.Host(mixers, self.memory, frame[0]["activations"], "cpu")
        self._answer({"kind": "built", **host.told}, host)
        while (frame := receive(self.theirs)) is not None:
            told, arrays = frame
            kind = told.pop("kind")
            answer = getattr(host, kind)(*arrays, **told)
            if isinstance(answer, dict):
                self._answer({"kind": kind, **answer}, host)

    def _answer(self, header: dict[str, Any], host: hosting.Host) -> None:
        changed = self._change(header, host._memory)
        if changed is None:
            self.theirs.shutdown(socket.SHUT_RDWR)
        else:
            send(self.theirs, changed)

    def seat(self) -> Seat:
        self._thread.start()
        return Seat(0, self.ours, self.memory)


@pytest.fixture
def remote(rig: Any) -> Iterator[Callable[..., RemoteMixers]]:
    liars: list[Liar] = []

    def start(change: Callable[..., dict[str, Any] | None]) -> RemoteMixers:
        liars.append(Liar(change))
        mixers = RemoteMixers(rig.source(), rig.scale, 1, 4, "cpu", lift=False)
        mixers.open(liars[-1].seat())
        return mixers

    yield start
    for liar in liars:
        liar.ours.close()


def altered(kind: str, /, **change: Any) -> Callable[..., dict[str, Any]]:
    return lambda header, _: {**header, **change} if header["kind"] == kind else header


def step(mixers: RemoteMixers) -> torch.Tensor:
    """One forward and backward pass; returns the gradient of the inputs."""
    mixers.begin(1, "step")
    x = torch.ones(2, 32, 16, requires_grad=True)
    output, auxiliary = mixers.layers[0](x)
    (output.sum() + (0 if auxiliary is None else auxiliary)).backward()
    assert x.grad is not None
    return x.grad


FORM = [[16, 16], "float32"]


@pytest.mark.parametrize(
    "change",
    [
        {"parameters": None},
        {"parameters": [["x"]]},
        {"parameters": [FORM, FORM]},
        {"parameters": [[[2**50], "float32"]]},
        {"parameters": [[[1e3], "float32"]]},
        {"trained": None},
        {"trained": []},
        {"layers": []},
        {"layers": [[0], [0]]},
        {"layers": [[1]]},
        {"layers": [[-1]]},
        {"layers": [[True]]},
        {"layers": [["0"]]},
        {"layers": 5},
        {"kind": "ready"},
        {"kind": ["built"]},
        {"kind": "failed"},
        {"kind": "failed", "status": "ok", "error": "fine"},
        {"kind": "failed", "status": "diverged", "error": "somebody else"},
        {"kind": "failed", "status": "crashed", "error": None},
    ],
)
def test_a_description_of_parameters_that_there_cannot_be_ends_the_conversation(
    remote: Any, change: dict[str, Any]
) -> None:
    with pytest.raises(MixerGone):
        remote(altered("built", **change))


def test_parameters_that_do_not_fit_into_the_memory_are_out_of_memory(remote: Any) -> None:
    with pytest.raises(MemoryError):
        remote(altered("built", parameters=[[[2**30], "float32"]]))


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("forward", {"auxiliary": "0.5"}),
        ("forward", {"auxiliary": [0.5]}),
        ("forward", {"auxiliary": True}),
        ("forward", {"kind": "backward"}),
        ("backward", {"present": None}),
        ("backward", {"present": []}),
        ("backward", {"present": [True] * 9}),
        ("backward", {"kind": "done"}),
    ],
)
def test_an_answer_of_another_form_ends_the_conversation(remote: Any, kind: str, change: dict[str, Any]) -> None:
    mixers = remote(altered(kind, **change))
    with pytest.raises(MixerGone):
        step(mixers)


def test_a_failure_that_a_process_reports_of_itself_is_passed_on(remote: Any) -> None:
    mixers = remote(altered("forward", kind="failed", status="out_of_memory", error="full"))
    with pytest.raises(MixerFailed, match="^full$") as caught:
        step(mixers)
    assert caught.value.status == "out_of_memory"


@pytest.mark.parametrize("kind", ["forward", "backward"])
def test_a_process_that_hangs_up_is_gone(remote: Any, kind: str) -> None:
    mixers = remote(lambda header, _: None if header["kind"] == kind else header)
    with pytest.raises(MixerGone):
        step(mixers)


def test_what_changes_in_the_shared_memory_after_an_answer_changes_nothing(remote: Any) -> None:
    held: list[SharedMemory] = []

    def note(header: dict[str, Any], memory: SharedMemory) -> dict[str, Any]:
        held[:] = [memory]
        return header

    mixers = remote(note)
    mixers.begin(1, "step")
    with torch.no_grad():
        output, _ = mixers.layers[0](torch.ones(2, 32, 16))
    before = output.clone()
    for tensor in (*held[0]._ways.values(), *held[0].parameters):
        tensor.fill_(7.0)
    assert torch.equal(output, before)
    assert all(not torch.equal(p, torch.full_like(p, 7.0)) for p in mixers.layers[0].parameters())


def test_another_process_must_build_the_same_parameters(remote: Any, rig: Any) -> None:
    mixers = remote(altered("built"))
    other = Liar(altered("built", parameters=[[[8, 32], "float32"]]))
    with pytest.raises(MixerFailed, match="other parameters each time"):
        mixers.open(other.seat())
    other.ours.close()
