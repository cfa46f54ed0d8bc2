"""The plan of the experiments on the loop: which searches are run, and how they are judged."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from replication.settings import require


@dataclass(frozen=True, kw_only=True)
class ConfirmSettings:
    """The settings `confirm.*`: fresh seeds, and the share of false ones that may be among confirmed claims."""

    seeds: int
    first_seed: int
    false_discovery_rate: float

    def __post_init__(self) -> None:
        require(self.seeds >= 2, f"interventions.confirm.seeds: must be at least 2, got {self.seeds}")
        rate = self.false_discovery_rate
        require(0 < rate < 1, f"interventions.confirm.false_discovery_rate: must lie between 0 and 1, got {rate}")


@dataclass(frozen=True, kw_only=True)
class ExploratorySettings:
    """The settings `exploratory.*`: the baseline of a weaker criterion, which was added after the data."""

    baseline: str


@dataclass(frozen=True, kw_only=True)
class InterventionSettings:
    """conf/interventions/default.yaml, where every setting is explained."""

    seeds: int
    experiments: int
    search: tuple[str, ...]
    arms: dict[str, tuple[str, ...]]
    reference_arm: str
    rules: tuple[str, ...]
    no_rule: str
    confirm: ConfirmSettings
    exploratory: ExploratorySettings
    level: float
    power: float
    sesoi: float
    reference: str
    registered_plan: str

    def __post_init__(self) -> None:
        require(self.seeds >= 2, f"interventions.seeds: must be at least 2, got {self.seeds}")
        require(self.experiments >= 2, f"interventions.experiments: must be at least 2, got {self.experiments}")
        require(0.5 < self.level < 1, f"interventions.level: must lie between 0.5 and 1, got {self.level}")
        require(0.5 < self.power < 1, f"interventions.power: must lie between 0.5 and 1, got {self.power}")
        require(self.sesoi > 0, f"interventions.sesoi: must be above 0, got {self.sesoi}")
        for name in (self.reference_arm, self.no_rule, *self.rules):
            require(name in self.arms, f"interventions.arms: there is no arm {name!r}")
        require(self.no_rule not in self.rules, f"interventions.rules: {self.no_rule} is compared with itself")

    @property
    def plan(self) -> dict[str, Any]:
        """Everything that decides; what `registered_plan` is the sha256 of."""
        left_out = ("registered_plan", "reference", "exploratory")
        return {key: value for key, value in dataclasses.asdict(self).items() if key not in left_out}

    def searches(self) -> Iterator[tuple[int, str]]:
        """(seed, arm) of every search, in the order they are run: what is stopped early has whole seeds.

        Each seed begins with another arm, so that no arm always meets the machine in the same state.
        """
        names = list(self.arms)
        for seed in range(self.seeds):
            for place in range(len(names)):
                yield seed, names[(place + seed) % len(names)]
