"""Handles: what call_soon() and call_later() return."""

import asyncio
import contextvars
import weakref


def test_kinds(loop):
    soon, later = loop.call_soon(print), loop.call_later(0, print)
    assert isinstance(soon, asyncio.Handle) and not isinstance(soon, asyncio.TimerHandle)
    assert isinstance(later, asyncio.TimerHandle)
    assert weakref.ref(soon)() is soon


def test_cancelled_handles_do_not_run(loop):
    ran = []
    handles = [loop.call_soon(ran.append, 1), loop.call_later(0, ran.append, 2)]
    for handle in handles:
        assert not handle.cancelled()
        handle.cancel()
        assert handle.cancelled() and "cancelled" in repr(handle)
    loop.call_later(0.01, loop.stop)
    loop.run_forever()
    assert ran == []


def test_timers_compare_by_deadline(loop):
    now = loop.time()
    early, late = loop.call_at(now + 100, print), loop.call_at(now + 200, print)
    assert early.when() == now + 100
    assert early < late and late > early and early <= early and early != late
    assert hash(early) == hash(early)


def test_context_is_used(loop):
    var = contextvars.ContextVar("var")
    context = contextvars.copy_context()
    context.run(var.set, "theirs")
    seen = []
    loop.call_soon(lambda: seen.append(var.get("none")), context=context)
    loop.call_soon(lambda: seen.append(var.get("none")))
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert seen == ["theirs", "none"]
