"""Blocking calls from asyncio, on whatever loop runs, by treadle's threads.

Shows: loop.run_in_executor() with a treadle pool, as the default executor as well, to_thread(),
a pool's future awaited with wrap_future(), context variables that reach the thread, and
cancelling a call that has not started.
"""

import asyncio
import contextvars
import threading
import time

import treadle

user = contextvars.ContextVar("user", default="nobody")


def blocking(number):
    time.sleep(0.05)
    return number * number


def greet():
    return f"hello {user.get()}"


async def with_run_in_executor(pool):
    loop = asyncio.get_running_loop()
    started = time.perf_counter()
    squares = await asyncio.gather(*[loop.run_in_executor(pool, blocking, number) for number in range(8)])
    took = time.perf_counter() - started
    print("run_in_executor:", squares, "at once:", took < 8 * 0.05)
    loop.set_default_executor(pool)  # asyncio takes subclasses of the standard pool only
    name = await loop.run_in_executor(None, lambda: threading.current_thread().name)
    print("default executor:", name.startswith("work"))


async def with_to_thread():
    user.set("ada")
    print("to_thread:", await treadle.to_thread(greet))


async def with_wrap_future(pool):
    future = pool.submit(blocking, 12)  # an ordinary future; wait for it here or there
    print("wrap_future:", await treadle.wrap_future(future, asyncio.get_running_loop()))
    print("asyncio.wrap_future:", await asyncio.wrap_future(pool.submit(blocking, 3)))


async def with_cancel():
    loop, gate = asyncio.get_running_loop(), threading.Event()
    with treadle.ThreadPoolExecutor(1) as single:
        busy = loop.run_in_executor(single, gate.wait, 10)
        waiting = asyncio.ensure_future(treadle.wrap_future(single.submit(blocking, 1), loop))
        waiting.cancel()  # its thread never hears of it
        try:
            await waiting
        except asyncio.CancelledError:
            print("cancelled before it started")
        gate.set()
        print("the one that ran:", await busy)


async def main():
    with treadle.ThreadPoolExecutor(8, thread_name_prefix="work") as pool:
        await with_run_in_executor(pool)
        await with_to_thread()
        await with_wrap_future(pool)
        await with_cancel()


if __name__ == "__main__":
    asyncio.run(main())
