"""EventLoopPolicy and install(): treadle's loop for programs that ask asyncio for one."""

from asyncio import events, unix_events

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


def install() -> None:
    """Make treadle's loop the one that asyncio makes.

    From now on ``asyncio.run()``, ``asyncio.Runner()`` and ``asyncio.new_event_loop()``
    use treadle, in all threads, unless they are given a ``loop_factory``. Loops that
    exist already are left alone.
    """
    # from 3.14 on the public function warns
    set_policy = getattr(events, "_set_event_loop_policy", events.set_event_loop_policy)
    set_policy(EventLoopPolicy())
