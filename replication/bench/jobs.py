"""Child processes that prepare side by side and are timed one at a time.

A child reads its job, a line of JSON, from standard input, and answers in lines of JSON on the descriptor that its last
argument names: {"ready": true} when it wants the machine for itself, whereupon all others are stopped and it is
told so by a line; {"rows": [...]} with the results of one group of forms, which gives the machine back; or
{"too_large": true} when its batch does not fit. A child that takes too long or ends too early loses the group in
hand, and the rest is given to a new one.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from replication.environment import clean_environment

CHILD = "replication.bench.child"
TICK = 0.2  # seconds between looks at the clocks
LONGEST_LINE = 4 * 2**20
CEILINGS = "ceilings"  # the one group whose rows have names of their own
Message = dict[str, Any]


@dataclass
class Job:
    """Work for one child after another.

    groups: forms that are prepared and timed together. seconds: for each form, without the time of standing still.
    batch: in the header, halved where it is too large. pause_after: groups after which other jobs go first; 0: none.
    """

    key: str
    header: dict[str, Any]
    groups: list[list[str]]
    seconds: float
    pause_after: int = 0
    rows: list[Message] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.waiting = [list(group) for group in self.groups]

    def take(self, rows: list[Message]) -> None:
        """Note the results of the group in hand; a form that has none has crashed."""
        group = self.waiting.pop(0)
        if group == [CEILINGS]:
            self.rows += rows
            return
        told = {row.get("form"): row for row in rows}
        self.rows += [told.get(form, {"form": form, "status": "crashed", "reason": "no answer"}) for form in group]

    def lose(self, status: str, reason: str | None, *, everything: bool = False) -> None:
        """Note the group in hand, or all that is left, as without a result."""
        lost = self.waiting if everything else self.waiting[:1]
        self.rows += [{"form": form, "status": status, "reason": reason} for group in lost for form in group]
        del self.waiting[: len(lost)]

    @property
    def pauses(self) -> bool:
        """Whether others go first now."""
        return self.pause_after > 0 and len(self.groups) - len(self.waiting) == self.pause_after

    def shrink(self) -> None:
        """Start again with half of the batch, or lose what does not fit at all."""
        if self.header.get("batch", 1) <= 1:
            self.lose("out of memory", None)
            return
        self.header["batch"] //= 2
        self.waiting, self.rows = [list(group) for group in self.groups], []


class _Child:
    """A process at work on a job."""

    def __init__(self, job: Job, threads: int, more_environment: dict[str, str]) -> None:
        self.job, self.state = job, "preparing"
        self._home = tempfile.TemporaryDirectory(prefix="archaudit-bench-", ignore_cleanup_errors=True)
        self._errors = (Path(self._home.name) / "stderr").open("wb")
        self.pipe, theirs = os.pipe()
        os.set_blocking(self.pipe, False)
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", CHILD, str(theirs)],
            env=clean_environment(threads, self._home.name) | more_environment,
            cwd=self._home.name,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self._errors,
            pass_fds=[theirs],
            start_new_session=True,
        )
        os.close(theirs)
        self._text = b""
        self.say(json.dumps(job.header | {"groups": job.waiting}))
        self.restart_clock()

    def restart_clock(self) -> None:
        self.left = self.job.seconds * max(1, len(self.job.waiting[0]) if self.job.waiting else 1)

    def say(self, line: str) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(line.encode() + b"\n")
            self._process.stdin.flush()

    def messages(self) -> Iterator[Message | None]:
        """What it has said; None at the end, or where it says something else than the protocol has."""
        try:
            new = os.read(self.pipe, 2**16)
        except BlockingIOError:
            return
        self._text += new
        *lines, self._text = self._text.split(b"\n")
        for line in lines:
            try:
                message = json.loads(line)
            except ValueError:
                message = None
            yield message if isinstance(message, dict) else None
        if not new or len(self._text) > LONGEST_LINE:
            yield None

    def signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def last_words(self) -> str:
        """The last line of its error output."""
        self._errors.flush()
        lines = Path(self._errors.name).read_text(errors="replace").strip().splitlines()
        return " ".join(lines[-1].split())[:200] if lines else "it ended without a word"

    def end(self) -> None:
        self.signal(signal.SIGKILL)
        self._process.wait()
        os.close(self.pipe)
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._errors.close()
        self._home.cleanup()


def run_jobs(
    jobs: Sequence[Job],
    *,
    processes: int,
    threads: int,
    environment: dict[str, str],
    deadline: float,
    done: Callable[[Job], None],
) -> None:
    """Run jobs in their order, `processes` of them at a time.

    Args:
        threads: of each process.
        environment: variables that they get besides.
        deadline: on the monotonic clock; what is not done by then has status "not reached".
        done: called with every job once all its groups have rows.
    """
    queue, children = list(jobs), dict[int, _Child]()
    selector = selectors.DefaultSelector()
    try:
        while queue or children:
            while queue and len(children) < processes and time.monotonic() < deadline:
                job = queue.pop(0)
                if not job.waiting:
                    done(job)
                    continue
                child = _Child(job, threads, environment)
                children[child.pipe] = child
                selector.register(child.pipe, selectors.EVENT_READ)
                if any(other.state == "timed" for other in children.values()):
                    child.signal(signal.SIGSTOP)
            if time.monotonic() >= deadline:
                for job in [*(child.job for child in children.values()), *queue]:
                    job.lose("not reached", None, everything=True)
                    done(job)
                return
            _turn(selector, children, queue, done)
    finally:
        for child in children.values():
            child.end()
        selector.close()


def _turn(
    selector: selectors.BaseSelector, children: dict[int, _Child], queue: list[Job], done: Callable[[Job], None]
) -> None:
    """Wait for a moment, hear the children, and end those that are through or out of time."""
    began = time.monotonic()
    ready = [children[key.fd] for key, _ in selector.select(TICK)]
    spent = time.monotonic() - began
    timed = [child for child in children.values() if child.state == "timed"]
    for child in timed or [child for child in children.values() if child.state != "ready"]:
        child.left -= spent
    for child in list(children.values()):
        through = paused = False
        for message in child.messages() if child in ready else ():
            through = not _heard(child, message)
            paused = child.state == "between" and child.job.pauses and bool(queue)
            if through or paused:
                break
        if not through and child.left <= 0:
            child.job.lose("timed out", None)
            through = True
        if through or paused or not child.job.waiting:
            _retire(selector, children, child)
            if child.job.waiting:
                queue.insert(len(queue) if paused else 0, child.job)
            else:
                done(child.job)
    _give_the_machine(children)


def _heard(child: _Child, message: Message | None) -> bool:
    """Take a message to heart; False where the child cannot go on."""
    job = child.job
    if message is None:
        if job.waiting:
            job.lose("crashed", child.last_words())
        return False
    if message.get("too_large"):
        job.shrink()
        return False
    if message.get("ready"):
        child.state = "ready"
    elif isinstance(message.get("rows"), list) and job.waiting:
        job.take([row for row in message["rows"] if isinstance(row, dict)])
        child.state = "between"
        child.restart_clock()
    return True


def _give_the_machine(children: dict[int, _Child]) -> None:
    """To one child that is ready, if no other has it; everybody goes on where nobody has."""
    if any(child.state == "timed" for child in children.values()):
        return
    chosen = next((child for child in children.values() if child.state == "ready"), None)
    for child in children.values():
        child.signal(signal.SIGCONT if chosen is None or child is chosen else signal.SIGSTOP)
    if chosen is not None:
        chosen.state = "timed"
        chosen.say("go")


def _retire(selector: selectors.BaseSelector, children: dict[int, _Child], child: _Child) -> None:
    selector.unregister(child.pipe)
    del children[child.pipe]
    child.end()
