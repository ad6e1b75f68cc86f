"""Protocols that are written with streams in the programs that use them: HTTP by hand, TLS from the start and in between."""

import asyncio
import hashlib

import pytest
import treadle
from support.packages import need
from support.streaming import is_native

need("trustme")


async def upper(reader, writer):
    """Answers lines in capitals; STARTTLS makes it a TLS server."""
    context = writer.transport.get_extra_info("context")
    assert context is None
    try:
        async for line in reader:
            writer.write(line.upper())
            await writer.drain()
    except ConnectionError:
        pass
    writer.close()


@pytest.mark.parametrize("size", [1, 1000, 300_000])
def test_tls(run, tls, size):
    async def main():
        server = await asyncio.start_server(upper, "127.0.0.1", 0, ssl=tls.server, limit=2**20)
        port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("localhost", port, ssl=tls.client, limit=2**20)
        ours = isinstance(asyncio.get_running_loop(), treadle.EventLoop)
        assert (is_native(reader), is_native(writer)) == (ours, ours)
        line = b"x" * size + b"\n"
        for _ in range(5):
            writer.write(line)
            await writer.drain()
            assert await asyncio.wait_for(reader.readline(), 10) == line.upper()
        writer.close()
        await writer.wait_closed()
        server.close()

    run(main)


def test_start_tls(run, tls):
    """In the middle of a conversation, from both sides: the streams go on over the new transport."""

    async def serve(reader, writer):
        assert await reader.readline() == b"STARTTLS\n"
        writer.write(b"go\n")
        await writer.drain()
        await writer.start_tls(tls.server)
        assert writer.get_extra_info("ssl_object") is not None
        digest = hashlib.sha256()
        for _ in range(100):
            size = int(await reader.readline())
            digest.update(await reader.readexactly(size))
        writer.write(digest.hexdigest().encode() + b"\n")
        await writer.drain()
        assert await reader.read() == b""
        writer.close()

    async def main():
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"STARTTLS\n")
        assert await reader.readline() == b"go\n"
        await writer.start_tls(tls.client, server_hostname="localhost")
        assert reader._transport is writer.transport or not hasattr(reader, "_replace_transport")
        digest = hashlib.sha256()
        for i in range(100):
            data = b"%d" % i * (i * 200)
            digest.update(data)
            writer.write(b"%d\n" % len(data))
            writer.write(data)
            await writer.drain()
        assert await reader.readline() == digest.hexdigest().encode() + b"\n"
        writer.close()
        await writer.wait_closed()
        server.close()
        await asyncio.sleep(0.05)

    if not hasattr(asyncio.StreamWriter, "start_tls"):
        pytest.skip("StreamWriter.start_tls() came with 3.11")
    run(main)


def test_a_proxy(run):
    """Both directions at once, through two tasks for each connection."""

    async def pump(reader, writer):
        while data := await reader.read(1 << 14):
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()

    async def echo(reader, writer):
        await pump(reader, writer)
        writer.close()

    async def main():
        target = await asyncio.start_server(echo, "127.0.0.1", 0)
        address = target.sockets[0].getsockname()

        async def proxy(reader, writer):
            far_reader, far_writer = await asyncio.open_connection(*address)
            await asyncio.gather(pump(reader, far_writer), pump(far_reader, writer))
            far_writer.close()
            writer.close()

        server = await asyncio.start_server(proxy, "127.0.0.1", 0)

        async def client(number):
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            data = bytes([number]) * 500_000

            async def send():
                for start in range(0, len(data), 7_000):
                    writer.write(data[start : start + 7_000])
                    await writer.drain()
                writer.write_eof()

            _, got = await asyncio.gather(send(), reader.read())
            writer.close()
            await writer.wait_closed()
            assert got == data

        await asyncio.gather(*(client(number) for number in range(8)))
        server.close()
        target.close()

    run(main)
