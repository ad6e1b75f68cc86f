"""tests/conformance/run_loop.py notices what it is there to notice."""

import importlib.util
import pathlib

import pytest
from support import run_script

CONFORMANCE = pathlib.Path(__file__).resolve().parents[1] / "conformance"

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("test") is None or importlib.util.find_spec("test.support") is None,
    reason="this interpreter ships without test.support",
)

PROGRAM = """
import asyncio, os, subprocess, sys, threading, time, unittest
sys.path.insert(0, sys.argv[1])
import loop_suites, run_loop

class Cases(unittest.TestCase):
    def test_passes(self):
        asyncio.run(asyncio.sleep(0))
    def test_needs_no_loop(self):
        pass
    def test_fails(self):
        asyncio.run(asyncio.sleep(0))
        self.fail("as it should")
    def test_fails_in_part_and_skips_the_rest(self):
        with self.subTest(part=1):
            self.fail("as it should")
        self.skipTest("no matter")
    def test_skips(self):
        self.skipTest("not today")
    def test_hangs(self):
        time.sleep(3600)
    def test_crashes(self):
        os.abort()
    def test_exits(self):
        os._exit(0)
    def test_leaves_at_exit(self):
        threading.Thread(target=time.sleep, args=(3600,)).start()
    def test_runs_on_another_loop(self):
        stock = asyncio.base_events.BaseEventLoop()
        stock.close()
    def test_leaves_a_child(self):
        child = subprocess.Popen(["sleep", "3600"])
        child.returncode = 0
        print("left", child.pid)

def main():
    import treadle
    counter = loop_suites.count_instances(treadle.EventLoop)
    loop_suites.install(treadle.EventLoop)
    names = unittest.defaultTestLoader.getTestCaseNames(Cases)
    work = run_loop.Work([(name, Cases, name, 2.0) for name in names], counter)
    for outcome in run_loop.run_all(work, 3):
        print(outcome.test.removeprefix("test_"), outcome.outcome, outcome.loops, outcome.detail.partition("\\n")[0])

if __name__ == "__main__":
    main()
"""


@pytest.fixture(scope="module")
def outcomes():
    lines = run_script(PROGRAM, CONFORMANCE).splitlines()
    return {name: (outcome, int(loops), detail) for name, outcome, loops, detail in (line.split(" ", 3) for line in lines)}


def test_every_test_has_an_outcome(outcomes):
    assert len(outcomes) == PROGRAM.count("def test_")


@pytest.mark.parametrize("name", ["passes", "needs_no_loop", "leaves_a_child"])
def test_passing(outcomes, name):
    assert outcomes[name][0] == "passed"
    assert outcomes[name][1] == (1 if name == "passes" else 0)


@pytest.mark.parametrize(
    ("name", "detail"),
    [
        ("fails", "Traceback"),
        ("fails_in_part_and_skips_the_rest", "test_fails_in_part"),
        ("hangs", "the process hung for 2 s"),
        ("crashes", "the process ended with status -6"),
        ("exits", "the process ended too soon"),
        ("leaves_at_exit", "the process hung for 2 s"),
        ("runs_on_another_loop", "it ran on another loop than the one under test"),
    ],
)
def test_failing(outcomes, name, detail):
    assert outcomes[name][0] == "failed"
    assert outcomes[name][2].startswith(detail)


def test_skipping(outcomes):
    assert outcomes["skips"] == ("skipped", 0, "not today")
