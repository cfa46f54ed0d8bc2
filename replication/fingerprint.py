"""Whether two programs are the same but for the names in them."""

from __future__ import annotations

import ast
import hashlib


def fingerprint(source: str) -> str | None:
    """sha256 of a program's syntax tree but for docstrings, layout and the names it gives; None where it has none."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    return hashlib.sha256(ast.dump(_Anonymous(tree).visit(tree)).encode()).hexdigest()


class _Anonymous(ast.NodeTransformer):
    """Numbers the names that a program gives, in the order in which they come; names from elsewhere stay."""

    def __init__(self, tree: ast.AST) -> None:
        self._numbers: dict[str, str] = {}
        self._own = set[str]()
        for node in ast.walk(tree):
            if isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
                self._own.add(node.id if isinstance(node, ast.Name) else node.attr)
            elif isinstance(node, ast.FunctionDef | ast.ClassDef):
                self._own.add(node.name)
            elif isinstance(node, ast.arg):
                self._own.add(node.arg)

    def generic_visit(self, node: ast.AST) -> ast.AST:
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
        elsewhere = isinstance(node, ast.alias) or (isinstance(node, ast.Attribute) and not _of_self(node))
        for field_name in () if elsewhere else ("id", "arg", "attr", "name"):
            if getattr(node, field_name, None) in self._own:
                name = getattr(node, field_name)
                setattr(node, field_name, self._numbers.setdefault(name, f"v{len(self._numbers)}"))
        return super().generic_visit(node)


def _of_self(node: ast.Attribute) -> bool:
    return isinstance(node.value, ast.Name) and node.value.id == "self"
