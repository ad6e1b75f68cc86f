"""Debug mode: the same warnings from both loops, and nothing of it without."""

import asyncio
import gc
import logging
import re
import socket
import sys
import threading
import time
import traceback

import pytest


@pytest.fixture
def debug_loop(loop):
    loop.set_debug(True)
    return loop


@pytest.fixture
def warnings_of(caplog):
    """The messages of asyncio's logger so far."""
    caplog.set_level(logging.WARNING, logger="asyncio")
    return lambda: [record.getMessage() for record in caplog.records if record.name == "asyncio"]


def turn(loop):
    loop.call_soon(loop.stop)
    loop.run_forever()


def test_switching(loop):
    assert loop.get_debug() is False
    assert loop.slow_callback_duration == 0.1
    loop.set_debug(True)
    assert loop.get_debug() is True and "debug=True" in repr(loop)
    loop.set_debug(False)
    assert loop.get_debug() is False


def test_python_development_mode_and_variable(factory, monkeypatch):
    monkeypatch.setenv("PYTHONASYNCIODEBUG", "1")
    loop = factory()
    assert loop.get_debug() is True
    loop.close()
    monkeypatch.setenv("PYTHONASYNCIODEBUG", "")
    loop = factory()
    assert loop.get_debug() is False
    loop.close()


# ---- slow callbacks ----------------------------------------------------------------


def slow(*args):
    time.sleep(0.03)


SLOW = r"Executing {} took \d\.\d{{3}} seconds"
HANDLE = r"<Handle slow\({}\) at \S*test_debug.py:\d+ created at \S*test_debug.py:\d+>"


@pytest.mark.parametrize(
    "schedule, what",
    [
        (lambda loop: loop.call_soon(slow, 1), HANDLE.format(1)),
        (lambda loop: loop.call_soon_threadsafe(slow, 2, 3), HANDLE.format("2, 3").replace("Handle", r"\w*Handle")),
        (lambda loop: loop.call_later(0, slow), r"<TimerHandle when=\S+ slow\(\) at \S*test_debug.py:\d+ .*>"),
        (lambda loop: loop.call_at(loop.time(), slow, 4), r"<TimerHandle when=\S+ slow\(4\) at .*>"),
    ],
    ids=["call_soon", "call_soon_threadsafe", "call_later", "call_at"],
)
def test_slow_callbacks(debug_loop, warnings_of, schedule, what):
    debug_loop.slow_callback_duration = 0.01
    schedule(debug_loop)
    turn(debug_loop)
    time.sleep(0.002)
    turn(debug_loop)
    (text,) = warnings_of()
    assert re.fullmatch(SLOW.format(what), text), text


def test_slow_steps_of_tasks(debug_loop, warnings_of):
    debug_loop.slow_callback_duration = 0.01

    async def main():
        slow()

    debug_loop.run_until_complete(debug_loop.create_task(main(), name="the slow one"))
    (text,) = warnings_of()
    assert re.match(r"Executing <Task finished name='the slow one' coro=<.*main\(\) done, defined at .*took", text), text


def test_slow_readers(debug_loop, warnings_of):
    debug_loop.slow_callback_duration = 0.01
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.send(b"x")
        debug_loop.add_reader(ours, slow, "reader")
        turn(debug_loop)
        debug_loop.remove_reader(ours)
    assert re.fullmatch(SLOW.format(r"<Handle slow\('reader'\) at .*>"), warnings_of()[0])


def test_the_limit_is_looked_up_each_time(debug_loop, warnings_of):
    debug_loop.slow_callback_duration = 1000
    debug_loop.call_soon(slow)
    turn(debug_loop)
    assert warnings_of() == []
    debug_loop.slow_callback_duration = 0.001
    debug_loop.call_soon(slow)
    turn(debug_loop)
    assert len(warnings_of()) == 1


def test_slow_callbacks_are_nobodys_business_without_debug_mode(loop, warnings_of):
    loop.slow_callback_duration = 0.001
    loop.call_soon(slow)
    turn(loop)
    assert warnings_of() == []


def test_debug_mode_from_inside_a_callback(loop, warnings_of):
    loop.slow_callback_duration = 0.01
    loop.call_soon(loop.set_debug, True)
    loop.call_soon(slow)
    turn(loop)
    assert len(warnings_of()) == 1


# ---- where it was made ----------------------------------------------------------------


def test_handles_know_where_they_were_made(debug_loop):
    for handle in (
        debug_loop.call_soon(int),
        debug_loop.call_soon_threadsafe(int),
        debug_loop.call_later(60, int),
        debug_loop.call_at(debug_loop.time() + 60, int),
    ):
        last = handle._source_traceback[-1]
        assert (last.filename, last.name) == (__file__, test_handles_know_where_they_were_made.__name__)
        assert f"created at {__file__}:{last.lineno}" in repr(handle)
        handle.cancel()
        assert "cancelled" in repr(handle) and "int()" in repr(handle)


def test_the_exception_handler_learns_where(debug_loop):
    contexts = []
    debug_loop.set_exception_handler(lambda loop, context: contexts.append(context))
    debug_loop.call_soon(divmod, 1, 0)
    turn(debug_loop)
    (context,) = contexts
    assert isinstance(context["exception"], ZeroDivisionError)
    assert context["message"] == "Exception in callback divmod(1, 0)"
    # from the first frame that is not asyncio's: scripts differ in how they are run
    assert traceback.format_list(context["source_traceback"][-1:])[0].strip().endswith("debug_loop.call_soon(divmod, 1, 0)")


def test_never_awaited_coroutines_know_where_they_were_made(debug_loop):
    async def never():
        pass

    async def main():
        never()
        gc.collect()

    with pytest.warns(RuntimeWarning, match=r"never' was never awaited\nCoroutine created at \(most recent call last\)"):
        debug_loop.run_until_complete(main())


def test_origin_tracking_ends_with_the_run(debug_loop):
    depths = []

    async def main():
        depths.append(sys.get_coroutine_origin_tracking_depth())

    debug_loop.run_until_complete(main())
    assert depths[0] > 0
    assert sys.get_coroutine_origin_tracking_depth() == 0


def test_never_retrieved_exceptions(debug_loop):
    contexts = []
    debug_loop.set_exception_handler(lambda loop, context: contexts.append(context))

    async def fail():
        raise ZeroDivisionError

    async def main():
        future = debug_loop.create_future()
        future.set_exception(ZeroDivisionError())
        task = debug_loop.create_task(fail())
        await asyncio.wait([task])
        del future, task
        gc.collect()

    debug_loop.run_until_complete(main())
    gc.collect()
    assert sorted(context["message"] for context in contexts) == [
        "Future exception was never retrieved",
        "Task exception was never retrieved",
    ]
    assert all("source_traceback" in context for context in contexts)


# ---- misuse ---------------------------------------------------------------------------


@pytest.mark.parametrize("method, args", [("call_soon", ()), ("call_later", (60,)), ("call_at", (60,))])
def test_scheduling_from_the_wrong_thread(debug_loop, method, args):
    errors = []

    def call():
        try:
            getattr(debug_loop, method)(*args, int)
        except RuntimeError as error:
            errors.append(str(error))

    async def main():
        thread = threading.Thread(target=call)
        thread.start()
        thread.join()
        call()  # the right one

    debug_loop.run_until_complete(main())
    assert errors == ["Non-thread-safe operation invoked on an event loop other than the current one"]


def test_a_loop_that_does_not_run_is_nobodys(debug_loop):
    thread = threading.Thread(target=debug_loop.call_soon, args=(int,))
    thread.start()
    thread.join()
    turn(debug_loop)


async def coroutine_function():
    pass


@pytest.mark.parametrize("method, args", [("call_soon", ()), ("call_later", (60,)), ("call_at", (60,)), ("call_soon_threadsafe", ())])
def test_callbacks_that_are_none(debug_loop, method, args):
    name = "call_at" if method == "call_later" else method
    schedule = getattr(debug_loop, method)
    with pytest.raises(TypeError, match=re.escape(f"coroutines cannot be used with {name}()")):
        schedule(*args, coroutine_function)
    coroutine = coroutine_function()
    with pytest.raises(TypeError, match=re.escape(f"coroutines cannot be used with {name}()")):
        schedule(*args, coroutine)
    coroutine.close()
    with pytest.raises(TypeError, match=re.escape(f"a callable object was expected by {name}(), got None")):
        schedule(*args, None)


def test_run_in_executor_of_a_coroutine_function(debug_loop):
    with pytest.raises(TypeError, match=r"coroutines cannot be used with run_in_executor\(\)"):
        debug_loop.run_in_executor(None, coroutine_function)


def test_the_current_handle_is_known_while_it_runs(debug_loop):
    seen = []
    handle = debug_loop.call_soon(lambda: seen.append(debug_loop._current_handle))
    turn(debug_loop)
    assert seen == [handle] and debug_loop._current_handle is None


def test_keyboard_interrupt_and_system_exit_pass_through(debug_loop):
    for error in (KeyboardInterrupt, SystemExit):

        def fail():
            raise error

        debug_loop.call_soon(fail)
        with pytest.raises(error):
            debug_loop.run_forever()
    turn(debug_loop)
