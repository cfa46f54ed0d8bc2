"""Synthetic searches for the tests of their audit."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from audit.search.evidence import SearchEvidence, fitness_terms
from loop.fitness import FitnessSettings
from loop.records import Attempt, Component, Experiment

FITNESS = FitnessSettings(
    baseline_loss=2.40, baseline_benchmark=0.5, window=0.1, steepness=6.0, judge_lowest=1.0, judge_highest=10.0
)
TASKS = ("multi_query_recall", "next_token")
CLEAN = {check: {"outcome": "certified", "detail": ""} for check in ("future", "batch")}
LEAKY = CLEAN | {"future": {"outcome": "violated", "detail": "position 3 sees 4"}}
REFUSALS = ("does_not_load", "duplicate", "leaky", "too_costly")


def attempt(**changes: Any) -> Attempt:
    values = {"stage": "propose", "name": "a mixer", "motivation": "why", "source": "x = 1\n", "verdict": "accepted",
              "reason": "", "certificate": CLEAN, "nearest": (), "truth": {}}  # fmt: skip
    return Attempt(**(values | changes))


def experiment(number: int, **changes: Any) -> Experiment:
    """A finished, ranked run of loss 2.4; a failure where a status is given."""
    values: dict[str, Any] = {
        "number": number, "name": f"mixer_{number}", "status": "ok", "reason": "",
        "parent": number - 1 if number else None, "references": (), "entries": (), "seed": number % 7,
        "motivation": "why", "source": f"x = {number}\n",
        "attempts": (attempt(),), "run_id": "0", "loss": 2.40, "honest_loss": 2.40, "looks_ahead": False,
        "certified": True, "benchmarks": dict.fromkeys(TASKS, 0.5), "marks": {}, "mark": 5.0,
        "fitness": {"strict": 0.5},
        "rules": {"certificate": False, "below_2": False}, "parameters": 120_000, "flops": 2e12,
        "analysis": {}, "components": (Component(component="delta_rule", origin="original", labelled_by="truth"),),
        "truth": {}, "device_seconds": 12.0, "timings": {},
    }  # fmt: skip
    if changes.get("status", "ok") != "ok":
        values |= dict.fromkeys(("loss", "honest_loss", "looks_ahead", "mark", "parameters", "flops"))
        values |= {"benchmarks": {}, "fitness": {}, "rules": {}, "components": ()}
    return Experiment(**(values | changes))


def proposals(count: int, random_seed: int = 0, failing: float = 0.3) -> list[Experiment]:
    """A search with a slow trend, refusals, repairs and failures; its parents are among the fittest before."""
    draws = np.random.default_rng(random_seed)
    done = [experiment(0, name="delta_net")]
    for number in range(1, count):
        pool = sorted((e for e in done if e.fitness), key=lambda e: -e.fitness["strict"])[:10]
        parent = pool[draws.integers(len(pool))]
        attempts = [attempt(verdict=REFUSALS[draws.integers(4)], reason="no") for _ in range(draws.poisson(0.4))]
        common = {"parent": parent.number, "seed": int(draws.integers(5)), "device_seconds": draws.uniform(5, 15)}
        if draws.random() < failing:
            status = ("rejected", "crashed", "too_slow", "diverged")[draws.integers(4)]
            last = attempt(verdict="does_not_load" if status != "rejected" else "leaky", stage="repair")
            done.append(experiment(number, status=status, reason="no", attempts=(*attempts, last), **common))
            continue
        gain = 0.02 * np.log1p(number / 20) + draws.normal(0, 0.02)
        loss, accuracy = 2.38 - gain, float(np.clip(0.5 + gain + draws.normal(0, 0.03), 0, 1))
        mark = float(np.clip(5 + 30 * gain + draws.normal(0, 0.7), 1, 10))
        scored = experiment(
            number, loss=loss, honest_loss=loss, mark=mark, benchmarks=dict.fromkeys(TASKS, accuracy),
            attempts=(*attempts, attempt()), rules={"certificate": False, "below_2": loss < 0.98 * 2.4},
            parameters=int(120_000 * draws.uniform(0.9, 1.5)), flops=2e12 * draws.uniform(0.9, 1.6), **common,
        )  # fmt: skip
        terms = fitness_terms([scored], FITNESS, TASKS, honest=True)[number]
        done.append(dataclasses.replace(scored, fitness={"strict": float(np.mean(list(terms.values())))}))
    return done


def baseline_runs(seeds: int = 3, sd: float = 0.01) -> list[dict[str, Any]]:
    """DeltaNet at 2.40 and Gated DeltaNet at 2.38, their losses `sd` apart from seed to seed."""
    steps = [0.0] if seeds == 1 else np.linspace(-1, 1, seeds)
    return [
        {"name": name, "seed": seed, "loss": mean + sd * step, "honest_loss": mean + sd * step,
         "benchmarks": dict.fromkeys(TASKS, 0.5), "parameters": 120_000, "flops": 2e12}
        for name, mean in (("delta_net", 2.40), ("gated_delta_net", 2.38))
        for seed, step in enumerate(steps)
    ]  # fmt: skip


def search(experiments: list[Experiment], **changes: Any) -> SearchEvidence:
    values: dict[str, Any] = {
        "name": "run_1", "experiments": tuple(experiments), "baselines": tuple(baseline_runs()),
        "reference": "delta_net", "ranking": "strict", "window": 0.10, "pool": 10, "in_force": ("certificate",),
        "terms": fitness_terms(experiments, FITNESS, TASKS, honest=True),
    }  # fmt: skip
    return SearchEvidence(**(values | changes))
