"""Confinement of the processes that other people's code runs in: layers of the kernel's, each on or off by itself.

A forked child calls `confine` before it sees a line of such code, and tells its parent which layers are on; the parent
judges that with `checked_layers`. The layers themselves are in sandbox/.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar, get_args

from replication.sandbox import bubblewrap, cuda, landlock, libraries, namespaces, privileges, seccomp
from replication.sandbox.limits import limit
from replication.settings import InputError, require

Layer = Literal["limits", "privileges", "files", "signals", "system_calls", "network"]
LAYERS: tuple[Layer, ...] = get_args(Layer)
Result = TypeVar("Result")
_OFF = "off: "
_LONGEST_TEXT = 200  # of what a layer says about itself
_WHY = {
    errno.ENOSYS: "not in this kernel",
    errno.EOPNOTSUPP: "switched off in this kernel",
    errno.EINVAL: "not in this kernel",
    errno.EPERM: "forbidden on this machine",
    errno.ENOSPC: "used up on this machine",
}


@dataclass(frozen=True, kw_only=True)
class ContainmentSettings:
    """conf/containment/*.yaml"""

    confine: bool
    minimum: tuple[Layer, ...]  # layers without which nothing runs
    bubblewrap: Literal["auto", "always", "never"]
    threads: int  # of a process
    file_mib: float  # the largest file that a process may write
    scratch_mib: float  # all files of a job together
    open_files: int  # of a process

    def __post_init__(self) -> None:
        for field in ("threads", "file_mib", "scratch_mib", "open_files"):
            require(getattr(self, field) > 0, f"engine.containment.{field}: must be above 0")
        unconfined = "engine.containment.confine: false leaves every layer off, so none can be demanded"
        require(self.confine or not (self.minimum or self.bubblewrap == "always"), unconfined)


@dataclass(frozen=True, kw_only=True)
class Access:
    """What a process may reach: absolute paths of files, or of folders with all below them, existing or not."""

    read: tuple[str, ...]
    write: tuple[str, ...]  # read, write, create, delete and rename within
    device: Literal["cpu", "cuda"]  # cuda: the driver's files, too, and the compilers that Triton starts


def readable_libraries() -> tuple[str, ...]:
    """What every process may read: system libraries, the standard library and the packages that candidates import."""
    return libraries.readable()


def confine(access: Access, settings: ContainmentSettings, memory_bytes: int) -> dict[Layer, str]:
    """Confine this process for good. It has a single thread and has seen no untrusted code.

    Args:
        access: files and devices that it needs; where it needs none, its working folder becomes its root, and is empty.
        settings: limits; which layers must be on is for the parent to judge.
        memory_bytes: most memory besides mapped files; not on a GPU, whose driver maps far more than it uses.

    Returns:
        For each layer by what it is on, or "off: <why>". A layer that this machine lacks raises nothing.
    """
    if not settings.confine:
        return dict.fromkeys(LAYERS, f"{_OFF}engine.containment.confine is false")
    on_gpu, in_bubblewrap = access.device == "cuda", bubblewrap.VARIABLE in os.environ
    own_users, no_namespace = (None, "") if in_bubblewrap else _tried("an own network", namespaces.enter)
    limits = limit(
        memory_bytes=None if on_gpu else memory_bytes,
        file_bytes=int(settings.file_mib * 2**20),
        open_files=settings.open_files,
        threads=settings.threads if own_users else None,
    )
    rights = _rights(access)
    empty = not access.read and not access.write
    # Landlock guards contents. Asking for a name, even of nothing, leaves a trace that another process can measure.
    _, no_root = _tried("an empty root", lambda: os.chroot(".")) if empty else (None, "")
    _, no_drop = _tried("dropping privileges", privileges.give_up)
    abi, no_landlock = _tried("Landlock", lambda: landlock.restrict(rights))
    _, no_filter = _tried("seccomp", lambda: seccomp.install(access.device))

    landlocked = [] if abi is None else [f"Landlock ABI {abi}"]
    scoped = landlocked if abi is not None and abi >= landlock.SIGNALS_FROM else []
    filtered = [] if no_filter else ["seccomp filter, compilers may be started" if on_gpu else "seccomp filter"]
    outside = ["bubblewrap"] if in_bubblewrap else []
    rooted = (["names can be asked for"] if no_root else ["empty root"]) if empty and (landlocked or outside) else []
    apart = outside if own_users is None else ["user and network namespace" if own_users else "network namespace"]
    sockets = "unix sockets can be reached" if no_filter else "no sockets (seccomp)"
    return {
        "limits": limits,
        "privileges": no_drop or "no capabilities, no new privileges, not dumpable",
        "files": ", ".join([*landlocked, *outside, *rooted]) or no_landlock,
        "signals": ", ".join(scoped + filtered) or f"{no_filter}, {no_landlock or 'Landlock older than ABI 6'}",
        "system_calls": ", ".join(filtered) or no_filter,
        "network": ", ".join([*apart, sockets]) if apart or filtered else no_namespace,
    }


def checked_layers(told: object, settings: ContainmentSettings) -> dict[Layer, str]:
    """What a confined process told, checked by its parent.

    Raises:
        ValueError: it is no answer of `confine`.
        InputError: a layer that the settings demand is off.
    """
    if not isinstance(told, Mapping) or set(told) != set(LAYERS):
        raise ValueError("malformed list of layers")
    layers: dict[Layer, str] = {layer: told[layer] for layer in LAYERS}
    for text in layers.values():
        if not isinstance(text, str) or not 0 < len(text) <= _LONGEST_TEXT or not text.isprintable():
            raise ValueError("malformed text of a layer")
    off = [layer for layer in settings.minimum if not is_on(layers[layer])]
    if off:
        reasons = "; ".join(f"the layer {layer!r} is off here ({layers[layer].removeprefix(_OFF)})" for layer in off)
        raise InputError(f"engine.containment.minimum: {reasons}; nothing was run")
    return layers


def is_on(text: str) -> bool:
    """Whether a layer's text says that it is on."""
    return not text.startswith(_OFF)


def describe(layers: Mapping[str, str]) -> str:
    """The layers in one line, those that are off last."""
    ordered = sorted(layers.items(), key=lambda item: not is_on(item[1]))
    return "; ".join(f"{layer.replace('_', ' ')}: {text}" for layer, text in ordered)


def launcher(settings: ContainmentSettings, access: Access) -> list[str]:
    """The command line that comes before a warm worker's own: empty, or bubblewrap's.

    Args:
        settings: whether to use bubblewrap; "auto" is where the kernel lacks a layer that bubblewrap supplies.
        access: files and devices of all jobs of the worker together.

    Raises:
        InputError: bubblewrap is asked for and does not work here.
    """
    if settings.bubblewrap == "never" or not settings.confine:
        return []
    always = settings.bubblewrap == "always"
    if not always and not bubblewrap.kernel_lacks_a_layer():
        return []
    refusal = bubblewrap.refusal()
    if refusal is None:
        on_gpu = access.device == "cuda"
        read = (*access.read, *cuda.programs(), cuda.headers()) if on_gpu else access.read
        return bubblewrap.command(read, access.write, (*cuda.devices(), *cuda.FOLDERS) if on_gpu else ())
    require(not always, f"engine.containment.bubblewrap=always: {refusal}")
    return []


def _rights(access: Access) -> dict[str, int]:
    """Landlock's rights by path."""
    rights: dict[str, int] = {}

    def add(paths: Iterable[str], more: int) -> None:
        rights.update({path: rights.get(path, 0) | more for path in paths})

    add(libraries.listable(access.read), landlock.READ_DIR)
    add(("/dev/null", "/dev/random", "/dev/urandom", *libraries.MACHINE, *access.read), landlock.READ)
    add(("/dev/null", *access.write), landlock.READ | landlock.WRITE)
    if access.device == "cuda":
        add(cuda.devices(), landlock.READ | landlock.WRITE | landlock.IOCTL_DEV)
        add((*cuda.FOLDERS, cuda.headers()), landlock.READ)
        add(cuda.programs(), landlock.READ | landlock.EXECUTE)
    return rights


def _tried(what: str, action: Callable[[], Result]) -> tuple[Result | None, str]:
    """The action's result and an empty text, or None and why the kernel refused it."""
    try:
        return action(), ""
    except OSError as error:
        return None, f"{_OFF}{what} is {_WHY.get(error.errno or 0, error.strerror)}"
