"""What the Triton kernels become on an H100 or H200, read on any machine.

Triton compiles for compute capability 9.0 (sm_90) without a GPU. Each `kernels/<operator>/triton.py` lists the
configurations that it uses as `COMPILATIONS`; here they are built, and the registers, the register spills and the
tensor-core instructions of each are read. `python -m kernels.sm90` prints the table. Its exit code is 1 if a kernel
spills more than its recorded bound or lacks the tensor-core instructions that it is meant to have, and 2 where nothing
can be compiled.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import multiprocessing
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SHARED_BYTES_A_BLOCK = 232448  # 227 KiB, the most that one block may ask for on sm_90
Type = str | tuple[str, ...]
TENSOR_CORE = re.compile(r"\b(?:HGMMA|QGMMA|IGMMA|HMMA|QMMA|IMMA|DMMA)\b")


@dataclass(frozen=True)
class Compilation:
    """A kernel in one configuration of its real use.

    Attributes:
        name: unique among all, such as "fir forward bf16 W64".
        kernel: the function under `triton.jit`.
        signature: Triton's type of each argument that is not a constant, such as "*bf16", "*fp32", "i32" or
            "fp32". "i32:16" is an integer that is always a multiple of 16. Pointers are taken as aligned to 16
            bytes, as PyTorch's memory is. A tuple of types is an argument that is a tuple.
        constants: the values of the `tl.constexpr` arguments.
        num_warps, num_stages: as in the launch.
        tensor_cores: whether its products are meant to run on tensor cores.
        spill_bytes: the most bytes that a thread may spill, stores and loads together.
    """

    name: str
    kernel: Any
    signature: Mapping[str, Type]
    constants: Mapping[str, object]
    num_warps: int
    num_stages: int
    tensor_cores: bool
    spill_bytes: int = 0


@dataclass(frozen=True)
class Built:
    """What a kernel uses on sm_90: registers, spilled and stack bytes a thread, shared bytes a block."""

    registers: int
    spill_bytes: int
    stack_bytes: int
    shared_bytes: int
    tensor_core_instructions: int


def build(compilation: Compilation) -> Built:
    """Compile for sm_90 and read what came out.

    Raises RuntimeError where TRITON_INTERPRET was set when the kernel was defined: nothing is compiled then.
    """
    import triton
    from triton import knobs
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    kernel = compilation.kernel
    if not isinstance(kernel, triton.runtime.JITFunction):
        raise RuntimeError("kernels are not compiled under TRITON_INTERPRET; unset it to build them for sm_90")
    signature = {name: _type(compilation, name) for name in kernel.arg_names}
    source = ASTSource(
        fn=kernel, signature=signature, constexprs=dict(compilation.constants), attrs=_alignment(compilation)
    )
    options = {"num_warps": compilation.num_warps, "num_stages": compilation.num_stages}
    log = io.StringIO()
    with _fresh_cache(knobs), contextlib.redirect_stdout(log):
        compiled = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
    text = log.getvalue()
    return Built(
        registers=_total(r"Used (\d+) registers", text),
        spill_bytes=_total(r"(\d+) bytes spill stores", text) + _total(r"(\d+) bytes spill loads", text),
        stack_bytes=_total(r"(\d+) bytes stack frame", text),
        shared_bytes=int(compiled.metadata.shared),
        tensor_core_instructions=len(TENSOR_CORE.findall(_machine_code(compiled.asm["cubin"], knobs))),
    )


def problems(compilation: Compilation, built: Built) -> list[str]:
    """What breaks a bound, in words; nothing where all is well."""
    found = []
    if built.spill_bytes > compilation.spill_bytes:
        found.append(f"spills {built.spill_bytes} bytes, more than {compilation.spill_bytes}")
    if compilation.tensor_cores and built.tensor_core_instructions == 0:
        found.append("has no tensor-core instruction")
    if built.shared_bytes > SHARED_BYTES_A_BLOCK:
        found.append(f"needs {built.shared_bytes} bytes of shared memory, more than {SHARED_BYTES_A_BLOCK}")
    return found


def collect() -> tuple[Compilation, ...]:
    """The compilations of all operators, in the order of their names.

    Raises ValueError where two have one name.
    """
    folders = sorted(path.parent.name for path in Path(__file__).parent.glob("*/triton.py"))
    found = [each for name in folders for each in importlib.import_module(f"kernels.{name}.triton").COMPILATIONS]
    names = [each.name for each in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"compilations need names of their own: {', '.join(twice)}")
    return tuple(found)


def _type(compilation: Compilation, name: str) -> Type:
    """Triton's type of an argument. Raises ValueError where it is neither in signature nor in constants."""
    if name in compilation.constants:
        return "constexpr"
    if name not in compilation.signature:
        raise ValueError(f"{compilation.name}: no type and no constant for the argument {name}")
    kind = compilation.signature[name]
    return kind.split(":")[0] if isinstance(kind, str) else tuple(each.split(":")[0] for each in kind)


def _alignment(compilation: Compilation) -> dict[tuple[int, ...], list[list[object]]]:
    """Which arguments are multiples of 16, as a launch finds by looking at their values."""
    kinds: dict[tuple[int, ...], str] = {}
    for name, kind in compilation.signature.items():
        place = compilation.kernel.arg_names.index(name)
        kinds |= {(place,): kind} if isinstance(kind, str) else {(place, i): each for i, each in enumerate(kind)}
    aligned = [place for place, kind in kinds.items() if kind.startswith("*") or kind.endswith(":16")]
    return {place: [["tt.divisibility", 16]] for place in aligned}


@contextlib.contextmanager
def _fresh_cache(knobs: Any) -> Iterator[None]:
    """An empty cache, because ptxas reports only on what it really compiles."""
    with tempfile.TemporaryDirectory() as folder, knobs.cache.scope(), knobs.nvidia.scope():
        knobs.cache.dir = folder
        knobs.nvidia.dump_ptxas_log = True
        yield


def _total(pattern: str, text: str) -> int:
    """The sum of a number over the functions that ptxas reports. Raises RuntimeError where it reports none."""
    numbers = [int(number) for number in re.findall(pattern, text)]
    if not numbers:
        raise RuntimeError(f"ptxas reported nothing that reads {pattern!r}")
    return sum(numbers)


def _machine_code(cubin: bytes, knobs: Any) -> str:
    """The listing of a cubin, by the cuobjdump that Triton brings."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.cubin"
        path.write_bytes(cubin)
        command = [knobs.nvidia.cuobjdump.path, "--dump-sass", str(path)]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _build_all(number: int) -> Iterator[Built]:
    """What `collect()` lists, built in as many processes as there are cores; in order."""
    workers = min(number, os.cpu_count() or 1)
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(_build_number, range(number))


def _build_number(number: int) -> Built:
    """By its number, because a kernel does not travel between processes."""
    return build(collect()[number])


def main() -> int:
    """Print one line a compilation; 1 where a bound is broken."""
    if os.environ.get("TRITON_INTERPRET") == "1":
        print("kernels are not compiled under TRITON_INTERPRET; unset it", file=sys.stderr)
        return 2
    if importlib.util.find_spec("triton") is None:
        print("triton is not installed", file=sys.stderr)
        return 2
    broken = 0
    compilations = collect()
    print(f"{'kernel':<48} {'registers':>9} {'spilled':>7} {'stack':>5} {'shared':>6} {'tensor-core':>11}")
    for compilation, built in zip(compilations, _build_all(len(compilations)), strict=True):
        wrong = problems(compilation, built)
        broken += bool(wrong)
        numbers = f"{built.registers:>9} {built.spill_bytes:>7} {built.stack_bytes:>5} {built.shared_bytes:>6}"
        verdict = f"  {'; '.join(wrong)}" if wrong else ""
        print(f"{compilation.name:<48} {numbers} {built.tensor_core_instructions:>11}{verdict}", flush=True)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
