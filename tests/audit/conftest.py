"""Synthetic evidence with known effects, shared by the tests of the rerun audit."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from audit.evidence import Evidence

SCALES = {"cpu-small": 120_000, "cpu-large": 360_000}
ARMS = [  # name, label, role, effect on the loss in bits per byte
    ("delta_net", "DeltaNet", "baseline", 0.0),
    ("gated_delta_net", "Gated DeltaNet", "baseline", -0.10),
    ("mamba2", "Mamba-2", "baseline", 0.05),
    ("strong", "Strong mixer", "candidate", -0.40),
    ("weak", "Weak mixer", "candidate", 0.60),
    ("twin", "DeltaNet, renamed", "candidate", 0.0),
    ("close_call", "Close call", "candidate", -0.03),
    ("fragile", "Fragile mixer", "candidate", -0.40),
]


def sha(name: str) -> str:
    return hashlib.sha256(name.encode("utf-8")).hexdigest()


def run_rows(seeds: int = 5, noise: float = 0.004, random_seed: int = 0) -> list[dict[str, object]]:
    """Rows of `runs`: every arm at both scales; `fragile` diverges on one seed at cpu-large."""
    generator = np.random.default_rng(random_seed)
    rows = []
    for scale, parameters in SCALES.items():
        shared = generator.normal(0, 0.02, seeds)  # what one data order does to every arm
        for order, (name, label, role, effect) in enumerate(ARMS):
            for seed in range(seeds):
                bits = 2.5 + effect + shared[seed] + generator.normal(0, noise)
                failed = name == "fragile" and scale == "cpu-large" and seed == 1
                rows.append(
                    {
                        "run_id": sha(f"{name}/{scale}/{seed}")[:16], "candidate": sha(name), "name": name,
                        "label": label, "role": role, "scale": scale, "seed": seed,
                        "status": "diverged" if failed else "ok",
                        "val_loss": np.nan if failed else bits * np.log(2), "bits_per_byte": np.nan if failed else bits,
                        "parameters": float(parameters + 1000 * order), "flops": 1e12, "tokens": 2.4e5,
                        "tokens_per_second": 9e3, "wall_seconds": 4.0, "peak_memory_bytes": 4e8,
                        "error": "loss is not finite at step 17" if failed else "", "order": order,
                    }
                )  # fmt: skip
    return rows


def experiment_rows() -> list[dict[str, object]]:
    return [
        {
            "candidate": sha("strong"), "name": "strong", "search_loss": 4.2, "baseline": "delta_net",
            "search_baseline_loss": 4.6, "unit": "nats per token", "where": "gallery.json index 1735",
        }
    ]  # fmt: skip


EvidenceMaker = Callable[..., Evidence]


@pytest.fixture(scope="session")
def make_evidence() -> EvidenceMaker:
    """`make_evidence(change=..., **run_rows arguments)`: Evidence after `change(runs, experiments)` has edited it."""

    def make(change: Callable[[pd.DataFrame, pd.DataFrame], None] | None = None, **arguments: object) -> Evidence:
        runs, experiments = pd.DataFrame(run_rows(**arguments)), pd.DataFrame(experiment_rows())  # type: ignore[arg-type]
        if change is not None:
            change(runs, experiments)
        return Evidence(runs, experiments)

    return make
