"""Servers: create_server(), create_unix_server(), and what they return."""

import asyncio
import errno
import gc
import pathlib
import re
import socket
import sys
import weakref

import pytest
from support.sides import Recorder, until

STREAM_ONLY = "A Stream Socket was expected"


def test_nothing_to_listen_on(run, loop):
    async def main():
        with pytest.raises(ValueError, match="Neither host/port nor sock were specified"):
            await loop.create_server(asyncio.Protocol)
        with pytest.raises(ValueError, match="path was not specified, and no sock specified"):
            await loop.create_unix_server(asyncio.Protocol)

    run(main)


def test_too_much_to_listen_on(run, loop):
    async def main():
        with socket.socket() as sock, pytest.raises(ValueError, match="can not be specified at the same time"):
            await loop.create_server(asyncio.Protocol, "127.0.0.1", 0, sock=sock)
        with socket.socket(socket.AF_UNIX) as sock, pytest.raises(ValueError, match="can not be specified at the same"):
            await loop.create_unix_server(asyncio.Protocol, "/nowhere", sock=sock)

    run(main)


@pytest.mark.parametrize("port", [0, None])
def test_port_is_chosen(run, loop, port):
    async def main():
        server = await loop.create_server(asyncio.Protocol, "127.0.0.1", port, family=socket.AF_INET)
        (sock,) = server.sockets
        assert server.is_serving() and sock.getsockname()[1] != 0
        loop.call_soon(server.close)
        await asyncio.sleep(0.01)
        await server.wait_closed()
        assert not server.is_serving() and server.sockets == () and sock.fileno() == -1

    run(main)


def test_address_in_use(run, loop):
    async def main():
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            port = sock.getsockname()[1]
            pattern = re.escape(f"error while attempting to bind on address ('127.0.0.1', {port})")
            with pytest.raises(OSError, match=pattern) as caught:
                await loop.create_server(asyncio.Protocol, "127.0.0.1", port)
            assert caught.value.errno == errno.EADDRINUSE

    run(main)


def test_ipv4_and_ipv6_on_one_port(run, loop):
    async def main():
        server = await loop.create_server(asyncio.Protocol, None, 0)
        port = server.sockets[0].getsockname()[1]
        server.close()
        server = await loop.create_server(asyncio.Protocol, None, port)
        families = [sock.family for sock in server.sockets]
        assert len(families) == len(set(families))
        assert {sock.getsockname()[1] for sock in server.sockets} == {port}
        server.close()

    run(main)


def test_several_hosts(run, loop):
    async def main():
        async with await loop.create_server(asyncio.Protocol, ["127.0.0.1", "127.0.0.2"], 0) as server:
            assert sorted(sock.getsockname()[0] for sock in server.sockets) == ["127.0.0.1", "127.0.0.2"]

    run(main)


def test_shared_port(run, loop):
    async def main():
        one = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0, reuse_port=True)
        two = await loop.create_server(asyncio.Protocol, *one.sockets[0].getsockname(), reuse_port=True)
        one.close()
        two.close()

    run(main)


@pytest.mark.skipif(sys.version_info < (3, 13), reason="keep_alive= came with 3.13")
def test_keep_alive(run, loop):
    async def main():
        server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0, keep_alive=True)
        assert server.sockets[0].getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        server.close()

    run(main)


def test_server_lives_as_long_as_it_serves(run, loop):
    """Also where nobody holds it."""

    class Greeter(asyncio.Protocol):
        def connection_made(self, transport):
            transport.write(b"hello")
            transport.close()

    async def main():
        server = await loop.create_server(Greeter, "127.0.0.1", 0)
        address, gone = server.sockets[0].getsockname(), weakref.ref(server)
        del server
        gc.collect()
        reader, writer = await asyncio.open_connection(*address)
        assert await reader.read() == b"hello"
        writer.close()
        server = gone()
        server.close()
        await server.wait_closed()
        server = writer = reader = None
        for _ in range(5):
            await asyncio.sleep(0.01)
            gc.collect()
        assert gone() is None

    run(main)


def test_started_later(run, loop):
    async def main():
        server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0, start_serving=False)
        assert not server.is_serving()
        for _ in range(2):
            await server.start_serving()
            assert server.is_serving()
        server.close()
        server.close()
        with pytest.raises(RuntimeError, match="is closed"):
            await server.serve_forever()

    run(main)


def test_serve_forever(run, loop):
    async def main():
        async with await loop.create_server(asyncio.Protocol, "127.0.0.1", 0, start_serving=False) as server:
            task = asyncio.create_task(server.serve_forever())
            await asyncio.sleep(0)
            assert server.is_serving()
            with pytest.raises(RuntimeError, match="is already being awaited on serve_forever"):
                await server.serve_forever()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert not server.is_serving()

    run(main)


def test_get_loop(run, loop):
    async def main():
        async with await loop.create_server(asyncio.Protocol, "127.0.0.1", 0) as server:
            assert server.get_loop() is loop

    run(main)


@pytest.mark.parametrize("backlog", [1.1, "1"])
def test_backlog_is_a_number(run, loop, backlog):
    async def main():
        with pytest.raises(TypeError):
            await loop.create_server(asyncio.Protocol, "127.0.0.1", 0, backlog=backlog)
        await asyncio.sleep(0.01)

    run(main)
    gc.collect()


@pytest.mark.parametrize("method", ["create_server", "create_unix_server"])
@pytest.mark.parametrize("option", ["ssl_handshake_timeout", "ssl_shutdown_timeout"])
def test_tls_options_without_tls(run, loop, method, option):
    async def main():
        where = ("/nowhere",) if "unix" in method else ("127.0.0.1", 0)
        with pytest.raises(ValueError, match=f"{option} is only meaningful with ssl"):
            await getattr(loop, method)(asyncio.Protocol, *where, **{option: 1.0})

    run(main)


def test_tls_must_be_a_context(run, loop):
    async def main():
        with pytest.raises(TypeError):
            await loop.create_server(asyncio.Protocol, "127.0.0.1", 0, ssl=True)
        with pytest.raises(TypeError):
            await loop.create_unix_server(asyncio.Protocol, "/nowhere", ssl=True)

    run(main)


def test_wrong_kinds_of_sockets(run, loop):
    async def main():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            with pytest.raises(ValueError, match=STREAM_ONLY):
                await loop.create_server(asyncio.Protocol, sock=sock)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            with pytest.raises(ValueError, match="A UNIX Domain Stream Socket was expected"):
                await loop.create_unix_server(asyncio.Protocol, sock=sock)
        with socket.socket(socket.AF_INET) as sock:
            with pytest.raises(ValueError, match="A UNIX Domain Stream Socket was expected"):
                await loop.create_unix_server(asyncio.Protocol, sock=sock)

    run(main)


@pytest.mark.parametrize("flags", [0, getattr(socket, "SOCK_NONBLOCK", 0)])
def test_own_sockets(run, loop, tmp_path, flags):
    async def main():
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | flags)
        sock.bind(("127.0.0.1", 0))
        async with await loop.create_server(asyncio.Protocol, sock=sock) as server:
            assert sock.getblocking() is False and server.sockets[0].fileno() == sock.fileno()
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | flags)
        sock.bind(str(tmp_path / "socket"))
        async with await loop.create_unix_server(asyncio.Protocol, sock=sock):
            pass

    run(main)


@pytest.mark.parametrize("kind", [str, pathlib.Path, lambda path: str(path).encode()])
def test_unix_paths(run, loop, tmp_path, kind):
    path = tmp_path / "socket"

    async def main():
        protocols = []

        def make():
            protocols.append(Recorder())
            return protocols[-1]

        async with await loop.create_unix_server(make, kind(path)):
            transport, client = await loop.create_unix_connection(Recorder, kind(path))
            transport.write(b"hello")
            await until(lambda: protocols and protocols[0].data == b"hello")
            transport.close()
            await protocols[0].lost

    run(main)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the abstract name space is Linux's")
def test_abstract_names(run, loop):
    async def main():
        name = f"\0treadle {id(loop)}"
        async with await loop.create_unix_server(asyncio.Protocol, name) as server:
            transport, _ = await loop.create_unix_connection(asyncio.Protocol, name)
            assert transport.get_extra_info("peername") == server.sockets[0].getsockname()
            transport.close()

    run(main)


def test_stale_socket_is_replaced(run, loop, tmp_path):
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(path)

    async def main():
        async with await loop.create_unix_server(asyncio.Protocol, path):
            transport, _ = await loop.create_unix_connection(asyncio.Protocol, path)
            transport.close()

    run(main)


def test_file_is_not_replaced(run, loop, tmp_path):
    path = tmp_path / "file"
    path.write_text("x")

    async def main():
        with pytest.raises(OSError, match=f"Address '{path}' is already in use"):
            await loop.create_unix_server(asyncio.Protocol, str(path))

    run(main)
    assert path.read_text() == "x"


@pytest.mark.skipif(sys.version_info < (3, 13), reason="cleanup_socket= came with 3.13")
def test_socket_is_removed(run, loop, tmp_path):
    async def main():
        for keep in (False, True):
            path = tmp_path / f"socket {keep}"
            options = {"cleanup_socket": False} if keep else {}
            async with await loop.create_unix_server(asyncio.Protocol, str(path), **options):
                assert path.exists()
            assert path.exists() is keep

    run(main)


@pytest.mark.skipif(sys.version_info < (3, 13), reason="they came with 3.13")
@pytest.mark.parametrize("how", ["close_clients", "abort_clients"])
def test_clients_are_sent_away(run, loop, how):
    async def main():
        accepted = []

        def make():
            accepted.append(Recorder())
            return accepted[-1]

        server = await loop.create_server(make, "127.0.0.1", 0)
        clients = [await loop.create_connection(Recorder, *server.sockets[0].getsockname()) for _ in range(5)]
        await until(lambda: len(accepted) == 5)
        for protocol in accepted:
            await protocol.made
        server.close()
        getattr(server, how)()
        for protocol in [*accepted, *(client for _, client in clients)]:
            await protocol.lost
        await server.wait_closed()

    run(main)


@pytest.mark.skipif(sys.version_info < (3, 12, 1), reason="before, it did not wait")
def test_wait_closed_waits_for_the_clients(run, loop):
    async def main():
        server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
        transport, _ = await loop.create_connection(asyncio.Protocol, *server.sockets[0].getsockname())
        await asyncio.sleep(0.05)
        server.close()
        waiting = asyncio.create_task(server.wait_closed())
        await asyncio.sleep(0.05)
        assert not waiting.done()
        transport.close()
        await waiting

    run(main)


def test_protocol_factory_that_raises(run, loop, complaints):
    """The client is sent away, the server goes on."""
    calls = []

    def factory():
        calls.append(1)
        if len(calls) == 1:
            raise ZeroDivisionError
        return Recorder()

    async def main():
        async with await loop.create_server(factory, "127.0.0.1", 0) as server:
            _, refused = await loop.create_connection(Recorder, *server.sockets[0].getsockname())
            await refused.lost
            transport, _ = await loop.create_connection(Recorder, *server.sockets[0].getsockname())
            await until(lambda: len(calls) == 2)
            transport.close()
            await asyncio.sleep(0.01)

    run(main)
    assert any(isinstance(context["exception"], ZeroDivisionError) for context in complaints) or complaints == []


@pytest.mark.parametrize("clients", [100])
def test_many_clients_at_once(run, loop, clients):
    async def serve(reader, writer):
        assert await reader.readexactly(4) == b"AAAA"
        writer.write(b"OK")
        writer.write_eof()
        writer.write_eof()
        await writer.drain()
        writer.close()

    async def talk(address):
        reader, writer = await asyncio.open_connection(*address)
        writer.write(b"AAAA")
        assert await reader.read() == b"OK"
        writer.close()
        await writer.wait_closed()

    async def main():
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            address = server.sockets[0].getsockname()
            await asyncio.gather(*(talk(address) for _ in range(clients)))

    run(main)
