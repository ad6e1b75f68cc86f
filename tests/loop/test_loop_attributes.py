"""Attributes of the loop that asyncio's own Python code, and that of others, reads and sets."""

import asyncio
import concurrent.futures
import gc
import weakref

import pytest

FLAGS = ["_closed", "_stopping", "_debug", "_executor_shutdown_called"]
OBJECTS = ["_default_executor", "_task_factory"]


def test_of_a_new_loop(loop):
    assert [getattr(loop, name) for name in FLAGS] == [False] * len(FLAGS)
    assert [getattr(loop, name) for name in OBJECTS] == [None] * len(OBJECTS)


@pytest.mark.parametrize("name", FLAGS)
def test_flags_are_kept(loop, name):
    for value in (True, False, True):
        setattr(loop, name, value)
        assert getattr(loop, name) is value
    setattr(loop, name, False)


@pytest.mark.parametrize("name", OBJECTS)
def test_objects_are_kept(loop, name):
    thing = object()
    for value in (thing, thing, None, print):
        setattr(loop, name, value)
        assert getattr(loop, name) is value
    setattr(loop, name, None)


@pytest.mark.parametrize("name", FLAGS)
def test_flags_take_what_is_true_or_false(native, name):
    class Undecided:
        def __bool__(self):
            raise OSError("neither")

    setattr(native, name, "yes")
    assert getattr(native, name) is True
    with pytest.raises(OSError, match="neither"):
        setattr(native, name, Undecided())
    assert getattr(native, name) is True
    setattr(native, name, [])
    assert getattr(native, name) is False
    with pytest.raises(AttributeError):
        delattr(native, name)


def test_they_are_what_the_methods_look_at(loop):
    loop._debug = True
    assert loop.get_debug()
    loop.set_debug(False)
    assert loop._debug is False
    factory = lambda loop, coro, **kwargs: asyncio.Task(coro, loop=loop, **kwargs)  # noqa: E731
    loop._task_factory = factory
    assert loop.get_task_factory() is factory
    loop.set_task_factory(None)
    assert loop._task_factory is None
    loop._closed = True
    assert loop.is_closed()
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        loop.call_soon(print)
    loop._closed = False
    loop.call_soon(print).cancel()


def test_an_executor_of_ones_own(loop):
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        loop.set_default_executor(pool)
        assert loop._default_executor is pool
        assert loop.run_until_complete(loop.run_in_executor(None, abs, -1)) == 1
        loop._default_executor = None


def test_the_shutdown_of_the_executor_is_seen(loop):
    loop.run_until_complete(loop.run_in_executor(None, int))
    loop.run_until_complete(loop.shutdown_default_executor())
    assert loop._executor_shutdown_called is True
    with pytest.raises(RuntimeError, match="Executor shutdown has been called"):
        loop.run_in_executor(None, int)
    loop._executor_shutdown_called = False
    loop._default_executor = None
    assert loop.run_until_complete(loop.run_in_executor(None, int)) == 0
    loop.run_until_complete(loop.shutdown_default_executor())


def test_stopping_is_seen_and_can_be_taken_back(loop):
    seen = []
    loop.stop()
    assert loop._stopping is True
    loop._stopping = False
    loop.call_soon(seen.append, 1)
    loop.call_later(0.001, loop.stop)
    loop.run_forever()
    assert seen == [1] and loop._stopping is False


def test_what_they_refer_to_is_collected(factory):
    class Thing:
        pass

    loop, thing = factory(), Thing()
    thing.loop = loop
    loop._task_factory = thing
    seen = weakref.ref(thing)
    loop.close()
    del loop, thing
    gc.collect()
    assert seen() is None
