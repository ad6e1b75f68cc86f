"""install(patch=True) and uninstall(): each test in its own interpreter, asyncio's modules are everybody's."""

import inspect

import treadle
from support import run_script


def words(body, *options):
    return run_script(body, options=options).split()


SNAPSHOT = """
import asyncio, importlib, sys
modules = [asyncio] + [importlib.import_module(f"asyncio.{name}") for name in ("tasks", "timeouts", "taskgroups", "locks", "queues")]
def snapshot():
    return [(module.__name__, sorted((name, id(value)) for name, value in vars(module).items())) for module in modules]
"""

PROGRAM = """
import asyncio, collections
async def main():
    lock, queue, event = asyncio.Lock(), asyncio.Queue(2), asyncio.Event()
    seen = []
    async def put():
        for number in range(5):
            await queue.put(number)
            async with lock:
                await asyncio.sleep(0)
        event.set()
    async def get():
        for _ in range(5):
            seen.append(await queue.get())
    async with asyncio.TaskGroup() as group:
        group.create_task(put())
        group.create_task(get())
        await event.wait()
    try:
        async with asyncio.timeout(0.001):
            await asyncio.sleep(100, "never")
    except TimeoutError:
        seen.append("late")
    seen += await asyncio.gather(asyncio.sleep(0, "a"), asyncio.wait_for(asyncio.sleep(0.001, "b"), 5))
    done, pending = await asyncio.wait([asyncio.ensure_future(asyncio.sleep(0, "c"))])
    seen += [task.result() for task in done]
    for each in asyncio.as_completed([asyncio.sleep(0, "d")]):
        seen.append(await each)
    seen.append(await asyncio.shield(asyncio.sleep(0, "e")))
    print(*seen)
"""


def test_puts_treadles_there():
    found = words(
        """
        import asyncio, asyncio.tasks, asyncio.queues, treadle
        treadle.install(patch=True)
        for name in ("Timeout", "timeout", "timeout_at", "TaskGroup", "sleep", "Barrier", "BoundedSemaphore",
                     "Condition", "Event", "Lock", "Semaphore", "LifoQueue", "PriorityQueue", "Queue"):
            assert getattr(asyncio, name) is getattr(treadle, name), name
        assert asyncio.tasks.sleep is asyncio.sleep and asyncio.queues.Queue is treadle.Queue
        assert asyncio.locks.Lock is treadle.Lock and asyncio.taskgroups.TaskGroup is treadle.TaskGroup
        assert asyncio.timeouts.timeout is treadle.timeout
        from treadle import _functions
        assert asyncio.gather is asyncio.tasks.gather is _functions.gather
        async def main():
            return type(asyncio.get_running_loop()).__qualname__
        print(asyncio.run(main()))
        """
    )
    assert found == ["EventLoop"]


def test_takes_them_out_exactly():
    assert words(
        SNAPSHOT
        + """
before = snapshot()
import treadle, treadle._sync, treadle._scopes, treadle._functions
assert snapshot() == before
for _ in range(2):
    policy = asyncio.events._event_loop_policy
    treadle.install(patch=True)
    assert snapshot() != before
    treadle.install(patch=True)
    treadle.install()
    treadle.uninstall()
    assert snapshot() == before
    assert asyncio.events._event_loop_policy is policy
    treadle.uninstall()
    assert snapshot() == before
    async def main():
        return type(asyncio.get_running_loop()).__module__
    print(asyncio.run(main()))
"""
    ) == ["asyncio.unix_events"] * 2


def test_without_patch_nothing_changes():
    assert words(
        SNAPSHOT
        + """
before = snapshot()
import treadle
treadle.install()
assert snapshot() == before
treadle.uninstall()
print("same")
"""
    ) == ["same"]


def test_what_somebody_else_put_there_since_is_left():
    assert words(
        """
        import asyncio, treadle
        treadle.install(patch=True)
        async def sleep(*args):
            pass
        asyncio.sleep = sleep
        policy = treadle.EventLoopPolicy()
        getattr(asyncio.events, "_set_event_loop_policy", asyncio.events.set_event_loop_policy)(policy)
        treadle.uninstall()
        assert asyncio.sleep is sleep
        assert asyncio.tasks.sleep.__module__ == "asyncio.tasks"
        assert asyncio.events._event_loop_policy is policy
        print("left")
        """
    ) == ["left"]


def test_programs_run_the_same():
    expected = "0 1 2 3 4 late a b c d e".split()
    run = "\nasyncio.run(main())\n"
    assert words(PROGRAM + run) == expected
    assert words("import treadle\ntreadle.install(patch=True)\n" + PROGRAM + run) == expected
    # on asyncio's own loop too
    patch = "import treadle, asyncio\nfrom treadle import _patch\n_patch.patch()\n"
    assert words(patch + PROGRAM + run) == expected
    back = "import treadle\ntreadle.install(patch=True)\ntreadle.uninstall()\n"
    assert words(back + PROGRAM + run, "-W", "error", "-X", "dev") == expected


def test_mocks_know_coroutine_functions():
    assert words(
        """
        import asyncio, inspect, treadle
        from unittest import mock
        treadle.install(patch=True)
        with mock.patch("asyncio.sleep") as sleep:
            async def main():
                await asyncio.sleep(1000)
            asyncio.run(main())
        sleep.assert_awaited_once_with(1000)
        print(inspect.iscoroutinefunction(asyncio.sleep), asyncio.sleep.__name__)
        """
    ) == ["True", "sleep"]


def test_subclasses_of_what_is_there():
    assert words(
        """
        import asyncio, treadle
        class Before(asyncio.Queue):
            pass
        treadle.install(patch=True)
        class Reversed(asyncio.Queue):
            def _get(self):
                return self._queue.pop()
        class Group(asyncio.TaskGroup):
            pass
        async def main():
            for queue in Before(), Reversed():
                for number in range(3):
                    queue.put_nowait(number)
                print(await queue.get())
            async with Group() as group:
                task = group.create_task(asyncio.sleep(0, "group"))
            print(task.result())
        asyncio.run(main())
        """
    ) == ["0", "2", "group"]


def test_signatures():
    assert str(inspect.signature(treadle.install)).startswith("(*, patch: bool = False)")
    assert not inspect.signature(treadle.uninstall).parameters
