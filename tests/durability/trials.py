"""One fault, and the same command again: did the session end as it should, and are the findings the same?"""

from __future__ import annotations

import dataclasses
import re
import shutil
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from tests.durability.outcome import comparable, differences, left_behind
from tests.durability.shop import Injection, Session, Shop, no_orphans

DONE, WRONG_INPUT, STOPPED, KILLED = 0, 2, 130, -9


@dataclass(frozen=True, kw_only=True)
class Row:
    """A line of the table of faults."""

    case: str
    fault: str
    moment: float  # seconds after the start
    doing: str
    last_line: str
    exit_code: int
    left: str
    continued: str  # what the same command came to afterwards; empty while not tried
    problem: str  # empty: all as it should be


@dataclass(frozen=True, kw_only=True)
class Bench:
    """A shop, and what its undisturbed session leaves.

    seconds: how long that one took. prepared: cases begin with its certificates and its corpus, which saves half of it.
    """

    shop: Shop
    expected: dict[str, bytes]
    seconds: float
    prepared: bool

    @classmethod
    def open(cls, folder: Path, steps: int, *, prepared: bool) -> Bench:
        """Runs the session that nothing disturbs."""
        shop = Shop.open(folder, steps)
        case, began = shop.case("undisturbed"), time.monotonic()
        with no_orphans():
            code, output = shop.run(case)
        assert code == DONE, output
        seconds = time.monotonic() - began
        return cls(shop=shop, expected=comparable(case / "results"), seconds=seconds, prepared=prepared)

    @property
    def undisturbed(self) -> Path:
        """Its results folder."""
        return self.shop.folder / "cases" / "undisturbed" / "results"

    def case(self, name: str) -> Path:
        """A new working directory, with what there is to begin with."""
        case = self.empty_case(name)
        self.begin(case / "results")
        return case

    def empty_case(self, name: str) -> Path:
        """A new working directory."""
        return self.shop.case(re.sub(r"[^a-z0-9.]+", "-", name.lower()))

    def finished_case(self, name: str) -> Path:
        """A new working directory with all that the undisturbed session left."""
        case = self.empty_case(name)
        shutil.copytree(self.undisturbed, case / "results", symlinks=True)
        return case

    def begin(self, results: Path) -> None:
        """Put into a results folder what there is to begin with."""
        for part in ("cache", "ledger/certificates") if self.prepared else ():
            shutil.copytree(self.undisturbed / part, results / part)

    def hurt(
        self,
        case: Path,
        fault: str,
        *injections: Injection,
        when: Callable[[Session], object] = lambda session: False,
        act: Callable[[Session], object] = lambda session: None,
        allowed: Collection[int],
        results: Path | None = None,
    ) -> Row:
        """Start the session in `case`, `act` on it as soon as `when` holds, and wait for its end.

        Args:
            allowed: exit codes that are right for this fault; 0 always is, since a session may be quicker than it.
            results: where the results can be seen from here, if not in `case`.
        """
        with no_orphans():
            session, began = self.shop.start(case, *injections), time.monotonic()
            if results is not None:
                session = dataclasses.replace(session, results=results)
            reached = session.until(lambda: when(session))
            moment, doing, last_line = time.monotonic() - began, session.stage(), session.last_line()
            if reached:
                act(session)
            code = session.wait(180)
        output = session.output()
        problem = "" if code in (DONE, *allowed) else f"exit code {code}: {session.last_line()}"
        if "Traceback" in output and code != KILLED:
            problem = f"traceback: {session.last_line()}"
        return Row(
            case=case.name,
            fault=fault,
            moment=round(moment, 2),
            doing=doing,
            last_line=(last_line if reached else session.last_line())[:160],
            exit_code=code,
            left=left_behind(session.results),
            continued="",
            problem=problem,
        )

    def go_on(self, case: Path, row: Row, *injections: Injection, results: Path | None = None) -> Row:
        """The row, completed by what the same command comes to now."""
        began = time.monotonic()
        with no_orphans():
            code, output = self.shop.run(case, *injections)
        if code != DONE or "Traceback" in output:
            problem = f"continuing ended with {code}: {output.strip().splitlines()[-1:]}"
        else:
            other = differences(comparable(results or case / "results"), self.expected)
            problem = f"other results: {', '.join(other)}" if other else ""
        told = problem or f"same findings after {time.monotonic() - began:.1f} s"
        return dataclasses.replace(row, continued=told, problem=row.problem or problem)

    def after(self, case: Path, fault: str, *, allowed: Collection[int]) -> Row:
        """The row of a fault that is there before the command starts: `allowed` are its exit codes."""
        began = time.monotonic()
        with no_orphans():
            code, output = self.shop.run(case)
        last_line = (output.strip().splitlines() or [""])[-1]
        problem = "" if code in allowed and "Traceback" not in output else f"exit code {code}: {last_line}"
        if code == DONE and not problem:
            other = differences(comparable(case / "results"), self.expected)
            problem = f"other results: {', '.join(other)}" if other else ""
        return Row(
            case=case.name,
            fault=fault,
            moment=0.0,
            doing="before the start",
            last_line=last_line[:160],
            exit_code=code,
            left=left_behind(case / "results"),
            continued=problem
            or ("same findings" if code == DONE else "said in a line") + f" after {time.monotonic() - began:.1f} s",
            problem=problem,
        )
