"""The loop as an object: its clock, opening, closing, and what is left of it."""

import asyncio
import gc
import time
import weakref

import pytest


def test_class(loop):
    assert isinstance(loop, asyncio.SelectorEventLoop) and isinstance(loop, asyncio.BaseEventLoop)
    assert isinstance(loop, asyncio.AbstractEventLoop)
    assert {name for name in dir(asyncio.AbstractEventLoop) if not name.startswith("__")} <= set(dir(loop))


def test_the_clock_goes_forward(loop):
    before, monotonic = loop.time(), time.monotonic()
    readings = [loop.time() for _ in range(1000)]
    assert readings == sorted(readings) and readings[0] >= before
    assert abs((loop.time() - before) - (time.monotonic() - monotonic)) < 5
    assert type(before) is float


def test_closing(loop):
    assert not loop.is_closed()
    loop._check_closed()
    loop.close()
    loop.close()  # once more is no error
    assert loop.is_closed() and "closed=True" in repr(loop)
    for attempt in (
        loop._check_closed,
        lambda: loop.call_soon(print),
        lambda: loop.call_later(1, print),
        lambda: loop.call_soon_threadsafe(print),
        loop.run_forever,
        lambda: loop.run_in_executor(None, print),
    ):
        with pytest.raises(RuntimeError, match="Event loop is closed"):
            attempt()


def test_a_running_loop_cannot_be_closed(loop):
    async def main():
        with pytest.raises(RuntimeError, match="Cannot close a running event loop"):
            loop.close()
        assert not loop.is_closed() and loop.is_running()

    loop.run_until_complete(main())


def test_what_was_scheduled_is_let_go_by_closing(factory):
    class Thing:
        pass

    loop = factory()
    things = [Thing() for _ in range(4)]
    seen = [weakref.ref(thing) for thing in things]
    loop.call_soon(print, things[0])
    loop.call_later(100, print, things[1])
    loop.call_soon_threadsafe(print, things[2])
    loop.call_at(loop.time() + 1, print, things[3])
    del things
    loop.close()
    gc.collect()
    assert [ref() for ref in seen] == [None] * 4


def test_opened_once(native):
    with pytest.raises(RuntimeError):
        native._open()


def test_what_a_subclass_sees(factory):
    kind = type(factory())
    order = []

    class Mine(kind):
        def call_soon(self, callback, *args, **kwargs):
            order.append("call_soon")
            return super().call_soon(callback, *args, **kwargs)

        def close(self):
            order.append("close")
            super().close()

    loop = Mine()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    assert order[0] == "call_soon" and order[-1] == "close"


def test_many_loops_at_once(factory):
    loops = [factory() for _ in range(30)]
    for loop in loops:
        loop.call_soon(loop.stop)
    for loop in loops:
        loop.run_forever()
        loop.close()
    assert all(loop.is_closed() for loop in loops)


def test_instances_take_attributes_and_weak_references(loop):
    loop.something = 1
    assert loop.something == 1 and weakref.ref(loop)() is loop
