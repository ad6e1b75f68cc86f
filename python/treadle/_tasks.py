"""Native tasks: find out whether asyncio's are laid out as the native side expects.

Samples of asyncio's own classes are brought into known states, and what lies in them is
compared, as numbers, with what their attributes say.  Only if all of it is as expected are
native tasks and futures used; else the loop makes asyncio's own.  The environment variable
``TREADLE_TASKS=0`` has it make those in any case.
"""

import _asyncio
import asyncio
import contextvars
import os
import sys
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from . import _native

if TYPE_CHECKING:
    from ._native import LoopFuture as LoopFuture
    from ._native import Task as Task

_POINTER = 8
_EMPTY = {
    **dict.fromkeys(("callback0", "context0", "callbacks", "exception", "exception_tb"), 0),
    **dict.fromkeys(("result", "source_tb", "cancel_msg", "cancelled_exc", "state"), 0),
    **dict.fromkeys(("log_tb", "blocking"), 0),
}
_CANCELLED = 1
_FINISHED = 2


class _Loop:
    """As much of a loop as samples need; keeps what they schedule."""

    def __init__(self) -> None:
        self.scheduled: list[Any] = []

    def get_debug(self) -> bool:
        return False

    def call_soon(self, callback: Any, *args: Any, context: Any = None) -> None:
        self.scheduled.append(callback)

    def call_exception_handler(self, context: Any) -> None:
        pass


async def _nothing() -> None:
    pass


def _agrees(found: dict[str, int] | None, expected: dict[str, int]) -> bool:
    return found is not None and all(
        found.get(name) == value for name, value in expected.items()
    )


def _future_agrees() -> bool:
    loop, error, answer = _Loop(), ValueError(), object()
    context, first = contextvars.Context(), repr

    def look(future: Any, **expected: int) -> bool:
        return _agrees(
            _native._look_at_future(future), {**_EMPTY, "loop": id(loop), **expected}
        )

    future: asyncio.Future[Any] = asyncio.Future(loop=loop)  # type: ignore[arg-type]
    good = look(future)
    future._asyncio_future_blocking = True
    future.add_done_callback(first, context=context)
    good = good and look(future, callback0=id(first), context0=id(context), blocking=1)
    future._asyncio_future_blocking = False
    future.set_result(answer)
    good = good and look(future, result=id(answer), state=_FINISHED)
    failed: asyncio.Future[Any] = asyncio.Future(loop=loop)  # type: ignore[arg-type]
    failed.set_exception(error)
    good = good and look(failed, exception=id(error), state=_FINISHED, log_tb=1)
    failed.exception()
    cancelled: asyncio.Future[Any] = asyncio.Future(loop=loop)  # type: ignore[arg-type]
    cancelled.cancel(answer)
    return good and look(cancelled, cancel_msg=id(answer), state=_CANCELLED)


def _many_callbacks_agree() -> bool:
    future: asyncio.Future[Any] = asyncio.Future(loop=_Loop())  # type: ignore[arg-type]
    future.add_done_callback(repr)
    future.add_done_callback(str)
    found = _native._look_at_future(future)
    # asyncio shows a copy of this list, so only that there is one can be told
    return found is not None and found["callback0"] == id(repr) and found["callbacks"] != 0


def _awaiters_agree(task: Any, loop: Any) -> bool:
    """From 3.14 on futures know who awaits them."""
    add = getattr(_asyncio, "future_add_to_awaited_by", None)
    future: asyncio.Future[Any] = asyncio.Future(loop=loop)
    found = _native._look_at_future(future)
    if add is None or found is None:
        return found is not None and "awaited_by" not in found
    add(future, task)
    return _agrees(_native._look_at_future(future), {"awaited_by": id(task), "is_task": 0}) and (
        _agrees(_native._look_at_task(task), {"awaited_by": 0, "is_task": 1})
    )


def _make(loop: Any, coro: Any, **kwargs: Any) -> Any:
    """A task of asyncio's own that will never run, and does not complain about that."""
    task: Any = asyncio.Task(coro, loop=loop, **kwargs)
    task._log_destroy_pending = False
    return task


def _task_agrees(task: Any, loop: Any, coro: Any, context: Any) -> bool:
    expected = {
        **_EMPTY,
        **{"loop": id(loop), "coro": id(coro), "name": id("sample"), "context": id(context)},
        **{"fut_waiter": 0, "cancels": 0, "must_cancel": 0, "log_destroy_pending": 0},
    }
    good = _agrees(_native._look_at_task(task), expected)
    task._log_destroy_pending = True
    good = good and _agrees(_native._look_at_task(task), {**expected, "log_destroy_pending": 1})
    task._log_destroy_pending = False
    message = object()
    task.cancel(message)
    more = {"cancel_msg": id(message), "must_cancel": 1, "cancels": 1}
    return good and _agrees(_native._look_at_task(task), {**expected, **more})


def _step_agrees(callback: Any, task: Any) -> bool:
    """What a task schedules: the task and what is to be thrown lie behind the header."""
    header = object.__basicsize__ // _POINTER
    return type(callback).__basicsize__ == (header + 2) * _POINTER and (
        _native._look_at_words(callback, header, 2) == (id(task), 0)
    )


def _values(task: Any) -> bytes:
    """The first bytes behind a task, where the interpreter may keep its attributes' values."""
    word: int = _native._look_at_words(task, task.__class__.__basicsize__ // _POINTER, 1)[0]
    return (word & 0xFFFFFFFF).to_bytes(4, sys.byteorder)


def _find_extras(loop: Any, coro: Any) -> tuple[int, int, bool] | None:
    """Where tasks have weak references and dictionary, in bytes, once they have them.

    The last says that they have no dictionary at first, but places for values behind them.
    """
    task = _make(loop, coro, name="sample")
    weak = task.__class__.__weakrefoffset__
    place = task.__class__.__dictoffset__
    managed = place < 0  # by the interpreter, next to the weak references
    if managed:
        place = weak + _POINTER

    def words() -> tuple[int, int]:
        first = min(weak, place) // _POINTER
        found = _native._look_at_words(task, first, 2)
        return (found[0], found[1]) if weak < place else (found[1], found[0])

    # before 3.14 there is a weak reference from the start: a set of all tasks has it
    if abs(weak - place) != _POINTER or words()[1] != 0:
        return None
    reference = weakref.ref(task)
    if words() != (id(reference), 0):
        return None
    fresh = _values(task) if managed else b""
    task.attribute = None
    if words()[1] != 0:
        return weak, place, False
    # capacity, how many, whether here, whether valid
    if not managed or fresh[1:] != b"\0\1\1" or _values(task) != fresh[:1] + b"\1\1\1":
        return None
    return (weak, place, True) if _native._make_dict(task) and words()[1] != 0 else None


def _close(*coroutines: Any) -> None:
    for coro in coroutines:
        coro.close()


def _try_to_enable(loop_class: type, loop: Any) -> bool:
    """Look at the samples; `loop` is the running one."""
    context, samples = contextvars.Context(), _Loop()
    coros = [_nothing() for _ in range(3)]
    try:
        extras = _find_extras(samples, coros[0])
        samples.scheduled.clear()
        if extras is None or not (_future_agrees() and _many_callbacks_agree()):
            return False
        task = _make(samples, coros[1], name="sample", context=context)
        if not (
            _task_agrees(task, samples, coros[1], context)
            and _step_agrees(samples.scheduled[0], task)
            and _awaiters_agree(task, samples)
        ):
            return False
        make: Callable[[], Any] = lambda: _make(samples, coros[2])  # noqa: E731
        return _enter_and_init(loop_class, loop, task, make, extras)
    finally:
        _close(*coros)
        samples.scheduled.clear()  # which refers to the samples: they would be seen as tasks of the program


def _enter_and_init(
    loop_class: type,
    loop: Any,
    task: Any,
    make: Callable[[], Any],
    extras: tuple[int, int, bool],
) -> bool:
    swap = getattr(_asyncio, "_swap_current_task", None)
    if swap is None:  # before 3.12 only what is in a dictionary, which need not be found
        return _native._init_tasks(loop_class, _asyncio, loop, task, make, *extras)
    before = swap(loop, task)
    try:
        return _native._init_tasks(loop_class, _asyncio, loop, task, make, *extras)
    finally:
        swap(loop, before)


def enable(loop_class: type) -> bool:
    """Have the loops of `loop_class` make native tasks and futures, if that is possible."""
    if os.environ.get("TREADLE_TASKS") == "0" or asyncio.Task is not _asyncio.Task:
        return False
    before = asyncio._get_running_loop()
    loop = _Loop() if before is None else before
    asyncio._set_running_loop(loop)  # type: ignore[arg-type]
    try:
        return _try_to_enable(loop_class, loop)
    finally:
        asyncio._set_running_loop(before)


def __getattr__(name: str) -> Any:
    """Task and LoopFuture: the native classes, or asyncio's where those are used.

    The latter calls itself Future, as asyncio's, for what it says in messages.
    """
    if name not in ("Task", "LoopFuture", "Future"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import _loop  # noqa: F401 - makes them

    if name == "Task":
        return getattr(_native, "Task", asyncio.Task)
    return getattr(_native, "LoopFuture", asyncio.Future)
