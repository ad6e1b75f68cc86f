"""Asking the poller: how often, for how long, and how much it brings."""

import os
import signal
import socket
import threading
import time

import pytest
from support.sockets import new_pair

MANY = 200  # more than one question brings


def test_more_ready_descriptors_than_one_question_brings(loop):
    pairs = [new_pair("UNIX") for _ in range(MANY)]
    seen = []

    def read(index):
        seen.append((index, pairs[index][0].recv(10)))
        if len(seen) == MANY:
            loop.stop()

    for index, (ours, theirs) in enumerate(pairs):
        loop.add_reader(ours, read, index)
        theirs.send(b"%d" % index)
    loop.run_forever()
    assert sorted(seen) == [(index, b"%d" % index) for index in range(MANY)]
    for ours, theirs in pairs:
        loop.remove_reader(ours)
        ours.close()
        theirs.close()


def test_a_flood_of_callbacks_and_a_descriptor(native, pair):
    """The poller is asked once in a while, though callbacks keep coming."""
    loop = native
    ours, theirs = pair
    turns = []

    def again():
        turns.append(1)
        if len(turns) < 100_000:
            loop.call_soon(again)
        else:
            loop.stop()

    def readable():
        loop.remove_reader(ours)
        loop.stop()

    loop.add_reader(ours, readable)
    loop.call_soon(again)
    theirs.send(b"x")
    loop.run_forever()
    assert len(turns) <= 130  # twice 61, and what is under way


def test_it_is_not_asked_every_turn(native):
    loop = native
    left = 1000

    def again():
        nonlocal left
        left -= 1
        loop.call_soon(again if left else loop.stop)

    again()
    loop.run_forever()
    stats = loop.stats()
    assert stats["turns"] >= 1000 and stats["polls"] <= 1000 // 61 + 3


@pytest.mark.parametrize("delay", [0.0, 0.0005, 0.02])
def test_it_sleeps_until_the_deadline_and_not_less(loop, delay):
    start = loop.time()
    when = []
    loop.call_later(delay, lambda: (when.append(loop.time()), loop.stop()))
    loop.run_forever()
    assert when[0] >= start + delay


def test_what_a_signal_handler_raises_ends_the_run(loop):
    class Enough(Exception):
        pass

    def handler(*_):
        raise Enough

    def interrupt():
        while not loop.is_running():
            time.sleep(0.001)
        time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, handler)
    thread = threading.Thread(target=interrupt)
    thread.start()
    loop.call_later(30, loop.stop)
    try:
        with pytest.raises(Enough):
            loop.run_forever()
    finally:
        thread.join()
        signal.signal(signal.SIGUSR1, before)


def test_a_signal_handler_runs_while_the_loop_sleeps(loop):
    seen = []
    before = signal.signal(signal.SIGUSR1, lambda *_: (seen.append(1), loop.call_soon_threadsafe(loop.stop)))
    timer = threading.Timer(0.02, os.kill, (os.getpid(), signal.SIGUSR1))
    try:
        timer.start()
        loop.call_later(30, loop.stop)
        loop.run_forever()
    finally:
        timer.join()
        signal.signal(signal.SIGUSR1, before)
    assert seen == [1]


def test_other_threads_run_while_it_sleeps(loop):
    count = [0]
    stop = threading.Event()

    def work():
        while not stop.is_set():
            count[0] += 1

    thread = threading.Thread(target=work)
    thread.start()
    loop.call_later(0.05, loop.stop)
    loop.run_forever()
    stop.set()
    thread.join()
    assert count[0] > 0


def test_a_post_ends_the_sleep(loop):
    thread = threading.Timer(0.01, loop.call_soon_threadsafe, (loop.stop,))
    thread.start()
    loop.call_later(30, loop.stop)
    start = time.monotonic()
    loop.run_forever()
    thread.join()
    assert time.monotonic() - start < 25


def test_a_descriptor_that_is_always_ready_starves_nobody(loop):
    ours, theirs = socket.socketpair()
    seen = {"descriptor": 0, "timer": 0, "callback": 0}

    def descriptor():
        seen["descriptor"] += 1

    def timer():
        seen["timer"] += 1
        if seen["timer"] == 5:
            loop.stop()
        else:
            loop.call_later(0.001, timer)

    def callback():
        seen["callback"] += 1
        loop.call_soon(callback)

    loop.add_writer(ours, descriptor)
    loop.call_soon(callback)
    loop.call_later(0.001, timer)
    loop.run_forever()
    loop.remove_writer(ours)
    ours.close()
    theirs.close()
    assert seen["descriptor"] > 0 and seen["timer"] == 5 and seen["callback"] > 0
