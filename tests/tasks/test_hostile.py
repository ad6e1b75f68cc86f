"""Code that runs in the middle of what is done to tasks and futures, and changes them or ends them there."""

import asyncio
import collections.abc
import gc
import sys
import types
import weakref

import pytest
import treadle


# CPython's own set_result(), and cancel(), which futures of ours inherit, crash in these tests before that.
STOCK_SURVIVES = sys.version_info >= (3, 13, 1) or (3, 12, 8) <= sys.version_info < (3, 13)


def skip_if_stock_crashes(stock):
    if stock and not STOCK_SURVIVES:
        pytest.skip("this CPython's own code crashes")


def can_be_made_anew():
    """Whether a future may be initialised again, which CPython 3.15 refuses."""
    loop = asyncio.SelectorEventLoop()
    future = loop.create_future()
    try:
        future.__init__(loop=loop)
    except RuntimeError:
        return False
    finally:
        loop.close()
    return True


needs_second_init = pytest.mark.skipif(
    not can_be_made_anew(), reason="futures of this CPython cannot be initialised again"
)


@types.coroutine
def yields(value):
    return (yield value)


class Interrupting:
    """A loop only so far as futures ask; `meanwhile` runs when they look up or call call_soon()."""

    def __init__(self, loop, meanwhile, on):
        self._meanwhile, self._on, self.calls = meanwhile, on, []

    def __getattribute__(self, name):
        get = object.__getattribute__
        if name == "call_soon" and get(self, "_on") == "look":
            get(self, "_meanwhile")()
        return get(self, name)

    def get_debug(self):
        return False

    def is_running(self):
        return False

    def call_soon(self, callback, *args, context=None):
        if self._on == "call":
            self._meanwhile()
        self.calls.append((callback, args))

    def call_exception_handler(self, context):
        raise AssertionError(context)


@pytest.mark.parametrize("on", ["look", "call"])
@pytest.mark.parametrize("finish", ["set_result", "cancel"])
def test_callbacks_are_removed_while_they_are_scheduled(loop, kind, on, finish):
    skip_if_stock_crashes(kind.name == "stock" or finish == "cancel")

    def callbacks(number):
        return [lambda future, each=each: None for each in range(number)]

    added = callbacks(5)

    def meanwhile():
        for callback in added:
            future.remove_done_callback(callback)
        gc.collect()

    evil = Interrupting(loop, meanwhile, on)
    future = kind.Future(loop=evil)
    for callback in added:
        future.add_done_callback(callback)
    getattr(future, finish)(*([1] if finish == "set_result" else []))
    assert future.done() and len(evil.calls) <= 5
    assert all(args == (future,) for _, args in evil.calls)


@needs_second_init
@pytest.mark.parametrize("on", ["look", "call"])
def test_a_future_is_made_anew_while_its_callbacks_are_scheduled(loop, kind, on):
    skip_if_stock_crashes(kind.name == "stock")
    references = []

    def meanwhile():
        future.__init__(loop=loop)  # which forgets the loop that is being asked
        gc.collect()

    evil = Interrupting(loop, meanwhile, on)
    references.append(weakref.ref(evil))
    future = kind.Future(loop=evil)
    for _ in range(3):
        future.add_done_callback(lambda future: None)
    del evil
    future.set_result(1)
    assert not future.done() and future.get_loop() is loop
    gc.collect()
    assert references[0]() is None


def test_call_soon_fails(loop, kind):
    def meanwhile():
        raise ZeroDivisionError

    evil = Interrupting(loop, meanwhile, "call")
    future = kind.Future(loop=evil)
    for _ in range(3):
        future.add_done_callback(lambda future: None)
    with pytest.raises(ZeroDivisionError):
        future.set_result(1)
    assert future.result() == 1 and not evil.calls


@needs_second_init
@pytest.mark.parametrize(
    "place", ["_asyncio_future_blocking", "get_loop", "__setattr__", "add_done_callback", "cancel", "result"]
)
def test_an_awaitable_that_makes_its_task_anew(run, loop, kind, place):
    """The task is initialised again while it looks at what its coroutine yielded."""

    class Evil:
        disturbed = False

        def disturb(self):
            if not Evil.disturbed:
                Evil.disturbed = True
                task.__init__(other(), loop=loop, name="new")
                gc.collect()

        def __getattribute__(self, name):
            if name == place:
                object.__getattribute__(self, "disturb")()
            return True if name == "_asyncio_future_blocking" else object.__getattribute__(self, name)

        def __setattr__(self, name, value):
            if place == "__setattr__":
                self.disturb()

        def get_loop(self):
            return loop

        def add_done_callback(self, callback, *, context):
            if place == "result":
                loop.call_soon(callback, self)

        def cancel(self, msg=None):
            return True

        def result(self):
            return None

    async def other():
        return "other"

    async def awaits(value):
        task.cancel()
        return await yields(value)

    async def main():
        nonlocal task
        task = loop.create_task(awaits(Evil()), name="old")
        for _ in range(5):
            await asyncio.sleep(0)
        assert task.get_name() == "new"
        assert task.done() and (task.cancelled() or task.result() == "other")

    task = None
    run(main)


class EvilLoop(treadle.EventLoop):
    """A loop whose call_soon() is looked up by way of Python; `meanwhile` runs then, once."""

    meanwhile = None

    def __getattribute__(self, name):
        get = super().__getattribute__
        meanwhile = get("meanwhile") if name == "call_soon" else None
        if meanwhile is not None:
            self.meanwhile = None
            meanwhile()
        return get(name)

    def call_soon(self, *args, **kwargs):
        return super().call_soon(*args, **kwargs)


@pytest.fixture
def evil_loop():
    loop = EvilLoop()
    yield loop
    loop.close()


async def nothing():
    return "nothing"


@needs_second_init
@pytest.mark.parametrize("what", [None, 1, "itself"])
def test_a_loop_that_makes_the_task_anew_while_its_next_step_is_scheduled(evil_loop, what):
    def meanwhile():
        task.__init__(nothing(), loop=evil_loop, name="new")
        gc.collect()

    async def awaits():
        evil_loop.meanwhile = meanwhile
        await yields(asyncio.current_task() if what == "itself" else what)

    task = evil_loop.create_task(awaits(), name="old")
    evil_loop.run_until_complete(asyncio.sleep(0))
    for _ in range(4):
        evil_loop.run_until_complete(asyncio.sleep(0))
    assert task.get_name() == "new" and task.done()


@pytest.mark.parametrize("how", ["set_result", "set_exception", "cancel"])
def test_a_loop_that_goes_on_with_the_future_that_is_finished(evil_loop, how):
    """Callbacks are added to and removed from a future while those that it has are scheduled."""
    skip_if_stock_crashes(how != "set_result")
    called = []

    def remember(future):
        called.append(1)

    def meanwhile():
        future.remove_done_callback(remember)
        for _ in range(3):
            future.add_done_callback(lambda future: called.append(2))
        gc.collect()

    future = evil_loop.create_future()
    for _ in range(3):
        future.add_done_callback(remember)
    evil_loop.meanwhile = meanwhile
    getattr(future, how)(*{"set_result": [1], "set_exception": [ValueError()], "cancel": []}[how])
    evil_loop.run_until_complete(asyncio.sleep(0))
    assert future.done() and called.count(2) == 3 and called.count(1) <= 3
    assert future.cancelled() or future.exception() is None or type(future.exception()) is ValueError


def test_a_callback_whose_comparison_finishes_its_future(run, loop, kind):
    """remove_done_callback() asks the callbacks whether they are equal."""
    skip_if_stock_crashes(True)

    class Callback:
        def __call__(self, future):
            called.append(future)

        def __eq__(self, other):
            if not future.done():
                future.set_result("done")
                future.add_done_callback(called.append)
            gc.collect()
            return True

    async def main():
        for _ in range(3):
            future.add_done_callback(Callback())
        future.remove_done_callback(Callback())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert future.result() == "done" and len(called) >= 1

    called, future = [], kind.Future(loop=loop)
    run(main)


class Steps:
    """A coroutine in the eyes of asyncio, with whatever for send() and throw()."""

    __name__ = __qualname__ = "steps"
    cr_frame = cr_code = cr_await = None
    cr_running = False

    def __init__(self, send):
        self._send = send

    def send(self, value):
        return self._send(self)

    def throw(self, *error):
        return self._send(self)

    def close(self):
        pass

    def __await__(self):
        return self

    def __iter__(self):
        return self

    __next__ = __iter__


collections.abc.Coroutine.register(Steps)


@pytest.mark.parametrize("cancelled", [False, True], ids=["send", "throw"])
def test_a_coroutine_that_forgets_its_task(run, loop, cancelled):
    def send(self):
        tasks.clear()
        gc.collect()
        asyncio.current_task().cancel("by itself")
        raise StopIteration("ended")

    ended = []

    async def main():
        tasks.append(loop.create_task(Steps(send)))
        tasks[0].add_done_callback(lambda task: ended.append(task.cancelled()))
        if cancelled:
            tasks[0].cancel()
        for _ in range(3):
            await asyncio.sleep(0)
        assert ended == [True] and not tasks

    tasks = []
    run(main)


def test_a_step_inside_a_step(run, loop):
    """The callable that wakes a task is called by the task's own coroutine: it is entered already."""

    class Duck:
        _asyncio_future_blocking = False

        def get_loop(self):
            return loop

        def __await__(self):
            self._asyncio_future_blocking = True
            yield self

        def add_done_callback(self, callback, *, context):
            self.callback = callback
            loop.call_soon(callback, self, context=context)

        def result(self):
            return None

    async def main():
        duck = Duck()

        async def work():
            await duck
            with pytest.raises(RuntimeError, match="Cannot enter into task"):
                duck.callback(duck)
            await asyncio.sleep(0)
            return asyncio.current_task()

        task = loop.create_task(work())
        assert await task is task

    run(main)


@pytest.mark.parametrize("fails", [False, True])
def test_a_name_that_makes_tasks(run, loop, fails):
    class Name:
        def __str__(self):
            gc.collect()
            inner.append(loop.create_task(nothing(), name="inner"))
            if fails:
                raise ZeroDivisionError
            return "named"

    async def main():
        if fails:
            coroutine = nothing()
            with pytest.raises(ZeroDivisionError):
                loop.create_task(coroutine, name=Name())
            coroutine.close()
        else:
            assert loop.create_task(nothing(), name=Name()).get_name() == "named"
        gc.collect()
        assert await inner[0] == "nothing"
        assert {task.get_name() for task in asyncio.all_tasks()} <= {"named", asyncio.current_task().get_name()}

    inner = []
    run(main)


def test_destructors_of_what_dead_tasks_hold(run, loop):
    """What a coroutine leaves makes, cancels and drops tasks and futures, while its own task's memory is put aside."""
    made = []

    class Local:
        def __del__(self):
            if not loop.is_closed() and len(made) < 200:
                made.append(loop.create_task(nothing()))
                loop.create_future().cancel()
                loop.create_task(nothing()).cancel()

    async def work(future):
        local = Local()
        await future
        del local

    async def main():
        for _ in range(50):
            future = loop.create_future()
            tasks = [loop.create_task(work(future)) for _ in range(4)]
            await asyncio.sleep(0)
            tasks[0].cancel()  # and with it the future, and the others
            tasks[1].cancel()
            assert future.cancelled()
            del future
            await asyncio.wait(tasks)
            for task in tasks:
                task.cancelled() or task.exception()
            task = tasks = None
        while not all(task.done() for task in made):
            await asyncio.sleep(0)
        assert all(task.result() == "nothing" for task in made) and len(made) == 200

    run(main)
    made.clear()


def test_weak_references_that_call_back(run, loop):
    called = []

    def gone(reference):
        called.append(loop.create_task(nothing()))

    async def main():
        for _ in range(20):
            task = loop.create_task(nothing())
            reference = weakref.ref(task, gone)
            await task
            del task
            await asyncio.sleep(0)
            assert reference() is None
        assert len(called) == 20 and await asyncio.gather(*called) == ["nothing"] * 20

    run(main)


def test_a_blocking_mark_that_drops_the_last_references(run, loop, kind):
    class Evil:
        @property
        def _asyncio_future_blocking(self):
            tasks.clear()
            gc.collect()
            raise ZeroDivisionError

    async def awaits(value):
        return await yields(value)

    heard = []
    loop.set_exception_handler(lambda loop, context: heard.append(context))

    async def main():
        tasks.append(loop.create_task(awaits(Evil())))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        gc.collect()

    tasks = []
    run(main)
    assert any(type(context.get("exception")) is ZeroDivisionError for context in heard)


def test_destructors_that_finish_and_add(run, loop, kind):
    """A result, an exception and a callback whose destruction goes back to their future."""

    class Result:
        def __init__(self, future):
            self.future = future

        def __del__(self):
            if loop.is_closed():
                return
            self.future.add_done_callback(called.append)
            self.future.cancel()

    called = []

    async def main():
        futures = [loop.create_future() for _ in range(20)]
        for future in futures:
            future.add_done_callback(lambda _, result=Result(future): None)
            future.add_done_callback(lambda _, result=Result(future): None)
            future.set_result(Result(future))
        del future
        await asyncio.sleep(0)
        futures.clear()
        gc.collect()
        for _ in range(3):
            await asyncio.sleep(0)

    run(main)
    gc.collect()
    assert len(called) >= 20 and all(future.done() for future in called)


@pytest.mark.skipif(
    not hasattr(asyncio, "future_discard_from_awaited_by"), reason="futures note who awaits them from CPython 3.14 on"
)
def test_an_awaiter_whose_hash_has_it_forgotten():
    """The second awaiter makes it a set, for which the first is asked for its hash. (CPython's own code crashes.)"""
    asked = []

    class Task(treadle.Task):
        def __hash__(self):
            if not asked:
                asked.append(self)
                asyncio.future_discard_from_awaited_by(future, self)
                gc.collect()
            return 1

    async def wait():
        return await future

    async def both():
        first = Task(wait(), loop=loop)
        await asyncio.sleep(0)
        del asked[:]  # to be registered it was asked as well
        others = [loop.create_task(wait()) for _ in range(3)]
        await asyncio.sleep(0)
        assert asked == [first]
        future.set_result("done")
        assert [await task for task in (first, *others)] == ["done"] * 4

    loop = treadle.new_event_loop()
    future = loop.create_future()
    loop.run_until_complete(both())
    loop.close()
