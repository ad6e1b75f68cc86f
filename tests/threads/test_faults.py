"""Failing allocations: nothing is lost, nothing hangs, nothing crashes, and the pool works on.

support/fault_program.py runs each scenario in a process of its own while the first, the second, the third, ... allocation
fails: those that the extension makes itself (a preloaded library refuses them), and those of CPython (by _testcapi).
"""

import importlib.util
import json
import os
import pathlib
import shutil
import subprocess
import sys
import sysconfig

import pytest
import support
from support import script_environment

FOLDER = pathlib.Path(support.__file__).resolve().parent
WITH_GIL = getattr(sys, "_is_gil_enabled", lambda: True)()

SCENARIOS = [
    "submit", "submit_with_keywords", "submit_many", "priorities_and_contexts", "callbacks", "looked_into", "wait",
    "as_completed", "map_ordered", "map_buffered", "map_unordered", "map_closed", "statistics", "timeouts",
    "cancellations",
]  # fmt: skip
WITH_NEW_THREADS = ["new_pool", "new_pool_unused"]

SECONDS = 1.5  # for each scenario; most are through earlier


def run_program(*arguments, **environment):
    done = subprocess.run(
        [sys.executable, str(FOLDER / "fault_program.py"), *map(str, arguments)],
        env=script_environment(**environment), capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, f"status {done.returncode}\n{done.stdout}{done.stderr}"
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def failing_malloc(tmp_path_factory):
    """The library to preload."""
    compiler = shutil.which(os.environ.get("CC", "cc")) or shutil.which("gcc")
    if not sys.platform.startswith("linux") or compiler is None:
        pytest.skip("needs Linux and a C compiler")
    if "asan" in os.environ.get("LD_PRELOAD", ""):
        pytest.skip("AddressSanitizer has to come first among the preloaded libraries, and has an allocator of its own")
    library = tmp_path_factory.mktemp("faults") / "failing_malloc.so"
    subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", library, FOLDER / "failing_malloc.c"], check=True)
    return library


def test_the_preloaded_library_sees_the_extension(failing_malloc):
    """A scenario that is known to need memory of the extension's own: it must fail, or these tests test nothing."""
    outcome = run_program("malloc", "map_ordered", SECONDS, LD_PRELOAD=str(failing_malloc))
    assert outcome["failures"] >= 1


@pytest.mark.parametrize("scenario", SCENARIOS + WITH_NEW_THREADS)
def test_failures_of_the_extensions_own_allocations(failing_malloc, scenario):
    outcome = run_program("malloc", scenario, SECONDS, LD_PRELOAD=str(failing_malloc))
    assert outcome["rounds"] >= 1


@pytest.mark.skipif(not WITH_GIL, reason="CPython's allocator cannot be replaced safely while threads run without the GIL")
@pytest.mark.skipif(importlib.util.find_spec("_testcapi") is None, reason="this interpreter has no _testcapi")
@pytest.mark.skipif(bool(sysconfig.get_config_var("Py_DEBUG")), reason="debug builds abort on failures of their own")
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_failures_of_any_allocation(scenario):
    outcome = run_program("python", scenario, SECONDS)
    assert outcome["failures"] >= 2
