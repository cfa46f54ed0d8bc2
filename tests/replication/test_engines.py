from __future__ import annotations

import threading

from replication.engines import LocalEngine, WarmWorker


def test_closing_ends_a_slot_that_waits_for_another_process() -> None:
    engine: LocalEngine[int, int] = LocalEngine(1, 1)
    tried = threading.Event()

    def held_elsewhere(_worker: WarmWorker, _item: int) -> int | None:
        tried.set()
        return None

    threading.Thread(target=lambda: next(engine.map([1], held_elsewhere)), daemon=True).start()
    assert tried.wait(60)
    closing = threading.Thread(target=engine.__exit__, args=(None, None, None), daemon=True)
    closing.start()
    closing.join(60)
    assert not closing.is_alive()
