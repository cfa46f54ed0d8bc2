"""Proof that a lifted program computes what it computes as published. Runs both: for worker processes only.

Both are built with the same initial values keyed by name, moved off them, and called on the same inputs in train and
eval mode, at lengths below a chunk and most filters, just above a chunk, and of several chunks with an incomplete last
one; also on nearly equal tokens, in a second layer with counters far ahead, on many chunks of loud tokens, and at the
sizes of the run. State that calls leave behind is put back before each of them.

In float64, with the program's own narrow casts widened, every tensor must agree to `EXACT`: outputs, auxiliary loss,
gradients of the input and of all parameters (a missing one counts as zero), buffers and hidden state after the call.
That is the proof of the mathematics: there, a wrong factor, mask, decay or gradient stands far above rounding.

In float32, as programs run, both round, each in an order of its own. What a call gives must agree to `ROUNDED`, also
where the program rounds to a narrower type: that rounding must happen to the same numbers, and one that is left out
shows. Gradients are sums over tokens in which terms cancel, and get `ROUNDED_GRADIENT`. Those of a program that rounds
to bfloat16 are themselves rounded to it, alone or after they were added up, and get one step of that type.
"""

from __future__ import annotations

import ast
import contextlib
import random
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from replication import compat
from replication.candidate import build_mixer, mix, python_state
from replication.hidden import Snapshot, move_parameters, train_ahead, widen
from replication.initialise import construct, keyed_generator, seed_libraries
from replication.lift.rewriting import narrows
from replication.precision import in_float64, widened_source
from replication.program import load_mixer_class
from replication.states import Mode

EXACT = 1e-9  # bounds are shares of a tensor's norm, or of SMALL times the largest of its kind
ROUNDED = 1e-5
ROUNDED_GRADIENT = 1e-4
NARROW_GRADIENT = torch.finfo(torch.bfloat16).eps
SMALL = 1e-3
SEED = 0
BATCH = 2
LOUD = 30.0  # what clips or clamps does so on tokens of this size
LENGTH_AHEAD = 33
RAISED = (Exception,)  # a program raises classes of its own, too; the end of the process passes through

Results = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call of a program. `alike`: the tokens are nearly equal. `size`: of the tokens. `grad`: also backward."""

    mode: Mode
    length: int
    alike: bool = False
    size: float = 1.0
    grad: bool = True


@dataclass(frozen=True, kw_only=True)
class Case:
    """How both programs are set up (`states.ProgramState`), and the calls made then."""

    dtype: torch.dtype
    move: float
    flip: bool
    calls: tuple[Call, ...]
    layer: int = 0
    ahead: bool = False


DOUBLE, SINGLE = torch.float64, torch.float32
CASES = (
    Case(
        dtype=DOUBLE,
        move=0.5,
        flip=False,
        calls=(Call(mode="train", length=70), Call(mode="eval", length=7), Call(mode="eval", length=33)),
    ),
    Case(dtype=DOUBLE, move=0.5, flip=True, calls=(Call(mode="train", length=70, alike=True),), layer=1, ahead=True),
    Case(dtype=DOUBLE, move=0.5, flip=False, calls=(Call(mode="eval", length=1030, size=LOUD, grad=False),)),
    Case(
        dtype=SINGLE,
        move=0.2,
        flip=False,
        calls=(Call(mode="train", length=70), Call(mode="eval", length=70, alike=True)),
    ),
)
CASES_OF_THE_RUN = (Case(dtype=DOUBLE, move=0.5, flip=False, calls=(Call(mode="train", length=70),)),)


class Unproved(Exception):
    """Why the two programs count as different, in one line."""


class Proof:
    """A program as published, against which lifted texts are held in `cases`. Its own results are computed once."""

    def __init__(self, source: str, hidden_size: int, num_heads: int, cases: tuple[Case, ...] = CASES) -> None:
        self._source, self._sizes, self._cases = source, (hidden_size, num_heads), cases
        self._rounds = bool(narrows(ast.parse(source)))
        self._results: dict[Case, dict[Call, Results]] = {}

    def prepare(self) -> None:
        """Run the program as published; raises Unproved where it cannot be run."""
        with _state_kept():
            for case in self._cases:
                self._published(case)

    def check(self, lifted: str) -> None:
        """Raises Unproved unless the text `lifted` computes the same."""
        with _state_kept():
            for case in self._cases:
                published = self._published(case)
                for call, found in _results_or_reason(lifted, self._sizes, case, "lifted").items():
                    compare(published[call], found, self._bound(case), describe(case, call))

    def _bound(self, case: Case) -> tuple[float, float]:
        if case.dtype == DOUBLE:
            return EXACT, EXACT
        return ROUNDED, NARROW_GRADIENT if self._rounds else ROUNDED_GRADIENT

    def _published(self, case: Case) -> dict[Call, Results]:
        if case not in self._results:
            self._results[case] = _results_or_reason(self._source, self._sizes, case, "as published")
        return self._results[case]


def describe(case: Case, call: Call) -> str:
    """A call, in words."""
    tokens = "nearly equal tokens" if call.alike else "tokens" if call.size == 1 else "loud tokens"
    return f"{str(case.dtype).removeprefix('torch.')}, {call.mode}, {call.length} {tokens}"


def compare(published: Results, lifted: Results, bounds: tuple[float, float], where: str) -> None:
    """Raises Unproved unless the results of a call agree.

    Args:
        published, lifted: results by name, from the two programs.
        bounds: how far they may be apart, as a share of their norm; for gradients, the second.
        where: which call it was, for the message.
    """
    if published.keys() != lifted.keys():
        names = ", ".join(sorted(published.keys() ^ lifted.keys()))
        raise Unproved(f"only one of the two has: {names} ({where})")
    norms = {name: float(torch.linalg.vector_norm(value)) for name, value in published.items()}
    largest: dict[str, float] = {}
    for name, norm in norms.items():
        largest[_kind(name)] = max(largest.get(_kind(name), 0.0), norm)
    for name, value in published.items():
        if value.shape != lifted[name].shape:
            raise Unproved(f"{name} has another shape: {list(lifted[name].shape)} ({where})")
        bound = bounds[_kind(name) == "gradient"]
        size = max(norms[name], SMALL * largest[_kind(name)])
        distance = float(torch.linalg.vector_norm(value - lifted[name]))
        if not distance <= bound * size:  # also where it is no number
            share = f"{distance / size:.1e}" if size else "all"
            raise Unproved(f"{name} is off by {share} of its size, more than {bound:.1e} ({where})")


def _kind(name: str) -> str:
    return name.partition(" ")[0]


def _results_or_reason(source: str, sizes: tuple[int, int], case: Case, which: str) -> dict[Call, Results]:
    try:
        results = _results(source, sizes, case)
    except RAISED as error:
        line = (str(error).splitlines() or [""])[0]
        raise Unproved(f"the program {which} fails: {type(error).__name__}: {line[:200]}") from error
    for call, found in results.items():
        for name, value in found.items():
            if not bool(torch.isfinite(value).all()):
                raise Unproved(f"the program {which} gives {name} that is not finite ({describe(case, call)})")
    return results


def _results(source: str, sizes: tuple[int, int], case: Case) -> dict[Call, Results]:
    """Everything that the calls of a program give, by name."""
    wide = case.dtype == DOUBLE
    torch.set_default_dtype(SINGLE)
    text = widened_source(source) if wide else source
    hidden_size, num_heads = sizes
    module = construct(
        lambda: build_mixer(text, hidden_size=hidden_size, num_heads=num_heads, layer_idx=case.layer), SEED
    )
    move_parameters(module, SEED, case.move, flip=case.flip)
    torch.set_default_dtype(case.dtype)
    if wide:
        widen(module)
    if case.ahead:
        module.train()
        train_ahead(module, lambda number: _called_ahead(module, case, hidden_size, number))
    before = Snapshot.take(module)
    results = {}
    for call in case.calls:
        before.restore(module)
        module.zero_grad(set_to_none=True)
        results[call] = _results_of_call(module.train(call.mode == "train"), case, call, hidden_size)
    return results


def _called_ahead(module: nn.Module, case: Case, hidden_size: int, number: int) -> None:
    x, _ = _inputs(Call(mode="train", length=LENGTH_AHEAD), hidden_size, case.dtype)
    seed_libraries(SEED, f"ahead {number}")
    with _precision(case):
        mix(module, x)


def _precision(case: Case) -> contextlib.AbstractContextManager[object]:
    return in_float64() if case.dtype == DOUBLE else contextlib.nullcontext()


def _results_of_call(module: nn.Module, case: Case, call: Call, hidden_size: int) -> Results:
    x, weights = _inputs(call, hidden_size, case.dtype)
    x.requires_grad_(call.grad)
    seed_libraries(SEED, "call")
    with torch.set_grad_enabled(call.grad), _precision(case):
        output, auxiliary = mix(module, x.clone())  # a program may write into its input
        loss = (output * weights).sum()
        if auxiliary is not None:
            loss = loss + auxiliary
        if loss.requires_grad:
            loss.backward()
    return _collected(module, x, output, auxiliary)


def _collected(module: nn.Module, x: Tensor, output: Tensor, auxiliary: Tensor | None) -> Results:
    results = {"output": output.detach(), "gradient of the input": torch.zeros_like(x) if x.grad is None else x.grad}
    if auxiliary is not None:
        results["auxiliary loss"] = auxiliary.detach()
    for name, parameter in module.named_parameters():
        results[f"gradient of {name}"] = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
    for name, buffer in module.named_buffers():
        results[f"buffer {name}"] = buffer.detach().double()
    for name, value in python_state(module).items():
        if isinstance(value, Tensor):
            results[f"state {name}"] = value.detach().double()
        elif isinstance(value, int | float):
            results[f"state {name}"] = torch.tensor(float(value), dtype=DOUBLE)
    return {name: torch.view_as_real(value) if value.is_complex() else value for name, value in results.items()}


def _inputs(call: Call, hidden_size: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Inputs and the weights of their outputs in the loss [BATCH, length, hidden_size]."""
    shape = (BATCH, call.length, hidden_size)
    generator = keyed_generator(SEED, f"lift {call.length} {call.alike}")
    x, weights = generator.standard_normal(shape), generator.standard_normal(shape)
    if call.alike:
        x = x[:, :1] + 0.01 * x
    return torch.from_numpy(call.size * x).to(dtype), torch.from_numpy(weights).to(dtype)


@contextlib.contextmanager
def _state_kept() -> Iterator[None]:
    """Stand-ins, and everything that a proof changes in the process put back after it."""
    default, torch_generator = torch.get_default_dtype(), torch.get_rng_state()
    numpy_generator, python_generator = np.random.get_state(), random.getstate()  # noqa: NPY002
    with compat.stand_ins():
        load_mixer_class.cache_clear()
        try:
            yield
        finally:
            load_mixer_class.cache_clear()
            torch.set_default_dtype(default)
            torch.set_rng_state(torch_generator)
            np.random.set_state(numpy_generator)  # noqa: NPY002
            random.setstate(python_generator)
