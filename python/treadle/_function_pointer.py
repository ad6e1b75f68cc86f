"""Addresses of C functions, from whatever Python object stands for one."""

import sys
from typing import Any

_CAPSULE_NAME = b"treadle.native_function"


def _from_ctypes(function: Any) -> int | None:
    ctypes = sys.modules.get("ctypes")
    if ctypes is None:
        return None
    if isinstance(function, ctypes._CFuncPtr):
        return ctypes.cast(function, ctypes.c_void_p).value or 0
    if isinstance(function, ctypes.c_void_p):
        return function.value or 0
    return None


def _from_cffi(function: Any) -> int | None:
    cffi = sys.modules.get("_cffi_backend")
    if cffi is None or not isinstance(function, cffi._CDataBase):
        return None
    ffi = cffi.FFI()
    kind = ffi.typeof(function)
    if kind.kind != "function" and kind is not ffi.typeof("void *"):
        raise TypeError(f"a C function pointer is required, not {function!r}")
    return int(ffi.cast("uintptr_t", function))


def _from_capsule(function: Any) -> int | None:
    if type(function).__name__ != "PyCapsule":
        return None
    import ctypes

    # not pythonapi's own attribute: its types are everybody's
    prototype = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)
    get = prototype(("PyCapsule_GetPointer", ctypes.pythonapi))
    return int(get(function, _CAPSULE_NAME) or 0)


def address_of(function: Any) -> int:
    """Return the address that ``function`` stands for.

    Takes an int, a ctypes function pointer or ``c_void_p``, a cffi function
    pointer, an object with an ``address`` (numba's cfunc), or a capsule named
    ``treadle.native_function``. Anything else is a TypeError.
    """
    if isinstance(function, int) and not isinstance(function, bool):
        if function < 0:
            raise ValueError(f"a function's address is not negative: {function}")
        return function
    for look in (_from_ctypes, _from_cffi, _from_capsule):
        address = look(function)
        if address is not None:
            return address
    address = getattr(function, "address", None)
    if isinstance(address, int):
        return address
    raise TypeError(
        "a C function pointer is required (ctypes, cffi, numba cfunc, a capsule named "
        f"'treadle.native_function' or an address), not {type(function).__name__!r}"
    )
