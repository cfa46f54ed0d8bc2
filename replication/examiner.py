"""The examiner: every check of the causality certificate, over an oracle that maps inputs to outputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import numpy as np

from replication import properties
from replication.certificate import CHECKS, CertificateSettings, Check, Tally, Violation
from replication.initialise import keyed_generator
from replication.lookahead import (
    MILD,
    Change,
    Effects,
    Floats,
    Oracle,
    ProgramEnded,
    ProgramFailed,
    Setting,
    all_changes,
    apart,
    base_input,
    even_piece,
    search,
)
from replication.states import BATCH, OTHER, SHORT, VARIANTS, Kind, Mode, ProgramState

NEAR = 10.0  # an effect of less than this many allowances is near the bound
LARGEST = 1e300  # stands for an infinite effect, which JSON does not know
DRAWS = 3  # streams of random numbers that are tried where outputs depend on them


class Examiner:
    """One examination. Calls are tried one by one, so that what fails in one setting says nothing of another."""

    def __init__(self, oracle: Oracle, settings: CertificateSettings) -> None:
        self.oracle, self.settings = oracle, settings
        self.tallies: dict[Check, Tally] = {check: Tally() for check in CHECKS}
        self.notes: list[str] = []
        self.parameters: int | None = None
        self._float64 = True
        self._rebuild = False
        self._noise = 0.0
        self.built: tuple[int, Setting] | None = None
        self._kept: dict[tuple[ProgramState, Mode, int, int], Floats] = {}
        self.draws: set[Mode] = set()  # modes in which outputs depend on random numbers
        self.crosses: set[Mode] = set()  # modes in which rows of a batch depend on each other
        self.longest = max(settings.lengths)
        self._unfinished: set[Check] = set(CHECKS)
        self.complete = True  # False: it ran out of time, which another machine or hour may have

    def run(self) -> None:
        """All checks, variant by variant, because setting a program up costs as much as several calls."""
        try:
            if not self._try(self.begin, *CHECKS):
                return
            for index, variant in enumerate(VARIANTS):
                if variant.others == "all":
                    self._try(partial(properties.batch, self, index), "batch")
                    self._try(partial(properties.batch_sizes, self, index), "batch", "future")
                    self._try(partial(properties.repeat, self, index), "repeat")
                    if variant.ahead:
                        self._try(partial(properties.reload, self, index), "reload")
                    else:
                        self._try(partial(properties.cost, self, index), "cost")
                        self._unfinished -= {"cost"}
                self._future(index)
                if variant.ahead and variant.others == "all":
                    self._try(partial(properties.counters, self, index), "repeat")
                    self._unfinished -= {"repeat"}
            self._unfinished.clear()
        except ProgramEnded as ended:
            self.complete = False
            for check in self._unfinished:
                self.tallies[check].errors.append(str(ended))

    def _try(self, work: Callable[[], None], *checks: Check) -> bool:
        """Whether `work` could be done; if not, the checks know why."""
        try:
            work()
        except ProgramFailed as failed:
            for check in checks:
                self.tallies[check].errors.append(str(failed))
            return False
        return True

    # Setting the program up.

    def enter(self, index: int, mode: Mode, length: int) -> Setting:
        """The setting for calls of a variant in `mode` at `length`; builds the program where it is not built yet."""
        if self.built is None or self.built[0] != index:
            self.built = None
            self.built = (index, self._build(index))
        return replace(self.built[1], mode=mode, length=length)

    def _build(self, index: int, dtype: Literal["float64", "float32"] | None = None) -> Setting:
        variant = VARIANTS[index]
        dtype = dtype or (variant.dtype if self._float64 else "float32")
        state = ProgramState(
            seed=self.settings.seed + index,
            dtype=dtype,
            layer=self.settings.layers[index % len(self.settings.layers)],
            move=variant.move,
            flip=variant.flip,
            shift=variant.shift,
            ahead=variant.ahead,
            rebuild=self._rebuild,
        )
        # Some programs do not stand so far from their initial values; nearer states still show what those would.
        near = replace(state, flip=False, shift=0.0)
        still = replace(near, ahead=False)
        trouble = ""
        for nearer in (state, near, still, replace(still, move=0.1), replace(still, move=0.0)):
            self._kept.clear()
            try:
                built = self.oracle.build(nearer)
                self.parameters = built["parameters"]
                setting = Setting(
                    seed=state.seed,
                    mode=variant.mode,
                    length=SHORT,
                    hidden_size=self.settings.hidden_size,
                    dtype=dtype,
                    epsilon=built["epsilon"],
                    loud=variant.loud,
                )
                self.state = nearer
                outputs = self.plain(setting)
                apart(outputs, outputs, setting)  # refuses what is not finite
            except ProgramFailed as failed:
                trouble = trouble or str(failed)
                continue
            if nearer != state:
                self.notes.append(f"variant {index} stands nearer to its initial state: {trouble}")
            return replace(setting, noise=self._noise)
        raise ProgramFailed(trouble)

    def begin(self) -> None:
        """Find out whether the program runs in float64, keeps state out of reach, and draws random numbers."""
        try:
            self.enter(0, "eval", SHORT)
        except ProgramFailed as failed:
            self._float64 = False
            self.enter(0, "eval", SHORT)
            self.notes.append(f"examined in float32, because in float64: {failed}")
        self._noise = self._repeat_noise()
        if self._noise > 0:
            self._rebuild, self.built = True, None
            self.notes.append("keeps state that cannot be put back: built anew for every call")
            self._noise, self.built = self._repeat_noise(), None
            if self._noise > 0:
                self.notes.append(f"one call repeated on a new program differs by {self._noise:.2g}")
        for mode in OTHER:
            setting = self.enter(0, mode, self.longest)
            x = base_input(setting)
            others = (self.oracle.outputs(x, mode, draw=draw) for draw in range(1, DRAWS))
            if any(apart(self.plain(setting), other, setting)[0] > setting.noise for other in others):
                self.draws.add(mode)
                self.notes.append(f"draws random numbers in {mode} mode")

    def _repeat_noise(self) -> float:
        """How much a call differs from the same call made again, relative to the outputs: 0 for most programs."""
        found = 0.0
        for mode in OTHER:
            setting = self.enter(0, mode, SHORT)
            x, other = base_input(setting), base_input(replace(setting, seed=setting.seed + 1))
            first, _, again = (self.oracle.outputs(inputs, mode) for inputs in (x, other, x))
            found = max(found, apart(first, again, setting)[0])
        return found

    # Looking ahead.

    def _future(self, index: int) -> None:
        variant, tally = VARIANTS[index], self.tallies["future"]
        length = self._searched(index)
        if tally.violations and variant.others != "all":
            return  # known to look ahead: more states would only say it again
        if variant.others == "none":  # beside the point where the program cannot stand so far from its start
            try:
                self._search(index, variant.mode, length)
            except ProgramFailed as failed:
                tally.limits.append(f"not in variant {index}: {failed}")
            return
        if not self._try(lambda: self._search(index, variant.mode, length), "future"):
            return
        self._try(lambda: self._compare_modes(index, OTHER[variant.mode]), "future", "mode")
        if variant.mode == "train":
            self._try(lambda: self._compare_gradient_modes(index), "future")
        for other in self.settings.lengths:
            if other != length and (variant.others == "all" or other % 32 == 0):
                self._compare_lengths(index, variant.mode, other)

    def _searched(self, index: int) -> int:
        """The length at which a variant is searched."""
        return min(VARIANTS[index].length or self.longest, self.longest)

    def _search(self, index: int, mode: Mode, length: int) -> None:
        """Change every position in turn, with every stream of random numbers that is worth it."""
        tally, full = self.tallies["future"], length == self._searched(index)
        kinds: tuple[Kind, ...] = VARIANTS[index].kinds if full else ("suffix",)
        changes = all_changes(length, kinds, self.settings.sizes, index)
        for draw in range(DRAWS if mode in self.draws and full else 1):
            setting = replace(self.enter(index, mode, length), draw=draw)
            rows, companions = 1 if mode in self.crosses else even_piece(len(changes)), 0
            effects = search(self.oracle, setting, changes, rows)
            first = effects.first()
            if first is not None and rows > 1 and not self._moves(setting, first[0], 0):
                if self._moves(setting, first[0], rows - 1):  # ahead, but in large batches only
                    companions = rows - 1
                else:
                    self.crosses.add(mode)
                    self.add("batch", index, setting, "other rows of a large batch", effects.size, effects.limit)
                    effects = search(self.oracle, setting, changes, 1)
            if effects.overflowed:
                tally.limits.append(f"{effects.overflowed} large changes overflowed and were made smaller")
            if self._is_rounding(index, setting, effects):
                self.notes.append(f"effects of {effects.size:.2g} in {setting.dtype} are gone in float64: rounding")
            elif self._is_overflow(setting, effects):
                self._take_overflow(setting, effects)
            else:
                self.take(index, setting, effects, companions)

    def _moves(self, setting: Setting, change: Change, companions: int) -> bool:
        """Whether a change shows where it is the only one in the batch."""
        return search(self.oracle, setting, [change], 1, companions).first() is not None

    def _is_rounding(self, index: int, setting: Setting, effects: Effects) -> bool:
        """Whether an effect near the bound of a coarse type is gone in float64, which a leak survives."""
        if effects.first() is None or not self._float64 or setting.dtype == "float64":
            return False
        change, excess = effects.worst()
        if excess > NEAR:
            return False
        fine = self._build(index, "float64")
        same = replace(fine, mode=setting.mode, length=setting.length, draw=setting.draw)
        gone = not self._moves(same, change, 0)
        self.built = None
        self.enter(index, setting.mode, setting.length)
        return gone

    def _is_overflow(self, setting: Setting, effects: Effects) -> bool:
        """Whether only large changes have an effect, that no gradient knows of: numbers so large that sums round."""
        first = effects.first()
        if first is None or first[0].size <= MILD:
            return False
        strong = effects.moved > effects.allowance[:, None]
        mild = [change.size <= MILD for change in effects.changes]
        if strong[mild].any() or self._moves(setting, replace(first[0], size=MILD), 0):
            return False
        return self._gradient(setting, first[1]) == "zero"

    def _take_overflow(self, setting: Setting, effects: Effects) -> None:
        tally, text = (
            self.tallies["future"],
            f"changes of many standard deviations move earlier outputs by {effects.size:.2g}",
        )
        if effects.size > self.settings.coarsest:
            tally.errors.append(
                f"{text}, smaller ones do not: rounding of large numbers, or a leak that waits for them"
            )
            return
        tally.limits.append(f"{text}, smaller ones do not")
        if setting.dtype == "float64" or not self._float64:
            tally.saw(effects.size, effects.limit)

    def take(self, index: int, setting: Setting, effects: Effects, companions: int) -> None:
        """Enter what a search found: the first output that looks ahead, confirmed on its own, or that none does."""
        tally = self.tallies["future"]
        first = effects.first()
        if first is None:
            if setting.dtype == "float64" or not self._float64:  # else the finer searches say what could be seen
                tally.saw(effects.size, effects.limit)
            return
        change, output = first
        alone = search(self.oracle, setting, [change], 1, companions)
        tally.violations.append(
            self._violation(
                index,
                setting,
                kind=change.kind,
                rows=1 + companions,
                perturbation=change.size,
                first_output=output,
                position=change.position,
                size=alone.size,
                allowance=float(alone.allowance[0]),
                gradient=self._gradient(setting, output),
            )
        )

    def _gradient(self, setting: Setting, output: int) -> Literal["confirms", "zero", "not_run"]:
        """A second method: the gradient of outputs up to `output` with respect to the inputs after it."""
        x = base_input(setting)
        weights = keyed_generator(setting.seed, "weights").standard_normal(x.shape).astype(x.dtype)
        weights[:, output + 1 :] = 0.0
        try:
            found = np.abs(self.oracle.gradient(x, weights, setting.mode, draw=setting.draw))
        except ProgramFailed as failed:
            self.notes.append(f"the gradient could not be taken: {failed}")
            return "not_run"
        floor = 64.0 * setting.epsilon * float(np.nan_to_num(found).max(initial=0.0))
        return "confirms" if float(np.nan_to_num(found[:, output + 1 :]).max(initial=0.0)) > floor else "zero"

    # Agreement between settings.

    def _compare_modes(self, index: int, mode: Mode) -> None:
        """Outputs in `mode` against those of the searched one; where they differ, search this mode too."""
        setting = self.enter(index, mode, self.longest)
        searched = self.plain(replace(setting, mode=OTHER[mode]), BATCH)
        size, allowance = apart(searched, self.plain(setting, BATCH), setting)
        if VARIANTS[index].others == "all":
            self.judge("mode", index, setting, "training instead of evaluation mode", size, allowance)
        if size > allowance or mode in self.draws:
            self._search(index, mode, self.longest)

    def _compare_gradient_modes(self, index: int) -> None:
        """Outputs while gradients are recorded, as in training, against those of the search."""
        setting = self.enter(index, "train", SHORT)
        recorded = self.oracle.outputs(base_input(setting), "train", grad=True)
        size, allowance = apart(self.plain(setting), recorded, setting)
        if size > allowance:
            raise ProgramFailed(f"does something else while gradients are recorded (outputs change by {size:.2g})")

    def _compare_lengths(self, index: int, mode: Mode, length: int) -> None:
        """Outputs at `length` against those at the searched length, as far as both go."""
        try:
            setting, searched = self.enter(index, mode, length), self._searched(index)
            if mode in self.draws:  # the random numbers depend on the length too
                self._search(index, mode, length)
                return
            both = min(length, searched)
            rows = 1 if mode in self.crosses else BATCH
            size, allowance = apart(
                self.plain(replace(setting, length=searched), rows)[:, :both],
                self.plain(setting, rows)[:, :both],
                replace(setting, length=max(length, searched)),  # where the rounding is
            )
            if VARIANTS[index].others == "all":
                kind = f"cutting {max(length, searched)} tokens to {both}"
                self.judge("length", index, setting, kind, size, allowance)
            if size > allowance and not self.tallies["future"].violations:
                self._search(index, mode, length)
        except ProgramFailed as failed:
            for check in ("future", "length"):
                self.tallies[check].limits.append(f"does not run at {length} tokens in {mode} mode: {failed}")

    def plain(self, setting: Setting, rows: int = 1) -> Floats:
        """Outputs for the unchanged inputs [rows, T, D]; kept, because many checks compare with them."""
        key = (self.state, setting.mode, setting.length, rows)
        if key not in self._kept:
            self._kept[key] = self.oracle.outputs(base_input(setting, rows), setting.mode)
        return self._kept[key]

    # What the checks of properties.py use too.

    def judge(self, check: Check, index: int, setting: Setting, kind: str, size: float, allowance: float) -> None:
        """Enter an effect where `allowance` is rounding: a violation if it is larger."""
        self.tallies[check].saw(size, allowance)
        if size > allowance:
            self.add(check, index, setting, kind, size, allowance)

    def add(self, check: Check, index: int, setting: Setting, kind: str, size: float, allowance: float) -> None:
        """Enter a violation that has no position."""
        self.tallies[check].violations.append(
            self._violation(
                index,
                setting,
                kind=kind,
                rows=BATCH,
                perturbation=None,
                first_output=None,
                position=None,
                size=size,
                allowance=allowance,
                gradient="not_run",
            )
        )

    def _violation(self, index: int, setting: Setting, **told: Any) -> Violation:
        return Violation(
            variant=index,
            seed=setting.seed,
            mode=setting.mode,
            dtype=setting.dtype,
            length=setting.length,
            draw=setting.draw,
            **(told | {"size": min(told["size"], LARGEST)}),
        )
