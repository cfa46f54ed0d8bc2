"""One program in one form, trained for a few steps. Runs the program's code: for child processes only."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kernels.backends import auto_order
from replication import compat
from replication.bench.settings import Precision
from replication.mixers import Mixers, build_mixers
from replication.model import build_model
from replication.provenance import code_sha256
from replication.record import CorpusRef, Optimiser, RunSpec, Scale
from replication.seeds import SeedGroup
from replication.step import EagerStep, make_step
from replication.train import make_optimiser


@dataclass(frozen=True, kw_only=True)
class Variant:
    """How a form runs a program. order: of the kernels' backends; None: as they choose. seeds: trained at once."""

    lifted: bool
    order: tuple[str, ...] | None
    compiled: bool
    graph: bool
    seeds: int = 1


FORMS = {
    "published": Variant(lifted=False, order=("chunk",), compiled=False, graph=False),
    "compiled": Variant(lifted=False, order=("chunk",), compiled=True, graph=False),
    "fla": Variant(lifted=True, order=("fla", "chunk"), compiled=True, graph=False),
    "ours": Variant(lifted=True, order=None, compiled=False, graph=True),
    "ours_eager": Variant(lifted=True, order=None, compiled=False, graph=False),
    **{f"ours_x{n}": Variant(lifted=True, order=None, compiled=False, graph=True, seeds=n) for n in (2, 4, 8)},
}


def lacks_fla(form: str, *, imports_fla: bool, device: str, served: str) -> bool:
    """Whether a form on a GPU would not be what its name says, since stand-ins serve in place of the real fla.

    imports_fla: whether the program does, as published ones do. served: what `compat.install` returned.
    """
    if device != "cuda" or served != compat.STAND_INS:
        return False
    return form == "fla" or (imports_fla and not FORMS[form].lifted)


class _InBfloat16(nn.Module):
    """A mixer that is handed bfloat16, as within a model of that type."""

    def __init__(self, mixer: nn.Module) -> None:
        super().__init__()
        self.mixer = mixer

    def forward(self, x: Tensor) -> Any:
        return self.mixer(x.to(torch.bfloat16))


class _Autocast(nn.Module):
    """A model under autocast to bfloat16. Weights are cast anew each time: a captured graph must not keep a cast."""

    def __init__(self, model: nn.Module, device: str) -> None:
        super().__init__()
        self.model, self._device = model, device

    def forward(self, tokens_BT: Tensor) -> Any:
        with torch.autocast(self._device, torch.bfloat16, cache_enabled=False):
            return self.model(tokens_BT)


@dataclass(frozen=True, kw_only=True)
class _Member:
    """The model of one seed."""

    spec: RunSpec
    mixers: Mixers
    model: nn.Module  # takes and returns what a LanguageModel does

    @classmethod
    def build(cls, source: str, scale: Scale, spec: RunSpec, precision: Precision) -> _Member:
        mixers = build_mixers(source, scale, spec.seed)
        layers = [_InBfloat16(mixer) if precision == "bfloat16" else mixer for mixer in mixers.layers()]
        model: nn.Module = build_model(layers, scale, spec.corpus.vocab_size, spec.seed).to(spec.device)
        if precision == "bfloat16":
            model = _Autocast(model, spec.device)
        return cls(spec=spec, mixers=mixers, model=model)


class Training:
    """A model around a program's mixers, ready for training steps."""

    def __init__(
        self, source: str, form: str, scale: Scale, optimiser: Optimiser, *, seed: int, vocab_size: int,
        tokens: int, device: str, precision: Precision, threads: int, served: str,
    ) -> None:  # fmt: skip
        self._variant, self._device, self._served = FORMS[form], device, served
        torch.set_float32_matmul_precision(scale.matmul_precision)
        self._tokens = np.random.default_rng(seed).integers(vocab_size, size=tokens).astype(np.uint16)

        def member(seed: int) -> _Member:
            spec = _spec(source, scale, optimiser, seed=seed, vocab_size=vocab_size, device=device, threads=threads)
            return _Member.build(source, scale, spec, precision)

        self._members = [member(seed + place) for place in range(self._variant.seeds)]
        if self._variant.compiled:
            if device == "cuda":  # elsewhere torch.compile is off (replication/compat)
                torch._dynamo.config.recompile_limit = 64  # layers share their code, and there are more than 8
            for mixer in self._members[0].mixers.layers():
                mixer.compile()
        self._group: SeedGroup | None = None
        self._index = 0

    def check(self) -> dict[str, Any]:
        """Loss, and the norm of each parameter's gradient in the order of their names, of one batch."""
        first = self._members[0]
        first.model.train()
        state = first.mixers.state()
        first.mixers.begin(first.spec.seed, "check")
        scale = first.spec.scale
        length = scale.sequence_length
        batch = torch.from_numpy(self._tokens[: scale.batch_size * (length + 1)].astype(np.int64))
        batch = batch.view(-1, length + 1).to(self._device)
        with self._order():
            logits, auxiliary = first.model(batch[:, :-1])
            loss = F.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten()) + auxiliary
            loss.backward()
        named = sorted(first.model.named_parameters())
        norms = [0.0 if each.grad is None else float(each.grad.float().norm()) for _, each in named]
        first.model.zero_grad(set_to_none=True)
        first.mixers.restore(state)
        return {"loss": loss.item(), "gradients": norms}

    def step(self) -> float:
        """Seconds that one whole training step takes each seed: batch, passes, clipping, update, loss read back."""
        if self._group is None:
            make = make_step if self._variant.graph else EagerStep
            self._group = SeedGroup(
                [make(one.model, one.mixers, make_optimiser(one.model, one.spec), one.spec) for one in self._members]
            )
        began = time.perf_counter()
        with self._order():
            self._group.run(self._tokens, self._index)
        if self._device == "cuda":
            torch.cuda.synchronize()
        self._index += 1
        return (time.perf_counter() - began) / len(self._members)

    @property
    def parameters(self) -> int:
        """Numbers that training may change, of one seed."""
        return sum(parameter.numel() for parameter in self._members[0].model.parameters())

    @property
    def notes(self) -> str:
        """What the step runner had to say, and which fla serves."""
        told = () if self._group is None else self._group.notes
        return "; ".join([f"fla: {self._served}", *told])

    @contextlib.contextmanager
    def _order(self) -> Iterator[None]:
        with contextlib.nullcontext() if self._variant.order is None else auto_order(*self._variant.order):
            yield


def _spec(
    source: str, scale: Scale, optimiser: Optimiser, *, seed: int, vocab_size: int, device: str, threads: int
) -> RunSpec:
    """What a step needs to know of a run, on random tokens."""
    return RunSpec(
        candidate=hashlib.sha256(source.encode()).hexdigest(), scale=scale, optimiser=optimiser,
        corpus=CorpusRef(name="random", sha256="", vocab_size=vocab_size), certified=True, honest=None, sampling_key=0,
        seed=seed, device="cuda" if device == "cuda" else "cpu", threads=threads, lift=False,
        training="joint", torch=torch.__version__,
        numpy=np.__version__, fla=compat.serving(device), code=code_sha256(),
    )  # fmt: skip
