"""get_extra_info(), repr() and the attributes that others look at."""

import collections
import sys

import pytest
from support.streams import Link, settle, tcp_pair


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
