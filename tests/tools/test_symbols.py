"""The extension exports its init function and nothing else: no name of ours can clash with another library's."""

import shutil
import subprocess

import pytest

from treadle import _native


@pytest.mark.skipif(shutil.which("nm") is None, reason="exported symbols are listed with nm (binutils)")
def test_only_the_init_function_is_exported():
    done = subprocess.run(
        ["nm", "-D", "--defined-only", _native.__file__], capture_output=True, text=True, check=True
    )
    exported = {line.split()[-1] for line in done.stdout.splitlines()}
    # Sanitizers and coverage add names of their own.
    assert {name for name in exported if not name.startswith("__")} == {"PyInit__native"}
