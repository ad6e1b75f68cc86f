"""Eight threads post to a loop, cancel, start jobs and wait for results while it runs; loops run in eight threads.

TREADLE_STRESS_SECONDS sets how long each test goes on (default 1). `make test-tsan` runs this, and the stress tests of the
thread pool, under ThreadSanitizer.
"""

import asyncio
import os
import random
import threading
import time

import pytest
import treadle
from support import eventually, outcomes, start_thread
from support.sockets import new_pair

SECONDS = float(os.environ.get("TREADLE_STRESS_SECONDS", "1"))
THREADS = 8
LONG = 60.0 + 10 * SECONDS


def in_threads(function, *arguments):
    """Start function(number, deadline, *arguments) in some threads; to be given to outcomes()."""
    deadline = time.monotonic() + SECONDS
    return [start_thread(function, number, deadline, *arguments) for number in range(THREADS)]


@pytest.fixture
def loop_in_thread():
    """A loop that runs in a thread of its own until the test is over."""
    loop = treadle.new_event_loop()
    thread = start_thread(loop.run_forever)
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join(LONG)
    assert thread.outcome == (None, None)
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()


def settle(loop):
    """Everything that was posted until now has run."""
    done = threading.Event()
    loop.call_soon_threadsafe(done.set)
    assert done.wait(LONG)


def test_calls_from_threads_run_once_unless_cancelled(loop_in_thread):
    loop = loop_in_thread

    def hammer(number, deadline):
        random_, ran, kept = random.Random(number), [], 0
        while time.monotonic() < deadline:
            handles = [loop.call_soon_threadsafe(ran.append, None) for _ in range(random_.randrange(1, 30))]
            for handle in handles:
                if random_.random() < 0.3:
                    handle.cancel()
                    handle.cancelled()
                else:
                    kept += 1
                repr(handle)
            loop.is_running(), loop.is_closed(), loop.time(), loop.stats()
        return ran, kept

    results = outcomes(in_threads(hammer), LONG)
    settle(loop)
    for ran, kept in results:
        assert kept <= len(ran)  # a cancelled one may have run before


def test_jobs_from_threads_come_back_to_the_loop(loop_in_thread):
    loop = loop_in_thread

    async def gather(numbers):
        return await asyncio.gather(*(loop.run_in_executor(None, abs, -number) for number in numbers))

    def hammer(number, deadline):
        rounds = 0
        while time.monotonic() < deadline:
            future = asyncio.run_coroutine_threadsafe(gather(range(20)), loop)
            assert future.result(LONG) == list(range(20))
            rounds += 1
        return rounds

    assert sum(outcomes(in_threads(hammer), LONG)) > 0


def test_tasks_cancelled_from_threads_end(loop_in_thread):
    loop = loop_in_thread

    def hammer(number, deadline):
        random_ = random.Random(number)
        while time.monotonic() < deadline:
            futures = [asyncio.run_coroutine_threadsafe(asyncio.sleep(60), loop) for _ in range(5)]
            random_.shuffle(futures)
            for future in futures:
                future.cancel()
            for future in futures:
                assert future.cancelled()
        settle(loop)

    outcomes(in_threads(hammer), LONG)
    assert eventually(lambda: not asyncio.all_tasks(loop))


def echo_once(loop, deadline):
    """What a program does with a loop of its own: sockets, streams, timers, jobs."""

    async def main():
        rounds = 0
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        while time.monotonic() < deadline:
            reader, writer = await asyncio.open_connection(*address)
            writer.write(bytes(1000))
            assert len(await reader.readexactly(1000)) == 1000
            writer.close()
            await writer.wait_closed()
            left, right = new_pair("UNIX")
            with left, right:
                readable = loop.create_future()
                loop.add_reader(left, readable.set_result, None)
                await loop.sock_sendall(right, b"x")
                await readable
                loop.remove_reader(left)
                assert await loop.sock_recv(left, 10) == b"x"
            await asyncio.gather(*(asyncio.sleep(0.0001 * i) for i in range(5)))
            assert await loop.run_in_executor(None, abs, -1) == 1
            rounds += 1
        server.close()
        await server.wait_closed()
        return rounds

    async def echo(reader, writer):
        writer.write(await reader.readexactly(1000))
        await writer.drain()
        writer.close()

    try:
        return loop.run_until_complete(main())
    finally:
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


def test_loops_in_threads_do_not_meet():
    def hammer(number, deadline):
        return echo_once(treadle.new_event_loop(), deadline)

    assert sum(outcomes(in_threads(hammer), LONG)) > 0


def test_loops_in_threads_that_post_to_each_other():
    """A ring of loops: each posts to the next until the time is over; a post to one that was closed says so."""
    loops = [treadle.new_event_loop() for _ in range(THREADS)]

    def hammer(number, deadline):
        loop, after, seen = loops[number], loops[(number + 1) % THREADS], []

        def pass_on():
            seen.append(None)
            if time.monotonic() > deadline:
                loop.stop()
                return
            try:
                after.call_soon_threadsafe(seen.append, None)
            except RuntimeError:
                loop.stop()
                return
            loop.call_soon(pass_on)

        loop.call_soon(pass_on)
        loop.run_forever()
        loop.close()
        return len(seen)

    assert sum(outcomes(in_threads(hammer), LONG)) > 0


def test_loops_that_are_made_and_closed_in_threads():
    def hammer(number, deadline):
        rounds = 0
        while time.monotonic() < deadline:
            loop = treadle.new_event_loop()
            poster = threading.Thread(target=post_until_closed, args=(loop,))
            poster.start()
            loop.call_later(0.001, loop.stop)
            loop.run_forever()
            loop.close()
            poster.join(LONG)
            rounds += 1
        return rounds

    def post_until_closed(loop):
        while True:
            try:
                loop.call_soon_threadsafe(abs, 1)
            except RuntimeError:
                return

    assert sum(outcomes(in_threads(hammer), LONG)) > 0
