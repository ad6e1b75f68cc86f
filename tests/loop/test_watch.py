"""add_reader(), add_writer() and what they leave in loop._selector."""

import asyncio
import os
import signal
import socket
import threading

import pytest


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    for end in (ours, theirs):
        end.setblocking(False)
    yield ours, theirs
    ours.close()
    theirs.close()


def test_reader_is_called_and_replaced(loop, pair):
    ours, theirs = pair
    ran = []

    def read():
        ran.append(ours.recv(10))
        loop.stop()

    loop.add_reader(ours, ran.append, "replaced")
    loop.add_reader(ours, read)
    theirs.send(b"x")
    loop.run_forever()
    assert ran == [b"x"]
    assert loop.remove_reader(ours) is True
    assert loop.remove_reader(ours) is False


def test_map_shows_what_is_watched(loop, pair):
    ours, _ = pair
    loop.add_reader(ours, print)
    loop.add_writer(ours, print)
    assert loop._selector.get_map()[ours.fileno()].events == 3
    loop.remove_reader(ours)
    loop.remove_writer(ours)
    assert ours.fileno() not in loop._selector.get_map()


def test_regular_file_is_refused(loop, tmp_path):
    with open(tmp_path / "file", "w+") as file, pytest.raises(PermissionError):
        loop.add_reader(file, print)


def test_a_chain_of_callbacks_starves_no_descriptor(loop, pair):
    ours, theirs = pair

    def again():
        loop.call_soon(again)

    loop.call_soon(again)
    loop.add_reader(ours, loop.stop)
    theirs.send(b"x")
    late = []
    guard = threading.Timer(10, lambda: (late.append(1), loop.call_soon_threadsafe(loop.stop)))
    guard.start()
    loop.run_forever()
    guard.cancel()
    loop.remove_reader(ours)
    assert not late


def test_signal_handler(loop):
    got = []
    loop.add_signal_handler(signal.SIGUSR1, lambda: (got.append(1), loop.stop()))
    loop.call_soon(os.kill, os.getpid(), signal.SIGUSR1)
    loop.call_later(10, loop.stop)
    loop.run_forever()
    assert got == [1] and loop.remove_signal_handler(signal.SIGUSR1)


def test_a_descriptor_that_was_closed_and_opened_again(loop):
    """Closed without being removed: its number is a new file's, and that one is watched."""
    if not hasattr(loop, "stats"):
        pytest.skip("asyncio's own loop does not promise this")
    ran = []
    old = socket.socketpair()
    loop.add_reader(old[0], ran.append, "old")
    number = old[0].fileno()
    for end in old:
        end.close()
    new = socket.socketpair()
    with new[0], new[1]:
        if new[0].fileno() != number:
            pytest.skip("the system did not use the number again")
        loop.add_reader(new[0], lambda: (ran.append(new[0].recv(1)), loop.stop()))
        new[1].send(b"x")
        loop.run_forever()
        assert ran == [b"x"]
        assert loop.remove_reader(new[0]) is True
        loop.add_writer(new[0], loop.stop)
        loop.run_forever()
        assert loop.remove_writer(new[0]) is True


def test_a_closed_descriptor_with_a_copy_does_not_spin(loop):
    """The kernel goes on reporting it; the callback may be called, the loop must live."""
    ours, theirs = socket.socketpair()
    copy = ours.dup()
    ran = []
    loop.add_reader(ours, ran.append, 1)
    number = ours.fileno()
    loop.remove_reader(number)
    ours.close()
    theirs.send(b"x")
    loop.call_later(0.02, loop.stop)
    loop.run_forever()
    assert ran == []
    copy.close()
    theirs.close()


def test_numbers_used_again_many_times(loop):
    async def main():
        for n in range(300):
            ours, theirs = socket.socketpair()
            with ours, theirs:
                ours.setblocking(False)
                future = loop.create_future()
                loop.add_reader(ours, lambda: future.done() or future.set_result(ours.recv(10)))
                if n % 3 == 0:
                    loop.add_writer(ours, int)
                    loop.remove_writer(ours)
                theirs.send(b"%d" % n)
                assert await future == b"%d" % n
                loop.remove_reader(ours)

    loop.run_until_complete(main())
    assert len(loop._selector.get_map()) <= 1  # asyncio's self-pipe


def test_removing_from_inside(loop, pair):
    """Both directions are ready; the first callback takes the other's away."""
    ours, theirs = pair
    ran = []

    def first():
        ran.append(1)
        loop.remove_reader(ours)
        loop.remove_writer(ours)

    loop.add_reader(ours, first)
    loop.add_writer(ours, first)
    theirs.send(b"x")
    loop.call_later(0.02, loop.stop)
    loop.run_forever()
    assert ran == [1]


class NoFile:
    def __init__(self, answer):
        self.answer = answer

    def fileno(self):
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def __repr__(self):
        return "NoFile"


NO_DESCRIPTORS = [
    *(-1, -(2**40), 2**40, 2**30, "1", None, 1.5),
    *(NoFile(-1), NoFile("x"), NoFile(None), NoFile(2**40), NoFile(ValueError()), NoFile(OSError("closed"))),
]


@pytest.mark.parametrize("wrong", NO_DESCRIPTORS, ids=lambda wrong: repr(getattr(wrong, "answer", wrong)))
def test_what_is_no_descriptor(factory, wrong):
    def outcome(function, *args):
        try:
            return function(*args)
        except Exception as error:
            return type(error), str(error)

    def errors(factory):
        loop = factory()
        found = [outcome(getattr(loop, f"add_{way}"), wrong, int) for way in ("reader", "writer")]
        found += [outcome(getattr(loop, f"remove_{way}"), wrong) for way in ("reader", "writer")]
        loop.close()
        return found

    assert errors(factory) == errors(asyncio.SelectorEventLoop)
