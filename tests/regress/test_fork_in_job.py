"""A job that forks while other threads wait for it: in the child those threads are not there."""

import os

import pytest
from support import run_script

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork()")


def test_the_child_of_a_job_that_others_wait_for_ends_its_job():
    """It completes its copy of the future: the waiters on it are on stacks of threads that it does not have."""
    out = run_script(
        """
        import os, sys, threading, time, warnings
        import treadle
        warnings.simplefilter("ignore", DeprecationWarning)
        gate = threading.Event()
        parent = os.getpid()

        def fork():
            gate.wait()
            child = os.fork()
            if child:
                return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            # the worker goes on in the child: use its memory for other threads' stacks
            def use_stack(depth=200):
                return depth if depth == 0 else use_stack(depth - 1)
            threads = [threading.Thread(target=use_stack) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            return 0

        pool = treadle.ThreadPoolExecutor(1)
        future = pool.submit(fork)
        waiters = [threading.Thread(target=future.result) for _ in range(4)]
        waiters.append(threading.Thread(target=treadle.wait, args=([future],)))
        for thread in waiters:
            thread.start()
        time.sleep(0.1)
        gate.set()
        print(future.result(60))
        for thread in waiters:
            thread.join()
        pool.shutdown()
        """
    )
    assert out == "0\n"
