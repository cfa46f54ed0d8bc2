"""Search for outputs that move when an input after them is changed, over an oracle that maps inputs to outputs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import numpy as np

from replication.initialise import keyed_generator
from replication.states import Kind, Mode, ProgramState

Floats = np.ndarray
PIECE = 53  # rows of a call: 159 changed positions fill three calls, and larger ones leave the cache
EPSILON = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}
ROUNDING = 64.0  # bound on rounding, in units of epsilon x sqrt(length) x largest output
MILD = 1.0  # size of change at which an overflow is no longer an excuse


class ProgramFailed(Exception):
    """The program raised, or answered nonsense, in one call; it can be called again."""


class ProgramEnded(Exception):
    """The program is out of time or memory: nothing more can be asked."""


class Oracle(Protocol):
    """A program that can be set up and called; `replication.subject.Subject` says what each call does."""

    def build(self, state: ProgramState) -> dict[str, Any]:
        """Set the program up."""

    def outputs(self, x: Floats, mode: Mode, *, restore: bool = True, draw: int = 0) -> Floats:
        """Call it."""

    def gradient(self, x: Floats, weights: Floats, mode: Mode, *, draw: int = 0) -> Floats:
        """Differentiate it."""

    def reloaded(self, x: Floats) -> Floats:
        """Call a copy that was restored from its state_dict."""

    def growth(self, length: int) -> dict[str, Any]:
        """Count what a call costs."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What stays the same during one search. epsilon: of the narrowest type the program computes in."""

    seed: int
    mode: Mode
    length: int
    hidden_size: int
    dtype: Literal["float64", "float32"]
    epsilon: float
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
    """moved [N, T]: the largest change of each output under each change, relative to the outputs' root mean square;
    0 from the changed position on. allowance [N]: what rounding may do, in the same unit. overflowed: how many
    changes were made smaller because the program's numbers overflowed.
    """

    changes: tuple[Change, ...]
    moved: Floats
    allowance: Floats
    overflowed: int

    def excess(self) -> float:
        """The first effect in units of its allowance; 0 where nothing moves."""
        first = self.first()
        if first is None:
            return 0.0
        row = self.changes.index(first[0])
        return float(self.moved[row].max() / self.allowance[row])

    @property
    def size(self) -> float:
        """The largest effect."""
        return float(self.moved.max(initial=0.0))

    @property
    def limit(self) -> float:
        """The smallest effect of one standard deviation of input that every change here would have shown."""
        return float((self.allowance / [change.size for change in self.changes]).max(initial=0.0))

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
    draws = [
        keyed_generator(setting.seed, f"input {row}").standard_normal((setting.length, setting.hidden_size))
        for row in range(rows)
    ]
    return np.stack(draws).astype(setting.dtype)


def changed_input(base: Floats, setting: Setting, change: Change) -> Floats:
    """`base` [T, D] under `change`."""
    generator = keyed_generator(setting.seed, f"{change.kind} {change.position}")
    last = change.position + 1 if change.kind == "single" else setting.length
    noise = generator.standard_normal((last - change.position, setting.hidden_size))
    changed = base.copy()
    changed[change.position : last] += (change.size * noise).astype(setting.dtype)
    return changed


def all_changes(length: int, kinds: Sequence[Kind], sizes: Sequence[float], turn: int) -> tuple[Change, ...]:
    """Every position but the first, in each kind; the sizes take turns, starting at `turn`."""
    return tuple(
        Change(kind=kind, position=position, size=sizes[(position + shift + turn) % len(sizes)])
        for shift, kind in enumerate(kinds)
        for position in range(1, length)
    )


def search(
    oracle: Oracle, setting: Setting, changes: Sequence[Change], rows: int = PIECE, companions: int = 0
) -> Effects:
    """What each change does to the outputs before it.

    Each call holds `rows` changes, one a row of the batch, and `companions` rows without any. Changed and unchanged
    rows are compared in calls of one shape, from one state and one stream of random numbers, so a clean program
    differs in nothing but the rounding of sums that run over all positions.

    Raises:
        ProgramFailed: the program raises, or its outputs are not finite.
    """
    base = base_input(setting)[0]
    beside = np.repeat(base[None], companions, axis=0)

    def call(inputs: Floats) -> Floats:
        return oracle.outputs(np.concatenate([inputs, beside]), setting.mode, draw=setting.draw)[: len(inputs)]

    reference: dict[int, Floats] = {}
    moved = np.zeros((len(changes), setting.length))
    allowance, settled = np.zeros(len(changes)), list(changes)
    overflowed = 0
    for start in range(0, len(changes), rows):
        piece = list(changes[start : start + rows])
        still = np.repeat(base[None], len(piece), axis=0)
        if len(piece) not in reference:
            reference[len(piece)] = call(still)
            if not np.isfinite(reference[len(piece)]).all():
                raise ProgramFailed("non-finite outputs on standard normal inputs")
        outputs = call(np.stack([changed_input(base, setting, change) for change in piece]))
        for i, change in enumerate(piece):
            before = slice(0, change.position)
            if not np.isfinite(outputs[i, before]).all() and change.size > MILD:
                overflowed += 1
                settled[start + i] = change = replace(change, size=MILD)
                milder = still.copy()
                milder[i] = changed_input(base, setting, change)
                outputs[i] = call(milder)[i]
            moved[start + i, before], allowance[start + i] = _effect(
                reference[len(piece)][i], outputs[i], setting, change
            )
    return Effects(changes=tuple(settled), moved=moved, allowance=allowance, overflowed=overflowed)


def apart(one: Floats, other: Floats, setting: Setting) -> tuple[float, float]:
    """Largest difference of two outputs [..., T, D], relative to their root mean square, and what rounding may do."""
    rms = math.sqrt(float(np.square(one, dtype=np.float64).mean())) or 1.0
    with np.errstate(invalid="ignore"):
        gap = np.abs(one.astype(np.float64) - other)
    worst = float(np.nan_to_num(gap, nan=np.inf).max(initial=0.0))
    return worst / rms, _allowance(max(_largest(one), _largest(other)), rms, setting)


def _effect(reference: Floats, outputs: Floats, setting: Setting, change: Change) -> tuple[Floats, float]:
    """Change of each output before the changed position, and the allowance."""
    rms = math.sqrt(float(np.square(reference, dtype=np.float64).mean())) or 1.0
    with np.errstate(invalid="ignore"):
        gap = np.abs(outputs[: change.position].astype(np.float64) - reference[: change.position]).max(axis=-1)
    # Sums over all positions round at the size of the largest term, which the change may have put in.
    largest = max(_largest(reference), _largest(outputs)) * max(1.0, change.size)
    return np.nan_to_num(gap, nan=np.inf) / rms, _allowance(largest, rms, setting)


def _allowance(largest: float, rms: float, setting: Setting) -> float:
    rounding = ROUNDING * setting.epsilon * math.sqrt(setting.length) * max(largest / rms, 1.0)
    return max(rounding, 10.0 * setting.noise)


def _largest(outputs: Floats) -> float:
    finite = outputs[np.isfinite(outputs)]
    return float(np.abs(finite).max(initial=0.0))
