"""Initial values depend on the seed and the tensor's name alone, in the distribution that the constructor asks for."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from replication.initialise import construct, keyed_generator


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q_proj = nn.Linear(16, 16)
        self.o_proj = nn.Linear(16, 16, bias=False)


class Large(nn.Module):
    """Shares two tensors with Small, in another order and between others."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Parameter(0.02 * torch.randn(3, 5))
        self.o_proj = nn.Linear(16, 16, bias=False)
        self.conv = nn.Conv1d(16, 16, 4)
        self.permutation = torch.randperm(7)
        self.q_proj = nn.Linear(16, 16)


def state(build: Callable[[], nn.Module], seed: int = 3) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in construct(build, seed).state_dict().items()}


def made_by(
    initialise: Callable[[torch.Tensor], object], shape: tuple[int, ...] = (200, 50)
) -> Callable[[], nn.Module]:
    """A module with one tensor `weight`, set as `initialise` does."""

    def build() -> nn.Module:
        module = nn.Module()
        module.weight = nn.Parameter(torch.full(shape, 7.0))
        initialise(module.weight)
        return module

    return build


def test_tensors_of_one_name_are_equal_in_architectures_that_differ_elsewhere() -> None:
    small, large = state(Small), state(Large)
    for name in ("q_proj.weight", "q_proj.bias", "o_proj.weight"):
        assert torch.equal(small[name], large[name]), name


def test_tensors_of_other_names_and_shapes_of_one_size_differ() -> None:
    values = state(Small)
    assert not torch.equal(values["q_proj.weight"], values["o_proj.weight"])


def test_another_seed_gives_other_values_to_every_random_tensor() -> None:
    one, other = state(Large, seed=3), state(Large, seed=4)
    assert [name for name in one if torch.equal(one[name], other[name])] == []
    assert torch.equal(state(Large, seed=3)["gate"], one["gate"])


def test_a_linear_layer_keeps_the_bounds_of_its_default() -> None:
    values = state(lambda: nn.Linear(64, 2000))
    bound = 1 / math.sqrt(64)
    for tensor in values.values():
        assert tensor.abs().max() <= bound
        assert tensor.abs().max() > 0.98 * bound
        assert abs(tensor.mean()) < 4 * bound / math.sqrt(3 * tensor.numel())
        assert tensor.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.05)


def test_a_normal_draw_keeps_its_mean_and_deviation() -> None:
    weight = state(made_by(lambda tensor: nn.init.normal_(tensor, mean=3.0, std=0.5)))["weight"]
    assert weight.mean().item() == pytest.approx(3.0, abs=4 * 0.5 / 100)
    assert weight.std().item() == pytest.approx(0.5, rel=0.05)


def test_a_truncated_normal_stays_within_its_bounds() -> None:
    weight = state(made_by(lambda tensor: nn.init.trunc_normal_(tensor, std=1.0, a=-0.5, b=2.0)))["weight"]
    assert -0.5 <= weight.min() < -0.45
    assert 1.8 < weight.max() <= 2.0
    phi = lambda x: math.exp(-x * x / 2) / math.sqrt(2 * math.pi)  # noqa: E731
    inside = 0.5 * (math.erf(2 / math.sqrt(2)) - math.erf(-0.5 / math.sqrt(2)))
    assert weight.mean().item() == pytest.approx((phi(-0.5) - phi(2)) / inside, abs=0.03)


def test_an_orthogonal_matrix_is_orthogonal_random_and_repeatable() -> None:
    build = made_by(nn.init.orthogonal_, (12, 12))
    one, again, other = (state(build, seed)["weight"] for seed in (1, 1, 2))
    torch.testing.assert_close(one @ one.T, torch.eye(12), atol=1e-5, rtol=0)
    assert torch.equal(one, again)
    assert not torch.allclose(one, other)


def test_what_the_constructor_sets_after_drawing_stays_set() -> None:
    weight = state(made_by(lambda tensor: nn.init.zeros_(nn.init.normal_(tensor))))["weight"]
    assert torch.equal(weight, torch.zeros_like(weight))


def test_a_scaled_draw_is_random_scaled_and_repeatable() -> None:
    def build() -> nn.Module:
        module = nn.Module()
        module.weight = nn.Parameter(0.02 * torch.randn(100, 100))
        module.shift = nn.Parameter(2 + torch.rand(100, 100))
        return module

    one, again = state(build), state(build)
    assert one["weight"].std().item() == pytest.approx(0.02, rel=0.05)
    assert 2 <= one["shift"].min() < one["shift"].max() <= 3
    assert torch.equal(one["weight"], again["weight"])
    assert torch.equal(one["shift"], again["shift"])


def test_buffers_are_random_by_name_too() -> None:
    def build(first: str, second: str) -> nn.Module:
        module = nn.Module()
        for name in (first, second):
            module.register_buffer(name, torch.empty(4, 4).uniform_(-1, 1))
        return module

    one, turned = state(lambda: build("a", "b")), state(lambda: build("b", "a"))
    assert torch.equal(one["a"], turned["a"])
    assert torch.equal(one["b"], turned["b"])
    assert not torch.equal(one["a"], one["b"])


def test_tied_tensors_stay_tied() -> None:
    def build() -> nn.Module:
        module = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 5, bias=False))
        module[1].weight = module[0].weight
        return module

    module = construct(build, 0)
    assert module[1].weight is module[0].weight  # type: ignore[index]


RARE: dict[str, Callable[[torch.Tensor], object]] = {
    "randperm": lambda tensor: tensor.data.copy_(torch.randperm(tensor.numel()).view_as(tensor)),
    "exponential": lambda tensor: tensor.data.exponential_(2.0),
    "bernoulli": lambda tensor: tensor.data.bernoulli_(0.5),
    "randint": lambda tensor: tensor.data.copy_(torch.randint(1000, tensor.shape)),
    "normal with tensors": lambda tensor: tensor.data.copy_(torch.normal(tensor.data, tensor.data.abs())),
    "dropout of a constant": lambda tensor: tensor.data.copy_(nn.functional.dropout(tensor.data, 0.5)),
    "an operator with two results": lambda tensor: tensor.data.copy_(torch.native_dropout(tensor.data, 0.5, True)[0]),
    "numpy": lambda tensor: tensor.data.copy_(torch.from_numpy(np.random.rand(*tensor.shape))),  # noqa: NPY002
    "python": lambda tensor: tensor.data.fill_(random.random()),
}


@pytest.mark.parametrize("kind", RARE)
def test_rare_kinds_of_draws_are_repeatable_and_random(kind: str) -> None:
    build = made_by(RARE[kind], (5, 8))
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002
    random.seed(0)
    one = state(build, seed=1)["weight"]
    torch.manual_seed(99)
    np.random.seed(99)  # noqa: NPY002
    random.seed(99)
    again, other = state(build, seed=1)["weight"], state(build, seed=2)["weight"]
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_permutations_and_exponentials_keep_their_distribution() -> None:
    permutation = state(made_by(RARE["randperm"], (5, 8)))["weight"]
    assert sorted(permutation.flatten().tolist()) == list(range(40))
    assert state(made_by(RARE["exponential"]))["weight"].mean().item() == pytest.approx(0.5, rel=0.05)


def test_values_do_not_depend_on_the_state_of_pytorchs_generator() -> None:
    torch.manual_seed(1)
    one = state(Large)
    torch.manual_seed(2)
    torch.randn(17)
    other = state(Large)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_random_draws_after_construction_are_pytorchs_own_again() -> None:
    construct(Large, 3)
    torch.manual_seed(5)
    one = torch.randn(4)
    torch.manual_seed(5)
    assert torch.equal(one, torch.randn(4))
    assert not torch.equal(one, torch.randn(4))


def test_half_precision_values_are_the_rounded_float32_values() -> None:
    full = state(lambda: nn.Linear(8, 8))["weight"]
    half = state(lambda: nn.Linear(8, 8, dtype=torch.bfloat16))["weight"]
    assert torch.equal(half, full.bfloat16())


def test_streams_of_different_keys_are_uncorrelated() -> None:
    draws = np.stack([keyed_generator(seed, name).standard_normal(4000) for seed in (0, 1) for name in ("a", "b#0")])
    correlation = np.corrcoef(draws) - np.eye(4)
    assert np.abs(correlation).max() < 0.08
