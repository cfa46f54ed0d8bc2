"""Floors stay floors: imports run one way, and each floor uses the libraries it may."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = ("kernels", "replication", "loop", "audit")  # each may import itself and those before it
# What may be used besides the standard library and our own floors.
NUMERIC = {"torch", "numpy", "pandas"}
CORE = NUMERIC | {"filelock", "tqdm"}
EDGE = {"hydra", "omegaconf"}
FORMATS = {"tokenizers", "pyarrow", "datasets"}  # of the user's text: imported where a file asks for them
MODELS = {"openai", "pypdf", "sklearn", "sqlalchemy"}  # of the loop
REPORTING = {"scipy", "statsmodels", "matplotlib", "seaborn", "jinja2", "markupsafe", "jsonschema", "yaml"}

FILES = sorted(path for floor in FLOORS for path in (ROOT / floor).rglob("*.py"))


def imported(path: Path) -> list[tuple[str, int]]:
    """Every module that a file imports anywhere in it, by absolute name, with its line."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join([*above, *([node.module] if node.module else [])])
            found += [(f"{base}.{alias.name}", node.lineno) for alias in node.names]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("import_module", "__import__"):
            first = node.args[0] if node.args else None
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                found.append((first.value, node.lineno))
    return found


def floor_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0]


def allowed(path: Path) -> set[str]:
    """Top-level packages that a file may import besides the standard library."""
    floor, name = floor_of(path), path.relative_to(ROOT).as_posix()
    if name.startswith("audit/statistics/"):
        return {"numpy", "pandas", "scipy", "statsmodels", "audit.statistics"}
    below = set(FLOORS[: FLOORS.index(floor) + 1])
    if floor == "kernels":
        triton = {"triton"} if path.name in ("triton.py", "launch.py", "sm90.py") else set()
        fla = {"fla"} if path.name == "fla.py" else set()
        return below | NUMERIC | triton | fla
    if floor == "replication":
        places = {"replication/configure.py": EDGE, "replication/corpus/": FORMATS, "replication/compat/": {"fla"}}
        places |= {"replication/questions.py": {"lm_eval"}, "replication/bench/settings.py": {"yaml"}}
        return below | CORE | set().union(*(more for place, more in places.items() if name.startswith(place)))
    if floor == "loop":
        return below | CORE | MODELS | {"scipy", "jinja2", "jsonschema", "yaml"}
    return below | CORE | REPORTING | (FORMATS if name.startswith("audit/sources/") else set())


def violations(path: Path) -> list[str]:
    names = allowed(path)

    def fits(module: str) -> bool:
        top = module.split(".")[0]
        whole = any(module == name or module.startswith(f"{name}.") for name in names)
        return whole or top in sys.stdlib_module_names

    where = path.relative_to(ROOT)
    return [f"{where}:{line} imports {module}" for module, line in imported(path) if not fits(module)]


@pytest.mark.parametrize("floor", [floor for floor in FLOORS if (ROOT / floor).is_dir()])
def test_a_floor_imports_only_what_stands_below_it_and_its_libraries(floor: str) -> None:
    files = [path for path in FILES if floor_of(path) == floor]
    assert files
    assert [line for path in files for line in violations(path)] == []


def test_every_top_level_package_is_a_floor() -> None:
    packages = {path.parent.name for path in ROOT.glob("*/*.py")} - {"tests"}
    assert {name for name in packages if not name.startswith(".")} <= set(FLOORS)


@pytest.mark.parametrize(
    ("place", "text", "expected"),
    [
        ("kernels/x.py", "from replication import model", "replication.model"),
        ("kernels/fir/x.py", "import pandas, filelock", "filelock"),
        ("replication/x.py", "import audit.rerun", "audit.rerun"),
        ("replication/x.py", "def f():\n    import hydra", "hydra"),
        ("replication/x.py", "import importlib\nimportlib.import_module('loop.archive')", "loop.archive"),
        ("replication/corpus/x.py", "from scipy import stats", "scipy.stats"),
        ("audit/statistics/x.py", "from audit import finding", "audit.finding"),
        ("audit/statistics/x.py", "from ..evidence import Evidence", "audit.evidence.Evidence"),
        ("audit/statistics/x.py", "from replication.settings import InputError", "replication.settings.InputError"),
    ],
)
def test_the_walk_sees_imports_of_every_form(
    place: str, text: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    path = tmp_path / place
    path.parent.mkdir(parents=True)
    path.write_text(text)
    assert [found.split(" imports ")[1] for found in violations(path)] == [expected]
