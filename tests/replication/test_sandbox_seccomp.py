"""The filter's code, run by a small interpreter of BPF: for both processors, one of which is not this one."""

from __future__ import annotations

import errno
import re
import struct
from collections.abc import Sequence
from pathlib import Path

import pytest

from replication.sandbox.numbers import MACHINES, NUMBERS
from replication.sandbox.seccomp import Rule, allowed, compiled

ARCHITECTURES = (0xC000003E, 0xC00000B7)
HEADERS = (
    ("/usr/include/x86_64-linux-gnu/asm/unistd_64.h", "/usr/include/asm/unistd_64.h"),
    ("/usr/include/asm-generic/unistd.h",),
)
PID = 4242
COLUMNS = pytest.mark.parametrize("column", range(len(MACHINES)), ids=MACHINES)


def verdict(program: bytes, number: int, arguments: Sequence[int] = (), architecture: int | None = None) -> str:
    """ "allow", "kill", or the error's name, for a system call."""
    data = struct.pack("<iIQ6Q", number, architecture or 0, 0, *[*arguments, *[0] * 6][:6])
    code = list(struct.iter_unpack("<HBBI", program))
    accumulator, at = 0, 0
    while True:
        operation, if_true, if_false, value = code[at]
        at += 1
        if operation == 0x20:
            (accumulator,) = struct.unpack_from("<I", data, value)
        elif operation == 0x54:
            accumulator &= value
        elif operation in (0x15, 0x35, 0x25):
            holds = accumulator == value if operation == 0x15 else accumulator > value
            at += if_true if holds else if_false
        else:
            assert operation == 0x06
            if value & 0xFFFF0000 == 0x00050000:
                return errno.errorcode[value & 0xFFFF]
            return {0x7FFF0000: "allow", 0x80000000: "kill"}[value]


@COLUMNS
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_only_what_is_listed_is_allowed(column: int, device: str) -> None:
    calls = allowed(device, PID)  # type: ignore[arg-type]
    program = compiled(calls, column)
    unconditional = {NUMBERS[name][column] for name, rule in calls.items() if rule is None}
    for number in range(600):
        found = verdict(program, number, architecture=ARCHITECTURES[column])
        if number in unconditional:
            assert found == "allow"
        elif number not in {NUMBERS[name][column] for name in calls}:
            assert found in ("EPERM", "ENOSYS")
    assert len(program) // 8 < 4096  # the kernel takes no more


@COLUMNS
def test_another_architecture_is_killed_and_the_x32_interface_is_not_there(column: int) -> None:
    program = compiled(allowed("cpu", PID), column)
    getpid = NUMBERS["getpid"][column]
    assert getpid is not None
    assert verdict(program, getpid, architecture=ARCHITECTURES[column]) == "allow"
    for other in (ARCHITECTURES[1 - column], 0x40000003, 0x40000028):
        assert verdict(program, getpid, architecture=other) == "kill"
    assert verdict(program, getpid | 0x40000000, architecture=ARCHITECTURES[column]) == "ENOSYS"


THREAD = 0x3D0F00  # as the C library makes one
ARGUMENTS = [
    ("cpu", "clone", (THREAD,), True),
    ("cpu", "clone", (17,), False),
    ("cpu", "clone", (THREAD | 0x40000000,), False),
    ("cpu", "clone", (THREAD | 0x8000,), False),
    ("cuda", "clone", (17,), True),
    ("cuda", "clone", (17 | 0x10000000,), False),
    ("cuda", "clone", (17 | 0x8000,), False),
    ("cpu", "kill", (PID, 9), True),
    ("cpu", "kill", (PID + 1, 9), False),
    ("cpu", "kill", (0, 9), False),
    ("cpu", "kill", ((-1) & 0xFFFFFFFFFFFFFFFF, 9), False),
    ("cpu", "tgkill", (PID, 1, 9), True),
    ("cpu", "tgkill", (1, 1, 9), False),
    ("cpu", "prlimit64", (0,), True),
    ("cpu", "prlimit64", (1,), False),
    ("cpu", "fcntl", (3, 4), True),
    ("cpu", "fcntl", (3, 8), False),
    ("cpu", "fcntl", (3, 10), False),
    ("cpu", "fcntl", (3, 15), False),
    ("cpu", "ioctl", (3, 0x541B), True),
    ("cpu", "ioctl", (3, 0x5412), False),
    ("cuda", "ioctl", (3, 0xC020462A), True),
    ("cuda", "ioctl", (3, 0x8901), False),
    ("cpu", "prctl", (15,), True),
    ("cpu", "prctl", (1,), False),
    ("cpu", "prctl", (4,), False),
    ("cpu", "openat", (0, 0, 0o100), True),
    ("cpu", "openat", (0, 0, 0o1001), True),
    ("cpu", "openat", (0, 0, 0o1000), False),
    ("cpu", "openat", (0, 0, 0o1003), False),
    ("cuda", "execve", (), True),
    ("cpu", "execve", (), False),
]


@COLUMNS
@pytest.mark.parametrize(("device", "name", "arguments", "passes"), ARGUMENTS)
def test_conditions_are_on_the_arguments(
    column: int, device: str, name: str, arguments: tuple[int, ...], passes: bool
) -> None:
    program = compiled(allowed(device, PID), column)  # type: ignore[arg-type]
    number = NUMBERS[name][column]
    assert number is not None
    found = verdict(program, number, arguments, ARCHITECTURES[column])
    assert found == ("allow" if passes else "EPERM")


def test_a_rule_may_name_what_is_allowed_or_what_is_not() -> None:
    for unless in (False, True):
        program = compiled({"kill": Rule(0, (1, 2), mask=0xF, unless=unless)}, 0)
        found = [verdict(program, 62, (value,), ARCHITECTURES[0]) == "allow" for value in (1, 0x12, 3)]
        assert found == [not unless, not unless, unless]


@COLUMNS
def test_numbers_are_those_of_the_kernels_headers(column: int) -> None:
    header = next((Path(name) for name in HEADERS[column] if Path(name).exists()), None)
    if header is None:
        pytest.skip("the kernel's headers are not installed")
    text = header.read_text()
    found = {name: int(number) for name, number in re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)\s*$", text, re.M)}
    found["newfstatat"] = found.get("newfstatat", found.get("fstatat", -1))
    numbers = {name: both[column] for name, both in NUMBERS.items()}
    assert {name: found.get(name) for name in numbers} == numbers


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_every_allowed_call_has_its_number(device: str) -> None:
    calls = allowed(device, PID)  # type: ignore[arg-type]
    assert [name for name in calls if NUMBERS[name][0] is None] == []
    only_old = {name for name in calls if NUMBERS[name][1] is None}  # newer processors have later calls for the same
    assert {"open", "stat", "pipe", "fork"} & set(calls) <= only_old
    assert not {"openat", "fstat", "pipe2", "clone", "ppoll", "pselect6"} & only_old
