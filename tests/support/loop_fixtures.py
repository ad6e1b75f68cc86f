"""Fixtures of the loops under test: every test runs on asyncio's own loop too, treadle's with each of its pollers."""

import asyncio

import pytest
import treadle

__all__ = ["factory", "loop", "native"]


@pytest.fixture(params=["stock", "treadle", "treadle-poll"])
def factory(request, monkeypatch):
    if request.param == "stock":
        return asyncio.SelectorEventLoop
    if request.param == "treadle-poll":
        monkeypatch.setenv("TREADLE_POLLER", "poll")
    return treadle.new_event_loop


@pytest.fixture
def loop(factory):
    loop = factory()
    yield loop
    loop.close()


@pytest.fixture
def native(loop):
    """The loop, for what treadle's does and asyncio's does not."""
    if not isinstance(loop, treadle.EventLoop):
        pytest.skip("asyncio's own loop does not promise this")
    return loop
