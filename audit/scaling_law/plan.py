"""The decision plan of `audit_scaling`: conf/audit/scaling_law.yaml, where every setting is explained."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from audit.scaling_law.extrapolation import ExtrapolationSettings
from replication.settings import require


@dataclass(frozen=True, kw_only=True)
class AssumedNoise:
    """SDs of one run's outcome to try where none was measured: of a published score, of a loss in nats per token."""

    score: tuple[float, ...]
    loss: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Batches:
    """Equal pieces of compute that a course is cut into: of the published search, of an archive."""

    published: int
    archive: int


@dataclass(frozen=True, kw_only=True)
class ScalingLawSettings:
    """conf/audit/scaling_law.yaml."""

    level: float
    fit_from: int
    batches: Batches
    points: int
    starts: tuple[float, ...]
    ahead: float
    distinguished: float
    certain: float
    pool: int
    assumed_noise: AssumedNoise
    extrapolation: ExtrapolationSettings
    resamples: int
    draws: int
    refits: int
    random_seed: int
    registered_plan: str

    def __post_init__(self) -> None:
        require(0.5 < self.level < 1, f"audit.level: must lie between 0.5 and 1, got {self.level}")
        require(0.5 < self.certain < 1, f"audit.certain: must lie between 0.5 and 1, got {self.certain}")
        require(0 < self.ahead < 1, f"audit.ahead: must lie between 0 and 1, got {self.ahead}")
        require(self.fit_from >= 5, f"audit.fit_from: must be at least 5, got {self.fit_from}")
        for name, least in {"points": 3, "pool": 1, "resamples": 1, "draws": 1, "refits": 1}.items():
            require(getattr(self, name) >= least, f"audit.{name}: must be at least {least}, got {getattr(self, name)}")
        for name, value in vars(self.batches).items():
            require(value >= 4, f"audit.batches.{name}: must be at least 4, got {value}")
        for share in self.starts:
            require(0 <= share < 1, f"audit.starts: each must be at least 0 and below 1, got {share}")
        for name, sds in vars(self.assumed_noise).items():
            require(bool(sds) and all(sd > 0 for sd in sds), f"audit.assumed_noise.{name}: expected SDs above 0")
        require(self.distinguished > 0, f"audit.distinguished: must be above 0, got {self.distinguished}")
        require(self.random_seed >= 0, f"audit.random_seed: must not be negative, got {self.random_seed}")

    @property
    def plan(self) -> dict[str, Any]:
        """Everything that decides; what `registered_plan` is the sha256 of."""
        return {key: value for key, value in dataclasses.asdict(self).items() if key != "registered_plan"}
