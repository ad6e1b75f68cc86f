"""Every order in which a few things can happen to an Event, a Condition, a Barrier and their kin.

In one loop each order leaves the same trace with treadle's class as with asyncio's. Between two
loops and the thread that runs neither, each order keeps the promises of the class; what loops do
is taken apart into single turns, so that grants are under way, delivered and cancelled in every
order too.
"""

import asyncio
import itertools
import sys

import pytest
import treadle

# How asyncio's semaphores and conditions pass on what a cancelled task was given was mended in 3.13.
mended = pytest.mark.skipif(sys.version_info < (3, 13), reason="asyncio's own passes on less before 3.13")


# ---- in one loop -----------------------------------------------------------------------


class Scene:
    """An object, and what can be done: wait, cancel a waiter, a turn of the loop, and the methods."""

    def __init__(self, make, kit):
        self.object, self.waiters, self.trace = make(kit), [], []

    async def wait(self):
        number = len(self.trace)
        try:
            result = await self.operation()
        except BaseException as error:
            result = type(error).__name__
        self.trace.append((number, result))

    def operation(self):
        return self.object.wait()

    def start(self):
        self.waiters.append(asyncio.get_running_loop().create_task(self.wait()))

    def cancel_first(self):
        self.cancel(0)

    def cancel_last(self):
        self.cancel(-1)

    def cancel(self, which):
        alive = [task for task in self.waiters if not task.done()]
        if alive:
            alive[which].cancel()

    async def play(self, steps):
        for step in steps:
            if step == "turn":
                await asyncio.sleep(0)
            else:
                try:
                    result = getattr(self, step, None) or getattr(self.object, step)
                    result = result()
                    if asyncio.iscoroutine(result):
                        result = await result
                    self.trace.append((step, result))
                except (RuntimeError, ValueError) as error:
                    self.trace.append((step, str(error)))
        for _ in range(6):
            await asyncio.sleep(0)
        self.trace.append([task.done() for task in self.waiters])
        for task in self.waiters:
            task.cancel()
        for _ in range(6):
            await asyncio.sleep(0)
        return self.trace


class ConditionScene(Scene):
    async def operation(self):
        async with self.object:
            return await self.object.wait()

    def notify(self):
        # the lock is free between turns unless a waiter is about to take it
        if not self.object.locked():
            self.hold(self.object.notify)
        return self.object.locked()

    def notify_all(self):
        if not self.object.locked():
            self.hold(self.object.notify_all)

    def hold(self, function):
        acquire = self.object.acquire()
        try:
            acquire.send(None)
        except StopIteration:
            function()
            self.object.release()
        finally:
            acquire.close()


class LockScene(Scene):
    async def operation(self):
        await self.object.acquire()
        return "acquired"


ONE_LOOP = {
    "event": (Scene, lambda kit: kit.Event(), ("start", "cancel_first", "cancel_last", "set", "clear", "turn"), 6),
    "barrier": (Scene, lambda kit: kit.Barrier(2), ("start", "cancel_first", "reset", "abort", "turn"), 6),
    "lock": (LockScene, lambda kit: kit.Lock(), ("start", "cancel_first", "cancel_last", "release", "turn"), 6),
    "condition": (
        ConditionScene,
        lambda kit: kit.Condition(),
        ("start", "cancel_first", "notify", "notify_all", "turn"),
        6,
    ),
    "semaphore": (
        LockScene,
        lambda kit: kit.Semaphore(1),
        ("start", "cancel_first", "cancel_last", "release", "turn"),
        6,
    ),
}


def orders(steps, length):
    """All that begin with a waiter and have no two turns in a row that nothing is between."""
    for rest in itertools.product(steps, repeat=length - 1):
        order = ("start", *rest)
        if ("turn", "turn") not in itertools.pairwise(order):
            yield order


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[mended] * (name in ("condition", "semaphore"))) for name in ONE_LOOP]
)
def test_in_one_loop_as_asyncios(name):
    scene, make, steps, length = ONE_LOOP[name]

    async def compare():
        for order in orders(steps, length):
            expected = await scene(make, asyncio).play(order)
            assert await scene(make, treadle).play(order) == expected, order

    with asyncio.Runner(loop_factory=treadle.new_event_loop) as runner:
        runner.run(compare())


# ---- between two loops and a thread that runs neither ---------------------------------------


class Loops:
    """Two loops that are turned by hand."""

    def __init__(self):
        self.pair = [treadle.new_event_loop(), treadle.new_event_loop()]

    def turn(self, which):
        loop = self.pair[which]
        loop.call_soon(loop.stop)
        loop.run_forever()

    def inside(self, which, function):
        """Call it in a callback of a loop, which takes a turn for that."""
        self.pair[which].call_soon(function)
        self.turn(which)

    def settle(self):
        for _ in range(8):
            self.turn(0)
            self.turn(1)

    def close(self):
        for loop in self.pair:
            loop.close()


@pytest.fixture
def loops():
    loops = Loops()
    yield loops
    loops.close()


class Waiting:
    """A task of one of the loops, and how it ended."""

    def __init__(self, loops, which, coroutine):
        self.loops, self.which = loops, which
        self.task = loops.pair[which].create_task(coroutine)
        self.cancelled = False
        loops.turn(which)

    def cancel(self):
        self.cancelled = not self.task.done()
        self.loops.inside(self.which, self.task.cancel)

    @property
    def passed(self):
        return self.task.done() and not self.task.cancelled() and self.task.exception() is None


STEPS = ("wait 0", "wait 1", "turn 0", "turn 1", "act", "act 0", "act 1")


def scripts(length, extra=()):
    for script in itertools.product((*STEPS, *extra), repeat=length):
        if sum(step.startswith("wait") for step in script) in (1, 2, 3):
            yield script


def play(loops, script, wait, acts):
    """Play one script; returns who waited, in order. `acts` maps the first word of a step to what it does."""
    waiting = []
    for step in script:
        word, _, where = step.partition(" ")
        if word == "wait":
            waiting.append(Waiting(loops, int(where), wait()))
        elif word == "turn":
            loops.turn(int(where))
        elif word == "cancel":
            for each in [each for each in waiting if not each.task.done() and not each.cancelled][:1]:
                each.cancel()
        elif where:
            loops.inside(int(where), lambda: acts[word](waiting))
        else:
            acts[word](waiting)
    loops.settle()
    return waiting


def finish(loops, waiting):
    for each in waiting:
        each.cancel()
    loops.settle()
    assert all(each.task.done() for each in waiting)


def test_event_between_loops(loops):
    """Whoever waits when it is set goes on, wherever that is done; nobody else does."""
    for script in scripts(4, ("clear", "cancel")):
        event, woken = treadle.Event(), set()

        def act(waiting, event=event, woken=woken):
            event.set()
            woken.update(map(id, waiting))

        waiting = play(loops, script, event.wait, {"act": act, "clear": lambda _, event=event: event.clear()})
        for each in waiting:
            expected = each.cancelled or id(each) in woken or event.is_set() or each.passed
            assert each.task.done() == expected, script
            assert each.passed or each.cancelled or not expected, script
        assert len(event._waiters) == sum(not each.task.done() for each in waiting)
        finish(loops, waiting)
        assert not event._waiters


def test_condition_between_loops(loops):
    """A notification wakes one that waits, the first to come; it is neither lost nor used twice."""
    for script in scripts(4):
        lock, notified = treadle.Lock(), []
        condition = treadle.Condition(lock)

        async def wait(condition=condition):
            async with condition:
                await condition.wait()

        def act(waiting, lock=lock, condition=condition, notified=notified):
            if not lock.acquire_sync(timeout=0):
                return  # somebody is about to get it
            notified.append(len(waiting))
            condition.notify()
            lock.release()

        waiting = play(loops, script, wait, {"act": act})
        expected = 0  # of those who had come by then and were not notified before, one a time
        for there in notified:
            expected += expected < there
        assert [each.passed for each in waiting] == [n < expected for n in range(len(waiting))], script
        left = [each for each in waiting if not each.task.done()]
        assert len(left) == len(condition._waiters) and not condition.locked(), script
        for each in left:  # each notification wakes exactly one
            act(waiting)
            loops.settle()
        assert all(each.passed for each in waiting), script
        finish(loops, waiting)


def test_a_notified_task_that_is_cancelled_passes_it_on(loops):
    """At whatever point the first to be notified is cancelled, another one goes on in its place."""
    between = ("turn 0", "turn 1", "cancel")
    for where, first, second in itertools.product(("", " 0", " 1"), (0, 1), (0, 1)):
        for rest in itertools.permutations(between):
            lock = treadle.Lock()
            condition = treadle.Condition(lock)

            async def wait(condition=condition):
                async with condition:
                    await condition.wait()

            def act(_, lock=lock, condition=condition):
                assert lock.acquire_sync(timeout=0)
                condition.notify()
                lock.release()

            script = (f"wait {first}", f"wait {second}", "act" + where, *rest)
            waiting = play(loops, script, wait, {"act": act})
            assert sum(each.passed for each in waiting) == 1, script
            finish(loops, waiting)


def test_barrier_between_loops(loops):
    """As many as it takes go on together, each with a number of its own; abort() and reset() break it for all."""
    for script in scripts(5, ("cancel",)):
        if "act 0" in script or "act 1" in script:
            continue
        barrier, positions = treadle.Barrier(2), []

        async def wait(barrier=barrier, positions=positions):
            positions.append(await barrier.wait())

        waiting = play(loops, script, wait, {"act": lambda _: None})
        left = [each for each in waiting if not each.task.done()]
        assert len(left) == barrier.n_waiting <= 1, script
        assert all(each.passed or each.cancelled for each in waiting if each.task.done()), script
        if not any(each.cancelled for each in waiting):
            assert len(positions) == len(waiting) // 2 * 2 == 2 * positions.count(1), script
        end = asyncio.run_coroutine_threadsafe(barrier.abort(), loops.pair[0])
        loops.settle()
        assert end.done() and barrier.broken and barrier.n_waiting == 0
        for each in left:
            assert isinstance(each.task.exception(), asyncio.BrokenBarrierError), script


def test_semaphore_and_lock_between_loops(loops):
    """Each release lets one in, the first to come; one that gives up meanwhile hands it on."""
    for make, script in itertools.product((treadle.Lock, lambda: treadle.Semaphore(1)), scripts(4, ("cancel",))):
        thing, released = make(), []
        assert thing.acquire_sync(timeout=0)

        def act(waiting, thing=thing, released=released):
            if not released or sum(each.passed for each in waiting) == len(released):
                released.append(thing.release())

        waiting = play(loops, script, thing.acquire, {"act": act})
        passed = sum(each.passed for each in waiting)
        free = thing.acquire_sync(timeout=0)
        assert passed + free == len(released), script
        assert not free or not any(not each.task.done() for each in waiting), script
        finish(loops, waiting)
