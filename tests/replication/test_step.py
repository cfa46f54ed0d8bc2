"""The recorded step against the eager one, with a recorder that calls the work again where a GPU would replay it."""

from __future__ import annotations

import contextlib
import dataclasses
import random
import types
from collections.abc import Callable, Iterator
from typing import Any, cast

import numpy as np
import pytest
import torch

from replication.host_state import host_generators
from replication.mixers import Mixers, build_mixers
from replication.model import LanguageModel, build_model
from replication.record import RunSpec
from replication.step import WARM_UP, CudaRecorder, EagerStep, GraphStep, make_step
from replication.train import make_optimiser, pack_checkpoint, unpack_checkpoint

DONE = "training steps replay one CUDA graph"
DROPOUT = {"init": "self.drop = nn.Dropout(0.3)", "forward": "y = self.drop(y) + torch.randn_like(y) / 20"}


class Again:
    """Stands for a GPU: what was recorded is done by calling it. Work of the host within it is done again as well."""

    def __init__(self, fails: str | None = None) -> None:
        self.fails, self.recorded, self.replayed = fails, 0, 0

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        yield

    def wait(self) -> None:
        pass

    @contextlib.contextmanager
    def strict(self) -> Iterator[None]:
        yield

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        self.recorded += 1
        if self.fails is not None:
            raise RuntimeError(f"{self.fails}\nand a second line")

        def replay() -> None:
            self.replayed += 1
            work()

        return replay


class Trainee:
    """A model with everything that a step needs."""

    def __init__(self, rig: Any, source: str, **spec: Any) -> None:
        self.spec: RunSpec = rig.spec(source, **spec)
        self.tokens: np.ndarray = rig.corpus.open("train")
        scale, seed = self.spec.scale, self.spec.seed
        self.mixers: Mixers = build_mixers(source, scale, seed)
        self.model: LanguageModel = build_model(
            list(self.mixers.layers()), scale, self.spec.corpus.vocab_size, seed
        ).train()
        self.optimiser = make_optimiser(self.model, self.spec)

    def eager(self) -> EagerStep:
        return EagerStep(self.model, self.mixers, self.optimiser, self.spec)

    def graph(self, recorder: Again | None = None) -> GraphStep:
        return GraphStep(self.model, self.mixers, self.optimiser, self.spec, recorder or Again())

    def run(self, step: EagerStep | GraphStep, first: int, last: int) -> list[float]:
        return [step.run(self.tokens, index) for index in range(first, last)]

    @property
    def weights(self) -> bytes:
        return b"".join(parameter.detach().numpy().tobytes() for parameter in self.model.parameters())


def rate_as_tensor(trainee: Trainee) -> Trainee:
    """With the learning rate rounded as a recorded step has it, so that the numbers can be compared to the bit."""
    for group in trainee.optimiser.param_groups:
        group["lr"] = torch.tensor(group["lr"], dtype=torch.float32)
    return trainee


# The recorded step.


@pytest.mark.parametrize("schedule", ["cosine", "wsd"])
@pytest.mark.parametrize("micro_batch_size", [4, 2])
def test_a_recorded_step_gives_the_losses_and_weights_of_the_eager_one(
    rig: Any, schedule: str, micro_batch_size: int
) -> None:
    settings = {"optimiser": {"schedule": schedule, "gradient_clip": 0.05}, "micro_batch_size": micro_batch_size}
    source = rig.source(**DROPOUT)
    one, other = rate_as_tensor(Trainee(rig, source, **settings)), Trainee(rig, source, **settings)
    recorder = Again()
    graph = other.graph(recorder)
    assert one.run(one.eager(), 0, 12) == other.run(graph, 0, 12)
    assert one.weights == other.weights
    assert (graph.notes, recorder.recorded, recorder.replayed) == ((DONE,), 1, 12 - WARM_UP)


def test_a_learning_rate_that_is_no_tensor_gives_nearly_the_same(rig: Any) -> None:
    one, other = Trainee(rig, rig.source()), Trainee(rig, rig.source())
    assert one.run(one.eager(), 0, 12) == pytest.approx(other.run(other.graph(), 0, 12), rel=1e-6)


def test_every_replay_has_the_learning_rate_and_the_batch_of_its_step(rig: Any) -> None:
    trainee = Trainee(rig, rig.source())
    step = trainee.graph()
    losses = trainee.run(step, 0, 12)
    (rate,) = {float(group["lr"]) for group in trainee.optimiser.param_groups}
    assert len(set(losses)) == 12
    assert rate == pytest.approx(3e-3 * (0.1 + 0.9 * 0.5 * (1 + np.cos(np.pi * 10 / 11))), rel=1e-6)


def test_dropout_differs_between_replays_and_is_that_of_seed_and_step(rig: Any) -> None:
    settings = {"learning_rate": 1e-12}  # nothing moves: only batch and dropout can change the loss
    one, other = (Trainee(rig, rig.source(**DROPOUT), **settings) for _ in range(2))
    first, second = one.graph(), other.graph()
    one.run(first, 0, WARM_UP + 1)
    losses = [first.run(one.tokens, 7), first.run(one.tokens, 8), first.run(one.tokens, 7)]
    other.run(second, 0, WARM_UP + 1)
    assert losses[0] == losses[2] == second.run(other.tokens, 7)
    assert losses[0] != losses[1]


def test_a_launched_step_is_read_later(rig: Any) -> None:
    one, other = Trainee(rig, rig.source()), Trainee(rig, rig.source())
    first, second = one.graph(), other.graph()
    losses = one.run(first, 0, 8)
    for index in range(8):
        second.launch(other.tokens, index)
    assert second.read() == losses[-1]
    assert one.weights == other.weights


def test_a_gradient_that_is_not_finite_is_told_by_a_replay(rig: Any) -> None:
    trainee = Trainee(rig, rig.source())
    step = trainee.graph()
    trainee.run(step, 0, WARM_UP + 1)
    with torch.no_grad():
        trainee.model.norm.weight.fill_(torch.nan)
    assert step.run(trainee.tokens, WARM_UP + 1) == np.inf


def test_an_auxiliary_loss_is_trained_on_and_not_reported(rig: Any) -> None:
    source = rig.source("return y, self.proj.weight.square().sum() * 100")
    one, other = rate_as_tensor(Trainee(rig, source)), Trainee(rig, source)
    assert one.run(one.eager(), 0, 8) == other.run(other.graph(), 0, 8)
    assert one.weights == other.weights
    assert other.weights != Trainee(rig, rig.source()).weights


def test_a_resumed_training_warms_up_again_to_the_same_bytes(rig: Any) -> None:
    source = rig.source(**DROPOUT)
    whole, begun, resumed = (Trainee(rig, source) for _ in range(3))
    losses = whole.run(whole.graph(), 0, 12)
    begun.run(begun.graph(), 0, 6)
    state = pack_checkpoint(begun.spec, begun.model, begun.mixers, begun.optimiser, np.zeros(6, np.float32))
    done = np.zeros(12, np.float32)
    assert unpack_checkpoint(state, resumed.spec, resumed.model, resumed.mixers, resumed.optimiser, done) == 6
    assert resumed.run(resumed.graph(), 6, 12) == losses[6:]
    assert whole.weights == resumed.weights
    assert not any(group["capturable"] for group in resumed.optimiser.param_groups)


def test_buffers_written_in_place_are_the_devices_work_and_are_recorded(rig: Any) -> None:
    source = rig.source(init="self.register_buffer('calls', torch.zeros(()))", forward="y = y * self.calls.add_(1)")
    one, other = rate_as_tensor(Trainee(rig, source)), Trainee(rig, source)
    step = other.graph()
    assert one.run(one.eager(), 0, 10) == other.run(step, 0, 10)
    assert step.notes == (DONE,)


# Programs that cannot be recorded.


HIDDEN = {
    "a counter": ("self.calls = 0", "self.calls += 1", ".calls"),
    "a tensor in a list": ("self.kept = [0.0]", "self.kept = [self.kept[0] + y.detach()]", ".kept.0"),
    "a buffer that is replaced": (
        "self.register_buffer('ema', torch.zeros(()))", "self.ema = self.ema + y.detach().mean()", "_buffers.ema",
    ),
    "a list": ("self.kept = [0]", "self.kept[0] += 1", ".kept.0"),
    "an array": ("self.kept = np.zeros(2)", "self.kept += 1", ".kept"),
    "a class attribute": ("pass", "Mixer.calls = getattr(Mixer, 'calls', 0) + 1", "Mixer.calls"),
    "a global": ("pass", "globals().update(calls=globals().get('calls', 0) + 1)", ".calls"),
}  # fmt: skip


@pytest.mark.parametrize("kind", HIDDEN)
def test_state_that_the_host_changes_from_step_to_step_keeps_the_step_eager(rig: Any, kind: str) -> None:
    init, forward, named = HIDDEN[kind]
    source = rig.source(forward, init)
    one, other = rate_as_tensor(Trainee(rig, source)), Trainee(rig, source)
    recorder = Again()
    step = other.graph(recorder)
    expected, losses = one.run(one.eager(), 0, 8), other.run(step, 0, 8)
    assert losses == expected
    assert recorder.recorded == 0
    (note,) = step.notes
    assert note.startswith("training steps without a CUDA graph: the program changes ")
    assert f"{named} from step to step" in note


@pytest.mark.parametrize(
    ("init", "forward"),
    [
        ("self.cache = None", "self.cache = count if self.cache is None else self.cache"),
        ("pass", "self.last = y.shape"),
    ],
)
def test_a_cache_made_by_the_first_step_is_no_obstacle(rig: Any, init: str, forward: str) -> None:
    trainee = Trainee(rig, rig.source(forward, init))
    step = trainee.graph()
    trainee.run(step, 0, WARM_UP + 1)
    assert step.notes == (DONE,)


def test_a_tensor_that_each_step_leaves_behind_for_nobody_is_no_obstacle(rig: Any) -> None:
    source = rig.source("self.last = y.mean(); y = y + self.last.exp()", "self.last = None")
    one, other = rate_as_tensor(Trainee(rig, source)), Trainee(rig, source)
    step = other.graph()
    assert one.run(one.eager(), 0, 8) == other.run(step, 0, 8)
    assert step.notes == (DONE,)


def test_a_tensor_that_the_next_step_reads_keeps_the_step_eager(rig: Any) -> None:
    source = rig.source("y = y + self.ema; self.ema = self.ema + y.detach().mean()", "self.ema = torch.zeros(())")
    one, other = rate_as_tensor(Trainee(rig, source)), Trainee(rig, source)
    step = other.graph()
    assert one.run(one.eager(), 0, 8) == other.run(step, 0, 8)
    reason = "the program reads blocks.0.mixer:ema of the step before"
    assert step.notes == (f"training steps without a CUDA graph: {reason}",)


def test_draws_of_the_host_keep_the_step_eager(rig: Any) -> None:
    source = rig.source("y = y * (1 + np.random.rand())")
    one, other = rate_as_tensor(Trainee(rig, source)), Trainee(rig, source)
    step = other.graph()
    assert one.run(one.eager(), 0, 8) == other.run(step, 0, 8)
    assert step.notes == ("training steps without a CUDA graph: the program draws random numbers on the CPU",)


@pytest.mark.parametrize("draw", [lambda: torch.rand(()), lambda: np.random.rand(), random.random])  # noqa: NPY002
def test_a_draw_of_any_library_on_the_cpu_shows_when_the_model_is_on_a_gpu(draw: Callable[[], object]) -> None:
    before = host_generators(torch.device("cuda", 0))
    assert host_generators(torch.device("cuda", 0)) == before
    draw()
    assert host_generators(torch.device("cuda", 0)) != before


def test_a_program_that_waits_for_the_device_stays_eager_and_keeps_its_state(rig: Any) -> None:
    class Waits(Again):
        @contextlib.contextmanager
        def strict(self) -> Iterator[None]:
            yield
            raise RuntimeError("called a synchronizing CUDA operation")

    source = rig.source(init="self.register_buffer('calls', torch.zeros(()))", forward="y = y * self.calls.add_(1)")
    one, other = rate_as_tensor(Trainee(rig, source)), Trainee(rig, source)
    recorder = Waits()
    step = other.graph(recorder)
    assert one.run(one.eager(), 0, 8) == other.run(step, 0, 8)
    assert step.notes == ("training steps without a CUDA graph: called a synchronizing CUDA operation",)
    assert recorder.recorded == 0


def test_a_recording_that_fails_is_said_once_in_one_line_and_training_goes_on(rig: Any) -> None:
    source = rig.source(**DROPOUT)
    one, other = rate_as_tensor(Trainee(rig, source)), Trainee(rig, source)
    recorder = Again(fails="operation not permitted when stream is capturing")
    step = other.graph(recorder)
    assert one.run(one.eager(), 0, 10) == other.run(step, 0, 10)
    assert recorder.recorded == 1
    assert step.notes == ("training steps without a CUDA graph: operation not permitted when stream is capturing",)
    assert not any(group["capturable"] for group in other.optimiser.param_groups)


# Which step serves, and the recorder of a GPU.


def test_on_a_cpu_the_step_is_eager(rig: Any) -> None:
    trainee = Trainee(rig, rig.source())
    assert isinstance(make_step(trainee.model, trainee.mixers, trainee.optimiser, trainee.spec), EagerStep)


def test_on_a_gpu_the_step_is_recorded_if_the_mixers_live_here(rig: Any, gpu: FakeGpu) -> None:
    trainee = Trainee(rig, rig.source())
    spec = dataclasses.replace(trainee.spec, device="cuda")
    elsewhere = types.SimpleNamespace(
        begin=trainee.mixers.begin, state=trainee.mixers.state, restore=trainee.mixers.restore
    )
    assert isinstance(make_step(trainee.model, trainee.mixers, trainee.optimiser, spec), GraphStep)
    assert isinstance(make_step(trainee.model, elsewhere, trainee.optimiser, spec), EagerStep)


class FakeGenerator:
    """A generator whose state can be taken and shared, as those of CUDA devices."""

    def __init__(self, device: object = None) -> None:
        self.shared = object()

    def graphsafe_get_state(self) -> FakeGenerator:
        twin = FakeGenerator()
        twin.shared = self.shared
        return twin

    def graphsafe_set_state(self, other: FakeGenerator) -> None:
        self.shared = other.shared


class FakeGpu:
    """What of torch.cuda the recorder uses, for a device that is not there."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.log: list[str] = []
        self.generator, self.mode = FakeGenerator(), cast(object, 0)
        stream = types.SimpleNamespace(
            wait_stream=lambda other: self.log.append(f"own stream waits for {other}"),
            synchronize=lambda: self.log.append("host waits"),
        )
        values = {
            "Stream": lambda device: stream,
            "current_stream": lambda device: "current",
            "stream": self.within("own stream"),
            "graph": lambda graph, stream: self.within("recording")(graph),
            "CUDAGraph": lambda: types.SimpleNamespace(replay=lambda: self.log.append("replay")),
            "default_generators": (self.generator,),
            "get_sync_debug_mode": lambda: self.mode,
            "set_sync_debug_mode": lambda mode: setattr(self, "mode", mode),
        }
        for name, value in values.items():
            monkeypatch.setattr(torch.cuda, name, value)
        monkeypatch.setattr(torch, "Generator", FakeGenerator)

    def within(self, what: str) -> Callable[[object], contextlib.AbstractContextManager[None]]:
        @contextlib.contextmanager
        def context(_: object) -> Iterator[None]:
            self.log.append(what)
            try:
                yield
            finally:
                self.log.append(f"end of {what}")

        return context


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> FakeGpu:
    return FakeGpu(monkeypatch)


def test_work_aside_has_a_stream_and_a_generator_of_its_own_and_leaves_the_devices(gpu: FakeGpu) -> None:
    first, second = (CudaRecorder(torch.device("cuda", 0)) for _ in range(2))
    everybodys, inside = gpu.generator.shared, []
    for recorder in (first, second, first):
        with recorder.aside():
            inside.append(gpu.generator.shared)
        assert gpu.generator.shared is everybodys
    assert inside[0] is inside[2]
    assert len({id(each) for each in (everybodys, *inside)}) == 3
    with pytest.raises(Stop), first.aside():
        raise Stop
    assert gpu.generator.shared is everybodys
    assert gpu.log[:3] == ["own stream waits for current", "own stream", "end of own stream"]


def test_waiting_for_the_device_is_an_error_only_within_strict(gpu: FakeGpu) -> None:
    recorder = CudaRecorder(torch.device("cuda", 0))
    with pytest.raises(Stop), recorder.strict():
        assert gpu.mode == "error"
        raise Stop
    assert gpu.mode == 0


def test_a_recording_is_made_on_the_own_stream_and_replays(gpu: FakeGpu) -> None:
    recorder = CudaRecorder(torch.device("cuda", 0))
    with recorder.aside():
        gpu.log.clear()
        replay = recorder.record(lambda: gpu.log.append("work"))
    replay()
    recorder.wait()
    expected = ["own stream", "recording", "work", "end of recording", "end of own stream"]
    assert gpu.log == [*expected, "end of own stream", "replay", "host waits"]


def test_a_broken_recording_leaves_a_generator_that_is_not_taken_for_recorded(gpu: FakeGpu) -> None:
    recorder = CudaRecorder(torch.device("cuda", 0))
    everybodys = gpu.generator.shared

    def breaks() -> None:
        raise RuntimeError("operation not permitted when stream is capturing")

    with recorder.aside():
        spoilt = gpu.generator.shared
        with pytest.raises(RuntimeError, match="not permitted"):
            recorder.record(breaks)
        fresh = gpu.generator.shared
    assert gpu.generator.shared is everybodys
    with recorder.aside():
        assert gpu.generator.shared is fresh
    assert fresh is not spoilt
    assert fresh is not everybodys


class Stop(Exception):
    """Stands for whatever ends a step early."""
