"""Code that runs in the middle of what is done to tasks and futures, and changes them or ends them there."""

import asyncio
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
@pytest.mark.parametrize("place", ["add_done_callback", "cancel", "get_loop"])
def test_an_awaitable_that_makes_its_task_anew(run, loop, kind, place):
    """The task is initialised again while it looks at what its coroutine yielded."""

    class Evil:
        _asyncio_future_blocking = True

        def disturb(self, here):
            if here == place:
                task.__init__(other(), loop=loop, name="new")
                gc.collect()

        def get_loop(self):
            self.disturb("get_loop")
            return loop

        def add_done_callback(self, callback, *, context):
            self.disturb("add_done_callback")

        def cancel(self, msg=None):
            self.disturb("cancel")
            return True

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
