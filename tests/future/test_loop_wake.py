"""A stock loop that sleeps is woken for a result, and what that takes is given back."""

import asyncio
import gc
import os
import threading

import pytest
from support import run_script
from support.bridging import close_with_a_result_under_way, run


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="needs /proc")
def test_closed_loops_leave_no_descriptors(impl, make_pool):
    pool = make_pool(1)

    def use():
        for _ in range(10):
            close_with_a_result_under_way(pool)
        gc.collect()
        return len(os.listdir("/proc/self/fd"))

    use()
    counts = [use() for _ in range(4)]
    assert counts[-1] <= counts[0] + 3, counts


def test_loop_idle_in_its_selector_is_woken(impl, make_pool, gate):
    pool = make_pool(1)

    async def main():
        loop = asyncio.get_running_loop()
        work = loop.run_in_executor(pool, gate.wait, "woken")
        threading.Timer(0.2, gate.open).start()
        return await work

    assert run(main()) == "woken"


def test_ctrl_c_in_a_loop_that_waits_for_a_job(impl):
    source = f"""
        import asyncio, os, signal, threading
        import {impl.module.__name__} as futures
        signal.signal(signal.SIGINT, signal.default_int_handler)
        release = threading.Event()
        async def main():
            pool = futures.ThreadPoolExecutor(1)
            threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
            try:
                await asyncio.get_running_loop().run_in_executor(pool, release.wait, 30)
            finally:
                release.set()
        try:
            asyncio.run(main())
        except KeyboardInterrupt:
            print("interrupted")
    """
    assert run_script(source).strip() == "interrupted"
