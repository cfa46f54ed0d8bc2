"""Changes of a program's text, by position. Text is parsed here, never run."""

from __future__ import annotations

import ast
import builtins
import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

NARROW = ("bfloat16", "float16", "half")


class Unliftable(Exception):
    """Why a part that is there stays as published, in one line."""


@dataclass(frozen=True, order=True)
class Edit:
    """Characters `start` to `end` (exclusive) of a source become `text`."""

    start: int
    end: int
    text: str


def apply(source: str, edits: list[Edit]) -> str:
    """The source with all edits made; their positions are those of the source as it was.

    Raises:
        Unliftable: two edits change the same characters.
    """
    ordered = sorted(edits)
    for earlier, later in pairwise(ordered):
        if later.start < earlier.end:
            raise Unliftable("two parts share the same lines")
    for edit in reversed(ordered):
        source = source[: edit.start] + edit.text + source[edit.end :]
    return source


def span(source: str, node: ast.stmt | ast.expr, *, decorators: bool = True) -> tuple[int, int]:
    """Where the text of a node starts and ends, in characters; with the decorators of a function or class."""
    line, column = node.lineno, node.col_offset
    if decorators and getattr(node, "decorator_list", None):
        first: ast.expr = node.decorator_list[0]  # type: ignore[union-attr]  # only what has decorators comes here
        line, column = first.lineno, first.col_offset
        start = source.rindex("@", 0, _position(source, line, column))
    else:
        start = _position(source, line, column)
    if node.end_lineno is None or node.end_col_offset is None:
        raise ValueError("the node was not parsed from text")
    return start, _position(source, node.end_lineno, node.end_col_offset)


def text(source: str, node: ast.stmt | ast.expr) -> str:
    """The text of a node as written, without decorators."""
    start, end = span(source, node, decorators=False)
    return source[start:end]


def with_import(source: str, line: str) -> str:
    """The source with one more line of code, after its docstring and imports from `__future__`."""
    tree = ast.parse(source)
    after = 0
    for statement in tree.body:
        docstring = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
        future = isinstance(statement, ast.ImportFrom) and statement.module == "__future__"
        if not (docstring or future):
            break
        after = span(source, statement)[1]
    if after == 0:
        return f"{line}\n{source}"
    return f"{source[:after]}\n{line}{source[after:]}"


def _position(source: str, line: int, column: int) -> int:
    """Characters before a place that ast gives as a line (from 1) and a column in UTF-8 bytes."""
    starts, lines = _lines(source)
    return starts[line - 1] + len(lines[line - 1].encode()[:column].decode())


@functools.lru_cache(maxsize=4)
def _lines(source: str) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Starts and texts of the lines as Python counts them: form feeds and their like end no line."""
    ends = [found.end() for found in re.finditer(r"\r\n|\r|\n", source)]
    starts = (0, *ends)
    return starts, tuple(source[a:b] for a, b in zip(starts, (*ends, len(source)), strict=True))


def loops_over(function: ast.FunctionDef, first: str) -> list[ast.For]:
    """The loops `for ... in range(first, end)` of a function; `range(end)` starts at "0"."""
    found = []
    for node in ast.walk(function):
        if isinstance(node, ast.For) and isinstance(node.iter, ast.Call) and ast.unparse(node.iter.func) == "range":
            bounds = ["0", *map(ast.unparse, node.iter.args)][-2:]
            if len(node.iter.args) <= 2 and bounds[0] == first:
                found.append(node)
    return found


def narrows(tree: ast.AST) -> list[str]:
    """The narrow floating-point types that a program names in its code, as written there."""
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr in NARROW]
    return sorted({ast.unparse(node) for node in nodes})


def changeable(tree: ast.Module, function: ast.FunctionDef) -> list[str]:
    """What a function that is to be replaced as a whole may also depend on, or change: a proof sees little of that.

    Variables of the module or of functions around it, other than constants, and attributes that it sets.
    """
    nodes = list(ast.walk(function))
    shared = {name for node in nodes if isinstance(node, ast.Global | ast.Nonlocal) for name in node.names}
    read = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    outer = read - (_variables(nodes) - shared) - _fixed(tree) - set(dir(builtins))
    attributes = [node for node in nodes if isinstance(node, ast.Attribute) and not isinstance(node.ctx, ast.Load)]
    return sorted(outer & _variables(ast.walk(tree)) | shared) + [ast.unparse(node) for node in attributes]


def _variables(nodes: Iterable[ast.AST]) -> set[str]:
    """The names that are assigned, and arguments."""
    return {
        node.arg if isinstance(node, ast.arg) else node.id
        for node in nodes
        if isinstance(node, ast.arg) or (isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load))
    }


def _fixed(tree: ast.Module) -> set[str]:
    """The modules, functions and classes of a program, and the module's names for numbers and texts."""
    fixed: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            fixed |= {alias.asname or alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            fixed.add(node.name)
    stores = [node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)]
    for statement in tree.body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant()) if stores.count(name) == 1:
                fixed.add(name)
    return fixed
