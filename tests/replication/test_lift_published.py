"""Every published program against its lifted self: a slow job, two minutes of one core."""

from __future__ import annotations

from pathlib import Path

from replication.configure import configure
from replication.lift import LIFTED, PARTS, lift
from replication.published import load_published


def test_published_programs_are_lifted_where_they_are_proved_to_stay_the_same(published_root: Path) -> None:
    settings = configure([f"published.root={published_root}", "published.top=106"]).bench.published
    programs = load_published(settings)
    found = [lift(program.source, 96, 4) for program in programs]
    assert len(found) == 106
    lifted = {part: sum(each.parts[part] == LIFTED for each in found) for part in PARTS}
    assert lifted["delta_rule"] >= 95
    assert lifted["filters"] >= 90
    assert lifted["moving_average"] == 5
    assert lifted["head_gate"] >= 25
    for program, each in zip(programs, found, strict=True):
        assert (each.source == program.source) == (LIFTED not in each.parts.values())
        assert all("\n" not in said and 0 < len(said) < 300 for said in each.parts.values())
