"""Connecting: create_connection(), create_unix_connection(), connect_accepted_socket(), and giving up on them."""

import asyncio
import errno
import os
import socket

import pytest
from support.sides import Recorder, peer_in_thread, receive_all, until


@pytest.fixture(params=["tcp", "unix"])
def kind(request, tmp_path):
    """How to reach a server: the family, an address to bind."""
    if request.param == "tcp":
        return socket.AF_INET, ("127.0.0.1", 0)
    return socket.AF_UNIX, str(tmp_path / "socket")


async def connect(loop, address, protocol=Recorder):
    if isinstance(address, tuple):
        return await loop.create_connection(protocol, *address)
    return await loop.create_unix_connection(protocol, address)


async def connect_socket(loop, sock, protocol=Recorder):
    if sock.family == socket.AF_INET:
        return await loop.create_connection(protocol, sock=sock)
    return await loop.create_unix_connection(protocol, sock=sock)


def answer(connection):
    assert connection.recv(4, socket.MSG_WAITALL) == b"AAAA"
    connection.sendall(b"OK")
    assert receive_all(connection) == b"BBBB"


@pytest.mark.parametrize("own_socket", [False, True])
def test_talk_to_a_blocking_peer(run, loop, kind, own_socket):
    family, address = kind

    async def main(address):
        if own_socket:
            sock = socket.socket(family)
            sock.connect(address)
            transport, protocol = await connect_socket(loop, sock)
        else:
            transport, protocol = await connect(loop, address)
        transport.write(b"AAAA")
        await until(lambda: protocol.data == b"OK")
        transport.write(b"BBBB")
        transport.close()
        assert await protocol.lost is None
        assert protocol.calls == ["made", "data", "lost"]

    with peer_in_thread(answer, family, address) as address:
        run(lambda: main(address))


def test_peer_that_closes(run, loop, kind):
    family, address = kind

    async def main(address):
        transport, protocol = await connect(loop, address)
        assert await protocol.lost is None
        assert protocol.calls == ["made", "data", "eof", "lost"] and protocol.data == b"good bye"
        assert transport.is_closing()

    with peer_in_thread(lambda connection: connection.sendall(b"good bye"), family, address) as address:
        run(lambda: main(address))


def test_peer_that_resets(run, loop):
    def reset(connection):
        connection.recv(1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    async def main(address):
        transport, protocol = await connect(loop, address)
        transport.write(b"x")
        assert isinstance(await protocol.lost, ConnectionResetError)
        assert protocol.calls == ["made", "lost"]

    with peer_in_thread(reset) as address:
        run(lambda: main(address))


def test_refused(run, loop, tmp_path):
    async def main():
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            with pytest.raises(ConnectionRefusedError) as caught:
                await connect(loop, sock.getsockname())
            assert caught.value.errno == errno.ECONNREFUSED
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(str(tmp_path / "socket"))
            with pytest.raises(ConnectionRefusedError):
                await connect(loop, str(tmp_path / "socket"))
        with pytest.raises(FileNotFoundError):
            await connect(loop, str(tmp_path / "missing"))

    run(main)


def test_refused_by_all(run, loop):
    """One error of several addresses, or all of them in a group."""

    async def main():
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            port = sock.getsockname()[1]
            with pytest.raises(OSError):
                await loop.create_connection(Recorder, "localhost", port)

    run(main)


@pytest.mark.parametrize("delay", [None, 0.05])
def test_second_address_answers(run, loop, monkeypatch, delay):
    async def main():
        with socket.create_server(("127.0.0.2", 0)) as listener:
            port = listener.getsockname()[1]
            infos = [
                (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port))
                for host in ("127.0.0.1", "127.0.0.2")
            ]

            async def getaddrinfo(*arguments, **options):
                return infos

            monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)
            transport, _ = await loop.create_connection(Recorder, "both.invalid", port, happy_eyeballs_delay=delay)
            assert transport.get_extra_info("peername") == ("127.0.0.2", port)
            transport.close()

    run(main)


def test_local_address(run, loop):
    async def main():
        with socket.create_server(("127.0.0.1", 0)) as listener:
            transport, _ = await loop.create_connection(
                Recorder, *listener.getsockname(), local_addr=("127.0.0.3", 0)
            )
            assert transport.get_extra_info("sockname")[0] == "127.0.0.3"
            transport.close()

    run(main)


def test_wrong_arguments(run, loop):
    async def main():
        with pytest.raises(ValueError, match="host and port was not specified and no sock specified"):
            await loop.create_connection(Recorder)
        with pytest.raises(ValueError, match="no path and sock were specified"):
            await loop.create_unix_connection(Recorder)
        with socket.socket() as sock:
            with pytest.raises(ValueError, match="can not be specified at the same time"):
                await loop.create_connection(Recorder, "127.0.0.1", 1, sock=sock)
            with pytest.raises(ValueError, match="A UNIX Domain Stream Socket was expected"):
                await loop.create_unix_connection(Recorder, sock=sock)
        for family in (socket.AF_INET, socket.AF_UNIX):
            with socket.socket(family, socket.SOCK_DGRAM) as sock:
                with pytest.raises(ValueError, match="A Stream Socket was expected"):
                    await loop.create_connection(Recorder, sock=sock)
        with pytest.raises(ValueError, match="server_hostname is only meaningful with ssl"):
            await loop.create_connection(Recorder, "127.0.0.1", 1, server_hostname="x")
        for option in ("ssl_handshake_timeout", "ssl_shutdown_timeout"):
            with pytest.raises(ValueError, match=f"{option} is only meaningful with ssl"):
                await loop.create_connection(Recorder, "127.0.0.1", 1, **{option: 1})
            with pytest.raises(ValueError, match=f"{option} is only meaningful with ssl"):
                await loop.create_unix_connection(Recorder, "/nowhere", **{option: 1})
            with socket.socket() as sock, pytest.raises(ValueError, match=f"{option} is only meaningful with ssl"):
                await loop.connect_accepted_socket(Recorder, sock, **{option: 1})

    run(main)


def test_closed_socket(run, loop, kind):
    family, _ = kind

    async def main():
        sock = socket.socket(family)
        sock.close()
        with pytest.raises(OSError) as caught:
            await connect_socket(loop, sock)
        assert caught.value.errno == errno.EBADF

    run(main)


def test_cancelled_at_once(run, loop, kind):
    family, address = kind

    async def main():
        with socket.create_server(address, family=family) as listener:
            task = asyncio.create_task(connect(loop, listener.getsockname()))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    run(main)


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts descriptors in /proc")
@pytest.mark.parametrize("turns", range(6))
def test_cancelled_with_its_socket(run, loop, kind, turns):
    """However far it got: the descriptor is closed once, and is not closed again once somebody else has it."""
    family, address = kind

    async def main():
        with socket.create_server(address, family=family) as listener:
            sock = socket.socket(family)
            sock.connect(listener.getsockname())
            number = sock.fileno()
            task = asyncio.create_task(connect_socket(loop, sock))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            try:
                transport, _ = await task
            except asyncio.CancelledError:
                pass
            else:
                transport.abort()
            await asyncio.sleep(0.01)
            # whoever gets the number next must keep it
            victims = [os.open(os.devnull, os.O_RDONLY) for _ in range(3)]
            sock.close()
            await asyncio.sleep(0.01)
            for victim in victims:
                os.fstat(victim)
                os.close(victim)
            # before its first turn the task had not taken the socket
            assert (number in victims) is (turns > 0)

    run(main)


def test_accepted_socket(run, loop, kind):
    family, address = kind

    async def main():
        with socket.create_server(address, family=family) as listener, socket.socket(family) as client:
            client.setblocking(False)
            await loop.sock_connect(client, listener.getsockname())
            accepted, _ = listener.accept()
            transport, protocol = await loop.connect_accepted_socket(Recorder, accepted)
            await loop.sock_sendall(client, b"question")
            await until(lambda: protocol.data == b"question")
            transport.write(b"answer")
            assert await loop.sock_recv(client, 100) == b"answer"
            client.close()
            assert await protocol.lost is None

    run(main)


def test_accepted_socket_must_be_a_stream(run, loop):
    async def main():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            with pytest.raises(ValueError, match="A Stream Socket was expected"):
                await loop.connect_accepted_socket(Recorder, sock)

    run(main)


def test_connection_made_that_raises(run, loop, complaints):
    """It is reported, the connection stands."""
    lost = []

    class Broken(asyncio.Protocol):
        def connection_made(self, transport):
            raise ZeroDivisionError

        def connection_lost(self, error):
            lost.append(error)

    async def main():
        with socket.create_server(("127.0.0.1", 0)) as listener:
            transport, _ = await loop.create_connection(Broken, *listener.getsockname())
            transport.close()
            await until(lambda: lost == [None])

    run(main)
    assert [type(context["exception"]) for context in complaints] == [ZeroDivisionError]


@pytest.mark.parametrize("how", ["close", "abort"])
def test_closed_while_being_made(run, loop, how):
    lost = []

    class Leaving(asyncio.Protocol):
        def connection_made(self, transport):
            getattr(transport, how)()

        def connection_lost(self, error):
            lost.append(error)

    async def main():
        with socket.create_server(("127.0.0.1", 0)) as listener:
            transport, _ = await loop.create_connection(Leaving, *listener.getsockname())
            assert transport.is_closing()
            await until(lambda: lost == [None])

    run(main)


def test_a_hundred_at_once(run, loop, kind):
    family, address = kind

    async def talk(address):
        reader, writer = await (
            asyncio.open_connection(*address)
            if family == socket.AF_INET
            else asyncio.open_unix_connection(address)
        )
        writer.write(b"AAAA")
        with pytest.raises(asyncio.IncompleteReadError):
            await reader.readexactly(10)
        writer.close()
        await writer.wait_closed()

    async def main():
        async def serve(reader, writer):
            assert await reader.readexactly(4) == b"AAAA"
            writer.close()

        sock = socket.create_server(address, family=family, backlog=100)
        start = asyncio.start_server if family == socket.AF_INET else asyncio.start_unix_server
        async with await start(serve, sock=sock) as server:
            await asyncio.gather(*(talk(server.sockets[0].getsockname()) for _ in range(100)))

    run(main)
