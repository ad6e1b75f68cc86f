"""Memory of queued submits: growth of the resident set for each, in a fresh process.

As a program, it is that process: ``memory_of_queue.py stdlib|treadle TASKS`` blocks the only
worker, submits, and prints the growth a task in bytes.  The caller's list of futures is allocated
before, so that only what the executor itself keeps is counted.
"""

from __future__ import annotations

import concurrent.futures
import gc
import subprocess
import sys
import threading

from resident import resident

WARM_UP = 100


def in_child(side: str, tasks: int) -> float:
    """Bytes a queued task takes, measured in a fresh interpreter."""
    command = [sys.executable, __file__, side, str(tasks)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return float(done.stdout)


def measure(side: str, tasks: int) -> float:
    """The same in this process, which must be new."""
    gate = threading.Event()
    futures: list[concurrent.futures.Future[None] | None] = [None] * (tasks + WARM_UP)
    with _executor(side)(1) as pool:
        blocked = pool.submit(gate.wait)
        for index in range(WARM_UP):
            futures[index] = pool.submit(_noop)
        gc.collect()
        before = resident()
        for index in range(WARM_UP, WARM_UP + tasks):
            futures[index] = pool.submit(_noop)
        grown = resident() - before
        assert not blocked.done(), "the worker was meant to be blocked"
        gate.set()
    return grown / tasks


def _executor(side: str) -> type[concurrent.futures.ThreadPoolExecutor]:
    if side == "stdlib":
        return concurrent.futures.ThreadPoolExecutor
    import treadle

    return treadle.ThreadPoolExecutor


def _noop() -> None:
    pass


if __name__ == "__main__":
    print(measure(sys.argv[1], int(sys.argv[2])))
