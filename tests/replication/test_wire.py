"""Frames survive the wire; whatever is no frame is refused, and nothing else is raised."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Iterator

import numpy as np
import pytest

from replication import wire
from replication.wire import WireError, receive, send

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    left, right = socket.socketpair()
    right.settimeout(10)  # a receiver that waits for what never comes is a failure, not a hang
    with left, right:
        yield left, right


def raw(header: object, body: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<I", len(text)) + text + body


def described(dtype: object = "float32", shape: object = (1,)) -> dict[str, object]:
    return {"kind": "x", "arrays": [{"dtype": dtype, "shape": shape}]}


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
@pytest.mark.parametrize("shape", [(), (0,), (5,), (2, 0, 3), (2, 3, 4)])
def test_a_frame_arrives_as_it_was_sent(pair: Pair, dtype: str, shape: tuple[int, ...]) -> None:
    array = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)
    send(pair[0], {"kind": "x", "text": "é\n", "none": None}, array, -array)
    header, arrays = receive(pair[1]) or ({}, [])
    assert header == {"kind": "x", "text": "é\n", "none": None}
    for got, sent in zip(arrays, (array, -array), strict=True):
        assert got.dtype == sent.dtype
        np.testing.assert_array_equal(got, sent, strict=True)


def test_frames_follow_each_other_and_a_closed_stream_is_their_end(pair: Pair) -> None:
    send(pair[0], {"kind": "a"}, np.ones((3, 2)).T)
    send(pair[0], {"kind": "b"})
    pair[0].close()
    first, second = receive(pair[1]), receive(pair[1])
    assert first is not None
    assert second is not None
    assert (first[0]["kind"], first[1][0].shape, second[0]["kind"]) == ("a", (2, 3), "b")
    assert receive(pair[1]) is None


WHOLE = raw(described(shape=[4]), bytes(16))


@pytest.mark.parametrize("length", range(1, len(WHOLE)))
def test_a_stream_that_ends_inside_a_frame_is_refused(pair: Pair, length: int) -> None:
    pair[0].sendall(WHOLE[:length])
    pair[0].close()
    with pytest.raises(WireError, match="ended inside a frame"):
        receive(pair[1])


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(struct.pack("<I", wire.MAX_HEADER + 1), id="oversized header"),
        pytest.param(struct.pack("<I", 2**32 - 1), id="largest length"),
        pytest.param(raw(described(shape=[2**40])), id="oversized array"),
        pytest.param(
            raw({"kind": "x", "arrays": described(shape=[2**29])["arrays"] * 3}), id="arrays too large together"
        ),  # type: ignore[operator]
        pytest.param(raw(described(dtype="float16")), id="unknown dtype"),
        pytest.param(raw(described(dtype="object")), id="object dtype"),
        pytest.param(raw(described(dtype=["float32"])), id="dtype that is no text"),
        pytest.param(raw(described(shape=[-1])), id="negative size"),
        pytest.param(raw(described(shape=[-1, -4])), id="two negative sizes"),
        pytest.param(raw(described(shape=[1.0])), id="fractional size"),
        pytest.param(raw(described(shape=[True])), id="boolean size"),
        pytest.param(raw(described(shape="12")), id="text as shape"),
        pytest.param(raw(described(shape=None)), id="no shape"),
        pytest.param(raw(described(shape=[1] * 100), bytes(4)), id="too many dimensions"),
        pytest.param(raw(described(shape=[0, 2**62, 2**62])), id="empty and huge"),
        pytest.param(raw(b"not json"), id="no JSON"),
        pytest.param(raw(b"\xff\xfe"), id="no text"),
        pytest.param(raw(b"[" * 200_000), id="deep nesting"),
        pytest.param(raw(b"1" * 10_000), id="number of many digits"),
        pytest.param(raw([]), id="a list as header"),
        pytest.param(raw({"kind": "x"}), id="no arrays"),
        pytest.param(raw({"kind": "x", "arrays": 3}), id="arrays as a number"),
        pytest.param(raw({"kind": "x", "arrays": {"a": 1}}), id="arrays as a mapping"),
        pytest.param(raw({"kind": "x", "arrays": [{}]}), id="array without description"),
        pytest.param(raw({"arrays": []}), id="no kind"),
    ],
)
def test_what_is_no_frame_is_refused(pair: Pair, data: bytes) -> None:
    pair[0].sendall(data)
    with pytest.raises(WireError):
        receive(pair[1])
