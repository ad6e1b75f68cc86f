"""add_reader(), add_writer() and what they leave in loop._selector."""

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
