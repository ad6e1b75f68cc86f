"""The sock_*() coroutines: results, mistakes and errors are those of asyncio's."""

import array
import asyncio
import gc
import socket

import pytest
from support.sockets import new_pair, run, serve_a_read, turns


# ---- streams -----------------------------------------------------------------------


def test_what_is_there_comes_at_once(loop, pair):
    ours, theirs = pair
    theirs.send(b"hello")
    coroutine = loop.sock_recv(ours, 100)
    assert asyncio.iscoroutine(coroutine)
    with pytest.raises(StopIteration) as done:
        coroutine.send(None)
    assert done.value.value == b"hello"


def test_nothing_is_done_before_it_is_awaited(loop, pair):
    ours, theirs = pair
    theirs.send(b"hello")
    coroutine = loop.sock_recv(ours, 100)
    assert ours.recv(100) == b"hello"
    coroutine.close()
    with pytest.warns(RuntimeWarning, match="never awaited"):
        loop.sock_recv("no socket", None)
        gc.collect()


def test_ping_pong(loop, pair):
    ours, theirs = pair

    async def echo():
        while data := await loop.sock_recv(theirs, 1000):
            await loop.sock_sendall(theirs, data)
        theirs.close()

    async def main():
        task = asyncio.create_task(echo())
        for i in range(200):
            await loop.sock_sendall(ours, b"%d" % i)
            assert await loop.sock_recv(ours, 1000) == b"%d" % i
        ours.shutdown(socket.SHUT_WR)
        assert await loop.sock_recv(ours, 1000) == b""
        assert await loop.sock_recv(ours, 1000) == b""
        await task

    run(loop, main())


@pytest.mark.parametrize("n", [1, 1000, 65536, 65537, 1 << 20])
def test_large_transfer(loop, pair, n):
    ours, theirs = pair
    data = bytes(range(256)) * (16 if n == 1 else 4096)

    async def receive():
        parts = []
        while part := await loop.sock_recv(theirs, n):
            assert type(part) is bytes and len(part) <= n
            parts.append(part)
        return b"".join(parts)

    async def main():
        task = asyncio.create_task(receive())
        await turns()
        assert await loop.sock_sendall(ours, data) is None
        ours.shutdown(socket.SHUT_WR)
        assert await task == data

    run(loop, main())


def test_small_message_after_large_ones(loop, pair):
    ours, theirs = pair
    total = 600_000

    async def main():
        task = asyncio.create_task(loop.sock_sendall(ours, bytes(total)))
        got = 0
        while got < total:
            got += len(await loop.sock_recv(theirs, 300_000))
        await task
        for _ in range(3):
            await loop.sock_sendall(ours, b"small")
            assert await loop.sock_recv(theirs, 300_000) == b"small"

    run(loop, main())


def test_recv_into(loop, pair):
    ours, theirs = pair

    async def main():
        buffer = bytearray(b"-" * 8)
        task = asyncio.create_task(loop.sock_recv_into(ours, buffer))
        await turns()
        await loop.sock_sendall(theirs, b"abc")
        assert await task == 3 and buffer == b"abc-----"
        await loop.sock_sendall(theirs, b"0123456789")
        assert await loop.sock_recv_into(ours, memoryview(buffer)[2:]) == 6
        assert buffer == b"ab012345"
        assert await loop.sock_recv_into(ours, buffer) == 4
        assert await loop.sock_recv_into(ours, bytearray()) == 0

    run(loop, main())


def test_end_of_stream_that_comes_with_data(loop, pair):
    ours, theirs = pair

    async def main():
        task = asyncio.create_task(loop.sock_recv(ours, 100))
        await turns()
        theirs.send(b"last")
        theirs.close()
        assert await task == b"last"
        assert await loop.sock_recv(ours, 100) == b""

    run(loop, main())


def test_end_of_stream_after_a_short_read(loop, pair):
    ours, theirs = pair

    async def main():
        for closing in (False, True):
            task = asyncio.create_task(loop.sock_recv(ours, 100))
            await turns()
            theirs.send(b"data")
            assert await task == b"data"
            if closing:
                theirs.shutdown(socket.SHUT_WR)
        assert await loop.sock_recv(ours, 100) == b""

    run(loop, main())


def test_data_that_came_while_nobody_waited(loop, pair):
    ours, theirs = pair

    async def main():
        task = asyncio.create_task(loop.sock_recv(ours, 100))
        await turns()
        theirs.send(b"1")
        assert await task == b"1"
        theirs.send(b"2")
        await asyncio.sleep(0.01)
        theirs.send(b"3")
        await asyncio.sleep(0.01)
        assert await loop.sock_recv(ours, 100) == b"23"
        task = asyncio.create_task(loop.sock_recv(ours, 100))
        await asyncio.sleep(0.01)
        theirs.send(b"4")
        assert await task == b"4"

    run(loop, main())


@pytest.mark.parametrize("kind", [bytearray, memoryview, lambda b: array.array("b", b)])
def test_sendall_takes_buffers(loop, pair, kind):
    ours, theirs = pair
    data = bytes(300_000)

    async def main():
        task = asyncio.create_task(loop.sock_sendall(ours, kind(data)))
        got = b""
        while len(got) < len(data):
            got += await loop.sock_recv(theirs, 1 << 20)
        await task
        assert got == data
        await loop.sock_sendall(ours, kind(b""))

    run(loop, main())


def test_both_directions_at_once(loop, pair):
    ours, theirs = pair
    data = bytes(20_000_000)

    async def main():
        reading = asyncio.create_task(loop.sock_recv(ours, 10))
        sending = asyncio.create_task(loop.sock_sendall(ours, data))
        await turns()
        assert not reading.done() and not sending.done()
        await loop.sock_sendall(theirs, b"x")
        assert await reading == b"x" and not sending.done()
        got = 0
        while got < len(data):
            got += len(await loop.sock_recv(theirs, 1 << 20))
        await sending

    run(loop, main())


def test_blocking_socket_does_not_block(native, pair):
    ours, theirs = pair
    ours.setblocking(True)

    async def main():
        task = asyncio.create_task(native.sock_recv(ours, 10))
        await turns()
        await native.sock_sendall(theirs, b"x")
        assert await task == b"x"

    run(native, main())


# ---- mistakes ----------------------------------------------------------------------


def outcome(loop, coroutine):
    with pytest.raises((TypeError, ValueError, OSError, OverflowError)) as raised:
        run(loop, coroutine)
    return raised.value


@pytest.mark.parametrize(
    ("method", "args"),
    [
        ("sock_recv", ("100",)),
        ("sock_recv", (-1,)),
        ("sock_recv", (1 << 80,)),
        ("sock_recv", (1.0,)),
        ("sock_recv_into", (b"read only",)),
        ("sock_recv_into", ("text",)),
        ("sock_recvfrom", (-1,)),
        ("sock_recvfrom_into", (bytearray(3), 4)),
        ("sock_recvfrom_into", (bytearray(3), -4)),
        ("sock_recvfrom_into", (7,)),
        ("sock_sendall", ("text",)),
        ("sock_sendall", (None,)),
        ("sock_sendto", ("text", "/nowhere")),
        ("sock_sendto", (b"x", 7)),
        ("sock_sendto", (b"x", "/" + "n" * 200)),
    ],
)
def test_wrong_arguments(loop, method, args):
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        error = outcome(loop, getattr(loop, method)(ours, *args))
        stock = asyncio.SelectorEventLoop()
        expected = outcome(stock, getattr(stock, method)(ours, *args))
        stock.close()
    assert type(error) is type(expected) and str(error) == str(expected)


def test_debug_mode_wants_sockets_that_do_not_block(loop, pair):
    ours, theirs = pair
    loop.set_debug(True)
    ours.setblocking(True)
    with pytest.raises(ValueError, match="the socket must be non-blocking"):
        run(loop, loop.sock_recv(ours, 10))
    ours.setblocking(False)
    theirs.send(b"x")
    assert run(loop, loop.sock_recv(ours, 10)) == b"x"


def test_reset_by_the_peer(loop):
    ours, theirs = new_pair("TCP")

    async def main():
        task = asyncio.create_task(loop.sock_recv(ours, 10))
        await turns()
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        theirs.close()
        with pytest.raises(ConnectionResetError):
            await task
        with pytest.raises(BrokenPipeError):
            await loop.sock_sendall(ours, b"x")

    with ours:
        run(loop, main())


# ---- accepting ---------------------------------------------------------------------


def test_accept(loop):
    async def main(listener):
        for _ in range(3):
            task = asyncio.create_task(loop.sock_accept(listener))
            await turns()
            client = socket.socket()
            client.setblocking(False)
            await loop.sock_connect(client, listener.getsockname())
            conn, address = await task
            with client, conn:
                assert type(conn) is socket.socket and conn.gettimeout() == 0
                assert not conn.get_inheritable()
                assert (conn.family, conn.type, conn.proto) == (
                    listener.family,
                    listener.type,
                    listener.proto,
                )
                assert address == client.getsockname()
                await serve_a_read(loop, conn, client)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        run(loop, main(listener))


def test_accept_unix(loop, tmp_path):
    async def main(listener):
        task = asyncio.create_task(loop.sock_accept(listener))
        await turns()
        with socket.socket(socket.AF_UNIX) as client:
            client.setblocking(False)
            await loop.sock_connect(client, listener.getsockname())
            conn, address = await task
            assert address == ""
            conn.close()

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        listener.listen()
        listener.setblocking(False)
        run(loop, main(listener))
