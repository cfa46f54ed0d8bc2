"""Several seeds of one candidate at once, on a GPU that a single small model leaves mostly idle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from replication.step import Step

WORTH = 0.05  # less time a seed by this share is what makes a larger group worth its memory


class SeedGroup:
    """Models trained side by side, each with the numbers that it has alone.

    Every model keeps its own recorded step, on its own stream and with its own generator. All are launched before any
    is read, so that the device works on them at the same time. A step that is not recorded is done alone, and then
    the group only costs memory.

    Args:
        steps: one for each seed, of models that share nothing.
    """

    def __init__(self, steps: Sequence[Step]) -> None:
        self._steps = tuple(steps)

    @property
    def notes(self) -> tuple[str, ...]:
        """Those of the steps, each once."""
        return tuple(dict.fromkeys(note for step in self._steps for note in step.notes))

    def run(self, tokens: np.ndarray, index: int) -> list[float]:
        """Step `index` of every model; returns the losses in nats per token, in order (`Step.run`)."""
        for step in self._steps:
            step.launch(tokens, index)
        return [step.read() for step in self._steps]


def fastest_together(seconds: Mapping[int, float]) -> int:
    """How many seeds to train at once.

    Args:
        seconds: for each group size that was measured, the time of one step of the whole group.

    Returns the smallest size whose time a seed is within WORTH of the best. Raises ValueError without measurements.
    """
    if not seconds or min(seconds) < 1 or min(seconds.values()) <= 0:
        raise ValueError(f"seconds must hold the measured time, above 0, of at least one group size, not {seconds}")
    each = {size: time / size for size, time in seconds.items()}
    return min(size for size in each if each[size] <= (1 + WORTH) * min(each.values()))
