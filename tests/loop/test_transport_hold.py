"""Several writes in one turn: whether or not they are held back, what arrives is the same."""

import asyncio
import socket

import pytest
import treadle

TURNS = 12  # enough to learn that there are several writes in each


class Answers(asyncio.Protocol):
    """Calls `answer(transport, data)` for all that comes."""

    def __init__(self, answer):
        self.answer = answer

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.answer(self.transport, data)


async def serve(answer):
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Answers(answer), "127.0.0.1", 0)
    client = socket.socket()
    client.setblocking(False)
    await loop.sock_connect(client, server.sockets[0].getsockname())
    return server, client


async def receive(client, size):
    """`size` bytes, or fewer if the peer closes before."""
    loop, data = asyncio.get_running_loop(), b""
    while len(data) < size and (more := await asyncio.wait_for(loop.sock_recv(client, 1 << 16), 30)):
        data += more
    return data


async def train(client, size):
    """Make the server answer some times."""
    for _ in range(TURNS):
        await asyncio.get_running_loop().sock_sendall(client, b"?")
        assert len(await receive(client, size)) == size


def twice(transport, data):
    transport.write(b"head")
    transport.write(b"body")


def run(loop, answers, after=None, size=8):
    """Train the server with `twice`, then let it answer by `answers`; what it answered then."""
    state = [twice]

    async def main():
        server, client = await serve(lambda transport, data: state[0](transport, data))
        with client:
            await train(client, 8)
            state[0] = answers
            await asyncio.get_running_loop().sock_sendall(client, b"!")
            data = await receive(client, size)
            if after is not None:
                await after()
        server.close()
        return data

    return loop.run_until_complete(main())


def test_in_order(loop):
    def many(transport, data):
        for i in range(100):
            transport.write(b"%03d" % i)
        transport.writelines([b"a", bytearray(b"b"), memoryview(b"c")])
        transport.write(bytearray(b"d"))

    expected = b"".join(b"%03d" % i for i in range(100)) + b"abcd"
    assert run(loop, many, size=len(expected)) == expected


@pytest.mark.parametrize("sizes", [(1, 100_000, 1), (40_000, 40_000, 1, 70_000), (3_000_000, 1)])
def test_large_ones(loop, sizes):
    parts = [bytes([65 + i]) * size for i, size in enumerate(sizes)]

    def write(transport, data):
        for part in parts:
            transport.write(part)

    assert run(loop, write, size=sum(sizes)) == b"".join(parts)


def test_a_mutable_buffer_may_change_at_once(loop):
    def write(transport, data):
        buffer = bytearray(b"12")
        transport.write(buffer)
        buffer[:] = b"xx"
        transport.write(memoryview(buffer)[:1])
        buffer[:] = b"yy"

    assert run(loop, write, size=3) == b"12x"


def test_nothing_is_left_in_the_buffer(loop):
    sizes = []

    def write(transport, data):
        twice(transport, data)
        sizes.append(transport.get_write_buffer_size())
        transport.write(b"!")
        sizes.append(len(b"".join(transport._buffer)))

    assert run(loop, write, size=9) == b"headbody!" and sizes == [0, 0]


def test_the_protocol_is_not_paused(loop):
    paused = []

    def write(transport, data):
        transport.set_write_buffer_limits(high=0)
        transport.get_protocol().pause_writing = lambda: paused.append(transport)
        twice(transport, data)
        twice(transport, data)

    assert run(loop, write, size=16) == b"headbody" * 2 and not paused


@pytest.mark.parametrize("how", ["close", "abort", "write_eof"])
def test_the_end_comes_after_what_was_written(loop, how):
    def write(transport, data):
        twice(transport, data)
        getattr(transport, how)()

    assert run(loop, write, size=100) == b"headbody"


def test_another_protocol(loop):
    def write(transport, data):
        transport.write(b"one")
        transport.set_protocol(Answers(twice))
        transport.write(b"two")

    assert run(loop, write, size=6) == b"onetwo"


def test_stopping_the_loop(loop):
    def write(transport, data):
        twice(transport, data)
        loop.stop()

    async def main():
        server, client = await serve(lambda transport, data: state[0](transport, data))
        await train(client, 8)
        state[0] = write
        return server, client

    state = [twice]
    server, client = loop.run_until_complete(main())
    with client:
        client.send(b"!")
        loop.run_forever()
        client.setblocking(True)
        client.settimeout(30)
        assert client.recv(100) == b"headbody"
    server.close()
    loop.run_until_complete(asyncio.sleep(0))


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_error_that_ends_the_run(loop, error):
    def write(transport, data):
        twice(transport, data)
        raise error

    async def main():
        server, client = await serve(lambda transport, data: state[0](transport, data))
        await train(client, 8)
        state[0] = write
        return server, client

    state = [twice]
    server, client = loop.run_until_complete(main())
    with client:
        client.send(b"!")
        with pytest.raises(error):
            loop.run_until_complete(asyncio.sleep(30))
        client.setblocking(True)
        client.settimeout(30)
        assert client.recv(100) == b"headbody"
    server.close()
    loop.run_until_complete(asyncio.sleep(0.01))


def test_many_connections_at_once(loop):
    """So many ready at a time, each slow enough, that all writes are held."""

    def slow(transport, data):
        sum(range(2000))
        transport.write(data)

    async def main():
        server, first = await serve(slow)
        clients = [first]
        for _ in range(15):
            client = socket.socket()
            client.setblocking(False)
            await loop.sock_connect(client, server.sockets[0].getsockname())
            clients.append(client)
        for turn in range(30):
            for client in clients:
                client.send(b"%04d" % turn)
            for client in clients:
                assert await receive(client, 4) == b"%04d" % turn
        for client in clients:
            client.close()
        server.close()
        await asyncio.sleep(0.01)

    loop.run_until_complete(main())


def test_one_packet():
    """What was learnt shows in what arrives: head and body together."""

    async def main():
        loop = asyncio.get_running_loop()
        server, client = await serve(twice)
        with client:
            await train(client, 8)
            for _ in range(5):
                await loop.sock_sendall(client, b"?")
                assert await loop.sock_recv(client, 100) == b"headbody"
        server.close()

    treadle.run(main())
