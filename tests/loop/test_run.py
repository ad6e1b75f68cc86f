"""Starting, stopping and closing."""

import asyncio
import gc
import os
import threading

import pytest


def test_stop_before_run_makes_one_turn(loop):
    ran = []
    loop.call_soon(ran.append, 1)
    loop.stop()
    loop.run_forever()
    assert ran == [1]


def test_stop_before_the_future_is_done(loop):
    loop.call_soon(loop.stop)
    with pytest.raises(RuntimeError, match="stopped before Future completed"):
        loop.run_until_complete(loop.create_future())


def test_nested_run_is_refused(loop):
    async def main():
        with pytest.raises(RuntimeError, match="already running"):
            loop.run_forever()
        return 5

    assert loop.run_until_complete(main()) == 5


def test_loops_in_threads(factory):
    results = []

    def work(number):
        loop = factory()
        try:
            results.append(loop.run_until_complete(asyncio.sleep(0.01, number)))
        finally:
            loop.close()

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == list(range(8))


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts descriptors in /proc")
def test_cycles_leak_no_descriptors(factory):
    def cycle():
        loop = factory()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()

    cycle()
    gc.collect()  # what earlier tests have left
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(200):
        cycle()
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts descriptors in /proc")
def test_dropped_loop_warns_and_is_freed(factory):
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    with pytest.warns(ResourceWarning, match="unclosed event loop"):
        loop = factory()
        del loop
        gc.collect()
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before
