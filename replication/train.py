"""Training of one model, deterministic in (spec, seed): the part of a run that happens inside the worker."""

from __future__ import annotations

import io
import json
import math
import pickle
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from replication.exchange import State
from replication.model import LanguageModel
from replication.record import RunSpec
from replication.step import Seeded, make_step

EMIT_SECONDS = 0.5


class Diverged(Exception):
    """The training loss, or a gradient, became non-finite; `step` counts from 1."""

    def __init__(self, step: int) -> None:
        super().__init__(f"non-finite training loss or gradient at step {step}")
        self.step = step


class CheckpointError(Exception):
    """A checkpoint that cannot be used: damaged, or of another run."""


def make_optimiser(model: nn.Module, spec: RunSpec) -> torch.optim.AdamW:
    """AdamW (Loshchilov and Hutter, arXiv 1711.05101); weight decay on matrices only."""
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    others = [p for p in model.parameters() if p.ndim < 2]
    settings = spec.optimiser
    groups = [{"params": matrices, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(
        groups, lr=spec.scale.learning_rate, betas=(settings.beta1, settings.beta2), eps=settings.epsilon, fused=True
    )


def train(
    model: LanguageModel,
    mixers: Seeded,
    spec: RunSpec,
    tokens: np.ndarray,
    emit: Callable[[int, np.ndarray], None],
    save: Callable[[bytes], None],
    checkpoint_seconds: float,
    checkpoint: bytes | None,
) -> tuple[str, ...]:
    """Train in place for spec.scale.steps steps; returns what a record of the run should say of how (`Step.notes`).

    Args:
        mixers: those in `model`.
        tokens: the training split, one-dimensional token ids.
        emit: called now and then with (first step, float32 losses in nats per token).
        save: called with a checkpoint every `checkpoint_seconds`.
        checkpoint: the last one of an earlier process; None to start from step 0.

    Raises:
        Diverged: non-finite loss.
        CheckpointError: `checkpoint` cannot be used.
    """
    optimiser = make_optimiser(model, spec)
    start, losses = 0, np.zeros(spec.scale.steps, dtype=np.float32)
    if checkpoint is not None:
        start = unpack_checkpoint(checkpoint, spec, model, mixers, optimiser, losses)
        emit(0, losses[:start])
    model.train()
    runner = make_step(model, mixers, optimiser, spec)
    sent, last_emit, last_save = start, time.monotonic(), time.monotonic()
    for step in range(start, spec.scale.steps):
        losses[step] = runner.run(tokens, step)
        if not math.isfinite(losses[step]):
            emit(sent, losses[sent:step])
            raise Diverged(step + 1)
        now = time.monotonic()
        if now - last_emit >= EMIT_SECONDS:
            emit(sent, losses[sent : step + 1])
            sent, last_emit = step + 1, now
        if now - last_save >= checkpoint_seconds:
            save(pack_checkpoint(spec, model, mixers, optimiser, losses[: step + 1]))
            last_save = time.monotonic()
    emit(sent, losses[sent:])
    return runner.notes


def pack_checkpoint(
    spec: RunSpec, model: LanguageModel, mixers: Seeded, optimiser: torch.optim.Optimizer, losses: np.ndarray
) -> bytes:
    """Model, optimiser, losses so far and the hidden state of the mixers, as bytes."""
    buffer, hidden = io.BytesIO(), mixers.state()
    state = {
        "run_id": spec.run_id,
        "model": dict(model.named_parameters()),
        "optimiser": optimiser.state_dict(),
        "losses": torch.from_numpy(losses.copy()),
        "mixers": json.dumps(hidden.told),
        "data": [torch.from_numpy(data) for data in hidden.data],
    }
    torch.save(state, buffer)
    return buffer.getvalue()


def unpack_checkpoint(
    data: bytes,
    spec: RunSpec,
    model: LanguageModel,
    mixers: Seeded,
    optimiser: torch.optim.Optimizer,
    losses: np.ndarray,
) -> int:
    """Restore what pack_checkpoint made; fills `losses` and returns the number of steps done.

    Raises:
        CheckpointError: it is damaged, or of another run.
    """
    try:
        state = torch.load(io.BytesIO(data), weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError) as error:
        raise CheckpointError(f"cannot be read: {error}") from error
    if state["run_id"] != spec.run_id:
        raise CheckpointError(f"belongs to run {state['run_id']}")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(state["model"][name])
    optimiser.load_state_dict(state["optimiser"])
    mixers.restore(State.from_told(json.loads(state["mixers"]), [data.numpy() for data in state["data"]]))
    done = state["losses"].numel()
    losses[:done] = state["losses"].numpy()
    return int(done)
