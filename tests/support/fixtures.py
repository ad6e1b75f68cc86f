"""Fixtures of the Python tests; a conftest.py makes them available with `from support.fixtures import *`."""

import faulthandler
import sys
import threading

import pytest
from _pytest.faulthandler import fault_handler_stderr_fd_key

from support.implementations import IMPLEMENTATIONS, treadle
from support.waiting import Gate, eventually

__all__ = ["clean_threads", "gate", "impl", "make_pool", "make_native_pool", "native", "watchdog"]

HANG_LIMIT = 120.0  # seconds until a test counts as hung; the slowest takes a fraction of it


@pytest.fixture(params=IMPLEMENTATIONS)
def impl(request):
    """The standard library, then treadle: Future, ThreadPoolExecutor, wait, as_completed."""
    return request.param


@pytest.fixture
def native():
    """The treadle module, for what the standard library does not have."""
    if treadle is None:
        pytest.skip("TEMPORARY: treadle is not built yet")
    return treadle


@pytest.fixture
def gate():
    """A closed gate for tasks to wait in; it opens at the end of the test at the latest."""
    gate = Gate()
    yield gate
    gate.open()


@pytest.fixture
def make_pool(impl, gate):
    """Makes executors of the implementation under test and shuts them down after the test."""
    yield from pools_of(impl.ThreadPoolExecutor, gate)


@pytest.fixture
def make_native_pool(native, gate):
    """Makes treadle executors and shuts them down after the test."""
    yield from pools_of(native.ThreadPoolExecutor, gate)


def pools_of(executor_type, gate):
    pools = []

    def make(*args, **kwargs):
        pools.append(executor_type(*args, **kwargs))
        return pools[-1]

    yield make
    gate.open()
    for pool in pools:
        pool.shutdown(wait=True)


@pytest.fixture(autouse=True)
def watchdog(request):
    """A test that hangs ends the run with the stacks of all threads instead of blocking it."""
    stderr = request.config.stash.get(fault_handler_stderr_fd_key, sys.__stderr__)  # not the captured one
    faulthandler.dump_traceback_later(HANG_LIMIT, exit=True, file=stderr)
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture(autouse=True)
def clean_threads():
    """No test may leave a thread behind."""
    before = set(threading.enumerate())
    yield
    assert eventually(lambda: set(threading.enumerate()) <= before), (
        f"threads left behind: {set(threading.enumerate()) - before}"
    )
