"""Locks, events and queues for coroutines and threads at the same time.

Each class is asyncio's, done natively, so ``isinstance()`` holds and what is said of the
asyncio class holds too. Beyond that an object may be used from any number of threads and
event loops at once: methods that end in ``_sync`` wait in a thread, all others may be called
from anywhere.
"""

import asyncio

from . import _native

_native._init_sync()


class Lock(_native.LockBase, asyncio.Lock):
    """A lock; as asyncio.Lock. ``async with`` it in coroutines, ``with`` it in threads.

    Those who wait are served in the order in which they came, coroutines and threads
    alike. Raises RuntimeError instead of waiting where that would hold up the event loop
    of the thread: ``with lock`` inside a coroutine.
    """

    __slots__ = ()


class Semaphore(_native.SemaphoreBase, asyncio.Semaphore):
    """A counter that acquire() takes 1 off, waiting while it is 0; as asyncio.Semaphore.

    ``value`` is what it starts with; ValueError if that is negative.
    """

    __slots__ = ()


class BoundedSemaphore(_native.BoundedSemaphoreBase, Semaphore, asyncio.BoundedSemaphore):
    """A semaphore that raises ValueError in release() rather than exceed its first value."""

    __slots__ = ()


class Event(_native.EventBase, asyncio.Event):
    """A flag to wait for; as asyncio.Event. Threads wait by wait_sync()."""

    __slots__ = ()
