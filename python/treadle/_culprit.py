"""Which part of a value cannot be pickled: a note on the error that pickling it raised."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

from . import _native

_TRIES = 500  # attempts to pickle a part, for one error
_DEPTH = 20
_looking = threading.local()


def explain(error: BaseException, value: Any, pickler: Any, names: tuple[str, ...]) -> None:
    """Add a note to ``error`` that says where in ``value`` the culprit is.

    value is a tuple whose items go by ``names``. Does nothing while it is at it.
    """
    if getattr(_looking, "busy", False) or not isinstance(error, Exception):
        return
    _looking.busy = True
    try:
        path, culprit = _find(value, names, _native.Codec(pickler), type(error))
    finally:
        _looking.busy = False
    if path:
        kind = type(culprit)
        error.add_note(f"what cannot be pickled: {path}, of type {kind.__module__}.{kind.__qualname__}")


def _find(value: Any, names: tuple[str, ...], codec: _native.Codec, error: type[Exception]) -> tuple[str, Any]:
    """The path to the innermost part that fails as the whole does, and the part."""
    tries = _TRIES
    path = ""
    parts: Iterator[tuple[str, Any]] = zip(names, value, strict=False)
    for _ in range(_DEPTH):
        for step, part in parts:
            tries -= 1
            if tries < 0:
                return path, value
            if _fails(part, codec, error):
                path, value = path + step, part
                parts = _parts(part)
                break
        else:
            break
    return path, value


def _fails(part: Any, codec: _native.Codec, error: type[Exception]) -> bool:
    try:
        codec.put_value(part)
    except error:
        return True
    except Exception:
        return False
    return False


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    """What pickling ``value`` pickles, and how to get there."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield f"[{_short(key)}]", item
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield f"[{index}]", item
    elif isinstance(value, (set, frozenset)):
        for item in value:
            yield f"{{{_short(item)}}}", item
    if (owner := getattr(value, "__self__", None)) is not None:
        yield ".__self__", owner
    for name in "func", "args", "keywords":  # of a functools.partial
        if hasattr(type(value), name):
            yield f".{name}", getattr(value, name)
    attributes = getattr(value, "__dict__", None)
    if isinstance(attributes, dict) and not isinstance(value, type):
        for name, item in attributes.items():
            yield f".{name}", item


def _short(value: Any) -> str:
    try:
        text = repr(value)
    except Exception:
        text = f"<{type(value).__name__}>"
    return text if len(text) <= 40 else text[:37] + "..."
