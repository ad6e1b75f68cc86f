"""Order, time, threads and errors of scheduled callbacks."""

import threading

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
