"""What the tests of the demo and the benchmarks share."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(scope="session")
def bench() -> SimpleNamespace:
    """The modules of benchmarks/, which is a directory of programs and not a package."""
    names = (
        *("units", "harness", "matrix", "report", "plot", "native_job", "memory_of_queue"),
        *(
            "ccompiler",
            "resident",
            "loops",
            "loop_programs",
            "echo_servers",
            "traffic",
            "bench_threads",
            "bench_loop",
            "bench_procs",
            "bench_sync",
            "sync_programs",
            "run",
            "figures",
        ),
    )
    if not BENCHMARKS.is_dir():
        pytest.skip("benchmarks/ is not there: tests run away from the sources")
    sys.path.insert(0, str(BENCHMARKS))
    try:
        return SimpleNamespace(**{name: importlib.import_module(name) for name in names})
    finally:
        sys.path.remove(str(BENCHMARKS))
