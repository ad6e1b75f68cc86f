"""Tasks, their factory, async generators."""

import asyncio
import contextvars
import decimal
import gc
import weakref

import pytest


class OwnTask(asyncio.Task):
    pass


async def nothing():
    pass


def test_factory_must_be_callable(loop):
    with pytest.raises(TypeError, match="task factory must be a callable or None"):
        loop.set_task_factory(1)
    assert loop.get_task_factory() is None


def test_factory(loop):
    def factory(loop, coroutine, **options):
        return OwnTask(coroutine, loop=loop, **options)

    loop.set_task_factory(factory)
    assert loop.get_task_factory() is factory
    task = loop.create_task(nothing())
    assert type(task) is OwnTask
    loop.run_until_complete(task)

    async def main():
        async with asyncio.TaskGroup() as group:
            return type(group.create_task(nothing())), type(asyncio.create_task(nothing()))

    assert loop.run_until_complete(main()) == (OwnTask, OwnTask)
    loop.set_task_factory(None)
    task = loop.create_task(nothing())
    assert isinstance(task, asyncio.Task) and not isinstance(task, OwnTask)
    loop.run_until_complete(task)


@pytest.mark.parametrize("own", [False, True])
def test_names(loop, own):
    if own:
        loop.set_task_factory(lambda loop, coroutine, **options: OwnTask(coroutine, loop=loop, **options))
    task = loop.create_task(nothing(), name="my task")
    assert task.get_name() == "my task"
    loop.run_until_complete(task)


def test_task_of_given_context(loop):
    var = contextvars.ContextVar("var", default="none")
    context = contextvars.copy_context()
    context.run(var.set, "given")

    async def main():
        return var.get()

    assert loop.run_until_complete(loop.create_task(main(), context=context)) == "given"
    assert var.get() == "none"


def test_subclasses_of_task_made_directly(loop):
    async def main():
        assert await OwnTask(asyncio.sleep(0, "x"), loop=loop) == "x"
        assert asyncio.current_task() in asyncio.all_tasks()

    loop.run_until_complete(main())


def test_futures(loop):
    future = loop.create_future()
    assert isinstance(future, asyncio.Future) and future.get_loop() is loop


def test_wait_for_ever(loop):
    assert loop.run_until_complete(asyncio.wait_for(asyncio.sleep(0.01, 5), float("inf"))) == 5


def test_open_generators_are_closed(loop):
    finalized = []

    async def generate():
        try:
            await asyncio.sleep(1000)
            yield
        finally:
            await asyncio.sleep(0)
            finalized.append(1)

    async def consume():
        async for _ in generate():
            pass

    async def main():
        tasks = [asyncio.create_task(consume()) for _ in range(2)]
        await asyncio.sleep(0.01)
        for task in tasks:
            task.cancel()
        await loop.shutdown_asyncgens()
        assert finalized == [1, 1]
        await asyncio.wait(tasks)

    loop.run_until_complete(main())


def test_generator_that_does_not_close(loop):
    contexts = []
    loop.set_exception_handler(lambda loop, context: contexts.append(context))

    async def generate():
        try:
            yield
        finally:
            raise ZeroDivisionError

    async def main():
        generator = generate()
        await anext(generator)
        await loop.shutdown_asyncgens()
        (context,) = contexts
        assert "an error occurred during closing of asynchronous generator" in context["message"]
        assert context["asyncgen"] is generator

    loop.run_until_complete(main())


def test_dropped_generator_is_finished_by_the_loop(loop):
    events = []

    async def generate():
        try:
            yield
        finally:
            await asyncio.sleep(0)
            events.append("closed")

    async def main():
        await anext(generate())
        gc.collect()
        await asyncio.sleep(0.01)

    loop.run_until_complete(main())
    assert events == ["closed"]


def test_changes_stay_within_a_task(loop):
    var = contextvars.ContextVar("var", default="outer")

    async def inner(expected):
        assert var.get() == expected
        var.set("inner")
        await asyncio.sleep(0)
        assert var.get() == "inner"

    async def main():
        task = asyncio.create_task(inner("outer"))
        var.set("mine")
        await task
        await asyncio.create_task(inner("mine"))
        assert var.get() == "mine"

    loop.run_until_complete(main())
    assert var.get() == "outer"


def test_changes_of_many_tasks_do_not_mix(loop):
    var = contextvars.ContextVar("var")

    async def work(number):
        for step in range(20):
            var.set((number, step))
            await asyncio.sleep(0 if (number + step) % 3 else 0.001)
            assert var.get() == (number, step)

    async def main():
        await asyncio.gather(*(work(number) for number in range(100)))

    loop.run_until_complete(main())


def test_done_callbacks_do_not_change_the_waiting_task_s_context(loop):
    var = contextvars.ContextVar("var")

    async def main():
        for number in range(3):
            future = loop.create_future()
            future.add_done_callback(lambda future: var.set("theirs"))
            var.set(number)
            loop.call_soon(future.set_result, None)
            await future
            assert var.get() == number
            loop.call_soon(var.set, "theirs")
            await asyncio.sleep(0.001)
            assert var.get() == number

    loop.run_until_complete(main())


def test_decimal_contexts(loop):
    async def divide(precision):
        with decimal.localcontext() as context:
            context.prec = precision
            first = decimal.Decimal(1) / 3
            await asyncio.sleep(0.001 * precision)
            return str(first), str(decimal.Decimal(1) / 9)

    async def main():
        return await asyncio.gather(divide(3), divide(6))

    assert loop.run_until_complete(main()) == [("0.333", "0.111"), ("0.333333", "0.111111")]


def test_contexts_are_let_go(loop):
    class Thing:
        pass

    var = contextvars.ContextVar("var")
    thing = Thing()
    gone = weakref.ref(thing)

    async def hold(thing):
        var.set(thing)
        loop.call_soon(int)
        loop.call_later(0.001, int)

    async def main(task):
        await task
        await asyncio.sleep(0.02)

    task = loop.create_task(hold(thing))
    loop.run_until_complete(main(task))
    del thing, task
    gc.collect()
    # treadle may keep the context it ran last; another callback replaces it
    loop.run_until_complete(asyncio.sleep(0))
    gc.collect()
    assert gone() is None
