"""What test processes run: functions that a worker can import, whatever started it."""

import atexit
import logging
import multiprocessing
import os
import signal
import time
from multiprocessing import util


def describe(channel):
    """Who this process is, as multiprocessing sees it."""
    current, parent = multiprocessing.current_process(), multiprocessing.parent_process()
    channel.send(
        {
            "pid": os.getpid(),
            "name": current.name,
            "authkey": bytes(current.authkey),
            "parent": parent.pid,
            "parent_name": parent.name,
            "parent_alive": parent.is_alive(),
            "directory": os.getcwd(),
            "main": __import__("sys").modules["__main__"].__name__,
        }
    )


def answer(channel, value):
    channel.send(value)


def end_with(code):
    os._exit(code)


def kill_self(number):
    os.kill(os.getpid(), number)


def sleep_long(channel=None):
    if channel is not None:
        channel.send(os.getpid())
    time.sleep(300)


def environment_of(channel, *names):
    channel.send([os.environ.get(name) for name in names])


def register_exit_handlers(channel):
    atexit.register(channel.send, "atexit")
    util.Finalize(None, channel.send, ("finalize",), exitpriority=1)


def add_under_lock(lock, counter, rounds):
    for _ in range(rounds):
        with lock:
            counter.value += 1


def read_shared(name, channel):
    from multiprocessing.shared_memory import SharedMemory

    memory = SharedMemory(name)
    channel.send(bytes(memory.buf[:5]))
    memory.buf[0] = 33
    memory.close()


def handlers_of(channel):
    channel.send([signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)])


class FailsToUnpickle:
    def __reduce__(self):
        return _refuse, ()


def _refuse():
    raise ArithmeticError("cannot be unpickled here")


def probe_worker(spec):
    """In the place of _worker.run(): settle, and say what came of it."""
    import treadle
    from treadle import _worker

    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    _worker._settle(spec)
    channel = spec.initargs[0]
    channel.send(
        {
            "index": treadle.worker_id(),
            "descriptors": [os.fstat(fd).st_ino for fd in spec.descriptors],
            "inheritable": [os.get_inheritable(fd) for fd in spec.descriptors],
            "interrupt": signal.getsignal(signal.SIGINT),
            "terminate": signal.getsignal(signal.SIGTERM),
            "held_at_start": signal.SIGINT in mask,
            "held": signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ()),
            "affinity": os.sched_getaffinity(0),
            "threads": os.environ.get("OMP_NUM_THREADS"),
            "preloaded_threads": _imported_limit(),
            "name": multiprocessing.current_process().name,
        }
    )
    if len(spec.initargs) > 1:
        spec.initargs[1](*spec.initargs[2:])


def _imported_limit():
    from support import looks_at_threads

    return looks_at_threads.LIMIT


def threads_of_libraries():
    import threadpoolctl

    return {library["num_threads"] for library in threadpoolctl.threadpool_info()}


def spin():
    while True:
        pass


def log_things(name):
    logger = logging.getLogger(name)
    logger.debug("too little to be sent")
    logger.warning("a warning %d", 1)
    try:
        1 / 0
    except ZeroDivisionError:
        logger.exception("it failed")
    logger.info("with extras", extra={"odd": lambda: None})


def log_much(name):
    logging.getLogger(name).warning("x" * 1_000_000)


# Tasks of pools


def square(number):
    return number * number


def add(left, right=0):
    return left + right


def fail(*args):
    raise ValueError("as it should", *args)


def nap(seconds):
    time.sleep(seconds)
    return seconds


def pid(*_):
    return os.getpid()


def make_lambda():
    return lambda: None


def make_lambda_of(number):
    return lambda: number


_state = None


def remember(value):
    global _state
    _state = value


def recall(*_):
    return _state


def use_tools(number):
    """Something with each of the tools that the initializer has left."""
    lock, value, array, queue, event, listing, connection = _state
    assert event.wait(60)
    with lock:
        value.value += number
        array[number % len(array)] += 1
    queue.put(number)
    listing.append(number)
    with lock:
        connection.send(number)
    return multiprocessing.current_process().name


def fill_shared(name, index):
    from multiprocessing.shared_memory import SharedMemory

    memory = SharedMemory(name)
    memory.buf[index] = index
    memory.close()
    return index


def raise_timeout():
    raise TimeoutError("of the call")


def fail_at_three(number):
    if number == 3:
        raise ValueError("three")
    return number


def names():
    return multiprocessing.current_process().name, os.getpid(), multiprocessing.parent_process().pid


# What pools' workers do at the beginning, the end, and in between


_marks = None


def mark_at(path, word):
    global _marks
    _marks = path
    with open(path, "a") as file:
        file.write(word + "\n")


def mark_end():
    mark_at(_marks, "ended")


def mark_at_exit(path):
    atexit.register(mark_at, path, "atexit")
    util.Finalize(None, mark_at, (path, "finalize"), exitpriority=1)


def which_worker():
    import treadle

    return treadle.worker_id()


def is_imported(name):
    import sys

    return name in sys.modules


def variable(name):
    return os.environ.get(name)


def log_by_multiprocessing():
    multiprocessing.get_logger().info("said by a task")


def use_a_pool(method):
    import warnings

    import treadle

    warnings.simplefilter("ignore", DeprecationWarning)
    with treadle.ProcessPoolExecutor(1, mp_context=method) as pool:
        return list(pool.map(square, range(3)))


_kept = None


def grow(size):
    global _kept
    _kept = bytearray(os.urandom(1)) * size
    return os.getpid()


def limit_memory(more):
    """Have this process get `more` bytes beyond what it has now, and then MemoryError."""
    import resource

    with open("/proc/self/statm") as statm:
        size = int(statm.read().split()[0]) * resource.getpagesize() + more
    resource.setrlimit(resource.RLIMIT_AS, (size, resource.getrlimit(resource.RLIMIT_AS)[1]))


def many_bytes(size):
    return [bytes(10_000) for _ in range(size // 10_000)]


def close_everything():
    os.closerange(0, 1024)
    return "closed"


def stay(path, *kept):
    mark_at(path, "begun")
    time.sleep(300)


def close_everything_and_stay(path, *kept):
    close_everything()
    stay(path)


class Unpicklable(Exception):
    def __reduce__(self):
        raise TypeError("cannot pickle it")


class TwoArguments(Exception):
    def __init__(self, one, two):
        super().__init__(one)


def raise_unpicklable():
    raise Unpicklable("as it should")


def raise_not_unpicklable():
    raise TwoArguments(1, 2)
