"""The benchmarks of synchronisation: every program does its work on both sides."""

from __future__ import annotations

import pytest

TARGETS = {
    **{"queue": 3.0, "event": 2.5, "lock": 2.5, "free-lock": 1.0, "semaphore": 1.0},
    **{"sleep": 1.7, "timeout": 1.6, "group": 2.5},
    **{"condition": 1.0, "relay": 5.0, "relay-100": 1.0},
}


def test_the_rows_are_those_promised(bench) -> None:
    rows = {row.key: row for row in bench.bench_sync.rows(quick=False)}
    assert {key: row.target for key, row in rows.items()} == TARGETS
    assert [side.name for side in rows["lock"].sides] == ["asyncio", "uvloop", "rloop", "zuvloop", "treadle"]
    assert [side.name for side in rows["relay"].sides] == ["janus", "culsans", "treadle"]


@pytest.mark.parametrize("key", TARGETS)
def test_every_program_runs(bench, key: str) -> None:
    sides = ["treadle"] if key.startswith("relay") else ["asyncio", "treadle"]
    for side in sides:
        sample = bench.sync_programs.run(key, side, 200)
        assert sample.cost > 0 and sample.wall > 0
