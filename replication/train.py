"""Training of one model, deterministic in (spec, seed): the part of a run that happens inside the worker."""

from __future__ import annotations

import contextlib
import hashlib
import io
import math
import os
import pickle
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from replication.candidate import python_state, restore_python_state
from replication.corpus import batch_offsets, train_batch
from replication.initialise import seed_libraries
from replication.model import LanguageModel
from replication.record import Optimiser, RunSpec

EMIT_SECONDS = 0.5


class Diverged(Exception):
    """The training loss became non-finite; `step` counts from 1."""

    def __init__(self, step: int) -> None:
        super().__init__(f"non-finite training loss at step {step}")
        self.step = step


class CheckpointError(Exception):
    """A checkpoint that cannot be used: damaged, or of another run."""


def learning_rate(step: int, steps: int, peak: float, optimiser: Optimiser) -> float:
    """Learning rate of step 0 <= step < steps: linear warm-up, then a cosine, or constant with a linear decay (WSD)."""
    warmup = max(1, round(optimiser.warmup_fraction * steps))
    floor = optimiser.final_learning_rate
    if step < warmup:
        return peak * (step + 1) / warmup
    if optimiser.schedule == "cosine":
        progress = (step - warmup) / max(1, steps - warmup)
        return peak * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress)))
    decay = max(1, round(optimiser.decay_fraction * steps))
    return peak * (floor + (1 - floor) * min(1.0, (steps - step) / decay))


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
    spec: RunSpec,
    tokens: np.ndarray,
    emit: Callable[[int, np.ndarray], None],
    checkpoint: Path | None,
    checkpoint_seconds: float,
) -> None:
    """Train in place for spec.scale.steps steps.

    Args:
        tokens: the training split, one-dimensional token ids.
        emit: called now and then with (first step, float32 losses in nats per token).
        checkpoint: where to save and resume; None for neither.
        checkpoint_seconds: time between checkpoints.

    Raises:
        Diverged: non-finite loss.
        CheckpointError: `checkpoint` exists and is damaged or of another run.
    """
    optimiser = make_optimiser(model, spec)
    start, losses = 0, np.zeros(spec.scale.steps, dtype=np.float32)
    if checkpoint is not None and checkpoint.exists():
        start = load_checkpoint(checkpoint, spec, model, optimiser, losses)
        emit(0, losses[:start])
    model.train()
    sent, last_emit, last_save = start, time.monotonic(), time.monotonic()
    for step in range(start, spec.scale.steps):
        losses[step] = train_step(model, optimiser, spec, tokens, step)
        if not math.isfinite(losses[step]):
            emit(sent, losses[sent:step])
            raise Diverged(step + 1)
        now = time.monotonic()
        if now - last_emit >= EMIT_SECONDS:
            emit(sent, losses[sent : step + 1])
            sent, last_emit = step + 1, now
        if checkpoint is not None and now - last_save >= checkpoint_seconds:
            with contextlib.suppress(OSError):  # it saves time and decides nothing; a full disk shows in the ledger
                save_checkpoint(checkpoint, spec, model, optimiser, losses[: step + 1])
            last_save = time.monotonic()
    emit(sent, losses[sent:])


def train_step(
    model: LanguageModel, optimiser: torch.optim.Optimizer, spec: RunSpec, tokens: np.ndarray, step: int
) -> float:
    """One optimiser step; returns the mean cross-entropy of the batch in nats per token."""
    scale = spec.scale
    device = next(model.parameters()).device
    # Every step seeds its own stream (dropout and the like), so that a resumed run needs no saved state.
    seed_libraries(spec.seed, f"step {step}")
    for group in optimiser.param_groups:
        group["lr"] = learning_rate(step, scale.steps, scale.learning_rate, spec.optimiser)
    offsets = batch_offsets(
        spec.seed, step, tokens=len(tokens), sequence_length=scale.sequence_length, batch_size=scale.batch_size
    )
    micro_batches = scale.batch_size // scale.micro_batch_size
    total = 0.0
    for part in np.split(offsets, micro_batches):
        inputs, targets = train_batch(tokens, part, scale.sequence_length)
        logits, auxiliary = model(torch.from_numpy(inputs).to(device))
        loss = F.cross_entropy(logits.flatten(0, 1), torch.from_numpy(targets).to(device).flatten())
        ((loss + auxiliary) / micro_batches).backward()
        total += loss.item() / micro_batches
    nn.utils.clip_grad_norm_(model.parameters(), spec.optimiser.gradient_clip)
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    return total


def save_checkpoint(
    path: Path, spec: RunSpec, model: nn.Module, optimiser: torch.optim.Optimizer, losses: np.ndarray
) -> None:
    """Write model, optimiser, losses so far and the program's own counters; atomic, with a checksum in front."""
    buffer = io.BytesIO()
    state = {
        "run_id": spec.run_id,
        "model": model.state_dict(),
        "optimiser": optimiser.state_dict(),
        "losses": torch.from_numpy(losses.copy()),
        "python": python_state(model),
    }
    torch.save(state, buffer)
    body = buffer.getvalue()
    temporary = path.with_suffix(".tmp")
    try:
        with temporary.open("wb") as file:
            file.write(hashlib.sha256(body).digest() + body)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def load_checkpoint(
    path: Path, spec: RunSpec, model: nn.Module, optimiser: torch.optim.Optimizer, losses: np.ndarray
) -> int:
    """Restore what save_checkpoint wrote; fills `losses` and returns the number of steps done.

    Raises:
        CheckpointError: it cannot be read, or checksum or run_id do not match.
    """
    try:
        data = path.read_bytes()
        if len(data) < 32 or hashlib.sha256(data[32:]).digest() != data[:32]:
            raise CheckpointError(f"{path.name} is damaged")
        state = torch.load(io.BytesIO(data[32:]), weights_only=True)
    except (OSError, pickle.UnpicklingError) as error:
        raise CheckpointError(f"{path.name} cannot be read: {error}") from error
    if state["run_id"] != spec.run_id:
        raise CheckpointError(f"{path.name} belongs to run {state['run_id']}")
    model.load_state_dict(state["model"])
    optimiser.load_state_dict(state["optimiser"])
    restore_python_state(model, state["python"])
    done = state["losses"].numel()
    losses[:done] = state["losses"].numpy()
    return int(done)
