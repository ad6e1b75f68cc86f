"""The arguments of the methods that schedule, positional and by keyword, right and wrong."""

import asyncio
import contextvars
import inspect

import pytest
import treadle

CONTEXT = contextvars.Context()

# (method, positional arguments, keyword arguments) that are right
RIGHT = [
    ("call_soon", (int,), {}),
    ("call_soon", (), {"callback": int}),
    ("call_soon", (int, "5"), {"context": CONTEXT}),
    ("call_soon", (), {"context": None, "callback": int}),
    ("call_soon_threadsafe", (), {"callback": int, "context": CONTEXT}),
    ("call_soon_threadsafe", (int, "5", 10), {}),
    ("call_later", (0, int), {}),
    ("call_later", (0,), {"callback": int}),
    ("call_later", (), {"delay": 0, "callback": int}),
    ("call_later", (), {"callback": int, "context": CONTEXT, "delay": 0.5}),
    ("call_later", (0, int, "5"), {"context": CONTEXT}),
    ("call_at", (), {"when": 0, "callback": int}),
    ("call_at", (0,), {"context": None, "callback": int}),
    ("call_at", (0, int, "5", 10), {"context": None}),
]

WRONG = [
    ("call_soon", (), {}),
    ("call_soon", (), {"context": CONTEXT}),
    ("call_soon", (int,), {"callback": int}),
    ("call_soon", (int,), {"other": 1}),
    ("call_soon", (int,), {"context": CONTEXT, "other": 1}),
    ("call_soon_threadsafe", (), {}),
    ("call_soon_threadsafe", (int,), {"other": 1}),
    ("call_later", (), {}),
    ("call_later", (1,), {}),
    ("call_later", (), {"delay": 1}),
    ("call_later", (), {"callback": int}),
    ("call_later", (1,), {"delay": 1, "callback": int}),
    ("call_later", (1, int), {"callback": int}),
    ("call_later", (1, int), {"delay": 1}),
    ("call_later", (None, int), {}),
    ("call_later", ("1", int), {}),
    ("call_at", (), {}),
    ("call_at", (1,), {"when": 1}),
    ("call_at", (None,), {"callback": int}),
]


def case(each):
    method, args, kwargs = each
    return f"{method}({', '.join([*map(repr, args), *kwargs])})"


@pytest.mark.parametrize("each", RIGHT, ids=case)
def test_right(loop, each):
    method, args, kwargs = each
    handle = getattr(loop, method)(*args, **kwargs)
    assert handle._callback is int
    assert handle._args == tuple(arg for arg in args if isinstance(arg, str) or arg == 10)
    if "context" in kwargs and kwargs["context"] is not None:
        assert handle._context is CONTEXT
    else:
        assert isinstance(handle._context, contextvars.Context) and handle._context is not CONTEXT
    handle.cancel()


@pytest.mark.parametrize("each", WRONG, ids=case)
def test_wrong(each):
    """The same exception; where Python says it, without the name of the class."""

    def error(factory):
        method, args, kwargs = each
        loop = factory()
        try:
            with pytest.raises(TypeError) as caught:
                getattr(loop, method)(*args, **kwargs)
        finally:
            loop.close()
        return str(caught.value).removeprefix("BaseEventLoop.")

    ours, stock = error(treadle.new_event_loop), error(asyncio.SelectorEventLoop)
    if each[1][:1] == ("1",):  # not worded by asyncio
        assert "float" in stock or "str" in stock
    else:
        assert ours == stock


def test_signatures():
    loops = treadle.new_event_loop(), asyncio.SelectorEventLoop()
    for method in ("call_soon", "call_soon_threadsafe", "call_later", "call_at"):
        ours, stock = (inspect.signature(getattr(loop, method)) for loop in loops)
        assert ours == stock
    for loop in loops:
        loop.close()
