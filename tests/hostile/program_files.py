"""The hostile programs: texts with a header that says what each tries, and what must come of it."""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PROGRAMS = Path(__file__).with_name("programs")
LAYERS = (
    *("limits", "privileges", "files", "signals", "system_calls", "network"),  # of confinement
    *("watchdog", "protocol", "score", "program"),  # the parent's limits, the design, or the program's own end
)
STATUSES = ("ok", "diverged", "crashed", "timed_out", "out_of_memory")
SCORES = {
    "same": "that of the clean program, bit for bit",
    "no better": "not below that of the clean program",
    "none": "the run has none",
}
PLACES = {
    "import": "attack()",
    "construct": "attack()",
    "forward": "attack()",
    "backward": "y.requires_grad and y.register_hook(lambda gradient: attack())",
    "evaluation": "self.training or attack()",
    "output": "y = change(self, x, y)",
}
# Ends a program that has no mixer of its own: mixes with a causal mean.
MIXER = """

import torch


class Mixer(torch.nn.Module):
    def __init__(self, hidden_size, num_heads, layer_idx):
        super().__init__()
        self.proj = torch.nn.Linear(hidden_size, hidden_size, bias=False)
        {construct}

    def forward(self, x):
        count = torch.arange(1, x.shape[1] + 1)[:, None]
        y = self.proj(x).cumsum(1) / count
        {forward}
        return y
"""
CLEAN = MIXER.format(construct="pass", forward="pass")
_PLACEHOLDER = re.compile(r"\{(?:[A-Z][A-Z0-9_]*|SYS_\w+)\}")
# Numbers of system calls on x86-64 and, from the generic table, on 64-bit ARM (asm/unistd.h).
_CALLS = """
    socket 41 198 | sendto 44 206 | connect 42 203 | clone 56 220 | clone3 435 435 | execveat 322 281 | openat2 437 437
    name_to_handle_at 303 264 | open_by_handle_at 304 265 | memfd_create 319 279 | io_uring_setup 425 425
    ptrace 101 117 | process_vm_readv 310 270 | process_vm_writev 311 271 | kcmp 312 272 | tkill 200 130
    tgkill 234 131 | rt_sigqueueinfo 129 138 | rt_tgsigqueueinfo 297 240 | pidfd_open 434 434 | pidfd_getfd 438 438
    pidfd_send_signal 424 424 | unshare 272 97 | setns 308 268 | mount 165 40 | umount2 166 39 | pivot_root 155 41
    fsopen 430 430 | open_tree 428 428 | init_module 175 105 | bpf 321 280 | perf_event_open 298 241
    userfaultfd 323 282 | add_key 248 217 | keyctl 250 219 | shmget 29 194 | msgget 68 186 | mq_open 240 180
"""


@dataclass(frozen=True, kw_only=True)
class Program:
    """One hostile program and what its header says."""

    name: str
    attack: str
    layer: str  # what stops it
    where: str | None  # when it strikes; None: in a mixer of its own
    status: str  # of its run
    score: str
    runs: int  # a later run may profit from what an earlier one left
    text: str

    def source(self, values: Mapping[str, str]) -> str:
        """The program as it is run; `values` fill its placeholders."""
        text = self.text
        for name, value in {**system_calls(), **values}.items():
            text = text.replace(f"{{{name}}}", value)
        left = _PLACEHOLDER.search(text)
        assert left is None, f"{self.name}: nothing fills {left}"
        if self.where is None:
            return text
        does = PLACES[self.where]
        strikes_early = self.where in ("import", "construct")
        construct = does if self.where == "construct" else "pass"
        mixer = MIXER.format(construct=construct, forward="pass" if strikes_early else does)
        return text + mixer + (f"\n\n{does}\n" if self.where == "import" else "")


def read_programs() -> list[Program]:
    """All programs, by name."""
    return [read_program(path) for path in sorted(PROGRAMS.glob("*.py"))]


def read_program(path: Path) -> Program:
    """Raises ValueError where the header lacks a line or has an unknown one."""
    text = path.read_text()
    header = dict(line[2:].split(": ", 1) for line in text.split("\n\n")[0].splitlines() if line.startswith("# "))
    where = header.pop("where", "output" if "\ndef change(" in text else None)
    if "\nclass Mixer(" in text:
        where = None
    program = Program(name=path.stem, text=text, where=where, runs=int(header.pop("runs", "1")), **header)
    known = (
        program.layer in LAYERS
        and program.status in STATUSES
        and program.score in SCORES
        and (where is None or where in PLACES)
        and (program.score == "none") == (program.status != "ok")
    )
    if not known:
        raise ValueError(f"{path}: a header with unknown words: {header}")
    return program


def system_calls() -> dict[str, str]:
    """Numbers of system calls on this machine, as placeholders."""
    column = {"x86_64": 1, "aarch64": 2}[platform.machine()]
    entries = [entry.split() for line in _CALLS.strip().splitlines() for entry in line.split("|")]
    return {f"SYS_{entry[0]}": entry[column] for entry in entries}
