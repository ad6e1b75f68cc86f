"""nest_asyncio, which runs a loop inside itself: by the loop's own queues, and with tasks and futures in Python."""

import sys

import pytest
from support import run_script
from support.packages import need

need("nest_asyncio")

if sys.version_info >= (3, 14):
    pytest.skip("nest_asyncio does not know where asyncio of 3.14 keeps its tasks", allow_module_level=True)

PROGRAM = """
import asyncio
import sys
import nest_asyncio
import treadle

async def inner(number):
    await asyncio.sleep(0.001)
    return number

async def timed(number):
    async with asyncio.timeout(30):
        return await asyncio.create_task(inner(number))

async def nested(loop, depth):
    await asyncio.sleep(0)
    if depth == 0:
        return [await asyncio.gather(inner(1), inner(2))]
    return [depth, *loop.run_until_complete(nested(loop, depth - 1))]

async def first(loop):
    waiting = loop.create_task(inner(3))  # made before the patch, if that is made inside
    await asyncio.sleep(0)
    if when == "inside":
        nest_asyncio.apply(loop)
    task = asyncio.current_task()
    result = loop.run_until_complete(nested(loop, 3))
    assert asyncio.current_task() is task
    ensured = asyncio.ensure_future(inner(5))
    return result, await waiting, loop.run_until_complete(timed(4)), loop.run_until_complete(ensured)

which, when = sys.argv[1:]
loop = treadle.new_event_loop() if which == "treadle" else asyncio.SelectorEventLoop()
asyncio.set_event_loop(loop)
if when == "before":
    nest_asyncio.apply(loop)
assert loop.run_until_complete(first(loop)) == ([3, 2, 1, [1, 2]], 3, 4, 5)
assert not asyncio.all_tasks(loop)
loop.close()
print("nested")
"""


@pytest.mark.parametrize("when", ["before", "inside"])
def test_nested_runs(loop_name, when):
    """The patch is made before the loop runs, or by a task that is running, as notebooks do."""
    assert run_script(PROGRAM, loop_name, when) == "nested\n"
