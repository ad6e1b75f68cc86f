"""Many cycles of opening, echoing and closing leave descriptors, threads, objects and references level.

TREADLE_SOAK_CYCLES sets how many there are of each kind.
"""

import asyncio
import gc
import os
import socket
import sys
import threading

import pytest
from support.sockets import run
from support.stepping import descriptors

CYCLES = int(os.environ.get("TREADLE_SOAK_CYCLES", "500"))
FEW = 20

pytestmark = pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts descriptors in /proc")


class Echo(asyncio.Protocol, asyncio.DatagramProtocol):
    """Sends back what comes, by stream or datagram."""

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)

    def datagram_received(self, data, addr):
        self.transport.sendto(data, addr)


class Client(asyncio.Protocol, asyncio.DatagramProtocol):
    """Gets one answer."""

    def __init__(self):
        self.answer = asyncio.get_running_loop().create_future()
        self.lost = asyncio.get_running_loop().create_future()

    def data_received(self, data):
        self.answer.set_result(data)

    def datagram_received(self, data, addr):
        self.answer.set_result(data)

    def connection_lost(self, exc):
        self.lost.set_result(exc)


async def finish(transport, client):
    assert await client.answer == b"hello"
    transport.close()
    assert await client.lost is None


async def tcp(loop, cycles):
    server = await loop.create_server(Echo, "127.0.0.1", 0)
    for _ in range(cycles):
        transport, client = await loop.create_connection(Client, *server.sockets[0].getsockname())
        transport.write(b"hello")
        await finish(transport, client)
    server.close()
    await server.wait_closed()


async def unix(loop, cycles):
    name = f"\0treadle-soak-{os.getpid()}"
    server = await loop.create_unix_server(Echo, name)
    for _ in range(cycles):
        transport, client = await loop.create_unix_connection(Client, name)
        transport.write(b"hello")
        await finish(transport, client)
    server.close()
    await server.wait_closed()


async def udp(loop, cycles):
    server, _ = await loop.create_datagram_endpoint(Echo, local_addr=("127.0.0.1", 0))
    for _ in range(cycles):
        address = server.get_extra_info("sockname")
        transport, client = await loop.create_datagram_endpoint(Client, remote_addr=address)
        transport.sendto(b"hello")
        await finish(transport, client)
    server.close()
    await asyncio.sleep(0)


async def streams(loop, cycles):
    async def echo(reader, writer):
        writer.write(await reader.read(100))
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    for _ in range(cycles):
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"hello")
        assert await reader.read() == b"hello"
        writer.close()
        await writer.wait_closed()
    server.close()
    await server.wait_closed()


async def sockets(loop, cycles):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        for _ in range(cycles):
            with socket.socket() as ours:
                ours.setblocking(False)
                await loop.sock_connect(ours, listener.getsockname())
                theirs, _ = await loop.sock_accept(listener)
                with theirs:
                    await loop.sock_sendall(ours, b"hello")
                    assert await loop.sock_recv(theirs, 100) == b"hello"


async def processes(loop, cycles):
    for _ in range(cycles // 8):
        process = await asyncio.create_subprocess_exec("/bin/cat", stdin=-1, stdout=-1)
        assert await process.communicate(b"hello") == (b"hello", None)
        assert process.returncode == 0


async def jobs(loop, cycles):
    for _ in range(cycles):
        assert await asyncio.to_thread(str.upper, "hello") == "HELLO"
        assert await loop.getaddrinfo("127.0.0.1", 1, type=socket.SOCK_STREAM)


async def timers(loop, cycles):
    for _ in range(cycles):
        async with asyncio.timeout(100):
            await asyncio.sleep(0)
        await asyncio.wait([asyncio.ensure_future(asyncio.sleep(0.0001))], timeout=50)


def level():
    """What must not grow."""
    for _ in range(3):
        gc.collect()
    counts = {}
    for thing in gc.get_objects():
        name = type(thing).__module__ + "." + type(thing).__qualname__
        counts[name] = counts.get(name, 0) + 1
    return {
        "descriptors": len(descriptors()),
        "threads": threading.active_count(),
        "blocks": sys.getallocatedblocks(),
        "none": sys.getrefcount(None) if sys.version_info < (3, 12) else 0,
    }, counts


KINDS = [tcp, unix, udp, streams, sockets, processes, jobs, timers]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_nothing_is_left(loop, kind):
    async def soak():
        await asyncio.to_thread(gc.collect)
        await kind(loop, FEW)
        await asyncio.sleep(0.01)
        before, objects_before = level()
        await kind(loop, CYCLES)
        await asyncio.sleep(0.01)
        return before, objects_before, *level()

    before, objects_before, after, objects = run(loop, soak())
    assert after["descriptors"] == before["descriptors"]
    assert after["threads"] <= before["threads"] + os.cpu_count() + 4  # stock's executor makes them as it needs them
    grown = {name: n - objects_before.get(name, 0) for name, n in objects.items()}
    cycles = CYCLES // 8 if kind is processes else CYCLES
    kept = 100 if kind is timers else 0  # asyncio lets so many cancelled timers lie about
    assert {name: n for name, n in grown.items() if n > cycles // 4 + 5 + kept} == {}
    assert after["blocks"] - before["blocks"] < 4 * cycles + 500
    if sys.version_info < (3, 12):
        assert abs(after["none"] - before["none"]) < cycles // 2 + 50
