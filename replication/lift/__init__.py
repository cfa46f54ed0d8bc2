"""Lifting: a program's own slow parts, rewritten to call the project's operators where that is proved to be the same.

Parts are found by the structure of the text (`delta_rule`, `filters`, `moving_average`, `head_gate`), changed in the
text (`rewriting`), and what comes out is held against the program as published (`proof`). What does not pass stays as
published and says why. The changed text calls `adapters`, which know the programs' layouts.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from replication.lift import delta_rule, filters, head_gate, moving_average
from replication.lift.proof import CASES_OF_THE_RUN, Proof, Unproved
from replication.lift.rewriting import Edit, Unliftable, apply, with_import

__all__ = ["ABSENT", "LIFTED", "PARTS", "Lifted", "lift", "rewritten"]

PARTS = ("delta_rule", "filters", "moving_average", "head_gate")
LIFTED, ABSENT = "lifted", "absent"
IMPORT = "from replication.lift import adapters as _lifted"
PROOF_SIZES = (32, 2)  # hidden size and heads
_REWRITES: dict[str, Callable[[ast.Module, str], list[Edit]]] = {
    "delta_rule": delta_rule.rewrite,
    "filters": filters.rewrite,
    "moving_average": moving_average.rewrite,
    "head_gate": head_gate.rewrite,
}


@dataclass(frozen=True)
class Lifted:
    """The text to run, and for each part "lifted", "absent", or in one line why it stays as published."""

    source: str
    parts: dict[str, str]


def lift(source: str, hidden_size: int, num_heads: int) -> Lifted:
    """A program with all parts lifted that can be. Runs its code on the CPU: for worker processes only.

    Most of the proof takes small sizes of its own, and the rest `hidden_size` and `num_heads`, those of the run; these
    serve for all of it where a program cannot be built or run at the small ones. The same text and sizes give the same
    result, and the process is left as it was.
    """
    edits, parts = _edits(source)
    if not edits:
        return Lifted(source, parts)
    try:
        proofs = _proofs(source, (hidden_size, num_heads))
    except Unproved as reason:
        return Lifted(source, parts | dict.fromkeys(edits, str(reason)))
    kept = list(edits)
    together = _difference(proofs, source, edits, kept)
    if together is not None:
        kept = []
        for part in edits:
            found = together if len(edits) == 1 else _difference(proofs, source, edits, [*kept, part])
            if found is None:
                kept.append(part)
            else:
                parts[part] = found
    return Lifted(_applied(source, edits, kept), parts | dict.fromkeys(kept, LIFTED))


def rewritten(source: str, parts: Sequence[str]) -> str:
    """The text in which `parts`, which `lift` found to be lifted, are lifted. Nothing is run and nothing proved.

    Raises:
        Unliftable: one of them is not there.
    """
    edits, found = _edits(source) if parts else ({}, {})
    for part in parts:
        if part not in edits:
            raise Unliftable(f"{part}: {found.get(part, 'no such part')}")
    return _applied(source, edits, parts)


def _edits(source: str) -> tuple[dict[str, list[Edit]], dict[str, str]]:
    """The edits of each part that is there and has some; and what is known of the others."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # whoever loads it says so
        return {}, dict.fromkeys(PARTS, ABSENT)
    edits: dict[str, list[Edit]] = {}
    parts: dict[str, str] = {}
    for part in PARTS:
        parts[part] = ABSENT
        try:
            if found := _REWRITES[part](tree, source):
                edits[part] = found
        except Unliftable as reason:
            parts[part] = str(reason)
        except RecursionError:
            parts[part] = "its expressions are nested too deeply"
    return edits, parts


def _applied(source: str, edits: dict[str, list[Edit]], parts: Sequence[str]) -> str:
    wanted = [edit for part in parts for edit in edits[part]]
    return with_import(apply(source, wanted), IMPORT) if wanted else source


def _proofs(source: str, sizes: tuple[int, int]) -> list[Proof]:
    """What a lifted text has to pass. Raises Unproved where the program as published cannot be run."""
    small, whole = Proof(source, *PROOF_SIZES), Proof(source, *sizes)
    of_the_run = [] if sizes == PROOF_SIZES else [Proof(source, *sizes, CASES_OF_THE_RUN)]
    try:
        small.prepare()
    except Unproved as reason:
        try:
            whole.prepare()
        except Unproved:
            raise reason from None
        return [whole]
    for proof in of_the_run:
        proof.prepare()
    return [small, *of_the_run]


def _difference(proofs: Sequence[Proof], source: str, edits: dict[str, list[Edit]], parts: Sequence[str]) -> str | None:
    """Why the program with these parts lifted is not the same, or None."""
    try:
        for proof in proofs:
            proof.check(_applied(source, edits, parts))
    except (Unliftable, Unproved) as reason:
        return str(reason)
    return None
