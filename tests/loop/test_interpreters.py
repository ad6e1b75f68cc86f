"""Loops in interpreters with a GIL of their own, one after the other and at once."""

import subprocess
import sys
import textwrap

import pytest
from support import run_script
from support.interpreters import in_interpreters, needs_interpreters, script

pytestmark = needs_interpreters

LOOP = """
import asyncio, threading
import treadle

async def scheduling():
    loop = asyncio.get_running_loop()
    assert isinstance(loop, treadle.EventLoop) and isinstance(loop, asyncio.SelectorEventLoop)
    assert await asyncio.gather(*(asyncio.sleep(0.001 * (n % 3), n) for n in range(100))) == list(range(100))
    future = loop.create_future()
    threading.Thread(target=loop.call_soon_threadsafe, args=(future.set_result, 5)).start()
    assert await future == 5
    async with asyncio.timeout(30):
        await asyncio.sleep(0)
    assert loop.stats()["timers"]["fired"] >= 66

async def executor():
    assert await asyncio.to_thread(pow, 2, 10) == 1024
    loop = asyncio.get_running_loop()
    assert await asyncio.gather(*(loop.run_in_executor(None, abs, -n) for n in range(100))) == list(range(100))

async def streams():
    async def serve(reader, writer):
        while data := await reader.read(1000):
            writer.write(data)
            await writer.drain()
        writer.close()
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        address = server.sockets[0].getsockname()
        async def client(n):
            reader, writer = await asyncio.open_connection(*address)
            message = b"%d" % n * 1000
            writer.write(message)
            assert await reader.readexactly(len(message)) == message
            writer.close()
            await writer.wait_closed()
        await asyncio.gather(*(client(n) for n in range(10)))

async def main():
    await scheduling()
    await executor()
    await streams()

treadle.run(main())
with treadle.Runner(debug=True) as runner:
    runner.run(main())
treadle.install()
asyncio.run(main())
"""

WATCHDOG = """
import asyncio, logging, time
import treadle
seen = []
class Handler(logging.Handler):
    def emit(self, record):
        seen.append(record.getMessage())
logging.getLogger("asyncio").addHandler(Handler())
async def main():
    asyncio.get_running_loop().watchdog(0.02)
    deadline = time.monotonic() + 20
    while not seen and time.monotonic() < deadline:
        time.sleep(0.005)
    assert "time.sleep(0.005)" in seen[0] or "has blocked the event loop" in seen[0], seen
treadle.run(main())
"""

OPEN = """
import asyncio, treadle
loop = treadle.new_event_loop()
loop.call_soon(print, "never")
loop.call_later(3600, print, "never")
loop.watchdog(3600)
"""

# What the watchdog needs of Python itself.
FRAMES = """
import sys, threading
thread = threading.Thread(target=sys._current_frames)
thread.start()
thread.join()
"""

SOURCES = {"LOOP": LOOP, "WATCHDOG": WATCHDOG, "OPEN": OPEN, "FRAMES": FRAMES}


def test_one_after_the_other():
    in_interpreters(
        """
    run(LOOP)
    exec(LOOP)
    run(LOOP)
    print("end")
""",
        **SOURCES,
    )


def test_several_at_once():
    in_interpreters(
        """
    failures = []
    def work():
        try:
            run(LOOP)
        except BaseException as error:
            failures.append(error)
    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    exec(LOOP)
    for thread in threads:
        thread.join()
    assert not failures, failures
    print("end")
""",
        **SOURCES,
    )


def python_can_show_frames():
    code = textwrap.dedent(script("    run(FRAMES)\n", **SOURCES))
    return subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


def test_the_watchdog():
    if not python_can_show_frames():
        pytest.skip("sys._current_frames() of this version breaks in an interpreter with its own GIL")
    in_interpreters(
        """
    run(WATCHDOG)
    print("end")
""",
        **SOURCES,
    )


def test_an_interpreter_that_ends_with_an_open_loop():
    out, err = run_script(script("    run(OPEN)\n    print('end')\n", **SOURCES), status=None)
    assert out.strip() == "end" and "Fatal" not in err, err
