"""What the tests of process pools have workers do; importable in every worker."""

import os
import signal
import time


def double(x):
    return x + x


def nothing():
    return None


def pid():
    return os.getpid()


def sleep_and_pid(seconds):
    time.sleep(seconds)
    return os.getpid()


def sleep_and_return(seconds, value):
    time.sleep(seconds)
    return value


def raise_value_error(message):
    raise ValueError(message)


def exit_now(code=3):
    os._exit(code)


def kill_self(number=signal.SIGKILL):
    os.kill(os.getpid(), number)
    time.sleep(60)


def touch(path):
    with open(path, "a") as file:
        file.write(f"{os.getpid()}\n")


def exit_once(path, value):
    """Die the first time, return `value` afterwards."""
    touch(path)
    with open(path) as file:
        if len(file.readlines()) == 1:
            os._exit(7)
    return value


def wait_for(path, seconds=30):
    """Until somebody has touched `path`."""
    end = time.monotonic() + seconds
    while not os.path.exists(path):
        if time.monotonic() > end:
            return False
        time.sleep(0.002)
    return True


def touch_and_wait(path, other):
    touch(path)
    return wait_for(other)


class Unpicklable:
    def __reduce__(self):
        raise TypeError("this does not pickle")


def return_unpicklable():
    return Unpicklable()


class BadException(Exception):
    """Pickles, but does not unpickle."""

    def __init__(self, one, two):
        super().__init__("both")


def raise_bad():
    raise BadException(1, 2)


def fail_to_unpickle():
    raise ImportError("not to be loaded here")


class FailsToLoad:
    def __reduce__(self):
        return fail_to_unpickle, ()


def return_fails_to_load():
    return FailsToLoad()


def unpicklable_if_odd(number):
    return Unpicklable() if number % 2 else number


def wait_or_return(value):
    return value if isinstance(value, int) else wait_for(value)


def exit_if(number, which=50):
    if number == which:
        os._exit(1)
    return number


def touch_if(path):
    if path is not None:
        touch(path)


def kill_self_once(path):
    touch(path)
    with open(path) as file:
        if len(file.readlines()) == 1:
            kill_self()
