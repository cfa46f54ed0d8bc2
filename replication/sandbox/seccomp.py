"""The seccomp filter: an allow-list of system calls. What it does not name fails with EPERM.

Terms and structures are those of linux/seccomp.h and linux/filter.h (classic BPF).
"""

from __future__ import annotations

import ctypes
import errno
import struct
from dataclasses import dataclass
from typing import Literal

from replication.sandbox import kernel
from replication.sandbox.numbers import NUMBERS

_ARCHITECTURES = (0xC000003E, 0xC00000B7)  # AUDIT_ARCH_X86_64, AUDIT_ARCH_AARCH64: the columns of NUMBERS
_NEWEST = 470  # a later call than these kernels have, or one of the x32 interface (numbers from 0x40000000 on)

_LOAD, _AND, _RETURN = 0x20, 0x54, 0x06  # BPF_LD|W|ABS, BPF_ALU|AND|K, BPF_RET|K
_EQUAL, _GREATER = 0x15, 0x25  # BPF_JMP|JEQ|K, BPF_JMP|JGT|K
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data
_ALLOW, _KILL, _FAIL = 0x7FFF0000, 0x80000000, 0x00050000
_SET_MODE_FILTER, _TSYNC = 1, 1

# Landlock judges files by path. Missing on purpose, as it does not see them, or not on every kernel: chmod, chown,
# utime, xattr, inotify, truncate (ftruncate needs a file that was opened for writing); links and special files, too.
_FILES = """
    access close close_range copy_file_range dup dup2 dup3 faccessat faccessat2 fdatasync
    fstat fstatfs fsync ftruncate getcwd getdents64 lseek lstat mkdir mkdirat newfstatat pread64 preadv
    pwrite64 pwritev read readlink readlinkat readv rename renameat renameat2 rmdir sendfile stat statfs
    statx sync_file_range umask unlink unlinkat write writev
"""
_MEMORY = "brk get_mempolicy mbind membarrier mprotect mremap msync munmap set_mempolicy"
_THREADS = """
    exit exit_group futex futex_waitv getcpu gettid restart_syscall rseq sched_get_priority_max sched_get_priority_min
    sched_getaffinity sched_getparam sched_getscheduler sched_yield set_robust_list set_tid_address wait4 waitid
"""
_SIGNALS = """
    alarm getitimer pause rt_sigaction rt_sigpending rt_sigprocmask rt_sigreturn rt_sigsuspend rt_sigtimedwait
    setitimer sigaltstack
"""
_TIME = "clock_getres clock_gettime clock_nanosleep gettimeofday nanosleep time times"
_WAITING = """
    epoll_create epoll_create1 epoll_ctl epoll_pwait epoll_pwait2 epoll_wait eventfd2 pipe pipe2 poll ppoll pselect6
    select
"""
_INHERITED_SOCKET = "getpeername getsockname getsockopt recvfrom recvmsg sendmsg sendto shutdown"
_QUERIES = """
    capget getegid geteuid getgid getgroups getpgid getpgrp getpid getppid getrandom getresgid getresuid getrlimit
    getrusage getsid getuid setrlimit sysinfo uname
"""
_PLAIN = " ".join((_FILES, _MEMORY, _THREADS, _SIGNALS, _TIME, _WAITING, _INHERITED_SOCKET, _QUERIES)).split()
# The CUDA driver pins memory; Triton starts a compiler and an assembler, the only programs that Landlock lets it start.
_CUDA = ("execve", "fork", "memfd_create", "mlock", "munlock", "vfork")
_NOT_HERE = ("clone3",)  # ENOSYS: the C library then uses clone, whose flags a filter can see


@dataclass(frozen=True)
class Rule:
    """A condition on an argument: (argument & mask) is, or is not, one of `values`. Only its lower 32 bits count."""

    argument: int
    values: tuple[int, ...]
    mask: int = 0xFFFFFFFF
    unless: bool = False


def allowed(device: Literal["cpu", "cuda"], pid: int) -> dict[str, Rule | None]:
    """System calls that a process may make, with a condition on an argument or none.

    Args:
        device: where it computes.
        pid: its own number, the only one that it may name.
    """
    calls: dict[str, Rule | None] = dict.fromkeys(_PLAIN)
    # before Linux 6.2 Landlock does not see O_TRUNC: only where the file is opened for writing, which it does see;
    # and no folder shows a file made with O_TMPFILE
    nameless = tuple(0o20000000 | flags for flags in (1, 2, 0o1001, 0o1002))
    truncates = Rule(1, (0o1000, 0o1003, *nameless), mask=0o20001003, unless=True)
    calls |= {
        "open": truncates,
        "openat": Rule(2, truncates.values, truncates.mask, unless=True),
        # pages of MAP_SHARED | MAP_ANONYMOUS stay after MADV_DONTNEED, and count for no process then
        "mmap": Rule(3, (0x21,), mask=0x21, unless=True),
        "madvise": Rule(2, (3, 4, 8, 14, 15, 16, 17)),  # WILLNEED, DONTNEED, FREE, (NO)HUGEPAGE, DONTDUMP, DODUMP
        "kill": Rule(0, (pid,)),
        "tgkill": Rule(0, (pid,)),
        "prlimit64": Rule(0, (0, pid)),
        "sched_setaffinity": Rule(0, (0, pid)),
        "fcntl": Rule(1, _FCNTL),
        "prctl": Rule(0, _PRCTL),
        "arch_prctl": Rule(0, (0x1002, 0x1021, 0x1022, 0x1023)),  # ARCH_SET_FS of a thread; the matrix unit (XCOMP)
    }
    if device == "cuda":
        calls |= dict.fromkeys(_CUDA)
        calls |= {"clone": Rule(0, (0,), mask=_NAMESPACES | _STRANGE), "ioctl": Rule(1, _FORBIDDEN_IOCTLS, unless=True)}
    else:
        mask = _NAMESPACES | _STRANGE | _CLONE_THREAD
        calls |= {"clone": Rule(0, (_CLONE_THREAD,), mask=mask), "ioctl": Rule(1, _IOCTLS)}
    return calls


_CLONE_THREAD = 0x00010000
_NAMESPACES = 0x7E020000  # CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET
_STRANGE = 0x0000A000  # CLONE_PTRACE, CLONE_PARENT
# F_DUPFD to F_SETFL, F_DUPFD_CLOEXEC, F_GETPIPE_SZ, F_ADD_SEALS, F_GET_SEALS. Missing on purpose: F_SETOWN and its kin,
# which make the kernel send signals, and locks, by which two processes with one file could talk (so flock, too).
_FCNTL = (*range(5), 1030, 1032, 1033, 1034)
# PR_GET_PDEATHSIG, GET_DUMPABLE, SET_NAME, GET_NAME, GET_SECCOMP, CAPBSET_READ, SET_NO_NEW_PRIVS, GET_NO_NEW_PRIVS,
# GET_THP_DISABLE, SVE_GET_VL, GET_TAGGED_ADDR_CTRL, SME_GET_VL, SET_VMA.
_PRCTL = (2, 3, 15, 16, 21, 23, 38, 39, 42, 51, 56, 64, 0x53564D41)
_IOCTLS = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)  # TCGETS, TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX
# The driver's requests are many and unlisted, so here those that send signals or write to a terminal:
# TIOCSCTTY, TIOCSPGRP, TIOCSTI, TIOCLINUX, TIOCNOTTY, FIOASYNC, FIOSETOWN, SIOCSPGRP.
_FORBIDDEN_IOCTLS = (0x540E, 0x5410, 0x5412, 0x541C, 0x5422, 0x5452, 0x8901, 0x8902)


def install(device: Literal["cpu", "cuda"]) -> None:
    """Put this process, with all its threads, under the filter for good. Needs `no new privileges`. Raises OSError."""
    column = kernel.machine()
    if column is None:
        raise OSError(errno.ENOSYS, "no table of system calls for this processor")
    program = compiled(allowed(device, kernel.call("getpid")), column)
    buffer = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("@HP", len(program) // 8, ctypes.addressof(buffer))
    pointer = ctypes.create_string_buffer(header, len(header))
    if kernel.call("seccomp", _SET_MODE_FILTER, _TSYNC, ctypes.addressof(pointer)) != 0:
        raise OSError(errno.ESRCH, "a thread could not be put under the filter")


def compiled(calls: dict[str, Rule | None], column: int) -> bytes:
    """The filter as BPF code for the machine of that column of NUMBERS."""
    code = [
        *(_code(_LOAD, _ARCHITECTURE), _code(_EQUAL, _ARCHITECTURES[column], 1, 0), _code(_RETURN, _KILL)),
        *(_code(_LOAD, _NUMBER), _code(_GREATER, _NEWEST, 0, 1), _code(_RETURN, _FAIL | errno.ENOSYS)),
    ]
    conditional = []
    for name, rule in calls.items():
        number = NUMBERS[name][column]
        if number is None:
            continue
        if rule is None:
            code += [_code(_EQUAL, number, 0, 1), _code(_RETURN, _ALLOW)]
        else:
            body = _checked(rule)
            conditional += [_code(_EQUAL, number, 0, len(body)), *body]
    code += conditional
    for name in _NOT_HERE:
        number = NUMBERS[name][column]
        assert number is not None
        code += [_code(_EQUAL, number, 0, 1), _code(_RETURN, _FAIL | errno.ENOSYS)]
    return b"".join([*code, _code(_RETURN, _FAIL | errno.EPERM)])


def _checked(rule: Rule) -> list[bytes]:
    """Code that ends a call for which `rule` is there."""
    found, otherwise = _ALLOW, _FAIL | errno.EPERM
    if rule.unless:
        found, otherwise = otherwise, found
    tests = [piece for value in rule.values for piece in (_code(_EQUAL, value, 0, 1), _code(_RETURN, found))]
    load = [_code(_LOAD, _ARGUMENTS + 8 * rule.argument), _code(_AND, rule.mask)]
    return [*load, *tests, _code(_RETURN, otherwise)]


def _code(operation: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    """A struct sock_filter; jumps count instructions."""
    return struct.pack("<HBBI", operation, if_true, if_false, value)
