"""The attributes of a reader, which others read, edit, replace and delete."""

import asyncio
import copy
import gc
import weakref

import pytest
from support.streaming import Ends, is_native

ATTRIBUTES = ("_buffer", "_limit", "_loop", "_eof", "_waiter", "_exception", "_transport", "_paused")


def test_attributes(ends):
    reader = ends.reader
    assert type(reader._buffer) is bytearray and reader._buffer == b""
    assert (reader._limit, reader._loop, reader._eof) == (2**16, ends.loop, False)
    assert (reader._waiter, reader._exception, reader._paused) == (None, None, False)
    assert reader._transport is ends.writer.transport
    assert isinstance(reader, asyncio.StreamReader) and type(reader).__name__ == "StreamReader"
    assert weakref.ref(reader)() is reader
    reader.mine = 1
    assert reader.mine == 1 and "mine" in vars(reader)


def test_repr(ends):
    reader = ends.reader
    reader.feed_data(b"abc")
    assert repr(reader).startswith("<StreamReader 3 bytes transport=<")
    reader._transport = None
    reader._paused = True
    reader._eof = True
    reader._limit = 5
    reader._exception = KeyError(1)
    assert repr(reader) == "<StreamReader 3 bytes eof limit=5 exception=KeyError(1) paused>"


def test_the_buffer_is_the_users_too(ends):
    reader = ends.reader
    reader.feed_data(b"abcdef")
    buffer = reader._buffer
    del buffer[:2]
    assert ends.run(reader.readexactly(2)) == b"cd"
    buffer += b"gh"
    reader.feed_data(b"ij")
    assert buffer == b"efghij" and reader._buffer is buffer
    assert ends.run(reader.read(3)) == b"efg"
    assert buffer == b"hij"
    reader._buffer = bytearray(b"new\nline")
    assert buffer == b"hij"
    reader.feed_data(b"s\n")
    assert ends.run(reader.readline()) == b"new\n"
    assert ends.run(reader.readline()) == b"lines\n"
    reader._buffer.clear()


def test_a_buffer_that_is_held(ends):
    """An export forbids to resize it: the error is the bytearray's."""
    reader = ends.reader
    reader.feed_data(b"abc")
    with memoryview(reader._buffer), pytest.raises(BufferError):
        reader.feed_data(b"d")
    assert reader._buffer[:3] == b"abc"


def test_a_buffer_of_another_class(ends):
    class Buffer(bytearray):
        def extend(self, data):
            super().extend(bytes(data).upper())

    reader = ends.reader
    reader._buffer = Buffer()
    ends.peer.sendall(b"loud\n")
    assert ends.run(reader.readline()) == b"LOUD\n"
    reader._buffer = bytearray(b"x")
    assert ends.run(reader.read(1)) == b"x"


def test_odd_values(ends):
    """Whatever stands in the attributes, it is asyncio's code that finds out."""
    reader = ends.reader
    reader.feed_data(b"abcdef\n")
    reader._limit = 2.5
    with pytest.raises(asyncio.LimitOverrunError):
        ends.run(reader.readuntil())
    reader._limit = 10**30
    assert ends.run(reader.readexactly(3)) == b"abc"
    reader._eof = 1
    assert ends.run(reader.readline()) == b"def\n"
    assert ends.run(reader.read(5)) == b"" and reader.at_eof()
    reader._eof = 0
    reader._limit = 1 << 16
    reader.feed_data(b"more")
    assert ends.run(reader.read(5)) == b"more"


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_deleted(ends, name):
    reader = ends.reader
    value = getattr(reader, name)
    delattr(reader, name)
    assert not hasattr(reader, name)
    with pytest.raises(AttributeError):
        delattr(reader, name)
    with pytest.raises(AttributeError):
        reader.feed_data(b"x" * 200_000)
        ends.run(reader.read(1))
        ends.run(reader.read(1 << 20))
        ends.run(reader.read(1))
    setattr(reader, name, value)
    assert getattr(reader, name) is value


def test_no_state_at_all(native, ends):
    """The dictionary is an ordinary one: it may be emptied and replaced."""
    reader = ends.reader
    vars(reader).clear()
    for call in (lambda: reader.read(1), lambda: reader.readline()):
        with pytest.raises(AttributeError):
            ends.run(call())
    with pytest.raises(AttributeError):
        reader.at_eof()
    reader.__dict__ = {"_treadle": 5}
    with pytest.raises(AttributeError):
        reader.feed_data(b"x")
    reader.__init__(loop=ends.loop, limit=7)
    reader.feed_data(b"again")
    assert ends.run(reader.read(10)) == b"again" and reader._limit == 7


def test_made_from_the_class(ends):
    reader = type(ends.reader)(limit=9, loop=ends.loop)
    reader.feed_data(b"a\nb")
    assert ends.run(reader.readline()) == b"a\n"
    with pytest.raises(ValueError, match="Limit cannot be <= 0"):
        type(ends.reader)(limit=0, loop=ends.loop)


def test_derived_from_the_class(ends):
    class Loud(type(ends.reader)):
        async def readline(self):
            return (await super().readline()).upper()

    reader = Loud(loop=ends.loop)
    reader.feed_data(b"a\nb")
    assert ends.run(reader.readline()) == b"A\n"
    reader.feed_eof()
    assert ends.run(reader.read()) == b"b"


def test_users_of_the_waiting(ends):
    """_wait_for_data(), which some libraries call."""

    async def main():
        task = asyncio.create_task(ends.reader._wait_for_data("mine"))
        await asyncio.sleep(0)
        ends.peer.sendall(b"x")
        await task
        return bytes(ends.reader._buffer)

    assert ends.run(main()) == b"x"


def test_flow(loop):
    """Reading pauses above twice the limit and goes on at the limit."""
    ends = Ends(loop, limit=1000)
    transport = ends.writer.transport
    ends.send(b"x" * 2001)
    assert ends.reader._paused and not transport.is_reading()
    assert ends.run(ends.reader.readexactly(1000)) == b"x" * 1000
    assert ends.reader._paused and not transport.is_reading()
    assert ends.run(ends.reader.read(1)) == b"x"
    assert not ends.reader._paused and transport.is_reading()
    ends.close()


def test_a_transport_that_cannot_pause(ends):
    class Stubborn:
        def pause_reading(self):
            raise NotImplementedError

        def is_closing(self):
            return True

    reader = ends.reader
    reader._limit = 10
    transport, reader._transport = reader._transport, Stubborn()
    reader.feed_data(b"x" * 100)
    assert reader._transport is None and not reader._paused
    assert ends.run(reader.read(200)) == b"x" * 100
    reader._transport = transport


def test_transport_is_set_once(ends):
    with pytest.raises(AssertionError, match="Transport already set"):
        ends.reader.set_transport(ends.writer.transport)


def test_nobody_reads(loop):
    """A reader that is gone takes its data with it."""
    ends = Ends(loop)
    ref = weakref.ref(ends.reader)
    ends.writer._reader = None
    ends.reader = None
    gc.collect()
    assert ref() is None
    ends.peer.sendall(b"data")
    ends.turn()
    ends.close()


def test_no_cycle(native):
    """Closing lets go of everything, without the collector."""
    gc.collect()
    gc.disable()
    try:
        ends = Ends(native)
        ends.send(b"abc")
        assert ends.run(ends.reader.readexactly(2)) == b"ab"
        refs = [weakref.ref(ends.reader), weakref.ref(ends.writer.transport)]
        ends.close()
        ends.turn()
        ends = None
        assert [ref() for ref in refs] == [None, None]
    finally:
        gc.enable()


def test_exotic_copy(ends):
    ends.reader.feed_data(b"abc")
    if is_native(ends.reader):
        twin = copy.copy(ends.reader)
        assert twin._limit == ends.reader._limit


def test_patched_with_mock(ends):
    from unittest import mock

    with mock.patch.object(ends.reader, "_transport", mock.Mock()) as transport:
        ends.reader._limit = 1
        ends.reader.feed_data(b"abc")
        transport.pause_reading.assert_called_once_with()
    assert ends.reader._transport is ends.writer.transport
    with mock.patch.object(ends.reader, "readline", mock.AsyncMock(return_value=b"mine")):
        assert ends.run(ends.reader.readline()) == b"mine"
