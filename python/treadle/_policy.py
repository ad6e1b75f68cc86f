"""EventLoopPolicy, install() and uninstall(): treadle's loop for programs that ask asyncio for one."""

from asyncio import events, unix_events
from typing import Any

from . import _patch
from ._loop import EventLoop

# asyncio's own under the name that stays quiet: from 3.14 on the public names of
# policies warn, and so would importing this module.
_Base = unix_events._UnixDefaultEventLoopPolicy


class EventLoopPolicy(_Base):
    """asyncio's default policy with treadle's loop.

    For programs that select a loop by a policy. asyncio deprecates policies from 3.14
    on; ``asyncio.Runner(loop_factory=treadle.new_event_loop)`` needs none.
    """

    _loop_factory = EventLoop


# What install() has replaced: the policy that there was (None: asyncio's default) and ours.
_replaced: list[tuple[Any, EventLoopPolicy]] = []


def _set_policy(policy: Any) -> None:
    # from 3.14 on the public function warns
    set_policy = getattr(events, "_set_event_loop_policy", events.set_event_loop_policy)
    set_policy(policy)


def install(*, patch: bool = False) -> None:
    """Make treadle's loop the one that asyncio makes.

    From now on ``asyncio.run()``, ``asyncio.Runner()`` and ``asyncio.new_event_loop()``
    use treadle, in all threads, unless they are given a ``loop_factory``. Loops that
    exist already are left alone.

    With ``patch``, treadle's functions and classes take the place of asyncio's in asyncio's
    modules too: gather, sleep, timeout, timeout_at, TaskGroup, Lock, Event, Condition, Semaphore,
    BoundedSemaphore, Barrier and the queues. What was imported by name before (``from
    asyncio import sleep``), and objects that exist, stay as they are. uninstall() undoes all of it.
    """
    if not _replaced or events._event_loop_policy is not _replaced[-1][1]:  # type: ignore[attr-defined]
        before = events._event_loop_policy  # type: ignore[attr-defined]
        _set_policy(policy := EventLoopPolicy())
        _replaced.append((before, policy))
    if patch:
        _patch.patch()


def uninstall() -> None:
    """Undo what install() did; nothing if it was not called.

    What somebody else has put in the place of treadle's since is left there.
    """
    _patch.unpatch()
    while _replaced:
        before, policy = _replaced.pop()
        if events._event_loop_policy is policy:  # type: ignore[attr-defined]
            _set_policy(before)
