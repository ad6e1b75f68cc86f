"""The package's face of it all."""

import subprocess
import sys

import pytest
import treadle

NAMES = "Barrier BoundedSemaphore Condition Event LifoQueue Lock PriorityQueue Queue RLock Semaphore".split()


@pytest.mark.parametrize("name", NAMES)
def test_exported_and_documented(name):
    made = getattr(treadle, name)
    assert name in treadle.__all__ and len(made.__doc__.splitlines()[0]) > 20


def test_programs_without_it_do_not_import_asyncio():
    code = "import sys, treadle; assert 'asyncio' not in sys.modules; treadle.Lock; assert 'asyncio' in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_native_part_alone_says_what_is_missing():
    code = "from treadle import _native\ntry: _native.LockBase()\nexcept RuntimeError as error: print(error)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "_init_sync() comes first" in done.stdout
