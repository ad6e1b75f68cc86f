"""Handles as objects: classes, attributes, text, comparisons, in each stage of their life."""

import asyncio
import contextvars
import gc
import sys
import weakref

import pytest

VERSION = sys.version_info


def callback(*args):
    pass


MAKERS = {
    "call_soon": lambda loop, *args, **kwargs: loop.call_soon(callback, *args, **kwargs),
    "call_later": lambda loop, *args, **kwargs: loop.call_later(1000, callback, *args, **kwargs),
    "call_at": lambda loop, *args, **kwargs: loop.call_at(loop.time() + 1000, callback, *args, **kwargs),
    "call_soon_threadsafe": lambda loop, *args, **kwargs: loop.call_soon_threadsafe(callback, *args, **kwargs),
}


@pytest.fixture(params=MAKERS)
def make(request, loop):
    handles = []

    def make(*args, **kwargs):
        handles.append(MAKERS[request.param](loop, *args, **kwargs))
        return handles[-1]

    yield make
    for handle in handles:
        handle.cancel()


@pytest.mark.parametrize("args", [(), (1,), (1, 2), (1, 2, 3, 4, 5)], ids=len)
def test_attributes(loop, make, args):
    context = contextvars.copy_context()
    handle = make(*args, context=context)
    assert handle._callback is callback and handle._args == args
    assert handle._loop is loop and handle._context is context
    assert handle._cancelled is False and handle._repr is None and handle._source_traceback is None
    if hasattr(asyncio.Handle, "get_context"):
        assert handle.get_context() is context
    handle.cancel()
    assert handle._callback is None and handle._args is None
    assert handle._cancelled is True and handle.cancelled() is True
    assert handle._loop is loop and handle._context is context
    handle.cancel()  # once more is no error


def test_text(loop, make):
    handle = make(1, "two")
    text = repr(handle)
    assert text.startswith(f"<{type(handle).__name__}") and "callback(" in text
    assert ("when=" in text) is isinstance(handle, asyncio.TimerHandle)
    handle.cancel()
    assert "cancelled" in repr(handle) and "callback(" not in repr(handle)


def test_text_in_debug_mode_is_kept(loop, make):
    loop.set_debug(True)
    handle = make(1, "two")
    assert f"created at {__file__}" in repr(handle) and handle._source_traceback
    handle.cancel()
    assert "callback(1, 'two')" in repr(handle) or VERSION >= (3, 13) and "callback(" in repr(handle)
    assert handle._repr == repr(handle)


def test_timers(loop):
    when = loop.time() + 1000
    handle = loop.call_at(when, callback)
    assert handle.when() == handle._when == when and handle._scheduled is True
    assert hash(handle) == hash(when)
    handle.cancel()
    assert handle.when() == when


def test_deadlines_are_given_back_as_they_came(loop):
    for when in (10**6, True, 1e6):
        handle = loop.call_at(when, callback)
        assert handle.when() is when or type(handle.when()) is type(when)
        handle.cancel()


def test_comparisons(loop):
    now = loop.time()
    first, same, later = (loop.call_at(now + delay, callback, 1) for delay in (100, 100, 200))
    assert first == same and not first != same and first <= same and first >= same
    assert first != later and first < later and later > first and first <= later and later >= first
    assert first != 5 and first is not same
    for compare in ("__lt__", "__le__", "__gt__", "__ge__", "__eq__"):
        assert getattr(first, compare)(5) is NotImplemented
    with pytest.raises(TypeError):
        first < 5  # noqa: B015
    same.cancel()
    assert first != same
    for handle in (first, later):
        handle.cancel()


def test_handles_that_are_no_timers_compare_by_identity(loop):
    first, second = loop.call_soon(callback), loop.call_soon(callback)
    assert first == first and first != second and len({first, second}) == 2
    with pytest.raises(TypeError):
        first < second  # noqa: B015


def test_weak_references_and_cycles(loop, make):
    class Thing:
        pass

    thing = Thing()
    thing.handle = make(thing)
    seen = weakref.ref(thing.handle), weakref.ref(thing)
    thing.handle.cancel()
    assert seen[0]() is thing.handle
    del thing
    gc.collect()
    assert seen[1]() is None


def test_native_handles_have_the_attributes_only(native, make):
    handle = make(1)
    for name in ("_callback", "_args", "_cancelled", "_loop", "_context"):
        with pytest.raises(AttributeError):
            setattr(handle, name, None)
    with pytest.raises(TypeError):
        type(handle)(callback, (), native)
