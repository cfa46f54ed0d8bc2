"""The settings of the bench, read from conf/ without Hydra: a GPU machine may have little more than PyTorch."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from replication.containment import ContainmentSettings
from replication.provenance import ROOT
from replication.published import PublishedSettings
from replication.record import Optimiser, Scale
from replication.settings import InputError, require, typed

Precision = Literal["bfloat16", "float32"]
StepForm = Literal["published", "compiled", "fla", "ours", "ours_eager", "ours_x2", "ours_x4", "ours_x8"]
CONF = ROOT / "conf"


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """Largest relative differences between two forms of a step."""

    loss: float
    gradients: float


@dataclass(frozen=True, kw_only=True)
class Repeats:
    """Calls before the timing, calls timed, and seconds that one form may take."""

    warmup: int
    repeats: int
    seconds: float

    def __post_init__(self) -> None:
        for field in ("warmup", "repeats", "seconds"):
            require(getattr(self, field) > 0, f"bench: {field} must be above 0, got {getattr(self, field)}")


@dataclass(frozen=True, kw_only=True)
class StepSettings:
    """Whole training steps at one scale."""

    scale: str
    programs: bool  # the published programs, too, not only the baselines
    batch: int
    vocab_size: int
    precision: Precision
    forms: tuple[StepForm, ...]
    warmup: int
    repeats: int
    seconds: float

    def __post_init__(self) -> None:
        require(2 <= self.vocab_size <= 2**16, f"bench: vocab_size must lie between 2 and {2**16}")

    @property
    def calls(self) -> Repeats:
        """How they are timed."""
        return Repeats(warmup=self.warmup, repeats=self.repeats, seconds=self.seconds)


@dataclass(frozen=True, kw_only=True)
class DeviceSettings:
    """What is run on one kind of device."""

    processes: int
    operators: Repeats
    steps: tuple[StepSettings, ...]


@dataclass(frozen=True, kw_only=True)
class BenchSettings:
    """conf/bench.yaml, group `bench`, where every setting is explained."""

    device: Literal["auto", "cpu", "cuda"]
    minutes: float
    programs: int
    by: str
    published: str
    root: str | None
    baselines: tuple[str, ...]
    optimiser: str
    containment: str
    seed: int
    tokens: int
    tolerance: dict[str, Tolerance]
    gpu: DeviceSettings
    cpu: DeviceSettings

    def __post_init__(self) -> None:
        require(self.minutes > 0, f"bench.minutes: must be above 0, got {self.minutes}")
        require(self.programs >= 0, f"bench.programs: must not be negative, got {self.programs}")

    def resolved_device(self) -> Literal["cpu", "cuda"]:
        """The device in use. Raises InputError where `cuda` is asked for and there is none."""
        import torch

        usable = torch.cuda.is_available()
        require(self.device != "cuda" or usable, "bench.device=cuda: no CUDA device is usable here")
        return "cuda" if usable and self.device != "cpu" else "cpu"

    def published_settings(self) -> PublishedSettings:
        """Which published programs, and where they lie."""
        plain = read_group("published", self.published)
        return typed(PublishedSettings, plain | {"root": self.root, "top": self.programs, "by": self.by}, "published")

    def containment_settings(self) -> ContainmentSettings:
        """How candidates' processes are confined."""
        return typed(ContainmentSettings, read_group("containment", self.containment), "containment")

    def optimiser_settings(self) -> Optimiser:
        """Of the training steps."""
        return typed(Optimiser, read_group("optimiser", self.optimiser), "optimiser")


def read_settings(**changes: Any) -> BenchSettings:
    """conf/bench.yaml with some settings of its group `bench` replaced.

    Raises:
        InputError: it cannot be read, or a setting is wrong.
    """
    plain = _read(CONF / "bench.yaml")
    return typed(BenchSettings, {**plain["bench"], **changes}, "bench")


def read_scale(name: str, **changes: Any) -> Scale:
    """conf/scale/<name>.yaml with some sizes replaced."""
    return dataclasses.replace(typed(Scale, read_group("scale", name), f"scale.{name}"), **changes)


def read_group(group: str, name: str) -> dict[str, Any]:
    """conf/<group>/<name>.yaml, which builds on no other file. Raises InputError if it is not there."""
    return _read(CONF / group / f"{name}.yaml")


def _read(path: Path) -> dict[str, Any]:
    try:
        import yaml
    except ImportError as error:
        raise InputError("the settings in conf/ are YAML: install PyYAML") from error
    try:
        plain = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    require(isinstance(plain, Mapping), f"{path}: expected a group of settings")
    return dict(plain)
