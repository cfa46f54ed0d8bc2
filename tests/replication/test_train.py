"""Training is a function of its spec: the same bytes twice, on other threads, and after any interruption."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from replication import train as training
from replication.candidate import python_state
from replication.checkpoint import Checkpoint
from replication.corpus import batch_offsets, train_batch
from replication.mixers import Mixers, build_mixers
from replication.model import LanguageModel, build_model
from replication.processes import EngineSettings, WarmWorker
from replication.record import Optimiser, RunSpec
from replication.step import EagerStep, learning_rate
from replication.train import CheckpointError, Diverged, make_optimiser, train

WIDE = {"hidden_size": 64, "sequence_length": 128, "steps": 6}  # large enough that PyTorch splits work by thread


class Stop(Exception):
    """Stands for whatever ends a training early."""


class Trainee:
    """Training in this process: a model that can be trained, stopped and resumed."""

    def __init__(self, rig: Any, source: str, **spec: Any) -> None:
        self.spec: RunSpec = rig.spec(source, **spec)
        self.tokens = rig.corpus.open("train")
        self.source = source
        self.mixers, self.model = self.new_model()

    def new_model(self) -> tuple[Mixers, LanguageModel]:
        scale, seed = self.spec.scale, self.spec.seed
        mixers = build_mixers(self.source, scale, seed)
        return mixers, build_model(list(mixers.layers()), scale, self.spec.corpus.vocab_size, seed)

    def train(self, stop_after: int | None = None, checkpoint: bytes | None = None) -> np.ndarray:
        losses: list[float] = []

        def emit(first: int, new: np.ndarray) -> None:
            del losses[first:]
            losses.extend(new.tolist())
            if len(losses) == stop_after:
                raise Stop

        self.saved: list[bytes] = []
        with contextlib.suppress(Stop):
            train(self.model, self.mixers, self.spec, self.tokens, emit, self.saved.append, 0, checkpoint)
        return np.array(losses, dtype=np.float32)


@pytest.fixture
def emit_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "EMIT_SECONDS", 0.0)


@pytest.fixture(scope="module")
def two_threads(engine_settings: EngineSettings) -> Iterator[WarmWorker]:
    worker = WarmWorker(dataclasses.replace(engine_settings, threads=2))
    yield worker
    worker.close()


def schedule(rig: Any, **changes: Any) -> Optimiser:
    optimiser: Optimiser = dataclasses.replace(rig.optimiser, **changes)
    return optimiser


# The learning rate.


def test_warm_up_is_linear_and_reaches_the_peak_at_its_last_step(rig: Any) -> None:
    optimiser = schedule(rig, warmup_fraction=0.25)
    rates = [learning_rate(step, 20, 0.01, optimiser) for step in range(5)]
    assert rates == pytest.approx([0.002, 0.004, 0.006, 0.008, 0.01])


@pytest.mark.parametrize("kind", ["cosine", "wsd"])
def test_without_warm_up_the_first_step_has_the_peak(rig: Any, kind: str) -> None:
    assert learning_rate(0, 20, 0.01, schedule(rig, schedule=kind, warmup_fraction=0.0)) == 0.01


def test_the_cosine_falls_from_the_peak_through_the_middle_towards_the_floor(rig: Any) -> None:
    optimiser = schedule(rig, warmup_fraction=0.2, final_learning_rate=0.1)
    assert learning_rate(20, 100, 1.0, optimiser) == pytest.approx(1.0)
    assert learning_rate(60, 100, 1.0, optimiser) == pytest.approx(0.55)
    assert learning_rate(99, 100, 1.0, optimiser) == pytest.approx(0.1 + 0.45 * (1 + math.cos(math.pi * 79 / 80)))
    assert learning_rate(99, 100, 1.0, optimiser) > 0.1


def test_wsd_is_constant_and_then_falls_linearly_towards_the_floor(rig: Any) -> None:
    optimiser = schedule(rig, schedule="wsd", warmup_fraction=0.1, decay_fraction=0.2, final_learning_rate=0.0)
    rates = [learning_rate(step, 100, 1.0, optimiser) for step in range(100)]
    assert rates[9:81] == [1.0] * 72
    assert rates[81:] == pytest.approx([1 - i / 20 for i in range(1, 20)])


@pytest.mark.parametrize("kind", ["cosine", "wsd"])
@pytest.mark.parametrize("steps", [1, 2, 7])
@pytest.mark.parametrize("fraction", [0.0, 1.0])
def test_short_runs_and_extreme_fractions_have_a_rate_between_zero_and_the_peak(
    rig: Any, kind: str, steps: int, fraction: float
) -> None:
    optimiser = schedule(rig, schedule=kind, warmup_fraction=fraction, decay_fraction=fraction, final_learning_rate=0.0)
    rates = [learning_rate(step, steps, 0.5, optimiser) for step in range(steps)]
    assert all(0 < rate <= 0.5 for rate in rates), rates
    assert max(rates) == 0.5


# One step.


def gradients_by_sgd(trainee: Trainee, **scale: int) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and gradients of step 0, seen through plain gradient descent."""
    spec = dataclasses.replace(trainee.spec, scale=dataclasses.replace(trainee.spec.scale, **scale))
    spec = dataclasses.replace(spec, optimiser=dataclasses.replace(spec.optimiser, warmup_fraction=0.0))
    mixers, model = trainee.new_model()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    loss = EagerStep(model, mixers, torch.optim.SGD(model.parameters(), lr=1.0), spec).run(trainee.tokens, 0)
    rate = spec.scale.learning_rate
    return loss, {name: (before[name] - p.detach()) / rate for name, p in model.named_parameters()}


UNCLIPPED = {"gradient_clip": 1e9}


def test_the_loss_is_the_mean_cross_entropy_of_the_batch_of_that_seed_and_step(rig: Any) -> None:
    trainee = Trainee(rig, rig.source())
    scale = trainee.spec.scale
    offsets = batch_offsets(
        trainee.spec.seed, 0, tokens=len(trainee.tokens), sequence_length=scale.sequence_length, batch_size=4
    )
    inputs, targets = train_batch(trainee.tokens, offsets, scale.sequence_length)
    logits = trainee.model(torch.from_numpy(inputs))[0].detach()
    expected = F.cross_entropy(logits.flatten(0, 1), torch.from_numpy(targets).flatten()).item()
    assert gradients_by_sgd(trainee)[0] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("micro_batch_size", [1, 2])
def test_accumulated_gradients_equal_those_of_the_whole_batch(rig: Any, micro_batch_size: int) -> None:
    trainee = Trainee(rig, rig.source(), optimiser=UNCLIPPED)
    whole_loss, whole = gradients_by_sgd(trainee)
    loss, parts = gradients_by_sgd(trainee, micro_batch_size=micro_batch_size)
    assert loss == pytest.approx(whole_loss, rel=1e-6)
    for name, gradient in whole.items():
        torch.testing.assert_close(parts[name], gradient, rtol=1e-3, atol=3e-5, msg=name)


@pytest.mark.parametrize("micro_batch_size", [1, 4])
def test_an_auxiliary_loss_adds_its_gradient_and_stays_out_of_the_reported_loss(
    rig: Any, micro_batch_size: int
) -> None:
    plain = Trainee(rig, rig.source(), optimiser=UNCLIPPED)
    extra = Trainee(rig, rig.source(forward="return y, 3 * self.proj.weight.square().sum()"), optimiser=UNCLIPPED)
    plain_loss, plain_gradients = gradients_by_sgd(plain, micro_batch_size=micro_batch_size)
    extra_loss, extra_gradients = gradients_by_sgd(extra, micro_batch_size=micro_batch_size)
    assert extra_loss == plain_loss
    name = "blocks.0.mixer.proj.weight"
    weight = dict(plain.model.named_parameters())[name].detach()
    torch.testing.assert_close(extra_gradients[name] - plain_gradients[name], 6 * weight, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(extra_gradients["embedding.weight"], plain_gradients["embedding.weight"])


def test_gradients_are_clipped_to_the_norm_that_is_set(rig: Any) -> None:
    trainee = Trainee(rig, rig.source(), optimiser={"gradient_clip": 0.125})
    norm = math.sqrt(sum(gradient.square().sum().item() for gradient in gradients_by_sgd(trainee)[1].values()))
    assert norm == pytest.approx(0.125, rel=1e-2)


def test_weight_decay_shrinks_matrices_and_nothing_else(rig: Any) -> None:
    source = rig.source(init="self.bias = nn.Linear(hidden_size, 3)")
    trainee = Trainee(rig, source, optimiser={"weight_decay": 0.5})
    before = {name: p.detach().clone() for name, p in trainee.model.named_parameters()}
    optimiser = make_optimiser(trainee.model, trainee.spec)
    for parameter in trainee.model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimiser.step()
    kept = {name for name, p in trainee.model.named_parameters() if torch.equal(p, before[name])}
    norms = {"blocks.0.mixer_norm.weight", "blocks.0.mlp_norm.weight", "norm.weight"}
    assert kept == norms | {"blocks.0.mixer.bias.bias"}
    shrunk = before["embedding.weight"] * (1 - trainee.spec.scale.learning_rate * 0.5)
    torch.testing.assert_close(trainee.model.embedding.weight.detach(), shrunk)


# A whole training, in this process.


@pytest.mark.usefixtures("emit_every_step")
def test_training_lowers_the_loss(rig: Any) -> None:
    losses = Trainee(rig, rig.source(), steps=40).train()
    assert losses[-5:].mean() < losses[:5].mean() - 0.5


@pytest.mark.usefixtures("emit_every_step")
def test_a_loss_that_is_not_finite_ends_the_training_at_that_step(rig: Any) -> None:
    source = rig.source(init="self.calls = 0", forward="self.calls += 1; y = y / (self.calls != 4)")
    trainee = Trainee(rig, source)
    seen: list[int] = []
    with pytest.raises(Diverged, match="non-finite training loss or gradient at step 4") as caught:
        save: list[bytes] = []
        emit = lambda first, new: seen.append(first + len(new))  # noqa: E731
        train(trainee.model, trainee.mixers, trainee.spec, trainee.tokens, emit, save.append, 1e9, None)
    assert caught.value.step == 4
    assert max(seen) == 3  # the curve holds finite losses only


@pytest.mark.usefixtures("emit_every_step")
@pytest.mark.parametrize("stop_after", [1, 6, 11, 12])
def test_a_training_stopped_at_any_step_resumes_to_the_same_losses_weights_and_counters(
    rig: Any, stop_after: int
) -> None:
    whole = Trainee(rig, rig.stateful)
    losses = whole.train()
    stopped = Trainee(rig, rig.stateful)
    assert stopped.train(stop_after).tobytes() == losses[:stop_after].tobytes()
    resumed = Trainee(rig, rig.stateful)
    checkpoint = stopped.saved[-1] if stopped.saved else None
    assert resumed.train(checkpoint=checkpoint).tobytes() == losses.tobytes()
    for (name, one), (_, other) in zip(whole.model.named_parameters(), resumed.model.named_parameters(), strict=True):
        assert torch.equal(one, other), name
    assert python_state(resumed.model) == python_state(whole.model)


def test_a_checkpoint_of_another_run_or_of_none_is_refused(rig: Any) -> None:
    first = Trainee(rig, rig.stateful, seed=1)
    first.train()
    with pytest.raises(CheckpointError, match="^belongs to run"):
        Trainee(rig, rig.stateful, seed=2).train(checkpoint=first.saved[-1])
    with pytest.raises(CheckpointError, match="^cannot be read"):
        Trainee(rig, rig.stateful).train(checkpoint=b"no checkpoint at all")


def test_a_checkpoint_file_gives_back_what_was_saved_last(tmp_path: Path) -> None:
    warnings: list[str] = []
    checkpoint = Checkpoint(tmp_path / "checkpoint", warnings.append)
    assert checkpoint.load() is None
    for state in (b"first", b"second"):
        checkpoint.save(state)
    loaded = checkpoint.load()
    assert loaded is not None
    assert loaded.tobytes() == b"second"
    assert warnings == []


@pytest.mark.parametrize("damage", ["flipped", "cut", "short", "empty"])
def test_a_damaged_checkpoint_file_is_dropped_with_a_line(tmp_path: Path, damage: str) -> None:
    warnings: list[str] = []
    checkpoint = Checkpoint(tmp_path / "checkpoint", warnings.append)
    checkpoint.save(bytes(1000))
    spoil(tmp_path / "checkpoint", damage)
    assert checkpoint.load() is None
    assert len(warnings) == 1
    assert warnings[0].endswith("; the run starts again from step 0")
    assert not (tmp_path / "checkpoint").exists()


def test_a_checkpoint_that_cannot_be_written_does_not_end_the_run(rig: Any) -> None:
    expected, curve = rig.measure()
    blocked, again = rig.measure(work=rig.folder / "no such folder", bench=rig.bench(checkpoint_seconds=0.0))
    assert (blocked.status, blocked.val_loss) == ("ok", expected.val_loss)
    assert again.tobytes() == curve.tobytes()


def spoil(path: Path, damage: str) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.unlink()
    whole = {"flipped": len(data), "cut": len(data) // 2, "short": 20, "empty": 0}[damage]
    path.write_bytes(data[:whole])


# A whole training, in worker processes.


def test_two_runs_of_one_spec_give_the_same_bytes_and_another_seed_others(rig: Any) -> None:
    (one, curve), (again, curve_again), (other, other_curve) = (rig.measure(seed=seed) for seed in (7, 7, 8))
    assert (one.status, one.error) == ("ok", None)
    assert curve.tobytes() == curve_again.tobytes()
    assert one.val_loss == again.val_loss
    assert curve.tobytes() != other_curve.tobytes()
    assert one.val_loss != other.val_loss


def test_one_thread_and_two_give_the_same_bytes(rig: Any, two_threads: WarmWorker) -> None:
    one, curve = rig.measure(**WIDE)
    two, other = rig.measure(worker=two_threads, bench=rig.bench(threads=2), threads=2, **WIDE)
    assert (one.status, two.status) == ("ok", "ok")
    assert one.run_id != two.run_id  # because this does not hold for every operator
    assert curve.tobytes() == other.tobytes()
    assert one.val_loss == two.val_loss


def test_a_run_whose_trainer_is_killed_goes_on_from_its_checkpoint_to_the_same_bytes(rig: Any) -> None:
    steps = 150
    whole, curve = rig.measure(work=make(rig.folder / "whole"), steps=steps)
    assert whole.status == "ok"
    work, starts = make(rig.folder / "killed"), []
    killer = threading.Thread(target=kill_after_checkpoint, args=(rig.worker, work / "checkpoint"))
    killer.start()
    killed, again = rig.measure(
        work=work,
        bench=rig.bench(checkpoint_seconds=0.0),
        steps=steps,
        on_steps=lambda first, new: starts.append(len(new)) if first == 0 else None,
    )
    killer.join()
    assert (killed.status, killed.error) == ("ok", None)
    assert 3 <= starts[-1] < steps  # the second time, from the checkpoint
    assert again.tobytes() == curve.tobytes()
    assert killed.val_loss == whole.val_loss


def test_a_run_that_another_process_began_goes_on_to_the_same_bytes(rig: Any, two_threads: WarmWorker) -> None:
    whole, curve = rig.measure(work=make(rig.folder / "whole"))
    work, bench = make(rig.folder / "begun"), rig.bench(checkpoint_seconds=0.0)

    def stop(first: int, new: np.ndarray) -> None:
        if first + len(new) > 3:
            raise Stop

    with pytest.raises(Stop):
        rig.measure(work=work, bench=bench, on_steps=stop)
    resumed, again = rig.measure(work=work, bench=bench, worker=two_threads)
    assert again.tobytes() == curve.tobytes()
    assert resumed.val_loss == whole.val_loss


def test_a_run_stopped_between_training_and_evaluation_gets_the_same_score(rig: Any) -> None:
    bench = rig.bench(checkpoint_seconds=0.0)
    whole, curve = rig.measure(bench=bench)
    assert steps_in(rig.folder / "checkpoint") == whole.spec.scale.steps
    resumed, again = rig.measure(bench=bench)
    assert again.tobytes() == curve.tobytes()
    assert resumed.val_loss == whole.val_loss


@pytest.mark.parametrize("damage", ["flipped", "empty"])
def test_a_damaged_checkpoint_is_said_in_one_line_and_the_run_starts_again(rig: Any, damage: str) -> None:
    warnings: list[str] = []
    bench = rig.bench(warnings.append, checkpoint_seconds=0.0)
    whole, curve = rig.measure(bench=bench)
    assert warnings == []
    spoil(rig.folder / "checkpoint", damage)
    restarted, again = rig.measure(bench=bench)
    assert again.tobytes() == curve.tobytes()
    assert restarted.val_loss == whole.val_loss
    assert warnings == [f"{rig.folder / 'checkpoint'} is damaged; the run starts again from step 0"]


def make(folder: Path) -> Path:
    folder.mkdir()
    return folder


def steps_in(checkpoint: Path) -> int:
    """Steps done according to a checkpoint: 32 bytes of checksum, then what torch saved."""
    with checkpoint.open("rb") as file:
        file.seek(32)
        count: int = torch.load(file, weights_only=True)["losses"].numel()
    return count


def kill_after_checkpoint(worker: WarmWorker, checkpoint: Path) -> None:
    while not checkpoint.exists() or steps_in(checkpoint) < 3:
        time.sleep(0.002)
    os.kill(min(worker._children), signal.SIGKILL)
