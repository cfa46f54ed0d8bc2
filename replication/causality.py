"""The causality certificate: does a program look ahead, or across the batch?

`python -m replication.causality FILE...` examines candidates without training them. `certify` is the examiner: it
makes inputs, asks an oracle for outputs, and compares. The program runs behind the oracle, in a worker process.

How every output is covered: at the longest length each position is changed together with all that follow, at 65 tokens
also alone; no output before it may move. Other lengths, and the other mode, are then certified by agreement: where the
same inputs give the same outputs as in the searched setting, these depend on the same inputs. Where they do not agree,
that setting is searched position by position too. What this does not show: a program may behave otherwise on inputs
that are not tried, by chance or because it recognises an examination.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast

import numpy as np

from replication.certificate import CHECKS, LEAKS, CertificateSettings, CheckResult
from replication.examiner import Examiner
from replication.lookahead import Change, Floats, Oracle, base_input, changed_input, search
from replication.settings import InputError
from replication.states import OTHER, VARIANTS, Kind, Mode


@dataclass(frozen=True, kw_only=True)
class Examination:
    """What `Certificate` says beside where it comes from."""

    checks: dict[str, CheckResult]
    complete: bool
    parameters: int | None
    notes: tuple[str, ...]


def certify(oracle: Oracle, settings: CertificateSettings) -> Examination:
    """Examine the program behind `oracle`."""
    examiner = Examiner(oracle, settings)
    examiner.run()
    checks: dict[str, CheckResult] = {
        check: examiner.tallies[check].result(settings.coarsest if check in LEAKS else None) for check in CHECKS
    }
    return Examination(
        checks=checks,
        complete=examiner.complete,
        parameters=examiner.parameters,
        notes=tuple(dict.fromkeys(examiner.notes)),
    )


def reproduce(oracle: Oracle, settings: CertificateSettings, again: str) -> float:
    """The size of a violation of `future`, brought about again from `Violation.again`.

    Raises:
        InputError: `again` is not of that form.
    """
    try:
        variant, mode, length, rows, draw, kind, position, size = again.split(":")
        change = Change(kind=cast(Kind, kind), position=int(position), size=float(size))
        examiner = Examiner(oracle, settings)
        sound = mode in OTHER and int(rows) >= 1 and kind in ("single", "suffix") and 0 < change.position < int(length)
        if not sound or not 0 <= int(variant) < len(VARIANTS):
            raise ValueError
    except ValueError as error:
        raise InputError(f"again={again}: expected variant:mode:length:rows:draw:kind:position:size") from error
    examiner.begin()
    setting = replace(examiner.enter(int(variant), cast(Mode, mode), int(length)), draw=int(draw))
    return search(oracle, setting, [change], 1, int(rows) - 1).size


def dependency(oracle: Oracle, settings: CertificateSettings, length: int) -> Floats:
    """How strongly each output depends on each input, [T inputs, T outputs]: |d out_t| / |d in_s|, float64.

    Finite differences of a hundredth of a standard deviation, one input position at a time, in evaluation mode.
    """
    examiner = Examiner(oracle, settings)
    examiner.begin()
    setting = examiner.enter(0, "eval", length)
    base = base_input(setting)
    reference = oracle.outputs(base, "eval")
    strength = np.zeros((length, length))
    for position in range(length):
        change = Change(kind="single", position=position, size=0.01)
        changed = changed_input(base[0], setting, change)[None]
        moved = np.linalg.norm((oracle.outputs(changed, "eval") - reference)[0], axis=-1)
        strength[position] = moved / np.linalg.norm(changed - base)
    return strength


if __name__ == "__main__":
    from replication.certify import run
    from replication.configure import main

    main("replication.causality", run)
