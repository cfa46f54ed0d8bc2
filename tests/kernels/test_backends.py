from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import inspect
import logging
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch

from kernels import backends
from kernels.backends import auto_order, choose_backend
from kernels.decay_attention import decay_attention
from kernels.gated_norm import gated_norm
from kernels.head_gate import head_gate

ROOT = Path(__file__).parents[2]
CPU = torch.zeros(1)
GPU = SimpleNamespace(device=torch.device("cuda:0"))
BOTH = {"triton": None, "fla": None}
needs_triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed")


@pytest.fixture
def all_installed(monkeypatch):
    monkeypatch.setattr(backends, "_NO_TRITON", None)
    monkeypatch.setattr(backends, "_NO_FLA", None)


def test_on_a_cpu_auto_is_the_chunk_form_even_where_kernels_could_be_interpreted(all_installed):
    assert choose_backend("fir", "auto", CPU, BOTH) == "chunk"


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        (BOTH, "triton"),
        ({"triton": "too wide", "fla": None}, "fla"),
        ({"fla": None}, "fla"),
        ({"triton": "too wide", "fla": "no float64"}, "chunk"),
        ({}, "chunk"),
        (None, "chunk"),
    ],
)
def test_on_a_gpu_auto_is_the_first_form_that_can_serve(all_installed, limits, expected):
    assert choose_backend("fir", "auto", GPU, limits) == expected


def test_auto_passes_over_what_is_not_installed(all_installed, monkeypatch):
    monkeypatch.setattr(backends, "_NO_TRITON", "triton is not installed")
    assert choose_backend("fir", "auto", GPU, BOTH) == "fla"
    monkeypatch.setattr(backends, "_NO_FLA", "flash-linear-attention is not installed")
    assert choose_backend("fir", "auto", GPU, BOTH) == "chunk"


def test_the_order_of_auto_can_be_changed_for_a_while(all_installed):
    with auto_order("fla", "triton"):
        assert choose_backend("fir", "auto", GPU, BOTH) == "fla"
        with auto_order():
            assert choose_backend("fir", "auto", GPU, BOTH) == "chunk"
        assert choose_backend("fir", "auto", GPU, BOTH) == "fla"
    assert choose_backend("fir", "auto", GPU, BOTH) == "triton"


def test_the_order_of_auto_comes_back_after_an_error(all_installed):
    with pytest.raises(RuntimeError, match="stop"), auto_order("chunk"):
        raise RuntimeError("stop")
    assert choose_backend("fir", "auto", GPU, BOTH) == "triton"


@pytest.mark.parametrize("x", [CPU, GPU])
@pytest.mark.parametrize("backend", ["naive", "chunk"])
def test_plain_forms_serve_every_device(backend, x):
    assert choose_backend("fir", backend, x, BOTH) == backend


def test_an_explicit_backend_that_can_serve_is_taken(all_installed):
    assert choose_backend("fir", "fla", GPU, BOTH) == "fla"
    assert choose_backend("fir", "triton", GPU, BOTH) == "triton"


@pytest.mark.parametrize(
    ("backend", "x", "limits", "reason"),
    [
        ("fast", CPU, BOTH, "backend must be one of auto, naive, chunk, triton, fla, not 'fast'"),
        ("fla", CPU, BOTH, "backend 'fla' cannot serve this call of fir: it needs a CUDA device, not cpu"),
        ("triton", GPU, {"fla": None}, "fir has no such form"),
        ("triton", GPU, {"triton": "too wide"}, "cannot serve this call of fir: too wide"),
    ],
)
def test_an_explicit_backend_that_cannot_serve_is_an_error(all_installed, backend, x, limits, reason):
    with pytest.raises(ValueError, match=reason):
        choose_backend("fir", backend, x, limits)


def test_what_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr(backends, "_NO_FLA", "flash-linear-attention is not installed")
    with pytest.raises(ValueError, match="flash-linear-attention is not installed"):
        choose_backend("fir", "fla", GPU, BOTH)


def test_kernels_on_a_cpu_need_the_interpreter(all_installed, monkeypatch):
    monkeypatch.setattr(backends, "INTERPRETED", True)
    assert choose_backend("fir", "triton", CPU, BOTH) == "triton"
    monkeypatch.setattr(backends, "INTERPRETED", False)
    with pytest.raises(ValueError, match=r"not cpu; TRITON_INTERPRET=1 runs Triton kernels on a CPU"):
        choose_backend("fir", "triton", CPU, BOTH)


def test_the_choice_is_logged_once_for_each_operator(all_installed, monkeypatch, caplog):
    monkeypatch.setattr(backends, "_told", set())
    with caplog.at_level(logging.INFO, logger="kernels.backends"):
        for _ in range(3):
            choose_backend("fir", "auto", CPU, BOTH)
            choose_backend("delta_rule", "auto", GPU, BOTH)
    assert [record.getMessage() for record in caplog.records] == [
        "fir on cpu: backend chunk",
        "delta_rule on cuda:0: backend triton",
    ]


def test_the_operators_import_neither_triton_nor_fla_unless_asked():
    program = "import sys, kernels; print(sorted({'triton', 'fla'} & set(sys.modules)))"
    kept = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=kept, capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr


def gate_arguments():
    generator = torch.Generator().manual_seed(0)
    shapes = [(1, 4, 3), (1, 4, 2, 2), (8, 5), (8,), (2, 8), (2,)]
    return [torch.randn(shape, generator=generator, requires_grad=True) for shape in shapes]


@pytest.mark.parametrize("backend", ["chunk", pytest.param("triton", marks=needs_triton)])
def test_torch_compile_finds_no_graph_break_in_an_operator(backend):
    def step(*tensors):
        return head_gate(*tensors, backend=backend).square().sum()

    tensors = gate_arguments()
    expected = torch.autograd.grad(step(*tensors), tensors)
    torch.compiler.reset()
    loss = torch.compile(step, backend="aot_eager", fullgraph=True)(*tensors)  # fullgraph: a break is an error
    measured = torch.autograd.grad(loss, tensors)
    for one, other in zip(measured, expected, strict=True):
        torch.testing.assert_close(one, other)


# flash-linear-attention needs a GPU. Its functions are stood in for by ours, under the signatures they have there.


def decay_stand_in(q, k, v, g=None, scale=None, initial_state=None, output_final_state=False):
    """In the place of chunk_gla. Without a scale it would be K ** -0.5."""
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    return decay_attention(q, k, v, g, scale=scale, backend="naive"), None


def simple_stand_in(q, k, v, g=None, g_gamma=None, scale=None, initial_state=None, output_final_state=False):
    """In the place of chunk_simple_gla."""
    assert g_gamma is None
    return decay_stand_in(q, k, v, g, scale)


def norm_stand_in(
    x, g, weight, bias, activation="swish", residual=None, prenorm=False, residual_in_fp32=False, eps=1e-6
):
    """In the place of rms_norm_gated."""
    assert bias is None
    assert activation == "swish"
    return gated_norm(x, g, weight, eps=eps, backend="naive")


FLA = {
    "fla.ops.gla": ("fla/ops/gla/chunk.py", "chunk_gla", decay_stand_in),
    "fla.ops.simple_gla": ("fla/ops/simple_gla/chunk.py", "chunk_simple_gla", simple_stand_in),
    "fla.modules.norm.fused_norm_gate": ("fla/modules/norm/fused_norm_gate.py", "rms_norm_gated", norm_stand_in),
}


@pytest.fixture
def fla_stood_in_for(monkeypatch, all_installed):
    for name in ("fla", "fla.ops", "fla.modules", "fla.modules.norm"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    for name, (_, function, stand_in) in FLA.items():
        monkeypatch.setitem(sys.modules, name, SimpleNamespace(**{function: stand_in}))
    for operator in ("decay_attention", "gated_norm"):
        monkeypatch.delitem(sys.modules, f"kernels.{operator}.fla", raising=False)
    # What serves a CPU here is the stand-in.
    monkeypatch.setattr(backends, "_reason", lambda operator, backend, x, limits: limits.get(backend))
    yield
    for operator in ("decay_attention", "gated_norm"):
        sys.modules.pop(f"kernels.{operator}.fla", None)


@pytest.mark.parametrize("decay", [(), (2,), (2, 16)])
def test_the_fla_form_of_decay_attention_passes_every_argument_in_its_place(fla_stood_in_for, decay):
    generator = torch.Generator().manual_seed(1)
    q, k, v = (torch.randn(1, 9, 2, size, generator=generator).half() for size in (16, 16, 24))
    log_decay = -torch.rand(1, 9, *decay, generator=generator) if decay else None
    expected = decay_attention(q, k, v, log_decay, scale=0.3, backend="naive")
    assert torch.equal(decay_attention(q, k, v, log_decay, scale=0.3, backend="fla"), expected)


def test_the_fla_form_of_gated_norm_passes_every_argument_in_its_place(fla_stood_in_for):
    generator = torch.Generator().manual_seed(1)
    x, gate, weight = (torch.randn(shape, generator=generator) for shape in [(3, 8), (3, 8), (8,)])
    expected = gated_norm(x, gate, weight, eps=0.1, backend="naive")
    assert torch.equal(gated_norm(x, gate, weight, eps=0.1, backend="fla"), expected)


def test_the_fla_forms_refuse_what_they_cannot_serve(fla_stood_in_for):
    q = torch.ones(1, 4, 2, 16)
    with pytest.raises(ValueError, match="bfloat16 or float16"):
        decay_attention(q, q, q, backend="fla")
    with pytest.raises(ValueError, match="at least 16"):
        decay_attention(*[q[..., :8].half()] * 3, backend="fla")
    with pytest.raises(ValueError, match="float64"):
        decay_attention(*[q.half()] * 3, torch.zeros(1, 4, 2).double(), backend="fla")
    with pytest.raises(ValueError, match="float64"):
        gated_norm(q.double(), q.double(), torch.ones(16), backend="fla")
    with pytest.raises(ValueError, match="at most 16384"):
        gated_norm(*[torch.ones(1, 16385)] * 2, torch.ones(16385), backend="fla")


@pytest.mark.parametrize("name", FLA)
def test_the_installed_fla_has_the_signatures_that_were_stood_in_for(name):
    path, function, stand_in = FLA[name]
    try:
        files = importlib.metadata.distribution("fla-core")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("flash-linear-attention is not installed")
    tree = ast.parse(Path(str(files.locate_file(path))).read_text(encoding="utf-8"))
    (found,) = [each for each in tree.body if isinstance(each, ast.FunctionDef) and each.name == function]
    ours = list(inspect.signature(stand_in).parameters)
    assert [argument.arg for argument in found.args.args][: len(ours)] == ours
