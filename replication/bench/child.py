"""`python -m replication.bench.child FD`: the process in which a job of the bench runs (`jobs.py` has the protocol)."""

from __future__ import annotations

import gc
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from kernels.bench import Clock, Row, Timing, ceilings, measure
from kernels.bench_cases import cases
from replication import compat
from replication.containment import Access, ContainmentSettings, confine, describe, readable_libraries
from replication.preload import preload
from replication.record import Optimiser, Scale
from replication.settings import typed


class Child:
    """A job, and the parent to tell of it."""

    def __init__(self, descriptor: int) -> None:
        self._out = os.fdopen(descriptor, "w", encoding="utf-8")
        self.job: dict[str, Any] = json.loads(sys.stdin.readline())
        self.device = torch.device(self.job["device"])

    def tell(self, **message: Any) -> None:
        """Send a message."""
        self._out.write(json.dumps(message) + "\n")
        self._out.flush()

    def turn(self) -> None:
        """Wait until this process has the machine for itself."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        self.tell(ready=True)
        sys.stdin.readline()

    def work(self) -> None:
        """Do the job."""
        torch.set_num_threads(self.job["threads"])
        if self.device.type == "cuda":  # an even share, so that what fits does not depend on who else is at work
            torch.cuda.set_per_process_memory_fraction(0.9 / self.job["processes"])
        kinds = {"ceilings": self._ceilings, "operator": self._operator, "lift": self._lift, "step": self._steps}
        for rows in kinds[self.job["kind"]]():
            self.tell(rows=rows)

    def _clock(self) -> Clock:
        return Clock(device=self.device, warmup=self.job["warmup"], repeats=self.job["repeats"])

    def _ceilings(self) -> Iterator[list[Row]]:
        self.turn()
        yield [row | {"form": str(row["form"])} for row in ceilings(self._clock(), tiny=self.job["profile"] == "tiny")]

    def _operator(self) -> Iterator[list[Row]]:
        case = next(each for each in cases(self.job["profile"]) if each.name == self.job["case"])
        dtype = torch.bfloat16 if self.device.type == "cuda" else torch.float32
        torch.set_float32_matmul_precision("high" if self.device.type == "cuda" else "highest")
        forms = [form for group in self.job["groups"] for form in group]
        for row in measure(case, forms, self._clock(), dtype, self.turn):
            yield [row]

    def _lift(self) -> Iterator[list[dict[str, Any]]]:
        from replication.lift import lift

        self._confine()
        compat.install("cpu")
        lifted = lift(self.job["source"], self.job["hidden_size"], self.job["num_heads"])
        yield [{"form": "lift", "status": "ok", "source": lifted.source, "parts": lifted.parts}]

    def _steps(self) -> Iterator[list[dict[str, Any]]]:
        from replication.bench import steps

        layers = self._confine() if self.device.type == "cpu" else "off: compiling needs processes of its own"
        served = compat.install(self.job["device"])
        batch = self.job["batch"]
        scale = typed(Scale, self.job["scale"] | {"batch_size": batch, "micro_batch_size": batch}, "scale")
        same = {name: self.job[name] for name in ("seed", "vocab_size", "tokens", "device", "precision", "threads")}
        optimiser = typed(Optimiser, self.job["optimiser"], "optimiser")
        for group in self.job["groups"]:
            lacking = [form for form in group if steps.lacks_fla(
                form, imports_fla=self.job["imports_fla"], device=self.job["device"], served=served)]  # fmt: skip
            if lacking:
                yield [{"form": form, "status": "refused", "reason": "fla cannot be imported"} for form in group]
                continue
            trainings, checks = {}, {}
            for form in group:
                source = self.job["lifted" if steps.FORMS[form].lifted else "source"]
                trainings[form] = steps.Training(source, form, scale, optimiser, served=served, **same)
                checks[form] = trainings[form].check()
                for _ in range(self.job["warmup"]):
                    trainings[form].step()
            self.turn()
            seconds: dict[str, list[float]] = {form: [] for form in group}
            for _ in range(self.job["repeats"]):  # by turns, so that whatever else the machine does meets all alike
                for form in group:
                    seconds[form].append(trainings[form].step())
            yield [
                {"form": form, "status": "ok", **vars(Timing.of(seconds[form])), "check": checks[form], "batch": batch,
                 "parameters": trainings[form].parameters, "notes": f"{trainings[form].notes}; confinement {layers}"}
                for form in group
            ]  # fmt: skip
            del trainings
            gc.collect()
            if self.device.type == "cuda":
                torch.cuda.empty_cache()

    def _confine(self) -> str:
        preload()
        settings = typed(ContainmentSettings, self.job["containment"], "containment")
        access = Access(read=readable_libraries(), write=(str(Path.cwd()),), device="cpu")
        return describe({str(layer): how for layer, how in confine(access, settings, 16 * 2**30).items()})


def main() -> None:
    """Work, and say so where a batch does not fit."""
    child = Child(int(sys.argv[1]))
    try:
        child.work()
    except torch.OutOfMemoryError:
        child.tell(too_large=True)


if __name__ == "__main__":
    main()
