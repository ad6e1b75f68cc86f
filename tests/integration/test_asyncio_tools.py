"""`python -m asyncio ps` and `pstree` look into the memory of another process, where they find native tasks."""

import re
import signal
import subprocess
import sys

import pytest
from support.scripts import script_environment

if sys.version_info < (3, 14):
    pytest.skip("asyncio's tools came with 3.14", allow_module_level=True)

PROGRAM = """
import asyncio
import sys
import time
import treadle

async def leaf():
    await asyncio.get_running_loop().create_future()

async def branch():
    async with asyncio.TaskGroup() as group:
        group.create_task(leaf(), name="first leaf")
        group.create_task(leaf(), name="second leaf")

def stand_still():
    print("ready", flush=True)
    time.sleep(3600)

async def main():
    asyncio.current_task().set_name("root")
    loop = asyncio.get_running_loop()
    for _ in range(100):
        await asyncio.create_task(asyncio.sleep(0))  # the memory of these is used again
    task = asyncio.create_task(branch(), name="branch")
    await asyncio.sleep(0)
    for _ in range(5):
        await asyncio.sleep(0)
    loop.call_soon(stand_still)
    await task

factory = treadle.new_event_loop if sys.argv[1] == "treadle" else asyncio.SelectorEventLoop
with asyncio.Runner(loop_factory=factory) as runner:
    runner.run(main())
"""


@pytest.fixture
def process(loop_name):
    command = [sys.executable, "-c", PROGRAM, loop_name]
    with subprocess.Popen(command, env=script_environment(), stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.send_signal(signal.SIGKILL)


def looked_at(tool, process):
    command = [sys.executable, "-m", "asyncio", tool, str(process.pid)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if done.returncode != 0 and "ermi" in done.stderr:
        pytest.skip("this process may not read the memory of another")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_pstree(process):
    tree = [line.strip("│├└─ ") for line in looked_at("pstree", process).splitlines()]
    names = [line.removeprefix("(T) ") for line in tree if line.startswith("(T) ")]
    assert names[:2] == ["root", "branch"] and sorted(names[2:]) == ["first leaf", "second leaf"]
    assert sum(line.startswith("leaf ") for line in tree) == 2


def test_ps(process):
    lines = looked_at("ps", process).splitlines()[2:]
    rows = [re.split(" {2,}", line.strip()) for line in lines]
    awaiters = {name: rest[-2] for _, _, name, *rest in rows if name != "root"}
    assert len(rows) == 4 and awaiters == {"branch": "root", "first leaf": "branch", "second leaf": "branch"}
