"""What first, and as whom: options() gives a view of a pool with a priority or a context.

Shows: options(priority=), options(context=), a pool with context=True, jobs that wait for jobs of
their own pool, stats(), resize(), and an end that does not wait for ever.
"""

import contextvars
import threading

from treadle import ThreadPoolExecutor

request = contextvars.ContextVar("request", default="none")


def priorities():
    order, gate = [], threading.Event()
    with ThreadPoolExecutor(max_workers=1) as pool:
        pool.submit(gate.wait, 10)  # the only worker is busy while these arrive
        urgent, idle = pool.options(priority=10), pool.options(priority=-1)
        idle.submit(order.append, "cleaning up")
        pool.submit(order.append, "first come")
        pool.submit(order.append, "first served")
        urgent.submit(order.append, "urgent")
        gate.set()
    print("order:", order)


def contexts():
    request.set("request 1")
    with ThreadPoolExecutor(2) as pool:
        print("without:", pool.submit(request.get).result())
        print("with context=True:", pool.options(context=True).submit(request.get).result())
        other = contextvars.copy_context()
        other.run(request.set, "request 2")
        print("with a context:", pool.options(context=other).submit(request.get).result())
    with ThreadPoolExecutor(2, context=True) as pool:
        print("a pool with context:", list(pool.map(lambda _: request.get(), range(2))))


def nested(pool, depth):
    """Each job waits for one that it submits itself: the waiting worker runs it."""
    return depth if depth == 0 else depth + pool.submit(nested, pool, depth - 1).result()


def nested_jobs():
    with ThreadPoolExecutor(max_workers=1) as pool:
        print("nested on one thread:", pool.submit(nested, pool, 10).result())


def figures():
    pool = ThreadPoolExecutor(max_workers=2)
    list(pool.map(sorted, [range(1000)] * 100))
    pool.resize(4)
    pool.shutdown()
    stats = pool.stats()
    print("jobs done:", stats["done"], "- workers left:", stats["workers"])
    print("time in jobs is known:", stats["run"]["count"] == 100 and stats["run"]["sum"] > 0)


def an_end_in_time():
    gate = threading.Event()
    pool = ThreadPoolExecutor(max_workers=1)
    pool.submit(gate.wait, 10)
    print("all threads ended within 0.1 s:", pool.shutdown(timeout=0.1))
    gate.set()
    print("all threads ended within 10 s:", pool.shutdown(timeout=10))


if __name__ == "__main__":
    priorities()
    contexts()
    nested_jobs()
    figures()
    an_end_in_time()
