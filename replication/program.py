"""From a candidate's source text to its mixer class. Runs the candidate's code: for worker processes only."""

from __future__ import annotations

import ast
import functools
import hashlib
import linecache
import sys
import types
from collections.abc import Iterator

from torch import nn

from replication import compat

MIXER_CLASSES = ("Mixer", "DeltaNet")  # the project's contract, then the published programs' name
SOURCE_NAME = "<candidate "  # how the file names of candidates' code begin in tracebacks
ALLOWED_IMPORTS = frozenset(
    (
        *("__future__", "abc", "collections", "contextlib", "copy", "dataclasses", "enum", "functools", "itertools"),
        *("logging", "math", "numbers", "operator", "typing", "typing_extensions", "warnings"),
        *("einops", "fla", "kernels", "numpy", "torch", "transformers"),
    )
)
ALLOWED_MODULES = frozenset(("replication.leaks.clean", "replication.lift"))  # of packages not allowed as a whole
_hard_coding_bfloat16: set[str] = set()  # names of the modules executed so far whose code names that type


class CandidateError(Exception):
    """The candidate's own fault, in one line. It becomes the status of the run, never an error of the session."""


@functools.lru_cache(maxsize=16)
def load_mixer_class(source: str) -> type[nn.Module]:
    """The class `Mixer`, or else `DeltaNet`, of a program. Cached: all layers of a model share one execution.

    What the program raises itself while it is executed passes through.

    Raises:
        CandidateError: the source does not parse, imports something that is not there, or has no such class.
    """
    tree = _parse(source)
    _check_imports(tree)
    compat.install()
    module = _execute(source, tree)
    classes = {name: value for name, value in vars(module).items() if isinstance(value, type)}
    for name in MIXER_CLASSES:
        if name in classes and issubclass(classes[name], nn.Module):
            return classes[name]
    own = sorted(name for name, value in classes.items() if value.__module__ == module.__name__)
    raise CandidateError(
        f"no torch module named {' or '.join(MIXER_CLASSES)} (classes found: {', '.join(own) or 'none'})"
    )


def hard_codes_bfloat16(mixer: nn.Module) -> bool:
    """Whether the program that this mixer comes from names the type bfloat16 in its code."""
    return type(mixer).__module__ in _hard_coding_bfloat16


def names_bfloat16(tree: ast.AST) -> bool:
    """Whether code names the type bfloat16: in comments and docstrings it changes nothing.

    Nor does it as what a lifted delta rule rounds to, which multiplies no matrices of two types.
    """
    passed_over: set[int] = set()
    for node in ast.walk(tree):  # parents come before their children
        match node:
            case _ if id(node) in passed_over:
                passed_over |= {id(child) for child in ast.iter_child_nodes(node)}
            case ast.Expr(value=ast.Constant()):
                passed_over.add(id(node.value))
            case ast.Call(func=ast.Attribute(value=ast.Name(id="_lifted"), attr="delta_rule")):
                passed_over |= {id(keyword) for keyword in node.keywords if keyword.arg == "inverse_dtype"}
            case _ if any("bfloat16" in value for _, value in ast.iter_fields(node) if isinstance(value, str)):
                return True
    return False


def _parse(source: str) -> ast.Module:
    try:
        return ast.parse(source)
    except SyntaxError as error:
        raise CandidateError(f"line {error.lineno or 1}: syntax error: {error.msg}") from error
    except (ValueError, RecursionError, MemoryError) as error:  # null bytes, nesting beyond the parser's stack
        raise CandidateError(f"the source cannot be parsed: {error or type(error).__name__}") from error


def _check_imports(tree: ast.Module) -> None:
    """A courtesy to authors, who learn early what will not be there. It confines nobody: code has many ways
    round it, and confinement is the worker process's job.
    """
    for node in _executed_nodes(tree):
        if isinstance(node, ast.Import):
            imported = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            imported = ["." * node.level + (node.module or "")]
        else:
            continue
        for name in imported:
            if name.split(".")[0] not in ALLOWED_IMPORTS and name not in ALLOWED_MODULES:
                raise CandidateError(f"line {node.lineno} imports {name!r}, which is not allowed")


def _executed_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """Every node below, except the bodies of `if TYPE_CHECKING:`."""
    children: list[ast.AST] = list(ast.iter_child_nodes(node))
    if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
        children = list(node.orelse)
    for child in children:
        yield child
        yield from _executed_nodes(child)


def _execute(source: str, tree: ast.Module) -> types.ModuleType:
    digest = hashlib.sha256(source.encode()).hexdigest()[:12]
    module = types.ModuleType(f"candidate_{digest}")
    module.__file__ = file = f"{SOURCE_NAME}{digest}>"
    # dataclasses and typing look modules up by name; tracebacks, inspect and torch look source lines up here
    sys.modules[module.__name__] = module
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    if names_bfloat16(tree):
        _hard_coding_bfloat16.add(module.__name__)
    try:
        exec(compile(source, file, "exec", dont_inherit=True), vars(module))
    except ImportError as error:
        is_fla = (error.name or "").partition(".")[0] == "fla"
        hint = "; without fla and a GPU, only the stand-ins of replication/compat are there" if is_fla else ""
        raise CandidateError(f"{error.msg}{hint}") from error
    return module
