"""Every program in examples/ runs as it is and prints what it promises."""

import pathlib
import re
import subprocess
import sys

import pytest
from support import script_environment
from support.compiling import compiler

EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "examples"


def run(name):
    """The standard output, as lines."""
    command = [sys.executable, str(EXAMPLES / f"{name}.py")]
    done = subprocess.run(command, env=script_environment(), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout.splitlines()


def test_threads_io():
    count, times, order = run("threads_io")
    assert count == "19 pages, 1 failed (13: HTTP Error 404: Not Found)"
    together, apart = map(float, re.findall(r"(\d+\.\d+) s", times)[1:])
    assert 0.2 <= together < apart == 4.0
    assert order == "in order: page 0, page 1, page 2, page 3, page 4"


def test_threads_tools():
    assert run("threads_tools") == [
        "lock: total 499500",
        "semaphore: never more than 2 inside",
        "event: before 0 after 4",
        "condition: [0, 1, 2]",
        "barrier: places [0, 1, 2, 3]",
        "local: True",
        "queue: producer done - consumed 499500",
    ]


def test_map_progress():
    assert run("map_progress") == [
        "1000 digests, in order: True",
        "first squares: [0, 1, 4, 9, 16] - taken from the input: 28",
        "unordered: complete: True - the slow one came first: False",
        "got 20",
        "got 50",
        "then ZeroDivisionError",
    ]


@pytest.mark.skipif(compiler() is None, reason="needs a C compiler")
def test_native_jobs():
    lines = run("native_jobs")
    assert lines[:3] == ["different bytes: 256 [256, 256, 256, 256]", "counted: 80000000 of 80000000", "refused: -1"]
    assert re.fullmatch(r"one part [\d.]+ s, four at once [\d.]+ s on \d+ CPUs", lines[3])


def test_asyncio_bridge():
    assert run("asyncio_bridge") == [
        "run_in_executor: [0, 1, 4, 9, 16, 25, 36, 49] at once: True",
        "default executor: True",
        "to_thread: hello ada",
        "wrap_future: 144",
        "asyncio.wrap_future: 9",
        "cancelled before it started",
        "the one that ran: True",
    ]


def test_priorities_and_context():
    assert run("priorities_and_context") == [
        "order: ['urgent', 'first come', 'first served', 'cleaning up']",
        "without: none",
        "with context=True: request 1",
        "with a context: request 2",
        "a pool with context: ['request 1', 'request 1']",
        "nested on one thread: 55",
        "jobs done: 100 - workers left: 0",
        "time in jobs is known: True",
        "all threads ended within 0.1 s: False",
        "all threads ended within 10 s: True",
    ]


def test_every_example_has_a_test():
    programs = {path.stem for path in EXAMPLES.glob("*.py")}
    assert programs
    assert {f"test_{name}" for name in programs} <= globals().keys()
    for path in EXAMPLES.glob("*.py"):
        assert "\n\nShows:" in path.read_text(), f"{path.name} does not say what it shows"


def test_event_loop():
    answers, stats = run("event_loop")
    assert re.fullmatch(r"50 clients had 1000 answers; \d+ bytes compressed", answers)
    turns, events, callbacks = map(int, re.findall(r"\d+", stats))
    assert turns > 0 and events >= 1000 and callbacks > 0
