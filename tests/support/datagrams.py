"""Datagram protocols and sockets for tests of the loop."""

import asyncio
import contextlib
import itertools
import os
import socket


class Recorder(asyncio.DatagramProtocol):
    """Keeps what it is told."""

    def __init__(self):
        self.transport = None
        self.received = []
        self.errors = []
        self.lost = []
        self.told = []
        self.arrived = asyncio.Event()

    def connection_made(self, transport):
        assert self.transport is None
        self.transport = transport
        self.told.append("made")

    def datagram_received(self, data, addr):
        self.received.append((data, addr))
        self.arrived.set()

    def error_received(self, exc):
        self.errors.append(exc)
        self.arrived.set()

    def connection_lost(self, exc):
        self.lost.append(exc)
        self.told.append("lost")
        self.arrived.set()

    def pause_writing(self):
        self.told.append("pause")

    def resume_writing(self):
        self.told.append("resume")

    @property
    def data(self):
        return [data for data, _ in self.received]

    async def until(self, condition):
        while not condition(self):
            self.arrived.clear()
            await self.arrived.wait()

    async def got(self, n):
        """Wait until n datagrams have come; return all."""
        await self.until(lambda self: len(self.received) >= n)
        return self.data


class Echo(Recorder):
    """Sends back what comes."""

    def datagram_received(self, data, addr):
        super().datagram_received(data, addr)
        self.transport.sendto(data, addr)


@contextlib.asynccontextmanager
async def endpoint(factory=Recorder, **options):
    """A protocol whose transport is aborted in the end."""
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(factory, **options)
    try:
        yield protocol
    finally:
        if not protocol.lost:
            transport.abort()
        await protocol.until(lambda self: self.lost)


def bound(family=socket.AF_INET, address=("127.0.0.1", 0)):
    """A datagram socket that does not block."""
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.bind(address)
    except BaseException:
        sock.close()
        raise
    sock.setblocking(False)
    return sock


_names = itertools.count()


def new_name():
    """An abstract UNIX address that nobody has."""
    return b"\0treadle-%d-%d" % (os.getpid(), next(_names))


def crowded():
    """A connected pair, with names, of which the first soon finds no room to send."""
    theirs = bound(socket.AF_UNIX, new_name())
    ours = bound(socket.AF_UNIX, new_name())
    ours.connect(theirs.getsockname())
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    return ours, theirs
