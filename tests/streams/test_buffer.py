"""The bytes of a reader, however they come and go: random programs against asyncio's reader and a model.

TREADLE_FUZZ_PROGRAMS sets how many programs there are, TREADLE_FUZZ_SEED which is the first.
"""

import asyncio
import os
import random

import pytest
import treadle
from support.streaming import Ends

PROGRAMS = int(os.environ.get("TREADLE_FUZZ_PROGRAMS", "45")) * 4
SEED = int(os.environ.get("TREADLE_FUZZ_SEED", "1"))
STEPS = 40
SEARCHES = ("readuntil", "readline", "__anext__")
ALPHABET = b"ab\n#-"


def make_piece(rng):
    size = rng.choice((0, 1, 1, 2, 3, 5, 9, 30, 90))
    return bytes(rng.choice(ALPHABET) for _ in range(size))


def make_read(rng):
    name = rng.choice(("read", "read", "readexactly", "readuntil", "readuntil", "readline", "__anext__"))
    if name == "read":
        return name, (rng.choice((-1, 0, 1, 2, 7, 1000)),)
    if name == "readexactly":
        return name, (rng.choice((-1, 0, 1, 3, 20, 120)),)
    if name == "readuntil":
        return name, (rng.choice((b"\n", b"#", b"--", b"a#b", b"")),)
    return name, ()


def make_step(rng):
    kind = rng.choices(
        ("feed", "read", "cancel", "turn", "look", "edit", "limit", "replace", "wake", "eof", "exception", "hold"),
        (30, 34, 5, 14, 6, 4, 1, 2, 3, 0.6, 0.4, 2),
    )[0]
    if kind == "feed":
        return kind, make_piece(rng)
    if kind == "read":
        return kind, *make_read(rng)
    if kind in ("edit", "replace"):
        return kind, make_piece(rng)
    if kind == "limit":
        return kind, rng.choice((1, 4, 20, 2**16))
    return (kind,)


class Program:
    """Does the steps on a reader and writes down all that can be seen of it."""

    def __init__(self, loop, limit):
        self.ends = Ends(loop, limit=limit)
        self.reader = self.ends.reader
        self.tasks = []
        self.names = []  # of their methods
        self.trace = []
        self.held = None

    async def collect(self, name, args):
        try:
            return await getattr(self.reader, name)(*args)
        except asyncio.IncompleteReadError as error:
            return "incomplete", error.partial, error.expected
        except asyncio.LimitOverrunError as error:
            return "overrun", str(error), error.consumed
        except StopAsyncIteration:
            return "stop"
        except (ValueError, RuntimeError, OSError, AssertionError) as error:
            return type(error).__name__, str(error)

    def note(self):
        reader = self.reader
        done = [task for task in self.tasks if task.done()]
        ended = [(task.get_name(), "cancelled" if task.cancelled() else task.result()) for task in done]
        self.names = [name for task, name in zip(self.tasks, self.names, strict=True) if task not in done]
        self.tasks = [task for task in self.tasks if task not in done]
        self.trace.append((ended, bytes(reader._buffer), reader._eof, reader._paused, reader._waiter is None, reader.at_eof()))

    def searching(self):
        """Whether a search waits: what others take meanwhile would be missed by asyncio's, which goes on where it was."""
        return any(not task.done() and name in SEARCHES for task, name in zip(self.tasks, self.names, strict=True))

    async def step(self, number, kind, *args):
        reader = self.reader
        if kind == "read" and not self.searching():
            self.tasks.append(asyncio.create_task(self.collect(*args), name=str(number)))
            self.names.append(args[0])
        elif kind == "feed":
            try:
                reader.feed_data(*args)
            except AssertionError:
                self.trace.append("refused")
        elif kind in ("edit", "replace", "limit") and self.searching():
            pass
        elif kind == "cancel" and self.tasks:
            self.tasks[0].cancel()
        elif kind == "turn":
            await asyncio.sleep(0)
        elif kind == "look":
            self.note()
        elif kind == "edit":
            del reader._buffer[: len(args[0]) // 2]
            reader._buffer += args[0]
        elif kind == "replace":
            reader._buffer = bytearray(args[0])
        elif kind == "limit":
            reader._limit = args[0]
        elif kind == "wake":
            reader._wakeup_waiter()
        elif kind == "eof":
            reader.feed_eof()
        elif kind == "exception":
            reader.set_exception(OSError("broken"))
        elif kind == "hold":
            self.held = None if self.held is not None else reader._buffer

    async def run(self, steps):
        for number, step in enumerate(steps):
            await self.step(number, *step)
        for _ in range(6):
            await asyncio.sleep(0)
        self.note()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        self.note()


def run_on(factory, limit, steps):
    loop = factory()
    try:
        program = Program(loop, limit)
        program.ends.run(program.run(steps))
        program.ends.close()
        return program.trace
    finally:
        loop.close()


@pytest.mark.parametrize("group", range(6))
def test_random_programs(group):
    for seed in range(SEED + group, SEED + PROGRAMS, 6):
        rng = random.Random(seed)
        limit = rng.choice((1, 3, 10, 50, 2**16))
        steps = [make_step(rng) for _ in range(STEPS)]
        expected = run_on(asyncio.SelectorEventLoop, limit, steps)
        assert run_on(treadle.new_event_loop, limit, steps) == expected, f"seed {seed}"


@pytest.mark.parametrize("at", range(1, 12))
def test_split_at_each_byte(ends, at):
    text = b"one\ntwo--x\n4"

    async def main():
        task = asyncio.create_task(reading())
        ends.reader.feed_data(text[:at])
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        ends.reader.feed_data(text[at:])
        ends.reader.feed_eof()
        return await task

    async def reading():
        reader = ends.reader
        return [await reader.readline(), await reader.readexactly(2), await reader.readuntil(b"--"), await reader.read()]

    assert ends.run(main()) == [b"one\n", b"tw", b"o--", b"x\n4"]


def test_much_in_small_pieces(ends):
    """What accumulates is not copied again with each piece that comes."""
    reader = ends.reader
    total = 1 << 20

    async def main():
        task = asyncio.create_task(reader.readexactly(total))
        await asyncio.sleep(0)
        for _ in range(total // 16):
            reader.feed_data(b"0123456789abcdef")
        return await task

    assert ends.run(main()) == b"0123456789abcdef" * (total // 16)


def test_lines_of_large_pieces(ends):
    """Of pieces with thousands of lines, the last of which is cut."""
    lines = [b"%d" % i * 7 + b"\n" for i in range(20_000)]
    text = b"".join(lines)

    async def main():
        got = []
        for i in range(0, len(text), 60_000):
            ends.reader.feed_data(text[i : i + 60_000])
            while b"\n" in ends.reader._buffer:
                got.append(await ends.reader.readline())
        return got

    assert ends.run(main()) == lines


def test_what_was_returned_does_not_change(ends):
    """Objects that a read has returned are not received into again."""
    pieces = [bytes([65 + i]) * 10_000 for i in range(20)]

    async def main():
        got = []
        for piece in pieces:
            ends.peer.sendall(piece)
            got.append(await ends.reader.readexactly(len(piece)))
        return got

    assert ends.run(main()) == pieces
