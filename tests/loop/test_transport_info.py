"""get_extra_info(), repr() and the attributes that others look at."""

import collections
import os
import socket
import sys

import pytest
from support.streams import Link, Recorder, settle, tcp_pair


@pytest.fixture
def link(loop):
    link = Link(loop, make_pair=tcp_pair)
    yield link
    link.close()


def test_extra_info(link):
    transport = link.transport
    wrapper = transport.get_extra_info("socket")
    assert type(wrapper).__name__ == "TransportSocket"
    assert wrapper is transport.get_extra_info("socket")
    assert wrapper.fileno() == link.sock.fileno()
    assert transport.get_extra_info("sockname") == link.sock.getsockname()
    assert transport.get_extra_info("peername") == link.peer.getsockname()
    assert transport.get_extra_info("nothing") is None
    assert transport.get_extra_info("nothing", 5) == 5
    assert transport.get_extra_info(name="nothing", default=6) == 6
    transport._extra["mine"] = 7
    assert transport.get_extra_info("mine") == 7


@pytest.mark.parametrize("early", [True, False])
def test_extra_info_outlives_the_connection(link, early):
    name, peer = link.sock.getsockname(), link.peer.getsockname()
    if early:
        link.transport.get_extra_info("socket")
    link.transport.close()
    settle(link.loop)
    assert link.transport.get_extra_info("sockname") == name
    assert link.transport.get_extra_info("peername") == peer
    assert link.transport.get_extra_info("socket").fileno() == -1


def test_extra_info_of_accepted_connections(loop, tmp_path):
    path = str(tmp_path / "socket")

    async def connect(made, kind):
        if kind == "unix":
            await loop.create_unix_server(lambda: made, path)
            return await loop.create_unix_connection(Recorder, path)
        host = "127.0.0.1" if kind == "inet" else "::1"
        server = await loop.create_server(lambda: made, host, 0)
        return await loop.create_connection(Recorder, *server.sockets[0].getsockname()[:2])

    for kind in ("inet", "inet6", "unix"):
        made = Recorder()
        client, _ = loop.run_until_complete(connect(made, kind))
        while made.transport is None:
            settle(loop)
        server = made.transport
        assert client.get_extra_info("sockname") == server.get_extra_info("peername")
        assert client.get_extra_info("peername") == server.get_extra_info("sockname")
        for transport in (client, server):
            sock = transport.get_extra_info("socket")
            assert sock.getsockname() == transport.get_extra_info("sockname")
            assert sock.getpeername() == transport.get_extra_info("peername")
            assert sock.type == socket.SOCK_STREAM
            assert sock.gettimeout() == 0.0
            assert not os.get_inheritable(sock.fileno())
            transport.abort()
        settle(loop)


@pytest.mark.skipif(sys.platform != "linux", reason="abstract names are Linux's")
def test_abstract_unix_names(loop):
    name = b"\0treadle-test-%d" % os.getpid()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(name)
        listener.listen()
        client, _ = loop.run_until_complete(
            loop.create_unix_connection(Recorder, name.decode())
        )
        assert client.get_extra_info("peername") == name
        assert client.get_extra_info("sockname") == ""
        client.abort()
        settle(loop)


def test_unconnected_socket_has_no_peer(loop):
    with socket.socket() as sock:
        loop.run_until_complete(loop.create_connection(lambda: protocol, sock=sock)) if (
            protocol := Recorder()
        ) else None
        transport = protocol.transport
        assert transport.get_extra_info("peername") is None
        assert transport.get_extra_info("sockname") == ("0.0.0.0", 0)
        transport.abort()
        settle(loop)


def test_repr(link):
    fd = link.sock.fileno()
    name = type(link.transport).__name__
    assert repr(link.transport) == f"<{name} fd={fd} read=polling write=<idle, bufsize=0>>"
    link.transport.pause_reading()
    assert "read=idle" in repr(link.transport)


def test_attributes(link):
    transport = link.transport
    assert transport._sock is link.sock
    assert transport._sock_fd == link.sock.fileno()
    assert transport._loop is link.loop
    assert transport._protocol is link.protocol
    assert transport._server is None
    assert transport._conn_lost == 0
    assert (transport._closing, transport._eof, transport._paused) == (False, False, False)
    assert transport._protocol_paused is False
    assert transport._protocol_connected is True
    assert (transport._low_water, transport._high_water) == (16384, 65536)
    assert transport._empty_waiter is None
    assert not transport._buffer


def test_queue_can_be_looked_at(link):
    link.fill()
    link.transport.write(b"tail" * 1000)
    queue = link.transport._buffer
    assert type(queue) is (collections.deque if sys.version_info >= (3, 12) else bytearray)
    size = sum(map(len, queue)) if isinstance(queue, collections.deque) else len(queue)
    assert size == link.transport.get_write_buffer_size()
    assert b"".join(queue).endswith(b"tail") if size != len(queue) else queue.endswith(b"tail")
