"""The examiner: every check of the causality certificate, over an oracle that maps inputs to outputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import numpy as np

from replication.certificate import CHECKS, CertificateSettings, Check, Tally, Violation
from replication.growth import growth
from replication.initialise import keyed_generator
from replication.lookahead import (
    EPSILON,
    PIECE,
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
    search,
)
from replication.states import OTHER, VARIANTS, Mode, ProgramState

BATCH = 4  # rows in which the batch check and the checks by agreement look
SHORT = 33  # tokens, for variants that are not worth the longest length
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
        self._built: tuple[int, Setting] | None = None
        self._kept: tuple[tuple[ProgramState, Mode], Floats, Floats] | None = None
        self._draws: set[Mode] = set()  # modes in which outputs depend on random numbers
        self._crosses: set[Mode] = set()  # modes in which rows of a batch depend on each other
        self._longest = max(settings.lengths)

    def run(self) -> None:
        """All checks, variant by variant, because setting a program up costs as much as several calls."""
        try:
            if not self._try(self._begin, *CHECKS):
                return
            for index, variant in enumerate(VARIANTS):
                if variant.lengths == "all":
                    self._try(partial(self._batch, index), "batch")
                    self._try(partial(self._repeat, index), "repeat")
                    if variant.ahead:
                        self._try(partial(self._reload, index), "reload")
                self._future(index)
            self._try(self._counters, "repeat")
            self._try(self._cost, "cost")
        except ProgramEnded as ended:
            for tally in self.tallies.values():
                tally.errors.append(str(ended))

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
        if self._built is None or self._built[0] != index:
            self._built = None
            self._built = (index, self._build(index))
        return replace(self._built[1], mode=mode, length=length)

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
        # Some programs overflow far from their initial values; nearer ones still show what those would.
        unflipped = replace(state, flip=False, shift=0.0)
        for nearer in (state, unflipped, replace(unflipped, move=0.1), replace(unflipped, move=0.0)):
            built = self.oracle.build(nearer)
            self.parameters = built["parameters"]
            setting = Setting(
                seed=state.seed,
                mode=variant.mode,
                length=SHORT,
                hidden_size=self.settings.hidden_size,
                dtype=dtype,
                epsilon=EPSILON.get(built["dtype"], 1.0),
            )
            if np.isfinite(self.oracle.outputs(base_input(setting), variant.mode)).all():
                self._state = nearer
                return replace(setting, noise=self._noise)
        raise ProgramFailed("non-finite outputs on standard normal inputs")

    def _begin(self) -> None:
        """Find out whether the program runs in float64, keeps state out of reach, and draws random numbers."""
        try:
            self.enter(0, "eval", SHORT)
        except ProgramFailed as failed:
            self._float64 = False
            self.enter(0, "eval", SHORT)
            self.notes.append(f"examined in float32, because in float64: {failed}")
        self._noise = self._repeat_noise()
        if self._noise > 0:
            self._rebuild, self._built = True, None
            self.notes.append("keeps state that cannot be put back: built anew for every call")
            self._noise, self._built = self._repeat_noise(), None
            if self._noise > 0:
                self.notes.append(f"one call repeated on a new program differs by {self._noise:.2g}")
        for mode in OTHER:
            setting = self.enter(0, mode, SHORT)
            calls = [self.oracle.outputs(base_input(setting), mode, draw=draw) for draw in range(2)]
            if apart(calls[0], calls[1], setting)[0] > setting.noise:
                self._draws.add(mode)
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
        variant = VARIANTS[index]
        length = SHORT if variant.lengths == "short" else self._longest
        tally = self.tallies["future"]
        if tally.violations and variant.lengths != "all":
            return  # known to look ahead: more states would only say it again
        if variant.lengths == "short":  # beside the point where the program cannot stand so far from its start
            try:
                self._search(index, variant.mode, length)
            except ProgramFailed as failed:
                tally.limits.append(f"not in variant {index}: {failed}")
            return
        searched = self._try(lambda: self._search(index, variant.mode, length), "future")
        if variant.lengths != "all" or not searched:
            return
        self._try(lambda: self._compare_modes(index, OTHER[variant.mode]), "future", "mode")
        for shorter in self.settings.lengths:
            if shorter != length:
                self._compare_lengths(index, variant.mode, shorter)

    def _search(self, index: int, mode: Mode, length: int) -> None:
        """Change every position in turn, with every stream of random numbers that is worth it."""
        variant, tally = VARIANTS[index], self.tallies["future"]
        changes = all_changes(length, variant.kinds, self.settings.sizes, index)
        for draw in range(DRAWS if mode in self._draws and length == self._longest else 1):
            setting = replace(self.enter(index, mode, length), draw=draw)
            rows, companions = 1 if mode in self._crosses else PIECE, 0
            effects = search(self.oracle, setting, changes, rows)
            first = effects.first()
            if first is not None and rows > 1 and not self._moves(setting, first[0], 0):
                if self._moves(setting, first[0], PIECE - 1):  # ahead, but in large batches only
                    companions = PIECE - 1
                else:
                    self._crosses.add(mode)
                    self._add("batch", index, setting, "other rows of a large batch", effects.size, effects.limit)
                    effects = search(self.oracle, setting, changes, 1)
            if effects.overflowed:
                tally.limits.append(f"{effects.overflowed} large changes overflowed and were made smaller")
            if self._is_rounding(index, setting, effects):
                self.notes.append(f"effects of {effects.size:.2g} in {setting.dtype} are gone in float64: rounding")
            else:
                self._take(index, setting, effects, companions)

    def _moves(self, setting: Setting, change: Change, companions: int) -> bool:
        """Whether a change shows where it is the only one in the batch."""
        return search(self.oracle, setting, [change], 1, companions).first() is not None

    def _is_rounding(self, index: int, setting: Setting, effects: Effects) -> bool:
        """Whether an effect near the bound of a coarse type is gone in float64, which a leak survives."""
        first = effects.first()
        if first is None or not self._float64 or setting.dtype == "float64" or effects.excess() > NEAR:
            return False
        fine = self._build(index, "float64")
        effect = search(
            self.oracle, replace(fine, mode=setting.mode, length=setting.length, draw=setting.draw), [first[0]], rows=1
        )
        self._built = None
        self.enter(index, setting.mode, setting.length)
        return effect.first() is None

    def _take(self, index: int, setting: Setting, effects: Effects, companions: int) -> None:
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
        setting = self.enter(index, mode, self._longest)
        x = base_input(setting, BATCH)
        size, allowance = apart(self.oracle.outputs(x, OTHER[mode]), self.oracle.outputs(x, mode), setting)
        self._judge("mode", index, setting, "training instead of evaluation mode", size, allowance)
        if size > allowance or mode in self._draws:
            self._search(index, mode, self._longest)

    def _compare_lengths(self, index: int, mode: Mode, length: int) -> None:
        """The first `length` outputs of the longest sequence against those of the sequence cut there."""
        try:
            setting = self.enter(index, mode, length)
            if mode in self._draws:  # the random numbers depend on the length too
                self._search(index, mode, length)
                return
            x, whole = self._whole(setting)
            whole = whole[:, :length]
            cut = self.oracle.outputs(np.ascontiguousarray(x[:, :length]), mode)
            size, allowance = apart(whole, cut, setting)
            self._judge("length", index, setting, f"cutting {self._longest} tokens to {length}", size, allowance)
            if size > allowance and not self.tallies["future"].violations:
                self._search(index, mode, length)
        except ProgramFailed as failed:
            for check in ("future", "length"):
                self.tallies[check].limits.append(f"does not run at {length} tokens in {mode} mode: {failed}")

    def _whole(self, setting: Setting) -> tuple[Floats, Floats]:
        """Inputs and outputs of the longest length, kept while the program stands as it does."""
        key = (self._state, setting.mode)
        if self._kept is None or self._kept[0] != key:
            x = base_input(replace(setting, length=self._longest), 1 if setting.mode in self._crosses else BATCH)
            self._kept = (key, x, self.oracle.outputs(x, setting.mode))
        return self._kept[1:]

    # The other checks.

    def _batch(self, index: int) -> None:
        """Change one row of a batch; the other rows may not move."""
        mode = VARIANTS[index].mode
        for length in (SHORT, self._longest):
            setting = self.enter(index, mode, length)
            x = base_input(setting, BATCH)
            reference = self.oracle.outputs(x, mode)
            for row, size in ((0, 1.0), (BATCH - 1, 30.0)):
                changed = x.copy()
                changed[row] = size * keyed_generator(setting.seed, f"row {row}").standard_normal(x[row].shape)
                others = np.arange(BATCH) != row
                outputs = self.oracle.outputs(changed, mode)[others]
                moved, allowance = apart(reference[others], outputs, setting)
                if moved > allowance:
                    self._crosses.add(mode)
                self._judge("batch", index, setting, "another row of the batch", moved, allowance)

    def _repeat(self, index: int) -> None:
        """The same input before and after calls with another one."""
        mode = VARIANTS[index].mode
        setting = self.enter(index, mode, SHORT)
        x, other = base_input(setting, 2), base_input(replace(setting, seed=setting.seed + 1), 2)
        first = self.oracle.outputs(x, mode)
        for between in OTHER:
            self.oracle.outputs(other, between, restore=False)
        size, allowance = apart(first, self.oracle.outputs(x, mode, restore=False), setting)
        self._judge("repeat", index, setting, "other calls in between", size, allowance)

    def _counters(self) -> None:
        """The same input before and after the program's counters of calls are put far ahead."""
        setting = self.enter(1, "eval", SHORT)
        x = base_input(setting, 2)
        after = {mode: self.oracle.outputs(x, mode) for mode in OTHER}
        self.oracle.build(replace(self._state, ahead=False))
        self._built = None
        for mode, outputs in after.items():
            size, allowance = apart(self.oracle.outputs(x, mode), outputs, setting)
            self._judge("repeat", 1, replace(setting, mode=mode), "many training calls in between", size, allowance)

    def _reload(self, index: int) -> None:
        """Outputs after a restart from state_dict against those of the program that went on."""
        setting = self.enter(index, "eval", SHORT)
        x = base_input(setting, 2)
        self.oracle.outputs(x, "train")
        restarted = self.oracle.reloaded(x)
        size, allowance = apart(self.oracle.outputs(x, "eval", restore=False), restarted, setting)
        self._judge("reload", index, setting, "a restart from state_dict", size, allowance)

    def _cost(self) -> None:
        """Growth of counted work and of kept memory: the fastest-growing operation that matters at the longest."""
        setting = self.enter(0, "train", SHORT)
        lengths = sorted(self.settings.cost_lengths)
        counts = [self.oracle.growth(length) for length in lengths]
        tally = self.tallies["cost"]
        exponent, tally.detail = growth(counts, lengths)
        tally.saw(exponent, self.settings.cost_exponent)
        if exponent >= self.settings.cost_exponent:
            self._add("cost", 0, setting, "sequence length", exponent, self.settings.cost_exponent)

    def _judge(self, check: Check, index: int, setting: Setting, kind: str, size: float, allowance: float) -> None:
        self.tallies[check].saw(size, allowance)
        if size > allowance:
            self._add(check, index, setting, kind, size, allowance)

    def _add(self, check: Check, index: int, setting: Setting, kind: str, size: float, allowance: float) -> None:
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
