"""all_tasks() and current_task(): what asyncio keeps of native tasks, and when it lets go."""

import asyncio
import gc
import threading
import weakref

import pytest

import treadle


@pytest.fixture(params=["stock", "native"])
def loop(request):
    loop = asyncio.SelectorEventLoop() if request.param == "stock" else treadle.new_event_loop()
    yield loop
    loop.close()


async def forever(*_):
    await asyncio.get_running_loop().create_future()


async def nothing():
    pass


def test_seen_from_the_start(loop):
    """A task is among all tasks as soon as it is made, and no longer when it is done."""

    async def main():
        mine = asyncio.current_task()
        tasks = [loop.create_task(nothing()) for _ in range(3)]
        assert asyncio.all_tasks() == {mine, *tasks}
        await tasks[0]
        assert asyncio.all_tasks() == {mine}
        waiting = loop.create_task(forever())
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {mine, waiting}
        waiting.cancel()
        await asyncio.wait([waiting])
        assert asyncio.all_tasks() == {mine}

    loop.run_until_complete(main())
    assert asyncio.all_tasks(loop) == set()


def test_one_that_was_dropped(loop):
    """A pending task that nobody refers to any more is collected, and is no longer seen."""
    loop.set_exception_handler(lambda *_: None)

    async def main():
        before = asyncio.all_tasks()
        task = loop.create_task(forever(bytearray(10)))
        await asyncio.sleep(0)
        gone = weakref.ref(task)
        del task
        gc.collect()
        assert gone() is None and asyncio.all_tasks() == before

    loop.run_until_complete(main())


@pytest.mark.parametrize("how", ["done", "made", "dropped"])
def test_while_somebody_iterates(loop, how):
    """Tasks that come and go while all_tasks() looks at them, in the middle of it."""
    loop.set_exception_handler(lambda *_: None)
    rounds, changed = 30 if how == "dropped" else 200, 0

    async def change():
        nonlocal changed
        while changed < rounds:
            if how == "done":
                await loop.create_task(nothing())
            elif how == "made":
                task = loop.create_task(forever())
                await asyncio.sleep(0)
                task.cancel()
                await asyncio.wait([task])
            else:
                loop.create_task(forever())
                await asyncio.sleep(0)
                gc.collect(0)
            changed += 1

    def look():
        while changed < rounds:
            seen.append(len(asyncio.all_tasks(loop)))

    seen = []
    thread = threading.Thread(target=look)
    main = loop.create_task(change())
    thread.start()
    loop.run_until_complete(main)
    changed = rounds
    thread.join(60)
    assert not thread.is_alive() and seen
    gc.collect()
    assert asyncio.all_tasks(loop) == set()


def weak_set():
    found = getattr(asyncio.tasks, "_scheduled_tasks", None)
    return found if found is not None else asyncio.tasks._all_tasks


@pytest.mark.skipif(not hasattr(weak_set(), "_iterating"), reason="this asyncio keeps tasks elsewhere")
def test_nothing_is_left_in_the_set():
    """Of tasks that are done, dropped, or done while somebody iterates."""
    loop, all_tasks = treadle.new_event_loop(), weak_set()
    loop.set_exception_handler(lambda *_: None)
    gc.collect()
    before = len(all_tasks), len(all_tasks.data)

    async def main():
        await asyncio.gather(*[nothing() for _ in range(50)])
        iterator = iter(all_tasks)
        next(iterator)
        await loop.create_task(nothing())
        task = loop.create_task(nothing())
        assert task in all_tasks
        await task
        del iterator, task
        for _ in range(20):
            loop.create_task(forever())
        await asyncio.sleep(0)

    loop.run_until_complete(main())
    loop.close()
    gc.collect()
    assert (len(all_tasks), len(all_tasks.data)) == before
    assert not all_tasks._pending_removals


def test_asyncios_functions_know_it(loop):
    task = loop.create_task(forever())
    asyncio.tasks._unregister_task(task)
    assert asyncio.all_tasks(loop) == set()
    asyncio.tasks._register_task(task)
    assert asyncio.all_tasks(loop) == {task}
    asyncio.tasks._register_task(task)
    task.cancel()
    loop.run_until_complete(asyncio.wait([task]))
    assert asyncio.all_tasks(loop) == set()


def test_made_by_calling_the_class(loop):
    class Mine(treadle.Task):
        pass

    tasks = {kind(nothing(), loop=loop) for kind in (treadle.Task, asyncio.Task, Mine)}
    assert asyncio.all_tasks(loop) == tasks
    loop.run_until_complete(asyncio.wait(tasks))
    assert asyncio.all_tasks(loop) == set()
