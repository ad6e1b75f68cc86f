"""No more descriptors: the error that asyncio's loop gives, nothing left open, and the loop works on."""

import asyncio
import contextlib
import errno
import gc
import os
import resource
import signal
import socket
import sys
import time

import pytest
from support.sockets import new_pair, run
from support.stepping import descriptors

pytestmark = pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts descriptors in /proc")
MORE_THAN_ANY_NEEDS = 30


@contextlib.contextmanager
def only(n):
    """No more than n new descriptors can be opened."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.ExitStack() as stack:
        free = [os.open(os.devnull, os.O_RDONLY) for _ in range(n + 1)]
        top = max(free)
        filled = []  # holes below would be taken as well
        while not filled or filled[-1] < top:
            filled.append(os.open(os.devnull, os.O_RDONLY))
        for fd in filled:
            if fd < top:
                stack.callback(os.close, fd)
            else:
                os.close(fd)
        for fd in free:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (top, limits[1]))
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, limits)
        yield


async def connect(loop, address):
    transport, _ = await loop.create_connection(asyncio.Protocol, *address)
    transport.abort()


async def serve(loop, address):
    server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
    if not server.sockets:  # asyncio takes a socket that cannot be made for a family that is not there
        raise OSError(errno.EMFILE, "no sockets")
    server.close()


async def serve_unix(loop, address):
    server = await loop.create_unix_server(asyncio.Protocol, f"\0treadle-exhausted-{os.getpid()}")
    server.close()


async def datagrams(loop, address):
    transport, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0))
    transport.abort()


async def process(loop, address):
    done = await asyncio.create_subprocess_exec("/bin/true", stdin=-1, stdout=-1, stderr=-1)
    await done.communicate()


OPERATIONS = [connect, serve, serve_unix, datagrams, process]


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.__name__)
def test_every_number_of_descriptors_that_is_too_few(loop, operation):
    """Fails with EMFILE until there are enough, and leaves what was open."""
    loop.set_exception_handler(lambda *_: None)

    async def all_numbers():
        with socket.create_server(("127.0.0.1", 0)) as listener:
            address = listener.getsockname()
            await operation(loop, address)
            await asyncio.sleep(0.01)
            gc.collect()
            before = descriptors()
            for n in range(MORE_THAN_ANY_NEEDS):
                outcome = None
                with only(n):
                    try:
                        await asyncio.wait_for(operation(loop, address), 20)
                    except OSError as error:
                        outcome = error
                deadline = time.monotonic() + 10
                while (now := descriptors()) != before and time.monotonic() < deadline:
                    await asyncio.sleep(0.001)
                    gc.collect()
                assert now == before
                await operation(loop, address)
                if outcome is None:
                    return n
                assert outcome.errno == errno.EMFILE or operation is serve and "could not bind" in str(outcome)
        raise AssertionError("there are never enough")

    assert run(loop, all_numbers()) >= 1


def test_sock_accept(loop):
    async def accept():
        with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as client:
            listener.setblocking(False)
            client.connect(listener.getsockname())
            with only(0):
                with pytest.raises(OSError) as failure:
                    await loop.sock_accept(listener)
                assert failure.value.errno == errno.EMFILE
            sock, _ = await loop.sock_accept(listener)  # it has not been lost
            sock.close()

    run(loop, accept())


def test_a_loop_cannot_be_made(factory, monkeypatch):
    """Nobody complains later, either."""
    complaints = []
    monkeypatch.setattr(sys, "unraisablehook", complaints.append)
    if factory is asyncio.SelectorEventLoop:
        pytest.skip("asyncio's own loop leaves its epoll open, and its finalizer fails")
    factory().close()
    gc.collect()
    before = descriptors()
    for n in range(MORE_THAN_ANY_NEEDS):
        made = None
        with only(n):
            try:
                made = factory()
            except OSError as error:
                assert error.errno == errno.EMFILE
        if made is not None:
            made.close()
        gc.collect()
        assert descriptors() == before, n
        assert complaints == []
        if made is not None:
            assert n >= 1
            return
    raise AssertionError("there are never enough")


def test_what_is_open_works_on(loop):
    """Without a free descriptor the loop still runs timers, traffic and jobs."""

    async def work():
        ours, theirs = new_pair("TCP")
        with ours, theirs:
            await loop.run_in_executor(None, os.getpid)
            with only(0):
                waiting = asyncio.ensure_future(loop.sock_recv(ours, 10))
                await asyncio.sleep(0.001)
                await loop.sock_sendall(theirs, b"works")
                assert await waiting == b"works"
                assert await loop.run_in_executor(None, os.getpid) == os.getpid()

    run(loop, work())


def test_signal_handlers(loop):
    """What fails to be set up for lack of descriptors can be set up later."""
    with only(0):
        with contextlib.suppress(OSError, RuntimeError):
            loop.add_signal_handler(signal.SIGUSR1, lambda: None)
            loop.remove_signal_handler(signal.SIGUSR1)
    came = []
    loop.add_signal_handler(signal.SIGUSR1, lambda: (came.append(1), loop.stop()))
    loop.call_soon(os.kill, os.getpid(), signal.SIGUSR1)
    loop.run_forever()
    assert came == [1]
    assert loop.remove_signal_handler(signal.SIGUSR1)
