"""What a worker process is made of, and what one can ask of it.

Shows: a warm zygote that has imported what workers need, worker numbers, state left by an initializer and cleared up by
an exit function, log records of workers in the parent's handlers, the limit on threads of numerical libraries, a
limit on memory, and the fact that Ctrl-C is the parent's affair.
"""

import logging
import os
import signal
import sys

import treadle

connection = None


def connect(address):
    """The initializer: something that each worker needs once."""
    global connection
    connection = f"{address}#{treadle.worker_id()}"


def disconnect():
    """The exit function: called after a worker's last task."""
    logging.getLogger("example").info("closed %s", connection)


def work(number):
    logging.getLogger("example").warning("task %d", number)
    return number, connection.startswith("db#"), treadle.worker_id() in (0, 1)


def surroundings():
    return os.environ.get("OMP_NUM_THREADS"), signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def grow(size):
    """Keep memory that the worker will not give back."""
    globals()["kept"] = bytearray(os.urandom(1)) * size
    return os.getpid()


def main():
    logging.basicConfig(stream=sys.stdout, format="%(levelname)s %(message)s")
    logging.getLogger("example").setLevel(logging.WARNING)
    options = {"preload": ["decimal"], "exit_function": disconnect, "worker_logs": True}
    with treadle.ProcessPoolExecutor(2, initializer=connect, initargs=("db",), **options) as pool:
        results = [pool.submit(work, number).result() for number in range(3)]
    print("results:", *results)  # records of ended workers have all been handled

    with treadle.ProcessPoolExecutor(1, library_threads=1) as pool:
        print("library threads, interrupts ignored:", *pool.submit(surroundings).result())

    with treadle.ProcessPoolExecutor(1, mp_context="zygote", max_memory_per_child=200 << 20) as pool:
        small = {pool.submit(grow, 1 << 20).result() for _ in range(3)}
        large = {pool.submit(grow, 300 << 20).result() for _ in range(3)}
        print("workers for small tasks:", len(small), "- for large ones:", len(large))


if __name__ == "__main__":
    main()
