"""The tools of multiprocessing in a treadle.Pool, whose workers are ordinary multiprocessing processes.

Shows: map, imap, imap_unordered, starmap and apply_async with callbacks; the start methods; Queue, Pipe, Value,
Array, Lock, Event, Manager and shared_memory inside workers, handed over by the initializer; and the clear
error for what cannot be pickled.
"""

import multiprocessing
import operator
from multiprocessing.shared_memory import SharedMemory

import treadle

tools = {}


def take(given):
    """The initializer: keep the tools where tasks find them."""
    tools.update(given)


def square(number):
    return number * number


def use(number):
    """A task that touches every tool."""
    tools["event"].wait()
    with tools["lock"]:
        tools["value"].value += number
        tools["array"][number] = square(number)
        tools["pipe"].send(number)
    tools["queue"].put(number)
    tools["dict"][number] = multiprocessing.current_process().name
    memory = SharedMemory(tools["memory"])
    memory.buf[number] = 100 + number
    memory.close()


def calls():
    """The ways to call that multiprocessing.Pool has."""
    with treadle.Pool(2) as pool:
        print("map:", pool.map(square, range(5)))
        print("imap:", list(pool.imap(square, range(5), chunksize=2)))
        print("imap_unordered:", sorted(pool.imap_unordered(square, range(5))))
        print("starmap:", pool.starmap(operator.sub, [(5, 3), (9, 2)]))
        results = []
        pool.apply_async(square, (7,), callback=results.append).wait()
        pool.apply_async(square, ("a",), error_callback=results.append).wait()
        print("apply_async:", results[0], type(results[1]).__name__)
        try:
            pool.map(lambda number: number, range(3))
        except Exception as error:
            print("a lambda:", "<lambda>" in str(error))


def start_methods():
    """Each start method, and the zygote, which is treadle's own."""
    for method in ("fork", "spawn", "forkserver", "zygote"):
        with treadle.Pool(1, context=method) as pool:
            print(f"{method}:", pool.apply(square, (12,)))


def with_tools():
    """Everything that tasks may share, with ten tasks on two workers."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    memory = SharedMemory(create=True, size=16)
    with context.Manager() as manager:
        given = {
            "lock": context.Lock(),
            "event": context.Event(),
            "value": context.Value("i", 0, lock=False),
            "array": context.Array("i", 10, lock=False),
            "queue": context.Queue(),
            "pipe": sender,
            "dict": manager.dict(),
            "memory": memory.name,
        }
        with treadle.Pool(2, take, (given,), context=context) as pool:
            waiting = pool.map_async(use, range(10), chunksize=1)
            given["event"].set()
            waiting.get()
            print("value:", given["value"].value)
            print("array:", list(given["array"]))
            print("queue:", sorted(given["queue"].get() for _ in range(10)))
            print("pipe:", sorted(receiver.recv() for _ in range(10)))
            print("manager:", len(given["dict"]), "entries")
            print("shared_memory:", list(memory.buf[:10]))
    memory.close()
    memory.unlink()


if __name__ == "__main__":
    calls()
    start_methods()
    with_tools()
