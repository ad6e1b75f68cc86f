"""Locks, events and queues for coroutines and threads at the same time.

Each class is asyncio's, done natively, so ``isinstance()`` holds and what is said of the
asyncio class holds too. Beyond that an object may be used from any number of threads and
event loops at once: methods that end in ``_sync`` wait in a thread, all others may be called
from anywhere.
"""

import asyncio
import sys
from asyncio import BrokenBarrierError as BrokenBarrierError
from asyncio import QueueEmpty as QueueEmpty
from asyncio import QueueFull as QueueFull
from typing import TypeVar

from . import _native

_T = TypeVar("_T")

if sys.version_info >= (3, 13):
    from asyncio import QueueShutDown as QueueShutDown
else:

    class QueueShutDown(Exception):
        """Raised when putting on to or getting from a shut-down Queue."""


_native._init_sync(QueueShutDown)


class Lock(_native.LockBase, asyncio.Lock):
    """A lock; as asyncio.Lock. ``async with`` it in coroutines, ``with`` it in threads.

    Those who wait are served in the order in which they came, coroutines and threads
    alike. Raises RuntimeError instead of waiting where that would hold up the event loop
    of the thread: ``with lock`` inside a coroutine.
    """

    __slots__ = ()


_native._set_lock_class(Lock)


class RLock(_native.RLockBase):
    """A lock that whoever holds it may lock again; it is unlocked by as many releases.

    It belongs to the task that acquired it, or to the thread where no task runs. The name is
    that of threading.RLock; asyncio has none.
    """

    __slots__ = ("__weakref__",)


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


class Condition(_native.AsyncConditionBase, asyncio.Condition):
    """A lock, and a way to wait until somebody who holds it says so; as asyncio.Condition.

    ``lock`` is the lock to use, by default a Lock of its own. For threads it must be a
    treadle.Lock: ``with condition``, wait_sync(), wait_for_sync().
    """

    __slots__ = ()


class Barrier(_native.BarrierBase, asyncio.Barrier):  # type: ignore[misc]
    """A point that ``parties`` coroutines and threads pass together; as asyncio.Barrier."""

    __slots__ = ()


class Queue(_native.QueueBase[_T], asyncio.Queue[_T]):
    """First in, first out; as asyncio.Queue, shutdown() on every version.

    ``maxsize`` is the number of items from which on put() waits; 0 or less is no limit.
    Threads use put_sync(), get_sync() and join_sync(). As long as one thread uses it, it
    behaves exactly as asyncio's; from the first use by another on, an item that was put for
    somebody who waits is kept for him.
    """

    __slots__ = ()


class LifoQueue(_native.LifoQueueBase[_T], Queue[_T], asyncio.LifoQueue[_T]):
    """A queue that gives the item that was put last; as asyncio.LifoQueue."""

    __slots__ = ()


class PriorityQueue(_native.PriorityQueueBase[_T], Queue[_T], asyncio.PriorityQueue[_T]):  # type: ignore[type-var]
    """A queue that gives the smallest item; as asyncio.PriorityQueue."""

    __slots__ = ()
