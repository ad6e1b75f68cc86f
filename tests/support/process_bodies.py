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
    """In the place of _workers.run(): settle, and say what came of it."""
    import treadle
    from treadle import _workers

    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    _workers._settle(spec)
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
