"""Failing allocations: a MemoryError that somebody hears of at most, nothing scheduled is lost, and the loop works on."""

import json
import os
import pathlib
import subprocess
import sys
import sysconfig

import pytest
import support
from support import script_environment
from support.compiling import compiler, needs_compiler

FOLDER = pathlib.Path(support.__file__).resolve().parent
HEADERS = sysconfig.get_path("include")

pytestmark = [
    needs_compiler,
    pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts descriptors in /proc"),
]


def compile_helper(name, folder, *flags):
    library = folder / f"{name}.so"
    command = [compiler(), "-O2", "-shared", "-fPIC", *flags, "-o", str(library), str(FOLDER / f"{name}.c")]
    subprocess.run(command, check=True)
    return str(library)


def run_rounds(*arguments, **environment):
    done = subprocess.run(
        [sys.executable, str(FOLDER / "loop_fault_program.py"), *arguments],
        env=script_environment(**environment), capture_output=True, text=True, timeout=150,
    )  # fmt: skip
    assert done.returncode == 0, f"status {done.returncode}\n{done.stdout}{done.stderr}"
    outcome = json.loads(done.stdout)
    assert len(outcome) >= 12
    assert all(one["rounds"] >= 1 for one in outcome.values())
    return outcome


@pytest.mark.skipif("asan" in os.environ.get("LD_PRELOAD", ""), reason="AddressSanitizer has an allocator of its own")
def test_failures_of_the_extensions_own_allocations(tmp_path):
    library = compile_helper("failing_malloc", tmp_path)
    outcome = run_rounds("malloc", LD_PRELOAD=library)
    # these are known to need memory, so they must fail, or nothing was tested
    assert all(outcome[name]["failures"] >= 1 for name in ("soon", "timers", "threadsafe", "new_loop")), outcome


@pytest.mark.skipif(not os.path.exists(os.path.join(HEADERS, "Python.h")), reason="needs CPython's headers")
def test_failures_of_what_cpython_allocates_for_the_extension(tmp_path):
    library = compile_helper("failing_pymem", tmp_path, "-D_GNU_SOURCE", f"-I{HEADERS}", "-ldl")
    outcome = run_rounds("python", library)
    assert all(one["failures"] >= 1 for one in outcome.values()), outcome
