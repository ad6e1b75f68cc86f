"""A test that hangs fails its run, also one whose forked child hangs with it: see conftest.py, support/minder.py."""

import os
import pathlib
import shutil
import subprocess
import sys
import textwrap

import pytest
from support.waiting import eventually, gone

TESTS = pathlib.Path(__file__).resolve().parents[1]
HANGS = """
    import faulthandler, os, pathlib, signal

    def test_that_hangs():
        child = os.fork()
        if child == 0:
            signal.sigwait([])
        {how}
        signal.sigwait([])
"""
STUCK = "faulthandler.cancel_dump_traceback_later(); pathlib.Path('child').write_text(str(child))"
SEEN = "pathlib.Path('child').write_text(str(child))"


def run_hanging(tmp_path, how, *options):
    """Run a test that hangs; what pytest says, and the number of the child."""
    (tmp_path / "support").mkdir()
    shutil.copy(TESTS / "conftest.py", tmp_path)
    shutil.copy(TESTS / "support" / "minder.py", tmp_path / "support")
    (tmp_path / "test_one.py").write_text(textwrap.dedent(HANGS.format(how=how)))
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir=.", *options],
        cwd=tmp_path, env=dict(inherited, TREADLE_TEST_TIMEOUT="2", TREADLE_TEST_GRACE="12"),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=150,
    )  # fmt: skip
    return done, int((tmp_path / "child").read_text())


@pytest.mark.parametrize("how", [SEEN, STUCK], ids=["stacks are shown", "the watch hangs too"])
def test_under_xdist(how, tmp_path):
    pytest.importorskip("xdist", reason="is about workers of pytest-xdist")
    done, child = run_hanging(tmp_path, how, "-n1")
    assert done.returncode == 1, done.stdout
    assert "crashed while running" in done.stdout and "test_that_hangs" in done.stdout
    assert ("hangs, and is killed" in done.stdout) is (how is STUCK)
    assert eventually(lambda: gone(child))


def test_in_one_process(tmp_path):
    done, child = run_hanging(tmp_path, STUCK)
    assert done.returncode < 0 and "hangs, and is killed" in done.stdout
    assert eventually(lambda: gone(child))
