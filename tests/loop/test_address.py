"""Addresses of sock_recvfrom() and sock_sendto(): those of the socket module."""

import asyncio
import socket

import pytest
from support.sockets import new_pair, run, turns



def has_ipv6():
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


def addresses(folder):
    """A family and two addresses of it, by the kind of address."""
    name = b"\0" + bytes(folder)
    return {
        "IPv4": (socket.AF_INET, ("127.0.0.1", 0), ("127.0.0.1", 0)),
        "IPv6": (socket.AF_INET6, ("::1", 0), ("::1", 0, 0, 0)),
        "path": (socket.AF_UNIX, str(folder / "ours"), str(folder / "theirs")),
        "bytes": (socket.AF_UNIX, bytes(folder / "ours"), bytes(folder / "theirs")),
        "abstract": (socket.AF_UNIX, name + b"ours", name + b"theirs"),
    }


@pytest.mark.parametrize("kind", ["IPv4", "IPv6", "path", "bytes", "abstract"])
def test_datagrams(loop, tmp_path, kind):
    if kind == "IPv6" and not has_ipv6():
        pytest.skip("no IPv6 here")
    family, one, other = addresses(tmp_path)[kind]

    async def main(ours, theirs):
        home, there = ours.getsockname(), theirs.getsockname()
        for i in range(3):
            task = asyncio.create_task(loop.sock_recvfrom(ours, 2000))
            await turns()
            assert await loop.sock_sendto(theirs, b"question %d" % i, home) == 10
            data, sender = await task
            assert data == b"question %d" % i and sender == there
            assert type(sender) is type(there)
            assert await loop.sock_sendto(ours, b"answer", sender) == 6
            buffer = bytearray(b"-" * 8)
            assert await loop.sock_recvfrom_into(theirs, buffer) == (6, home)
            assert buffer == b"answer--"
            await loop.sock_sendto(ours, b"too long for this", sender)
            assert await loop.sock_recvfrom_into(theirs, buffer, 3) == (3, home)
            assert buffer == b"toower--"
        assert await loop.sock_sendto(ours, b"", there) == 0
        assert await loop.sock_recvfrom(theirs, 10) == (b"", home)

    with socket.socket(family, socket.SOCK_DGRAM) as ours, socket.socket(family, socket.SOCK_DGRAM) as theirs:
        for end, address in ((ours, one), (theirs, other)):
            end.bind(address)
            end.setblocking(False)
        run(loop, main(ours, theirs))


def test_large_datagram(loop):
    async def main(ours, theirs):
        data = bytes(60_000)
        await loop.sock_sendto(theirs, data, ours.getsockname())
        assert await loop.sock_recvfrom(ours, 1 << 18) == (data, theirs.getsockname())
        await loop.sock_sendto(theirs, data, ours.getsockname())
        assert await loop.sock_recv(ours, 1 << 18) == data

    with socket.socket(type=socket.SOCK_DGRAM) as ours, socket.socket(type=socket.SOCK_DGRAM) as theirs:
        for end in (ours, theirs):
            end.bind(("127.0.0.1", 0))
            end.setblocking(False)
        run(loop, main(ours, theirs))


def test_datagram_without_a_sender(loop):
    async def main(ours, theirs):
        theirs.send(b"x")
        assert await loop.sock_recvfrom(ours, 10) == (b"x", socket_says)

    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs:
        theirs.send(b"y")
        socket_says = ours.recvfrom(10)[1]
        run(loop, main(ours, theirs))


def test_stream_has_no_sender(loop):
    ours, theirs = new_pair("TCP")

    async def main():
        theirs.send(b"x")
        theirs.send(b"y")
        expected = ours.recvfrom(1)[1]
        assert await loop.sock_recvfrom(ours, 1) == (b"y", expected)

    with ours, theirs:
        run(loop, main())


def test_names_are_looked_up(loop):
    async def main(ours):
        port = ours.getsockname()[1]
        await loop.sock_sendto(ours, b"x", ("localhost", port))
        assert await loop.sock_recvfrom(ours, 10) == (b"x", ("127.0.0.1", port))

    with socket.socket(type=socket.SOCK_DGRAM) as ours:
        ours.bind(("127.0.0.1", 0))
        ours.setblocking(False)
        run(loop, main(ours))


def test_sendto_waits_for_room(loop):
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)

    async def main(path):
        for _ in range(10_000):
            task = asyncio.create_task(loop.sock_sendto(ours, bytes(1000), path))
            await turns(2)
            if not task.done():
                break
        assert not task.done()
        while True:
            await loop.sock_recvfrom(there, 2000)
            await turns()
            if task.done():
                break
        assert await task == 1000

    with ours, theirs, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as there:
        there.bind(b"\0treadle test of sendto")
        for end in (ours, there):
            end.setblocking(False)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        run(loop, main(there.getsockname()))
