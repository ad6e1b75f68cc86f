"""The module's part is set up once, whoever asks."""

import asyncio

import treadle
from treadle import _native


def test_set_up_again():
    first = _native.StreamReader
    assert _native._init_streams() is None
    assert _native.StreamReader is first
    assert issubclass(first, asyncio.StreamReader)


def test_internal_types_are_not_made_by_hand():
    for name in "ReaderState", "StreamOperation", "StreamGreeter", "StreamAnchor":
        try:
            getattr(_native, name)()
        except TypeError as error:
            assert "cannot create" in str(error)
        else:
            raise AssertionError(name)


def test_two_loops():
    """One after the other, and each in its own thread."""
    import threading

    async def main():
        async def echo(reader, writer):
            async for line in reader:
                writer.write(line)
                await writer.drain()
            writer.close()

        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        for i in range(200):
            writer.write(b"%d\n" % i)
            assert await reader.readline() == b"%d\n" % i
        writer.close()
        await writer.wait_closed()
        server.close()
        done.append(1)

    done = []
    threads = [threading.Thread(target=treadle.run, args=(main(),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    treadle.run(main())
    assert len(done) == 5
