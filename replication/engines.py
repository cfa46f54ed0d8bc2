"""Engines: where jobs run. For now: local worker processes, one warm worker a slot."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import Empty, Queue
from typing import Generic, TypeVar

from replication.processes import EngineSettings, Stopped, WarmWorker, WorkerEnded
from replication.settings import InputError
from replication.watchdog import POLL_SECONDS

RESTARTS = 3  # of a worker that somebody kills again and again
Item = TypeVar("Item")
Result = TypeVar("Result")


class LocalEngine(Generic[Item, Result]):
    """Runs items on `slots` warm workers. A context manager: leaving it kills what still runs."""

    def __init__(self, slots: int, settings: EngineSettings) -> None:
        self._workers = [WarmWorker(settings) for _ in range(slots)]
        self._pool = ThreadPoolExecutor(slots)

    def __enter__(self) -> LocalEngine[Item, Result]:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.close()
        self._pool.shutdown()

    def map(
        self, items: Sequence[Item], work: Callable[[WarmWorker, Item], Result | None]
    ) -> Iterator[tuple[Item, Result]]:
        """Yield (item, result) as results come. An item for which `work` returns None is tried again later."""
        waiting = deque(items)
        results: Queue[tuple[Item, Result]] = Queue()
        slots = [self._pool.submit(_serve_slot, worker, waiting, work, results) for worker in self._workers]
        done = 0
        while done < len(items):
            try:
                result = results.get(timeout=POLL_SECONDS)
            except Empty:
                for slot in slots:
                    if slot.done():
                        slot.result()  # raises what ended the slot
                continue
            done += 1
            yield result


def _serve_slot(
    worker: WarmWorker,
    waiting: deque[Item],
    work: Callable[[WarmWorker, Item], Result | None],
    results: Queue[tuple[Item, Result]],
) -> None:
    restarts = 0
    while True:
        try:
            item = waiting.popleft()
        except IndexError:
            return
        try:
            result = work(worker, item)
        except Stopped:
            return
        except WorkerEnded as ended:
            if restarts == RESTARTS:
                raise InputError(f"{ended}, {restarts + 1} times: is this machine out of memory?") from ended
            restarts += 1
            waiting.appendleft(item)
            try:
                worker.restart()
            except Stopped:
                return
            continue
        restarts = 0
        if result is None:
            if worker.stopping:
                return
            waiting.append(item)
            time.sleep(POLL_SECONDS)
        else:
            results.put((item, result))
