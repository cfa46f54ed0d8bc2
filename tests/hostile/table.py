"""Run hostile programs confined and write a table of what came of them.

`python -m tests.hostile.table [--user] [--unconfined] [--out FOLDER] [PROGRAM ...]`, from the project's root. Writes
hostile.csv and hostile.md; the exit code is 1 where a program achieved anything. With --user, as root: once more as an
ordinary user. With --unconfined: without the kernel's layers, to see that the attacks work; aimed at canaries as they
are, they still belong on a machine that may be thrown away.
"""

from __future__ import annotations

import argparse
import csv
import getpass
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.hostile.ordinary_user import run_as_ordinary_user
from tests.hostile.program_files import Program, read_programs
from tests.hostile.stage import Outcome, stage

COLUMNS = ("user", "program", "attack", "stopped by", "expected", "status", "honest loss", "seconds", "faults")


def main() -> int:
    """Run what the command line names; all programs where it names none."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("programs", nargs="*", metavar="PROGRAM")
    parser.add_argument("--out", type=Path, default=Path("results/hostile"))
    parser.add_argument("--user", action="store_true", help="once more as an ordinary user (needs root)")
    parser.add_argument("--unconfined", action="store_true", help="with containment=off")
    given = parser.parse_args()
    programs = [program for program in read_programs() if not given.programs or program.name in given.programs]
    rows = list(measured(programs, confine=not given.unconfined))
    if given.user:
        rows += measured_as_ordinary_user(programs)
    given.out.mkdir(parents=True, exist_ok=True)
    write_table(rows, given.out)
    return int(any(row["faults"] for row in rows))


def measured_as_ordinary_user(programs: Iterable[Program]) -> list[dict[str, str]]:
    """Rows of the table, by a process that has given root up."""
    names = [program.name for program in programs]
    with tempfile.TemporaryDirectory(prefix="archaudit-user-") as folder:
        run_as_ordinary_user(["tests.hostile.table", "--out", folder, *names], Path(folder))
        with (Path(folder) / "hostile.csv").open(newline="") as file:
            return list(csv.DictReader(file))


def measured(programs: Iterable[Program], confine: bool) -> Iterator[dict[str, str]]:
    """Rows of the table, one a program, printed as they come."""
    with stage(confine) as place:
        for program in programs:
            row = _row(place.run(program))
            print(
                " | ".join(row[column] for column in ("program", "status", "honest loss", "seconds", "faults")),
                flush=True,
            )
            yield row


def _row(outcome: Outcome) -> dict[str, str]:
    program = outcome.program
    values = (
        *(getpass.getuser(), program.name, program.attack, program.layer, program.status),
        *(outcome.status, "" if outcome.honest_loss is None else f"{outcome.honest_loss:.4f}"),
        *(f"{outcome.seconds:.2f}", "; ".join(outcome.faults)),
    )
    return dict(zip(COLUMNS, values, strict=True))


def write_table(rows: list[dict[str, str]], folder: Path) -> None:
    """Write hostile.csv and hostile.md."""
    with (folder / "hostile.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    lines = [" | ".join(COLUMNS), " | ".join("---" for _ in COLUMNS)]
    lines += [" | ".join(row[column].replace("|", "\\|") for column in COLUMNS) for row in rows]
    (folder / "hostile.md").write_text("".join(f"| {line} |\n" for line in lines))


if __name__ == "__main__":
    sys.exit(main())
