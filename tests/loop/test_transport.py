"""The object: what it is, how long it lives, what its start and its abandonment do."""

import asyncio
import contextvars
import gc
import logging
import re
import socket
import sys
import sysconfig
import threading
import time
import weakref

import pytest
import treadle
from support.streams import Link, Recorder, settle, tcp_pair


@pytest.fixture
def link(loop):
    link = Link(loop)
    yield link
    link.close()


def test_it_is_a_transport(link):
    transport = link.transport
    assert isinstance(transport, asyncio.Transport)
    assert isinstance(transport, asyncio.transports._FlowControlMixin)
    assert transport._start_tls_compatible is True
    assert transport.max_size == 256 * 1024


def test_native_for_plain_sockets():
    with asyncio.Runner(loop_factory=treadle.new_event_loop) as runner:
        link = Link(runner.get_loop())
        assert type(link.transport) is treadle._native.StreamTransport
        link.close()


def test_other_kinds_of_socket_keep_asyncios_transport(loop):
    class Mine(socket.socket):
        pass

    ours, theirs = socket.socketpair()
    mine = Mine(fileno=ours.detach())
    link = Link(loop, make_pair=lambda: (mine, theirs))
    link.peer.send(b"hello")
    link.run_until_event("data")
    assert type(link.transport).__name__ == "_SelectorSocketTransport"
    link.close()


def test_no_instances_from_python():
    with pytest.raises(TypeError):
        treadle._native.StreamTransport()


def test_attributes_and_weak_references(link):
    link.transport.mine = 1
    assert link.transport.__dict__["mine"] == 1
    assert weakref.ref(link.transport)() is link.transport


def test_methods_can_be_replaced_on_the_instance(link):
    written = []
    link.transport.write = written.append
    link.transport.write(b"x")
    assert written == [b"x"]


def test_order_of_the_start(loop):
    ours, _theirs = socket.socketpair()
    order = []

    class Protocol(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            order.append(("made", transport.is_reading()))
            loop.call_soon(order.append, "later")

    async def main():
        transport, _ = await loop.create_connection(Protocol, sock=ours)
        order.append("connected")
        transport.close()

    loop.run_until_complete(main())
    settle(loop)
    _theirs.close()
    assert order[0] == ("made", True)
    assert set(order[1:]) == {"later", "connected"}


def test_connection_made_that_raises_is_reported_and_reading_starts(loop):
    def fail(protocol):
        raise ValueError("made")

    link = Link(loop, Recorder(made=fail))
    link.peer.send(b"x")
    link.run_until_event("data")
    assert [str(error["exception"]) for error in link.errors] == ["made"]
    assert "connection_made" in link.errors[0]["message"]
    link.close()


def test_callbacks_run_in_the_context_of_the_making(loop):
    var = contextvars.ContextVar("var", default="outside")
    seen = []
    protocol = Recorder(
        made=lambda *_: seen.append(var.get()),
        data=lambda *_: seen.append(var.get()),
        lost=lambda *_: seen.append(var.get()),
    )
    ours, theirs = socket.socketpair()

    async def main():
        var.set("inside")
        await loop.create_connection(lambda: protocol, sock=ours)

    loop.run_until_complete(main())
    theirs.send(b"x")
    theirs.close()
    while "lost" not in protocol.names:
        settle(loop)
    assert seen == ["inside"] * 3
    assert var.get() == "outside"


def test_abandoned_transport_warns_and_closes(loop):
    link = Link(loop)
    link.transport.pause_reading()  # or the loop holds it
    peer, link.peer = link.peer, None
    link.protocol.transport = None
    fd = link.transport._sock_fd
    with pytest.warns(ResourceWarning, match=f"unclosed transport <.*fd={fd} read=idle"):
        del link.transport
        link.sock = None
        gc.collect()
    assert peer.recv(1) == b""
    assert "lost" not in link.protocol.names
    peer.close()


def test_cycle_through_the_protocol_is_collected(loop):
    link = Link(loop)
    ref = weakref.ref(link.transport)
    link.transport.abort()
    settle(loop)
    link.peer.close()
    link.protocol.transport.cycle = link.protocol
    loop.set_exception_handler(None)
    del link
    gc.collect()
    assert ref() is None


def test_loop_closed_with_an_open_transport(factory):
    loop = factory()
    link = Link(loop)
    loop.close()
    assert not link.transport.is_closing()
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        link.transport.close()
    assert link.transport.is_closing()
    with pytest.warns(ResourceWarning, match="unclosed transport"):
        del link.transport
        link.protocol.transport = link.sock = None
        loop = link.loop = None
        gc.collect()
    assert link.peer.recv(1) == b""
    link.peer.close()


def test_descriptor_belongs_to_the_transport(loop, link):
    for method in (loop.add_reader, loop.add_writer):
        with pytest.raises(RuntimeError, match="is used by transport"):
            method(link.sock, print)
    with pytest.raises(RuntimeError, match="is used by transport"):
        loop.remove_reader(link.transport._sock_fd)
    if sys.version_info >= (3, 12) or isinstance(loop, treadle.EventLoop):
        with pytest.raises(RuntimeError, match="is used by transport"):
            loop.run_until_complete(loop.create_connection(Recorder, sock=link.sock))
    link.transport.close()
    loop._ensure_fd_no_transport(link.sock)


def test_ensure_fd_refuses_other_objects(loop):
    with pytest.raises(ValueError, match="Invalid file object: 'no'"):
        loop._ensure_fd_no_transport("no")


def test_nodelay_is_set_on_tcp(loop):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        transport, _ = loop.run_until_complete(
            loop.create_connection(Recorder, *listener.getsockname())
        )
        sock = transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
        transport.close()
        settle(loop)


def test_echo_of_much_data_over_tcp(loop):
    protocol = Recorder(data=lambda self, data: self.transport.write(data))
    link = Link(loop, protocol, tcp_pair)
    data = bytes(range(256)) * 20000
    sender = threading.Thread(target=link.peer.sendall, args=(data,))
    got = bytearray()

    def receive():
        while len(got) < len(data):
            got.extend(link.peer.recv(1 << 16))

    receiver = threading.Thread(target=receive)
    sender.start()
    receiver.start()
    link.run_until(lambda: len(got) == len(data))
    sender.join()
    receiver.join()
    assert got == data
    link.close()


def test_slow_protocol_is_logged_in_debug_mode(loop, caplog):
    loop.set_debug(True)
    loop.slow_callback_duration = 0.01
    link = Link(loop, Recorder(data=lambda *_: time.sleep(0.02)))
    with caplog.at_level(logging.WARNING, "asyncio"):
        link.peer.send(b"x")
        link.run_until_event("data")
    texts = [record.getMessage() for record in caplog.records]
    assert any(re.match(r"Executing <.*> took 0\.\d+ seconds", text) for text in texts)
    link.close()


@pytest.mark.skipif(sysconfig.get_config_var("Py_GIL_DISABLED") != 1, reason="has a GIL")
def test_wrong_thread_is_refused_without_a_gil(factory):
    if factory is not treadle.new_event_loop:
        pytest.skip("asyncio's own loop does not look")
    loop = factory()
    link = Link(loop)
    transport = link.transport
    calls = [
        lambda: transport.write(b"x"),
        lambda: transport.writelines([b"x"]),
        transport.write_eof,
        transport.close,
        transport.abort,
        transport.pause_reading,
        transport.resume_reading,
        lambda: transport.set_write_buffer_limits(1),
        lambda: transport.set_protocol(Recorder()),
    ]
    raised = []

    def misuse():
        for call in calls:
            try:
                call()
            except RuntimeError as exc:
                raised.append(str(exc))

    loop.run_until_complete(asyncio.to_thread(misuse))
    assert len(raised) == len(calls)
    assert all("Non-thread-safe operation" in text for text in raised)
    assert not transport.is_closing()
    link.close()
    loop.close()
