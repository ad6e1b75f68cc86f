"""Pools of both classes, and a watch over what they leave behind."""

import concurrent.futures
import multiprocessing
import os
import sys
from pathlib import Path

import pytest

import treadle

sys.path.insert(0, str(Path(__file__).resolve().parent))

CLASSES = {
    "stock": concurrent.futures.ProcessPoolExecutor,
    "treadle": treadle.ProcessPoolExecutor,
}


@pytest.fixture(params=["fork", "spawn", "forkserver"])
def context(request):
    return multiprocessing.get_context(request.param)


@pytest.fixture(params=list(CLASSES))
def either(request):
    """The standard class and ours: the same test body runs on both."""
    return CLASSES[request.param]


@pytest.fixture
def pool():
    """Two forked workers."""
    with treadle.ProcessPoolExecutor(2, multiprocessing.get_context("fork")) as executor:
        yield executor


@pytest.fixture
def fork():
    return multiprocessing.get_context("fork")


@pytest.fixture
def descriptors():
    """How many descriptors this process has open."""
    return lambda: len(os.listdir("/proc/self/fd"))
