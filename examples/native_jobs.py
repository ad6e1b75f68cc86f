"""C functions on a pool's threads, wholly without the GIL: submit_native().

Shows: a function of one documented signature, from a library that ctypes opens, over buffers of
any kind; that workers run it side by side on an ordinary Python; how a result and an error come back.

The library is compiled when the program starts; one that is installed is used in the same way.
"""

import array
import ctypes
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

from treadle import ThreadPoolExecutor

# The signature that submit_native() calls: buffers, their sizes in bytes, how many.
SOURCE = r"""
#include <stddef.h>
#include <stdint.h>

/* data[0]: bytes to count; data[1]: 256 counters of 64 bits, written.
 * Returns the number of different bytes, or -1 if the counters do not fit. */
int64_t histogram(void **data, const size_t *sizes, size_t count)
{
    if (count != 2 || sizes[1] != 256 * sizeof(uint64_t))
        return -1;
    const unsigned char *bytes = data[0];
    uint64_t *counters = data[1];
    int64_t different = 0;
    for (size_t i = 0; i < sizes[0]; i++)
        different += counters[bytes[i]]++ == 0;
    return different;
}
"""


def compile_library(directory):
    compiler = shutil.which(os.environ.get("CC", "cc")) or shutil.which("gcc")
    if compiler is None:
        sys.exit("this example needs a C compiler (cc)")
    source, library = directory / "histogram.c", directory / "histogram.so"
    source.write_text(SOURCE)
    subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", library, source], check=True)
    return ctypes.CDLL(str(library))


def counters():
    return array.array("Q", bytes(256 * 8))


def main():
    with tempfile.TemporaryDirectory() as directory:
        histogram = compile_library(pathlib.Path(directory)).histogram

    parts = [os.urandom(20_000_000) for _ in range(4)]
    with ThreadPoolExecutor(max_workers=4) as pool:
        started = time.perf_counter()
        one = pool.submit_native(histogram, parts[0], counters()).result()
        alone = time.perf_counter() - started

        # read from the parts, write into one table each, all four at the same time
        tables = [counters() for _ in parts]
        started = time.perf_counter()
        futures = [pool.submit_native(histogram, part, table) for part, table in zip(parts, tables, strict=True)]
        different = [future.result() for future in futures]
        together = time.perf_counter() - started

        # what it returns is the result; how it reports an error is up to it
        refused = pool.submit_native(histogram, b"abc", bytearray(8)).result()

    print("different bytes:", one, different)
    print("counted:", sum(map(sum, tables)), "of", sum(map(len, parts)))
    print("refused:", refused)
    print(f"one part {alone:.3f} s, four at once {together:.3f} s on {os.cpu_count()} CPUs")


if __name__ == "__main__":
    main()
