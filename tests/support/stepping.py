"""Cancels an operation at each of its await points, and watches descriptors meanwhile."""

import asyncio
import os
import time
import types

GUARDED_TURNS = 6


def descriptors():
    """The numbers of the open descriptors."""
    return {int(name) for name in os.listdir("/proc/self/fd") if os.path.lexists(f"/proc/self/fd/{name}")}


def arrange_cancel(task, awaited, late):
    """Cancel `task` in the next turn, or `late`: when what it awaits is done, but before the task gets to know."""
    loop = asyncio.get_running_loop()
    if late and isinstance(awaited, asyncio.Future):
        awaited.add_done_callback(lambda _: task.cancel())
    else:
        loop.call_soon(task.cancel)


@types.coroutine
def stepped(coroutine, at, late, reached):
    """Run `coroutine`; its task is cancelled at its `at`-th suspension (from 1), which then is noted in `reached`."""
    suspensions = 0
    step, value = coroutine.send, None
    while True:
        try:
            awaited = step(value)
        except StopIteration as stop:
            return stop.value
        suspensions += 1
        if suspensions == at:
            reached.append(at)
            arrange_cancel(asyncio.current_task(), awaited, late)
        try:
            value = yield awaited
            step = coroutine.send
        except BaseException as error:
            step, value = coroutine.throw, error


async def run_stepped(coroutine, at, late, reached):
    return await stepped(coroutine, at, late, reached)


class Guards:
    """Takes the free descriptor numbers, turn by turn: what is closed twice is then one of them."""

    def __init__(self):
        self.taken = []
        self.file = os.stat(os.devnull)

    def take(self):
        self.taken.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))

    def give_back(self):
        for fd in self.taken:
            assert os.path.samestat(os.fstat(fd), self.file), f"descriptor {fd} was closed by somebody else"
        while self.taken:
            os.close(self.taken.pop())


async def cancel_at(make, dispose, at, late):
    """Start make(), cancel it at the `at`-th suspension (0: before it starts); whether it was there to be cancelled.

    A result that comes nevertheless is passed to dispose()."""
    reached = []
    task = asyncio.ensure_future(run_stepped(make(), at, late, reached))
    guards = Guards()
    if at == 0:
        reached.append(0)
        await asyncio.sleep(0) if late else None
        task.cancel()
    try:
        done, _ = await asyncio.wait([task], timeout=60)
        assert done, f"hangs when it is cancelled at step {at}"
        for _ in range(GUARDED_TURNS):
            guards.take()
            await asyncio.sleep(0)
        if not task.cancelled():
            result = task.result()
            await dispose(result)
    finally:
        guards.give_back()
    return bool(reached)


async def settled(expected, limit=3):
    """Wait until no descriptors are open but `expected`; those that are left too many or missing."""
    deadline = time.monotonic() + limit
    while (now := descriptors()) != expected and time.monotonic() < deadline:
        await asyncio.sleep(0.001)
    return now ^ expected
