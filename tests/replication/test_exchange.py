"""What travels between a trainer and a mixer process arrives as it was, or is refused."""

from __future__ import annotations

import json
import os
from typing import Any

import numpy as np
import pytest
import torch

from replication.exchange import DTYPES, ExchangeError, Form, SharedMemory, State, copy_all

TENSORS: list[torch.Tensor] = [
    torch.randn(3, 4).to(dtype) if dtype.is_floating_point or dtype.is_complex else torch.arange(5).to(dtype)
    for dtype in DTYPES.values()
]
ODD = [torch.tensor(2.5), torch.empty(0, 3), torch.randn(6, 5).T, torch.randn(4).expand(3, 4), torch.randn(2).conj()]


@pytest.mark.parametrize("tensor", [*TENSORS, *ODD], ids=lambda t: f"{t.dtype} {list(t.shape)}")
def test_a_tensor_in_a_state_comes_out_as_it_went_in(tensor: torch.Tensor) -> None:
    packed = State.pack({"x": tensor})
    header = json.loads(json.dumps(packed.told))
    (found,) = State.from_told(header, packed.data).unpack().values()
    assert isinstance(found, torch.Tensor)
    assert found.dtype == tensor.dtype
    assert torch.equal(found, tensor)


def test_plain_values_of_a_state_come_out_as_they_went_in() -> None:
    values: dict[str, Any] = {"a": 1, "b": 2.5, "c": None, "d": "text", "e": True, "f": float("inf")}
    packed = State.pack(values)
    assert State.from_told(json.loads(json.dumps(packed.told)), packed.data).unpack() == values


def test_a_sparse_tensor_cannot_be_kept() -> None:
    with pytest.raises(ExchangeError, match="cannot be kept"):
        State.pack({"x": torch.eye(3).to_sparse()})


FLOATS = [[2], "float32"]


@pytest.mark.parametrize(
    ("header", "arrays"),
    [
        ({}, []),
        ({"values": [], "forms": {}}, []),
        ({"values": {}, "forms": {"x": FLOATS}}, []),
        ({"values": {"x": [1]}, "forms": {}}, []),
        ({"values": {"x": {"__reduce__": "os.system"}}, "forms": {}}, []),
        ({"values": {}, "forms": {"x": FLOATS}}, [np.zeros(7, dtype=np.uint8)]),
        ({"values": {}, "forms": {"x": FLOATS}}, [np.zeros(2, dtype=np.float32)]),
        ({"values": {}, "forms": {"x": [[2], "object"]}}, [np.zeros(8, dtype=np.uint8)]),
        ({"values": {}, "forms": {"x": [[-2], "float32"]}}, [np.zeros(8, dtype=np.uint8)]),
        ({"values": {}, "forms": {"x": [[True], "uint8"]}}, [np.zeros(1, dtype=np.uint8)]),
        ({"values": {}, "forms": {"x": [[1] * 40, "uint8"]}}, [np.zeros(1, dtype=np.uint8)]),
        ({"values": {}, "forms": {"x": [2, "float32"]}}, [np.zeros(8, dtype=np.uint8)]),
    ],
)
def test_a_state_of_another_form_is_refused(header: dict[str, Any], arrays: list[np.ndarray]) -> None:
    with pytest.raises(ExchangeError):
        State.from_told(header, arrays)


def memory_of(size: int) -> int:
    descriptor = os.memfd_create("test")
    os.ftruncate(descriptor, size)
    return descriptor


def test_both_sides_see_the_same_tensors_and_none_overlaps_another() -> None:
    forms = [
        Form((3, 5), torch.float32),
        Form((), torch.float64),
        Form((0,), torch.float32),
        Form((7,), torch.bfloat16),
    ]
    descriptor, row = memory_of(1 << 16), Form((2, 4, 8), torch.float32)
    one, other = (SharedMemory(descriptor, row.bytes, forms) for _ in range(2))

    def tensors(side: SharedMemory) -> list[torch.Tensor]:
        return [side.inward(row), side.outward(row), *side.parameters, *side.gradients]

    for number, tensor in enumerate(tensors(one)):
        tensor.fill_(number + 1)
    for number, tensor in enumerate(tensors(other)):
        assert torch.equal(tensor, torch.full_like(tensor, number + 1))


def test_memory_that_is_too_small_for_the_parameters_is_out_of_memory() -> None:
    with pytest.raises(MemoryError):
        SharedMemory(memory_of(4096), 64, [Form((10_000,), torch.float32)])


def test_copying_all_leaves_no_trace_in_the_graph() -> None:
    target, source = torch.zeros(3, requires_grad=True), torch.ones(3, requires_grad=True)
    copy_all([target], [source])
    assert target.tolist() == [1, 1, 1]
    assert target.grad_fn is None
