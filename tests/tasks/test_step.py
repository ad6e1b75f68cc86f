"""Steps: what a task does with what its coroutine yields, returns and raises."""

import asyncio
import sys
import types

import pytest


@types.coroutine
def yields(value):
    return (yield value)


def caught(awaitable):
    """A coroutine that returns the exception it got."""

    async def catch():
        try:
            return await awaitable
        except BaseException as error:
            return error

    return catch()


@pytest.mark.parametrize("value", [1, "text", object(), [], lambda: None])
def test_bad_yields(run, loop, value):
    async def main():
        error = await loop.create_task(caught(yields(value)))
        assert type(error) is RuntimeError and str(error) == f"Task got bad yield: {value!r}"

    run(main)


def test_generators(run, loop):
    async def main():
        generator = (each for each in ())
        error = await loop.create_task(caught(yields(generator)), name="this")
        assert type(error) is RuntimeError
        assert str(error).startswith("yield was used instead of yield from for generator in task <")
        assert repr(generator) in str(error)

    run(main)


def test_a_future_that_is_not_awaited(run, loop, kind):
    async def main():
        future = kind.Future(loop=loop)
        error = await loop.create_task(caught(yields(future)))
        assert type(error) is RuntimeError
        assert str(error).startswith("yield was used instead of yield from in task <")

    run(main)


def test_a_future_of_another_loop(run, loop, kind):
    other = kind.loop()

    async def main():
        for future in (kind.Future(loop=other), asyncio.Future(loop=other)):
            error = await loop.create_task(caught(future))
            assert type(error) is RuntimeError and str(error).endswith("attached to a different loop")

    run(main)
    other.close()


def test_awaiting_itself(run, loop):
    async def main():
        async def loop_back():
            return await caught(task)

        task = loop.create_task(loop_back())
        error = await task
        assert type(error) is RuntimeError and str(error).startswith("Task cannot await on itself: <")

    run(main)


def test_duck_typed_futures(run, loop):
    class Duck:
        """What asyncio takes for a future, and no more."""

        _asyncio_future_blocking = False

        def __init__(self, inner, by_method):
            self.inner = inner
            if by_method:
                self.get_loop = lambda: loop
            else:
                self._loop = loop

        def __await__(self):
            self._asyncio_future_blocking = True
            yield self
            return self.result()

        def add_done_callback(self, callback, *, context=None):
            self.inner.add_done_callback(lambda inner: callback(self), context=context)

        def result(self):
            return self.inner.result()

        def cancel(self, msg=None):
            return self.inner.cancel(msg)

    async def main():
        for by_method in (False, True):
            inner = loop.create_future()
            task = loop.create_task(caught(Duck(inner, by_method)))
            await asyncio.sleep(0)
            inner.set_result("duck")
            assert await task == "duck"
            inner = loop.create_future()
            task = loop.create_task(caught(Duck(inner, by_method)))
            await asyncio.sleep(0)
            task.cancel("why")
            error = await task
            assert type(error) is asyncio.CancelledError and inner.cancelled()

    run(main)


def test_exceptions_on_the_way(run, loop):
    """What asking the object raises goes to the loop's handler; the task waits for ever."""

    class Evil:
        @property
        def _asyncio_future_blocking(self):
            raise ZeroDivisionError

    contexts = []
    loop.set_exception_handler(lambda loop, context: contexts.append(context))

    async def main():
        task = loop.create_task(caught(yields(Evil())))
        await asyncio.sleep(0)
        assert [type(context["exception"]) for context in contexts] == [ZeroDivisionError]
        assert not task.done()
        task._log_destroy_pending = False

    run(main)


def test_results_and_exceptions(run, loop):
    async def returns():
        return 3

    async def raises():
        raise ZeroDivisionError("why")

    async def stops():
        class Stopper:
            def __await__(self):
                return self

            def __iter__(self):
                return self

            def __next__(self):
                raise StopIteration(5)

        return await Stopper()

    async def main():
        assert await loop.create_task(returns()) == 3
        assert await loop.create_task(stops()) == 5
        task = loop.create_task(raises())
        error = await caught(task)
        assert type(error) is ZeroDivisionError and error is task.exception()
        assert task.get_stack()[-1].f_code.co_name == "raises"

    run(main)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_the_two_that_stop_the_loop(loop, error):
    async def stop():
        raise error("now")

    task = loop.create_task(stop())
    with pytest.raises(error, match="now"):
        loop.run_until_complete(asyncio.sleep(3600))
    assert type(task.exception()) is error
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))


def test_cancelling(run, loop):
    log = []

    async def stubborn():
        for _ in range(2):
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError as error:
                log.append(error.args)
        return "finally"

    async def main():
        task = loop.create_task(stubborn())
        await asyncio.sleep(0)
        assert task.cancel("first") and task.cancelling() == 1
        await asyncio.sleep(0)
        assert task.cancel() and task.cancelling() == 2 and task.uncancel() == 1
        assert await task == "finally" and log == [("first",), ()]
        assert not task.cancel()
        never = loop.create_task(stubborn())
        never.cancel("before it began")
        error = await caught(never)
        assert type(error) is asyncio.CancelledError and never.cancelled()

    run(main)


def test_cancelled_when_it_returns(run, loop):
    async def cancels_itself():
        asyncio.current_task().cancel("itself")
        return 1

    async def main():
        task = loop.create_task(cancels_itself())
        assert type(await caught(task)) is asyncio.CancelledError and task.cancelled()

    run(main)


def test_cancelled_while_it_begins_to_wait(run, loop):
    async def cancels_and_waits(future):
        asyncio.current_task().cancel("itself")
        await future

    async def main():
        future = loop.create_future()
        task = loop.create_task(cancels_and_waits(future))
        assert type(await caught(task)) is asyncio.CancelledError and future.cancelled()

    run(main)


def test_context(run, loop):
    import contextvars

    var = contextvars.ContextVar("var", default=0)

    async def count(future):
        var.set(var.get() + 1)
        await asyncio.sleep(0)
        var.set(var.get() + 1)
        await future
        return var.get()

    async def main():
        var.set(10)
        future = loop.create_future()
        task = loop.create_task(count(future))
        context = contextvars.copy_context()
        other = loop.create_task(count(future), context=context)
        for _ in range(3):
            await asyncio.sleep(0)
        future.set_result(None)
        assert await task == await other == 12 and var.get() == 10
        assert context[var] == 12

    run(main)


def test_a_task_of_the_stock_class(run, loop):
    """On any loop, also waiting for what the loop made, and waited for by its tasks."""

    async def work(future):
        await asyncio.sleep(0)
        return await future

    async def main():
        future = loop.create_future()
        stock = asyncio.Task(work(future), loop=loop)
        ours = loop.create_task(work(stock))
        outer = asyncio.Task(work(ours), loop=loop)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        future.set_result("through")
        assert await outer == "through" == await stock

    run(main)


def test_eager_start(run, loop, kind):
    if sys.version_info < (3, 12):
        pytest.skip("eager tasks came with 3.12")
    log = []

    async def work(future):
        log.append("began")
        return await future

    async def main():
        future = loop.create_future()
        task = kind.Task(work(future), loop=loop, eager_start=True)
        assert log == ["began"] and task in asyncio.all_tasks() and not task.done()
        future.set_result(1)
        assert await task == 1

    run(main)


def test_step_after_the_end(run, loop):
    """A step that is left over says that it comes too late."""

    class Duck:
        def __await__(self):
            self._asyncio_future_blocking = True
            yield self

        def get_loop(self):
            return loop

        def add_done_callback(self, callback, *, context):
            self.callback = callback

        def result(self):
            return None

    async def main():
        duck = Duck()

        async def wait():
            await duck

        task = loop.create_task(wait())
        await asyncio.sleep(0)
        loop.call_soon(duck.callback, duck)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert task.done()
        errors = []

        def late():
            try:
                duck.callback(duck)
            except asyncio.InvalidStateError as error:
                errors.append(str(error))

        loop.call_soon(late)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert len(errors) == 1 and "_step(): already done: <" in errors[0]

    run(main)
