"""Contexts of callbacks: each sees a copy of what was current when it was scheduled."""

import asyncio
import contextvars
import os
import random

var = contextvars.ContextVar("var", default=0)


def run(loop):
    loop.call_soon(loop.stop)
    loop.run_forever()


def test_changes_stay_in_the_callback(loop):
    seen = []

    def change():
        seen.append(var.get())
        var.set(7)
        seen.append(var.get())

    for _ in range(3):
        loop.call_soon(change)
    run(loop)
    assert seen == [0, 7] * 3 and var.get() == 0


def test_changes_go_on_to_what_is_scheduled(loop):
    seen = []

    def first():
        var.set(1)
        loop.call_soon(second)
        var.set(2)
        loop.call_soon(second)

    def second():
        seen.append(var.get())
        var.set(10)

    loop.call_soon(first)
    loop.call_soon(lambda: seen.append(var.get()))
    run(loop)
    run(loop)
    assert seen == [0, 1, 2]


def test_what_a_callback_keeps_is_its_own(loop):
    kept = []

    def keep():
        kept.append((var.set(len(kept) + 1), contextvars.copy_context()))

    def undo():
        token = var.set(5)
        var.reset(token)
        kept.append(token)

    for callback in [keep, undo, keep, undo]:
        loop.call_soon(callback)
    loop.call_soon(lambda: kept.append(var.get()))
    run(loop)
    assert [kept[0][1][var], kept[2][1][var], kept[4]] == [1, 3, 0]
    assert [kept[0][0].old_value, kept[2][0].old_value] == [contextvars.Token.MISSING] * 2


def test_the_handle_shows_its_context(loop):
    if not hasattr(asyncio.Handle, "get_context"):
        get = lambda handle: handle._context  # noqa: E731
    else:
        get = asyncio.Handle.get_context
    seen = []

    def callback(i):
        var.set(i)
        seen.append(get(handles[i])[var])

    handles = [loop.call_soon(callback, 0), loop.call_soon(callback, 1), loop.call_soon(callback, 2)]
    before = get(handles[1])
    assert before is get(handles[1]) and get(handles[0]) is not before
    run(loop)
    assert seen == [0, 1, 2]
    assert [get(handle)[var] for handle in handles] == [0, 1, 2]
    assert get(handles[1]) is before


def test_a_reader_keeps_its_context(loop):
    read, write = os.pipe()
    seen = []

    def readable():
        os.read(read, 1)
        var.set(var.get() + 1)
        seen.append(var.get())
        if len(seen) == 4:
            loop.stop()

    loop.add_reader(read, readable)
    os.write(write, b"1234")
    loop.run_forever()
    loop.remove_reader(read)
    os.close(read), os.close(write)
    assert seen == [1, 2, 3, 4] and var.get() == 0


def test_a_loop_inside_a_callback(factory):
    """Nested, as with nest_asyncio: the inner callbacks have contexts of their own."""
    outer, inner, seen = factory(), factory(), []

    def nested():
        var.set("outer")
        asyncio._set_running_loop(None)
        inner.call_soon(lambda: (seen.append(var.get()), var.set("inner")))
        inner.call_soon(lambda: seen.append(var.get()))
        run(inner)
        asyncio._set_running_loop(outer)
        seen.append(var.get())

    outer.call_soon(nested)
    run(outer)
    outer.close(), inner.close()
    assert seen == ["outer", "outer", "outer"]


def trace(factory, seed):
    """What a random program sees: callbacks that read, set, reset, and schedule more."""
    rng, loop, seen = random.Random(seed), factory(), []
    variables = [contextvars.ContextVar(f"v{i}", default=None) for i in range(3)]
    handles = []

    def callback(depth):
        tokens = []
        for _ in range(rng.randrange(5)):
            v = rng.choice(variables)
            action = rng.randrange(6)
            seen.append([w.get() for w in variables])
            if action == 0:
                tokens.append((v, v.set(rng.randrange(100))))
            elif action == 1 and tokens:
                w, token = tokens.pop()
                w.reset(token)
            elif action == 2 and depth:
                handles.append(loop.call_soon(callback, depth - 1))
            elif action == 3 and depth:
                handles.append(loop.call_later(0, callback, depth - 1))
            elif action == 4 and depth:
                loop.call_soon_threadsafe(callback, depth - 1)
            elif action == 5 and handles:
                context = rng.choice(handles)._context
                seen.append([context.get(w) for w in variables])

    for _ in range(20):
        handles.append(loop.call_soon(callback, 3))
    for _ in range(40):
        run(loop)
    loop.close()
    return seen


def test_random_programs_see_what_they_see_on_the_stock_loop(factory):
    for seed in range(30):
        assert trace(factory, seed) == trace(asyncio.SelectorEventLoop, seed)
