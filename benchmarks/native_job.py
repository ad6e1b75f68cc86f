"""A C function for submit_native, compiled when first needed: a busy loop over its buffers."""

from __future__ import annotations

import ctypes
import functools
import tempfile
from collections.abc import Callable
from pathlib import Path

import ccompiler

SOURCE = """
#include <stddef.h>
#include <stdint.h>

enum { PASSES = 1000 };

int64_t treadle_bench_job(void **data, const size_t *sizes, size_t count)
{
    uint32_t hash = 2166136261u;
    for (int pass = 0; pass < PASSES; pass++)
        for (size_t buffer = 0; buffer < count; buffer++) {
            const unsigned char *bytes = data[buffer];
            for (size_t i = 0; i < sizes[buffer]; i++)
                hash = (hash ^ bytes[i]) * 16777619u;
        }
    return hash;
}
"""
FLAGS = ("-shared", "-fPIC")
PROTOTYPE = ctypes.CFUNCTYPE(
    ctypes.c_int64,
    ctypes.POINTER(ctypes.c_void_p),
    ctypes.POINTER(ctypes.c_size_t),
    ctypes.c_size_t,
)


@functools.cache
def function() -> Callable[..., int]:
    """Compile and load the function; the library stays loaded until the process ends."""
    with tempfile.TemporaryDirectory() as scratch:
        source, library = Path(scratch, "job.c"), Path(scratch, "job.so")
        source.write_text(SOURCE, encoding="ascii")
        ccompiler.compile_to(library, [source], *FLAGS)
        return PROTOTYPE(("treadle_bench_job", ctypes.CDLL(str(library))))
