"""The states in which a program is examined."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Mode = Literal["train", "eval"]
Kind = Literal["single", "suffix"]
BATCH = 4  # rows in which checks by agreement, and of other rows, look
SHORT = 33  # tokens, for what is not worth the longest length
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

    lengths: "all" or "longest" (the longest is searched, the others and the other mode follow by agreement; only "all"
    feeds the other checks), or a number of tokens. loud: on inputs far from what is usual, with repeated tokens.
    """

    dtype: Literal["float64", "float32"]
    move: float
    flip: bool
    shift: float
    ahead: bool
    mode: Mode
    kinds: tuple[Kind, ...]
    lengths: Literal["all", "longest"] | int
    loud: bool


# The third is how programs train; the last two open gates that start far from open.
VARIANTS = (
    Variant(
        dtype="float64", move=0.5, flip=False, shift=0.0, ahead=False,
        mode="eval", kinds=("single", "suffix"), lengths="all", loud=False,
    ),
    Variant(
        dtype="float64", move=0.5, flip=True, shift=0.0, ahead=True,
        mode="train", kinds=("suffix",), lengths="all", loud=False,
    ),
    Variant(
        dtype="float32", move=0.2, flip=False, shift=0.0, ahead=False,
        mode="train", kinds=("suffix",), lengths="longest", loud=False,
    ),
    Variant(
        dtype="float64", move=0.5, flip=False, shift=6.0, ahead=True,
        mode="eval", kinds=("suffix",), lengths=64, loud=True,
    ),
    Variant(
        dtype="float64", move=4.0, flip=True, shift=-6.0, ahead=False,
        mode="train", kinds=("suffix",), lengths=33, loud=False,
    ),
)  # fmt: skip
