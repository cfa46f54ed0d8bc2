"""Search for outputs that move when an input after them is changed, over an oracle that maps inputs to outputs."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import numpy as np

from replication.initialise import keyed_generator
from replication.states import Kind, Mode, ProgramState

Floats = np.ndarray
PIECE = 32  # rows of a call: 159 changed positions fill five calls, 64 fill two
FLOAT64 = 2.0**-52  # its rounding error
ROUNDING = 64.0  # bound on rounding, in units of epsilon x sqrt(length) x largest output
MILD = 1.0  # size of change at which an overflow is no longer an excuse
MILDER = (10.0, 3.0, MILD)  # what a change that overflows is tried with instead
LOUD = 8.0  # standard deviations of loud inputs
QUIET = 1e-6  # a channel this much below the others counts as that large


class ProgramFailed(Exception):
    """The program raised, or answered nonsense, in one call; it can be called again."""


class OutOfMemory(ProgramFailed):
    """The call needed more memory than the program may have."""


class ProgramEnded(Exception):
    """The program is out of time, or has failed too often: nothing more can be asked."""


class Oracle(Protocol):
    """A program that can be set up and called; `replication.subject.Subject` says what each call does."""

    def build(self, state: ProgramState) -> dict[str, Any]:
        """Set the program up."""

    def outputs(self, x: Floats, mode: Mode, *, restore: bool = True, draw: int = 0, grad: bool = False) -> Floats:
        """Call it."""

    def gradient(self, x: Floats, weights: Floats, mode: Mode, *, draw: int = 0) -> Floats:
        """Differentiate it."""

    def reloaded(self, x: Floats) -> Floats:
        """Call a copy that was restored from its state_dict."""

    def growth(self, length: int) -> dict[str, Any]:
        """Count what a call costs."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What stays the same during one search.

    epsilon: rounding error of the coarsest type that the program computes in. loud: inputs of LOUD standard deviations,
    every second token the same as the one before it.
    """

    seed: int
    mode: Mode
    length: int
    hidden_size: int
    dtype: Literal["float64", "float32"]
    epsilon: float
    loud: bool = False
    noise: float = 0.0  # measured: how much the same call differs from itself, relative to the outputs
    draw: int = 0


@dataclass(frozen=True, kw_only=True)
class Change:
    """One way to change an input: one position, or it and all that follow, by `size` standard deviations."""

    kind: Kind
    position: int
    size: float


@dataclass(frozen=True)
class Effects:
    """moved [N, T]: the largest change of each output under each change, relative to the root mean square of its
    channel; 0 from the changed position on. allowance [N]: what rounding may do, in the same unit. overflowed: how
    many changes were made smaller because the program's numbers overflowed.
    """

    changes: tuple[Change, ...]
    moved: Floats
    allowance: Floats
    overflowed: int

    def worst(self) -> tuple[Change, float]:
        """The change with the largest effect in units of its allowance, and that effect."""
        excess = self.moved.max(axis=1) / self.allowance
        row = int(excess.argmax())
        return self.changes[row], float(excess[row])

    @property
    def size(self) -> float:
        """The largest effect."""
        return float(self.moved.max(initial=0.0))

    @property
    def limit(self) -> float:
        """The smallest effect of one standard deviation of input that all changes of that size or more would show."""
        sizes = np.array([change.size for change in self.changes])
        return float(np.where(sizes >= MILD, self.allowance / sizes, 0.0).max(initial=0.0))

    def first(self) -> tuple[Change, int] | None:
        """The change that tells what the first moving output depends on, and that output; None where none moves."""
        beyond = self.moved > self.allowance[:, None]
        if not beyond.any():
            return None
        output = int(beyond.any(axis=0).argmax())
        single = [
            change
            for change, hit in zip(self.changes, beyond[:, output], strict=True)
            if hit and change.kind == "single"
        ]
        if single:
            return min(single, key=lambda change: change.position), output
        # A suffix says that some input from its start on matters: the shortest one says it best.
        suffix = [change for change, hit in zip(self.changes, beyond[:, output], strict=True) if hit]
        return max(suffix, key=lambda change: change.position), output


def base_input(setting: Setting, rows: int = 1) -> Floats:
    """Inputs [rows, T, D], standard normal; the same rows for every length and mode."""
    x = np.stack([_noise(setting.seed, f"input {row}", setting.length, setting.hidden_size) for row in range(rows)])
    if setting.loud:
        x = LOUD * x
        x[:, 1::2] = x[:, : 2 * (setting.length // 2) : 2]
    return x.astype(setting.dtype)


def changed_input(base: Floats, setting: Setting, change: Change) -> Floats:
    """`base` [T, D] under `change`."""
    last = change.position + 1 if change.kind == "single" else setting.length
    noise = _noise(setting.seed, f"{change.kind} {change.position}", last - change.position, setting.hidden_size)
    changed = base.copy()
    changed[change.position : last] += (change.size * noise).astype(setting.dtype)
    return changed


@functools.lru_cache(maxsize=4096)
def _noise(seed: int, key: str, length: int, hidden_size: int) -> Floats:
    """Standard normal [length, hidden_size]; the same for every program, so it is kept. Not to be written to."""
    return keyed_generator(seed, key).standard_normal((length, hidden_size))


def all_changes(length: int, kinds: Sequence[Kind], sizes: Sequence[float], turn: int) -> tuple[Change, ...]:
    """Every position but the first, in each kind; the sizes take turns, starting at `turn`."""
    return tuple(
        Change(kind=kind, position=position, size=sizes[(position + shift + turn) % len(sizes)])
        for shift, kind in enumerate(kinds)
        for position in range(1, length)
    )


def even_piece(changes: int) -> int:
    """Rows of a call such that `changes` fill all calls, none larger than PIECE."""
    return max(1, math.ceil(changes / math.ceil(max(1, changes) / PIECE)))


def search(
    oracle: Oracle, setting: Setting, changes: Sequence[Change], rows: int = PIECE, companions: int = 0
) -> Effects:
    """What each change does to the outputs before it.

    Each call holds up to `rows` changes, one a row of the batch (fewer where memory does not do), unchanged rows in
    place of missing ones, and `companions` unchanged rows more. Changed and unchanged rows are compared in calls of one
    shape, from one state and one stream of random numbers, so a clean program differs in nothing but the rounding of
    sums that run over all positions.

    Raises:
        ProgramFailed: the program raises, or its outputs are not finite.
    """
    while True:
        try:
            return _search(oracle, setting, changes, rows, companions)
        except OutOfMemory:
            if rows == 1:
                raise
            rows = max(1, rows // 4)


def _search(oracle: Oracle, setting: Setting, changes: Sequence[Change], rows: int, companions: int) -> Effects:
    base = base_input(setting)[0]
    beside = np.repeat(base[None], companions, axis=0)

    def call(inputs: Floats) -> Floats:
        return oracle.outputs(np.concatenate([inputs, beside]), setting.mode, draw=setting.draw)[: len(inputs)]

    moved = np.zeros((len(changes), setting.length))
    allowance, settled = np.zeros(len(changes)), list(changes)
    overflowed = 0
    still = np.repeat(base[None], rows, axis=0)
    reference = call(still)
    if not np.isfinite(reference).all():
        raise ProgramFailed("non-finite outputs on standard normal inputs")
    for start in range(0, len(changes), rows):
        piece = list(changes[start : start + rows])
        inputs = still.copy()
        inputs[: len(piece)] = [changed_input(base, setting, change) for change in piece]
        outputs = call(inputs)[: len(piece)]
        for i in np.flatnonzero(~np.isfinite(outputs).all(axis=(1, 2))):
            change, before = piece[i], slice(0, piece[i].position)
            milder = (size for size in MILDER if size < change.size)
            while not np.isfinite(outputs[i, before]).all() and (size := next(milder, None)) is not None:
                overflowed += piece[i] is change
                piece[i] = replace(change, size=size)
                again = still.copy()
                again[i] = changed_input(base, setting, piece[i])
                outputs[i] = call(again)[i]
        part = slice(start, start + len(piece))
        settled[part] = piece
        moved[part], allowance[part] = _effects(reference[: len(piece)], outputs, setting, piece)
    return Effects(changes=tuple(settled), moved=moved, allowance=allowance, overflowed=overflowed)


def apart(one: Floats, other: Floats, setting: Setting) -> tuple[float, float]:
    """Largest difference of two outputs [..., T, D], relative to the size of the channel, and what rounding may do.

    Raises:
        ProgramFailed: `one` is not finite.
    """
    sizes = _channel_sizes(one)
    with np.errstate(invalid="ignore"):
        gap = np.abs(one.astype(np.float64) - other) / sizes
    largest = max(_largest(one, sizes), _largest(other, sizes))
    return float(np.nan_to_num(gap, nan=np.inf).max(initial=0.0)), _allowance(largest, setting)


def _effects(reference: Floats, outputs: Floats, setting: Setting, changes: Sequence[Change]) -> tuple[Floats, Floats]:
    """Change of each output before the changed position [N, T], and the allowances [N]."""
    sizes = _channel_sizes(reference)
    positions = np.array([change.position for change in changes])
    with np.errstate(invalid="ignore", over="ignore"):
        gap = np.subtract(outputs, reference, dtype=np.float64)
        np.abs(gap, out=gap)
        gap /= sizes
        moved = np.nan_to_num(gap.max(axis=-1), nan=np.inf)
        np.abs(outputs, out=gap)
        gap /= sizes
    before = np.arange(setting.length) < positions[:, None]
    # Sums over all positions round at the size of the largest term, which the change may have put in.
    largest = gap.max(axis=(1, 2))
    if not np.isfinite(largest).all():
        largest = np.where(np.isfinite(gap), gap, 0.0).max(axis=(1, 2))
    scale = np.array([max(1.0, change.size) for change in changes])
    with np.errstate(over="ignore"):
        terms = np.maximum(largest, _largest(reference, sizes)) * scale
    allowances = [_allowance(size, setting) for size in terms]
    return np.where(before, moved, 0.0), np.array(allowances)


def _channel_sizes(outputs: Floats) -> Floats:
    """Root mean square of each channel [D], no channel far below the whole; 1 where all outputs are 0."""
    with np.errstate(over="ignore"):
        squares = np.square(outputs, dtype=np.float64).reshape(-1, outputs.shape[-1]).mean(axis=0)
    if not np.isfinite(squares).all():
        raise ProgramFailed("outputs on standard normal inputs are not finite, or too large to compare")
    sizes: Floats = np.sqrt(squares)
    whole = math.sqrt(float(squares.mean()))
    return np.maximum(sizes, QUIET * whole) if whole > 0 else np.ones_like(sizes)


def _allowance(largest: float, setting: Setting) -> float:
    rounding = ROUNDING * setting.epsilon * math.sqrt(setting.length) * max(largest, 1.0)
    return max(rounding, 10.0 * setting.noise)


def _largest(outputs: Floats, sizes: Floats) -> float:
    with np.errstate(over="ignore"):
        relative = np.abs(outputs) / sizes
    return float(relative[np.isfinite(relative)].max(initial=0.0))
