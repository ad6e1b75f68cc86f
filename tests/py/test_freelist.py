"""Memory of dead handles is used for the next ones, which have nothing of the dead; and it is bounded."""

import asyncio
import contextvars
import gc
import sys
import weakref

import pytest
import treadle

WITH_GIL = getattr(sys, "_is_gil_enabled", lambda: True)()
LIST_SIZE = 1024


@pytest.fixture
def loop():
    loop = treadle.new_event_loop()
    yield loop
    loop.close()


def turn(loop):
    loop.call_soon(loop.stop)
    loop.run_forever()


MAKERS = {
    "call_soon": lambda loop, *args, **kwargs: loop.call_soon(*args, **kwargs),
    "call_later": lambda loop, *args, **kwargs: loop.call_later(1000, *args, **kwargs),
    "call_soon_threadsafe": lambda loop, *args, **kwargs: loop.call_soon_threadsafe(*args, **kwargs),
}


@pytest.fixture(params=MAKERS)
def make(request, loop):
    return lambda *args, **kwargs: MAKERS[request.param](loop, *args, **kwargs)


def forget(loop, handle):
    handle.cancel()
    turn(loop)


@pytest.mark.skipif(not WITH_GIL, reason="without a GIL nothing is kept")
def test_memory_is_used_again(loop):
    handle = loop.call_later(1000, print)
    address = id(handle)
    handle.cancel()
    loop._scheduled_clear()
    del handle
    assert address in [id(each) for each in [loop.call_later(1000, print) for _ in range(4)]]


def test_nothing_of_the_dead_is_seen(loop, make):
    class Thing:
        pass

    thing, context = Thing(), contextvars.copy_context()
    gone = weakref.ref(thing)
    handle = make(id, thing, context=context)
    seen = weakref.ref(handle)
    forget(loop, handle)
    del handle, thing
    loop._scheduled_clear()
    gc.collect()
    assert gone() is None and seen() is None
    for _ in range(10):
        fresh = make(print)
        assert fresh._callback is print and fresh._args == ()
        assert not fresh.cancelled() and fresh._source_traceback is None
        assert fresh._context is not context
        assert weakref.ref(fresh)() is fresh
        fresh.cancel()


def test_more_than_are_kept(loop, make):
    """After many handles at once no more memory is held than before, but for what the list keeps."""

    def round_of(n):
        handles = [make(print) for _ in range(n)]
        for handle in handles:
            handle.cancel()
        del handles, handle
        loop._scheduled_clear()
        turn(loop)
        gc.collect()

    round_of(50_000)
    before = sys.getallocatedblocks()
    round_of(50_000)
    assert sys.getallocatedblocks() - before < 4 * LIST_SIZE


def test_kinds_do_not_mix(loop):
    for _ in range(3):
        soon, later, posted = loop.call_soon(print), loop.call_later(0, print), loop.call_soon_threadsafe(print)
        assert type(later) is not type(soon)
        assert isinstance(later, asyncio.TimerHandle) and not isinstance(posted, asyncio.TimerHandle)
        for handle in (soon, later, posted):
            handle.cancel()
        del soon, later, posted, handle
        turn(loop)
