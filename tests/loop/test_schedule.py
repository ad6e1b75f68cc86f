"""Order, time, threads and errors of scheduled callbacks."""

import asyncio
import contextvars
import gc
import threading
import time
import weakref

import pytest


def test_order(loop):
    ran = []
    for number in range(100):
        loop.call_soon(ran.append, number)
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert ran == list(range(100))


def test_timers_run_in_order_and_never_early(loop):
    start, ran = loop.time(), []
    for delay in (0.03, 0.01, 0.02):
        loop.call_later(delay, lambda delay=delay: ran.append((delay, loop.time() - start)))
    loop.call_later(0.05, loop.stop)
    loop.run_forever()
    assert [delay for delay, _ in ran] == [0.01, 0.02, 0.03]
    # asyncio runs a timer up to one tick of the clock before its deadline
    assert all(after >= delay - loop._clock_resolution for delay, after in ran)


def test_many_cancelled_timers(loop):
    for handle in [loop.call_later(3600, print) for _ in range(100_000)]:
        handle.cancel()
    loop.call_later(0.01, loop.stop)
    loop.run_forever()
    assert len(loop._scheduled) < 100_000


def test_a_chain_of_callbacks_starves_no_timer(loop):
    def again():
        loop.call_soon(again)

    loop.call_soon(again)
    loop.call_later(0.02, loop.stop)
    late = []
    guard = threading.Timer(10, lambda: (late.append(1), loop.call_soon_threadsafe(loop.stop)))
    guard.start()
    loop.run_forever()
    guard.cancel()
    assert not late


def test_threadsafe_from_eight_threads(loop):
    total, ran = 8 * 1000, []

    def count():
        ran.append(1)
        if len(ran) == total:
            loop.stop()

    def post():
        for _ in range(1000):
            loop.call_soon_threadsafe(count)

    threads = [threading.Thread(target=post) for _ in range(8)]
    for thread in threads:
        thread.start()
    loop.call_later(20, loop.stop)
    loop.run_forever()
    for thread in threads:
        thread.join()
    assert len(ran) == total


def test_exception_goes_to_the_handler(loop):
    contexts = []
    loop.set_exception_handler(lambda loop, context: contexts.append(context))
    handle = loop.call_soon(lambda: 1 / 0)
    loop.call_soon(loop.stop)
    loop.run_forever()
    (context,) = contexts
    assert set(context) - {"source_traceback"} == {"message", "exception", "handle"}
    assert context["handle"] is handle and isinstance(context["exception"], ZeroDivisionError)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_interrupt_leaves_the_rest_queued(loop, error):
    def interrupt():
        raise error

    ran = []
    loop.call_soon(interrupt)
    loop.call_soon(ran.append, 1)
    with pytest.raises(error):
        loop.run_forever()
    assert ran == []
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert ran == [1]


def test_closed_loop_refuses(factory):
    loop = factory()
    loop.close()
    for schedule in (loop.call_soon, loop.call_soon_threadsafe, lambda f: loop.call_later(1, f)):
        with pytest.raises(RuntimeError, match="closed"):
            schedule(print)


def test_equal_deadlines_keep_their_order(loop):
    """On asyncio's loop only by chance: its heap is not stable."""
    if not hasattr(loop, "stats"):
        pytest.skip("asyncio's own loop does not promise this")
    ran = []
    when = loop.time() + 0.01
    handles = [loop.call_at(when, ran.append, n) for n in range(1000)]
    for handle in handles[::3]:
        handle.cancel()
    loop.call_at(when, loop.stop)
    loop.run_forever()
    assert ran == [n for n in range(1000) if n % 3]


def test_a_timer_of_no_delay_comes_after_what_is_ready(loop):
    ran = []
    loop.call_later(0, ran.append, "timer")
    loop.call_soon(ran.append, "soon")
    loop.call_later(0.001, loop.stop)
    loop.run_forever()
    assert sorted(ran) == ["soon", "timer"]


def test_posted_and_soon_keep_their_order(loop):
    """By the same thread: call_soon() does not overtake call_soon_threadsafe()."""
    ran = []

    def schedule():
        for n in range(0, 30, 3):
            loop.call_soon_threadsafe(ran.append, n)
            loop.call_soon(ran.append, n + 1)
            loop.call_soon_threadsafe(ran.append, n + 2)
        loop.call_soon_threadsafe(loop.stop)

    schedule()
    loop.run_forever()
    assert ran == list(range(30))
    ran.clear()
    loop.call_soon(schedule)  # while it runs
    loop.run_forever()
    assert ran == list(range(30))


def test_posts_of_one_thread_keep_their_order(loop):
    ran = []

    def post():
        for n in range(1000):
            loop.call_soon_threadsafe(ran.append, n)
        loop.call_soon_threadsafe(loop.stop)

    thread = threading.Thread(target=post)
    thread.start()
    loop.run_forever()
    thread.join()
    assert ran == list(range(1000))


class Clock:
    """A clock that is moved by hand; `loop` wakes up at once whatever it waits for."""

    def __init__(self):
        self.now = 1000.0

    def time(self):
        return self.now


def clocked(factory, how):
    clock = Clock()
    if how == "instance":
        loop = factory()
        loop.time = clock.time
    elif how == "class":
        kind = type(factory())

        class Clocked(kind):
            def time(self):
                return clock.now

        loop = Clocked()
    return loop, clock


def turn(loop):
    loop.call_soon(loop.stop)
    loop.run_forever()


@pytest.mark.filterwarnings("ignore:unclosed event loop:ResourceWarning")
@pytest.mark.parametrize("how", ["instance", "class"])
def test_a_clock_of_the_programs_own_moves_the_timers(factory, how):
    loop, clock = clocked(factory, how)
    ran = []
    try:
        assert loop.time() == 1000.0
        handle = loop.call_later(60, ran.append, 1)
        assert handle.when() == 1060.0
        loop.call_at(1030.0, ran.append, 2)
        turn(loop)
        assert ran == []
        clock.now = 1029.0
        turn(loop)
        assert ran == []
        clock.now = 1031.0
        turn(loop)
        assert ran == [2]
        clock.now = 5000.0
        turn(loop)
        assert ran == [2, 1]
        # what runs by the clock that was put there runs by it for good
        clock.now = 10.0
        loop.call_later(1, ran.append, 3)
        turn(loop)
        assert ran == [2, 1]
    finally:
        loop.close()


def test_a_clock_that_is_taken_away_again(factory):
    loop, clock = clocked(factory, "instance")
    del loop.time
    ran = []
    start = time.monotonic()
    assert loop.time() >= start
    loop.call_later(0.02, ran.append, 1)
    loop.call_later(0.03, loop.stop)
    loop.run_forever()
    assert ran == [1] and time.monotonic() - start >= 0.02
    loop.close()


def test_a_clock_that_fails(factory):
    loop, clock = clocked(factory, "instance")
    loop.call_later(1, int)
    loop.time = lambda: 1 / 0
    with pytest.raises(ZeroDivisionError):
        turn(loop)
    del loop.time
    with pytest.raises(ZeroDivisionError):
        loop.time = lambda: 1 / 0
        loop.call_later(1, int)
    loop.close()


@pytest.mark.parametrize("when", [float("inf"), 1e300, 2**70, float("-inf"), -1, -1e300])
def test_deadlines_out_of_the_ordinary(loop, when):
    ran = []
    handle = loop.call_at(when, ran.append, 1)
    assert handle.when() == when
    turn(loop)
    turn(loop)
    assert ran == ([] if when > 0 else [1])


# ---- nothing is left ----------------------------------------------------------------

KINDS = {
    "call_soon": lambda loop, fn: loop.call_soon(fn, 1, [2]),
    "call_soon, many arguments": lambda loop, fn: loop.call_soon(fn, 1, [2], 3, 4, 5, 6),
    "call_soon, context": lambda loop, fn: loop.call_soon(fn, context=contextvars.Context()),
    "call_soon_threadsafe": lambda loop, fn: loop.call_soon_threadsafe(fn, 1, [2]),
    "call_later": lambda loop, fn: loop.call_later(0, fn, 1, [2]),
    "call_at": lambda loop, fn: loop.call_at(0.5, fn, 1, [2], 3, 4, 5),
    "cancelled": lambda loop, fn: loop.call_soon(fn, [1]).cancel(),
    "cancelled timer": lambda loop, fn: loop.call_later(0, fn, [1]).cancel(),
    "cancelled far timer": lambda loop, fn: loop.call_later(3600, fn, [1]).cancel(),
    "task": lambda loop, fn: loop.create_task(asyncio.sleep(0, fn)),
    "failing": lambda loop, fn: loop.call_soon(divmod, 1, 0),
    "executor": lambda loop, fn: loop.run_in_executor(None, fn, [1]),
}


def collected_objects():
    for _ in range(3):
        gc.collect()
    return len(gc.get_objects())


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_callbacks_leave_no_objects(loop, kind):
    """What a callback of each kind was made of is gone when it has run."""
    loop.set_exception_handler(lambda loop, context: None)

    class Callback:
        def __call__(self, *args):
            return args

    def some():
        function = Callback()
        weakly.append(weakref.ref(function))
        for _ in range(100):
            KINDS[kind](loop, function)
        del function
        for _ in range(3):
            turn(loop)
        loop.run_until_complete(loop.run_in_executor(None, int))

    weakly = []
    some()
    some()
    growths = []
    for _ in range(3):
        before = collected_objects()
        for _ in range(5):
            some()
        growths.append(collected_objects() - before)
        if growths[-1] < 50:  # of 500 callbacks, and each would leave something
            break
    else:
        raise AssertionError(f"grew each time: {growths}")
    loop.run_until_complete(loop.shutdown_default_executor())
    gc.collect()
    assert [ref for ref in weakly[:-1] if ref() is not None] == []
