"""Synthetic evidence with known effects, shared by the tests of the rerun audit."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
import pytest

from audit.evidence import CERTIFICATE_COLUMNS, Evidence
from replication.certificate import CHECKS

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
                        "honest_loss": np.nan if failed else bits * np.log(2),
                        "leak_gain": np.nan, "leak_gain_se": np.nan, "looks_ahead": False,
                        "parameters": float(parameters + 1000 * order), "flops": 1e12, "tokens": 2.4e5,
                        "tokens_per_second": 9e3, "wall_seconds": 4.0, "peak_memory_bytes": 4e8, "lifted": "",
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


def certificate_frame(outcomes: Mapping[tuple[str, str], str]) -> pd.DataFrame:
    """Every check of every arm certified, but for the (name, check) that are said to be otherwise."""
    rows = [
        {
            "candidate": sha(name), "check": check, "outcome": outcomes.get((name, check), "certified"),
            "size": 0.5 if outcomes.get((name, check)) == "violated" else np.nan, "limit": 1e-9,
            "detail": "output 3 depends on input 4" if (name, check) in outcomes else "",
        }
        for name, *_ in ARMS
        for check in CHECKS
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=list(CERTIFICATE_COLUMNS))


def set_gain(runs: pd.DataFrame, name: str, gain: float, error: float) -> None:
    """Makes an arm one whose leak gain was measured; the honest loss stays."""
    here = (runs["name"] == name) & (runs["status"] == "ok")
    runs.loc[here, "val_loss"] -= gain
    runs.loc[here, ["leak_gain", "leak_gain_se"]] = [gain, error]
    runs.loc[here, "looks_ahead"] = gain != 0


EvidenceMaker = Callable[..., Evidence]


@pytest.fixture(scope="session")
def make_evidence() -> EvidenceMaker:
    """`make_evidence(change=..., outcomes=..., gains=..., **run_rows arguments)`: Evidence after `change(runs,
    experiments)` has edited it; outcomes: (name, check) -> outcome, where not certified; gains: name -> gain and error.
    """

    def make(
        change: Callable[[pd.DataFrame, pd.DataFrame], None] | None = None,
        outcomes: Mapping[tuple[str, str], str] | None = None,
        gains: Mapping[str, tuple[float, float]] | None = None,
        **arguments: object,
    ) -> Evidence:
        runs, experiments = pd.DataFrame(run_rows(**arguments)), pd.DataFrame(experiment_rows())  # type: ignore[arg-type]
        for name, measured in (gains or {}).items():
            set_gain(runs, name, *measured)
        if change is not None:
            change(runs, experiments)
        return Evidence(runs, experiments, certificate_frame(outcomes or {}))

    return make
