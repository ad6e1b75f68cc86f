"""The tools of threading and queue inside a pool's workers, which are ordinary threads.

Shows: Lock, Semaphore, Event, Condition, Barrier and local at work in jobs, and the classic
bounded producer and consumer: a Queue that makes the producer wait, and a poison pill that
ends the consumers.
"""

import queue
import threading

from treadle import ThreadPoolExecutor

WORKERS = 4


def with_lock(pool):
    """A Lock makes `+=` on shared data safe."""
    lock, total = threading.Lock(), 0

    def add(number):
        nonlocal total
        with lock:
            total += number

    list(pool.map(add, range(1000)))
    print("lock: total", total)


def with_semaphore(pool):
    """A Semaphore lets two of the four workers in at a time."""
    semaphore, inside, most, lock = threading.Semaphore(2), 0, 0, threading.Lock()

    def visit(_):
        nonlocal inside, most
        with semaphore:
            with lock:
                inside += 1
                most = max(most, inside)
            threading.Event().wait(0.002)
            with lock:
                inside -= 1

    list(pool.map(visit, range(20)))
    print("semaphore: never more than", most, "inside")


def with_event(pool):
    """An Event holds all jobs at the start line."""
    start = threading.Event()
    runners = [pool.submit(start.wait, 10) for _ in range(WORKERS)]
    before = sum(runner.done() for runner in runners)
    start.set()
    print("event: before", before, "after", sum(runner.result() for runner in runners))


def with_condition(pool):
    """A Condition wakes who waits for a state, here for three items."""
    condition, items = threading.Condition(), []

    def wait_for_three():
        with condition:
            condition.wait_for(lambda: len(items) >= 3, timeout=10)
            return sorted(items)

    def put(item):
        with condition:
            items.append(item)
            condition.notify_all()

    waiting = pool.submit(wait_for_three)
    for item in range(3):
        pool.submit(put, item)
    print("condition:", waiting.result())


def with_barrier(pool):
    """A Barrier lets nobody on before all have come: it needs as many workers."""
    barrier = threading.Barrier(WORKERS)
    waiting = [pool.submit(barrier.wait, 10) for _ in range(WORKERS)]
    places = [future.result() for future in waiting]
    print("barrier: places", sorted(places))


def with_local():
    """threading.local keeps something for each worker; the initializer makes it, once a thread."""
    local = threading.local()

    def connect():
        local.connection = f"connection of {threading.current_thread().name}"

    with ThreadPoolExecutor(2, thread_name_prefix="db", initializer=connect) as pool:
        used = set(pool.map(lambda _: local.connection, range(50)))
    print("local:", used <= {"connection of db_0", "connection of db_1"})


PILL = object()


def with_queue(pool):
    """A Queue of 10 places between one producer and three consumers."""
    items = queue.Queue(maxsize=10)

    def produce():
        for number in range(1000):
            items.put(number)  # waits while the queue is full
        for _ in range(3):
            items.put(PILL)  # one for each consumer
        return "producer done"

    def consume():
        eaten = 0
        while (item := items.get()) is not PILL:
            eaten += item
        return eaten

    producer = pool.submit(produce)
    consumers = [pool.submit(consume) for _ in range(3)]
    print("queue:", producer.result(), "- consumed", sum(consumer.result() for consumer in consumers))


def main():
    with ThreadPoolExecutor(max_workers=WORKERS) as pool:
        with_lock(pool)
        with_semaphore(pool)
        with_event(pool)
        with_condition(pool)
        with_barrier(pool)
        with_local()
        with_queue(pool)


if __name__ == "__main__":
    main()
