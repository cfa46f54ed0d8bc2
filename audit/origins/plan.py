"""The decision plan of the audit of origins: conf/audit/origins.yaml, where every setting is explained."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from replication.settings import require


@dataclass(frozen=True, kw_only=True)
class Channel:
    """Where ideas come from: a column of the published table, and the archive's word for it."""

    column: str
    origin: str


@dataclass(frozen=True, kw_only=True)
class OriginsTable:
    """Columns of groups' names and sizes (architectures), and the names of the two groups."""

    group: str
    size: str
    gallery: str
    rest: str


@dataclass(frozen=True, kw_only=True)
class ComponentsTable:
    """Columns of categories and of their percentages in the two groups."""

    category: str
    gallery: str
    rest: str


@dataclass(frozen=True, kw_only=True)
class OriginSettings:
    """conf/audit/origins.yaml."""

    level: float
    resamples: int
    seed: int
    channels: dict[str, Channel]
    origins_table: OriginsTable
    components_table: ComponentsTable
    most_units: int
    stated_units: int
    design_effects: tuple[float, ...]
    top: int
    heads: tuple[int, ...]
    gallery: Literal["best", "discoveries"]
    best: int
    parts: int
    registered_plan: str

    def __post_init__(self) -> None:
        require(0.5 < self.level < 1, f"audit.level: must lie between 0.5 and 1, got {self.level}")
        for name in ("resamples", "most_units", "stated_units", "top", "best", "parts"):
            require(getattr(self, name) >= 1, f"audit.{name}: must be at least 1, got {getattr(self, name)}")
        require(self.seed >= 0, f"audit.seed: must not be negative, got {self.seed}")
        require(len(self.channels) >= 2, "audit.channels: at least two are needed")
        require(min(self.design_effects, default=0.0) >= 1.0, "audit.design_effects: numbers from 1 on are needed")
        require(min(self.heads, default=0) >= 1, "audit.heads: whole numbers from 1 on are needed")

    @property
    def plan(self) -> dict[str, Any]:
        """Everything that decides; what `registered_plan` is the sha256 of."""
        return {key: value for key, value in dataclasses.asdict(self).items() if key != "registered_plan"}
