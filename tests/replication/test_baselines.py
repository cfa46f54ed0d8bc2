"""The shipped baselines and variants keep the contract of a candidate, and their own promises."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from replication import candidate
from replication.candidate import build_mixer

FOLDER = Path(candidate.__file__).parent
FILES = sorted([*FOLDER.glob("baselines/*.py"), *FOLDER.glob("variants/*.py")])
HIDDEN, HEADS = 32, 4
every_mixer = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)


def mixer(path, dtype=torch.float64, hidden=HIDDEN):
    """A mixer whose parameters have moved off their initial values, since a zero can hide a path."""
    torch.manual_seed(0)
    module = build_mixer(path.read_text(), hidden_size=hidden, num_heads=HEADS, layer_idx=0).double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return module.to(dtype)


def tokens(length, dtype=torch.float64):
    return torch.randn(2, length, HIDDEN, generator=torch.Generator().manual_seed(length)).to(dtype)


def test_all_baselines_and_five_variants_are_here():
    assert {path.stem for path in FILES if path.parent.name == "baselines"} == {
        "delta_net", "gated_delta_net", "gla", "linear_attention", "mamba2", "softmax_attention",
    }  # fmt: skip
    assert len([path for path in FILES if path.parent.name == "variants"]) == 5


@every_mixer
@pytest.mark.parametrize("length", [1, 33, 100])
def test_output_keeps_the_shape_and_every_parameter_has_a_finite_gradient(path, length):
    module = mixer(path, torch.float32)
    out = module(tokens(length, torch.float32))
    assert out.shape == (2, length, HIDDEN)
    out.square().sum().backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        if length > 31:
            assert parameter.grad.abs().max() > 0, name


@every_mixer
@pytest.mark.parametrize("cut", [1, 32, 71])
def test_outputs_ignore_later_tokens_and_see_the_present_one(path, cut):
    module, x = mixer(path), tokens(100)
    changed = x.clone()
    changed[:, cut:] = -3 * changed[:, cut:] + 1
    before, after = module(x), module(changed)
    torch.testing.assert_close(before[:, :cut], after[:, :cut], rtol=1e-11, atol=1e-11)
    assert (before[:, cut] - after[:, cut]).abs().max() > 1e-4


@every_mixer
def test_outputs_depend_on_tokens_well_before_the_present(path):
    module, x = mixer(path), tokens(100)
    changed = x.clone()
    changed[:, 40] += 1
    assert (module(x) - module(changed))[:, 60].abs().max() > 1e-9


@every_mixer
def test_elements_of_a_batch_do_not_see_each_other(path):
    module, x = mixer(path), tokens(50)
    torch.testing.assert_close(module(x)[1:], module(x[1:]), rtol=1e-11, atol=1e-11)


@every_mixer
def test_a_prefix_alone_gives_the_outputs_it_gives_in_a_longer_sequence(path):
    module, x = mixer(path), tokens(100)
    torch.testing.assert_close(module(x)[:, :45], module(x[:, :45]), rtol=1e-11, atol=1e-11)


@every_mixer
def test_float32_is_close_to_float64(path):
    expected = mixer(path)(tokens(100))
    measured = mixer(path, torch.float32)(tokens(100, torch.float32))
    assert (measured - expected).abs().max() < 2e-5 * expected.abs().max()


@every_mixer
def test_heads_that_do_not_fit_are_refused_by_name(path):
    with pytest.raises(ValueError, match="hidden_size 30 must be a multiple of"):
        mixer(path, hidden=30)


@every_mixer
def test_parameters_are_comparable_to_four_square_projections(path):
    hidden = 256
    count = sum(parameter.numel() for parameter in mixer(path, hidden=hidden).parameters())
    gates = {"delta_net_output_gate": 1, "retention": 1}.get(path.stem, 0)
    assert count == pytest.approx((4 + gates) * hidden**2, rel=0.07)


@every_mixer
def test_the_docstring_names_its_paper(path):
    assert "arXiv" in path.read_text().split('"""')[1]
