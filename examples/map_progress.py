"""map() over much: in batches, with a progress bar, over an endless input, as results come.

Shows: chunksize=, progress= (a tqdm bar where tqdm is installed, else any object with update()),
buffersize= on an endless generator, map_unordered(), and closing an iterator early.
"""

import hashlib
import itertools
import sys
import time

from treadle import ThreadPoolExecutor


class Dots:
    """The least that progress= takes: an update() that is told how many more are done."""

    def __init__(self, every):
        self.done, self.every = 0, every

    def update(self, count):
        self.done += count
        if self.done % self.every == 0:
            print(".", end="", file=sys.stderr, flush=True)

    def close(self):
        print(file=sys.stderr)


def progress_bar():
    try:
        import tqdm  # noqa: F401
    except ImportError:
        return Dots(every=100)
    return True  # treadle makes a tqdm bar that knows the total


def digest(number):
    return hashlib.sha256(bytes(50_000) + str(number).encode()).hexdigest()


def slow_square(number):
    time.sleep(0.05 if number == 0 else 0.001)
    return number * number


def main():
    with ThreadPoolExecutor(max_workers=4) as pool:
        digests = list(pool.map(digest, range(1000), chunksize=10, progress=progress_bar()))
        print(len(digests), "digests, in order:", digests[3] == digest(3))

        # endless input: 8 items are taken in advance, never more
        taken = itertools.count()
        squares = pool.map(slow_square, taken, buffersize=8)
        first = list(itertools.islice(squares, 20))
        squares.close()  # cancels what has not started
        print("first squares:", first[:5], "- taken from the input:", next(taken))

        # the slow one does not hold the others up
        unordered = list(pool.map_unordered(slow_square, range(20)))
        complete = sorted(unordered) == [n * n for n in range(20)]
        print("unordered: complete:", complete, "- the slow one came first:", unordered[0] == 0)

        # an exception is raised where its result would be
        results = pool.map(lambda n: 100 // n, [5, 2, 0, 1])
        try:
            for result in results:
                print("got", result)
        except ArithmeticError as error:
            print("then", type(error).__name__)


if __name__ == "__main__":
    main()
