"""What the watchdog's thread does with a loop that is stuck: log where it is."""

import asyncio
import os
import sys
import threading
import traceback
import warnings
import weakref
from asyncio.log import logger
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._loop import EventLoop
    from ._native import Watchdog

VARIABLE = "TREADLE_WATCHDOG"

_watchdogs: "weakref.WeakSet[_Thread]" = weakref.WeakSet()


def _stop_all() -> None:
    for thread in list(_watchdogs):
        thread.watchdog.stop()


# Before the threads are joined: loops that nobody closed must not hold up the exit.
threading._register_atexit(_stop_all)  # type: ignore[attr-defined]


def _task_of(loop: "EventLoop | None") -> str:
    """What the loop runs, in words."""
    task = None if loop is None else asyncio.current_task(loop)
    return "A callback" if task is None else f"{task!r}"


def _thread_name(ident: int) -> str:
    for thread in threading.enumerate():
        if thread.ident == ident:
            return thread.name
    return str(ident)


class _Thread(threading.Thread):
    def __init__(self, loop: "EventLoop", watchdog: "Watchdog") -> None:
        super().__init__(name="treadle-watchdog")
        self.watchdog = watchdog
        self._loop = weakref.ref(loop)

    def run(self) -> None:
        while (overdue := self.watchdog.wait()) is not None:
            try:
                self._report(*overdue)
            except Exception:  # somebody's repr(), a logging handler, ...
                logger.exception("treadle's watchdog could not report")

    def _report(self, ident: int, seconds: float) -> None:
        # first of all: the loop goes on meanwhile, if it is not stuck for good
        frame = sys._current_frames().get(ident)
        stack = "" if frame is None else "".join(traceback.format_stack(frame))
        del frame
        stuck, kept_gil, seconds = self.watchdog.acknowledge()
        held = ", keeping the GIL" if kept_gil else ""
        name = _thread_name(ident)
        if stuck:
            logger.warning(
                "%s has blocked the event loop for %.3f seconds%s; thread %s is here:\n%s",
                _task_of(self._loop()),
                seconds,
                held,
                name,
                stack.rstrip(),
            )
        else:
            logger.warning(
                "A callback that has just ended blocked the event loop for %.3f seconds%s; thread %s",
                seconds,
                held,
                name,
            )


def watch_over(loop: "EventLoop", seconds: float | None) -> None:
    """Start, replace or stop the watchdog of a loop."""
    watchdog = loop._watch_over(seconds)
    if watchdog is None:
        return
    thread = _Thread(loop, watchdog)
    _watchdogs.add(thread)
    try:
        thread.start()
    except BaseException:
        loop._watch_over(None)
        raise


def watch_over_by_environment(loop: "EventLoop") -> None:
    """Do what the environment variable TREADLE_WATCHDOG says, if it is set."""
    value = os.environ.get(VARIABLE)
    if not value:
        return
    try:
        watch_over(loop, float(value))
    except ValueError:
        warnings.warn(f"{VARIABLE}={value!r} is not a number of seconds", RuntimeWarning, stacklevel=3)
