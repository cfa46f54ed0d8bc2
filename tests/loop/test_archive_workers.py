"""Workers are killed at random moments: no experiment is lost or stored twice, on either database."""

from __future__ import annotations

import os
import pickle
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from loop.archive import Archive
from loop.records import Reply

SEARCH = {"seed": 1}
MOST, PARALLEL, WORKERS, KILLS = 200, 8, 4, 6
WORK = f"""
import pickle, sys, time
from dataclasses import replace
from pathlib import Path
from loop.archive import Archive

url, name, file = sys.argv[1:]
experiment, reply = pickle.loads(Path(file).read_bytes())
archive = Archive.open(url, {SEARCH})
archive.enter(name, 3600.0)
while not archive.finished({MOST}):
    number = archive.claim({MOST}, {PARALLEL})
    if number is None:
        time.sleep(0.01)
        continue
    seen = [one.number for one in archive.upto(number - {PARALLEL})]
    assert seen == list(range(max(0, number - {PARALLEL} + 1))), seen
    if archive.call(number, 0) is None:
        archive.store_call(number, 0, f"hash {{number}}", "propose", reply)
    assert archive.finish(number, replace(experiment, number=number))
archive.leave()
"""
HOLD = f"""
import sys
from loop.archive import Archive

archive = Archive.open(sys.argv[1], {SEARCH})
archive.enter("held", 3600.0)
print(archive.claim(9, 1), flush=True)
sys.stdin.read()
"""
ROOT = Path(__file__).parents[2]
REPLY = Reply(
    content={"code": "class Mixer: ..."},
    error="",
    prompt="Propose.",
    text="",
    model="some-model",
    parameters={},
    prompt_tokens=100,
    completion_tokens=10,
    cost=0.25,
    seconds=1.0,
)


def test_a_claim_is_held_while_its_process_lives_and_free_once_it_is_killed(archive_url: str) -> None:
    archive = Archive.open(archive_url, SEARCH)
    archive.enter("w", 3600.0)
    command = [sys.executable, "-c", HOLD, archive_url]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "0\n"
        assert archive.claim(9, 1) is None
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # its parent has not asked for it: a zombie
        assert archive.claim(9, 1) == 0


def test_workers_that_are_killed_lose_and_double_nothing(archive_url: str, tmp_path: Path, experiment: Any) -> None:
    file = tmp_path / "records.pickle"
    file.write_bytes(pickle.dumps((experiment(0), REPLY)))
    archive, draws, kills = Archive.open(archive_url, SEARCH), random.Random(0), 0

    def start(name: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", WORK, archive_url, name, str(file)], cwd=ROOT)

    workers = {str(name): start(str(name)) for name in range(WORKERS)}
    try:
        while any(process.poll() is None for process in workers.values()):
            time.sleep(draws.uniform(0.02, 0.1))
            name = draws.choice(sorted(workers))
            if kills < KILLS and archive.spent().experiments > kills * MOST // 10 and workers[name].poll() is None:
                workers[name].send_signal(signal.SIGKILL)
                workers[name].wait()
                workers[name] = start(name)  # under the name of the dead
                kills += 1
    finally:
        for process in workers.values():
            process.kill()
            process.wait()
    assert [process.returncode for process in workers.values()] == [0] * WORKERS
    assert kills == KILLS
    assert archive.finished(MOST)
    assert [one.number for one in archive.upto(MOST)] == list(range(MOST))
    engine = sa.create_engine(archive_url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        tries = connection.execute(sa.text("SELECT tries FROM claims")).scalars().all()
        calls = connection.execute(sa.text("SELECT number, cost FROM calls ORDER BY number")).all()
    assert len(tries) == MOST
    assert MOST <= sum(tries) <= MOST + kills  # a kill costs one experiment in progress at most
    assert [tuple(call) for call in calls] == [(number, 0.25) for number in range(MOST)]
