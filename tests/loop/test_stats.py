"""loop.stats(): what is counted, and that it is."""

import asyncio
import socket
import threading
import time

import pytest
import treadle


@pytest.fixture
def loop():
    loop = treadle.new_event_loop()
    yield loop
    loop.close()


def turn(loop):
    loop.call_soon(loop.stop)
    loop.run_forever()


def test_a_new_loop_has_counted_nothing(loop):
    stats = loop.stats()
    timers = stats.pop("timers")
    assert stats.pop("poll_time") == 0.0
    assert set(stats) == {
        "turns",
        "polls",
        "events",
        "posted",
        "callbacks",
        "ready",
        "ready_max",
        "slow_callbacks",
        "blocked_callbacks",
    }
    assert set(timers) == {"pending", "scheduled", "fired", "cancelled"}
    for value in [*stats.values(), *timers.values()]:
        assert type(value) is int and value == 0


def test_turns_and_callbacks(loop):
    for _ in range(10):
        loop.call_soon(int)
    assert loop.stats()["ready"] == 10
    turn(loop)
    stats = loop.stats()
    assert (stats["turns"], stats["callbacks"], stats["ready"], stats["ready_max"]) == (1, 11, 0, 11)
    turn(loop)
    stats = loop.stats()
    assert (stats["turns"], stats["callbacks"], stats["ready_max"]) == (2, 12, 11)
    assert stats["polls"] == 2


def test_counting_from_inside(loop):
    async def main():
        before = loop.stats()
        await asyncio.sleep(0)
        after = loop.stats()
        assert after["turns"] == before["turns"] + 1
        assert after["callbacks"] == before["callbacks"] + 1

    loop.run_until_complete(main())


def test_timers(loop):
    loop.call_later(3600, int)
    loop.call_later(3600, int).cancel()
    handle = loop.call_later(3600, int)
    loop.call_at(loop.time(), int)
    assert loop.stats()["timers"] == {"pending": 3, "scheduled": 4, "fired": 0, "cancelled": 1}
    handle.cancel()
    handle.cancel()
    turn(loop)
    assert loop.stats()["timers"] == {"pending": 1, "scheduled": 4, "fired": 1, "cancelled": 2}


def test_posted(loop):
    thread = threading.Thread(target=lambda: [loop.call_soon_threadsafe(int) for _ in range(5)])
    thread.start()
    thread.join()
    turn(loop)
    stats = loop.stats()
    assert (stats["posted"], stats["callbacks"]) == (5, 6)


def test_events(loop):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.send(b"x")
        got = []

        def read():
            got.append(ours.recv(1))
            loop.stop()

        loop.add_reader(ours, read)
        loop.run_forever()
        loop.remove_reader(ours)
    assert got == [b"x"]
    assert loop.stats()["events"] == 1


def test_poll_time_is_the_time_asleep(loop):
    start = time.monotonic()
    loop.run_until_complete(asyncio.sleep(0.3))
    elapsed = time.monotonic() - start
    # the clock behind it moves in steps of a few milliseconds
    assert 0.2 < loop.stats()["poll_time"] < elapsed + 0.1
    before = loop.stats()["poll_time"]
    loop.call_soon(time.sleep, 0.1)
    turn(loop)
    assert loop.stats()["poll_time"] == before


def test_slow_callbacks_are_counted_in_debug_mode(loop, caplog):
    loop.slow_callback_duration = 0.01
    loop.call_soon(time.sleep, 0.05)
    turn(loop)
    assert loop.stats()["slow_callbacks"] == 0
    loop.set_debug(True)
    loop.call_soon(time.sleep, 0.05)
    turn(loop)
    assert loop.stats()["slow_callbacks"] == 1
    assert "took 0.0" in caplog.text


def test_other_threads_may_look(loop):
    seen = []

    async def main():
        for _ in range(50):
            seen.append((await loop.run_in_executor(None, loop.stats))["turns"])

    loop.run_until_complete(main())
    loop.run_until_complete(loop.shutdown_default_executor())
    assert seen == sorted(seen)
    assert seen[-1] > seen[0]


def test_after_close(loop):
    turn(loop)
    loop.close()
    assert loop.stats()["turns"] == 1
