"""Landlock: which files a process may open, whom it may signal (linux/landlock.h). Best effort by the kernel's ABI."""

from __future__ import annotations

import ctypes
import os
import stat
import struct
from collections.abc import Mapping

from replication.sandbox import kernel

# LANDLOCK_ACCESS_FS_*; missing on purpose from WRITE: devices, sockets, pipes, and links, which could mislead others.
EXECUTE, READ_FILE, READ_DIR, IOCTL_DEV = 1 << 0, 1 << 2, 1 << 3, 1 << 15
_WRITE_FILE, _TRUNCATE = 1 << 1, 1 << 14
_REMOVE_DIR, _REMOVE_FILE, _MAKE_DIR, _MAKE_REG, _REFER = 1 << 4, 1 << 5, 1 << 7, 1 << 8, 1 << 13
READ = READ_FILE | READ_DIR
WRITE = _WRITE_FILE | _TRUNCATE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_REG | _REFER
_OF_FILES = EXECUTE | READ_FILE | _WRITE_FILE | _TRUNCATE | IOCTL_DEV  # the others are rights on folders
_FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15}  # ABI: how many there are; 16 from 5 on
_TCP = 0b11  # LANDLOCK_ACCESS_NET_BIND_TCP, CONNECT_TCP
_SCOPES = 0b11  # LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET, SIGNAL
SIGNALS_FROM = 6  # ABI
_VERSION, _PATH_BENEATH = 1, 1


def abi() -> int:
    """The kernel's version of Landlock. Raises OSError where there is none (not built in, or not enabled)."""
    return kernel.call("landlock_create_ruleset", 0, 0, _VERSION)


def restrict(rights: Mapping[str, int]) -> int:
    """Restrict this process for good to `rights` on paths and all below them; every other file is out of reach.

    Signals go to processes under the same restriction only (ABI 6), TCP nowhere (ABI 4). Needs `no new privileges`.
    A path that is not there is left out. Returns the ABI. Raises OSError.
    """
    version = abi()
    handled = (1 << _FILE_RIGHTS.get(version, 16)) - 1
    attributes = struct.pack("=Q", handled)
    if version >= 4:
        attributes += struct.pack("=Q", _TCP)
    if version >= SIGNALS_FROM:
        attributes += struct.pack("=Q", _SCOPES)
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    ruleset = kernel.call("landlock_create_ruleset", ctypes.addressof(buffer), len(attributes), 0)
    try:
        _add_rules(ruleset, {path: wanted & handled for path, wanted in rights.items()})
        kernel.call("landlock_restrict_self", ruleset, 0)
    finally:
        os.close(ruleset)
    return version


def _add_rules(ruleset: int, rights: Mapping[str, int]) -> None:
    rule = ctypes.create_string_buffer(12)  # struct landlock_path_beneath_attr
    address = ctypes.addressof(rule)
    for path, wanted in rights.items():
        try:
            descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            continue
        try:
            is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
            struct.pack_into("=Qi", rule, 0, wanted if is_folder else wanted & _OF_FILES, descriptor)
            kernel.call("landlock_add_rule", ruleset, _PATH_BENEATH, address, 0)
        finally:
            os.close(descriptor)
