"""The operators' bench: what is timed is checked first, and every form at every shape computes the same."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from kernels.bench import Clock, Timing, ceilings, measure, saved_bytes, tolerance
from kernels.bench_cases import cases

CPU = torch.device("cpu")
CLOCK = Clock(device=CPU, warmup=1, repeats=2)
TINY = {case.operator: case for case in cases("tiny")}


def no_turn() -> None:
    pass


@pytest.mark.parametrize("case", cases("tiny"), ids=lambda case: case.name)
def test_the_plain_form_and_ours_agree_with_the_definition_and_get_times(case):
    rows = list(measure(case, ["eager", "ours"], CLOCK, torch.float32, no_turn))
    assert [(row["form"], row["status"]) for row in rows] == [("eager", "ok"), ("ours", "ok")]
    for row in rows:
        assert row["error"] <= row["tolerance"]
        assert 0 < row["low"] <= row["seconds"] <= row["high"]


def test_a_form_that_computes_something_else_is_wrong_and_gets_no_time():
    case = TINY["fir"]
    late = dataclasses.replace(case, forms={**case.forms, "ours": lambda x, *f: case.forms["ours"](x.roll(1, 1), *f)})
    turns = []
    eager, ours = measure(late, ["eager", "ours"], CLOCK, torch.float32, lambda: turns.append(1))
    assert (eager["status"], ours["status"]) == ("ok", "wrong")
    assert ours["error"] > ours["tolerance"]
    assert "seconds" not in ours
    assert len(turns) == 1  # what is wrong is not even timed


def test_a_form_with_a_wrong_gradient_is_wrong():
    case = TINY["delta_rule"]

    def without_beta_gradient(q, k, v, beta):
        return case.forms["ours"](q, k, v, beta.detach() + 0 * beta)

    wrong = dataclasses.replace(case, forms={**case.forms, "ours": without_beta_gradient})
    (row,) = measure(wrong, ["ours"], CLOCK, torch.float32, no_turn)
    assert row["status"] == "wrong"


def test_a_form_whose_output_is_not_a_number_is_wrong():
    case = TINY["branch_mix"]
    nan = dataclasses.replace(case, forms={**case.forms, "ours": lambda *x: tuple(
        y * float("nan") for y in case.forms["eager"](*x))})  # fmt: skip
    (row,) = measure(nan, ["ours"], CLOCK, torch.float32, no_turn)
    assert row["status"] == "wrong"


def test_a_form_that_cannot_serve_says_why_and_the_next_one_is_measured():
    refused, ours = measure(TINY["delta_rule"], ["fla", "ours"], CLOCK, torch.float32, no_turn)
    assert refused["status"] == "refused"
    assert "fla" in refused["reason"]
    assert ours["status"] == "ok"


def test_a_compiled_form_computes_the_same():
    (row,) = measure(TINY["head_gate"], ["compiled"], CLOCK, torch.float32, no_turn)
    assert row["status"] == "ok"


def test_timing_is_the_median_with_quartiles():
    assert Timing.of([5.0, 1.0, 2.0, 3.0, 4.0]) == Timing(seconds=3.0, low=2.0, high=4.0)


def test_calls_take_turns_so_that_no_input_stays_in_the_cache():
    heard = []
    CLOCK.time([lambda: heard.append("a"), lambda: heard.append("b"), lambda: heard.append("c")])
    assert heard == ["a", "b", "c", "a", "b"]


def test_ceilings_are_a_copy_and_a_product_with_the_work_that_they_do():
    copy, product = ceilings(CLOCK, tiny=True)
    assert (copy["name"], copy["flops"], copy["bytes"]) == ("copy", 0.0, 8.0 * 2**14)
    assert (product["name"], product["form"], product["flops"]) == ("matmul", "float32", 2.0 * 64**3)


def test_saved_bytes_count_shared_memory_once_and_leave_weights_out():
    x, w = torch.randn(4, 8, requires_grad=True), torch.randn(8, 8, requires_grad=True)
    assert saved_bytes(lambda x, w: (x @ w,), [x, w], 1) == 4 * 8 * 4
    assert saved_bytes(lambda x, w: (x @ w,), [x, w], 0) == 4 * 8 * 4 + 8 * 8 * 4
    assert saved_bytes(lambda x, w: (x[:2] @ w, x[2:] @ w), [x, w], 1) == 4 * 8 * 4


def test_the_factorised_gate_keeps_less_than_the_expanded_one():
    eager, ours = measure(TINY["head_gate"], ["eager", "ours"], CLOCK, torch.float32, no_turn)
    assert ours["saved_bytes"] < eager["saved_bytes"] / 2


def test_narrow_inputs_are_judged_by_the_tolerance_of_the_case():
    case = TINY["fir"]
    assert tolerance(case, torch.zeros(1, dtype=torch.bfloat16)) == case.tolerance
    assert tolerance(case, torch.zeros(1)) < case.tolerance


def test_work_by_count_is_that_of_a_gpus_cases():
    fir = next(case for case in cases("gpu") if case.name == "fir B8 T2048 C1024 taps 5+64")
    numbers = 8 * 2048 * 1024
    assert fir.flops == 3 * 2 * 69 * numbers  # forward, gradient of x, gradient of the filters
    assert fir.elements == 7 * numbers  # x and both outputs; x, both gradients of outputs, gradient of x
    sizes = {case.size for case in cases("gpu")}
    assert {"20M", "340M", "heads of 16", "heads of 64"} <= sizes
