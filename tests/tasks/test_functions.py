"""The functions where native tasks are not switched on, and what they need."""

import os
import subprocess
import sys

import pytest
import treadle

PROGRAM = """
import asyncio, treadle
from treadle import aio

async def value(of):
    await asyncio.sleep(0)
    return of

async def main():
    assert await aio.gather(value(1), value(2)) == [1, 2]
    assert await aio.gather() == []
    assert await aio.shield(value(3)) == 3
    assert await aio.wait_for(value(4), 3600) == 4
    task = asyncio.ensure_future(value(5))
    assert await aio.wait([task], timeout=3600) == ({task}, set())
    assert [await each for each in aio.as_completed([value(6)])] == [6]

assert treadle.Task is asyncio.Task
treadle.run(main())
asyncio.run(main())
"""


def test_without_native_tasks():
    environment = {**os.environ, "TREADLE_TASKS": "0"}
    subprocess.run([sys.executable, "-c", PROGRAM], env=environment, check=True, timeout=60)


def test_before_they_were_imported():
    program = "from treadle import _native\nfor f in (_native.gather, _native.shield):\n  try: f(None)\n  except RuntimeError: print('refused')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "refused\n" * 2


def test_the_native_part_of_as_completed_refuses_others():
    from treadle import _functions  # noqa: F401 - gets it ready
    from treadle import _native

    with pytest.raises(TypeError):
        _native._watch_completed([], None, None, None, None)
    with pytest.raises(TypeError):
        _native._next_completed(None)
    assert treadle.gather is _native.gather
