"""A tiny bench for the tests of replication/: a corpus of a few kilobytes, a model of a few thousand parameters."""

from __future__ import annotations

import dataclasses
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from replication.candidate import Candidate
from replication.configure import compose
from replication.corpus import Corpus, prepare
from replication.corpus.files import FilesSettings
from replication.measure import Bench, Planned, Probe
from replication.processes import EngineSettings, WarmWorker
from replication.provenance import code_sha256
from replication.record import CorpusRef, HonestSettings, Optimiser, RunRecord, RunSpec, Scale, Training
from replication.settings import typed
from tests.replication.confined import TRIED

SCALE = Scale(
    name="tiny",
    hidden_size=16,
    num_layers=1,
    num_heads=2,
    mlp_ratio=2.0,
    tie_embeddings=True,
    sequence_length=32,
    batch_size=4,
    micro_batch_size=4,
    steps=12,
    learning_rate=3e-3,
    evaluation_windows=8,
    matmul_precision="highest",
)
HONEST = HonestSettings(positions=60, draws=2)
OPTIMISER = Optimiser(
    beta1=0.9,
    beta2=0.95,
    epsilon=1e-8,
    weight_decay=0.1,
    schedule="cosine",
    warmup_fraction=0.1,
    decay_fraction=0.2,
    final_learning_rate=0.1,
    gradient_clip=1.0,
)
# Mixes with a causal mean; the body of `forward` and extra lines of the constructor can be replaced.
MIXER = """
import numpy as np
import torch
from torch import nn

class Mixer(nn.Module):
    def __init__(self, hidden_size, num_heads, layer_idx):
        super().__init__()
        self.proj = nn.Linear(hidden_size, hidden_size, bias=False)
        {init}

    def forward(self, x):
        count = torch.arange(1, x.shape[1] + 1, device=x.device)[:, None]
        y = self.proj(x).cumsum(1) / count
        {forward}
        return y
"""


def mixer_source(forward: str = "pass", init: str = "pass") -> str:
    """A mixer with one line more in its forward pass (where `y` is the output) or in its constructor."""
    return MIXER.format(forward=forward, init=init)


# What a checkpoint easily misses: a Python counter, dropout, and randomness of three libraries, also in evaluation.
STATEFUL = mixer_source(
    init="self.drop, self.calls = nn.Dropout(0.2), 0",
    forward="self.calls += 1; y = self.drop(y) * (1 + self.calls / 99) + (torch.randn_like(y) + np.random.rand()) / 20",
)


def candidate(source: str, name: str = "own") -> Candidate:
    return Candidate(name=name, label=name, source=source, role="candidate", origin=f"{name}.py", search=None)


def write_texts(folder: Path) -> Path:
    """Sixty short documents of a repetitive language, the same at every call."""
    folder.mkdir(parents=True, exist_ok=True)
    words = ["alpha", "beta", "gamma", "delta", "if", "then", "else", "=", "(", ")", "\n"]
    generator = np.random.default_rng(5)
    for number in range(60):
        text = " ".join(words[i] for i in generator.integers(len(words), size=120))
        (folder / f"{number:02}.txt").write_text(f"{number} {text}")
    return folder


@dataclasses.dataclass(frozen=True)
class Rig:
    """The pieces of a run, to be varied by a test: `spec`, `planned`, `bench` and `measure` take overrides."""

    corpus: Corpus
    worker: WarmWorker
    folder: Path

    scale = SCALE
    honest = HONEST
    optimiser = OPTIMISER
    source = staticmethod(mixer_source)
    stateful = STATEFUL
    candidate = staticmethod(candidate)
    write_texts = staticmethod(write_texts)

    def spec(
        self,
        source: str = STATEFUL,
        seed: int = 7,
        threads: int = 1,
        lift: bool = False,
        training: Training = "separate",
        optimiser: dict[str, Any] | None = None,
        honest: HonestSettings | None = None,
        certified: bool | None = None,
        **scale: Any,
    ) -> RunSpec:
        corpus = CorpusRef(name=self.corpus.name, sha256=self.corpus.sha256, vocab_size=self.corpus.vocab_size)
        return RunSpec(
            candidate=candidate(source).id,
            scale=dataclasses.replace(SCALE, **scale),
            optimiser=dataclasses.replace(OPTIMISER, **(optimiser or {})),
            corpus=corpus,
            certified=honest is None if certified is None else certified,
            honest=honest,
            sampling_key=11,
            seed=seed,
            device="cpu",
            threads=threads,
            lift=lift,
            training=training,
            torch=torch.__version__,
            numpy=np.__version__,
            fla="stand-ins",
            code=code_sha256(),
        )

    def planned(self, source: str = STATEFUL, **spec: Any) -> Planned:
        return Planned(spec=self.spec(source, **spec), candidate=candidate(source))

    def bench(self, warn: Callable[[str], None] = print, **settings: Any) -> Bench:
        return Bench(self.corpus, dataclasses.replace(self.worker.settings, **settings), warn)

    def measure(
        self,
        source: str = STATEFUL,
        work: Path | None = None,
        worker: WarmWorker | None = None,
        bench: Bench | None = None,
        on_steps: Callable[[int, np.ndarray], None] = lambda first, losses: None,
        **planned: Any,
    ) -> tuple[RunRecord, np.ndarray]:
        probe = Probe(parameters=None, flops_per_step=None, seconds_per_step=None, error=None)
        return (bench or self.bench()).measure(
            worker or self.worker, self.planned(source, **planned), probe, work or self.folder, on_steps
        )


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Tiny models gain nothing from threads, and spinning ones slow each other down on a busy machine."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def no_stand_ins_left() -> Iterator[None]:
    """Workers end with the stand-ins that they install; here other libraries would take them for the real packages."""
    yield
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in ("fla", "transformers") and module.__doc__ == "Plain-PyTorch stand-in.":
            del sys.modules[name]


@pytest.fixture(scope="session")
def tiny_corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    folder = write_texts(tmp_path_factory.mktemp("texts"))
    settings = FilesSettings(
        kind="files", name="tiny", paths=(str(folder / "*.txt"),), field="text", column="text", tokenizer="bytes",
        eod_token=None, val_fraction=0.2, test_fraction=0.1,
    )  # fmt: skip
    return prepare(settings, tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def engine_settings() -> EngineSettings:
    """As by default, for one process with one thread and short runs."""
    settings = typed(EngineSettings, compose("replicate", [])["engine"], "engine")
    return dataclasses.replace(
        settings,
        device="cpu",
        processes=1,
        threads=1,
        time_factor=1.0,
        time_floor_seconds=120.0,
        checkpoint_seconds=1000.0,
    )


@pytest.fixture(scope="session")
def warm_worker(engine_settings: EngineSettings) -> Iterator[WarmWorker]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENAI_API_KEY", "a secret of the user")
        worker = WarmWorker(engine_settings)
    yield worker
    worker.close()


@pytest.fixture
def rig(tiny_corpus: Corpus, warm_worker: WarmWorker, tmp_path: Path) -> Rig:
    return Rig(tiny_corpus, warm_worker, tmp_path)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A place that an ordinary user reaches: `work` to write in, `secret` to keep out of, `text` to read."""
    path = Path(tempfile.mkdtemp())
    for name in ("", "work", "outside"):
        (path / name).mkdir(exist_ok=True)
        (path / name).chmod(0o777)
    for name in ("outside/secret", "text", "work/own"):
        (path / name).write_text(TRIED)
        (path / name).chmod(0o666)
    yield path
    shutil.rmtree(path)
