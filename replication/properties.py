"""The checks of an examination beside the search for outputs that look ahead."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from replication.growth import growth
from replication.initialise import keyed_generator
from replication.lookahead import PIECE, ProgramFailed, Setting, all_changes, apart, base_input, search
from replication.states import BATCH, OTHER, SHORT, TINY, VARIANTS

if TYPE_CHECKING:
    from replication.examiner import Examiner

BATCH_SIZES = (1, 2, 8, 16)  # compared with the PIECE rows of a search
NOT_LOADED = "loading state_dict"  # as torch begins its complaint


def batch(examiner: Examiner, index: int) -> None:
    """Change one row of a batch; the other rows may not move."""
    mode = VARIANTS[index].mode
    for length in (SHORT, examiner.longest) if index == 0 else (SHORT,):
        change_rows(examiner, index, examiner.enter(index, mode, length), BATCH)


def change_rows(examiner: Examiner, index: int, setting: Setting, rows: int) -> None:
    """Change the first and the last of `rows` rows, one at a time."""
    x = base_input(setting, rows)
    reference = examiner.plain(setting, rows)
    for row, size in ((0, 1.0), (rows - 1, 30.0)):
        changed = x.copy()
        changed[row] = size * keyed_generator(setting.seed, f"row {row}").standard_normal(x[row].shape)
        others = np.arange(rows) != row
        outputs = examiner.oracle.outputs(changed, setting.mode)[others]
        moved, allowance = apart(reference[others], outputs, setting)
        if moved > allowance:
            examiner.crosses.add(setting.mode)
        examiner.judge("batch", index, setting, "another row of the batch", moved, allowance)


def batch_sizes(examiner: Examiner, index: int) -> None:
    """Outputs of a few rows against those of the same rows in a large batch; where they differ, look there too."""
    mode = VARIANTS[index].mode
    setting = examiner.enter(index, mode, TINY)
    if mode in examiner.draws or mode in examiner.crosses:
        return
    whole = examiner.plain(setting, PIECE)
    for rows in BATCH_SIZES:
        size, allowance = apart(whole[:rows], examiner.plain(setting, rows), setting)
        if size <= allowance:
            continue
        if rows > 1:
            change_rows(examiner, index, setting, rows)
        changes = all_changes(TINY, VARIANTS[index].kinds, examiner.settings.sizes, index)
        examiner.take(index, setting, search(examiner.oracle, setting, changes, rows), rows - 1)


def repeat(examiner: Examiner, index: int) -> None:
    """The same input before and after calls with another one."""
    mode = VARIANTS[index].mode
    setting = examiner.enter(index, mode, SHORT)
    x, other = base_input(setting), base_input(replace(setting, seed=setting.seed + 1))
    first = examiner.oracle.outputs(x, mode)
    for between in OTHER:
        examiner.oracle.outputs(other, between, restore=False)
    size, allowance = apart(first, examiner.oracle.outputs(x, mode, restore=False), setting)
    examiner.judge("repeat", index, setting, "other calls in between", size, allowance)


def counters(examiner: Examiner, index: int) -> None:
    """The same input before and after the program's counters of calls are put far ahead."""
    setting = examiner.enter(index, "eval", SHORT)
    x = base_input(setting)
    after = {mode: examiner.plain(replace(setting, mode=mode)) for mode in OTHER}
    examiner.oracle.build(replace(examiner.state, ahead=False))
    examiner.built = None
    for mode, outputs in after.items():
        size, allowance = apart(examiner.oracle.outputs(x, mode), outputs, setting)
        examiner.judge("repeat", index, replace(setting, mode=mode), "many training calls in between", size, allowance)


def reload(examiner: Examiner, index: int) -> None:
    """Outputs after a restart from state_dict against those of the program that went on."""
    setting = examiner.enter(index, "eval", SHORT)
    x = base_input(setting)
    examiner.oracle.outputs(x, "train")
    try:
        restarted = examiner.oracle.reloaded(x)
    except ProgramFailed as failed:
        if NOT_LOADED not in str(failed):
            raise
        examiner.add("reload", index, setting, f"a state_dict that does not load ({failed})", 1.0, 0.0)
        return
    size, allowance = apart(examiner.oracle.outputs(x, "eval", restore=False), restarted, setting)
    examiner.judge("reload", index, setting, "a restart from state_dict", size, allowance)


def cost(examiner: Examiner, index: int) -> None:
    """Growth of counted work and of kept memory: the fastest-growing operation that matters at the longest."""
    setting = examiner.enter(index, "train", SHORT)
    lengths = sorted(examiner.settings.cost_lengths)
    counts = [examiner.oracle.growth(length) for length in lengths]
    tally = examiner.tallies["cost"]
    exponent, tally.detail = growth(counts, lengths)
    tally.saw(exponent, examiner.settings.cost_exponent)
    if exponent >= examiner.settings.cost_exponent:
        examiner.add("cost", index, setting, "sequence length", exponent, examiner.settings.cost_exponent)
