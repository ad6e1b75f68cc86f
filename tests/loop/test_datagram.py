"""Datagram endpoints: kinds of addresses, the life of a transport, its attributes."""

import asyncio
import contextvars
import gc
import os
import socket
import weakref

import pytest
from support.datagrams import Echo, Recorder, bound, crowded, endpoint, new_name
from support.sockets import run, turns

LOCAL = ("127.0.0.1", 0)


def has_ipv6():
    try:
        bound(socket.AF_INET6, ("::1", 0)).close()
    except OSError:
        return False
    return True


# ---- who talks to whom ----------------------------------------------------------------


@pytest.mark.parametrize("kind", ["IPv4", "IPv6", "path", "abstract"])
def test_echo(loop, tmp_path, kind):
    if kind == "IPv6" and not has_ipv6():
        pytest.skip("no IPv6 here")
    options = {
        "IPv4": {"local_addr": LOCAL},
        "IPv6": {"local_addr": ("::1", 0)},
        "path": {"local_addr": str(tmp_path / "echo"), "family": socket.AF_UNIX},
        "abstract": {"local_addr": "\0" + str(tmp_path), "family": socket.AF_UNIX},
    }[kind]

    async def main():
        async with endpoint(Echo, **options) as echo:
            address = echo.transport.get_extra_info("sockname")
            sock = echo.transport.get_extra_info("socket")
            homes = {
                "IPv4": LOCAL,
                "IPv6": ("::1", 0),
                "path": str(tmp_path / "ours"),
                "abstract": new_name(),
            }
            with bound(sock.family, homes[kind]) as ours:
                expected = ours.getsockname()
                async with endpoint(sock=ours) as protocol:
                    for i in range(5):
                        protocol.transport.sendto(b"%d" % i, address)
                    assert await protocol.got(5) == [b"%d" % i for i in range(5)]
                    assert {sender for _, sender in protocol.received} == {address}
                    assert {sender for _, sender in echo.received} == {expected}
                    assert type(echo.received[0][1]) is type(expected)

    run(loop, main())


def test_connected(loop):
    async def main():
        async with endpoint(Echo, local_addr=LOCAL) as echo:
            address = echo.transport.get_extra_info("sockname")
            async with endpoint(remote_addr=address) as protocol:
                assert protocol.transport.get_extra_info("peername") == address
                protocol.transport.sendto(b"a")
                protocol.transport.sendto(b"b", None)
                protocol.transport.sendto(b"c", address)
                protocol.transport.sendto(data=b"d", addr=address)
                assert await protocol.got(4) == [b"a", b"b", b"c", b"d"]
                with pytest.raises(ValueError, match="Invalid address: must be None or") as raised:
                    protocol.transport.sendto(b"x", ("127.0.0.1", 1))
                assert str(address) in str(raised.value)

    run(loop, main())


def test_socket_that_is_connected_ignores_addresses(loop):
    ours, theirs = crowded()

    async def main():
        async with endpoint(sock=ours) as protocol:
            protocol.transport.sendto(b"a", "/nowhere")
            assert theirs.recv(10) == b"a"
            theirs.sendto(b"b", ours.getsockname())
            await protocol.got(1)
            assert protocol.received == [(b"b", theirs.getsockname())]

    with ours, theirs:
        run(loop, main())


def test_many_peers(loop):
    """More than any cache of addresses holds."""

    async def main():
        socks = [bound() for _ in range(150)]
        async with endpoint(Echo, local_addr=LOCAL) as echo:
            address = echo.transport.get_extra_info("sockname")
            for turn in range(2):
                for i, sock in enumerate(socks):
                    sock.sendto(b"%d/%d" % (turn, i), address)
                    if i % 50 == 0:
                        await echo.got(turn * 150 + i)
                await echo.got((turn + 1) * 150)
            senders = [sock.getsockname() for sock in socks]
            assert sorted(sender for _, sender in echo.received) == sorted(senders * 2)
        for i, sock in enumerate(socks):
            assert [sock.recv(10), sock.recv(10)] == [b"0/%d" % i, b"1/%d" % i]
            sock.close()

    run(loop, main())


def test_subclass_of_socket(loop):
    class Shouting(socket.socket):
        def recvfrom(self, n, flags=0):
            data, addr = super().recvfrom(n, flags)
            return data.upper(), addr

    async def main():
        sock = Shouting(type=socket.SOCK_DGRAM)
        sock.bind(LOCAL)
        async with endpoint(sock=sock) as protocol:
            protocol.transport.sendto(b"abc", sock.getsockname())
            assert await protocol.got(1) == [b"ABC"]

    run(loop, main())


# ---- beginning and end ----------------------------------------------------------------


def test_what_a_transport_is(loop):
    async def main():
        async with endpoint(local_addr=LOCAL) as protocol:
            transport = protocol.transport
            fd = transport.get_extra_info("socket").fileno()
            assert isinstance(transport, asyncio.Transport)
            assert transport._sock_fd == fd and loop._transports[fd] is transport
            assert f"fd={fd} read=polling write=<idle, bufsize=0>>" in repr(transport)
            assert transport.get_protocol() is protocol and transport.is_reading()
            assert transport.get_write_buffer_limits() == (16 * 1024, 64 * 1024)
            assert transport.get_extra_info("nothing", 7) == 7
            assert loop._selector.get_map()[fd].events == 1
            for method in (loop.add_reader, loop.add_writer):
                with pytest.raises(RuntimeError, match="is used by transport"):
                    method(fd, print)
            weakref.ref(transport)
            transport.note = 1
        assert "closed" in repr(transport) and transport._sock is None
        assert fd not in loop._selector.get_map()

    run(loop, main())


def test_is_a_datagram_transport(native):
    async def main():
        async with endpoint(local_addr=LOCAL) as protocol:
            stock = asyncio.selector_events._SelectorDatagramTransport
            for base in (stock, *stock.__mro__):
                assert isinstance(protocol.transport, base)

    run(native, main())


@pytest.mark.parametrize("how", ["close", "abort"])
def test_ends_once(loop, how):
    async def main():
        transport, protocol = await loop.create_datagram_endpoint(Recorder, local_addr=LOCAL)
        sock = transport.get_extra_info("socket")
        fd = sock.fileno()
        getattr(transport, how)()
        assert transport.is_closing() and not protocol.lost
        transport.close()
        transport.abort()
        await turns(4)
        assert protocol.lost == [None] and protocol.told == ["made", "lost"]
        assert sock.fileno() == -1
        with pytest.raises(OSError):
            os.fstat(fd)
        transport.close()
        transport.abort()
        await turns(4)
        assert protocol.lost == [None]

    run(loop, main())


def test_closing_in_connection_made(loop):
    class Closing(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            transport.close()

    async def main():
        async with endpoint(Closing, local_addr=LOCAL) as protocol:
            await turns(4)
            assert protocol.lost == [None]

    run(loop, main())


def test_closing_in_datagram_received(loop):
    class Closing(Recorder):
        def datagram_received(self, data, addr):
            super().datagram_received(data, addr)
            self.transport.close()

    async def main():
        with bound() as ours, bound() as sock:
            for i in range(5):
                ours.sendto(b"%d" % i, sock.getsockname())
            async with endpoint(Closing, sock=sock) as protocol:
                await protocol.until(lambda self: self.lost)
                await turns()
                assert protocol.data == [b"0"] and protocol.lost == [None]

    run(loop, main())


def test_sending_in_connection_lost(loop):
    class Polite(Recorder):
        def connection_lost(self, exc):
            self.transport.sendto(b"bye", there)
            super().connection_lost(exc)

    async def main():
        async with endpoint(Polite, local_addr=LOCAL) as protocol:
            protocol.transport.close()
            await turns(4)
        assert ours.recv(10) == b"bye"

    with bound() as ours:
        there = ours.getsockname()
        run(loop, main())


def test_unclosed(loop):
    async def main():
        transport, protocol = await loop.create_datagram_endpoint(Recorder, local_addr=LOCAL)
        sock = transport._sock
        await turns()
        transport.pause_reading()
        gone = weakref.ref(transport)
        protocol.transport = None
        with pytest.warns(ResourceWarning, match="unclosed transport"):
            del transport
            gc.collect()
        assert sock.fileno() == -1 and gone() is None

    run(loop, main())


def test_used_by_a_transport(loop):
    async def main():
        async with endpoint(local_addr=LOCAL) as protocol:
            with pytest.raises(RuntimeError, match="is used by transport"):
                await loop.sock_recv(protocol.transport._sock, 10)
            protocol.transport.sendto(b"x", protocol.transport.get_extra_info("sockname"))
            assert await protocol.got(1) == [b"x"]

    run(loop, main())


def test_nothing_is_left(loop):
    async def cycle():
        async with endpoint(Echo, local_addr=LOCAL) as echo:
            address = echo.transport.get_extra_info("sockname")
            async with endpoint(remote_addr=address) as protocol:
                protocol.transport.sendto(b"x")
                await protocol.got(1)
        return weakref.ref(echo.transport), weakref.ref(protocol)

    async def main():
        await cycle()
        gc.collect()
        before = len(os.listdir("/proc/self/fd")), len(gc.get_objects())
        refs = [ref for _ in range(30) for ref in await cycle()]
        await turns()
        gc.collect()
        assert not any(ref() for ref in refs)
        after = len(os.listdir("/proc/self/fd")), len(gc.get_objects())
        assert after[0] == before[0] and after[1] < before[1] + 200

    run(loop, main())


# ---- order and context ----------------------------------------------------------------


def test_context(loop):
    var = contextvars.ContextVar("var", default="none")

    class Looking(Recorder):
        def datagram_received(self, data, addr):
            super().datagram_received(var.get(), addr)

    async def main():
        var.set("of the endpoint")
        async with endpoint(Looking, local_addr=LOCAL) as protocol:
            var.set("of the test")
            protocol.transport.sendto(b"x", protocol.transport.get_extra_info("sockname"))
            assert await protocol.got(1) == ["of the endpoint"]

    run(loop, main())


def test_what_was_ready_before_comes_first(loop):
    order = []

    class Noting(Recorder):
        def datagram_received(self, data, addr):
            super().datagram_received(data, addr)
            order.append("datagram")

    sock = bound()
    transport, protocol = run(loop, loop.create_datagram_endpoint(Noting, sock=sock))
    transport.sendto(b"x", sock.getsockname())
    loop.call_soon(order.append, "callback")
    run(loop, protocol.got(1))
    assert order == ["callback", "datagram"]
    transport.close()
    run(loop, turns())
