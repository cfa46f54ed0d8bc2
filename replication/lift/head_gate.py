"""Per-head gate networks in a program's text, rewritten to call `kernels.head_gate`.

The pattern: hidden states widened to every head with `unsqueeze` and `expand`, joined with features of each head by
`torch.cat`, perhaps flattened to a row for each head, and passed to a network of the program. The join becomes a small
object that keeps both apart, and is followed to every place where it is used; calls of a network on it become
`_lifted.head_gate`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from replication.lift.filters import numbered
from replication.lift.rewriting import Edit, Unliftable, span

_FLATTEN = "0 1 2 3 -> (0 1 2) 3"
_ACTIVATIONS = ("F.gelu", "F.silu", "F.relu", "torch.tanh")


@dataclass(frozen=True)
class _Widened:
    """`hidden` [b, l, d] widened to [b, l, heads, d] by the expression `node`; both texts."""

    hidden: str
    heads: str
    node: ast.expr


def rewrite(tree: ast.Module, source: str) -> list[Edit]:
    """The edits that factorise a program's per-head gates; none where it has none.

    Raises:
        Unliftable: hidden states are widened to every head, but not for a network of the program alone.
    """
    if not any(_widened(node) for node in ast.walk(tree)):
        return []
    methods = [each for node in tree.body if isinstance(node, ast.ClassDef) for each in node.body]
    functions = [node for node in [*tree.body, *methods] if isinstance(node, ast.FunctionDef)]
    edits = [edit for function in functions for edit in _Gates(function, source).edits()]
    if not edits:
        raise Unliftable("hidden states widened to every head are not joined with features for a network")
    return edits


def _widened(node: ast.AST | None) -> _Widened | None:
    """`hidden.unsqueeze(2).expand(-1, -1, heads, -1)`, with 2 or -2."""
    match node:
        case ast.Call(
            func=ast.Attribute(
                value=ast.Call(func=ast.Attribute(value=hidden, attr="unsqueeze"), args=[axis]), attr="expand"
            ),
            args=[_, _, heads, _],
        ) if ast.unparse(axis) in ("2", "-2"):
            return _Widened(ast.unparse(hidden), ast.unparse(heads), node)
    return None


class _Gates:
    """The per-head gates of one function."""

    def __init__(self, function: ast.FunctionDef, source: str) -> None:
        self.source = source
        self.nodes = list(ast.walk(function))
        self.parents = {id(child): node for node in self.nodes for child in ast.iter_child_nodes(node)}
        self.names = [node for node in self.nodes if isinstance(node, ast.Name)]
        self.arguments = {argument.arg for argument in function.args.args}

    def edits(self) -> list[Edit]:
        """The edits of every join of widened hidden states, and of what uses it."""
        found: list[Edit] = []
        for node in self.nodes:
            match node:
                case ast.Call(args=[ast.List(elts=[first, *parts]) | ast.Tuple(elts=[first, *parts])]) if _joins(node):
                    hidden = self._hidden(first, node)
                    if hidden is not None and parts:
                        features = ", ".join(ast.unparse(part) for part in parts)
                        found += self._follow(node, f"_lifted.head_features({hidden}, [{features}])")
        return found

    def _hidden(self, first: ast.expr, join: ast.expr) -> str | None:
        """What the first of the joined tensors holds, as the text "hidden, heads"; None if it is not widened."""
        widened = _widened(first)
        if widened is None and isinstance(first, ast.Name):
            widened = _widened(self._value(first))
            if widened is None and first.id in self.arguments and not self._stores(first.id):
                return f"_lifted.one_head({first.id}), {first.id}.shape[2]"
        if widened is None:
            return None
        if any(widened.node.lineno <= store.lineno < join.lineno for store in self._stores(widened.hidden)):
            return f"_lifted.one_head({ast.unparse(first)}), {widened.heads}"
        return f"{widened.hidden}, {widened.heads}"

    def _follow(self, node: ast.expr, text: str) -> Iterator[Edit]:
        """The edits for an expression that holds joined features, written as `text` from now on, and for its uses."""
        parent = self.parents[id(node)]
        match parent:
            case ast.Assign(targets=[ast.Name(id=name)]):
                uses = self._uses(name, node)
                if not uses:
                    raise Unliftable(f"{name}, hidden states joined with features of each head, changes or is unused")
                yield Edit(*span(self.source, node), text)
                for use in uses:
                    yield from self._follow(use, name)
            case ast.Attribute(attr="shape"):
                if not isinstance(node, ast.Name):
                    yield Edit(*span(self.source, node), text)
            case ast.Call(func=ast.Name(id="rearrange"), args=[_, ast.Constant(value=str(pattern))]) if (
                numbered(pattern) == _FLATTEN
            ):
                yield from self._follow(parent, f"{text}.flattened()")
            case ast.Call(func=ast.Attribute(value=ast.Name(id="self")), args=[_], keywords=[]):
                yield from self._apply(parent, text)
            case _:
                user = ast.unparse(parent.func if isinstance(parent, ast.Call) else parent)
                raise Unliftable(f"{user} uses hidden states joined with features of each head")

    def _apply(self, call: ast.Call, features: str) -> Iterator[Edit]:
        """The edits for `self.network(features)`, or for `self.last(activation(self.network(features)))`."""
        network = ast.unparse(call.func)
        activation = self.parents[id(call)]
        if (
            isinstance(activation, ast.Call)
            and ast.unparse(activation.func) in _ACTIVATIONS
            and not activation.keywords
        ):
            last = self._only_user(activation)
            match last:
                case ast.Call(func=ast.Attribute(value=ast.Name(id="self")), args=[given], keywords=[]):
                    layers = f"[{network}, {ast.unparse(activation.func)}, {ast.unparse(last.func)}]"
                    if given is activation:
                        yield Edit(*span(self.source, last), f"_lifted.head_gate({layers}, {features})")
                    else:
                        yield Edit(*span(self.source, activation), features)
                        yield Edit(*span(self.source, last), f"_lifted.head_gate({layers}, {ast.unparse(given)})")
                    return
        yield Edit(*span(self.source, call), f"_lifted.head_gate({network}, {features})")

    def _only_user(self, node: ast.expr) -> ast.AST | None:
        """The one expression that uses a value, directly or by the name that it is given."""
        parent = self.parents[id(node)]
        if isinstance(parent, ast.Assign) and isinstance(parent.targets[0], ast.Name):
            uses = self._uses(parent.targets[0].id, node)
            return self.parents[id(uses[0])] if len(uses) == 1 else None
        return parent

    def _uses(self, name: str, value: ast.expr) -> list[ast.Name]:
        """Where a name is read while it stands for `value`."""
        loads = [node for node in self.names if node.id == name and isinstance(node.ctx, ast.Load)]
        return [load for load in loads if self._value(load) is value]

    def _value(self, load: ast.Name) -> ast.expr | None:
        """What a name was last assigned before it is read; None where branches or arguments leave that open."""
        assigned = [self.parents[id(store)] for store in self._stores(load.id)]
        values = [node.value for node in assigned if isinstance(node, ast.Assign) and len(node.targets) == 1]
        always = all(isinstance(self.parents[id(node)], ast.FunctionDef) for node in assigned)
        if len(values) < len(assigned) or (not always and (len(assigned) > 1 or load.id in self.arguments)):
            return None
        before = [each for each in values if (each.end_lineno, each.end_col_offset) <= (load.lineno, load.col_offset)]
        return max(before, key=lambda each: (each.lineno, each.col_offset), default=None)

    def _stores(self, name: str) -> list[ast.Name]:
        return [node for node in self.names if node.id == name and not isinstance(node.ctx, ast.Load)]


def _joins(call: ast.Call) -> bool:
    """Whether a call is `torch.cat` along the last axis."""
    return ast.unparse(call.func) == "torch.cat" and [ast.unparse(each) for each in call.keywords] == ["dim=-1"]
