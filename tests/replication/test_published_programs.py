from __future__ import annotations

from pathlib import Path

from replication.configure import configure
from replication.published import load_published


def test_every_published_program_trains_a_step_and_is_scored(rig, published_root: Path) -> None:
    settings = configure([f"published.root={published_root}", "published.top=106"]).bench.published
    programs = load_published(settings)
    failures, notes = {}, set()
    for program in programs:
        record, _ = rig.measure(program.source, steps=1, hidden_size=32, sequence_length=40)
        notes |= set(record.notes)
        if record.status != "ok":
            failures[program.origin] = f"{record.status}: {record.error}"
    assert failures == {}
    assert len(programs) == 106
    assert {"fla: stand-ins", "torch.compile decorators run eagerly"} < notes
