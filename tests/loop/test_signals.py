"""Signals and the loop."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
import treadle
from support import script_environment

SIGNAL = signal.SIGUSR1


@pytest.fixture(autouse=True)
def as_it_was():
    """Nothing may be left of a test: neither handlers nor a wakeup descriptor."""
    handlers = {number: signal.getsignal(number) for number in (SIGNAL, signal.SIGUSR2, signal.SIGINT)}
    yield
    assert signal.set_wakeup_fd(-1) == -1
    assert {number: signal.getsignal(number) for number in handlers} == handlers


def test_handler_runs_in_the_loop_with_its_arguments(loop):
    seen = []

    def handler(*args):
        seen.append((args, asyncio.get_running_loop()))
        loop.stop()

    loop.add_signal_handler(SIGNAL, handler, 1, "two")
    os.kill(os.getpid(), SIGNAL)
    loop.run_forever()
    assert seen == [((1, "two"), loop)]


def test_handlers_run_in_order(loop):
    seen = []
    loop.add_signal_handler(SIGNAL, seen.append, 1)
    loop.add_signal_handler(signal.SIGUSR2, seen.append, 2)

    async def main():
        for number in (SIGNAL, signal.SIGUSR2, signal.SIGUSR2, SIGNAL):
            signal.raise_signal(number)
        while len(seen) < 4:
            await asyncio.sleep(0)

    loop.run_until_complete(main())
    assert seen == [1, 2, 2, 1]


def send_when_asleep(thread_id=None):
    """Send the signal when the loop has had time to fall asleep."""
    time.sleep(0.05)
    if thread_id is None:
        os.kill(os.getpid(), SIGNAL)
    else:
        signal.pthread_kill(thread_id, SIGNAL)


@pytest.mark.parametrize("where", ["process", "main thread", "sending thread"])
def test_a_signal_wakes_the_loop(loop, where):
    """Whichever thread the system hands it to."""
    loop.add_signal_handler(SIGNAL, loop.stop)

    def send():
        idents = {"process": None, "main thread": main, "sending thread": threading.get_ident()}
        send_when_asleep(idents[where])

    main = threading.get_ident()
    thread = threading.Thread(target=send)
    thread.start()
    loop.run_forever()  # for ever, if the signal is lost
    thread.join()


def test_a_python_handler_interrupts_the_poll(loop):
    """As signal.signal() without the loop's help: the handler runs, the loop goes on."""
    before = signal.signal(SIGNAL, lambda *_: loop.call_soon_threadsafe(loop.stop))
    try:
        thread = threading.Thread(target=send_when_asleep, args=[threading.get_ident()])
        thread.start()
        loop.run_forever()
        thread.join()
    finally:
        signal.signal(SIGNAL, before)


def test_a_python_handler_that_raises(loop):
    def handler(*_):
        raise ZeroDivisionError

    before = signal.signal(SIGNAL, handler)
    try:
        thread = threading.Thread(target=send_when_asleep, args=[threading.get_ident()])
        thread.start()
        with pytest.raises(ZeroDivisionError):
            loop.run_forever()
        thread.join()
    finally:
        signal.signal(SIGNAL, before)
    assert not loop.is_running()
    loop.run_until_complete(asyncio.sleep(0))


def test_a_signal_during_the_last_callback_is_not_slept_over(loop):
    """It comes in C code after which the loop goes to sleep: nothing interrupts the poll."""
    before = signal.signal(SIGNAL, lambda *_: loop.stop())
    try:
        loop.call_soon(os.kill, os.getpid(), SIGNAL)
        loop.run_forever()
    finally:
        signal.signal(SIGNAL, before)


def test_replacing_a_handler(loop):
    seen = []
    loop.add_signal_handler(SIGNAL, seen.append, "first")
    loop.add_signal_handler(SIGNAL, seen.append, "second")
    signal.raise_signal(SIGNAL)
    loop.run_until_complete(asyncio.sleep(0.01))
    assert seen == ["second"]


def test_removing(loop):
    loop.add_signal_handler(SIGNAL, int)
    assert signal.getsignal(SIGNAL) is not signal.SIG_DFL
    assert loop.remove_signal_handler(SIGNAL) is True
    assert signal.getsignal(SIGNAL) is signal.SIG_DFL
    assert loop.remove_signal_handler(SIGNAL) is False


def test_removing_sigint_brings_keyboard_interrupt_back(loop):
    seen = []
    loop.add_signal_handler(signal.SIGINT, seen.append, 1)
    signal.raise_signal(signal.SIGINT)
    loop.run_until_complete(asyncio.sleep(0.01))
    assert seen == [1]
    assert loop.remove_signal_handler(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(interrupt())


async def interrupt():
    signal.raise_signal(signal.SIGINT)
    await asyncio.sleep(3600)


def test_close_removes_handlers(factory):
    loop = factory()
    loop.add_signal_handler(SIGNAL, int)
    loop.add_signal_handler(signal.SIGUSR2, int)
    loop.close()
    assert signal.getsignal(SIGNAL) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGUSR2) is signal.SIG_DFL


def test_a_handler_may_remove_itself_and_others(loop):
    seen = []

    def handler():
        seen.append(1)
        loop.remove_signal_handler(SIGNAL)
        loop.remove_signal_handler(signal.SIGUSR2)
        loop.stop()

    loop.add_signal_handler(SIGNAL, handler)
    loop.add_signal_handler(signal.SIGUSR2, seen.append, 2)
    signal.raise_signal(SIGNAL)
    loop.run_forever()
    assert seen == [1]


def test_an_exception_goes_to_the_exception_handler(loop):
    contexts = []
    loop.set_exception_handler(lambda loop, context: contexts.append(context))
    loop.add_signal_handler(SIGNAL, divmod, 1, 0)
    signal.raise_signal(SIGNAL)
    loop.run_until_complete(asyncio.sleep(0.01))
    assert [type(context["exception"]) for context in contexts] == [ZeroDivisionError]


def test_sigchld_can_be_handled_next_to_subprocesses(loop):
    async def main():
        seen = asyncio.Event()
        loop.add_signal_handler(signal.SIGCHLD, seen.set)
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", "exit(7)")
        assert await process.wait() == 7
        await seen.wait()
        loop.remove_signal_handler(signal.SIGCHLD)

    try:
        asyncio.set_event_loop(loop)  # 3.11 looks for its child watcher there
        loop.run_until_complete(main())
    finally:
        asyncio.set_event_loop(None)


def error(function, *args):
    with pytest.raises(BaseException) as caught:
        function(*args)
    return type(caught.value), str(caught.value)


async def coroutine_function():
    pass


@pytest.mark.parametrize("poison", ["1", None, 0, -1, signal.NSIG + 1, signal.SIGKILL, signal.SIGSTOP])
def test_errors_for_wrong_signals(poison):
    def errors(factory):
        loop = factory()
        try:
            return error(loop.add_signal_handler, poison, int), (
                loop.remove_signal_handler(poison)
                if poison in (signal.SIGKILL, signal.SIGSTOP)
                else error(loop.remove_signal_handler, poison)
            )
        finally:
            loop.close()

    assert errors(treadle.new_event_loop) == errors(asyncio.SelectorEventLoop)


def test_errors_for_wrong_callbacks_threads_and_closed_loops():
    def errors(factory):
        found = []
        loop = factory()
        found.append(error(loop.add_signal_handler, SIGNAL, coroutine_function))
        coroutine = coroutine_function()
        found.append(error(loop.add_signal_handler, SIGNAL, coroutine))
        coroutine.close()
        thread = threading.Thread(target=lambda: found.append(error(loop.add_signal_handler, SIGNAL, int)))
        thread.start()
        thread.join()
        loop.close()
        found.append(error(loop.add_signal_handler, SIGNAL, int))
        return found

    # asyncio's leaves its descriptor behind after some of these
    expected = errors(asyncio.SelectorEventLoop)
    signal.set_wakeup_fd(-1)
    assert errors(treadle.new_event_loop) == expected


# ---- the wakeup descriptor; asyncio's loop forgets the one there was -------------------


@pytest.fixture
def own_fd():
    """A wakeup descriptor of the program's own."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        signal.set_wakeup_fd(ours.fileno())
        yield ours.fileno()
        signal.set_wakeup_fd(-1)


def current_wakeup_fd():
    fd = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(fd)
    return fd


@pytest.fixture
def ours():
    loop = treadle.new_event_loop()
    yield loop
    loop.close()


def test_the_wakeup_descriptor_comes_back_with_the_last_handler(ours, own_fd):
    ours.add_signal_handler(SIGNAL, int)
    ours.add_signal_handler(signal.SIGUSR2, int)
    assert current_wakeup_fd() == ours._csock.fileno()
    ours.remove_signal_handler(SIGNAL)
    assert current_wakeup_fd() == ours._csock.fileno()
    ours.remove_signal_handler(signal.SIGUSR2)
    assert current_wakeup_fd() == own_fd


def test_the_wakeup_descriptor_comes_back_when_the_loop_closes(own_fd):
    loop = treadle.new_event_loop()
    loop.add_signal_handler(SIGNAL, int)
    loop.add_signal_handler(signal.SIGUSR2, int)
    loop.close()
    assert current_wakeup_fd() == own_fd


@pytest.mark.parametrize("poison", [signal.SIGKILL, "1", -1])
def test_the_wakeup_descriptor_stays_when_a_handler_is_refused(ours, own_fd, poison):
    with pytest.raises((RuntimeError, TypeError, ValueError)):
        ours.add_signal_handler(poison, int)
    assert current_wakeup_fd() == own_fd
    ours.add_signal_handler(SIGNAL, int)
    with pytest.raises((RuntimeError, TypeError, ValueError)):
        ours.add_signal_handler(poison, int)
    assert current_wakeup_fd() == ours._csock.fileno()


def test_a_wakeup_descriptor_that_was_closed_does_not_come_back(ours):
    """Its number may be somebody else's by then."""
    first, second = socket.socketpair()
    with first, second:
        first.setblocking(False)
        second.setblocking(False)
        signal.set_wakeup_fd(first.fileno())
        ours.add_signal_handler(SIGNAL, int)
        os.dup2(second.fileno(), first.fileno())  # closes what was there
        ours.remove_signal_handler(SIGNAL)
        assert current_wakeup_fd() == -1


def test_a_later_owner_of_the_wakeup_descriptor_keeps_it(ours, own_fd):
    """It was taken from the loop in between; that is not undone."""
    signal.set_wakeup_fd(-1)
    ours.add_signal_handler(SIGNAL, int)
    signal.set_wakeup_fd(own_fd)
    ours.remove_signal_handler(SIGNAL)
    assert current_wakeup_fd() == own_fd


def test_loops_that_take_turns(ours):
    other = treadle.new_event_loop()
    ours.add_signal_handler(SIGNAL, int)
    other.add_signal_handler(signal.SIGUSR2, int)
    other.close()
    assert current_wakeup_fd() == ours._csock.fileno()
    signal.raise_signal(SIGNAL)
    ours.run_until_complete(asyncio.sleep(0.01))


def test_the_self_pipe_is_made_on_demand():
    loop = treadle.new_event_loop()
    assert list(loop._selector.get_map()) == []
    assert loop._csock is loop._csock is not None
    assert loop._csock.send(b"\0") == 1
    loop.run_until_complete(asyncio.sleep(0.01))
    with pytest.raises(BlockingIOError):
        loop._ssock.recv(1)
    loop.close()
    assert loop._csock is None and loop._ssock is None


# ---- Ctrl-C, seen from outside -----------------------------------------------------


@pytest.mark.parametrize("module", ["asyncio", "treadle"])
def test_ctrl_c_ends_a_program(module):
    script = f"""
import asyncio, {module}
async def main():
    print("ready", flush=True)
    try:
        await asyncio.sleep(3600)
    finally:
        print("cleaned up", flush=True)
{module}.run(main())
"""
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=script_environment()
    )
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert out == "cleaned up\n"
    assert err.rstrip().endswith("KeyboardInterrupt")
    assert process.returncode == -signal.SIGINT
