"""Callbacks: when they run, in which thread, and what they keep alive."""

import asyncio
import gc
import random
import sys
import threading
import time
import weakref

import pytest


def turn(loop, seconds=0):
    loop.run_until_complete(asyncio.sleep(seconds))


def test_closed_twice(loop):
    loop.close()
    loop.close()
    assert loop.is_closed()
    with pytest.raises(RuntimeError, match="closed"):
        loop.run_forever()
    coroutine = asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="closed"):
        loop.run_until_complete(coroutine)
    coroutine.close()


def test_running_loop_cannot_be_closed(loop):
    async def main():
        with pytest.raises(RuntimeError, match="running"):
            loop.close()

    loop.run_until_complete(main())
    assert not loop.is_closed()


def test_what_is_queued_when_the_loop_closes_is_let_go(loop):
    class Thing:
        def method(self):
            raise AssertionError("a closed loop ran it")

    thing = Thing()
    gone = weakref.ref(thing)
    loop.call_soon(thing.method)
    loop.call_later(0, thing.method)
    loop.call_later(1000, thing.method)
    loop.call_soon_threadsafe(thing.method)
    del thing
    loop.close()
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("method", ["call_soon", "call_soon_threadsafe", "call_later"])
@pytest.mark.parametrize("how", ["argument", "closure", "default"])
def test_a_callback_that_ran_keeps_nothing_alive(loop, method, how):
    future = loop.create_future()
    gone = weakref.ref(future)
    callback, arguments = {
        "argument": (lambda f: f.set_result(None), (future,)),
        "closure": (future.set_result, (None,)),
        "default": (lambda f=future: f.set_result(None), ()),
    }[how]
    delay = (0.001,) if method == "call_later" else ()
    handle = getattr(loop, method)(*delay, callback, *arguments)
    loop.run_until_complete(future)
    del future, callback, arguments, handle
    gc.collect()
    assert gone() is None


def test_a_cancelled_timer_keeps_nothing_alive(loop):
    class Thing:
        def method(self):
            pass

    thing = Thing()
    gone = weakref.ref(thing)
    handle = loop.call_later(1000, thing.method)
    handle.cancel()
    del thing
    gc.collect()
    assert gone() is None


def test_repr_names_the_callback(loop):
    def a_callback():
        pass

    for handle in (loop.call_soon(a_callback), loop.call_later(1, a_callback)):
        assert "a_callback" in repr(handle) and "cancelled" not in repr(handle)
        handle.cancel()
        assert "cancelled" in repr(handle)


def test_a_handle_that_ran_is_not_cancelled(loop):
    handles = [loop.call_soon(int), loop.call_later(0.001, int)]
    turn(loop, 0.05)
    assert [handle.cancelled() for handle in handles] == [False, False]
    for handle in handles:
        handle.cancel()
    assert [handle.cancelled() for handle in handles] == [True, True]


def test_when_is_kept(loop):
    future, before = loop.create_future(), loop.time()
    handle = loop.call_later(0.02, future.set_result, None)
    when = handle.when()
    assert before + 0.02 <= when <= loop.time() + 0.02
    loop.run_until_complete(future)
    assert handle.when() == when
    later = loop.call_at(when + 1000, int)
    later.cancel()
    assert later.when() == when + 1000


@pytest.mark.parametrize("delay", [-1, -1e9, 0, -0.0])
def test_past_deadlines_are_due(loop, delay):
    ran = []
    loop.call_later(delay, ran.append, 1)
    loop.call_later(delay, loop.stop)
    loop.run_forever()
    assert ran == [1]


def test_timers_are_not_early(loop):
    """0.06 + 0.01 is less than 0.07, and milliseconds are too coarse."""
    for _ in range(8):
        start = loop.time()
        loop.call_later(0.06 + 0.01, loop.stop)
        loop.run_forever()
        assert loop.time() - start >= 0.0699


def test_time_goes_on_within_a_turn(loop):
    async def main():
        start = loop.time()
        time.sleep(0.03)
        assert loop.time() - start >= 0.0299
        start = time.monotonic()
        await asyncio.sleep(0.02)  # counted from now, not from when the turn began
        assert time.monotonic() - start >= 0.0199

    loop.run_until_complete(main())


@pytest.mark.parametrize("delay", [float("inf"), float(sys.maxsize), sys.maxsize, 2**55, 1e300])
def test_far_away_timers(loop, delay):
    async def main():
        sleeper = asyncio.create_task(asyncio.sleep(delay))
        await asyncio.sleep(0.01)
        assert not sleeper.done()
        sleeper.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sleeper

    loop.run_until_complete(main())


def test_stop_from_a_callback_lets_the_turn_finish(loop):
    ran = []
    loop.call_soon(loop.stop)
    loop.call_soon(ran.append, 1)
    loop.call_soon(lambda: loop.call_soon(ran.append, 2))
    loop.run_forever()
    assert ran == [1]
    turn(loop)
    assert ran == [1, 2]


def test_is_running(loop):
    states = []
    loop.call_soon(lambda: states.append(loop.is_running()))
    turn(loop)
    assert states == [True] and not loop.is_running()


def test_an_interrupted_run_leaves_no_stop_behind(loop):
    """The run that KeyboardInterrupt ended must not stop the next one."""

    async def short():
        await asyncio.sleep(0.01)
        return "done"

    def interrupt():
        raise KeyboardInterrupt

    loop.call_soon(interrupt)
    orphan = loop.create_task(short())
    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(orphan)

    async def long():
        await asyncio.sleep(0.05)
        return "done"

    assert loop.run_until_complete(long()) == "done"
    assert orphan.result() == "done"


def test_an_interrupted_task_leaves_no_stop_behind(loop):
    async def interrupt():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(interrupt())
    ran = []
    loop.call_later(0.01, lambda: (ran.append(1), loop.stop()))
    loop.run_forever()
    assert ran == [1]


def test_not_a_future(loop):
    with pytest.raises(TypeError):
        loop.run_until_complete("x")


def test_future_of_another_loop(loop, factory):
    other = factory()
    future = other.create_future()
    with pytest.raises(ValueError):
        loop.run_until_complete(future)
    other.close()


def test_a_loop_within_another(loop, factory):
    other = factory()

    async def main():
        coroutine = asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="while another loop is running"):
            other.run_until_complete(coroutine)
        coroutine.close()

    loop.run_until_complete(main())
    other.close()


def test_running_loop_is_this_one(loop):
    async def main():
        assert asyncio.get_running_loop() is loop and asyncio.get_event_loop() is loop

    loop.run_until_complete(main())
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()


def test_other_threads_keep_it_going(loop):
    """Timers are made and cancelled while another thread posts."""
    total, ran = 2000, []

    def callback():
        ran.append(1)
        handle = loop.call_later(0.01, int)
        loop.call_later(random.random() * 0.001, handle.cancel)

    def post():
        for number in range(total):
            loop.call_soon_threadsafe(callback)
            if number % 50 == 0:
                time.sleep(0.001)
        loop.call_soon_threadsafe(loop.stop)

    thread = threading.Thread(target=post)
    loop.call_soon(thread.start)
    loop.run_forever()
    thread.join()
    assert len(ran) == total


def test_a_thread_wakes_a_loop_that_sleeps(loop):
    waking = threading.Timer(0.05, lambda: loop.call_soon_threadsafe(loop.stop))
    guard = loop.call_later(30, loop.stop)
    waking.start()
    start = time.monotonic()
    loop.run_forever()
    waking.join()
    guard.cancel()
    assert time.monotonic() - start < 25


def test_default_executor_s_threads_are_named(loop):
    async def main():
        return await loop.run_in_executor(None, lambda: threading.current_thread().name)

    assert loop.run_until_complete(main()).startswith("asyncio")
    loop.run_until_complete(loop.shutdown_default_executor())
