"""sock_sendfile() and sendfile(): what arrives, what is returned, where the file is left, and who gives up."""

import asyncio
import contextlib
import inspect
import io
import os
import socket
import threading

import pytest
from support.sockets import new_pair, run, turns

SIZE = (3 << 20) + 17
CONTENT = os.urandom(1 << 16) * 48 + os.urandom(17)
assert len(CONTENT) == SIZE
# whether this version's asyncio sets the position of the file even if nothing was sent
MOVED_ALWAYS = "total_sent" not in inspect.signature(
    asyncio.SelectorEventLoop._sock_sendfile_update_filepos
).parameters


@pytest.fixture
def file(tmp_path):
    (tmp_path / "file").write_bytes(CONTENT)
    with open(tmp_path / "file", "rb", buffering=0) as file:
        yield file


@pytest.fixture
def narrow(pair):
    """A connection that does not hold the whole file."""
    for end, option in zip(pair, (socket.SO_SNDBUF, socket.SO_RCVBUF), strict=True):
        end.setsockopt(socket.SOL_SOCKET, option, 1 << 16)
    return pair


async def receive(loop, sock):
    """All that comes until the end."""
    data = bytearray()
    while piece := await loop.sock_recv(sock, 1 << 18):
        data += piece
    return bytes(data)


async def send_and_receive(loop, pair, *args, **options):
    """What sock_sendfile() returns, and what arrives."""
    ours, theirs = pair
    receiving = asyncio.create_task(receive(loop, theirs))
    sent = await loop.sock_sendfile(ours, *args, **options)
    ours.shutdown(socket.SHUT_WR)
    return sent, await receiving


# ---- what arrives ------------------------------------------------------------------


@pytest.mark.parametrize(
    "offset, count",
    [(0, None), (0, 1), (1, None), (1000, 2000), (SIZE - 1, None), (0, SIZE), (5, SIZE), (0, 1 << 40), (0, True)],
)
def test_offset_and_count(loop, pair, file, offset, count):
    expected = CONTENT[offset:] if count is None else CONTENT[offset : offset + count]
    for fallback in (True, False):
        with contextlib.ExitStack() as stack:
            ends = new_pair("TCP")
            for end in ends:
                stack.enter_context(end)
            result = run(loop, send_and_receive(loop, ends, file, offset, count, fallback=fallback))
            assert result == (len(expected), expected)
            assert file.tell() == offset + len(expected)


@pytest.mark.parametrize("offset", [SIZE, SIZE + 1, 1 << 40])
def test_offset_at_the_end(loop, pair, file, offset):
    assert run(loop, send_and_receive(loop, pair, file, offset)) == (0, b"")
    assert file.tell() == (offset if MOVED_ALWAYS else 0)


def test_the_position_is_not_where_it_starts(loop, pair, file):
    file.seek(100)
    assert run(loop, send_and_receive(loop, pair, file, count=10)) == (10, CONTENT[:10])
    assert file.tell() == 10


def test_empty_file(loop, pair, tmp_path):
    (tmp_path / "empty").touch()
    with open(tmp_path / "empty", "rb") as file:
        assert run(loop, send_and_receive(loop, pair, file, fallback=False)) == (0, b"")


def test_file_that_grows(loop, narrow, file, tmp_path):
    """What is added while it is sent is sent as well."""
    ours, theirs = narrow

    async def main():
        sending = asyncio.create_task(loop.sock_sendfile(ours, file, fallback=False))
        await turns(10)
        assert not sending.done()
        with open(tmp_path / "file", "ab") as more:
            more.write(b"more")
        receiving = asyncio.create_task(receive(loop, theirs))
        assert await sending == SIZE + 4
        ours.close()
        assert await receiving == CONTENT + b"more"

    run(loop, main())


def test_a_file_that_shrinks_ends(loop, narrow, file, tmp_path):
    ours, theirs = narrow

    async def main():
        sending = asyncio.create_task(loop.sock_sendfile(ours, file, fallback=False))
        await turns(10)
        assert not sending.done()
        os.truncate(tmp_path / "file", 10)
        receiving = asyncio.create_task(receive(loop, theirs))
        sent = await sending
        ours.close()
        assert (await receiving)[:10] == CONTENT[:10] and 10 <= sent < SIZE

    run(loop, main())


def test_blocking_sockets(loop, file):
    received = []
    with contextlib.ExitStack() as stack:
        ours, theirs = map(stack.enter_context, socket.socketpair())

        def read():
            with theirs.makefile("rb") as stream:
                received.append(stream.read())

        thread = threading.Thread(target=read)
        thread.start()
        assert run(loop, loop.sock_sendfile(ours, file)) == SIZE
        ours.close()
        thread.join()
    assert received == [CONTENT]


def test_others_get_their_turn_while_a_large_file_is_sent(native, tmp_path):
    """Though the peer takes it as fast as it comes."""
    size, loop = 1 << 26, native
    with open(tmp_path / "large", "wb+") as file, contextlib.ExitStack() as stack:
        file.truncate(size)
        ours, theirs = map(stack.enter_context, new_pair("TCP"))
        theirs.setblocking(True)

        def drain():
            buffer = bytearray(1 << 20)
            while theirs.recv_into(buffer):
                pass

        thread = threading.Thread(target=drain)
        thread.start()

        async def main():
            turned = 0
            sending = asyncio.create_task(loop.sock_sendfile(ours, file))
            while not sending.done():
                await asyncio.sleep(0)
                turned += 1
            assert await sending == size
            return turned

        try:
            assert run(loop, main()) > size >> 21
        finally:
            ours.close()
            thread.join()


# ---- files and sockets that are not for sendfile() ---------------------------------


def test_what_is_no_file_is_read(loop, pair):
    content = CONTENT[:100_000]
    assert run(loop, send_and_receive(loop, pair, io.BytesIO(content))) == (len(content), content)


@pytest.mark.parametrize("file", [io.BytesIO(b"x"), object()], ids=["BytesIO", "object"])
def test_what_is_no_file_without_the_fallback(loop, pair, file):
    with pytest.raises(asyncio.SendfileNotAvailableError, match="not a regular file"):
        run(loop, loop.sock_sendfile(pair[0], file, fallback=False))


def test_pipes_say_that_they_are_empty(loop, pair):
    reader, writer = os.pipe()
    os.write(writer, b"x")
    with open(reader, "rb", buffering=0) as file, open(writer, "wb"):
        assert run(loop, send_and_receive(loop, pair, file, fallback=False)) == (0, b"")


@pytest.fixture
def sock_of_no_connection():
    with socket.socket() as sock:
        sock.setblocking(False)
        yield sock


def test_a_socket_that_is_not_connected(loop, sock_of_no_connection, file):
    with pytest.raises(asyncio.SendfileNotAvailableError, match="os.sendfile call failed"):
        run(loop, loop.sock_sendfile(sock_of_no_connection, file, 3, fallback=False))
    assert file.tell() == (3 if MOVED_ALWAYS else 0)
    with pytest.raises(BrokenPipeError):
        run(loop, loop.sock_sendfile(sock_of_no_connection, file))


def test_closed_sockets_and_files(loop, pair, file):
    ours, _ = pair
    ours.close()
    with pytest.raises(asyncio.SendfileNotAvailableError, match="os.sendfile call failed"):
        run(loop, loop.sock_sendfile(ours, file, fallback=False))
    with pytest.raises(OSError, match="Bad file descriptor"):
        run(loop, loop.sock_sendfile(ours, file))
    file.close()
    with pytest.raises(ValueError, match="closed file"):
        run(loop, loop.sock_sendfile(ours, file))


@pytest.mark.parametrize(
    "args",
    [("0",), (-1,), (None,), (1.5,), (0, 0), (0, -1), (0, "1"), (0, 1.5)],
    ids=repr,
)
def test_wrong_arguments(loop, pair, file, args):
    def outcome(loop):
        with pytest.raises((TypeError, ValueError)) as info:
            run(loop, loop.sock_sendfile(pair[0], file, *args))
        return info.type, str(info.value)

    stock = asyncio.SelectorEventLoop()
    expected = outcome(stock)
    stock.close()
    assert outcome(loop) == expected


def test_offsets_that_the_system_does_not_know(loop, pair, file):
    with pytest.raises(OverflowError):
        run(loop, loop.sock_sendfile(pair[0], file, 1 << 70))
    assert run(loop, send_and_receive(loop, pair, file, SIZE - 3)) == (3, CONTENT[-3:])


def test_text_files_and_datagram_sockets(loop, pair, tmp_path):
    (tmp_path / "text").write_text("x")
    with open(tmp_path / "text") as text, pytest.raises(ValueError, match="binary mode"):
        run(loop, loop.sock_sendfile(pair[0], text))
    with open(tmp_path / "text", "rb") as file, socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        with pytest.raises(ValueError, match="only SOCK_STREAM"):
            run(loop, loop.sock_sendfile(sock, file))


def test_debug_mode(loop, pair, file):
    loop.set_debug(True)
    loop.slow_callback_duration = 60
    assert run(loop, send_and_receive(loop, pair, file, 1)) == (SIZE - 1, CONTENT[1:])
    with socket.socket() as sock, pytest.raises(ValueError, match="the socket must be non-blocking"):
        run(loop, loop.sock_sendfile(sock, file))


def test_debug_mode_from_now_on(loop, narrow, file):
    loop.slow_callback_duration = 60
    loop.call_later(0, loop.set_debug, True)
    assert run(loop, send_and_receive(loop, narrow, file, 1)) == (SIZE - 1, CONTENT[1:])
    assert file.tell() == SIZE


def test_programs_that_replace_sendfile(loop, pair, file, monkeypatch):
    called = []

    def sendfile(*args):
        called.append(args)
        raise OSError("no")

    monkeypatch.setattr(os, "sendfile", sendfile)
    assert run(loop, send_and_receive(loop, pair, file)) == (SIZE, CONTENT)
    assert len(called) == 1


def test_a_transport_s_socket(loop, pair, file):
    ours, theirs = pair

    async def main():
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
        with pytest.raises(RuntimeError, match="is used by transport"):
            await loop.sock_sendfile(ours, file)
        transport.abort()
        await turns()

    run(loop, main())


# ---- ends --------------------------------------------------------------------------


def test_peer_that_goes_away(loop, narrow, file):
    ours, theirs = narrow

    async def main():
        sending = asyncio.create_task(loop.sock_sendfile(ours, file, 7))
        await turns(10)
        assert not sending.done()
        theirs.close()
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            await sending
        assert 7 < file.tell() < SIZE

    run(loop, main())


def test_given_up(loop, narrow, file):
    ours, theirs = narrow

    async def main():
        sending = asyncio.create_task(loop.sock_sendfile(ours, file, 7))
        await turns(10)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        await turns()
        assert ours.fileno() not in loop._selector.get_map()
        assert file.tell() == 0  # as asyncio leaves it
        ours.shutdown(socket.SHUT_WR)
        received = await receive(loop, theirs)
        assert received == CONTENT[7 : 7 + len(received)] and len(received) < SIZE - 7

    run(loop, main())


# ---- transports --------------------------------------------------------------------


@pytest.mark.parametrize("offset, count", [(0, None), (3, None), (0, 100_000), (SIZE, None)])
def test_sendfile_through_a_transport(loop, pair, file, offset, count):
    ours, theirs = pair
    expected = CONTENT[offset:] if count is None else CONTENT[offset : offset + count]

    async def main():
        receiving = asyncio.create_task(receive(loop, theirs))
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
        transport.write(b"before ")
        assert await loop.sendfile(transport, file, offset, count) == len(expected)
        assert file.tell() == offset + len(expected) or offset == SIZE and not MOVED_ALWAYS
        transport.write(b" after")
        transport.close()
        assert await receiving == b"before " + expected + b" after"

    run(loop, main())
