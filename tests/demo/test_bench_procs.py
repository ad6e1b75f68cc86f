"""The benchmarks of the process pool: every program does its work on every side."""

from __future__ import annotations

from pathlib import Path

import pytest

TARGETS = {
    **{"submit-result": 10, "burst": 9, "map-1": 8, "map-100": 1.5, "bytes": 10},
    **{"array-in": 8, "array": 8, "array-64": 8, "start": 1, "primes": 1.9},
    **{"start-zygote": 1, "further-worker": 1, "worker-memory": 1, "crowd": 1},
}


def test_the_rows_are_those_promised(bench) -> None:
    rows = bench.bench_procs.rows(quick=False)
    assert {row.key: row.target for row in rows} == TARGETS


@pytest.mark.parametrize("side", ["stdlib_pool", "treadle_pool", "multiprocessing_pool"])
def test_every_program_runs(bench, side: str) -> None:
    procs = bench.bench_procs
    make = getattr(procs, side)
    for run in (procs.time_submit_result, procs.time_burst, procs.time_bytes, procs.time_map(7)):
        assert run(make, 50).cost > 0
    assert procs.time_primes(make, 2).cost > 0


def test_arrays(bench) -> None:
    pytest.importorskip("numpy")
    procs = bench.bench_procs
    assert procs.time_array(1, procs.identity)(procs.treadle_pool, 2).cost > 0


def test_start(bench, monkeypatch) -> None:
    procs = bench.bench_procs
    monkeypatch.syspath_prepend(str(Path(procs.__file__).parent))  # workers import it
    assert procs.time_start(lambda: procs.treadle_pool(1, procs.SAFE_METHOD), 1).cost > 0


def test_promises(bench, monkeypatch) -> None:
    procs = bench.bench_procs
    monkeypatch.syspath_prepend(str(Path(procs.__file__).parent))
    promises = [row for row in procs.rows(quick=True) if row.baseline.name == "promise"]
    assert [row.key for row in promises] == ["start-zygote", "further-worker", "worker-memory"]
    for row in promises:
        assert row.unavailable or row.subject.run().cost > 0
    procs.stop_zygotes()
