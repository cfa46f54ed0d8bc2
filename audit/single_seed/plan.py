"""The decision plan of the audit of single-seed logs."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from replication.settings import require

NO_DECISION = ("registered_plan", "noise_sd", "noise_runs")  # evidence, or about the plan


@dataclass(frozen=True, kw_only=True)
class SingleSeedSettings:
    """conf/audit/single_seed.yaml, where every setting is explained."""

    level: float
    sesoi: float | None
    sesoi_share: float
    sesoi_reason: str
    correction: Literal["holm"]
    limit_share: float
    power: float
    max_seeds: int
    noise_seeds: int
    most_findings: int
    noise_sd: float | None
    noise_runs: int | None
    registered_plan: str

    def __post_init__(self) -> None:
        require(0.5 < self.level < 1, f"audit.level: must lie between 0.5 and 1, got {self.level}")
        require(self.sesoi is None or self.sesoi > 0, f"audit.sesoi: must be above 0, got {self.sesoi}")
        require(0 < self.sesoi_share < 1, f"audit.sesoi_share: must lie between 0 and 1, got {self.sesoi_share}")
        require(0 < self.limit_share < 1, f"audit.limit_share: must lie between 0 and 1, got {self.limit_share}")
        require(0 < self.power < 1, f"audit.power: must lie between 0 and 1, got {self.power}")
        require(self.max_seeds >= 2, f"audit.max_seeds: must be at least 2, got {self.max_seeds}")
        require(self.noise_seeds >= 2, f"audit.noise_seeds: must be at least 2, got {self.noise_seeds}")
        require(self.most_findings >= 0, f"audit.most_findings: must be at least 0, got {self.most_findings}")
        require(self.noise_sd is None or self.noise_sd > 0, f"audit.noise_sd: must be above 0, got {self.noise_sd}")
        known = self.noise_runs is None or self.noise_sd is not None
        require(known, "audit.noise_runs: set audit.noise_sd, the SD of these runs, too")
        runs = self.noise_runs is None or self.noise_runs >= 2
        require(runs, f"audit.noise_runs: an SD needs at least 2 runs, got {self.noise_runs}")

    @property
    def plan(self) -> dict[str, Any]:
        """Everything that decides; what `registered_plan` is the sha256 of."""
        return {key: value for key, value in dataclasses.asdict(self).items() if key not in NO_DECISION}
