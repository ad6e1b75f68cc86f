"""TaskGroup: asyncio's and treadle's."""

import asyncio
import contextvars
import gc
import inspect
import sys
import weakref

import pytest
import treadle


@pytest.fixture(params=[asyncio.TaskGroup, treadle.TaskGroup], ids=["asyncio's", "treadle's"])
def group_class(request):
    return request.param


async def nap(result=None, turns=1):
    for _ in range(turns):
        await asyncio.sleep(0)
    return result


async def fail(error, turns=1):
    await nap(turns=turns)
    raise error


async def forever():
    await asyncio.sleep(1000)


def test_waits_for_all(run, group_class):
    async def main():
        async with group_class() as group:
            assert isinstance(group, asyncio.TaskGroup) and repr(group) == "<TaskGroup entered>"
            tasks = [group.create_task(nap(number, number)) for number in range(5)]
            assert group._tasks == set(tasks) and repr(group) == "<TaskGroup tasks=5 entered>"
            assert group._parent_task is asyncio.current_task() and group._loop is asyncio.get_running_loop()
        assert [task.result() for task in tasks] == list(range(5))
        assert repr(group) == "<TaskGroup entered>"
        async with group_class():
            pass

    run(main)


def test_names_and_contexts(run, group_class):
    variable = contextvars.ContextVar("variable")

    async def get():
        return variable.get()

    async def main():
        context = contextvars.copy_context()
        context.run(variable.set, 1)
        variable.set(2)
        async with group_class() as group:
            named = group.create_task(get(), name="named")
            placed = group.create_task(get(), context=context)
            both = group.create_task(get(), name="both", context=context)
            neither = group.create_task(get())
        assert [task.result() for task in (named, placed, both, neither)] == [2, 1, 1, 2]
        assert (named.get_name(), both.get_name()) == ("named", "both")
        assert neither.get_name().startswith("Task-")

    run(main)


def test_signature():
    ours, stock = (inspect.signature(each.create_task) for each in (treadle.TaskGroup, asyncio.TaskGroup))
    assert str(ours).replace("(self, /, ", "(self, ") == str(stock)


def test_tasks_make_tasks(run, group_class):
    async def main():
        seen = []

        async def one(number):
            await nap()
            seen.append(number)
            if number < 10:
                group.create_task(one(number + 1))

        async with group_class() as group:
            group.create_task(one(0))
        assert seen == list(range(11)) and not group._tasks

    run(main)


def test_one_fails(run, group_class):
    others = []

    async def main():
        async with group_class() as group:
            others.extend(group.create_task(forever()) for _ in range(3))
            group.create_task(fail(ZeroDivisionError("x")))
        pytest.fail("it did not raise")

    async def outer():
        task = asyncio.current_task()
        with pytest.raises(ExceptionGroup, match="unhandled errors in a TaskGroup") as caught:
            await main()
        assert all(task.cancelled() for task in others)
        assert [repr(error) for error in caught.value.exceptions] == ["ZeroDivisionError('x')"]
        assert task.cancelling() == (0 if sys.version_info >= (3, 13) else 1)
        assert caught.value.__cause__ is None

    run(outer)


@pytest.mark.parametrize("errors", [[ValueError(1), TypeError(2)], [KeyError(1), asyncio.CancelledError()]])
def test_several_fail(run, group_class, errors):
    async def main():
        with pytest.raises(ExceptionGroup) as caught:
            async with group_class() as group:
                for error in errors:
                    group.create_task(fail(error))
        return [type(error) for error in caught.value.exceptions]

    assert run(main) == [type(error) for error in errors if isinstance(error, Exception)]


def test_the_body_fails(run, group_class):
    async def main():
        with pytest.raises(ExceptionGroup) as caught:
            async with group_class() as group:
                task = group.create_task(forever())
                await nap()
                raise ValueError("body")
        assert task.cancelled() and str(caught.value.exceptions[0]) == "body"

    run(main)


def test_a_task_fails_while_the_body_waits(run, group_class):
    async def main():
        with pytest.raises(ExceptionGroup):
            async with group_class() as group:
                group.create_task(fail(ValueError()))
                await forever()
        await nap()

    run(main)


@pytest.mark.parametrize("turns", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("failing", [False, True])
def test_cancelled_from_outside(run, group_class, turns, failing):
    """At each turn; `turns` 3 is when the tasks are done."""

    async def body(make, seen):
        async with make() as group:
            for _ in range(2):
                group.create_task(fail(ValueError(), 2) if failing else nap(turns=2))
            seen.append("waits")
        seen.append("left")

    async def main(make):
        seen = []
        task = asyncio.create_task(body(make, seen))
        await nap(turns=turns)
        cancelled = task.cancel("message")
        await asyncio.wait([task])
        ended = "cancelled" if task.cancelled() else type(task.exception())
        return seen, cancelled, ended, task.cancelling()

    assert run(lambda: main(group_class)) == run(lambda: main(asyncio.TaskGroup))


def test_cancelled_twice(run, group_class):
    async def slow_to_end():
        try:
            await forever()
        finally:
            await nap(turns=5)

    async def main():
        async def body():
            async with group_class() as group:
                tasks.append(group.create_task(slow_to_end()))

        tasks = []
        task = asyncio.create_task(body())
        await nap(turns=2)
        task.cancel()
        await nap(turns=2)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled() and tasks[0].cancelled() and task.cancelling() == 2

    run(main)


def test_a_base_exception(run, group_class):
    class Exit(SystemExit):
        pass

    async def body():
        async with group_class() as group:
            group.create_task(forever())
            await nap()
            raise Exit

    async def main():
        with pytest.raises(Exit):
            await body()

    run(main)


def test_used_wrongly(run, group_class):
    closes = sys.version_info >= (3, 13)

    def refused(group, message):
        coroutine = nap()
        with pytest.raises(RuntimeError, match=message):
            group.create_task(coroutine)
        if closes:
            with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
                coroutine.send(None)
        coroutine.close()

    async def main():
        group = group_class()
        refused(group, "TaskGroup <TaskGroup> has not been entered")
        async with group:
            with pytest.raises(RuntimeError, match="TaskGroup <TaskGroup entered> has already been entered"):
                await group.__aenter__()
            for args, kwargs in ((), {}), ((1, 2), {}), ((nap,), {"no": 1}):
                with pytest.raises(TypeError):
                    group.create_task(*args, **kwargs)
            with pytest.raises(TypeError):
                group.create_task(1)
        refused(group, "TaskGroup <TaskGroup entered> is finished")

        async def late(group):
            try:
                await forever()
            finally:
                refused(group, "is shutting down")

        with pytest.raises(ExceptionGroup):
            async with group_class() as group:
                group.create_task(late(group))
                await nap()
                raise ValueError
        with pytest.raises(TypeError):
            group_class(1)

    run(main)


def test_outside_of_a_task(loop, group_class):
    answers = []

    def callback():
        try:
            group_class().__aenter__().send(None)
        except RuntimeError as error:
            answers.append(str(error))
        loop.stop()

    loop.call_soon(callback)
    loop.run_forever()
    assert answers == ["TaskGroup <TaskGroup> cannot determine the parent task"]


def test_stopped_by_the_known_recipe(run, group_class):
    """A group is ended early by a task that raises an error for that; or by the private way that many use."""

    async def main():
        async with group_class() as group:
            tasks = [group.create_task(forever()) for _ in range(3)]
            await nap()
            group._abort()
        assert all(task.cancelled() for task in tasks)

    run(main)


def test_cancel(run, group_class):
    if not hasattr(asyncio.TaskGroup, "cancel"):
        pytest.skip("TaskGroup.cancel() came with 3.15")

    async def main():
        async with group_class() as group:
            task = group.create_task(forever())
            await nap()
            group.cancel()
            await forever()
        assert task.cancelled()
        group.cancel()
        early = group_class()
        early.cancel()
        async with early:
            await forever()
        async with group_class() as group:
            group.create_task(forever())
            asyncio.get_running_loop().call_soon(group.cancel)
        assert asyncio.current_task().cancelling() == 0

    run(main)


def test_eager_tasks(run, loop, group_class):
    if sys.version_info < (3, 12):
        pytest.skip("eager tasks came with 3.12")

    async def at_once():
        return 1

    async def main():
        loop.set_task_factory(asyncio.eager_task_factory)
        async with group_class() as group:
            tasks = [group.create_task(at_once()), group.create_task(nap(2))]
        assert [task.result() for task in tasks] == [1, 2]
        if sys.version_info >= (3, 13):  # before, an error at once cancels the parent for good
            with pytest.raises(ExceptionGroup):
                async with group_class() as group:
                    group.create_task(fail(ValueError(), 0))
                    await forever()
        if sys.version_info >= (3, 14):
            loop.set_task_factory(None)
            async with group_class() as group:
                assert group.create_task(at_once(), eager_start=True).done()

    run(main)


def test_subclasses_are_asked(run, group_class):
    class Group(group_class):
        done = ()

        def _on_task_done(self, task):
            self.done += (task,)
            super()._on_task_done(task)

        def create_task(self, coro, **kwargs):
            return super().create_task(coro, name="of the subclass", **kwargs)

    async def main():
        async with Group() as group:
            tasks = [group.create_task(nap()) for _ in range(3)]
        assert set(group.done) == set(tasks)
        assert {task.get_name() for task in tasks} == {"of the subclass"}

    run(main)


def test_in_debug_mode(run, loop, group_class):
    async def main():
        loop.set_debug(True)
        async with group_class() as group:
            tasks = [group.create_task(nap(number)) for number in range(3)]
        assert [task.result() for task in tasks] == [0, 1, 2]

    run(main)


def test_a_task_that_fails_after_the_parent_is_done(loop, complaints, group_class):
    async def parent():
        group = group_class()
        await group.__aenter__()
        group.create_task(fail(ValueError("late"), 3))

    async def main():
        await asyncio.create_task(parent())
        await nap(turns=6)

    loop.run_until_complete(main())
    assert [str(each["exception"]) for each in complaints] == ["late"]
    assert "has errored out but its parent task" in complaints[0]["message"]


def test_closed_while_it_waits(run, group_class):
    async def main():
        async def body():
            async with group_class() as group:
                tasks.append(group.create_task(forever()))

        tasks = []
        parent = asyncio.create_task(body())
        await nap(turns=2)
        coroutine = parent.get_coro()
        with pytest.raises((GeneratorExit, RuntimeError, BaseExceptionGroup)):
            coroutine.throw(GeneratorExit)
        for task in (*tasks, parent):
            task.cancel()
        await asyncio.wait([*tasks, parent])

    if sys.version_info >= (3, 13):
        run(main)


def test_call_graph(run, group_class):
    if sys.version_info < (3, 14):
        pytest.skip("the call graph came with 3.14")

    async def main():
        async with group_class() as group:
            task = group.create_task(nap())
            assert list(task._asyncio_awaited_by) == [asyncio.current_task()]
        assert not task._asyncio_awaited_by

    run(main)


def test_is_freed_at_once(run, group_class):
    async def body():
        async with group_class() as group:
            tasks = [weakref.ref(group.create_task(nap())) for _ in range(3)]
            seen = weakref.ref(group), *tasks
            del group
        return seen

    async def main():
        gc.collect()
        gc.disable()
        try:
            seen = await body()
            await nap()
            return [each() for each in seen]
        finally:
            gc.enable()

    assert set(run(main)) == {None}


def test_many(run, group_class):
    async def main():
        async with group_class() as group:
            tasks = [group.create_task(nap(number)) for number in range(5000)]
        assert [task.result() for task in tasks] == list(range(5000))

    run(main)
