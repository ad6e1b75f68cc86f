"""fork() in a program with a busy pool: the child can work on, and nothing it inherited makes it hang."""

import os
import sys

import pytest
from support import run_script
from support.implementations import TREADLE

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")

# The parent keeps a pool of 3 busy, forks, and the child runs `child`; both must end, and the child's words are printed.
PROGRAM = """
    import gc, os, signal, sys, threading, time, warnings
    import {module} as futures
    warnings.simplefilter("ignore", DeprecationWarning)
    gate = threading.Event()
    stop = threading.Event()
    pool = futures.ThreadPoolExecutor(3)
    def churn():
        while not stop.is_set():
            pool.submit(pow, 2, 3).result()
    pool.submit(gate.wait)
    churners = [threading.Thread(target=churn) for _ in range(2)]
    for thread in churners:
        thread.start()
    held = pool.submit(gate.wait, 100)
    queued = [pool.submit(abs, -n) for n in range(10)]
    pending = futures.Future()
    idle_pool = futures.ThreadPoolExecutor(2)
    idle_pool.submit(int).result()
    time.sleep(0.05)
    sys.stdout.flush()
    for _ in range({forks}):
        child = os.fork()
        if child == 0:
            signal.alarm(20)  # a hanging child dies, and its status tells
            status = 1
            try:
                {child}
                sys.stdout.flush()
                status = 0
            except BaseException:
                import traceback
                traceback.print_exc()
            finally:
                {end}
        else:
            _, status = os.waitpid(child, 0)
            print("child", status, flush=True)
    stop.set()
    for thread in churners:
        thread.join()
    gate.set()
    print([future.result(20) for future in queued] == list(range(10)), pool.submit(abs, -1).result(20), flush=True)
    pool.shutdown()
"""


def fork_and(impl, child, forks=1, end="os._exit(status)"):
    lines = child.strip().splitlines()
    body = "\n".join([lines[0]] + [" " * 16 + line for line in lines[1:]])
    out = run_script(PROGRAM.format(module=impl.module.__name__, child=body, forks=forks, end=end))
    lines = out.splitlines()
    assert lines[-1] == "True 1", out
    assert lines.count("child 0") == forks, out
    return [line for line in lines[:-1] if line != "child 0"]


def test_child_makes_a_pool_of_its_own(impl):
    child = """
with futures.ThreadPoolExecutor(2) as mine:
    print(mine.submit(pow, 2, 5).result(10), sum(mine.map(abs, range(100))))
    print(len(futures.wait([mine.submit(int) for _ in range(50)], 10).done))
"""
    assert fork_and(impl, child, forks=5) == ["32 4950", "50"] * 5


def test_child_that_exits_in_the_normal_way(impl):
    # sys.exit runs the exit handlers, which must not wait for threads that do not exist here.
    child = 'print(futures.ThreadPoolExecutor(1).submit(pow, 2, 5).result(10))\nstop.set(); churners.clear()'
    if not impl.native and sys.version_info < (3, 14):
        pytest.skip("the standard pool's exit handler joins inherited threads before 3.14 (bpo-43944)")
    assert fork_and(impl, child, end="sys.exit(status) if status else sys.exit()") == ["32"]


USE_OR_REFUSE = """
try:
    future = {use}
    try:
        print("works", future.result(3))
    except futures.TimeoutError:
        print("hangs")
except RuntimeError as error:
    print("refuses:", error)
"""


@pytest.mark.parametrize("pool", ["pool", "idle_pool"])
def test_inherited_pool_works_or_refuses(native, pool):
    # Unlike here: the standard pool leaves the work of an inherited pool undone.
    for line in fork_and(TREADLE, USE_OR_REFUSE.format(use=f"{pool}.submit(abs, -5)"), forks=3):
        assert line == "works 5" or (line.startswith("refuses: ") and "fork" in line)


def test_inherited_pool_maps_or_refuses(native):
    # Unlike here: the standard pool leaves the work of an inherited pool undone.
    child = """
try:
    print("works", list(pool.map(abs, range(-3, 0), timeout=60)))
except RuntimeError as error:
    print("refuses:", error)
"""
    (line,) = fork_and(TREADLE, child)
    assert line == "works [3, 2, 1]" or (line.startswith("refuses: ") and "fork" in line)


def test_inherited_pool_can_be_shut_down(native):
    # Unlike here: the standard pool joins threads that do not exist in the child, on some versions for ever.
    child = """
pool.shutdown(wait=False)
pool.shutdown(wait=True)
idle_pool.shutdown(wait=True, cancel_futures=True)
print("shut down")
"""
    assert fork_and(TREADLE, child) == ["shut down"]


def test_inherited_pool_can_be_dropped(impl):
    child = """
del pool, idle_pool, held, queued
gc.collect()
print("dropped")
"""
    assert fork_and(impl, child) == ["dropped"]


def test_inherited_futures_do_not_hang(native):
    # Unlike here: a pending future of the standard pool is waited for in vain.
    # Nobody in the child will ever finish these: an error or a cancellation, or the item is run, but no hang.
    child = """
for future in (held, queued[-1]):
    try:
        future.result()
        print("outcome")
    except (futures.CancelledError, RuntimeError) as error:
        print("outcome")
"""
    assert fork_and(TREADLE, child, forks=3) == ["outcome"] * 6


def test_inherited_futures_are_not_waited_for(native):
    child = """
for wait in (futures.wait, lambda fs: next(futures.as_completed(fs))):
    try:
        wait([held, queued[-1]])
    except futures.BrokenExecutor as error:
        print("parent process" in str(error))
"""
    assert fork_and(TREADLE, child) == ["True"] * 2


def test_inherited_plain_future_is_usable(impl):
    child = """
threading.Timer(0.05, pending.set_result, (1,)).start()
print(pending.result(10), futures.wait([pending], 10).done == {pending})
"""
    assert fork_and(impl, child) == ["1 True"]


def test_fork_from_a_worker(impl):
    source = f"""
        import os, warnings
        import {impl.module.__name__} as futures
        warnings.simplefilter("ignore", DeprecationWarning)
        def fork():
            child = os.fork()
            if child == 0:
                with futures.ThreadPoolExecutor(1) as mine:
                    ok = mine.submit(pow, 2, 5).result(10) == 32
                os._exit(0 if ok else 1)
            return os.waitpid(child, 0)[1]
        with futures.ThreadPoolExecutor(2) as pool:
            print([pool.submit(fork).result(30) for _ in range(5)])
    """
    assert run_script(source).strip() == "[0, 0, 0, 0, 0]"


def test_fork_while_threads_wait(impl):
    source = f"""
        import os, threading, time, warnings
        import {impl.module.__name__} as futures
        warnings.simplefilter("ignore", DeprecationWarning)
        future = futures.Future()
        threads = [threading.Thread(target=future.result) for _ in range(3)]
        threads.append(threading.Thread(target=futures.wait, args=([future],)))
        for thread in threads:
            thread.start()
        time.sleep(0.1)
        child = os.fork()
        if child == 0:
            future.set_result(1)
            os._exit(0 if future.result(5) == 1 else 1)
        print(os.waitpid(child, 0)[1], future.done())
        future.set_result(2)
        for thread in threads:
            thread.join(20)
        print(future.result(), any(thread.is_alive() for thread in threads))
    """
    assert run_script(source).split() == ["0", "False", "2", "False"]


def test_grandchildren(impl):
    source = f"""
        import os, warnings
        import {impl.module.__name__} as futures
        warnings.simplefilter("ignore", DeprecationWarning)
        def generation(depth):
            with futures.ThreadPoolExecutor(1) as pool:
                ok = pool.submit(pow, 2, 5).result(10) == 32
                if depth:
                    child = os.fork()
                    if child == 0:
                        os._exit(generation(depth - 1))
                    ok = ok and os.waitpid(child, 0)[1] == 0
            return 0 if ok else 1
        print(generation(3))
    """
    assert run_script(source).strip() == "0"


def test_multiprocessing_fork_uses_pools_in_the_children(impl):
    source = f"""
        import multiprocessing, warnings
        import {impl.module.__name__} as futures
        warnings.simplefilter("ignore", DeprecationWarning)
        outer = futures.ThreadPoolExecutor(2)
        outer.submit(int).result()
        def job(number):
            with futures.ThreadPoolExecutor(2) as pool:
                return sum(pool.map(abs, range(number)))
        with multiprocessing.get_context("fork").Pool(2) as processes:
            print(processes.map(job, [10, 20, 30]))
        print(outer.submit(abs, -1).result())
    """
    assert run_script(source).split("\n")[:2] == ["[45, 190, 435]", "1"]
