"""The servers that rows about traffic put under load: ``echo_servers.py SERVER LOOP [PATH]``.

Prints its port, or the path of its UNIX socket, and serves until its input is closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import socket
import sys
from collections.abc import Awaitable, Callable
from typing import Any, cast

import loops

HOST = "127.0.0.1"
BACKLOG = 4096
READ_SIZE = 1 << 16
BODY = "Hello, world!"

Serve = Callable[[str], Awaitable[str]]


class Echo(asyncio.Protocol):
    """Sends back what comes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class BufferedEcho(asyncio.BufferedProtocol):
    """The same with a buffer of its own for what comes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.buffer = bytearray(READ_SIZE)

    def get_buffer(self, sizehint: int) -> bytearray:
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        # A copy: a transport may keep what it is given, and the buffer will change.
        self.transport.write(bytes(memoryview(self.buffer)[:nbytes]))


class DatagramEcho(asyncio.DatagramProtocol):
    """Sends back datagrams."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.transport.sendto(data, addr)


async def protocol(path: str) -> str:
    """Protocols over TCP."""
    return await _tcp(Echo)


async def buffered(path: str) -> str:
    """Buffered protocols over TCP."""
    return await _tcp(BufferedEcho)


async def _tcp(factory: Callable[[], asyncio.BaseProtocol]) -> str:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(factory, HOST, 0, backlog=BACKLOG)
    return str(server.sockets[0].getsockname()[1])


async def unix(path: str) -> str:
    """Protocols over a UNIX socket."""
    await asyncio.get_running_loop().create_unix_server(Echo, path, backlog=BACKLOG)
    return path


async def streams(path: str) -> str:
    """Streams over TCP."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(READ_SIZE):
                writer.write(data)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(echo, HOST, 0, backlog=BACKLOG)
    return str(server.sockets[0].getsockname()[1])


async def sock(path: str) -> str:
    """sock_accept, sock_recv and sock_sendall."""
    loop = asyncio.get_running_loop()
    listener = socket.create_server((HOST, 0), backlog=BACKLOG)
    listener.setblocking(False)
    tasks: set[asyncio.Task[None]] = set()

    async def echo(connection: socket.socket) -> None:
        with connection, contextlib.suppress(ConnectionError):
            while data := await loop.sock_recv(connection, READ_SIZE):
                await loop.sock_sendall(connection, data)

    async def accept() -> None:
        while True:
            connection, _ = await loop.sock_accept(listener)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            task = loop.create_task(echo(connection))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    tasks.add(loop.create_task(accept()))
    return str(listener.getsockname()[1])


async def udp(path: str) -> str:
    """One datagram endpoint."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(DatagramEcho, local_addr=(HOST, 0))
    return str(transport.get_extra_info("sockname")[1])


async def uvicorn(path: str) -> str:
    """An ASGI application on uvicorn with httptools."""
    import uvicorn

    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(BODY))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": BODY.encode()})

    config = uvicorn.Config(
        *(app, HOST, 0), http="httptools", ws="none", lifespan="off", log_level="error"
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:
        if serving.done():
            serving.result()
        await asyncio.sleep(0.01)
    return str(server.servers[0].sockets[0].getsockname()[1])


async def aiohttp(path: str) -> str:
    """A handler of aiohttp.web."""
    from aiohttp import web

    async def answer(request: web.Request) -> web.Response:
        return web.Response(text=BODY)

    app = web.Application()
    app.router.add_get("/", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, HOST, 0).start()
    return str(runner.addresses[0][1])


SERVERS: dict[str, Serve] = {
    serve.__name__: serve
    for serve in (protocol, buffered, unix, streams, sock, udp, uvicorn, aiohttp)
}


async def _serve(serve: Serve, path: str) -> None:
    print(await serve(path), flush=True)
    # Whoever started us closes our input; nothing is to be tidied up for that.
    asyncio.get_running_loop().add_reader(0, os._exit, 0)
    await asyncio.Event().wait()


def main(server: str, loop: str, path: str = "") -> None:
    """Serve until the input is closed."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with asyncio.Runner(loop_factory=loops.factory(loop)) as runner:
        runner.run(_serve(SERVERS[server], path))


if __name__ == "__main__":
    main(*sys.argv[1:])
