"""close(), abort(), and connection_lost(): once, after everything else."""

import asyncio
import contextlib
import logging
import socket
import sys

import pytest
import treadle
from support.streams import Link, Recorder, settle


@pytest.fixture
def link(loop):
    link = Link(loop)
    yield link
    link.close()


def fail(*_):
    raise ValueError("told")


def skip_where_asyncio_fails(loop):
    if not isinstance(loop, treadle.EventLoop) and sys.version_info < (3, 14):
        pytest.skip("asyncio's own transports trip over themselves here before 3.14")


@pytest.mark.parametrize("end", ["close", "abort"])
def test_ends_once(link, end):
    for _ in range(3):
        getattr(link.transport, end)()
    assert link.transport.is_closing()
    assert "lost" not in link.protocol.names
    settle(link.loop)
    assert link.protocol.events[-1] == ("lost", None)
    assert link.protocol.names.count("lost") == 1
    assert link.peer.recv(1) == b""
    assert link.sock.fileno() == -1
    assert link.transport._sock is None
    assert link.transport._loop is None
    assert repr(link.transport).endswith(f" closed fd={link.transport._sock_fd}>")
    link.transport.close()
    link.transport.abort()


def test_close_writes_what_is_queued(link):
    skip_where_asyncio_fails(link.loop)
    total = link.fill()
    link.transport.close()
    assert " closing fd=" in repr(link.transport)
    link.transport.write(b"more")  # still taken while bytes are queued
    assert link.drain(total + 4) == b"x" * total + b"more"
    link.run_until_event("lost")
    assert link.protocol.events[-1] == ("lost", None)


def test_abort_drops_what_is_queued(link):
    total = link.fill()
    link.transport.close()
    link.transport.abort()
    assert link.transport.get_write_buffer_size() == 0
    link.run_until_event("lost")
    got = 0
    while part := link.peer.recv(1 << 20):
        got += len(part)
    assert got < total


@pytest.mark.parametrize("name", ["made", "data", "eof", "pause", "resume", "lost"])
@pytest.mark.parametrize("end", ["close", "abort"])
def test_end_from_within_any_callback(loop, name, end):
    if name in ("pause", "resume"):
        skip_where_asyncio_fails(loop)
    link = Link(loop, Recorder(**{name: lambda self, *_: getattr(self.transport, end)()}))
    if not link.transport.is_closing():
        link.peer.send(b"x")
        settle(loop)
        if name in ("pause", "resume"):
            link.transport.write(b"x" * 5_000_000)
        if name == "eof":
            link.peer.shutdown(1)
        if name == "lost":
            link.transport.abort()
    while "lost" not in link.protocol.names:
        link.peer.setblocking(False)
        try:
            link.peer.recv(1 << 20)
        except BlockingIOError:
            pass
        settle(loop)
    settle(loop)
    assert link.protocol.names.count("lost") == 1
    assert link.errors == []
    link.close()


def test_connection_lost_that_raises(loop):
    link = Link(loop, Recorder(lost=fail))
    link.transport.close()
    link.run_until_event("lost")
    settle(loop)
    assert [str(error["exception"]) for error in link.errors] == ["told"]
    assert "_call_connection_lost" in link.errors[0]["message"]
    assert link.sock.fileno() == -1
    assert link.transport._loop is None


def test_connection_lost_that_raises_after_the_last_bytes(loop):
    link = Link(loop, Recorder(lost=fail))
    total = link.fill()
    link.transport.close()
    link.drain(total)
    link.run_until_event("lost")
    settle(loop)
    assert [str(error["exception"]) for error in link.errors] == ["told"]
    assert link.sock.fileno() == -1


def test_fatal_error(link):
    exc = ValueError("mine")
    link.transport._fatal_error(exc, "what happened")
    assert link.errors == [
        {
            "message": "what happened",
            "exception": exc,
            "transport": link.transport,
            "protocol": link.protocol,
        }
    ]
    link.run_until_event("lost")
    assert link.protocol.events[-1] == ("lost", exc)


def test_errors_of_the_system_are_for_the_log(link, caplog):
    link.loop.set_debug(True)
    with caplog.at_level(logging.DEBUG, "asyncio"):
        link.transport._fatal_error(exc := OSError("gone"))
    record = next(r for r in caplog.records if "Fatal error on transport" in r.getMessage())
    assert record.exc_info
    link.run_until_event("lost")
    assert link.protocol.events[-1] == ("lost", exc)
    assert link.errors == []


def test_force_close(link):
    exc = ConnectionError()
    link.transport._force_close(exc)
    link.transport._force_close(ValueError())
    link.run_until_event("lost")
    assert link.protocol.events[-1] == ("lost", exc)


def test_server_hears_of_the_end(loop):
    async def main():
        server = await loop.create_server(Recorder, "127.0.0.1", 0)
        transport, _ = await loop.create_connection(
            Recorder, *server.sockets[0].getsockname()
        )
        await asyncio.sleep(0.01)
        server.close()
        transport.close()
        await asyncio.wait_for(server.wait_closed(), 10)

    loop.run_until_complete(main())


def pair_with(fd, stack):
    """A pair of sockets, the first of which has the number `fd`, which is free."""
    while True:
        pair = socket.socketpair()
        for sock in pair:
            stack.enter_context(sock)
        if pair[0].fileno() == fd:
            return pair
        if pair[1].fileno() == fd:
            return pair[::-1]


@pytest.mark.parametrize("act", ["write", "writelines", "write_eof", "read"])
def test_socket_closed_behind_the_back(link, act):
    fd = link.sock.fileno()
    link.sock.close()
    with contextlib.ExitStack() as stack:
        _, end = pair_with(fd, stack)  # the number is somebody else's now
        check_nothing_reaches(link, end, act)


def check_nothing_reaches(link, end, act):
    link.transport.set_write_buffer_limits(0)
    if act == "write_eof":
        with pytest.raises(OSError, match="Bad file descriptor"):
            link.transport.write_eof()
        link.transport.abort()
    elif act == "read":
        end.send(b"not for you")
        link.transport.write(b"x")
    else:
        link.transport.write(b"x") if act == "write" else link.transport.writelines([b"x"])
    link.run_until_event("lost")
    assert link.protocol.received == b""
    if act != "write_eof":
        assert link.protocol.events[-1][1].errno == 9
    end.setblocking(False)
    with pytest.raises(BlockingIOError):
        end.recv(1)
