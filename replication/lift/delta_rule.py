"""The delta rule that a program carries as a function of its own: found by its row loop, replaced as a whole.

Published programs solve each chunk's triangular system row by row in Python,

    for i in range(1, chunk_size):
        inverse[..., i, :i] += ...

in one function of queries, keys, values and step sizes. Its signature stays, and its body becomes one call. What is
read off the text is only what varies between programs; whether the rest is the delta rule is the proof's business.
"""

from __future__ import annotations

import ast

from replication.lift.rewriting import Edit, Unliftable, changeable, loops_over, narrows, span, text

ARGUMENTS = ("q", "k", "v", "beta")
CHUNK = "chunk_size"


def rewrite(tree: ast.Module, source: str) -> list[Edit]:
    """The edits that make the function a call of `_lifted.delta_rule`; none where there is no such function.

    Raises:
        Unliftable: there are several, or one with other arguments, or one that depends on more than these.
    """
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and _solves_by_rows(node)]
    if not functions:
        return []
    if len(functions) > 1:
        raise Unliftable(f"{len(functions)} functions solve a triangular system by rows")
    function = functions[0]
    if more := changeable(tree, function):
        raise Unliftable(f"it depends on or changes {', '.join(more)}")
    start, end = span(source, function)
    indent = " " * function.col_offset
    body = f"{indent}    return _lifted.delta_rule({', '.join(_call_arguments(function, source))})"
    return [Edit(start, end, f"{signature(function)}\n{body}")]


def signature(function: ast.FunctionDef) -> str:
    """The line of a function up to its colon, without decorators."""
    returns = "" if function.returns is None else f" -> {ast.unparse(function.returns)}"
    return f"def {function.name}({ast.unparse(function.args)}){returns}:"


def _solves_by_rows(function: ast.FunctionDef) -> bool:
    return any(
        isinstance(target, ast.Subscript)
        for loop in loops_over(function, "1")
        for statement in ast.walk(loop)
        for target in _targets(statement)
    )


def _targets(statement: ast.AST) -> list[ast.expr]:
    if isinstance(statement, ast.Assign):
        return statement.targets
    return [statement.target] if isinstance(statement, ast.AugAssign) else []


def _call_arguments(function: ast.FunctionDef, source: str) -> list[str]:
    names = [argument.arg for argument in (*function.args.args, *function.args.kwonlyargs)]
    further = [name for name in names if name not in (*ARGUMENTS, CHUNK)]
    if names[: len(ARGUMENTS)] != list(ARGUMENTS) or CHUNK not in names or len(further) > 1:
        raise Unliftable(f"its arguments are {', '.join(names)}, not q, k, v, beta, {CHUNK} and at most a decay")
    normalised = _normalised(function, source)
    given = [normalised.get("q", "q"), normalised.get("k", "k"), "v", "beta", f"{CHUNK}={CHUNK}"]
    given += [f"decay={name}" for name in further]
    rounding = narrows(function)
    if len(rounding) > 1 or any(not name.startswith("torch.") for name in rounding):
        raise Unliftable(f"it rounds by {' and '.join(rounding)}, not to one type of torch")
    given += [f"inverse_dtype={name}" for name in rounding]
    if _detaches_state(function):
        given.append("detach_state=True")
    return given


def _normalised(function: ast.FunctionDef, source: str) -> dict[str, str]:
    """The calls, as written, that queries and keys go through as `q = norm(q)`."""
    found: dict[str, str] = {}
    for node in ast.walk(function):
        if not isinstance(node, ast.Assign) or len(node.targets) != 1:
            continue
        target, value = node.targets[0], node.value
        pairs = [(target, value)]
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
            pairs = list(zip(target.elts, value.elts, strict=False))
        for name, call in pairs:
            if isinstance(name, ast.Name) and name.id in ("q", "k") and _normalises(call, name.id):
                found[name.id] = text(source, call)
    return found


def _normalises(call: ast.expr, name: str) -> bool:
    """Whether it is a call of a norm on the variable `name`, with nothing else that varies."""
    if not isinstance(call, ast.Call) or not call.args or "norm" not in ast.unparse(call.func):
        return False
    further = [*call.args[1:], *(keyword.value for keyword in call.keywords)]
    return ast.unparse(call.args[0]) == name and all(isinstance(value, ast.Constant | ast.UnaryOp) for value in further)


def _detaches_state(function: ast.FunctionDef) -> bool:
    """Whether it returns a tuple whose second element is detached."""
    returned = [node.value for node in function.body if isinstance(node, ast.Return)]
    last = returned[-1] if returned else None
    return isinstance(last, ast.Tuple) and len(last.elts) == 2 and ast.unparse(last.elts[1]).endswith(".detach()")
