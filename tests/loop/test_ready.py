"""The ready queue: handles and the calls that asyncio's C code makes, in one order."""

import asyncio
import gc
import weakref

import pytest
import treadle


def run(loop):
    loop.call_soon(loop.stop)
    loop.run_forever()


def test_tasks_and_callbacks_take_turns(loop):
    seen = []

    async def step(name):
        seen.append(name)
        await asyncio.sleep(0)
        seen.append(name.upper())

    loop.call_soon(seen.append, 1)
    a = loop.create_task(step("a"))
    loop.call_soon(seen.append, 2)
    b = loop.create_task(step("b"))
    loop.call_soon(seen.append, 3)
    loop.run_until_complete(asyncio.gather(a, b))
    assert seen == [1, "a", 2, "b", 3, "A", "B"]


def test_waking_a_task_keeps_its_place(loop):
    seen = []

    async def wait(future):
        seen.append(await future)

    async def main():
        futures = [loop.create_future() for _ in range(3)]
        tasks = [loop.create_task(wait(future)) for future in futures]
        await asyncio.sleep(0)
        for i, future in enumerate(futures):
            future.set_result(i)
            loop.call_soon(seen.append, f"after {i}")
        await asyncio.gather(*tasks)

    loop.run_until_complete(main())
    assert seen == [0, "after 0", 1, "after 1", 2, "after 2"]


def test_an_exit_in_a_task(loop):
    async def leave():
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        loop.run_until_complete(leave())
    assert loop.run_until_complete(asyncio.sleep(0, "still there")) == "still there"


def test_the_queue_can_be_looked_at(loop):
    async def nothing():
        pass

    task = loop.create_task(nothing())
    handle = loop.call_soon(print)
    first, second = list(loop._ready)
    assert isinstance(first, asyncio.Handle) and second is handle and len(loop._ready) == 2
    assert "Task" in repr(first)
    taken = loop._ready.popleft()
    assert isinstance(taken, asyncio.Handle) and not task.done()
    loop._ready.append(taken)
    loop._ready.popleft().cancel()
    run(loop)
    assert task.done()


@pytest.mark.parametrize("where", ["class", "instance"])
def test_a_call_soon_of_ones_own_gets_handles(where, factory):
    """Tracers wrap call_soon(), for every call, and look at the handle."""
    handles = []

    def call_soon(self, callback, *args, context=None):
        handles.append(base(self, callback, *args, context=context))
        return handles[-1]

    loop = factory()
    base = type(loop).call_soon
    if where == "class":
        loop.close()
        loop = type("Traced", (type(loop),), {"call_soon": call_soon})()
    else:
        loop.call_soon = call_soon.__get__(loop)
        loop.time = loop.time  # another attribute changes nothing about it
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    assert len(handles) >= 3
    assert all(isinstance(handle, asyncio.Handle) for handle in handles)


class Owner:
    pass


@pytest.mark.parametrize("how", ["ready", "timer", "posted", "kept", "cancelled", "task"])
def test_forgotten_loops_are_collected(factory, how):
    """A loop that was never closed, and what is queued in it, refer to each other."""
    loop, owner = factory(), Owner()
    owner.loop, gone = loop, weakref.ref(owner)

    async def hold(owner):
        await asyncio.sleep(0)

    if how == "ready":
        loop.call_soon(id, owner)
    elif how == "timer":
        loop.call_later(1000, id, owner)
    elif how == "posted":
        loop.call_soon_threadsafe(id, owner)
    elif how == "kept":
        owner.handle = loop.call_soon(id, owner)
        run(loop)
    elif how == "cancelled":
        owner.handle = loop.call_later(0.001, id, owner)
        owner.handle.cancel()
        loop.run_until_complete(asyncio.sleep(0.01))
    else:
        owner.task = loop.create_task(hold(owner))
        run(loop)
        owner.task.cancel()
        run(loop)
    if not isinstance(loop, treadle.EventLoop):
        loop.close()
    del loop, owner
    for _ in range(3):
        gc.collect()
    assert gone() is None


def test_a_kept_handle_does_not_keep_what_it_was_for(loop):
    """The collector sees a handle from the moment that only Python code has it."""
    owner = Owner()
    owner.handle = loop.call_soon(id, owner)
    run(loop)
    gone = weakref.ref(owner)
    del owner
    gc.collect()
    assert gone() is None
