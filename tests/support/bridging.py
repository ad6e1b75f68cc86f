"""Coroutines that wait for jobs."""

import asyncio
import weakref

LONG = 60.0


def run(coroutine, debug=False):
    async def limited():
        return await asyncio.wait_for(coroutine, LONG)

    return asyncio.run(limited(), debug=debug)


class Failure(Exception):
    pass


def close_with_a_result_under_way(pool):
    """A loop that is closed after the result of a job was handed to it and before it has looked."""
    loop = asyncio.new_event_loop()

    async def main():
        loop.run_in_executor(pool, int)

    loop.run_until_complete(main())
    pool.submit(int).result(LONG)
    pool.submit(int).result(LONG)
    loop.close()
    return weakref.ref(loop)
