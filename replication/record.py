"""What a run is (RunSpec) and what came of it (RunRecord), and their JSON form."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from replication.settings import InputError, require, typed

SCHEMA = "archaudit.run/6"

Status = Literal["ok", "diverged", "leaky", "too_slow", "out_of_memory", "crashed", "timed_out"]
STATUSES: tuple[str, ...] = get_args(Status)
# Whose process trains: ours, which asks the candidate's for its layers alone, or the candidate's, the whole model.
Training = Literal["separate", "joint"]
# These depend on the speed of the machine and say nothing about an arm.
MACHINE_STATUSES = ("timed_out", "too_slow")
# These another limit or a quieter machine may cure, so a later call tries again instead of believing the record.
RETRIED_STATUSES = (*MACHINE_STATUSES, "out_of_memory")


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Sizes of the model and of its training; one file in conf/scale/ each."""

    name: str
    hidden_size: int
    num_layers: int
    num_heads: int
    mlp_ratio: float
    tie_embeddings: bool
    sequence_length: int
    batch_size: int  # sequences a step
    micro_batch_size: int  # sequences a forward pass; gradients accumulate up to batch_size
    steps: int
    learning_rate: float
    evaluation_windows: int  # validation windows of sequence_length that the final score averages over
    matmul_precision: Literal["highest", "high"]  # float32 matmuls: exact, or TF32 where the device has it

    def __post_init__(self) -> None:
        for field in (
            "hidden_size",
            "num_layers",
            "num_heads",
            "mlp_ratio",
            "sequence_length",
            "batch_size",
            "micro_batch_size",
            "steps",
            "learning_rate",
            "evaluation_windows",
        ):
            require(getattr(self, field) > 0, f"scale.{self.name}.{field}: must be above 0, got {getattr(self, field)}")
        require(
            self.hidden_size % self.num_heads == 0,
            f"scale.{self.name}.num_heads: {self.num_heads} does not divide hidden_size {self.hidden_size}",
        )
        require(
            self.batch_size % self.micro_batch_size == 0,
            f"scale.{self.name}.micro_batch_size: {self.micro_batch_size} does not divide batch_size {self.batch_size}",
        )

    @property
    def tokens(self) -> int:
        """Training tokens of one run."""
        return self.steps * self.batch_size * self.sequence_length


@dataclass(frozen=True, kw_only=True)
class Optimiser:
    """AdamW and its schedule; the learning rate belongs to the scale."""

    beta1: float
    beta2: float
    epsilon: float
    weight_decay: float
    schedule: Literal["cosine", "wsd"]
    warmup_fraction: float
    decay_fraction: float  # wsd: the share of the steps that the final linear decay takes
    final_learning_rate: float  # as a share of the peak
    gradient_clip: float

    def __post_init__(self) -> None:
        for field in ("warmup_fraction", "decay_fraction", "final_learning_rate"):
            require(0 <= getattr(self, field) <= 1, f"optimiser.{field}: must be between 0 and 1")
        for field in ("beta1", "beta2"):
            require(0 <= getattr(self, field) < 1, f"optimiser.{field}: must be at least 0 and below 1")
        require(self.gradient_clip > 0, "optimiser.gradient_clip: must be above 0")


@dataclass(frozen=True, kw_only=True)
class CorpusRef:
    """Which text, by content."""

    name: str
    sha256: str
    vocab_size: int


@dataclass(frozen=True, kw_only=True)
class HonestSettings:
    """How the honest loss is sampled (`evaluate.honest_rows`)."""

    positions: int  # of all evaluation windows together
    draws: int  # replaced futures a position

    def __post_init__(self) -> None:
        for field in ("positions", "draws"):
            require(getattr(self, field) > 0, f"honest.{field}: must be above 0, got {getattr(self, field)}")


@dataclass(frozen=True, kw_only=True)
class RunSpec:
    """Everything that decides the numbers of a run. Same spec, same bits on the same machine."""

    candidate: str  # sha256 of the source
    scale: Scale
    optimiser: Optimiser
    corpus: CorpusRef
    certified: bool  # not to look ahead: its ordinary loss is its honest one, and a few positions are to show that
    honest: HonestSettings | None  # how looking ahead is measured; None: not at all, for a certified program only
    sampling_key: int  # decides at which positions; no program may know it
    seed: int
    device: Literal["cpu", "cuda"]
    threads: int  # of the worker: some sums, LayerNorm's weight gradient for one, are split by thread
    lift: bool  # parts of a program that are proved equal to our operators run as those
    training: Training
    torch: str  # version: kernels change between releases
    numpy: str  # version: initial values are its draws
    fla: str  # version of the real package, where it serves; else "stand-ins"
    code: str  # sha256 of the sources of kernels/ and replication/ that take part
    questions: str | None = None  # sha256 of the questions that a certified program is asked besides; None: of none

    def __post_init__(self) -> None:
        require(self.certified or self.honest is not None, "honest: a program without a certificate needs it")

    @property
    def run_id(self) -> str:
        """First 20 hex digits of the sha256 of the whole spec in canonical JSON."""
        return hashlib.sha256(canonical_json(dataclasses.asdict(self)).encode()).hexdigest()[:20]


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """One measured run. A failure has a status and no score."""

    run_id: str
    spec: RunSpec
    name: str  # the candidate's name when it ran; its identity is spec.candidate
    status: Status
    error: str | None
    failed_step: int | None
    val_loss: float | None  # nats per token on the fixed validation windows, whole windows at a time
    honest_loss: float | None  # the same with nothing to see ahead: val_loss plus a leak_gain above 0
    leak_gain: float | None  # nats per token that seeing ahead saves; None where not measured
    looks_ahead: bool | None  # whether some sampled position depended on what follows it; None where not measured
    leak_gain_se: float | None  # its standard error over windows; None where there is none, or only one window
    bits_per_byte: float | None  # of the honest loss: the score that counts
    benchmarks: dict[str, float]  # task -> share of right answers, less what seeing ahead adds; empty for a failure
    steps_done: int
    parameters: int | None
    flops: float | None  # forward and backward of all steps; matmuls and convolutions
    tokens_per_second: float | None
    wall_seconds: float  # of the last process that worked on it
    cpu_seconds: float  # user and system time of its processes, failed tries included
    peak_memory_bytes: int | None
    hardware: str
    versions: dict[str, str]
    commit: str | None
    notes: tuple[str, ...]  # what was done to run it, e.g. "torch.compile decorators run eagerly"
    confinement: dict[str, str]  # layer -> how it was on when the program ran, or "off: why"
    started: str  # ISO 8601, UTC
    ended: str
    items: dict[str, str] = dataclasses.field(default_factory=dict)  # benchmark -> 1 or 0 for each of its questions
    lifted: dict[str, str] = dataclasses.field(default_factory=dict)  # part -> "lifted", "absent" or why not; as told

    def __post_init__(self) -> None:
        scores = (self.val_loss, self.honest_loss, self.bits_per_byte)
        leak = (self.leak_gain, self.leak_gain_se, self.looks_ahead)
        where = f"run {self.run_id}"
        if self.status != "ok":
            none = (*scores, *leak) == (None,) * 6
            require(none, f"{where}: a failure has a status and no score, got {(*scores, *leak)}")
            none = not self.benchmarks and not self.items
            require(none, f"{where}: a failure has a status and no accuracies, got {self.benchmarks} {self.items}")
            return
        sound = all(score is not None and math.isfinite(score) for score in scores)
        require(sound, f"{where}: status ok needs finite scores, got {scores}")
        shares = bool(self.benchmarks) and all(0 <= share <= 1 for share in self.benchmarks.values())
        require(shares, f"{where}: status ok needs accuracies between 0 and 1, got {self.benchmarks}")
        sound = all(each and set(each) <= set("01") and task in self.benchmarks for task, each in self.items.items())
        require(sound, f"{where}: items are 1 or 0 for each question of a benchmark, got {self.items}")
        if self.spec.honest is None:
            same = self.honest_loss == self.val_loss and leak == (None, None, None)
            require(same, f"{where}: a certified program has its ordinary loss and no leak gain, got {leak}")
        else:
            known = self.leak_gain is not None and math.isfinite(self.leak_gain) and self.looks_ahead is not None
            require(known, f"{where}: a measured leak gain is finite, got {self.leak_gain}")

    def to_json(self) -> str:
        """The record as indented JSON text, without NaN or infinity."""
        return (
            json.dumps({"schema": SCHEMA, **dataclasses.asdict(self)}, indent=1, sort_keys=True, allow_nan=False) + "\n"
        )

    @classmethod
    def from_json(cls, text: str, where: str) -> RunRecord:
        """Read a record, checked field by field. Raises InputError naming `where` and the field."""
        record = typed(cls, read_document(text, SCHEMA, "run record", where), where)
        if record.spec.run_id != record.run_id:
            raise InputError(f"{where}: run_id does not belong to its spec")
        return record


def read_document(text: str, schema: str, what: str, where: str) -> dict[str, Any]:
    """The fields of a JSON document that names its schema. Raises InputError naming `where` if it is no such one."""
    try:
        data: Any = json.loads(text)
    except ValueError as error:
        raise InputError(f"{where}: not JSON ({error})") from error
    if not isinstance(data, Mapping) or data.get("schema") != schema:
        raise InputError(f"{where}: not a {what} of schema {schema}")
    return {key: value for key, value in data.items() if key != "schema"}


def canonical_json(value: object) -> str:
    """One text for one value: sorted keys, no spaces, finite numbers only."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
