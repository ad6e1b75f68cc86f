"""Threads and two loops, one of them treadle's, at the same Event, Condition, Barrier, lock and queue: nothing is lost.

TREADLE_STRESS_SECONDS sets how long each test goes on (default 0.5). `make test-tsan` runs this under ThreadSanitizer.
"""

import asyncio
import os
import threading
import time

import treadle
from support import outcomes, start_thread

SECONDS = float(os.environ.get("TREADLE_STRESS_SECONDS", "0.5"))
LONG = 60.0 + 10 * SECONDS
EACH = 2  # threads, and tasks in each loop


def everywhere(in_thread, in_loop):
    """Run in_thread(deadline) in threads and in_loop(deadline) in tasks of two loops; all results."""
    deadline = time.monotonic() + SECONDS

    async def tasks():
        return await asyncio.gather(*[in_loop(deadline) for _ in range(EACH)])

    def run(factory):
        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(tasks())

    threads = [start_thread(in_thread, deadline) for _ in range(EACH)]
    loops = [start_thread(run, factory) for factory in (treadle.new_event_loop, asyncio.SelectorEventLoop)]
    return outcomes(threads, LONG) + [result for results in outcomes(loops, LONG) for result in results]


def test_event():
    """Every one that waits for a round's event sees it, whoever sets it."""
    rounds = [treadle.Event()]
    changing = threading.Lock()

    def advance(event):
        with changing:
            if rounds[-1] is event:
                rounds.append(treadle.Event())
        event.set()

    def in_thread(deadline):
        count = 0
        while time.monotonic() < deadline:
            event = rounds[-1]
            if count % 3 == 0:
                advance(event)
            elif not event.wait_sync(0.002):
                advance(event)
            count += 1
        advance(rounds[-1])
        return count

    async def in_loop(deadline):
        count = 0
        while time.monotonic() < deadline:
            event = rounds[-1]
            if count % 3 == 1:
                advance(event)
            else:
                waiting = asyncio.ensure_future(event.wait())
                await asyncio.sleep(0)
                if count % 5 == 0:
                    waiting.cancel()
                advance(event)
                try:
                    assert await waiting is True
                except asyncio.CancelledError:
                    assert count % 5 == 0
            count += 1
        return count

    assert sum(everywhere(in_thread, in_loop)) > 0
    assert not any(event._waiters for event in rounds)


def test_condition():
    """A store of tokens: who takes one waits for it, who gives one back notifies; none is lost, all come to their turn."""
    lock, tokens = treadle.Lock(), [1, 2]
    condition = treadle.Condition(lock)

    def in_thread(deadline):
        count = 0
        while time.monotonic() < deadline:
            with condition:
                while not tokens:
                    condition.wait_sync()
                token = tokens.pop()
            with condition:
                tokens.append(token)
                condition.notify()
            count += 1
        return count

    async def take():
        async with condition:
            while not tokens:
                await condition.wait()
            return tokens.pop()

    async def give(token):
        async with condition:
            tokens.append(token)
            condition.notify()

    async def in_loop(deadline):
        count = 0
        while time.monotonic() < deadline:
            taking = asyncio.ensure_future(take())
            if count % 4 == 3:
                await asyncio.sleep(0)
                taking.cancel()
            try:
                token = await taking
            except asyncio.CancelledError:
                pass
            else:
                await asyncio.sleep(0)
                await give(token)
            count += 1
        return count

    results = everywhere(in_thread, in_loop)
    assert sum(results) > 0 and sorted(tokens) == [1, 2]
    assert not lock.locked() and not lock._waiters and not condition._waiters


def test_barrier():
    """All that take part leave each round together, each with a place of its own."""
    parties = 3 * EACH
    barrier, places, counting = treadle.Barrier(parties), {}, threading.Lock()

    def note(turn, place):
        with counting:
            places.setdefault(turn, []).append(place)

    def in_thread(deadline):
        turn = 0
        try:
            while turn == 0 or time.monotonic() < deadline:
                note(turn, barrier.wait_sync())
                turn += 1
        except asyncio.BrokenBarrierError:
            return turn
        barrier.abort_sync()
        return turn

    async def in_loop(deadline):
        turn = 0
        try:
            while turn == 0 or time.monotonic() < deadline:
                note(turn, await barrier.wait())
                turn += 1
        except asyncio.BrokenBarrierError:
            return turn
        await barrier.abort()
        return turn

    turns = everywhere(in_thread, in_loop)
    whole = min(turns)
    assert whole > 0 and max(turns) <= whole + 1
    for turn in range(whole):
        assert sorted(places[turn]) == list(range(parties)), turn


def test_lock_and_queue():
    """What is counted under the lock is counted once, and what is put is taken once."""
    lock, queue, count, taken = treadle.Lock(), treadle.Queue(2), 0, []

    def in_thread(deadline):
        nonlocal count
        turns = 0
        while time.monotonic() < deadline:
            with lock:
                count += 1
                number = count
            queue.put_sync(number)
            taken.append(queue.get_sync())
            turns += 1
        return turns

    async def in_loop(deadline):
        nonlocal count
        turns = 0
        while time.monotonic() < deadline:
            async with lock:
                now = count
                if turns % 2:
                    await asyncio.sleep(0)
                count = now + 1
                number = count
            await queue.put(number)
            getting = asyncio.ensure_future(queue.get())
            if turns % 4 == 0:
                await asyncio.sleep(0)
                getting.cancel()
            try:
                taken.append(await getting)
            except asyncio.CancelledError:
                taken.append(await queue.get())
            turns += 1
        return turns

    turns = everywhere(in_thread, in_loop)
    assert sum(turns) == count == len(taken)
    assert sorted(taken) == list(range(1, count + 1))
    assert queue.empty() and not queue._getters and not queue._putters and not lock._waiters
