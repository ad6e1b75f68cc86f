"""The half of the conformance runner that lives in the interpreter under test.

    child.py list                 one JSON object on standard output: what there is to run, and whether the swap took hold
    child.py run FD ID [ID...]    runs the named tests in one process; one JSON object a line on descriptor FD

Run with bootstrap/ on PYTHONPATH, so that sitecustomize has swapped the classes by the time this starts.
TREADLE_CONFORMANCE_AREA says whether it is about "threads" or "processes".
"""

import importlib.util
import json
import os
import re
import sys
import unittest

from adapting import adapt_support
from recording import OutcomeResult
from reporting import interpreter

PACKAGE = "test.test_concurrent_futures"
METHODS = ("fork", "forkserver", "spawn")


class Area:
    """Which classes of which modules are to be run, and which of them are known to be about something else.

    `prefix`: what test ids are printed without."""

    def __init__(self, prefix, modules, wanted, others):
        self.prefix = prefix
        self.modules = modules
        self.wanted = re.compile(wanted)
        self.others = re.compile(others)


AREAS = {
    "threads": Area(
        PACKAGE + ".",
        [f"{PACKAGE}.test_{name}" for name in ("wait", "as_completed", "shutdown", "init", "thread_pool", "future")],
        r"ThreadPool\w*|FutureTests",
        r"(ProcessPool|InterpreterPool)\w*|FailingInitializerResourcesTest|BaseTestCase",
    ),
    "processes": Area(
        "test.",
        [f"{PACKAGE}.test_{name}" for name in ("wait", "as_completed", "shutdown", "init", "process_pool", "deadlock")]
        + [f"test.test_multiprocessing_{method}.test_processes" for method in METHODS],
        r"ProcessPool(Fork|Spawn)\w+|FailingInitializerResourcesTest|WithProcessesTestPool\w*",
        r"(ThreadPool|InterpreterPool)\w*|BaseTestCase|ProcessPool(Shutdown|Executor)Test|WithProcesses\w+",
    ),
}
AREA = AREAS[os.environ.get("TREADLE_CONFORMANCE_AREA", "threads")]


def import_module(name):
    return __import__(name, fromlist=["*"])


def find_tests():
    """All test ids of the area, and the names of classes that are neither wanted nor known to be others."""
    loader = unittest.TestLoader()
    found, unknown = [], []
    for module_name in filter(is_there, AREA.modules):
        shown = module_name.removeprefix(AREA.prefix)
        for name, cls in sorted(vars(import_module(module_name)).items()):
            if not (isinstance(cls, type) and issubclass(cls, unittest.TestCase)):
                continue
            if AREA.wanted.fullmatch(name):
                found += [f"{shown}.{name}.{test}" for test in loader.getTestCaseNames(cls)]
            elif not AREA.others.fullmatch(name):
                unknown.append(f"{shown}.{name}")
    return found, unknown


def is_there(module_name):
    """Whether this interpreter has a module; one may borrow test_concurrent_futures alone."""
    try:
        return importlib.util.find_spec(module_name) is not None
    except ModuleNotFoundError:
        return False


def swap_state():
    """Which module each swapped name comes from, here and in an interpreter started the way the tests start one."""
    import concurrent.futures as futures
    from concurrent.futures import _base, thread
    from test.support.script_helper import assert_python_ok

    here = {
        "ThreadPoolExecutor": futures.ThreadPoolExecutor.__module__,
        "thread.ThreadPoolExecutor": thread.ThreadPoolExecutor.__module__,
        "Future": futures.Future.__module__,
        "_base.Future": _base.Future.__module__,
        "wait": futures.wait.__module__,
        "as_completed": futures.as_completed.__module__,
    }
    name = "ThreadPoolExecutor"
    if AREA is AREAS["processes"]:
        import multiprocessing.pool
        from concurrent.futures import process

        name = "ProcessPoolExecutor"
        here["ProcessPoolExecutor"] = futures.ProcessPoolExecutor.__module__
        here["process.ProcessPoolExecutor"] = process.ProcessPoolExecutor.__module__
        here["multiprocessing.pool.Pool"] = multiprocessing.pool.Pool.__module__
    code = f"from concurrent.futures import {name} as E; print(E.__module__)"
    here["child interpreter"] = assert_python_ok("-c", code).out.decode().strip()
    return here


def describe():
    tests, unknown = find_tests()
    label, version = interpreter()
    return {
        "label": label,
        "version": version,
        "swap": swap_state(),
        "tests": tests,
        "unknown": unknown,
        "suite": os.path.dirname(import_module(AREA.modules[0]).__file__),
    }


class EventResult(OutcomeResult):
    """Sends one event when a test starts and one when it stops."""

    def __init__(self, send):
        super().__init__()
        self._send = send

    def started(self, test):
        self._send({"event": "start", "test": short_id(test)})

    def ended(self, test, outcome, detail):
        self._send({"event": "stop", "test": short_id(test), "outcome": outcome, "detail": detail})

    def around(self, outcome, detail):
        self._send({"event": "broken", "detail": f"{outcome}: {detail}"})


def short_id(test):
    return test.id().removeprefix(AREA.prefix)


def run(descriptor, ids):
    os.set_inheritable(descriptor, False)
    stream = os.fdopen(descriptor, "w", buffering=1)

    def send(event):
        stream.write(json.dumps(event) + "\n")

    suite = unittest.TestLoader().loadTestsFromNames([f"{AREA.prefix}{test}" for test in ids])
    suite(EventResult(send))
    send({"event": "finished"})


def main(argv):
    adapt_support()
    if argv[:1] == ["list"]:
        print(json.dumps(describe()))
    elif argv[:1] == ["run"] and len(argv) > 2:
        run(int(argv[1]), argv[2:])
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
