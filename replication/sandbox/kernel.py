"""System calls that Python has no function for."""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import platform
import sys
from typing import Any

from replication.sandbox.numbers import MACHINES, NUMBERS


@functools.cache
def machine() -> int | None:
    """This machine's column of NUMBERS; None where there is none (another processor, or no Linux)."""
    name = platform.machine()
    return MACHINES.index(name) if sys.platform == "linux" and name in MACHINES else None


def call(name: str, *arguments: int) -> int:
    """Make a system call. Arguments are numbers or addresses.

    Raises:
        OSError: the kernel's error; ENOSYS where the call's number is not known.
    """
    column = machine()
    number = NUMBERS[name][column] if column is not None else None
    if number is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    result: int = _syscall()(number, *arguments, *(0,) * (6 - len(arguments)))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


@functools.cache
def _syscall() -> Any:
    """The C library's function, with six arguments as the kernel takes them."""
    function = ctypes.CDLL(None, use_errno=True).syscall
    function.restype, function.argtypes = ctypes.c_long, [ctypes.c_long] * 7
    return function
