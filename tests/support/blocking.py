"""Threads that wait for a future."""

from support import start_thread

# A wait that must not be cut short may last this long; every test ends it much earlier.
LONG = 60.0


def blocked(impl, method, *args):
    """A pending future and a thread that is about to wait, or waits, in one of its methods."""
    future = impl.Future()
    return future, start_thread(getattr(future, method), *args)


def outcome_of(thread):
    thread.join(LONG)
    assert thread.outcome is not None, "the waiting thread was not woken"
    return thread.outcome


# Both with and without time to fall asleep: the outcome may come before, while or after the waiter blocks.
DELAYS = [0.0, 0.0005, 0.1]
