"""Tasks on the loops of several threads at once, cancelled and looked at from others.

TREADLE_STRESS_SECONDS sets how long each test goes on (default 1). `tools/test_tsan.sh tests/tasks/test_stress.py` runs it
under ThreadSanitizer.
"""

import asyncio
import functools
import os
import random
import threading
import time

import treadle
from support import outcomes, start_thread
from treadle import aio

SECONDS = float(os.environ.get("TREADLE_STRESS_SECONDS", "1"))
LOOPS = 4
LONG = 60.0 + 10 * SECONDS


async def wait(future):
    await asyncio.sleep(0)
    return await future


async def one_round(loop, stock):
    """Tasks that end in all ways, of both classes."""
    make = functools.partial(asyncio.Task, loop=loop) if stock else loop.create_task
    futures = [loop.create_future() for _ in range(3)]
    tasks = [make(wait(future)) for future in futures for _ in range(3)]
    for _ in range(2):
        await asyncio.sleep(0)
    loop.call_soon(futures[0].set_result, "result")
    loop.call_soon(futures[1].set_exception, ZeroDivisionError())
    tasks[-1].cancel()  # and with it the future of three
    assert asyncio.current_task() not in tasks
    results = await aio.gather(*tasks, return_exceptions=True)
    assert results[:3] == ["result"] * 3 and {type(result) for result in results[3:6]} == {ZeroDivisionError}
    assert all(task.cancelled() for task in tasks[6:])
    return len(tasks)


async def rounds(deadline, share=lambda loop, task: None, enough=lambda: True):
    made, loop = 0, asyncio.get_running_loop()
    share(loop, asyncio.current_task())
    while time.monotonic() < deadline or not made or not enough():
        made += await one_round(loop, made % 2)
    return made


def run_loop(main, *arguments):
    return treadle.run(main(*arguments))


def test_loops_in_threads():
    deadline = time.monotonic() + SECONDS
    threads = [start_thread(run_loop, rounds, deadline) for _ in range(LOOPS)]
    assert all(outcomes(threads, LONG))


def test_tasks_are_looked_at_from_other_threads():
    """all_tasks(), current_task(), names and states of tasks of loops that run elsewhere."""
    deadline, running = time.monotonic() + SECONDS, []
    seen, over = [0, 0], threading.Event()

    def look(index):
        while not over.is_set():
            for loop, main in list(running):
                try:
                    every = asyncio.all_tasks(loop)
                except RuntimeError:  # asyncio gives up when what it iterates over goes on changing
                    continue
                seen[index] += len(every)
                for task in every:
                    task.get_name(), task.done(), task.cancelling()
                current = asyncio.current_task(loop)
                assert current is None or isinstance(current, asyncio.Task)
                assert main.get_name() == "main" and repr(loop)

    def share(loop, task):
        task.set_name("main")
        running.append((loop, task))

    threads = [start_thread(run_loop, rounds, deadline, share, lambda: all(seen)) for _ in range(LOOPS - 1)]
    looking = [start_thread(look, index) for index in range(2)]
    assert all(outcomes(threads, LONG))
    over.set()
    outcomes(looking, LONG)


def test_cancelled_from_other_threads():
    """Tasks are cancelled, and their futures finished, by call_soon_threadsafe(); each task ends one way or the other."""
    deadline = time.monotonic() + SECONDS
    posted, guard, over = {}, threading.Lock(), threading.Event()

    def disturb(seed):
        choose = random.Random(seed)
        while not over.is_set():
            with guard:
                shared = [choose.choice(some) for some in posted.values() if some]
            for loop, task, future in shared:
                try:
                    if choose.random() < 0.5:
                        loop.call_soon_threadsafe(task.cancel, "from afar")
                    else:
                        loop.call_soon_threadsafe(lambda future: future.done() or future.set_result(1), future)
                except RuntimeError:
                    assert loop.is_closed()
            time.sleep(0)

    async def main(number):
        loop, ended = asyncio.get_running_loop(), {"cancelled": 0, "done": 0}
        while time.monotonic() < deadline or not all(ended.values()):
            futures = [loop.create_future() for _ in range(20)]
            tasks = [loop.create_task(wait(future)) for future in futures]
            with guard:
                posted[number] = [(loop, task, future) for task, future in zip(tasks, futures, strict=True)]
            await asyncio.sleep(0.002)
            with guard:
                posted[number] = []
            for future in futures:
                if not future.done():
                    future.set_result(0)
            await aio.wait(tasks)
            for task in tasks:
                ended["cancelled" if task.cancelled() else "done"] += 1
                assert task.cancelled() or task.result() in (0, 1)
        return ended

    threads = [start_thread(run_loop, main, number) for number in range(LOOPS - 1)]
    disturbing = [start_thread(disturb, seed) for seed in range(2)]
    assert all(ended["cancelled"] and ended["done"] for ended in outcomes(threads, LONG))
    over.set()
    outcomes(disturbing, LONG)
