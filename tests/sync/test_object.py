"""What all synchronisation objects have in common."""

import asyncio
import gc
import weakref

import pytest
import treadle

NAMES = ["Lock", "Semaphore", "BoundedSemaphore", "Event", "Condition", "Queue", "LifoQueue", "PriorityQueue"]


@pytest.mark.parametrize("name", NAMES)
def test_arguments(kit, name):
    owner = "Queue" if name.endswith("Queue") else name
    with pytest.raises(TypeError, match=rf"{owner}\.__init__\(\) got an unexpected keyword argument 'loop'"):
        getattr(kit, name)(loop=None)
    with pytest.raises(TypeError):
        getattr(kit, name)(1, 2)


@pytest.mark.parametrize("name", NAMES)
def test_it_passes_for_asyncios(name):
    made = getattr(treadle, name)()
    assert isinstance(made, getattr(asyncio, name))
    assert weakref.ref(made)() is made


@pytest.mark.parametrize("name", NAMES)
def test_cannot_be_awaited(run, kit, name):
    async def main():
        with pytest.raises(TypeError, match=name):
            await getattr(kit, name)()

    run(main)


def test_bound_to_a_loop_on_request(run, kit):
    other = asyncio.new_event_loop()

    async def main():
        lock = kit.Lock()
        lock._loop = other
        async with lock:
            with pytest.raises(RuntimeError, match="is bound to a different event loop"):
                await lock.acquire()

    run(main)
    other.close()


@pytest.mark.parametrize("name", NAMES)
def test_cycles_are_collected(name):
    made = getattr(treadle, name)()
    made.itself = made
    reference = weakref.ref(made)
    del made
    gc.collect()
    assert reference() is None


def test_a_cycle_through_one_that_waits(run):
    async def main():
        event = treadle.Event()
        task = asyncio.create_task(event.wait())
        await asyncio.sleep(0)
        event.task = task
        task.cancel()
        await asyncio.wait([task])
        return weakref.ref(event)

    reference = run(main)
    gc.collect()
    assert reference() is None
