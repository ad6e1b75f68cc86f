"""The reading methods: what they return, what they refuse, and when they wait."""

import asyncio
import sys

import pytest
from support.streaming import Ends


def test_read_what_is_there(ends):
    ends.send(b"one two")
    assert ends.run(ends.reader.read(3)) == b"one"
    assert ends.run(ends.reader.read(n=100)) == b" two"
    assert ends.run(ends.reader.read(0)) == b""


def test_read_takes_no_turn(ends):
    """With data there, it ends before anything else runs."""
    ends.send(b"line\nrest")
    ran = []

    async def main():
        ends.loop.call_soon(ran.append, 1)
        got = [await ends.reader.readline(), await ends.reader.readexactly(2), await ends.reader.read(10)]
        return got, list(ran)

    assert ends.run(main()) == ([b"line\n", b"re", b"st"], [])


def test_read_until_the_end(ends):
    ends.send(b"a" * 1000)
    ends.peer.sendall(b"b" * 5000)
    ends.peer.close()
    assert ends.run(ends.reader.read()) == b"a" * 1000 + b"b" * 5000
    assert ends.run(ends.reader.read(-1)) == b""
    assert ends.run(ends.reader.read(10)) == b""
    assert ends.reader.at_eof()


def test_a_read_waits(ends):
    async def main():
        task = asyncio.create_task(ends.reader.read(100))
        await asyncio.sleep(0)
        assert ends.reader._waiter is not None and not task.done()
        ends.peer.sendall(b"late")
        data = await task
        return data, ends.reader._waiter

    assert ends.run(main()) == (b"late", None)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7])
def test_lines_in_pieces(ends, size):
    text = b"alpha\nbeta\n\ngamma delta\nrest"

    async def main():
        got = []

        async def collect():
            async for line in ends.reader:
                got.append(line)

        task = asyncio.create_task(collect())
        for i in range(0, len(text), size):
            ends.reader.feed_data(text[i : i + size])
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        ends.reader.feed_eof()
        await task
        return got

    assert ends.run(main()) == text.splitlines(keepends=True)


def test_readexactly(ends):
    ends.send(b"abcdef")
    assert ends.run(ends.reader.readexactly(4)) == b"abcd"
    assert ends.run(ends.reader.readexactly(n=2)) == b"ef"
    assert ends.run(ends.reader.readexactly(0)) == b""
    with pytest.raises(ValueError, match="readexactly size can not be less than zero"):
        ends.run(ends.reader.readexactly(-1))


def test_readexactly_more_than_the_limit(loop):
    ends = Ends(loop, limit=64)
    data = bytes(range(256)) * 400
    ends.peer.setblocking(False)

    async def main():
        sending = asyncio.create_task(loop.sock_sendall(ends.peer, data))
        got = await ends.reader.readexactly(len(data))
        await sending
        return got

    assert ends.run(main()) == data
    ends.close()


def test_the_end_comes_early(ends):
    ends.send(b"abc")
    ends.peer.close()
    with pytest.raises(asyncio.IncompleteReadError) as caught:
        ends.run(ends.reader.readexactly(10))
    assert (caught.value.partial, caught.value.expected) == (b"abc", 10)
    assert str(caught.value) == "3 bytes read on a total of 10 expected bytes"


def test_readuntil(ends):
    ends.send(b"a--b----c")
    assert ends.run(ends.reader.readuntil(b"--")) == b"a--"
    assert ends.run(ends.reader.readuntil(separator=b"---")) == b"b---"
    assert ends.run(ends.reader.readuntil(b"-")) == b"-"
    with pytest.raises(ValueError, match="Separator should be at least one-byte string"):
        ends.run(ends.reader.readuntil(b""))
    ends.peer.close()
    with pytest.raises(asyncio.IncompleteReadError) as caught:
        ends.run(ends.reader.readuntil(b"-"))
    assert (caught.value.partial, caught.value.expected) == (b"c", None)


def test_readuntil_across_pieces(ends):
    async def main():
        task = asyncio.create_task(ends.reader.readuntil(b"SEPARATOR"))
        for piece in b"some textSEPARA", b"TO", b"SEPARATOR", b"more":
            ends.reader.feed_data(piece)
            await asyncio.sleep(0)
        return await task, bytes(ends.reader._buffer)

    assert ends.run(main()) == (b"some textSEPARATOSEPARATOR", b"more")


@pytest.mark.skipif(sys.version_info < (3, 13), reason="several separators came with 3.13")
def test_several_separators(ends):
    ends.send(b"one;two\r\nthree\n")
    separators = (b"\r\n", b";", b"\n")
    assert ends.run(ends.reader.readuntil(separators)) == b"one;"
    assert ends.run(ends.reader.readuntil(separators)) == b"two\r\n"
    assert ends.run(ends.reader.readuntil(separators)) == b"three\n"
    with pytest.raises(ValueError, match="Separator should contain at least one element"):
        ends.run(ends.reader.readuntil(()))


def test_too_long(loop):
    ends = Ends(loop, limit=8)
    ends.send(b"0123456789abc\nx\n")
    with pytest.raises(asyncio.LimitOverrunError, match="Separator is found, but chunk is longer than limit") as caught:
        ends.run(ends.reader.readuntil())
    assert caught.value.consumed == 13
    with pytest.raises(ValueError, match="Separator is found, but chunk is longer than limit"):
        ends.run(ends.reader.readline())
    assert ends.run(ends.reader.readline()) == b"x\n"
    ends.send(b"0123456789abc")
    with pytest.raises(asyncio.LimitOverrunError, match="Separator is not found, and chunk exceed the limit") as caught:
        ends.run(ends.reader.readuntil())
    assert caught.value.consumed == 13
    with pytest.raises(ValueError, match="Separator is not found, and chunk exceed the limit"):
        ends.run(ends.reader.readline())
    assert not ends.reader._buffer
    ends.close()


@pytest.mark.parametrize(
    ("name", "args"), [("read", (1,)), ("readexactly", (1,)), ("readuntil", (b"x",)), ("readline", ()), ("read", ())]
)
def test_one_reader_at_a_time(ends, name, args):
    async def main():
        first = asyncio.create_task(ends.reader.read(1))
        await asyncio.sleep(0)
        called = {"readline": "readuntil"}.get(name, name)
        with pytest.raises(RuntimeError) as caught:
            await getattr(ends.reader, name)(*args)
        assert str(caught.value) == f"{called}() called while another coroutine is already waiting for incoming data"
        ends.peer.sendall(b"x")
        return await first

    assert ends.run(main()) == b"x"


def test_an_exception_that_was_set(ends):
    class Broken(Exception):
        pass

    async def main():
        waiting = asyncio.create_task(ends.reader.readline())
        await asyncio.sleep(0)
        ends.reader.set_exception(Broken("now"))
        with pytest.raises(Broken, match="now"):
            await waiting
        for name in "read", "readline", "readuntil":
            with pytest.raises(Broken, match="now"):
                await getattr(ends.reader, name)()
        with pytest.raises(Broken, match="now"):
            await ends.reader.readexactly(1)
        return type(ends.reader.exception())

    assert ends.run(main()) is Broken


def test_an_exception_behind_data(ends):
    """What was woken by data gets the data, whatever comes before it runs."""

    async def main():
        waiting = asyncio.create_task(ends.reader.read(10))
        await asyncio.sleep(0)
        ends.reader.feed_data(b"last")
        ends.reader.set_exception(OSError("gone"))
        return await waiting

    assert ends.run(main()) == b"last"


def test_arguments(ends):
    for call in (
        lambda: ends.reader.read(1, 2),
        lambda: ends.reader.read(m=1),
        lambda: ends.reader.readexactly(),
        lambda: ends.reader.readline(1),
        lambda: ends.reader.readuntil(b"x", b"y"),
        lambda: ends.reader.feed_data(),
    ):
        with pytest.raises(TypeError):
            call()
    ends.send(b"abcd")
    assert ends.run(ends.reader.read(True)) == b"a"
    for name in "read", "readexactly":
        with pytest.raises(TypeError):
            ends.run(getattr(ends.reader, name)("1"))
    assert ends.run(ends.reader.readuntil(bytearray(b"c"))) == b"bc"


def test_feeding(ends):
    reader = ends.reader
    reader.feed_data(b"")
    reader.feed_data(b"a")
    reader.feed_data(bytearray(b"b"))
    reader.feed_data(memoryview(b"c"))
    assert reader._buffer == b"abc" and type(reader._buffer) is bytearray
    assert not reader.at_eof()
    reader.feed_eof()
    assert not reader.at_eof()
    assert ends.run(reader.read(-1)) == b"abc"
    assert reader.at_eof()
    with pytest.raises(AssertionError, match="feed_data after feed_eof"):
        reader.feed_data(b"d")
