"""Frames between the trusted parent and a worker: a JSON header and raw arrays over a stream socket.

Never pickle: what a worker sends is data of a fixed form, and the receiver checks every length and type.
"""

from __future__ import annotations

import json
import math
import socket
import struct
from typing import Any

import numpy as np

DTYPES: dict[str, np.dtype[Any]] = {
    "float32": np.dtype("<f4"),
    "float64": np.dtype("<f8"),
    "int64": np.dtype("<i8"),
    "uint8": np.dtype("u1"),
}
REQUEST = struct.Struct("<cq")  # to a warm worker: b"f" fork a job, or b"r" reap the child of that pid
CONTROL = struct.Struct("<qqqd")  # a warm worker on its child: pid, wait status, peak resident bytes, CPU seconds
MAX_HEADER = 8 << 20
MAX_DIMENSIONS = 16
MAX_ARRAYS = 4 << 30  # bytes of all arrays of a frame
_LENGTH = struct.Struct("<I")


class WireError(Exception):
    """The other side sent something that is no frame."""


class StreamEnded(WireError):
    """The other side hung up inside a frame, as a process does that is killed."""


def send(sock: socket.socket, header: dict[str, Any], *arrays: np.ndarray) -> None:
    """Send one frame. Arrays must have a dtype of DTYPES."""
    described = [{"dtype": str(array.dtype), "shape": list(array.shape)} for array in arrays]
    text = json.dumps({**header, "arrays": described}).encode()
    sock.sendall(_LENGTH.pack(len(text)) + text)
    for array in arrays:
        data = np.ascontiguousarray(array, dtype=DTYPES[str(array.dtype)])
        sock.sendall(data.data.cast("B") if data.size else b"")


def receive(sock: socket.socket, most: int = MAX_ARRAYS) -> tuple[dict[str, Any], list[np.ndarray]] | None:
    """Receive one frame, with arrays of `most` bytes together; None when the other side has closed between frames.

    Raises:
        WireError: a malformed or oversized frame, or a stream that ends inside one.
    """
    first = _read(sock, _LENGTH.size, may_end=True)
    if first is None:
        return None
    (length,) = _LENGTH.unpack(first.tobytes())
    if length > MAX_HEADER:
        raise WireError(f"header of {length} bytes")
    text = _read(sock, length)
    assert text is not None
    try:
        header = json.loads(text.tobytes())
        described = header.pop("arrays")
        shapes = [(DTYPES[item["dtype"]], tuple(item["shape"])) for item in described]
        wrong = any(len(shape) > MAX_DIMENSIONS for _, shape in shapes)
        wrong = wrong or any(type(size) is not int or not 0 <= size < 2**40 for _, shape in shapes for size in shape)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise WireError(f"malformed header ({type(error).__name__})") from error
    if wrong or "kind" not in header:
        raise WireError("malformed header")
    sizes = [dtype.itemsize * math.prod(shape) for dtype, shape in shapes]
    if sum(sizes) > most:
        raise WireError("arrays of more bytes than expected")
    arrays = []
    for (dtype, shape), size in zip(shapes, sizes, strict=True):
        data = _read(sock, size)
        assert data is not None
        arrays.append(data.view(dtype).reshape(shape))
    return header, arrays


def _read(sock: socket.socket, size: int, may_end: bool = False) -> np.ndarray | None:
    data = np.empty(size, dtype=np.uint8)  # untouched memory: a size alone takes none
    view, done = data.data, 0
    while done < size:
        count = sock.recv_into(view[done:])
        if count == 0:
            if may_end and done == 0:
                return None
            raise StreamEnded("the stream ended inside a frame")
        done += count
    return data
