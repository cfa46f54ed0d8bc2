"""Every Triton kernel is compiled for sm_90, in a process of its own without the interpreter."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from kernels.sm90 import Built, Compilation, build, problems

pytest.importorskip("triton")

ROOT = Path(__file__).parents[2]
GOOD = Built(registers=128, spill_bytes=0, stack_bytes=0, shared_bytes=1024, tensor_core_instructions=4)
BOUNDS = Compilation("x", None, {}, {}, num_warps=4, num_stages=1, tensor_cores=True, spill_bytes=16)

PROGRAM = """
import sys

from kernels.sm90 import Compilation, build, problems
import triton
import triton.language as tl


@triton.jit
def product(a, b, out, n, SIZE: tl.constexpr, PRECISION: tl.constexpr):
    i = tl.arange(0, SIZE)
    x = tl.load(a + i[:, None] * n + i)
    y = tl.load(b + i[:, None] * n + i)
    tl.store(out + i[:, None] * n + i, tl.dot(x, y, input_precision=PRECISION))


@triton.jit
def centre(x, out, SIZE: tl.constexpr):
    i = tl.arange(0, SIZE)
    values = tl.load(x + i)
    tl.store(out + i, values - tl.sum(values, axis=0))


pointers = {"a": "*fp32", "b": "*fp32", "out": "*fp32", "n": "i32:16"}
for precision in ("tf32", "ieee"):
    constants = {"SIZE": 16, "PRECISION": precision}
    wanted = Compilation("product", product, pointers, constants, num_warps=1, num_stages=1, tensor_cores=True)
    print(problems(wanted, build(wanted)))
for size in (256, 16384):  # 8 or 512 values a thread
    pointers = {"x": "*fp32", "out": "*fp32"}
    wanted = Compilation("centre", centre, pointers, {"SIZE": size}, num_warps=1, num_stages=1, tensor_cores=False)
    print([words.split()[0] for words in problems(wanted, build(wanted))])
try:
    build(Compilation("product", product, {"a": "*fp32"}, {"SIZE": 16}, 1, 1, True))
except ValueError as error:
    print(error)
"""


def python(*arguments, folder, **environment):
    """A Python process from the project's root, with no interpreter and its own cache."""
    kept = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    kept |= {"TRITON_CACHE_DIR": str(folder), "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, env=kept, capture_output=True, text=True)


def test_no_kernel_breaks_its_bounds_on_sm_90(tmp_path):
    done = python("-m", "kernels.sm90", folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    operators = {line.split()[0] for line in done.stdout.splitlines()[1:]}
    assert {path.parent.name for path in ROOT.glob("kernels/*/triton.py")} == operators


def test_a_compilation_tells_spills_and_missing_tensor_cores_from_a_sound_kernel(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    done = python(str(program), folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "[]",
        "['has no tensor-core instruction']",
        "[]",
        "['spills']",
        "product: no type and no constant for the argument b",
    ]


def test_under_the_interpreter_one_line_says_that_nothing_is_compiled(tmp_path):
    done = python("-m", "kernels.sm90", folder=tmp_path, TRITON_INTERPRET="1")
    assert done.returncode == 2
    assert done.stderr == "kernels are not compiled under TRITON_INTERPRET; unset it\n"


def test_an_interpreted_kernel_is_not_built():
    from kernels.head_gate.triton import COMPILATIONS

    with pytest.raises(RuntimeError, match="unset it to build them"):
        build(COMPILATIONS[0])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, []),
        ({"spill_bytes": 16}, []),
        ({"spill_bytes": 17}, ["spills 17 bytes, more than 16"]),
        ({"tensor_core_instructions": 0}, ["has no tensor-core instruction"]),
        ({"shared_bytes": 300_000}, ["needs 300000 bytes of shared memory, more than 232448"]),
    ],
)
def test_each_broken_bound_is_named(change, words):
    assert problems(BOUNDS, replace(GOOD, **change)) == words
