"""Asyncio streams with a plain socket at the other end, or a server's callback."""

import asyncio
import contextlib
import socket

import treadle

NATIVE_READER = "treadle"  # __module__ of the class that a native reader has


def is_native(stream):
    return type(stream).__module__ == NATIVE_READER


class Ends:
    """A reader and a writer of `loop`, and the socket at the other end."""

    def __init__(self, loop, **options):
        self.loop = loop
        ours, self.peer = socket.socketpair()
        self.peer.settimeout(10)
        self.reader, self.writer = loop.run_until_complete(asyncio.open_connection(sock=ours, **options))
        if isinstance(loop, treadle.EventLoop):
            assert is_native(self.reader)

    def run(self, awaitable, limit=10):
        async def limited():
            return await asyncio.wait_for(awaitable, limit)

        return self.loop.run_until_complete(limited())

    def turn(self, times=4):
        async def turns():
            for _ in range(times):
                await asyncio.sleep(0)

        self.loop.run_until_complete(turns())

    def send(self, data):
        """Have `data` in the reader."""
        before = len(self.reader._buffer)
        self.peer.sendall(data)
        self.run(self._arrival(before + len(data)))

    async def _arrival(self, size):
        while len(self.reader._buffer) < size:
            await asyncio.sleep(0.0005)

    def close(self):
        self.writer.close()
        with contextlib.suppress(OSError):
            self.run(self.writer.wait_closed())
        self.peer.close()


async def serve(handle, **options):
    """A server on a free port, and the port."""
    server = await asyncio.start_server(handle, "127.0.0.1", 0, **options)
    return server, server.sockets[0].getsockname()[1]
