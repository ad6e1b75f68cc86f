"""Every test here runs on asyncio's own loop, tasks and futures, too: all must pass the same body."""

import asyncio
from types import SimpleNamespace

import pytest
import treadle
from treadle import _functions

STOCK = SimpleNamespace(name="stock", loop=asyncio.SelectorEventLoop, Task=asyncio.Task, Future=asyncio.Future)
NATIVE = SimpleNamespace(name="treadle", loop=treadle.new_event_loop, Task=treadle.Task, Future=treadle.LoopFuture)


@pytest.fixture(params=[STOCK, NATIVE], ids=lambda kind: kind.name)
def kind(request):
    """The classes of loop, task and future."""
    return request.param


@pytest.fixture
def loop(kind):
    loop = kind.loop()
    yield loop
    loop.close()


@pytest.fixture(params=[asyncio, _functions], ids=["asyncio", "treadle"])
def functions(request):
    """Where gather() and the like are taken from: each on both kinds of loop."""
    return request.param


@pytest.fixture
def complaints(loop):
    """What came to the loop's exception handler."""
    contexts = []
    loop.set_exception_handler(lambda loop, context: contexts.append(context))
    return contexts


@pytest.fixture
def run(loop):
    """Runs a coroutine function on the loop, for a minute at most."""

    def run(main):
        async def limited():
            async with asyncio.timeout(60):
                return await main()

        return loop.run_until_complete(limited())

    return run
