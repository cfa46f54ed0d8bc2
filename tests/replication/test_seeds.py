"""Seeds that train side by side have the numbers that they have alone."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from replication.mixers import build_mixers
from replication.model import build_model
from replication.seeds import SeedGroup, fastest_together
from replication.step import GraphStep, make_step
from replication.train import make_optimiser


class OneAtATime:
    """Stands for a GPU that does recorded work as late as it can: when somebody waits for it."""

    order: list[str]

    def __init__(self) -> None:
        self._asked: list[Callable[[], None]] = []
        self._generator = torch.get_rng_state()

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        before = torch.get_rng_state()
        yield
        self._generator = torch.get_rng_state()
        torch.set_rng_state(before)

    @contextlib.contextmanager
    def strict(self) -> Iterator[None]:
        yield

    def wait(self) -> None:
        before = torch.get_rng_state()
        torch.set_rng_state(self._generator)
        for work in self._asked:
            work()
        self._asked.clear()
        torch.set_rng_state(before)

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        return lambda: self._asked.append(work)


def new_step(rig: Any, source: str, seed: int) -> tuple[GraphStep, Callable[[], bytes]]:
    spec = rig.spec(source, seed=seed)
    mixers = build_mixers(source, spec.scale, seed)
    model = build_model(list(mixers.layers()), spec.scale, spec.corpus.vocab_size, seed).train()
    step = GraphStep(model, mixers, make_optimiser(model, spec), spec, OneAtATime())
    return step, lambda: b"".join(parameter.detach().numpy().tobytes() for parameter in model.parameters())


def test_seeds_side_by_side_have_the_losses_and_weights_that_they_have_alone(rig: Any) -> None:
    source = rig.source("y = self.drop(y) + torch.randn_like(y) / 20", "self.drop = nn.Dropout(0.3)")
    tokens = rig.corpus.open("train")
    alone = []
    for seed in (3, 4, 5):
        step, weights = new_step(rig, source, seed)
        alone.append(([step.run(tokens, index) for index in range(8)], weights()))
    steps = [new_step(rig, source, seed) for seed in (3, 4, 5)]
    group = SeedGroup([step for step, _ in steps])
    losses = [group.run(tokens, index) for index in range(8)]
    assert [list(each) for each in zip(*losses, strict=True)] == [each for each, _ in alone]
    assert [weights() for _, weights in steps] == [each for _, each in alone]
    assert len({each for _, each in alone}) == 3
    assert group.notes == ("training steps replay one CUDA graph",)


def test_steps_that_are_not_recorded_give_the_same_as_alone(rig: Any) -> None:
    source, tokens = rig.source(), rig.corpus.open("train")

    def eager(seed: int) -> Any:
        spec = rig.spec(source, seed=seed)
        mixers = build_mixers(source, spec.scale, seed)
        model = build_model(list(mixers.layers()), spec.scale, spec.corpus.vocab_size, seed)
        return make_step(model, mixers, make_optimiser(model, spec), spec)

    group = SeedGroup([eager(1), eager(2)])
    losses = [group.run(tokens, index) for index in range(4)]
    alone = [[step.run(tokens, index) for index in range(4)] for step in (eager(1), eager(2))]
    assert [list(each) for each in zip(*losses, strict=True)] == alone
    assert group.notes == ()


@pytest.mark.parametrize(
    ("seconds", "size"),
    [
        ({1: 1.0, 2: 1.1, 4: 1.4, 8: 3.0}, 4),  # stops paying after 4
        ({1: 1.0, 2: 2.0, 4: 4.0}, 1),  # the device was busy with one
        ({1: 1.0, 2: 1.02, 4: 2.0}, 2),  # 4 would save a little, less than it is worth
        ({2: 1.0}, 2),
    ],
)
def test_the_group_is_as_large_as_pays(seconds: dict[int, float], size: int) -> None:
    assert fastest_together(seconds) == size


@pytest.mark.parametrize("seconds", [{}, {1: 0.0}, {0: 1.0}])
def test_no_group_size_without_a_measurement(seconds: dict[int, float]) -> None:
    with pytest.raises(ValueError, match="seconds must hold the measured time"):
        fastest_together(seconds)
