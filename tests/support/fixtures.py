"""Fixtures of the Python tests; a conftest.py makes them available with `from support.fixtures import *`."""

import threading

import pytest
import treadle
from support.implementations import IMPLEMENTATIONS
from support.waiting import Gate, eventually

__all__ = ["clean_threads", "gate", "impl", "make_pool", "make_native_pool", "native"]


@pytest.fixture(params=IMPLEMENTATIONS)
def impl(request):
    """The standard library, then treadle: Future, ThreadPoolExecutor, wait, as_completed."""
    return request.param


@pytest.fixture
def native():
    """The treadle module, for what the standard library does not have."""
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
def clean_threads():
    """No test may leave a thread behind."""
    before = set(threading.enumerate())
    yield
    assert eventually(lambda: not left_behind(before)), f"threads left behind: {left_behind(before)}"


def left_behind(before):
    """Threads that were not there before, but for those of treadle.to_thread(), which stay for the next call."""
    return [t for t in threading.enumerate() if t not in before and not t.name.startswith("treadle_")]
