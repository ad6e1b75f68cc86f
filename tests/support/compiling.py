"""Small C sources compiled and loaded while the tests run."""

import os
import shutil
import subprocess
import sysconfig

import pytest


def compiler():
    """The command of the C compiler that built this Python, or of any that is there; None without one."""
    recorded = (sysconfig.get_config_var("CC") or "cc").split()[0]
    names = [os.environ.get("CC", "").partition(" ")[0], recorded, "cc", "gcc", "clang"]
    return next(filter(None, (shutil.which(name) for name in names if name)), None)


needs_compiler = pytest.mark.skipif(compiler() is None, reason="needs a C compiler: none of CC, cc, gcc, clang is there")


def compile_library(directory, name, source, *flags):
    """Compile `source` into a shared library in `directory`; its path."""
    file, library = directory / f"{name}.c", directory / f"{name}.so"
    file.write_text(source)
    command = [compiler(), "-std=c11", "-D_GNU_SOURCE", "-O1", "-Wall", "-Werror", "-shared", "-fPIC", *flags]
    command += ["-o", str(library), str(file)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return library
