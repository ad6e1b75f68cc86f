"""Datagram endpoints."""

import asyncio
import errno
import socket

import pytest
from support.sides import until


class Recorder(asyncio.DatagramProtocol):
    def __init__(self):
        self.calls = []
        self.received = []
        self.errors = []
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.calls.append("made")
        self.transport = transport

    def datagram_received(self, data, address):
        self.received.append((data, address))

    def error_received(self, error):
        self.errors.append(error)

    def connection_lost(self, error):
        self.calls.append("lost")
        self.lost.set_result(error)


class Echo(Recorder):
    def datagram_received(self, data, address):
        super().datagram_received(data, address)
        self.transport.sendto(b"echo " + data, address)


@pytest.mark.parametrize(
    ("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET, "localhost"), (socket.AF_INET6, "::1")]
)
def test_echo(run, loop, family, host):
    async def main():
        try:
            there, echo = await loop.create_datagram_endpoint(Echo, local_addr=(host, 0), family=family)
        except OSError as error:
            if family == socket.AF_INET6:
                pytest.skip(f"no IPv6: {error}")
            raise
        address = there.get_extra_info("sockname")
        here, protocol = await loop.create_datagram_endpoint(Recorder, remote_addr=address[:2], family=family)
        assert here.get_extra_info("peername")[:2] == address[:2]
        here.sendto(b"one")
        await until(lambda: protocol.received)
        assert protocol.received[0][0] == b"echo one" and protocol.received[0][1][:2] == address[:2]
        here.sendto(b"two", address)  # the very address it is connected to
        await until(lambda: len(protocol.received) == 2)
        other = (address[0], address[1] + 1, *address[2:])
        with pytest.raises(ValueError, match="Invalid address"):
            here.sendto(b"x", other)
        assert echo.received[0][1][:2] == here.get_extra_info("sockname")[:2]
        for transport, each in ((here, protocol), (there, echo)):
            transport.close()
            assert await each.lost is None and each.calls == ["made", "lost"]

    run(main)


def test_many_at_once(run, loop):
    """More than a socket's buffer holds: they come in order, and those that come are whole."""

    async def main():
        there, protocol = await loop.create_datagram_endpoint(Recorder, local_addr=("127.0.0.1", 0))
        here, _ = await loop.create_datagram_endpoint(Recorder, remote_addr=there.get_extra_info("sockname"))
        for number in range(200):
            here.sendto(b"%d " % number + b"x" * number)
            if number % 20 == 19:
                await until(lambda: len(protocol.received) == number + 1)
        assert [data for data, _ in protocol.received] == [b"%d " % number + b"x" * number for number in range(200)]
        here.close()
        there.close()

    run(main)


@pytest.mark.parametrize("size", [0, 1, 1472, 9000, 65507])
def test_sizes(run, loop, size):
    async def main():
        there, protocol = await loop.create_datagram_endpoint(Echo, local_addr=("127.0.0.1", 0))
        here, receiver = await loop.create_datagram_endpoint(Recorder, remote_addr=there.get_extra_info("sockname"))
        data = bytes(n % 251 for n in range(size))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(data, there.get_extra_info("sockname"))
            await until(lambda: protocol.received)
        assert protocol.received[0][0] == data
        here.close()
        there.close()
        await asyncio.sleep(0.001)

    run(main)


def test_too_large(run, loop):
    async def main():
        there, protocol = await loop.create_datagram_endpoint(Recorder, local_addr=("127.0.0.1", 0))
        there.sendto(b"x" * 70_000, there.get_extra_info("sockname"))
        await until(lambda: protocol.errors)
        assert protocol.errors[0].errno == errno.EMSGSIZE and not there.is_closing()
        there.close()

    run(main)


def test_nobody_there(run, loop):
    async def main():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("127.0.0.1", 0))
            address = sock.getsockname()
        here, protocol = await loop.create_datagram_endpoint(Recorder, remote_addr=address)
        here.sendto(b"x")
        await until(lambda: protocol.errors)
        assert isinstance(protocol.errors[0], ConnectionRefusedError) and not here.is_closing()
        here.close()
        await protocol.lost

    run(main)


def test_own_socket(run, loop):
    async def main():
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(("127.0.0.1", 0))
        transport, protocol = await loop.create_datagram_endpoint(Recorder, sock=sock)
        assert transport.get_extra_info("sockname") == sock.getsockname()
        transport.close()
        await protocol.lost

    run(main)


def test_unix(run, loop, tmp_path):
    paths = [str(tmp_path / name) for name in ("one", "two")]

    async def main():
        endpoints = []
        for path in paths:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            sock.bind(path)
            endpoints.append(await loop.create_datagram_endpoint(Recorder, sock=sock))
        (one, _), (_, receiver) = endpoints
        one.sendto(b"hello", paths[1])
        await until(lambda: receiver.received)
        assert receiver.received == [(b"hello", paths[0])]
        for transport, protocol in endpoints:
            transport.close()
            await protocol.lost

    run(main)


def test_unix_by_path(run, loop, tmp_path):
    async def main():
        there, echo = await loop.create_datagram_endpoint(
            Echo, local_addr=str(tmp_path / "there"), family=socket.AF_UNIX
        )
        here, protocol = await loop.create_datagram_endpoint(
            Recorder, local_addr=str(tmp_path / "here"), remote_addr=str(tmp_path / "there"), family=socket.AF_UNIX
        )
        here.sendto(b"x")
        await until(lambda: protocol.received)
        assert protocol.received == [(b"echo x", str(tmp_path / "there"))]
        here.close()
        there.close()

    run(main)


def test_socketpair(run, loop):
    async def main():
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        with theirs:
            theirs.setblocking(False)
            transport, protocol = await loop.create_datagram_endpoint(Recorder, sock=ours)
            theirs.send(b"hello")
            await until(lambda: protocol.received)
            assert protocol.received[0] == (b"hello", None)
            transport.close()
            await protocol.lost

    run(main)


def test_stream_sockets_are_refused(run, loop):
    async def main():
        with socket.socket() as sock, pytest.raises(ValueError, match="[Ss]ocket was expected"):
            await loop.create_datagram_endpoint(Recorder, sock=sock)

    run(main)


def test_wrong_arguments(run, loop):
    async def main():
        with pytest.raises(ValueError, match="unexpected address family"):
            await loop.create_datagram_endpoint(Recorder)
        with pytest.raises(ValueError, match="socket modifier keyword arguments can not be used when sock"):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                await loop.create_datagram_endpoint(Recorder, local_addr=("127.0.0.1", 0), sock=sock)
        with pytest.raises(TypeError):
            transport, _ = await loop.create_datagram_endpoint(Recorder, local_addr=("127.0.0.1", 0))
            try:
                transport.sendto("text", ("127.0.0.1", 9))
            finally:
                transport.close()

    run(main)


def test_sending_after_close(run, loop):
    async def main():
        transport, protocol = await loop.create_datagram_endpoint(Recorder, local_addr=("127.0.0.1", 0))
        transport.close()
        await protocol.lost
        try:
            transport.sendto(b"x", ("127.0.0.1", 9))
        except (AttributeError, OSError):
            pass  # asyncio's own, whose socket is gone; it must not crash

    run(main)


def test_options(run, loop):
    async def main():
        transport, _ = await loop.create_datagram_endpoint(
            Recorder, local_addr=("127.0.0.1", 0), allow_broadcast=True, reuse_port=True
        )
        sock = transport.get_extra_info("socket")
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT)
        transport.sendto(b"x", ("<broadcast>", 9))
        transport.close()

    run(main)


def test_protocol_that_fails(run, loop, complaints):
    class Broken(Recorder):
        def datagram_received(self, data, address):
            raise ZeroDivisionError

    async def main():
        transport, protocol = await loop.create_datagram_endpoint(Broken, local_addr=("127.0.0.1", 0))
        transport.sendto(b"x", transport.get_extra_info("sockname"))
        await until(lambda: complaints)
        transport.close()
        await protocol.lost

    run(main)
    assert isinstance(complaints[0]["exception"], ZeroDivisionError)
