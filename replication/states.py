"""The states in which a program is examined."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Mode = Literal["train", "eval"]
Kind = Literal["single", "suffix"]
BATCH = 2  # rows in which checks by agreement, and of other rows, look
SHORT = 33  # tokens, for what is not worth the longest length
TINY = 8  # tokens, for what has nothing to do with the length
OTHER: dict[Mode, Mode] = {"train": "eval", "eval": "train"}


@dataclass(frozen=True, kw_only=True)
class ProgramState:
    """How a program is set up before it is called: everything but the inputs.

    move: parameters leave their initial values by noise of this many of their own root mean square (taken as at least
    0.3, or 0.3 / sqrt(fan-in) for matrices), so that paths that are closed or zero at first are live. flip and shift:
    vectors and scalars change their sign first, and then move by `shift`, which opens gates that start firmly closed.
    ahead: as many training calls leave it, with counters of calls far on. rebuild: the program is made anew before
    every call, for one that keeps state out of reach.
    """

    seed: int
    dtype: Literal["float64", "float32"]
    layer: int
    move: float
    flip: bool
    shift: float
    ahead: bool
    rebuild: bool


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One state of the program in which it is examined.

    length: tokens of the searched sequence; None: the longest. others: whether the other mode and other lengths follow
    by agreement with it; only states with "all" feed the other checks. loud: on inputs far from what is usual, with
    repeated tokens.
    """

    dtype: Literal["float64", "float32"]
    move: float
    flip: bool
    shift: float
    ahead: bool
    mode: Mode
    kinds: tuple[Kind, ...]
    length: int | None
    others: Literal["all", "few", "none"]
    loud: bool


# The middle two open gates that start far from open; the last one is how programs train.
VARIANTS = (
    Variant(
        dtype="float64", move=0.5, flip=False, shift=0.0, ahead=False,
        mode="eval", kinds=("suffix",), length=None, others="all", loud=False,
    ),
    Variant(
        dtype="float64", move=0.5, flip=True, shift=0.0, ahead=True,
        mode="train", kinds=("single", "suffix"), length=65, others="all", loud=False,
    ),
    Variant(
        dtype="float64", move=0.5, flip=False, shift=6.0, ahead=True,
        mode="eval", kinds=("suffix",), length=64, others="none", loud=True,
    ),
    Variant(
        dtype="float64", move=4.0, flip=True, shift=-6.0, ahead=False,
        mode="train", kinds=("suffix",), length=33, others="none", loud=False,
    ),
    Variant(
        dtype="float32", move=0.2, flip=False, shift=0.0, ahead=False,
        mode="train", kinds=("suffix",), length=65, others="few", loud=False,
    ),
)  # fmt: skip
