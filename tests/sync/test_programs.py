"""Random programs of tasks that lock, wait, put, take and cancel: the same trace with asyncio's objects and with treadle's.

TREADLE_EXAMPLES in the environment is how many programs to try.
"""

import asyncio
import os
import sys

import pytest
import treadle

hypothesis = pytest.importorskip("hypothesis")
from hypothesis import strategies as st  # noqa: E402

EXAMPLES = int(os.environ.get("TREADLE_EXAMPLES", "80"))
TURNS = 40
TASKS = 4

# How asyncio's semaphores and conditions pass on what a cancelled task was given was mended in 3.13.
mended = ["sem.acquire", "sem.release", "cond.wait", "cond.notify", "cond.acquire", "cond.release"]
plain = [
    *("sleep", "lock.acquire", "lock.release", "lock.with", "lock.locked", "event.wait", "event.set", "event.clear"),
    *("queue.get", "queue.put", "queue.get_nowait", "queue.put_nowait", "queue.qsize", "queue.join", "queue.task_done"),
    *("cancel", "repr", "timeout"),
]
KINDS = plain + (mended if sys.version_info >= (3, 13) else [])
STEP = st.tuples(st.sampled_from(KINDS), st.integers(0, TASKS - 1))
PROGRAM = st.lists(st.lists(STEP, min_size=1, max_size=8), min_size=2, max_size=TASKS)


class Machine:
    """Runs one program and writes down what happened, in order."""

    def __init__(self, kit):
        self.lock, self.sem, self.event = kit.Lock(), kit.Semaphore(1), kit.Event()
        self.cond, self.queue = kit.Condition(), kit.Queue(2)
        self.tasks, self.trace, self.count = [], [], 0

    async def step(self, kind, number):
        if kind == "sleep":
            return await asyncio.sleep(0)
        if kind == "cancel":
            return number < len(self.tasks) and self.tasks[number].cancel()
        if kind == "lock.with":
            async with self.lock:
                return await asyncio.sleep(0)
        if kind == "timeout":
            return await asyncio.wait_for(self.queue.get(), 0)
        if kind == "repr":
            return [repr(each).partition(" ")[2].partition("[")[2] for each in (self.lock, self.event)]
        name, _, method = kind.partition(".")
        arguments = ()
        if method.startswith("put"):
            self.count += 1
            arguments = (self.count,)
        result = getattr(getattr(self, name), method)(*arguments)
        return await result if asyncio.iscoroutine(result) else result

    async def task(self, name, steps):
        for kind, number in steps:
            try:
                result = await self.step(kind, number)
            except asyncio.CancelledError:
                self.trace.append((name, kind, "cancelled"))
                raise
            except Exception as error:
                result = repr(error)
            self.trace.append((name, kind, result))

    async def run(self, program):
        self.tasks += [asyncio.create_task(self.task(number, steps)) for number, steps in enumerate(program)]
        for turn in range(TURNS):
            await asyncio.sleep(0)
            self.trace.append(("turn", turn, self.lock.locked(), self.event.is_set(), self.queue.qsize()))
        for task in self.tasks:
            task.cancel()
        for _ in range(TURNS):
            await asyncio.sleep(0)
        # a task that cannot get its condition's lock again outlives its cancellation
        self.trace.append([(task.done(), task.done() and task.cancelled()) for task in self.tasks])
        for held in self.lock, self.cond:
            for _ in range(TURNS):
                if held.locked():
                    held.release()
                await asyncio.sleep(0)
        assert all(task.done() for task in self.tasks)
        return self.trace


def traced(factory, kit, program):
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(Machine(kit).run(program))


@hypothesis.settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(hypothesis.HealthCheck))
@hypothesis.given(PROGRAM)
def test_same_trace(program):
    expected = traced(asyncio.SelectorEventLoop, asyncio, program)
    assert traced(asyncio.SelectorEventLoop, treadle, program) == expected
    assert traced(treadle.new_event_loop, treadle, program) == expected
