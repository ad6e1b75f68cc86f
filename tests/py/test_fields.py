"""Fields of native objects that Python code looks at: what they show, and that they are only shown."""

import asyncio
import os

import pytest
import treadle
from support.sockets import new_pair, run

OBJECTS = ["_loop", "_protocol", "_empty_waiter"]
FLAGS = ["_closing", "_eof", "_paused", "_protocol_paused"]


@pytest.fixture(params=[asyncio.SelectorEventLoop, treadle.new_event_loop], ids=["stock", "treadle"])
def loop(request):
    loop = request.param()
    yield loop
    loop.close()


def with_transport(loop, look):
    ours, theirs = new_pair("TCP")

    async def main():
        transport, protocol = await loop.create_connection(asyncio.Protocol, sock=ours)
        try:
            look(transport, protocol)
        finally:
            transport.abort()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        return transport

    with theirs:
        return run(loop, main())


def test_objects(loop):
    def look(transport, protocol):
        assert transport._loop is loop
        assert transport._protocol is protocol
        assert transport._empty_waiter is None
        assert transport._server is None

    closed = with_transport(loop, look)
    assert closed._protocol is None and closed._loop is None


def test_flags(loop):
    def look(transport, protocol):
        assert [getattr(transport, name) for name in FLAGS] == [False] * len(FLAGS)
        transport.pause_reading()
        assert transport._paused is True
        transport.write_eof()
        assert transport._eof is True
        transport.close()
        assert transport._closing is True

    with_transport(loop, look)


def test_pipes(loop):
    reader, writer = os.pipe()

    async def main():
        transport, protocol = await loop.connect_read_pipe(asyncio.Protocol, open(reader, "rb", 0))
        assert transport._loop is loop and transport._protocol is protocol
        assert transport._closing is False and transport._paused is False
        transport.pause_reading()
        assert transport._paused is True
        transport.close()
        assert transport._closing is True
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert transport._protocol is None

    run(loop, main())
    os.close(writer)


@pytest.mark.parametrize("name", ["_loop", "_empty_waiter", "_closing", "_protocol_paused"])
def test_they_cannot_be_set(name):
    def look(transport, protocol):
        before = getattr(transport, name)
        with pytest.raises(AttributeError):
            setattr(transport, name, None)
        with pytest.raises(AttributeError):
            delattr(transport, name)
        assert getattr(transport, name) is before

    loop = treadle.new_event_loop()
    try:
        with_transport(loop, look)
    finally:
        loop.close()
