"""Shared memory for tasks: what of it is naturally Python."""

from __future__ import annotations

import importlib
import math
import operator
from collections.abc import Iterable
from multiprocessing import reduction
from typing import Any

from . import _native

__all__ = ["shared_array"]


def _from_duplicate(duplicate: Any) -> _native.SharedBuffer:
    return _native._shared_from_fd(duplicate.detach())


def _reduce(buffer: _native.SharedBuffer) -> Any:
    """How multiprocessing passes a buffer on; a pool has a way of its own."""
    if _native._is_pickling():
        return buffer.__reduce_ex__(5)
    return _from_duplicate, (reduction.DupFd(buffer.fileno()),)


reduction.register(_native.SharedBuffer, _reduce)


def shared_array(shape: int | Iterable[int], dtype: Any = float, *, order: str = "C") -> Any:
    """Return a numpy array of zeros whose memory processes share.

    It is an ordinary array.  Passed to a task of a treadle process pool, or
    returned from one, it arrives as an array of the same memory instead of a
    copy: what one process writes the others see, at once and without any order
    of their own making; use a lock where that matters.  The same goes for views of
    it that are contiguous (rows of it, say); other views, and results computed
    from it, are data like any other and are copied.

    The memory has no name.  It is freed when the last process that has the array
    or a view of it drops it or ends, however it ends.

    shape is a length or several, dtype what numpy.dtype() accepts, order "C" or "F".
    Raises ImportError without numpy, ValueError for a dtype that contains Python
    objects or a negative length, and OSError if the system has no room.
    """
    try:
        np: Any = importlib.import_module("numpy")
    except ImportError as error:
        raise ImportError("shared_array() needs numpy; SharedBuffer works without it") from error
    element = np.dtype(dtype)
    if element.hasobject:
        raise ValueError(f"processes cannot share Python objects, which {element} contains")
    lengths = tuple(map(operator.index, shape)) if isinstance(shape, Iterable) else (operator.index(shape),)
    if any(length < 0 for length in lengths):
        raise ValueError("negative dimensions are not allowed")
    size = math.prod(lengths) * element.itemsize
    if size == 0:
        return np.zeros(lengths, element, order=order)
    return np.ndarray(lengths, element, buffer=_native.SharedBuffer(size), order=order)
