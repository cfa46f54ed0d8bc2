"""What the superuser could do, given up; nothing that is started later gains it back."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import struct

from replication.sandbox import kernel

_SET_DUMPABLE, _CAPBSET_DROP, _SET_NO_NEW_PRIVS, _CAP_AMBIENT = 4, 24, 38, 47  # PR_*
_AMBIENT_CLEAR_ALL = 4
_CAPABILITY_VERSION_3 = 0x20080522


def give_up() -> None:
    """Give up every capability, and with them root's way around file modes; close /proc/self to others.

    A program started later gains none from its file, either; Landlock and seccomp ask for that. Raises OSError.
    """
    kernel.call("prctl", _SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    for capability in range(64):
        try:
            kernel.call("prctl", _CAPBSET_DROP, capability, 0, 0, 0)
        except OSError as error:
            if error.errno in (
                errno.EINVAL,
                errno.EPERM,
            ):  # no more of them; or an ordinary user, who gains none anyway
                break
            raise
    with contextlib.suppress(OSError):  # kernels before 4.3 have none
        kernel.call("prctl", _CAP_AMBIENT, _AMBIENT_CLEAR_ALL, 0, 0, 0)
    header = ctypes.create_string_buffer(struct.pack("=Ii", _CAPABILITY_VERSION_3, 0), 8)
    none = ctypes.create_string_buffer(24)  # effective, permitted, inheritable; twice 32 bits each
    kernel.call("capset", ctypes.addressof(header), ctypes.addressof(none))
    kernel.call("prctl", _SET_DUMPABLE, 0, 0, 0, 0)
