"""Futures of asyncio that native code resolves: once, by their own methods, and not if somebody has given up."""

import asyncio
import socket

import pytest
import treadle
from support.sockets import new_pair, run, turns


class Noting(asyncio.Future):
    """Writes down how it is resolved."""

    calls = ()
    failure = None

    def done(self):
        self.calls += ("done",)
        return super().done()

    def set_result(self, result):
        self.calls += (f"result {result}",)
        if self.failure is not None:
            raise self.failure
        super().set_result(result)


@pytest.fixture
def loop():
    loop = treadle.new_event_loop()
    yield loop
    loop.close()


def connect(loop, waiter):
    """Make a transport that resolves `waiter` when it is connected; the peer's socket."""
    ours, theirs = new_pair("TCP")
    transport = loop._make_stream_transport(ours, asyncio.Protocol(), waiter)
    return transport, theirs


async def leave(transport, theirs):
    transport.abort()
    await turns()
    theirs.close()


def test_by_its_own_methods(loop):
    async def main():
        waiter = Noting(loop=loop)
        transport, theirs = connect(loop, waiter)
        assert await waiter is None
        assert waiter.calls.index("done") < waiter.calls.index("result None")
        await leave(transport, theirs)

    run(loop, main())


def test_who_has_given_up_is_left_alone(loop):
    async def main():
        waiter = Noting(loop=loop)
        transport, theirs = connect(loop, waiter)
        waiter.cancel()
        await turns()
        assert waiter.cancelled() and "result None" not in waiter.calls
        await leave(transport, theirs)

    run(loop, main())


def test_what_its_method_raises_goes_to_the_handler(loop):
    complaints = []
    loop.set_exception_handler(lambda _, context: complaints.append(context["exception"]))

    async def main():
        waiter = Noting(loop=loop)
        waiter.failure = ValueError("no")
        transport, theirs = connect(loop, waiter)
        await turns(5)
        assert complaints == [waiter.failure]
        await leave(transport, theirs)

    run(loop, main())


@pytest.mark.parametrize("given_up", [False, True])
def test_exceptions(loop, given_up):
    """Of the future that waits until nothing is queued."""

    async def main():
        ours, theirs = new_pair("TCP")
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
        while transport.get_write_buffer_size() == 0:
            transport.write(bytes(1 << 20))
        waiter = transport._make_empty_waiter()
        if given_up:
            waiter.cancel()
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        theirs.close()
        if not given_up:
            with pytest.raises((ConnectionError, OSError)):
                await waiter
        await turns(5)
        assert waiter.cancelled() is given_up
        transport._reset_empty_waiter()
        transport.abort()
        await turns()

    run(loop, main())
