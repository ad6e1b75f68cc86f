"""Debug mode."""

import asyncio
import socket
import threading
import time

import pytest


def test_it_can_be_switched(loop):
    for debug in (True, False):
        loop.set_debug(debug)
        assert loop.get_debug() is debug


@pytest.fixture
def slow(loop):
    loop.set_debug(True)
    loop.slow_callback_duration = 0.05
    return loop


def warnings_of(caplog):
    return [record.getMessage() for record in caplog.records if record.message.startswith("Executing")]


def about_dawdle(caplog):
    """A busy machine may make others slow as well."""
    return [message for message in warnings_of(caplog) if "dawdle" in message]


@pytest.mark.parametrize(("method", "kind"), [("call_soon", "<Handle"), ("call_later", "<TimerHandle")])
def test_slow_callback(slow, caplog, method, kind):
    def dawdle():
        time.sleep(0.07)

    delay = (0.001,) if method == "call_later" else ()
    getattr(slow, method)(*delay, dawdle)
    slow.run_until_complete(asyncio.sleep(0.01))
    (message,) = about_dawdle(caplog)
    assert message.startswith(f"Executing {kind}") and "test_debug.py" in message


def test_slow_task(slow, caplog):
    async def dawdle():
        time.sleep(0.07)

    slow.run_until_complete(dawdle())
    (message,) = about_dawdle(caplog)
    assert message.startswith("Executing <Task finished")


def test_quick_callbacks_are_not_reported(slow, caplog):
    slow.slow_callback_duration = 60  # quick is whatever is less
    slow.run_until_complete(asyncio.sleep(0.01))
    assert warnings_of(caplog) == []


@pytest.mark.parametrize("own_loop", [False, True])
@pytest.mark.parametrize("debug", [False, True])
def test_the_wrong_thread_is_told(loop, factory, debug, own_loop):
    loop.set_debug(debug)
    failures = []

    def call():
        for schedule in (loop.call_soon, lambda f: loop.call_later(60, f), lambda f: loop.call_at(loop.time() + 60, f)):
            if not debug:
                schedule(int).cancel()
                continue
            try:
                schedule(int)
            except RuntimeError as error:
                assert str(error).startswith("Non-thread-safe operation invoked on an event loop other than")
            else:
                raise AssertionError("not told")

    def work():
        other = factory() if own_loop else None
        try:
            if other:
                asyncio.set_event_loop(other)
            call()
        except BaseException as error:
            failures.append(error)
        finally:
            if other:
                asyncio.set_event_loop(None)
                other.close()
            loop.call_soon_threadsafe(loop.stop)

    thread = threading.Thread(target=work)
    loop.call_soon(thread.start)
    loop.run_forever()
    thread.join()
    assert failures == []


def test_coroutines_are_no_callbacks(loop):
    loop.set_debug(True)

    async def coroutine():
        pass

    for schedule in (loop.call_soon, loop.call_soon_threadsafe, lambda f: loop.call_later(1, f)):
        with pytest.raises(TypeError, match="coroutines cannot be used"):
            schedule(coroutine)
        with pytest.raises(TypeError, match="a callable object was expected"):
            schedule("x")


def test_blocking_sockets_are_refused(loop):
    loop.set_debug(True)
    with socket.socket() as sock:
        for call in (
            lambda: loop.sock_recv(sock, 1),
            lambda: loop.sock_recv_into(sock, bytearray(1)),
            lambda: loop.sock_sendall(sock, b"x"),
            lambda: loop.sock_accept(sock),
            lambda: loop.sock_connect(sock, ("127.0.0.1", 1)),
        ):
            with pytest.raises(ValueError, match="must be non-blocking"):
                loop.run_until_complete(call())


def test_where_a_task_was_made(loop):
    loop.set_debug(True)

    async def never():
        await loop.create_future()

    async def main():
        task = loop.create_task(never())
        await asyncio.sleep(0)
        assert task._source_traceback[-1].name == "main" and f"created at {__file__}" in repr(task)
        task.cancel()

    loop.run_until_complete(main())
