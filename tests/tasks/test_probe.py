"""Native tasks are used where asyncio's are laid out as expected, and only there."""

import asyncio

import pytest
import treadle
from support import run_script
from treadle import _native

STOCK = """
import asyncio, treadle

async def main():
    task = asyncio.create_task(asyncio.sleep(0))
    await task
    return type(task) is asyncio.Task and type(asyncio.get_running_loop().create_future()) is asyncio.Future

assert treadle.run(main()), "native tasks in use"
assert treadle.Task is asyncio.Task and treadle.LoopFuture is asyncio.Future
print("stock")
"""

SWITCHED_OFF = "import os; os.environ['TREADLE_TASKS'] = '0'\n" + STOCK

OTHER_SIZE = "from treadle import _native; _native._look_at_task = lambda task: None\n" + STOCK

OTHER_PLACE = """
from treadle import _native
look = _native._look_at_future
_native._look_at_future = lambda future: {**look(future), "result": 1}
""" + STOCK

OTHER_STEP = """
from treadle import _native
look = _native._look_at_words
_native._look_at_words = lambda op, first, count: (1,) * count if first > 1 else look(op, first, count)
""" + STOCK

REPLACED = """
import asyncio
class Task(asyncio.tasks._PyTask): pass
asyncio.Task = asyncio.tasks.Task = Task
import treadle
async def main():
    task = asyncio.create_task(asyncio.sleep(0))
    await task
    return type(task)
assert treadle.run(main()) is Task
print("stock")
"""

IN_A_LOOP = """
import asyncio
async def main():
    task = asyncio.current_task()
    import treadle._loop
    assert asyncio.current_task() is task and asyncio.all_tasks() == {task}
    await asyncio.sleep(0)
    return treadle.Task is not asyncio.Task
print(asyncio.run(main()))
"""

NAMES = """
import asyncio, treadle
async def main():
    first = asyncio.current_task().get_name()
    ours = asyncio.create_task(asyncio.sleep(0))
    stock = asyncio.Task(asyncio.sleep(0))
    last = asyncio.create_task(asyncio.sleep(0))
    return first, ours.get_name(), stock.get_name(), last.get_name()
print(*treadle.run(main()))
"""


@pytest.mark.parametrize("program", [SWITCHED_OFF, OTHER_SIZE, OTHER_PLACE, OTHER_STEP, REPLACED])
def test_falls_back(program):
    assert run_script(program).split() == ["stock"]


def test_in_use():
    assert treadle.Task is _native.Task and treadle.LoopFuture is _native.LoopFuture
    assert treadle.Task.__basicsize__ == asyncio.Task.__basicsize__


def test_import_in_a_running_loop():
    assert run_script(IN_A_LOOP).split() == ["True"]


def test_names_are_counted_on():
    """The samples take no number; where asyncio keeps the last one in sight, its tasks and ours share it."""
    names = run_script(NAMES).split()
    assert names[:2] == ["Task-1", "Task-2"]
    if names[2] != "Task-1":  # 3.11 counts where nobody can see it
        assert names[2:] == ["Task-3", "Task-4"]
