"""Failing allocations of the extension's own: MemoryError at most, no descriptor is lost, and the loop works on."""

import json
import os
import pathlib
import subprocess
import sys

import pytest
import support
from support import script_environment
from support.compiling import compiler, needs_compiler

FOLDER = pathlib.Path(support.__file__).resolve().parent


@needs_compiler
@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts descriptors in /proc")
@pytest.mark.skipif("asan" in os.environ.get("LD_PRELOAD", ""), reason="AddressSanitizer has an allocator of its own")
def test_failures_of_the_extensions_own_allocations(tmp_path):
    library = tmp_path / "failing_malloc.so"
    subprocess.run([compiler(), "-O2", "-shared", "-fPIC", "-o", library, FOLDER / "failing_malloc.c"], check=True)
    done = subprocess.run(
        [sys.executable, str(FOLDER / "loop_fault_program.py")],
        env=script_environment(LD_PRELOAD=str(library)), capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, f"status {done.returncode}\n{done.stdout}{done.stderr}"
    outcome = json.loads(done.stdout)
    assert len(outcome) >= 9
    assert all(one["rounds"] >= 1 for one in outcome.values())
    # these are known to need memory, so they must fail, or nothing was tested
    assert all(outcome[name]["failures"] >= 1 for name in ("soon", "timers", "new_loop")), outcome
