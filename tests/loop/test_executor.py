"""run_in_executor() with each kind of executor."""

import asyncio
import concurrent.futures
import threading

import pytest
import treadle


@pytest.mark.parametrize("kind", [None, treadle.ThreadPoolExecutor, concurrent.futures.ThreadPoolExecutor])
def test_result_and_exception(loop, kind):
    async def main():
        executor = kind and kind(2)
        ident = await loop.run_in_executor(executor, threading.get_ident)
        assert ident != threading.get_ident()
        with pytest.raises(ZeroDivisionError):
            await loop.run_in_executor(executor, divmod, 1, 0)
        results = await asyncio.gather(*(loop.run_in_executor(executor, abs, -n) for n in range(100)))
        assert results == list(range(100))
        if executor:
            executor.shutdown()

    loop.run_until_complete(main())
    loop.run_until_complete(loop.shutdown_default_executor())


def test_after_shutdown_the_default_is_refused(loop):
    async def main():
        assert await asyncio.to_thread(abs, -1) == 1
        await loop.shutdown_default_executor()
        with pytest.raises(RuntimeError, match="shutdown"):
            loop.run_in_executor(None, abs, -1)

    loop.run_until_complete(main())
