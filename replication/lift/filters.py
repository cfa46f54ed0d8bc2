"""Causal depthwise filters in a program's text, rewritten to call `kernels.fir`.

A filter is a convolution of an input that was brought from [b, l, h, d] to [b, (h d), l] and padded on the left, mostly
in a small module of its own. There `forward` is followed symbolically: each local name stands for the expression that
it was given, so that the order of the statements and the names do not matter. Modules that are applied to one input in
consecutive statements become one call with a bank of filters.
"""

from __future__ import annotations

import ast
import copy
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from replication.lift.rewriting import Edit, Unliftable, span

_TO_CHANNELS = ("0 1 2 3 -> 0 (2 3) 1", "0 1 2 -> 0 2 1")  # [b, l, h, d] or [b, l, c] to [b, channels, l]
_FROM_CHANNELS = ("0 (1 2) 3 -> 0 3 1 2", "0 1 2 -> 0 2 1")
_CONVOLUTIONS = ("F.conv1d", "nn.functional.conv1d", "torch.nn.functional.conv1d", "torch.conv1d")
_MODULES = ("nn.Conv1d", "torch.nn.Conv1d", "Conv1d")
_PADS = ("F.pad", "nn.functional.pad", "torch.nn.functional.pad")
_LARGEST = 2000  # nodes of an expression: each use of a name copies what it stands for
_Bindings = Mapping[str, ast.expr]


@dataclass(frozen=True)
class _Filter:
    """`x` [b, l, ...] filtered with `weight` after `padding` zeros; `channels_first`: left as [b, channels, l]."""

    x: ast.expr
    weight: ast.expr
    padding: ast.expr
    channels_first: bool


@dataclass(frozen=True)
class _Served:
    """A method whose convolutions are rewritten. `lone`: all that it returns is this filter of `argument`."""

    method: ast.FunctionDef
    edit: Edit
    argument: str
    lone: _Filter | None


def rewrite(tree: ast.Module, source: str) -> list[Edit]:
    """The edits that put `kernels.fir` in the place of a program's causal convolutions; none where it has none.

    Raises:
        Unliftable: not every convolution of the program is recognised as a causal depthwise filter.
    """
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    convolutions = [node for node in calls if ast.unparse(node.func) in _CONVOLUTIONS]
    modules = [node for node in calls if ast.unparse(node.func) in _MODULES]
    if not convolutions and not modules:
        return []
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    found = [(owner, _serve(method, source)) for owner in classes for method in _methods(owner)]
    served = [(owner, each) for owner, each in found if each is not None]
    inside = {id(node) for _, each in served for node in ast.walk(each.method)}
    if not all(id(node) in inside for node in convolutions):
        raise Unliftable("a convolution is not recognised as a causal depthwise filter")
    if modules and not any("depthwise_weight" in each.edit.text for _, each in served):
        raise Unliftable("an nn.Conv1d is not applied as a causal depthwise filter of stride and dilation 1")
    alone = {owner.name: each for owner, each in served if each.lone is not None and each.method.name == "forward"}
    edits = [each.edit for _, each in served]
    return edits + [edit for owner in classes for edit in _merge(owner, alone, source)]


def _methods(owner: ast.ClassDef) -> list[ast.FunctionDef]:
    return [node for node in owner.body if isinstance(node, ast.FunctionDef)]


def _serve(method: ast.FunctionDef, source: str) -> _Served | None:
    """The edit for a method that returns a filter, a list of filters, or fills such a list in a loop."""
    body = method.body[1:] if ast.get_docstring(method) is not None else method.body
    if len(method.args.args) < 2 or not body:
        return None
    argument = method.args.args[1].arg
    bindings: dict[str, ast.expr] = {}
    for statement in body:
        if isinstance(statement, ast.Return) and statement.value is not None:
            result = _resolve(statement.value, bindings)
            text, lone = _bank(result), _as_filter(result)
            text = f"{_call([lone])}[0]" if lone else text
            if text is None or _uses_locals(text, method, kept={argument}):
                return None
            edit = Edit(span(source, body[0])[0], span(source, body[-1])[1], f"return {text}")
            return _Served(method, edit, argument, lone)
        if isinstance(statement, ast.For):
            filled = _filled_list(statement, bindings)
            text = _bank(filled[1]) if filled else None
            if filled is None or text is None or _uses_locals(text, method, kept=set()):
                return None
            return _Served(method, Edit(*span(source, statement), f"{filled[0]} = {text}"), argument, None)
        if not _bind(statement, bindings):
            return None
    return None


def _bind(statement: ast.stmt, bindings: dict[str, ast.expr]) -> bool:
    """Note what a statement assigns to local names; False for one of another kind, or too large to be a filter."""
    target: ast.expr
    if isinstance(statement, ast.AnnAssign) and statement.value is not None:
        target, value = statement.target, statement.value
    elif isinstance(statement, ast.Assign) and len(statement.targets) == 1:
        target, value = statement.targets[0], statement.value
    else:
        return False
    if isinstance(target, ast.Name):
        bindings[target.id] = resolved = _resolve(value, bindings)
        return sum(1 for _ in ast.walk(resolved)) <= _LARGEST
    if isinstance(target, ast.Tuple) and ast.unparse(value).endswith(".shape"):
        for name in stored_names(target):
            bindings.pop(name, None)
        return True
    return False


def _filled_list(loop: ast.For, bindings: dict[str, ast.expr]) -> tuple[str, ast.expr] | None:
    """(name, comprehension) for a loop that appends one expression a turn to an empty list of that name."""
    *steps, last = loop.body
    local = {name: value for name, value in bindings.items() if name not in stored_names(loop.target)}
    if loop.orelse or not all(_bind(step, local) for step in steps):
        return None
    match last:
        case ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr="append"), args=[appended])):
            empty = bindings.get(name)
            if not isinstance(empty, ast.List) or empty.elts:
                return None
            turns = ast.comprehension(target=loop.target, iter=_resolve(loop.iter, bindings), ifs=[], is_async=0)
            return name, ast.ListComp(elt=_resolve(appended, local), generators=[turns])
    return None


def _bank(expression: ast.expr) -> str | None:
    """The call for a list comprehension of filters of one input."""
    if not isinstance(expression, ast.ListComp) or len(expression.generators) != 1:
        return None
    each = _as_filter(expression.elt)
    turns = expression.generators[0]
    if each is None or _names(each.x) & stored_names(turns.target):
        return None
    pairs = f"({ast.unparse(each.weight)}, {ast.unparse(each.padding)}){ast.unparse(turns)}"
    return _call_text(ast.unparse(each.x), pairs, each.channels_first)


def _call(filters: list[_Filter]) -> str:
    pairs = ", ".join(f"({ast.unparse(each.weight)}, {ast.unparse(each.padding)})" for each in filters)
    return _call_text(ast.unparse(filters[0].x), pairs, filters[0].channels_first)


def _call_text(x: str, pairs: str, channels_first: bool) -> str:
    return f"_lifted.causal_filters({x}, [{pairs}]{', channels_first=True' if channels_first else ''})"


def _as_filter(expression: ast.expr) -> _Filter | None:
    """The filter that an expression computes, if it does."""
    inner = _rearranged(expression, _FROM_CHANNELS)
    convolution = expression if inner is None else inner
    if not isinstance(convolution, ast.Call) or not convolution.args:
        return None
    padded = _left_padded(convolution.args[0])
    weight = _weight(convolution)
    x = _rearranged(padded[0], _TO_CHANNELS) if padded else None
    if padded is None or weight is None or x is None:
        return None
    return _Filter(x, weight, padded[1], channels_first=inner is None)


def _weight(convolution: ast.Call) -> ast.expr | None:
    """The weight of a functional convolution, or of a module that is called with one argument."""
    given = {str(keyword.arg): keyword.value for keyword in convolution.keywords}
    if ast.unparse(convolution.func) in _CONVOLUTIONS:
        weights = [*convolution.args[1:], *([given.pop("weight")] if "weight" in given else [])]
        given.pop("groups", None)  # settled by the weight's shape, which is checked when it runs
        return weights[0] if len(weights) == 1 and not given else None
    if isinstance(convolution.func, ast.Name | ast.Subscript) and len(convolution.args) == 1 and not given:
        function = ast.parse("_lifted.depthwise_weight", mode="eval").body
        return ast.Call(func=function, args=[convolution.func], keywords=[])
    return None


def _left_padded(expression: ast.expr) -> tuple[ast.expr, ast.expr] | None:
    """(x, padding) of `F.pad(x, (padding, 0))`."""
    match expression:
        case ast.Call(args=[x, ast.Tuple(elts=[padding, ast.Constant(value=0)])], keywords=[]):
            return (x, padding) if ast.unparse(expression.func) in _PADS else None
    return None


def _rearranged(expression: ast.expr, patterns: tuple[str, ...]) -> ast.expr | None:
    """The tensor inside einops' `rearrange(tensor, pattern)`, whatever the names of the pattern's axes."""
    match expression:
        case ast.Call(func=ast.Name(id="rearrange"), args=[x, ast.Constant(value=str(pattern))]):
            return x if numbered(pattern) in patterns else None
    return None


def numbered(pattern: str) -> str:
    """An einops pattern with its axes numbered by first appearance: "b l c -> b c l" is "0 1 2 -> 0 2 1"."""
    axes = list(dict.fromkeys(re.findall(r"\w+", pattern)))
    numbered = re.sub(r"\w+", lambda found: str(axes.index(found[0])), " ".join(pattern.split()))
    return re.sub(r"\s*->\s*", " -> ", re.sub(r"\(\s*(.*?)\s*\)", r"(\1)", numbered))


class _Substitute(ast.NodeTransformer):
    def __init__(self, bindings: _Bindings) -> None:
        self.bindings = bindings

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return copy.deepcopy(self.bindings.get(node.id, node))

    def visit_ListComp(self, node: ast.ListComp) -> ast.expr:
        own = {name for turns in node.generators for name in stored_names(turns.target)}
        outer = self.bindings
        self.bindings = {name: value for name, value in outer.items() if name not in own}
        self.generic_visit(node)
        self.bindings = outer
        return node


def _resolve(expression: ast.expr, bindings: _Bindings) -> ast.expr:
    """The expression with each bound name replaced by what it stands for."""
    resolved: ast.expr = _Substitute(bindings).visit(copy.deepcopy(expression))
    return resolved


def _names(node: ast.AST) -> set[str]:
    return {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}


def stored_names(node: ast.AST) -> set[str]:
    """The local names that the code below a node assigns."""
    return {each.id for each in ast.walk(node) if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store)}


def _uses_locals(text: str, method: ast.FunctionDef, *, kept: set[str]) -> bool:
    """Whether a call uses a name that the method assigns, except for those that have their first value then."""
    call = ast.parse(text, mode="eval")
    return bool((_names(call) - stored_names(call)) & (stored_names(method) - kept))


def _merge(owner: ast.ClassDef, alone: dict[str, _Served], source: str) -> Iterator[Edit]:
    """One call for the filter modules of a class that are applied to one input in consecutive statements."""
    modules = _module_classes(owner)
    blocks = [
        block
        for node in ast.walk(owner)
        for block in (getattr(node, field, None) for field in ("body", "orelse", "finalbody"))
        if isinstance(block, list)
    ]
    for block in blocks:
        for run in _runs(block, {name: alone[kind] for name, kind in modules.items() if kind in alone}):
            start, end = span(source, run[0][0])[0], span(source, run[-1][0])[1]
            targets = ", ".join(target for _, target, _ in run)
            yield Edit(start, end, f"{targets} = {_call([each for _, _, each in run])}")


def _module_classes(owner: ast.ClassDef) -> dict[str, str]:
    """Attribute -> class name, for attributes that the class sets in one place, to a call of that name."""
    classes: dict[str, str] = {}
    twice: set[str] = set()
    for node in ast.walk(owner):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Attribute):
            name = ast.unparse(node.targets[0])
            twice |= {name} & classes.keys()
            classes[name] = ast.unparse(node.value.func) if isinstance(node.value, ast.Call) else ""
    return {name: kind for name, kind in classes.items() if name not in twice}


_Step = tuple[ast.stmt, str, _Filter]


def _runs(block: list[ast.stmt], modules: dict[str, _Served]) -> Iterator[list[_Step]]:
    """Two or more consecutive statements `name = self.module(x)` with one `x`, each as the filter that it applies."""
    run: list[_Step] = []
    for statement in [*block, None]:
        step = _step(statement, modules)
        same_input = run and step and ast.unparse(step[2].x) == ast.unparse(run[0][2].x)
        if not same_input:
            if len(run) > 1:
                yield run
            run = []
        if step:
            run.append(step)


def _step(statement: ast.stmt | None, modules: dict[str, _Served]) -> _Step | None:
    match statement:
        case ast.Assign(
            targets=[ast.Name(id=target)], value=ast.Call(func=module, args=[ast.Name(id=x) as given], keywords=[])
        ) if target != x and ast.unparse(module) in modules:
            served = modules[ast.unparse(module)]
            if served.lone is None:
                return None
            bindings = {"self": module, served.argument: given}
            weight, padding = _resolve(served.lone.weight, bindings), _resolve(served.lone.padding, bindings)
            return statement, target, _Filter(given, weight, padding, served.lone.channels_first)
    return None
