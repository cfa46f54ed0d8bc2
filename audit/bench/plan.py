"""The targets of the bench, and how a table is judged against them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from replication.settings import require


@dataclass(frozen=True, kw_only=True)
class Target:
    """One ratio and the least that it should be; conf/audit/bench.yaml.

    what: an operator, a program, or "programs": all published ones. shape: text that an operator's shape contains, or
    a step's scale.
    """

    name: str
    kind: Literal["operator", "step"]
    what: str
    shape: str
    slow: str
    fast: str
    measure: Literal["seconds", "saved_bytes"]
    device: Literal["cpu", "cuda"]
    over: Literal["worst", "median"]
    at_least: float
    words: str


@dataclass(frozen=True, kw_only=True)
class BenchAuditSettings:
    """conf/audit/bench.yaml, where every setting is explained."""

    least_programs: int
    level: float
    targets: tuple[Target, ...]
    registered_plan: str

    def __post_init__(self) -> None:
        require(self.least_programs >= 1, f"audit.least_programs: at least 1, got {self.least_programs}")
        require(0.5 < self.level < 1, f"audit.level: must lie between 0.5 and 1, got {self.level}")
        names = [target.name for target in self.targets]
        require(len(set(names)) == len(names), "audit.targets: two have the same name")
        for target in self.targets:
            require(target.at_least > 0, f"audit.targets: {target.name}: at_least must be above 0")

    @property
    def plan(self) -> dict[str, Any]:
        """Everything that decides; what `registered_plan` is the sha256 of."""
        return {key: value for key, value in dataclasses.asdict(self).items() if key != "registered_plan"}
