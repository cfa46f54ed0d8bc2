from __future__ import annotations

import hashlib
import signal
import sys
import traceback
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from replication.candidate import (
    CandidateError,
    build_mixer,
    mix,
    python_state,
    read_candidate,
    restore_python_state,
)
from replication.settings import InputError

MIXER = """
import torch
from torch import nn

class Mixer(nn.Module):
    def __init__(self, hidden_size, num_heads, layer_idx):
        super().__init__()
        self.q_proj = nn.Linear(hidden_size, hidden_size)
        self.layer_idx = layer_idx

    def forward(self, x):
        return {returned}
"""
COUNTING = """
import torch
from torch import nn

class Gate(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(size))
        self.register_buffer("step", torch.zeros(1, dtype=torch.long), persistent=False)
        self.register_buffer("kept", torch.zeros(1))
        self.temperature, self.mode, self.shown, self.table = 1.0, "soft", None, [1, 2]
        self.average = torch.zeros(size)

    def forward(self, x):
        self.step += 1
        self.kept += 1
        self.temperature *= 0.9
        self.shown = x.detach().mean()
        self.average = 0.9 * self.average + 0.1 * x.detach().mean((0, 1))
        return x * self.scale * self.temperature + self.average + self.step

class DeltaNet(nn.Module):
    def __init__(self, *, mode="chunk", hidden_size=1024, num_heads=4, layer_idx=None, **kwargs):
        super().__init__()
        self.gate = Gate(hidden_size)

    def forward(self, hidden_states, attention_mask=None, **kwargs):
        return self.gate(hidden_states), None, None
"""


@pytest.fixture(autouse=True)
def torch_compile_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", torch.compile)


def build(source: str, hidden_size: int = 4) -> nn.Module:
    return build_mixer(source, hidden_size=hidden_size, num_heads=2, layer_idx=3)


def returning(returned: str) -> nn.Module:
    return build(MIXER.format(returned=returned))


X = torch.ones(2, 5, 4)


def test_a_candidate_is_named_after_its_file_and_identified_by_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "My Mixer-2.py"
    content = "# ä\r\nx = 1\n".encode()
    path.write_bytes(content)
    candidate = read_candidate(path, "baseline")
    assert (candidate.name, candidate.label, candidate.role) == ("my_mixer_2", "My Mixer-2", "baseline")
    assert candidate.id == hashlib.sha256(content).hexdigest()
    assert candidate.origin == "My Mixer-2.py"


@pytest.mark.parametrize(("content", "problem"), [
    (b"", "is empty"), (b" \n\t\n", "is empty"), (b"x = '\xff'", r"not UTF-8 text \(byte 5\)"),
])  # fmt: skip
def test_an_unusable_candidate_file_is_an_input_error_that_names_it(
    tmp_path: Path, content: bytes, problem: str
) -> None:
    path = tmp_path / "mixer.py"
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"mixer\.py: .*{problem}"):
        read_candidate(path, "candidate")


def test_a_missing_candidate_file_or_one_without_a_name_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.py: cannot read this candidate: No such file"):
        read_candidate(tmp_path / "absent.py", "candidate")
    with pytest.raises(InputError, match="Is a directory"):
        read_candidate(tmp_path, "candidate")
    (tmp_path / "--.py").write_text("x = 1")
    with pytest.raises(InputError, match="needs a letter or a digit"):
        read_candidate(tmp_path / "--.py", "candidate")


def test_the_mixer_is_the_candidates_own_module_with_its_own_parameter_names() -> None:
    model = nn.ModuleDict({"mixer": returning("self.q_proj(x)")})
    assert list(model.state_dict()) == ["mixer.q_proj.weight", "mixer.q_proj.bias"]
    assert model["mixer"].layer_idx == 3


def test_the_published_style_gets_keyword_arguments_and_its_own_defaults_otherwise() -> None:
    assert build(COUNTING, hidden_size=6).gate.scale.shape == (6,)


def test_all_layers_of_a_model_share_one_execution_and_no_parameters() -> None:
    source = MIXER.format(returned="x") + "\nprint('executed')\n"
    first, second = build(source), build(source)
    assert type(first) is type(second)
    assert first.q_proj.weight is not second.q_proj.weight


@pytest.mark.parametrize(("source", "message"), [
    ("import torch\nclass Mixer(:\n", "line 2: syntax error: invalid syntax"),
    ("import math\nimport torch\nimport os\n", "line 3 imports 'os', which is not allowed"),
    ("def f():\n    from os.path import join\n", "line 2 imports 'os.path', which is not allowed"),
    ("from .. import secrets\n", "line 1 imports '..', which is not allowed"),
    ("if TYPE_CHECKING:\n    import os\nelse:\n    import sys\n", "line 4 imports 'sys', which is not allowed"),
    ("x = 1\0", "source code string cannot contain null bytes"),
    ("x = " + "(" * 10_000, "line 1|cannot be parsed"),
    ("class Net: pass\nfrom enum import Enum\n", r"no torch module named Mixer or DeltaNet .*found: Net\)"),
    ("x = 1\n", r"classes found: none\)"),
    ("class Mixer: pass\n", r"no torch module named .*found: Mixer\)"),
    ("import fla.ops.gla\n", "No module named 'fla.ops'; without fla and a GPU, only the stand-ins"),
    ("from math import nothing_there\n", "cannot import name 'nothing_there'"),
    ("from torch import nn\nclass Mixer(nn.Module):\n    def __init__(self, width):\n        pass\n",
     r"Mixer has no argument hidden_size \(arguments found: width\)"),
])  # fmt: skip
def test_a_faulty_program_is_reported_in_one_line(source: str, message: str) -> None:
    with pytest.raises(CandidateError, match=message) as caught:
        build(source)
    assert "\n" not in str(caught.value)


def test_imports_for_type_checkers_only_are_ignored() -> None:
    guard = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from fla.nowhere import Thing\n    import os\n"
    assert build(guard + MIXER.format(returned="x"))


def test_dataclasses_and_annotations_work_in_a_candidate_as_in_any_module() -> None:
    extra = "from __future__ import annotations\nfrom dataclasses import dataclass\nfrom typing import get_type_hints\n"
    extra += "@dataclass\nclass Shape:\n    width: int = 1\nassert get_type_hints(Shape) == {'width': int}\n"
    assert build(extra + MIXER.format(returned="x"))


def test_what_a_candidate_raises_passes_through_with_its_own_source_line() -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        mix(returning("x / (1 // 0)"), X)
    frame = traceback.extract_tb(caught.value.__traceback__)[-1]
    assert frame.filename.startswith("<candidate ")
    assert (frame.lineno, frame.line) == (12, "return x / (1 // 0)")
    with pytest.raises(NameError, match="undefined"):
        build("undefined\n")


def test_the_candidate_sees_a_fresh_module_and_not_this_one() -> None:
    mixer = returning("x")
    module = sys.modules[type(mixer).__module__]
    assert module.__name__.startswith("candidate_")
    assert not hasattr(module, "CandidateError")


@pytest.mark.parametrize("returned", ["x", "(x,)", "[x, None]", "(x, None, None)"])
def test_the_output_is_a_tensor_or_the_first_of_several(returned: str) -> None:
    output, auxiliary = mix(returning(returned), X)
    assert output is X
    assert auxiliary is None


@pytest.mark.parametrize(("second", "counts"), [
    ("x.mean()", True), ("x.mean().double()", True), ("x.mean(1)", False), ("x.mean()[None]", False),
    ("(x.sum() > 0).sum()", False), ("0.5", False), ("None", False),
])  # fmt: skip
def test_only_a_floating_scalar_tensor_counts_as_an_auxiliary_loss(second: str, counts: bool) -> None:
    _, auxiliary = mix(returning(f"(x, {second})"), X)
    assert (auxiliary is not None) is counts


@pytest.mark.parametrize(("returned", "found"), [
    ("None", "NoneType"), ("()", "empty tuple"), ("{'output': x}", "dict"), ("(None, x)", "NoneType"),
    ("x[:, :-1]", r"shape \[2, 4, 4\], torch.float32"), ("x.flatten(1)", r"shape \[2, 20\]"),
    ("x.long()", r"shape \[2, 5, 4\], torch.int64"), ("x.to(torch.complex64)", ".*torch.complex64"),
])  # fmt: skip
def test_another_output_is_the_candidates_fault_with_what_was_expected_and_found(returned: str, found: str) -> None:
    with pytest.raises(CandidateError, match=rf"tensor of shape \[2, 5, 4\].*returned: {found}"):
        mix(returning(returned), X)


def test_non_finite_outputs_are_left_for_the_trainer_to_find() -> None:
    output, _ = mix(returning("x * float('nan')"), X)
    assert output.isnan().all()


def test_a_hard_coded_bfloat16_factor_keeps_its_rounding_and_multiplies_in_float32() -> None:
    x = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0))
    mixer = returning("(x @ x.transpose(1, 2)).to(torch.bfloat16) @ x")
    output, _ = mix(mixer, x)
    assert torch.equal(output, (x @ x.transpose(1, 2)).bfloat16().float() @ x)
    output, _ = mix(mixer, x.bfloat16())
    assert output.dtype == torch.bfloat16


def test_stopping_and_resuming_with_the_hidden_state_gives_the_uninterrupted_outputs() -> None:
    whole = build(COUNTING)
    outputs = [mix(whole, X)[0] for _ in range(4)]
    first = build(COUNTING)
    for _ in range(2):
        mix(first, X)
    weights = {name: value.clone() for name, value in first.state_dict().items()}
    hidden = python_state(first)
    mix(first, X)  # what happens after the checkpoint must not reach into it
    resumed = build(COUNTING)
    resumed.load_state_dict(weights)
    restore_python_state(resumed, hidden)
    assert torch.equal(mix(resumed, X)[0], outputs[2])
    assert torch.equal(mix(resumed, X)[0], outputs[3])
    assert torch.equal(hidden["gate:step"], torch.tensor([2]))


def test_the_hidden_state_is_what_the_state_dict_leaves_out() -> None:
    mixer = build(COUNTING)
    state = python_state(mixer)
    assert set(state) == {f"gate:{name}" for name in ("step", "temperature", "mode", "shown", "average")}
    assert not any("training" in name for name in state)


def test_the_hidden_state_of_another_model_is_refused() -> None:
    with pytest.raises(ValueError, match="no submodule 'gate'"):
        restore_python_state(returning("x"), {"gate:step": 1})


def test_numbers_of_numpy_and_enums_are_kept_as_plain_numbers() -> None:
    module = nn.Identity()
    module.calls, module.steps, module.rate, module.kind = np.float64(2.5), np.int64(3), True, signal.SIGINT
    state = python_state(module)
    kinds = {name: (type(value), value) for name, value in state.items()}
    assert kinds == {":calls": (float, 2.5), ":steps": (int, 3), ":rate": (bool, True), ":kind": (int, 2)}
