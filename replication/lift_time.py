"""Times of a program's training steps as published and lifted, and the share that its lifted parts have in them.

Runs the program's code, on a CPU, with the whole model in one process: for worker processes only (`lifts` asks them).

For the shares, the text as published gets a `with` around everything that lifting replaces. The forward pass of a part
is the time within. The backward pass does its operations in the reverse of the order in which they were recorded, so
those of one such block come in one piece, whose time is that from its first operation to its last.
"""

from __future__ import annotations

import ast
import contextlib
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from replication.lift import LIFTED, PARTS, delta_rule, filters, head_gate, lift, moving_average
from replication.lift.rewriting import span
from replication.mixers import build_mixers
from replication.model import build_model
from replication.program import load_mixer_class
from replication.record import RunSpec
from replication.step import EagerStep
from replication.train import make_optimiser

CLOCK = "_clock"  # name of the clock in a marked program
WARM_UP, ROUNDS = 1, 5
TOKENS = 20_000  # random ones
_REWRITES = {
    "delta_rule": delta_rule.rewrite,
    "filters": filters.rewrite,
    "moving_average": moving_average.rewrite,
    "head_gate": head_gate.rewrite,
}
_Result = TypeVar("_Result")


def time_lifting(source: str, spec: RunSpec) -> dict[str, Any]:
    """Lift a program, and time its training steps as `spec` asks: scale, optimiser and vocabulary.

    Returns `lifted`: what became of each part (`lift.Lifted.parts`); `published` and `after`: seconds of a step as
    published and lifted, medians of ROUNDS steps that take turns; and `shares`: for each lifted part, its share of the
    step as published. What the program raises passes through.
    """
    found = lift(source, spec.scale.hidden_size, spec.scale.num_heads)
    parts = [part for part in PARTS if found.parts[part] == LIFTED]
    if not parts:
        before = after = _Trained(source, spec)
        shared = None
    else:
        before, after, shared = _Trained(source, spec), _Trained(found.source, spec), _Marked(source, parts, spec)
    seconds: dict[str, list[float]] = {"published": [], "after": [], **{part: [] for part in parts}}
    for turn in range(WARM_UP + ROUNDS):
        took = {"published": before.step(), "after": after.step()} | (shared.seconds() if shared else {})
        for name, each in took.items() if turn >= WARM_UP else ():
            seconds[name].append(each)
    medians = {name: statistics.median(each) for name, each in seconds.items()}
    published = medians.pop("published")
    if not parts:  # the same program twice: no difference is what it makes
        return {"lifted": found.parts, "published": published, "after": published, "shares": {}}
    shares = {part: medians[part] / published for part in parts}
    return {"lifted": found.parts, "published": published, "after": medians["after"], "shares": shares}


class _Trained:
    """A text in training."""

    def __init__(self, source: str, spec: RunSpec) -> None:
        mixers = build_mixers(source, spec.scale, spec.seed)
        model = build_model(list(mixers.layers()), spec.scale, spec.corpus.vocab_size, spec.seed).train()
        self._step = EagerStep(model, mixers, make_optimiser(model, spec), spec)
        self._tokens = _random_tokens(spec, TOKENS)
        self._index = 0

    def step(self) -> float:
        """Seconds of one whole training step."""
        began = time.perf_counter()
        self._step.run(self._tokens, self._index % 8)
        self._index += 1
        return time.perf_counter() - began


class _Marked:
    """A program as published, with a clock in it."""

    def __init__(self, source: str, parts: Sequence[str], spec: RunSpec) -> None:
        self._clock, self._parts, self._spec = Clock(), parts, spec
        text = marked(source, parts)
        vars(sys.modules[load_mixer_class(text).__module__])[CLOCK] = self._clock
        self._mixers = build_mixers(text, spec.scale, spec.seed)
        self._model = build_model(list(self._mixers.layers()), spec.scale, spec.corpus.vocab_size, spec.seed).train()
        rows, length = spec.scale.batch_size, spec.scale.sequence_length
        tokens = torch.from_numpy(_random_tokens(spec, rows * (length + 1)).astype(np.int64)).view(rows, length + 1)
        self._inputs, self._targets = tokens[:, :-1], tokens[:, 1:]

    def seconds(self) -> dict[str, float]:
        """Of each part in one forward and backward pass."""
        self._clock.blocks.clear()
        self._mixers.begin(self._spec.seed, "marked")
        logits, auxiliary = self._model(self._inputs)
        loss = F.cross_entropy(logits.flatten(0, 1), self._targets.flatten()) + auxiliary
        self._clock.follow(loss)
        loss.backward()
        self._model.zero_grad(set_to_none=True)
        return {part: self._clock.seconds(part) for part in self._parts}


def _random_tokens(spec: RunSpec, count: int) -> np.ndarray:
    return np.random.default_rng(spec.seed).integers(spec.corpus.vocab_size, size=count).astype(np.uint16)


# The clock.


@dataclass
class _Block:
    """One run through a block of a part: autograd's numbers of what it recorded, and when passes began and ended."""

    part: str
    first: int
    end: int  # exclusive
    forward: float = 0.0
    backward_began: float = 0.0
    backward_ended: float = 0.0


class Clock:
    """Counts the time that marked blocks take in forward and backward passes."""

    def __init__(self) -> None:
        self.blocks: list[_Block] = []
        self._open: set[str] = set()

    @contextlib.contextmanager
    def block(self, part: str) -> Iterator[None]:
        """The time within counts for `part`; within another block of the same part it counts once."""
        if part in self._open:
            yield
            return
        self._open.add(part)
        block = _Block(part, _next_number(), 0)
        began = time.perf_counter()
        try:
            yield
        finally:
            block.forward = time.perf_counter() - began
            block.end = _next_number()
            self._open.discard(part)
            self.blocks.append(block)

    def call(self, part: str, function: Callable[[], _Result]) -> _Result:
        """`block`, for an expression."""
        with self.block(part):
            return function()

    def follow(self, loss: Tensor) -> None:
        """Have the blocks so far timed in the backward pass of `loss`, too."""
        numbered = sorted(_recorded(loss), key=lambda pair: pair[0])
        for block in self.blocks:
            own = [node for number, node in numbered if block.first <= number < block.end]
            if own:
                own[-1].register_prehook(lambda _grads, block=block: _note(block, "backward_began"))
                own[0].register_hook(lambda _inputs, _grads, block=block: _note(block, "backward_ended"))

    def seconds(self, part: str) -> float:
        """Forward and backward together, of all blocks of a part."""
        own = [block for block in self.blocks if block.part == part]
        return sum(block.forward + max(block.backward_ended - block.backward_began, 0.0) for block in own)


def _note(block: _Block, name: str) -> None:
    setattr(block, name, time.perf_counter())


def _next_number() -> int:
    """The number that autograd gives to what it records next."""
    number: int = torch._C._autograd._get_sequence_nr()
    return number


def _recorded(loss: Tensor) -> Iterator[tuple[int, Any]]:
    """All operations behind a loss, each with its number."""
    waiting, seen = [loss.grad_fn], set()
    while waiting:
        node: Any = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        yield node._sequence_nr(), node
        waiting += [following for following, _ in node.next_functions]


# The marks.


def marked(source: str, parts: Sequence[str]) -> str:
    """The text, with a block of the clock around everything in it that lifting these parts replaces."""
    tree = ast.parse(source)
    spans = [(part, edit.start, edit.end) for part in parts for edit in _REWRITES[part](tree, source)]
    return ast.unparse(ast.fix_missing_locations(_Mark(source, spans).visit(tree)))


class _Mark(ast.NodeTransformer):
    def __init__(self, source: str, spans: Sequence[tuple[str, int, int]]) -> None:
        self._source, self._spans = source, spans
        self._done: list[ast.With] = []

    def visit(self, node: ast.AST) -> Any:
        """A call that is replaced becomes `_clock.call(part, lambda: call)`; statements go into a `with`."""
        if any(node is each for each in self._done):
            return node
        if isinstance(node, ast.Call) and (part := self._part(node)) is not None:
            later = ast.Lambda(ast.arguments([], [], None, [], [], None, []), node)
            return ast.Call(_clocks("call"), [ast.Constant(part), later], [])
        for field in ("body", "orelse", "finalbody"):
            block = getattr(node, field, None)
            if isinstance(block, list):
                setattr(node, field, self._marked_block(block))
        if isinstance(node, ast.FunctionDef):  # what stands around its body runs when it is made
            node.body = [self.visit(statement) for statement in node.body]
            return node
        return self.generic_visit(node)

    def _marked_block(self, block: list[ast.stmt]) -> list[ast.stmt]:
        """Neighbours of one part share a `with`."""
        result: list[ast.stmt] = []
        last = None
        for statement in block:
            part = self._part(statement)
            if part is None:
                result.append(statement)
            elif isinstance(statement, ast.FunctionDef):
                statement.body = [self._within(part, statement.body)]
                result.append(statement)
                part = None
            elif part == last:
                self._done[-1].body.append(statement)
            else:
                result.append(self._within(part, [statement]))
            last = part
        return result

    def _within(self, part: str, body: list[ast.stmt]) -> ast.With:
        self._done.append(ast.With([ast.withitem(ast.Call(_clocks("block"), [ast.Constant(part)], []))], body))
        return self._done[-1]

    def _part(self, node: ast.stmt | ast.expr) -> str | None:
        if not hasattr(node, "lineno") or node.end_lineno is None:
            return None
        start, end = span(self._source, node)
        return next((part for part, first, last in self._spans if first <= start and end <= last), None)


def _clocks(method: str) -> ast.Attribute:
    return ast.Attribute(ast.Name(CLOCK, ast.Load()), method, ast.Load())
