"""What waits to be written: bytes objects as they are, anything else as a copy; and who still refers to them."""

import asyncio
import gc
import os
import sys

import pytest
import treadle
from support.sockets import new_pair, run, turns

SIZE = 1 << 16
WITH_GIL = getattr(sys, "_is_gil_enabled", lambda: True)()


@pytest.fixture
def loop():
    loop = treadle.new_event_loop()
    yield loop
    loop.close()


class Stuck:
    """A transport whose peer does not read until it is told to."""

    def __init__(self, loop, kind):
        self.loop, self.kind = loop, kind

    async def __aenter__(self):
        if self.kind == "pipe":
            self.reader, writer = os.pipe()
            os.set_blocking(self.reader, False)
            self.transport, _ = await self.loop.connect_write_pipe(asyncio.Protocol, open(writer, "wb", 0))
        else:
            ours, self.theirs = new_pair("UNIX")
            self.reader = self.theirs.fileno()
            self.transport, _ = await self.loop.create_connection(asyncio.Protocol, sock=ours)
        while self.transport.get_write_buffer_size() == 0:
            self.transport.write(b"." * SIZE)
        return self

    async def read_all(self):
        """What comes until nothing is queued, without the filling."""
        data = b""
        while True:
            queued = self.transport.get_write_buffer_size()
            try:
                data += os.read(self.reader, 1 << 20)
            except BlockingIOError:
                if queued == 0:
                    return data.lstrip(b".")
            await asyncio.sleep(0)

    async def __aexit__(self, *_):
        self.transport.abort()
        await turns()
        if self.kind == "pipe":
            os.close(self.reader)
        else:
            self.theirs.close()


@pytest.fixture(params=["socket", "pipe"])
def kind(request):
    return request.param


def is_held(transport, data):
    return any(each is data for each in gc.get_referents(transport))


def test_bytes_are_lent_until_they_are_written(loop, kind):
    async def main():
        data = bytes(range(1, 46)) * 1000
        async with Stuck(loop, kind) as stuck:
            before = sys.getrefcount(data)
            stuck.transport.write(data)
            assert is_held(stuck.transport, data)
            if WITH_GIL:
                assert sys.getrefcount(data) == before + 1
            assert await stuck.read_all() == data
            assert not is_held(stuck.transport, data)
            if WITH_GIL:
                assert sys.getrefcount(data) == before

    run(loop, main())


class Bytes(bytes):
    pass


@pytest.mark.parametrize("make", [bytearray, lambda data: memoryview(bytearray(data)), Bytes])
def test_what_may_change_is_copied(loop, kind, make):
    async def main():
        original = b"original" * 1000
        data = make(original)
        async with Stuck(loop, kind) as stuck:
            stuck.transport.write(data)
            assert not is_held(stuck.transport, data)
            if not isinstance(data, bytes):
                data[:8] = b"modified"
            assert await stuck.read_all() == original

    run(loop, main())


def test_bytearrays_can_be_resized_at_once(loop, kind):
    async def main():
        data = bytearray(b"x" * 1000)
        async with Stuck(loop, kind) as stuck:
            stuck.transport.write(data)
            data.clear()  # no export is left
            assert await stuck.read_all() == b"x" * 1000

    run(loop, main())


def test_lines_of_all_kinds_keep_their_order(loop, kind):
    async def main():
        lines = [b"bytes;" * 100, bytearray(b"array;" * 100), b"", memoryview(b"view;" * 100), b"last"]
        async with Stuck(loop, kind) as stuck:
            stuck.transport.writelines(lines)
            assert await stuck.read_all() == b"".join(lines)

    run(loop, main())


def test_what_is_lost_is_let_go(loop, kind):
    async def main():
        data = b"lost" * 1000
        before = sys.getrefcount(data)
        async with Stuck(loop, kind) as stuck:
            stuck.transport.write(data)
        assert not is_held(stuck.transport, data)
        if WITH_GIL:
            assert sys.getrefcount(data) == before

    run(loop, main())


def test_cycles_through_what_is_queued_are_collected():
    """A transport that is dropped with its loop takes what it has queued along."""
    data = b"queued" * 1000
    loop = treadle.new_event_loop()
    before = sys.getrefcount(data)

    async def main():
        ours, theirs = new_pair("UNIX")
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
        while transport.get_write_buffer_size() == 0:
            transport.write(b"." * SIZE)
        transport.write(data)
        transport.myself = transport
        return transport, theirs

    transport, theirs = run(loop, main())
    theirs.close()
    transport.abort()
    run(loop, turns())
    loop.close()
    del transport, main, loop
    gc.collect()
    if WITH_GIL:
        assert sys.getrefcount(data) == before
