"""Whole programs: how they end, and coroutines that are not Python's own."""

import asyncio
import collections.abc
import signal
import subprocess
import sys

import pytest
from support import run_script, script_environment

MAKE = {"stock": "asyncio.SelectorEventLoop", "treadle": "treadle.new_event_loop"}
PREAMBLE = "import asyncio, gc, os, signal, sys, threading, treadle\nnew_loop = {make}\n"


@pytest.fixture(params=MAKE)
def preamble(request):
    return PREAMBLE.format(make=MAKE[request.param])


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("held", ["loop", "loop.__dict__['me'] = loop", "sys.loop = loop"])
def test_exit_without_close(preamble, debug, held):
    """The interpreter takes an open loop away, with all that is queued, without a word."""
    program = f"""
loop = new_loop()
loop.set_debug({debug})
loop.run_until_complete(asyncio.sleep(0))
loop.call_soon(print)
loop.call_later(5, print)
loop.call_soon_threadsafe(print)
{held}
print('end')
"""
    assert run_script(preamble + program, options=["-W", "ignore"]) == "end\n"


def test_exit_within_a_callback(preamble):
    program = """
async def main():
    server = await asyncio.start_server(print, '127.0.0.1', 0)
    asyncio.get_running_loop().call_soon(sys.exit, 7)
    await server.serve_forever()

loop = new_loop()
try:
    loop.run_until_complete(main())
finally:
    loop.close()
"""
    output, errors = run_script(preamble + program, status=7, options=["-W", "ignore"])
    assert "Fatal" not in errors


@pytest.mark.parametrize("runs", [1, 2])
def test_ctrl_c(preamble, runs):
    """A server that waits for clients is interrupted, in the loop's first run or in a later one."""
    program = f"""
async def serve():
    global server
    server = await asyncio.start_server(print, '127.0.0.1', 0)

loop = new_loop()
if {runs} == 2:
    loop.run_until_complete(serve())
else:
    loop.create_task(serve())
loop.call_later(0.05, lambda: print('ready', flush=True))
try:
    loop.run_forever()
except KeyboardInterrupt:
    print('interrupted')
finally:
    server.close()
    loop.run_until_complete(server.wait_closed())
    loop.close()
"""
    process = subprocess.Popen(
        [sys.executable, "-c", preamble + program],
        env=script_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )
    with process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=30) == ("interrupted\n", "") and process.returncode == 0


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="interrupts itself by a timer")
def test_ctrl_c_while_python_runs(preamble):
    program = """
def work():
    print('working')
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    while True:
        pass

loop = new_loop()
signal.signal(signal.SIGALRM, signal.default_int_handler)
loop.call_soon(work)
try:
    loop.run_forever()
except KeyboardInterrupt:
    print('interrupted')
loop.run_until_complete(asyncio.sleep(0.01))
loop.close()
"""
    assert run_script(preamble + program) == "working\ninterrupted\n"


def test_fork_from_a_thread(preamble):
    """The thread that forked is the child's main thread: it may have a loop and handle signals."""
    program = """
loop = new_loop()
loop.add_signal_handler(signal.SIGINT, print)

def child():
    loop = new_loop()
    got = []
    loop.add_signal_handler(signal.SIGUSR1, lambda: (got.append(1), loop.stop()))
    loop.call_soon(os.kill, os.getpid(), signal.SIGUSR1)
    loop.run_forever()
    loop.close()
    os._exit(0 if got == [1] else 1)

def fork():
    pid = os.fork()
    if pid == 0:
        try:
            child()
        finally:
            os._exit(2)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))

thread = threading.Thread(target=fork)
thread.start()
thread.join()
loop.remove_signal_handler(signal.SIGINT)
loop.run_until_complete(asyncio.sleep(0))
loop.close()
"""
    assert run_script(preamble + program, options=["-W", "ignore"]) == "0\n"


def test_loops_come_and_go_next_to_a_server_thread(preamble):
    program = """
def serve(ready):
    async def main():
        stop = asyncio.Event()

        async def echo(reader, writer):
            writer.write(await reader.readline())
            writer.close()

        async with await asyncio.start_server(echo, '127.0.0.1', 0) as server:
            ready.append((asyncio.get_running_loop(), stop, server.sockets[0].getsockname()))
            await stop.wait()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())

async def talk(address):
    reader, writer = await asyncio.open_connection(*address)
    writer.write(b'hello\\n')
    assert await reader.read() == b'hello\\n'
    writer.close()
    await writer.wait_closed()

for _ in range(20):
    ready = []
    thread = threading.Thread(target=serve, args=(ready,))
    thread.start()
    while not ready:
        pass
    loop, stop, address = ready.pop()
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(talk(address))
    loop.call_soon_threadsafe(stop.set)
    thread.join()
print('end')
"""
    assert run_script(preamble + program) == "end\n"


class Compiled(collections.abc.Coroutine):
    """What compilers of Python make of a coroutine: an object with the methods of one."""

    def __init__(self, coroutine):
        self.coroutine = coroutine

    def send(self, value):
        return self.coroutine.send(value)

    def throw(self, *error):
        return self.coroutine.throw(*error)

    def close(self):
        return self.coroutine.close()

    def __await__(self):
        return self.coroutine.__await__()


def test_coroutines_of_other_kinds(run, loop):
    async def work():
        await asyncio.sleep(0.001)
        return 5

    assert loop.run_until_complete(Compiled(work())) == 5

    async def main():
        assert await asyncio.create_task(Compiled(work())) == 5
        assert await Compiled(work()) == 5
        assert await asyncio.gather(Compiled(work()), work()) == [5, 5]

    run(main)


def test_awaitables_of_other_kinds(run, loop):
    class Awaitable:
        def __await__(self):
            yield from asyncio.sleep(0.001).__await__()
            return 5

    async def main():
        assert await Awaitable() == 5
        assert await asyncio.wait_for(Awaitable(), 10) == 5

    run(main)
    assert loop.run_until_complete(Awaitable()) == 5
