"""redis-py's asyncio client, which is made of streams: against a small server of our own, made of streams too, and a real one
where redis-server is installed."""

import asyncio
import contextlib
import shutil
import socket
import subprocess

import pytest
from support.packages import need
from support.serving import wait_for_port

redis = need("redis")
import redis.asyncio  # noqa: E402


class Server:
    """As much of Redis as the tests use."""

    def __init__(self):
        self.values = {}
        self.lists = {}
        self.channels = {}

    async def client(self, reader, writer):
        try:
            while True:
                words = await self.request(reader)
                await self.answer([words[0].upper(), *words[1:]], writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            for writers in self.channels.values():
                writers.discard(writer)
            writer.close()

    async def request(self, reader):
        count = int((await reader.readuntil(b"\r\n"))[1:])
        words = []
        for _ in range(count):
            size = int((await reader.readline())[1:])
            words.append((await reader.readexactly(size + 2))[:-2])
        return words

    async def answer(self, words, writer):
        command = getattr(self, f"on_{words[0].decode().lower()}", None)
        if words[0] == b"SUBSCRIBE":
            self.channels.setdefault(words[1], set()).add(writer)
            writer.writelines(bulk(b"subscribe", words[1], 1))
        elif command is None:
            writer.write(b"-ERR unknown command\r\n")
        else:
            writer.writelines(command(*words[1:]))
        await writer.drain()

    def on_ping(self):
        return [b"+PONG\r\n"]

    def on_client(self, *words):
        return [b"+OK\r\n"]

    def on_set(self, key, value, *options):
        self.values[key] = value
        return [b"+OK\r\n"]

    def on_get(self, key):
        value = self.values.get(key)
        return [b"$-1\r\n"] if value is None else [b"$%d\r\n" % len(value), value, b"\r\n"]

    def on_incrby(self, key, amount):
        self.values[key] = b"%d" % (int(self.values.get(key, b"0")) + int(amount))
        return [b":%s\r\n" % self.values[key]]

    def on_publish(self, channel, message):
        writers = self.channels.get(channel, ())
        for writer in writers:
            writer.writelines(bulk(b"message", channel, message))
        return [b":%d\r\n" % len(writers)]


def bulk(*parts):
    yield b"*%d\r\n" % len(parts)
    for part in parts:
        yield b":%d\r\n" % part if isinstance(part, int) else b"$%d\r\n%s\r\n" % (len(part), part)


@contextlib.asynccontextmanager
async def own_server():
    server = await asyncio.start_server(Server().client, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@contextlib.asynccontextmanager
async def real_server():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    words = ["redis-server", "--port", str(port), "--save", "", "--appendonly", "no"]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL) as process:
        try:
            await asyncio.to_thread(wait_for_port, port, lambda: process.poll())
            yield port
        finally:
            process.kill()


@pytest.fixture(params=["own", "real"])
def server(request):
    if request.param == "real" and shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed")
    return own_server if request.param == "own" else real_server


@contextlib.asynccontextmanager
async def connected(server, **options):
    async with server() as port:
        client = redis.asyncio.Redis(port=port, protocol=2, **options)
        try:
            yield client
        finally:
            await client.aclose()


def test_commands(run, server):
    async def main():
        async with connected(server) as client:
            assert await client.ping()
            for size in 0, 1, 1000, 70_000, 1_000_000:
                value = bytes(i * 31 % 256 for i in range(256)) * (size // 256) + b"x" * (size % 256)
                await client.set("key", value)
                assert await client.get("key") == value
            assert await client.get("nothing") is None
            with pytest.raises(redis.ResponseError):
                await client.execute_command("NONSENSE")

    run(main)


def test_many_at_once(run, server):
    async def main():
        async with connected(server, max_connections=50) as client:
            assert sorted(await asyncio.gather(*(client.incr("count") for _ in range(40)))) == list(range(1, 41))

    run(main)


def test_pipeline(run, server):
    async def main():
        async with connected(server) as client:
            async with client.pipeline(transaction=False) as pipe:
                for i in range(500):
                    pipe.set(f"k{i}", i)
                    pipe.get(f"k{i}")
                answers = await pipe.execute()
            assert answers[1::2] == [b"%d" % i for i in range(500)]

    run(main)


def test_publishing(run, server):
    async def main():
        async with connected(server) as client, client.pubsub(ignore_subscribe_messages=True) as pubsub:
            await pubsub.subscribe("news")
            assert await pubsub.get_message(timeout=0.01) is None
            for i in range(20):
                await client.publish("news", f"item {i}")
            got = []
            while len(got) < 20:
                message = await pubsub.get_message(timeout=5)
                if message is not None:
                    got.append(message["data"])
            assert got == [b"item %d" % i for i in range(20)]

    run(main)


def test_a_server_that_is_gone(run):
    async def main():
        async with own_server() as port:
            client = redis.asyncio.Redis(port=port, protocol=2)
            assert await client.ping()
        await client.connection_pool.disconnect()
        with pytest.raises(redis.ConnectionError):
            await client.ping()
        await client.aclose()

    run(main)
