"""A process pool for work that keeps a CPU busy, where the GIL would keep threads apart.

Shows: submit, map with chunks, as_completed, an initializer that loads once what every task needs, an
exception with the worker's traceback, BrokenProcessPool when a worker dies, workers that are replaced
after some tasks, and how much faster two workers are than one.
"""

import math
import os
import time

from treadle import BrokenProcessPool, ProcessPoolExecutor, as_completed

primes = []


def find_primes(limit):
    """Runs in each worker before its first task."""
    sieve = bytearray([1]) * limit
    for number in range(2, math.isqrt(limit) + 1):
        sieve[number * number :: number] = bytes(len(range(number * number, limit, number)))
    primes[:] = (number for number in range(2, limit) if sieve[number])


def smallest_factor(number):
    """Needs what the initializer has left in this worker."""
    return next((prime for prime in primes if number % prime == 0), number)


def busy(turns):
    """Keep a CPU busy; the CPU seconds it took, and in which process."""
    started = time.process_time()
    total = 0
    for number in range(turns):
        total += number * number
    return time.process_time() - started, os.getpid()


def main():
    with ProcessPoolExecutor(2, initializer=find_primes, initargs=(1000,)) as pool:
        print("submit:", pool.submit(smallest_factor, 7 * 11 * 13).result())
        print("map:", list(pool.map(smallest_factor, range(90, 100), chunksize=5)))

        jobs = {pool.submit(smallest_factor, number): number for number in (91, 341, 997)}
        print("as_completed:", sorted((jobs[job], job.result()) for job in as_completed(jobs)))

        try:
            pool.submit(smallest_factor, 0.5j).result()
        except TypeError as error:
            print("exception:", error)
            print("raised at:", str(error.__cause__).rstrip('\n"').splitlines()[-3].strip())

    with ProcessPoolExecutor(2) as pool:
        try:
            pool.submit(os._exit, 3).result()
        except BrokenProcessPool as error:
            print("a worker that dies breaks the pool:", "exit code 3" in str(error))

    with ProcessPoolExecutor(1, max_tasks_per_child=2) as pool:
        workers = [pool.submit(os.getpid).result() for _ in range(6)]
        print("6 tasks, 2 for each worker:", len(set(workers)), "workers")

    with ProcessPoolExecutor(2) as pool:
        list(pool.map(abs, range(100)))  # both are there
        started = time.perf_counter()
        times = [seconds for seconds, _ in pool.map(busy, [2_000_000] * 4)]
        took = time.perf_counter() - started
    print(f"{sum(times):.2f} s of computing took {took:.2f} s")


# Workers import this file: what follows is for the first process only.
if __name__ == "__main__":
    main()
