"""create_future() and create_task()."""

import asyncio
import contextvars
import sys

import pytest

import treadle


async def nothing():
    return "done"


def test_futures(loop):
    future = loop.create_future()
    assert isinstance(future, asyncio.Future) and future.get_loop() is loop
    if isinstance(loop, treadle.EventLoop):
        assert type(future) is treadle.LoopFuture


def test_tasks(loop):
    task = loop.create_task(nothing())
    assert isinstance(task, asyncio.Task) and task.get_loop() is loop
    if isinstance(loop, treadle.EventLoop):
        assert type(task) is treadle.Task
    assert loop.run_until_complete(task) == "done"


def test_names_and_contexts(loop):
    var = contextvars.ContextVar("var", default="none")
    context = contextvars.copy_context()
    context.run(var.set, "given")

    async def get():
        return var.get()

    named = loop.create_task(get(), name="Ada")
    given = loop.create_task(get(), name=None, context=context)
    assert named.get_name() == "Ada" and given.get_name().startswith("Task-")
    assert loop.run_until_complete(asyncio.gather(named, given)) == ["none", "given"]


@pytest.mark.skipif(sys.version_info < (3, 14), reason="create_task() takes any keyword from 3.14 on")
def test_keywords_of_the_task(loop):
    async def main():
        task = loop.create_task(nothing(), eager_start=True)
        assert task.done()
        return task.result()

    assert loop.run_until_complete(main()) == "done"
    coroutine = nothing()
    with pytest.raises(TypeError):
        loop.create_task(coroutine, wrong=1)
    coroutine.close()


def test_task_factory(loop):
    made = []

    def factory(loop, coro, **kwargs):
        made.append(kwargs)
        return asyncio.Task(coro, loop=loop, **kwargs)

    loop.set_task_factory(factory)
    assert loop.get_task_factory() is factory
    assert loop.run_until_complete(loop.create_task(nothing())) == "done"
    assert len(made) == 1
    loop.set_task_factory(None)
    assert loop.get_task_factory() is None
    assert loop.run_until_complete(loop.create_task(nothing())) == "done"
    assert len(made) == 1
    with pytest.raises(TypeError, match="task factory must be a callable or None"):
        loop.set_task_factory("no")


def test_another_task_class(loop, monkeypatch):
    class Task(asyncio.Task):
        pass

    monkeypatch.setattr(asyncio.tasks, "Task", Task)
    task = loop.create_task(nothing())
    assert type(task) is Task and loop.run_until_complete(task) == "done"


def test_what_is_no_coroutine(loop):
    with pytest.raises(TypeError, match="a coroutine was expected, got 3"):
        loop.create_task(3)
    with pytest.raises(TypeError):
        loop.create_task()


def test_a_closed_loop(factory):
    loop = factory()
    loop.close()
    coroutine = nothing()
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        loop.create_task(coroutine)
    coroutine.close()


def test_debug_mode_notes_the_source(loop):
    loop.set_debug(True)
    task = loop.create_task(nothing())
    assert task._source_traceback[-1].name == "test_debug_mode_notes_the_source"
    assert loop.run_until_complete(task) == "done"
