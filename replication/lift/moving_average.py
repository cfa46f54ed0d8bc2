"""Exponential moving averages that a program computes in a Python loop over all tokens.

The function is found by that loop,

    for t in range(length):
        g = gamma[:, :, t].unsqueeze(-1)
        state = g * state + (1.0 - g) * v[:, :, t]
        out[:, :, t] = state

and its body becomes one call of `_lifted.moving_average`. The proof decides whether it is the same.
"""

from __future__ import annotations

import ast

from replication.lift.delta_rule import signature
from replication.lift.rewriting import Edit, Unliftable, changeable, loops_over, span


def rewrite(tree: ast.Module, source: str) -> list[Edit]:
    """The edits that make such functions calls of `_lifted.moving_average`; none where there are none.

    Raises:
        Unliftable: a function averages over tokens in a loop, but in another form, or depends on more.
    """
    edits = []
    for function in ast.walk(tree):
        loop = _token_loop(function) if isinstance(function, ast.FunctionDef) else None
        if loop is None or not isinstance(function, ast.FunctionDef):
            continue
        if more := changeable(tree, function):
            raise Unliftable(f"it depends on or changes {', '.join(more)}")
        values, gamma = _roles(function, loop)
        given = [values, gamma, *_initial_state(function, (values, gamma))]
        start, end = span(source, function)
        body = f"{' ' * function.col_offset}    return _lifted.moving_average({', '.join(given)})"
        edits.append(Edit(start, end, f"{signature(function)}\n{body}"))
    return edits


def _token_loop(function: ast.FunctionDef) -> ast.For | None:
    """The loop over tokens that multiplies a state by something and writes it out at each token."""
    for loop in loops_over(function, "0"):
        token = ast.unparse(loop.target)
        states = {
            ast.unparse(statement.value)
            for statement in loop.body
            if isinstance(statement, ast.Assign)
            and isinstance(statement.targets[0], ast.Subscript)
            and _at_token(statement.targets[0], token) is not None
        }
        for statement in loop.body:
            if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) in states:
                state = ast.unparse(statement.targets[0])
                products = [node for node in ast.walk(statement.value) if isinstance(node, ast.BinOp)]
                if any(isinstance(node.op, ast.Mult) and state in _sides(node) for node in products):
                    return loop
    return None


def _roles(function: ast.FunctionDef, loop: ast.For) -> tuple[str, str]:
    """The arguments that hold the values and the decays."""
    token = ast.unparse(loop.target)
    read = [
        (_at_token(node, token), node)
        for statement in loop.body
        for node in ast.walk(statement)
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load)
    ]
    names = list(dict.fromkeys(name for name, _ in read if name is not None))
    arguments = [argument.arg for argument in function.args.args]
    if len(names) != 2 or any(name not in arguments for name in names):
        raise Unliftable(f"its loop over tokens reads {', '.join(names) or 'nothing'}, not values and their decay")
    widened = [name for name in names if f"{name}[:, :, {token}].unsqueeze(-1)" in ast.unparse(loop)]
    if len(widened) != 1:
        raise Unliftable("its loop over tokens does not show which argument is the decay")
    return next(name for name in names if name != widened[0]), widened[0]


def _initial_state(function: ast.FunctionDef, taken: tuple[str, str]) -> list[str]:
    further = [argument.arg for argument in (*function.args.args, *function.args.kwonlyargs)]
    further = [name for name in further if name not in taken]
    if len(further) > 1:
        raise Unliftable(f"its further arguments are {', '.join(further)}, not one initial state")
    return further


def _at_token(node: ast.expr, token: str) -> str | None:
    """`name` of name[:, :, token]."""
    if isinstance(node, ast.Subscript) and ast.unparse(node.slice) in (f":, :, {token}", f"(:, :, {token})"):
        return ast.unparse(node.value)
    return None


def _sides(product: ast.BinOp) -> tuple[str, str]:
    return ast.unparse(product.left), ast.unparse(product.right)
