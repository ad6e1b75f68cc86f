"""Objects of asyncio's and of treadle's, on asyncio's loop and on treadle's: all must pass the same body."""

import asyncio

import pytest
import treadle


@pytest.fixture(params=["stock", "treadle"])
def factory(request):
    return asyncio.SelectorEventLoop if request.param == "stock" else treadle.new_event_loop


@pytest.fixture
def run(factory):
    """Run a coroutine function to its end on a loop of its own."""

    def run(function, *args):
        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(function(*args))

    return run


@pytest.fixture(params=[asyncio, treadle], ids=["asyncio's", "treadle's"])
def kit(request):
    """Where the classes come from."""
    return request.param
