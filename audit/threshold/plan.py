"""The decision plan of the threshold audit."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from replication.settings import require

SelectionRule = Literal["no_rule", "one_sided", "two_sided", "certificate"]


@dataclass(frozen=True, kw_only=True)
class ReleasedRule:
    """The rule as the released code has it: largest deviations from the baseline, as shares of the baseline's."""

    loss: float
    benchmark: float


@dataclass(frozen=True, kw_only=True)
class ThresholdSettings:
    """conf/audit/threshold.yaml, where every setting is explained. Thresholds are shares of the baseline's loss."""

    level: float
    thresholds: tuple[float, ...]
    headline: float
    released: ReleasedRule
    resamples: int
    random_seed: int
    registered_plan: str

    def __post_init__(self) -> None:
        require(0.5 < self.level < 1, f"audit.level: must lie between 0.5 and 1, got {self.level}")
        increasing = list(self.thresholds) == sorted(set(self.thresholds))
        require(bool(self.thresholds) and increasing, "audit.thresholds: name at least one, each larger than the last")
        for threshold in self.thresholds:
            require(0 < threshold < 1, f"audit.thresholds: must lie between 0 and 1, got {threshold}")
        require(self.headline in self.thresholds, f"audit.headline: {self.headline} is not one of audit.thresholds")
        for name, value in dataclasses.asdict(self.released).items():
            require(0 < value < 1, f"audit.released.{name}: must lie between 0 and 1, got {value}")
        require(self.resamples >= 100, f"audit.resamples: must be at least 100, got {self.resamples}")
        require(self.random_seed >= 0, f"audit.random_seed: must be at least 0, got {self.random_seed}")

    @property
    def plan(self) -> dict[str, Any]:
        """Everything that decides; what `registered_plan` is the sha256 of."""
        return {key: value for key, value in dataclasses.asdict(self).items() if key != "registered_plan"}
