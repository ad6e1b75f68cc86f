"""Programs run in an interpreter of their own, for what cannot be tested from inside: exit, signals, fork, crashes."""

import os
import pathlib
import subprocess
import sys
import textwrap

TESTS = pathlib.Path(__file__).resolve().parent.parent


def script_environment(**extra):
    """The environment for a child interpreter that must find the same treadle and these helpers."""
    path = [str(TESTS), *(entry for entry in sys.path if entry and os.path.isdir(entry) and has_package(entry))]
    return dict(os.environ, PYTHONPATH=os.pathsep.join(path), PYTHONFAULTHANDLER="1", **extra)


def has_package(entry):
    return os.path.isfile(os.path.join(entry, "treadle", "__init__.py"))


def run_script(source, *arguments, limit=60.0, status=0, options=(), **environment):
    """Run `source`; its standard output. Fails on a hang, on another exit status than `status`, and on stray errors.

    `status` None accepts any but a death by a signal; with a status other than 0, (standard output, standard error)."""
    command = [sys.executable, *options, "-c", textwrap.dedent(source), *map(str, arguments)]
    try:
        done = subprocess.run(
            command, env=script_environment(**environment), capture_output=True, text=True, timeout=limit
        )
    except subprocess.TimeoutExpired as error:
        stdout, stderr = ((stream or b"").decode(errors="replace") for stream in (error.stdout, error.stderr))
        raise AssertionError(f"the script hangs\n--- stdout\n{stdout}\n--- stderr\n{stderr}") from None
    report = f"status {done.returncode}\n--- stdout\n{done.stdout}\n--- stderr\n{done.stderr}"
    assert done.returncode >= 0 if status is None else done.returncode == status, report
    if status == 0:
        assert not done.stderr.strip(), report
        return done.stdout
    return done.stdout, done.stderr
