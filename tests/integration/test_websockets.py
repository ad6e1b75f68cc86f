"""websockets: server and client on one loop."""

import asyncio

import pytest
from support.packages import need

websockets = need("websockets")
from websockets.asyncio.client import connect  # noqa: E402
from websockets.asyncio.server import broadcast, serve  # noqa: E402


async def echo(connection):
    async for message in connection:
        await connection.send(message)


async def wait_closed(connection):
    await connection.wait_closed()


def url_of(server, scheme="ws"):
    return f"{scheme}://localhost:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize("compression", [None, "deflate"])
def test_echo(run, compression):
    async def main():
        async with (
            serve(echo, "localhost", 0, compression=compression, max_size=None) as server,
            connect(url_of(server), compression=compression, max_size=None) as client,
        ):
            for number in range(200):
                await client.send(f"message {number}")
                assert await client.recv() == f"message {number}"
            large = bytes(range(256)) * 4096
            for _ in range(4):
                await client.send(large)
                assert await client.recv() == large

    run(main)


def test_many_clients(run):
    async def talk(url, name):
        async with connect(url) as client:
            for number in range(20):
                await client.send(f"{name} {number}")
                assert await client.recv() == f"{name} {number}"

    async def main():
        async with serve(echo, "localhost", 0) as server:
            await asyncio.gather(*(talk(url_of(server), name) for name in range(50)))

    run(main)


def test_messages_in_parts(run):
    async def parts():
        for number in range(100):
            await asyncio.sleep(0)
            yield f"{number} "

    async def main():
        async with serve(echo, "localhost", 0) as server, connect(url_of(server)) as client:
            await client.send(parts())
            assert await client.recv() == "".join(f"{number} " for number in range(100))

    run(main)


def test_ping(run):
    async def main():
        async with serve(echo, "localhost", 0) as server, connect(url_of(server)) as client:
            for _ in range(20):
                assert await (await client.ping()) >= 0

    run(main)


def test_closing(run):
    async def refuse(connection):
        await connection.recv()
        await connection.close(4321, "enough")

    async def main():
        async with serve(refuse, "localhost", 0) as server, connect(url_of(server)) as client:
            await client.send("?")
            with pytest.raises(websockets.exceptions.ConnectionClosedError) as caught:
                await client.recv()
            assert caught.value.rcvd.code == 4321 and caught.value.rcvd.reason == "enough"

    run(main)


def test_server_closes_its_connections(run):
    async def main():
        async with serve(echo, "localhost", 0) as server:
            clients = [await connect(url_of(server)) for _ in range(10)]
            server.close()
            await server.wait_closed()
        for client in clients:
            with pytest.raises(websockets.exceptions.ConnectionClosedOK):
                await client.recv()
            assert client.close_code == 1001

    run(main)


def test_dead_peer_is_noticed(run):
    """A peer that answers no ping: keep-alive closes the connection."""

    async def main():
        hasty = {"ping_interval": 0.05, "ping_timeout": 0.1, "close_timeout": 0.1}
        async with serve(wait_closed, "localhost", 0, **hasty) as server:
            async with connect(url_of(server), ping_interval=None, close_timeout=0.1) as client:
                client.transport.pause_reading()
                (connection,) = server.connections
                await connection.wait_closed()
                assert connection.protocol.close_sent.code == 1011
                client.transport.resume_reading()

    run(main)


def test_broadcast(run):
    async def main():
        async with serve(wait_closed, "localhost", 0) as server:
            clients = [await connect(url_of(server)) for _ in range(30)]
            while len(server.connections) < len(clients):
                await asyncio.sleep(0.01)
            for number in range(10):
                broadcast(server.connections, f"news {number}")
            for client in clients:
                assert [await client.recv() for _ in range(10)] == [f"news {number}" for number in range(10)]
                await client.close()

    run(main)


def test_tls(run, tls):
    async def main():
        async with (
            serve(echo, "localhost", 0, ssl=tls.server) as server,
            connect(url_of(server, "wss"), ssl=tls.client) as client,
        ):
            for size in (1, 1000, 100_000):
                await client.send(b"x" * size)
                assert await client.recv() == b"x" * size

    run(main)
