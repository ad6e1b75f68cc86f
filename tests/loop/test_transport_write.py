"""Writing: at once, from the queue, of several buffers, and what is refused."""

import array
import logging
import socket

import pytest
import treadle
from support.streams import Link, Recorder, settle, tcp_pair


@pytest.fixture(params=[socket.socketpair, tcp_pair])
def link(loop, request):
    link = Link(loop, make_pair=request.param)
    yield link
    link.close()


@pytest.mark.parametrize(
    "data", [b"abc", bytearray(b"abc"), memoryview(b"abc"), memoryview(array.array("H", [1, 2]))]
)
def test_kinds_of_data(link, data):
    link.transport.write(data)
    assert link.peer.recv(10) == bytes(data)
    link.transport.write(data=data)
    assert link.peer.recv(10) == bytes(data)


def test_nothing_is_nothing(link):
    link.transport.write(b"")
    link.transport.write(bytearray())
    link.transport.writelines([])
    link.transport.write(b"x")
    assert link.peer.recv(10) == b"x"


def test_wrong_types(link):
    for wrong in ("text", 1, None, array.array("b", [1]), [b"x"]):
        with pytest.raises(TypeError, match="^data argument must be a bytes") as error:
            link.transport.write(wrong)
        assert repr(type(wrong).__name__) in str(error.value)
    with pytest.raises(TypeError):
        link.transport.writelines(["text"])
    with pytest.raises(TypeError):
        link.transport.write()
    with pytest.raises(TypeError):
        link.transport.write(b"x", b"y")
    released = memoryview(b"x")
    released.release()
    with pytest.raises(ValueError, match="released"):
        link.transport.write(released)
    assert not link.transport.is_closing()


def test_what_does_not_fit_is_queued_in_order(link):
    total = link.fill()
    assert not link.transport._buffer == type(link.transport._buffer)()
    tail = [b"small", bytearray(b"bytearray"), b"y" * 5000, memoryview(b"z" * 70000)]
    for part in tail:
        link.transport.write(part)
    queued = link.transport.get_write_buffer_size()
    assert queued > 75000
    assert "write=<polling" in repr(link.transport)
    expected = b"x" * total + b"".join(map(bytes, tail))
    assert link.drain(len(expected)) == expected
    link.run_until(lambda: link.transport.get_write_buffer_size() == 0)
    assert "write=<idle, bufsize=0>" in repr(link.transport)
    assert not link.transport._buffer


def test_queued_bytearray_is_a_copy(factory):
    # asyncio's transport keeps a view from 3.12 on; it must not be changed there
    if factory is not treadle.new_event_loop:
        pytest.skip("a guarantee of treadle's")
    loop = factory()
    link = Link(loop)
    total = link.fill()
    data = bytearray(b"y" * 5000)
    link.transport.write(data)
    data[:] = b"n" * 9000  # neither locked nor seen
    assert link.drain(total + 5000).endswith(b"y" * 5000)
    link.close()
    loop.close()


def test_writelines(link):
    parts = [b"a", bytearray(b"bc"), memoryview(b"def"), b""] * 40
    link.transport.writelines(parts)
    link.transport.writelines(part for part in [b"g", b"h"])
    link.transport.writelines(list_of_data=(b"i",))
    expected = b"".join(map(bytes, parts)) + b"ghi"
    assert link.drain(len(expected)) == expected


def test_writelines_more_than_fits(link):
    total = link.fill()
    parts = [b"%05d" % i for i in range(300)] + [bytearray(b"m" * 3000), b"e" * 100000]
    link.transport.writelines(parts)
    expected = b"x" * total + b"".join(map(bytes, parts))
    assert link.drain(len(expected)) == expected


def test_writelines_partly_sent(link):
    parts = [b"p" * 65536] * 200
    link.transport.writelines(parts)
    assert 0 < link.transport.get_write_buffer_size() < 200 * 65536
    expected = b"".join(parts)
    assert link.drain(len(expected)) == expected


def test_write_eof(link):
    assert link.transport.can_write_eof() is True
    link.transport.write(b"last")
    link.transport.write_eof()
    link.transport.write_eof()
    assert link.peer.recv(10) == b"last"
    assert link.peer.recv(10) == b""
    with pytest.raises(RuntimeError, match=r"Cannot call write\(\) after write_eof\(\)"):
        link.transport.write(b"x")
    with pytest.raises(RuntimeError, match=r"after write_eof\(\)"):
        link.transport.writelines([b"x"])
    link.peer.send(b"answer")
    link.run_until_event("data")
    assert not link.transport.is_closing()


def test_write_eof_waits_for_the_queue(link):
    total = link.fill()
    link.transport.write_eof()
    assert link.drain(total) == b"x" * total
    link.peer.setblocking(True)
    settle(link.loop)
    assert link.peer.recv(10) == b""
    assert link.protocol.names[:1] == ["made"]
    assert "lost" not in link.protocol.names


def test_writes_after_the_end_are_counted_and_warned_of(link, caplog):
    link.transport.abort()
    with caplog.at_level(logging.WARNING, "asyncio"):
        for _ in range(5):
            link.transport.write(b"x")
        warned = [record.getMessage() for record in caplog.records]
        link.transport.write(bytearray(b"x"))
    assert warned == ["socket.send() raised exception."]
    assert [r.getMessage() for r in caplog.records] == ["socket.send() raised exception."] * 2
    settle(link.loop)
    link.transport.write(b"x")


def test_peer_that_is_gone(link):
    link.transport.pause_reading()
    link.peer.close()

    def lost():
        link.transport.write(b"x")
        return "lost" in link.protocol.names

    link.run_until(lost)
    exc = link.protocol.events[-1][1]
    assert isinstance(exc, (BrokenPipeError, ConnectionResetError))
    assert link.errors == []


def test_peer_that_goes_while_bytes_are_queued(link):
    link.transport.pause_reading()
    link.fill()
    link.peer.close()
    link.run_until_event("lost")
    exc = link.protocol.events[-1][1]
    assert isinstance(exc, (BrokenPipeError, ConnectionResetError))
    assert link.transport.get_write_buffer_size() == 0
    assert link.protocol.names.count("lost") == 1


def test_view_that_is_not_contiguous(link):
    link.transport.write(memoryview(b"abcdef")[::2])
    link.run_until_event("lost")
    assert link.errors[0]["message"] == "Fatal write error on socket transport"
    assert isinstance(link.errors[0]["exception"], BufferError)


def test_empty_waiter(link):
    transport = link.transport
    waiter = transport._make_empty_waiter()
    assert waiter.done()
    with pytest.raises(RuntimeError, match="already set"):
        transport._make_empty_waiter()
    with pytest.raises(RuntimeError, match="unable to write; sendfile is in progress"):
        transport.write(b"x")
    transport._reset_empty_waiter()
    total = link.fill()
    waiter = transport._make_empty_waiter()
    assert not waiter.done()
    link.drain(total)
    link.run_until(waiter.done)
    assert waiter.result() is None


def test_empty_waiter_of_a_lost_connection(link):
    link.fill()
    waiter = link.transport._make_empty_waiter()
    link.transport.abort()
    link.run_until(waiter.done)
    assert isinstance(waiter.exception(), ConnectionError)


def test_shutdown_that_fails_is_told(loop):
    link = Link(loop, Recorder(eof=lambda self: True), tcp_pair)
    link.transport._sock.shutdown(socket.SHUT_RDWR)
    link.peer.close()
    link.run_until_event("eof")
    with pytest.raises(OSError):
        link.transport.write_eof()
    link.close()
