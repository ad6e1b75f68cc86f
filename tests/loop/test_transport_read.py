"""Reading: what the two kinds of protocol are told, and when."""

import logging
import socket
import struct

import pytest
from support.streams import BufferedRecorder, Link, Recorder, settle, tcp_pair


@pytest.fixture(params=[Recorder, BufferedRecorder])
def link(loop, request):
    link = Link(loop, request.param())
    yield link
    link.close()


def fail(*_):
    raise ValueError("told")


def test_data_then_end(link):
    link.peer.send(b"abc")
    link.run_until_event("data")
    link.peer.send(b"def")
    link.peer.close()
    link.run_until_event("lost")
    assert link.protocol.received == b"abcdef"
    assert link.protocol.names[-2:] == ["eof", "lost"]
    assert link.protocol.events[-1] == ("lost", None)
    assert link.errors == []


def test_large_read_comes_whole(loop):
    link = Link(loop, Recorder(data=lambda self, _: None))
    data = bytes(range(256)) * 300
    link.peer.sendall(data)
    link.run_until(lambda: len(link.protocol.received) == len(data))
    assert link.protocol.received == data
    link.close()


def test_buffer_is_asked_for_with_no_hint(loop):
    link = Link(loop, BufferedRecorder(4))
    link.peer.send(b"abcdef")
    link.run_until(lambda: link.protocol.received == b"abcdef")
    assert ("get", -1) in link.protocol.events
    assert [e[1] for e in link.protocol.events if e[0] == "data"] == [b"abcd", b"ef"]
    link.close()


def test_pause_and_resume(link):
    link.transport.pause_reading()
    assert not link.transport.is_reading()
    link.peer.send(b"x")
    settle(link.loop)
    assert link.protocol.received == b""
    link.transport.pause_reading()
    link.transport.resume_reading()
    link.transport.resume_reading()
    assert link.transport.is_reading()
    link.run_until_event("data")
    link.transport.close()
    link.transport.resume_reading()
    link.transport.pause_reading()
    assert not link.transport.is_reading()


def test_pause_before_reading_starts(loop):
    link = Link(loop, Recorder(made=lambda self: self.transport.pause_reading()))
    link.peer.send(b"x")
    settle(loop)
    assert link.protocol.names == ["made"]
    link.transport.resume_reading()
    link.run_until_event("data")
    link.close()


@pytest.mark.parametrize("end", ["close", "abort", "pause_reading"])
def test_no_more_data_after_the_protocol_ends_it(loop, end):
    def act(protocol, data):
        link.peer.send(b"b")
        getattr(protocol.transport, end)()

    link = Link(loop, Recorder(data=act))
    link.peer.send(b"a")
    link.run_until_event("data")
    settle(loop)
    assert link.protocol.received == b"a"
    link.close()


def test_eof_that_keeps_the_other_direction_open(loop):
    link = Link(loop, Recorder(eof=lambda self: True))
    link.peer.shutdown(1)
    link.run_until_event("eof")
    settle(loop)
    assert not link.transport.is_closing()
    link.transport.write(b"still")
    assert link.peer.recv(10) == b"still"
    assert link.protocol.names == ["made", "eof"]
    link.close()


def test_protocol_can_be_replaced_by_the_other_kind(loop):
    link = Link(loop)
    other = BufferedRecorder()
    link.transport.set_protocol(protocol=other)
    assert link.transport.get_protocol() is other
    link.peer.send(b"x")
    link.run_until(lambda: other.received == b"x")
    link.peer.close()
    link.run_until(lambda: "lost" in other.names)
    assert link.protocol.names == ["made"]


def test_replaced_method_of_an_instance_is_called(loop):
    link = Link(loop)
    got = []
    link.protocol.data_received = got.append
    link.peer.send(b"x")
    link.run_until(lambda: got)
    assert got == [b"x"]
    link.close()


FAILURES = [
    (Recorder, "data", "Fatal error: protocol.data_received() call failed."),
    (Recorder, "eof", "Fatal error: protocol.eof_received() call failed."),
    (BufferedRecorder, "get", "Fatal error: protocol.get_buffer() call failed."),
    (BufferedRecorder, "data", "Fatal error: protocol.buffer_updated() call failed."),
    (BufferedRecorder, "eof", "Fatal error: protocol.eof_received() call failed."),
]


@pytest.mark.parametrize(("kind", "name", "message"), FAILURES)
def test_protocol_that_raises_loses_the_connection(loop, kind, name, message):
    link = Link(loop, kind(**{name: fail}))
    link.peer.send(b"x")
    link.peer.shutdown(1)
    link.run_until_event("lost")
    assert [error["message"] for error in link.errors] == [message]
    error = link.errors[0]
    assert str(error["exception"]) == "told"
    assert error["transport"] is link.transport
    assert error["protocol"] is link.protocol
    assert link.protocol.events[-1] == ("lost", error["exception"])
    assert link.protocol.names.count("lost") == 1


@pytest.mark.parametrize("name", ["data", "eof", "made", "lost"])
@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_exits_pass_through(loop, name, kind):
    def leave(*_):
        raise kind

    protocol = Recorder()
    link = Link(loop, protocol)
    protocol.act[name] = leave
    if name == "made":
        with pytest.raises(kind):
            Link(loop, Recorder(made=leave))
    else:
        link.peer.send(b"x")
        link.peer.close()
        with pytest.raises(kind):
            loop.run_forever()
    protocol.act.clear()
    assert link.errors == []
    link.close()


@pytest.mark.parametrize("answer", [b"", bytearray()])
def test_empty_buffer_is_an_error(loop, answer):
    link = Link(loop, BufferedRecorder(get=lambda *_: answer))
    link.peer.send(b"x")
    link.run_until_event("lost")
    assert "empty buffer" in str(link.errors[0]["exception"])


@pytest.mark.parametrize("answer", [b"abc", [1]])
def test_buffer_that_cannot_be_written_is_an_error(loop, answer):
    link = Link(loop, BufferedRecorder(get=lambda *_: answer))
    link.peer.send(b"x")
    link.run_until_event("lost")
    assert link.errors[0]["message"] == "Fatal read error on socket transport"
    assert isinstance(link.errors[0]["exception"], (TypeError, BufferError))


def test_get_buffer_that_aborts(loop):
    protocol = BufferedRecorder(get=lambda self, _: self.transport.abort())
    link = Link(loop, protocol)
    link.peer.send(b"x")
    link.run_until_event("lost")
    assert link.protocol.events[-1] == ("lost", None)
    assert link.errors == []


def test_reset_by_the_peer(loop):
    link = Link(loop, make_pair=tcp_pair)
    link.peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    link.peer.close()
    link.run_until_event("lost")
    assert isinstance(link.protocol.events[-1][1], ConnectionResetError)
    assert link.errors == []  # asyncio logs such errors in debug mode only


def test_reset_behind_much_data(loop):
    link = Link(loop, make_pair=tcp_pair)
    # so that the transport expects much
    link.peer.sendall(b"x" * 200_000)
    link.run_until(lambda: len(link.protocol.received) == 200_000)
    link.peer.sendall(b"x" * 200_000)
    link.run_until(lambda: len(link.protocol.received) == 400_000)
    link.transport.pause_reading()
    link.peer.sendall(b"y" * 50_000)
    link.peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    link.peer.close()
    link.transport.resume_reading()
    link.run_until_event("lost")
    assert link.protocol.received.endswith(b"y" * 50_000)
    assert isinstance(link.protocol.events[-1][1], ConnectionResetError)


def test_debug_mode_tells_of_it(loop, caplog):
    loop.set_debug(True)
    link = Link(loop)
    with caplog.at_level(logging.DEBUG, "asyncio"):
        link.transport.pause_reading()
        link.transport.resume_reading()
        link.peer.close()
        link.run_until_event("lost")
    for text in ("pauses reading", "resumes reading", "received EOF"):
        assert any(text in record.getMessage() for record in caplog.records)
    link.close()
