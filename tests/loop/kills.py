"""`kill -9` of whole searches at random moments: what they come to must be what an undisturbed one comes to.

    python -m tests.loop.kills --kills 50 --out FOLDER

starts `python -m loop`, kills it a random time after it began to start, to measure baselines or to experiment, and
starts it again, until it ends or was killed CHAIN times; then the next search, until there were enough kills. Prints a
row a kill and a table of the moments; ends with exit code 1 where an experiment was lost, doubled or changed, or a
process was left behind.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.durability.shop import no_orphans
from tests.loop.searches import dump, overrides, run, start, write_texts

SHORTEST, CHAIN = 0.5, 5  # seconds until a kill; kills of one search, so that it comes to its end
STAGES = {"summarise": "proposing", "judge": "analysing", "analyse": "analysing"}  # by the last answer


@dataclass(frozen=True)
class Kill:
    """What a search was at when it was killed, and how many of its experiments were done."""

    seed: int
    after: float
    stage: str
    done: int


def moment(archive: Path, results: Path, baselines: int, pid: int) -> tuple[str, int]:
    """What a process was at, as the archive and the ledger tell, and the number of experiments that are done."""
    try:
        with contextlib.closing(sqlite3.connect(f"file:{archive}?mode=ro", uri=True)) as connection:
            done = connection.execute("SELECT count(*) FROM experiments").fetchone()[0]
            measured = connection.execute("SELECT count(*) FROM baselines").fetchone()[0]
            workers = connection.execute("SELECT token, document FROM workers").fetchall()
            own = [token for token, document in workers if json.loads(document)["pid"] == pid]
            claimed = "SELECT min(number) FROM claims WHERE worker = ?"
            held = connection.execute(claimed, (own[0] if own else "",)).fetchone()[0]
            last = "SELECT purpose FROM calls WHERE number = ? ORDER BY turn DESC LIMIT 1"
            purpose = connection.execute(last, (held,)).fetchone()
    except sqlite3.Error:
        return "starting", 0
    if not own or (held is None and measured == baselines):
        return "starting", done
    if held is None:
        return "baselines", done
    trains = any(path.is_dir() for path in (results / "ledger" / "work").iterdir())
    checking = "training" if trains else "certificate"
    return STAGES.get(purpose[0], checking) if purpose else "proposing", done


@dataclass(frozen=True, kw_only=True)
class Trial:
    """Searches of the same settings and different seeds below one folder."""

    folder: Path
    experiments: int
    baselines: int
    longest: float  # seconds until a kill

    def settings(self, name: str, seed: int) -> list[str]:
        """A search with a ledger of its own, two experiments at a time."""
        texts = write_texts(self.folder / "texts")
        more = (f"seed={seed}", f"budget.experiments={self.experiments}", "workers=2")
        return overrides(texts, self.folder / name, self.folder / f"{name}.sqlite", *more)

    def undisturbed(self, seed: int) -> str:
        """The dump of a search that is left alone."""
        settings = self.settings(f"whole-{seed}", seed)
        code, output = run(settings, seconds=1800)
        assert code == 0, output
        return dump(settings)

    def killed(self, name: str, seed: int, draw: random.Random, most: int) -> Iterator[Kill]:
        """Kill a search up to `most` times; ends where it does, or else is left alone at last."""
        settings = self.settings(name, seed)
        for _ in range(most):
            begun = draw.choices(["process", "baselines", "experiments"], [1, 1, 4])[0]
            after = draw.uniform(SHORTEST, self.longest)
            with start(settings) as process:
                while process.poll() is None and not self._has(name, process.pid, begun):
                    time.sleep(0.05)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.communicate(timeout=after)
                    assert process.returncode == 0
                    return
                process.send_signal(signal.SIGKILL)
            yield Kill(seed, after, *self._moment(name, process.pid))
        code, output = run(settings, seconds=1800)
        assert code == 0, output

    def _moment(self, name: str, pid: int) -> tuple[str, int]:
        return moment(self.folder / f"{name}.sqlite", self.folder / name, self.baselines, pid)

    def _has(self, name: str, pid: int, begun: str) -> bool:
        before = {"process": [], "baselines": ["starting"], "experiments": ["starting", "baselines"]}
        return self._moment(name, pid)[0] not in before[begun]

    def differences(self, name: str, seed: int, whole: str, kills: int) -> list[str]:
        """What became of the killed search that should not have."""
        found = dump(self.settings(name, seed))
        numbers = [line["experiment"]["number"] for line in map(json.loads, found.splitlines()) if "experiment" in line]
        with contextlib.closing(sqlite3.connect(self.folder / f"{name}.sqlite")) as connection:
            tries = connection.execute("SELECT sum(tries) FROM claims").fetchone()[0]
        wrong = {
            "experiments lost or doubled": numbers != list(range(self.experiments)),
            f"{tries} tries of {self.experiments} experiments with {kills} kills": tries > self.experiments + 2 * kills,
            "another content than without kills": found != whole,
        }
        return [f"{name}: {what}" for what, is_so in wrong.items() if is_so]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--experiments", type=int, default=12, help="of a search")
    parser.add_argument(
        "--longest", type=float, default=12.0, help="seconds of work until a kill; more on slow machines"
    )
    parser.add_argument("--seeds", type=int, default=2, help="of searches, in turn")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    trial = Trial(folder=given.out.resolve(), experiments=given.experiments, baselines=4, longest=given.longest)
    draw, rows, wrong = random.Random(given.seed), list[Kill](), list[str]()
    whole = {seed: trial.undisturbed(seed) for seed in range(given.seeds)}
    searches = 0
    while len(rows) < given.kills:
        seed, name, before = searches % given.seeds, f"killed-{searches}", len(rows)
        searches += 1
        with no_orphans():
            for row in trial.killed(name, seed, draw, min(CHAIN, given.kills - before)):
                rows.append(row)
                print(
                    f"kill {len(rows):3}: search {name}, after {row.after:4.1f} s, {row.stage}, {row.done} done",
                    flush=True,
                )
        wrong += trial.differences(name, seed, whole[seed], len(rows) - before)
    print(f"{len(rows)} kills of {searches} searches of {given.experiments} experiments")
    for stage, count in sorted(Counter(row.stage for row in rows).items()):
        print(f"  {stage}: {count}")
    print(*(wrong or ["nothing lost, doubled or changed, no process left over"]), sep="\n")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
