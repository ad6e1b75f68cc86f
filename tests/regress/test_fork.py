"""What a forked child does with what it inherited."""

import os

import pytest
from support import run_script

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")


def test_inherited_pool_while_another_thread_held_its_lock():
    program = """
        import os, signal, threading, warnings
        import treadle
        warnings.simplefilter("ignore", DeprecationWarning)
        pool = treadle.ThreadPoolExecutor(2)
        pool.submit(int).result()
        held, leave = threading.Event(), threading.Event()
        def hold():
            with pool._shutdown_lock:
                held.set()
                leave.wait()
        threading.Thread(target=hold).start()
        held.wait()
        child = os.fork()
        if child == 0:
            signal.alarm(20)  # a hanging child dies, and its status tells
            pool.resize(9)
            pool.shutdown()
            print(pool.shutdown(timeout=1), flush=True)
            os._exit(0)
        print(os.waitpid(child, 0)[1])
        leave.set()
    """
    assert run_script(program).split() == ["True", "0"]


@pytest.mark.parametrize("wait", ["treadle.wait([future])", "next(treadle.as_completed([future]))", "future.result()"])
def test_waiting_for_a_job_of_the_parent(wait):
    program = f"""
        import os, signal, threading, warnings
        import treadle
        warnings.simplefilter("ignore", DeprecationWarning)
        gate = threading.Event()
        pool = treadle.ThreadPoolExecutor(1)
        future = pool.submit(gate.wait)
        child = os.fork()
        if child == 0:
            signal.alarm(20)  # a hanging child dies, and its status tells
            try:
                {wait}
            except treadle.BrokenThreadPool as error:
                print("fork" in str(error), flush=True)
            os._exit(0)
        print(os.waitpid(child, 0)[1])
        gate.set()
    """
    assert run_script(program).split() == ["True", "0"]


def test_native_side_is_the_first_to_know():
    program = """
        import asyncio, os, warnings, weakref
        import treadle
        from treadle import _to_thread
        warnings.simplefilter("ignore", DeprecationWarning)
        pool = treadle.ThreadPoolExecutor(1)
        def collected():
            try:
                pool.submit(int)
            except treadle.BrokenThreadPool:
                print("refuses", flush=True)
        asyncio.run(treadle.to_thread(int))
        # to_thread()'s own pool is dropped by another handler that runs after a fork
        weakref.finalize(_to_thread._pool, collected).atexit = False
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)
        print("end")
    """
    assert run_script(program).split() == ["refuses", "end"]
