"""Every program in examples/ runs as it is and prints what it promises."""

import importlib.util
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


def test_processes_pool():
    *lines, times = run("processes_pool")
    assert lines == [
        "submit: 7",
        "map: [2, 7, 2, 3, 2, 5, 2, 97, 2, 3]",
        "as_completed: [(91, 7), (341, 11), (997, 997)]",
        "exception: unsupported operand type(s) for %: 'complex' and 'int'",
        "raised at: return next((prime for prime in primes if number % prime == 0), number)",
        "a worker that dies breaks the pool: True",
        "6 tasks, 2 for each worker: 3 workers",
    ]
    computing, took = map(float, re.findall(r"(\d+\.\d+) s", times))
    assert 0 < computing and 0 < took


def test_processes_tools():
    assert run("processes_tools") == [
        "map: [0, 1, 4, 9, 16]",
        "imap: [0, 1, 4, 9, 16]",
        "imap_unordered: [0, 1, 4, 9, 16]",
        "starmap: [2, 7]",
        "apply_async: 49 TypeError",
        "a lambda: True",
        "fork: 144",
        "spawn: 144",
        "forkserver: 144",
        "zygote: 144",
        "value: 45",
        "array: [0, 1, 4, 9, 16, 25, 36, 49, 64, 81]",
        "queue: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]",
        "pipe: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]",
        "manager: 10 entries",
        "shared_memory: [100, 101, 102, 103, 104, 105, 106, 107, 108, 109]",
    ]


def test_shared_memory():
    lines = ["primes below 10000: 1229", "total: 4950", "a copy: b'\\x01\\x00\\x00\\x00\\x01'"]
    if importlib.util.find_spec("numpy"):
        lines += ["image: filled True inside the set True", "shared: [2, 4, 6, 8] copied: [1, 2, 3, 4]"]
    assert run("shared_memory") == lines


def test_workers_life():
    assert run("workers_life") == [
        "WARNING task 0",
        "WARNING task 1",
        "WARNING task 2",
        "results: (0, True, True) (1, True, True) (2, True, True)",
        "library threads, interrupts ignored: 1 True",
        "workers for small tasks: 1 - for large ones: 3",
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
