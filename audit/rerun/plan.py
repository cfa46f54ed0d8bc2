"""The decision plan of the rerun audit, and how its arms are called in ids and in print."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from audit.evidence import Evidence
from audit.finding import slug
from replication.settings import require

LABEL_LENGTH = 60


@dataclass(frozen=True, kw_only=True)
class RerunSettings:
    """conf/audit/replicate.yaml, where every setting is explained. `sesoi` is in bits per byte."""

    metric: Literal["bits_per_byte"]
    level: float
    sesoi: float
    sesoi_reason: str
    power: float
    max_seeds: int
    correction: Literal["holm"]
    resamples: int
    random_seed: int
    registered_plan: str

    def __post_init__(self) -> None:
        require(0.5 < self.level < 1, f"audit.level: must lie between 0.5 and 1, got {self.level}")
        require(self.sesoi > 0, f"audit.sesoi: must be above 0, got {self.sesoi}")
        require(0 < self.power < 1, f"audit.power: must lie between 0 and 1, got {self.power}")
        require(self.max_seeds >= 2, f"audit.max_seeds: must be at least 2, got {self.max_seeds}")
        require(self.resamples >= 100, f"audit.resamples: must be at least 100, got {self.resamples}")
        require(self.random_seed >= 0, f"audit.random_seed: must be at least 0, got {self.random_seed}")

    @property
    def plan(self) -> dict[str, Any]:
        """Everything that decides; what `registered_plan` is the sha256 of."""
        return {key: value for key, value in dataclasses.asdict(self).items() if key != "registered_plan"}


def arm_labels(evidence: Evidence) -> dict[str, str]:
    """Candidate sha256 -> a label that no other arm of this evidence has; in display order."""
    arms = evidence.arms
    short = [_cut(label) for label in arms["label"]]
    return {
        candidate: label if short.count(label) == 1 else f"{label} ({candidate[:8]})"
        for candidate, label in zip(arms["candidate"], short, strict=True)
    }


def arm_slugs(evidence: Evidence) -> dict[str, str]:
    """Candidate sha256 -> its part of a finding's id; the name itself where that is already fit for one."""
    arms: pd.DataFrame = evidence.arms
    slugs = {candidate: slug(name, candidate) for candidate, name in zip(arms["candidate"], arms["name"], strict=True)}
    taken = list(slugs.values())
    return {
        candidate: part if taken.count(part) == 1 else f"{part}-{candidate[:8]}" for candidate, part in slugs.items()
    }


def _cut(label: str) -> str:
    return label if len(label) <= LABEL_LENGTH else label[: LABEL_LENGTH - 1] + "…"
