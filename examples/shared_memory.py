"""Memory that processes share: large data goes to tasks by reference, and their results need not come back.

Shows: SharedBuffer, with the standard library alone; shared_array, the same as a numpy array, where numpy is installed;
views of a part, which tasks fill side by side; a lock for what several of them change; and what is copied after all.
"""

import importlib.util
import multiprocessing

import treadle

SIDE = 600
lock = None


def take_lock(given):
    """The initializer: locks are inherited, they are not sent with tasks."""
    global lock
    lock = given


def cross_out(sieve, prime, begin, end):
    """Mark the multiples of `prime` in a part of a sieve that all workers see."""
    first = max(prime * prime, (begin + prime - 1) // prime * prime)
    view = memoryview(sieve)
    view[first:end:prime] = bytes(len(range(first, end, prime)))


def count(totals, number):
    """Several tasks change the same item: one at a time."""
    view = memoryview(totals).cast("q")
    with lock:
        view[0] += number


def copy_of(buffer, begin, end):
    return bytes(memoryview(buffer)[begin:end])


def escape_times(rows, imag):
    """Fill rows of an image of the Mandelbrot set in place; nothing is returned."""
    import numpy as np

    c = np.linspace(-2, 0.5, rows.shape[1]) + 1j * np.asarray(imag)[:, None]
    z = np.zeros_like(c)
    for _ in range(40):
        inside = abs(z) <= 2
        z[inside] = z[inside] ** 2 + c[inside]
        rows += inside


def double(array):
    array *= 2
    return array


def with_buffers(pool):
    sieve = treadle.SharedBuffer(10_000)
    memoryview(sieve)[2:] = b"\1" * (len(sieve) - 2)
    parts = [(begin, begin + 2500) for begin in range(0, len(sieve), 2500)]
    jobs = [pool.submit(cross_out, sieve, prime, *part) for prime in range(2, 100) for part in parts]
    for job in jobs:
        job.result()
    print("primes below 10000:", sum(memoryview(sieve)))

    totals = treadle.SharedBuffer(8)
    list(pool.map(count, [totals] * 100, range(100)))
    print("total:", memoryview(totals).cast("q")[0])

    # what a task computes from a buffer is data like any other
    print("a copy:", pool.submit(copy_of, sieve, 7, 12).result())


def with_arrays(pool):
    import numpy as np

    image = treadle.shared_array((SIDE, SIDE), "u1")
    imag = np.linspace(-1.25, 1.25, SIDE)
    # views of whole rows: each task writes into its own part of the one image
    jobs = [pool.submit(escape_times, image[row : row + 100], imag[row : row + 100]) for row in range(0, SIDE, 100)]
    for job in jobs:
        job.result()
    print("image: filled", bool(image.all()), "inside the set", 0.15 < (image == 40).mean() < 0.35)

    shared = treadle.shared_array(4, "i4")
    shared[:] = [1, 2, 3, 4]
    copied = shared + 0
    pool.submit(double, shared).result()
    pool.submit(double, copied).result()
    print("shared:", shared.tolist(), "copied:", copied.tolist())


def main():
    context = multiprocessing.get_context("spawn")
    with treadle.ProcessPoolExecutor(2, context, initializer=take_lock, initargs=(context.Lock(),)) as pool:
        with_buffers(pool)
        if importlib.util.find_spec("numpy"):
            with_arrays(pool)


if __name__ == "__main__":
    main()
