"""Datagram endpoints: what comes in."""

import socket

import pytest
from support.datagrams import Recorder, bound, crowded, endpoint
from support.sockets import run, turns

LOCAL = ("127.0.0.1", 0)


@pytest.mark.parametrize("n", [1, 2, 32, 33, 100])
def test_burst(loop, n):
    async def main():
        with bound() as ours:
            async with endpoint(local_addr=LOCAL) as protocol:
                address = protocol.transport.get_extra_info("sockname")
                expected = [b"%d" % i for i in range(n)]
                for data in expected:
                    ours.sendto(data, address)
                assert await protocol.got(n) == expected
                assert {sender for _, sender in protocol.received} == {ours.getsockname()}
                assert all(type(data) is bytes for data in protocol.data)

    run(loop, main())


def test_sizes(loop):
    async def main():
        with bound() as ours:
            async with endpoint(local_addr=LOCAL) as protocol:
                address = protocol.transport.get_extra_info("sockname")
                sizes = [0, 1, 1472, 65507, 0, 30000]
                for size in sizes:
                    ours.sendto(b"x" * size, address)
                assert [len(data) for data in await protocol.got(len(sizes))] == sizes

    run(loop, main())


def test_large_unix_datagrams(loop):
    ours, theirs = crowded()

    async def main():
        async with endpoint(sock=ours) as protocol:
            for i in range(3):
                theirs.sendto(b"%d" % i * 150_000, ours.getsockname())
                await protocol.got(i + 1)
            assert protocol.data == [b"%d" % i * 150_000 for i in range(3)]

    with ours, theirs:
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 400_000)
        run(loop, main())


def test_refused(loop):
    """An ICMP error is told, and the transport lives on."""
    with bound() as gone:
        address = gone.getsockname()

    async def main():
        async with endpoint(remote_addr=address) as protocol:
            protocol.transport.sendto(b"x")
            await protocol.until(lambda self: self.errors)
            assert isinstance(protocol.errors[0], ConnectionRefusedError)
            assert not protocol.lost and protocol.transport.is_reading()
            with bound(address=address) as ours:
                ours.sendto(b"y", protocol.transport.get_extra_info("sockname"))
                assert await protocol.got(1) == [b"y"]

    run(loop, main())


def test_protocol_that_raises(loop):
    class Raising(Recorder):
        def datagram_received(self, data, addr):
            super().datagram_received(data, addr)
            if data == b"1":
                raise ValueError("mine")

    reports = []
    loop.set_exception_handler(lambda loop, context: reports.append(context))

    async def main():
        with bound() as ours, bound() as sock:
            for i in range(3):
                ours.sendto(b"%d" % i, sock.getsockname())
            async with endpoint(Raising, sock=sock) as protocol:
                assert await protocol.got(3) == [b"0", b"1", b"2"]
                assert not protocol.lost

    run(loop, main())
    assert [str(report["exception"]) for report in reports] == ["mine"]
    assert reports[0]["message"].startswith("Exception in callback")


@pytest.mark.parametrize("exception", [KeyboardInterrupt, SystemExit])
def test_protocol_that_ends_the_program(loop, exception):
    class Ending(Recorder):
        def datagram_received(self, data, addr):
            super().datagram_received(data, addr)
            raise exception

    sock = bound()
    transport, protocol = run(loop, loop.create_datagram_endpoint(Ending, sock=sock))
    for _ in range(2):
        transport.sendto(b"x", sock.getsockname())
    with pytest.raises(exception):
        loop.run_forever()
    assert protocol.data == [b"x"]
    transport.abort()
    run(loop, turns())
    assert protocol.lost == [None]


def test_pausing_in_the_middle(loop):
    class Pausing(Recorder):
        def datagram_received(self, data, addr):
            super().datagram_received(data, addr)
            if data in (b"1", b"3"):
                self.transport.pause_reading()

    async def main():
        with bound() as ours, bound() as sock:
            for i in range(6):
                ours.sendto(b"%d" % i, sock.getsockname())
            async with endpoint(Pausing, sock=sock) as protocol:
                await protocol.got(2)
                await turns(5)
                assert protocol.data == [b"0", b"1"] and not protocol.transport.is_reading()
                ours.sendto(b"6", sock.getsockname())
                protocol.transport.resume_reading()
                await protocol.got(4)
                await turns(5)
                assert protocol.data == [b"0", b"1", b"2", b"3"]
                protocol.transport.resume_reading()
                assert await protocol.got(7) == [b"%d" % i for i in range(7)]

    run(loop, main())


def test_closing_while_paused(loop):
    class Pausing(Recorder):
        def datagram_received(self, data, addr):
            super().datagram_received(data, addr)
            self.transport.pause_reading()

    async def main():
        with bound() as ours, bound() as sock:
            for i in range(3):
                ours.sendto(b"%d" % i, sock.getsockname())
            async with endpoint(Pausing, sock=sock) as protocol:
                await protocol.got(1)
                protocol.transport.close()
                await turns(5)
                assert protocol.data == [b"0"] and protocol.lost == [None]

    run(loop, main())


def test_address_of_a_peer_is_made_once(native):
    async def main():
        with bound() as ours:
            async with endpoint(local_addr=LOCAL) as protocol:
                for _ in range(3):
                    ours.sendto(b"x", protocol.transport.get_extra_info("sockname"))
                await protocol.got(3)
                assert len({id(sender) for _, sender in protocol.received}) == 1

    run(native, main())


def test_set_protocol(loop):
    async def main():
        with bound() as ours:
            async with endpoint(local_addr=LOCAL) as protocol:
                address = protocol.transport.get_extra_info("sockname")
                other = Recorder()
                protocol.transport.set_protocol(other)
                ours.sendto(b"x", address)
                assert await other.got(1) == [b"x"] and not protocol.received
                protocol.transport.set_protocol(protocol)

    run(loop, main())
