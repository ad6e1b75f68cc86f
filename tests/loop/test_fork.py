"""Forked children: they cannot use the parent's loop, nor disturb it, and can make their own."""

import os
import sys

import pytest
from support import run_script

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")

# `parent` runs in main(), a coroutine on a running loop, and forks; `in_child(function)`
# calls function() in the child and ends that; the parent fails if the child does.
PROGRAM = """
import asyncio, gc, os, signal, socket, sys, threading, time, traceback, warnings
import treadle
warnings.simplefilter("ignore")

def in_child(function):
    sys.stdout.flush()
    child = os.fork()
    if child:
        assert os.waitpid(child, 0)[1] == 0
        return
    signal.alarm(30)  # a child that hangs dies, and its status tells
    status = 1
    try:
        function()
        sys.stdout.flush()
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)

def refused(function, *args):
    try:
        function(*args)
    except RuntimeError as error:
        assert "parent process" in str(error), error
    else:
        raise AssertionError(function)

{definitions}

async def main():
    loop = asyncio.get_running_loop()
{parent}

with asyncio.Runner(loop_factory={factory}) as runner:
    runner.run(main())
print("end")
"""

TREADLE = "treadle.new_event_loop"
FACTORIES = pytest.mark.parametrize("factory", ["asyncio.SelectorEventLoop", TREADLE])
POLLERS = pytest.mark.parametrize("poller", ["epoll", "poll"])


def indent(text):
    return "\n".join("    " + line for line in text.strip().splitlines())


def run_program(factory, definitions, parent, **environment):
    program = PROGRAM.format(factory=factory, definitions=definitions.strip(), parent=indent(parent))
    out = run_script(program, **environment)
    assert out.splitlines()[-1] == "end"
    return out.splitlines()[:-1]


@FACTORIES
@pytest.mark.parametrize("run", ["asyncio.run", "treadle.run"])
def test_a_child_runs_a_loop_of_its_own(factory, run):
    definitions = f"""
def child():
    async def work():
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", "print(7)", stdout=-1)
        return (await process.communicate())[0], await asyncio.to_thread(pow, 2, 5)
    print(*{run}(work()))
"""
    assert run_program(factory, definitions, "in_child(child)\nawait asyncio.sleep(0)") == [r"b'7\n' 32"]


def test_a_child_runs_a_loop_after_install():
    definitions = """
treadle.install()
async def work():
    return type(asyncio.get_running_loop()).__name__
"""
    assert run_program(TREADLE, definitions, "in_child(lambda: print(asyncio.run(work())))") == ["EventLoop"]


@POLLERS
def test_the_parents_loop_is_refused(poller):
    definitions = """
async def nothing():
    pass
def child(loop, sock):
    refused(loop.call_soon, int)
    refused(loop.call_later, 1, int)
    refused(loop.call_at, 1, int)
    refused(loop.call_soon_threadsafe, int)
    refused(loop.add_reader, sock, int)
    refused(loop.add_writer, sock, int)
    refused(loop.run_in_executor, None, int)
    refused(loop.add_signal_handler, signal.SIGUSR1, int)
    refused(loop.watchdog, 1)
    coroutine = nothing()
    refused(loop.create_task, coroutine)
    coroutine.close()
    assert not loop.is_closed() and isinstance(loop.time(), float)
    loop._thread_id = None  # it was running when it was forked
    refused(loop.run_forever)
    refused(loop.run_until_complete, future)
    assert loop.remove_reader(sock) and not loop.remove_reader(sock)
    loop.close()
    assert loop.is_closed()
    try:
        loop.call_soon(int)
    except RuntimeError as error:
        assert str(error) == "Event loop is closed"
"""
    parent = """
global future
future = loop.create_future()
ours, theirs = socket.socketpair()
loop.add_reader(ours, future.set_result, None)
in_child(lambda: child(loop, ours))
theirs.send(b"x")
await future
"""
    assert run_program(TREADLE, definitions, parent, TREADLE_POLLER=poller) == []


@POLLERS
@pytest.mark.parametrize(
    "deed",
    [
        "loop.remove_reader(ours)",
        "ours.close(); theirs.close()",
        "[transport.abort() for transport in transports]",
        "loop._thread_id = None; loop.close()",
        "loop._thread_id = None; gc.collect()",
        "loop._write_to_self()",
        "loop._selector.close()",
    ],
)
def test_the_parent_does_not_notice(poller, deed):
    """Whatever the child does to its copies: what the parent waits for still comes."""
    definitions = f"""
transports = []
class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport
        transports.append(transport)
    def data_received(self, data):
        self.transport.write(data)
def child(loop, ours, theirs):
    try:
        {deed}
    except RuntimeError as error:
        assert "parent process" in str(error)
"""
    parent = """
ours, theirs = socket.socketpair()
seen = asyncio.Event()
loop.add_reader(ours, lambda: (ours.recv(1), seen.set()))
server = await loop.create_server(Echo, "127.0.0.1", 0)
reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
writer.write(b"1")
assert await reader.read(1) == b"1"
before = loop.stats()["polls"]
in_child(lambda: child(loop, ours, theirs))
theirs.send(b"x")
await asyncio.wait_for(seen.wait(), 20)
writer.write(b"2")
assert await asyncio.wait_for(reader.read(1), 20) == b"2"
other = await asyncio.open_connection(*server.sockets[0].getsockname())
for w in (writer, other[1]):
    w.close()
    await w.wait_closed()
server.close()
await server.wait_closed()
loop.remove_reader(ours)
"""
    assert run_program(TREADLE, definitions, parent, TREADLE_POLLER=poller) == []


@POLLERS
def test_a_child_that_returns_to_the_loop(poller):
    """It gets an error, and runs none of the callbacks that are the parent's."""
    definitions = """
def fork():
    global child
    child = os.fork()
"""
    parent = """
parent_id = os.getpid()
def only_in_the_parent():
    if os.getpid() != parent_id:
        print("ran in the child", flush=True)
loop.call_soon(fork)
loop.call_soon(only_in_the_parent)
loop.call_later(0.01, only_in_the_parent)
try:
    await asyncio.sleep(0.05)
finally:
    assert os.getpid() == parent_id
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
"""
    # the error ends the child as any that nobody handles; what it says goes to stderr
    program = PROGRAM.format(factory=TREADLE, definitions=definitions.strip(), parent=indent(parent))
    out, err = run_script(program, status=None, TREADLE_POLLER=poller)
    assert out.split() == ["end"], err
    assert "RuntimeError: this event loop is the parent process's" in err


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts descriptors in /proc")
@POLLERS
def test_the_child_keeps_no_descriptor_of_the_parents_loops(poller):
    definitions = """
def descriptors():
    return {os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if os.path.lexists(f"/proc/self/fd/{fd}")}
def child():
    print(sorted(name for name in descriptors() if name.startswith("anon_inode")))
"""
    parent = """
more = [treadle.new_event_loop() for _ in range(3)]
more.pop(1).close()
in_child(child)
for each in more:
    each.run_until_complete
    each.close()
"""
    assert run_program(TREADLE, definitions, parent, TREADLE_POLLER=poller) == ["[]"]


def test_signals_of_the_child_are_not_the_parents():
    definitions = """
def child():
    os.kill(os.getpid(), signal.SIGUSR1)
    assert signal.set_wakeup_fd(-1) == -1
"""
    parent = """
seen = []
loop.add_signal_handler(signal.SIGUSR1, seen.append, 1)
in_child(child)
await asyncio.sleep(0.05)
assert seen == []
signal.raise_signal(signal.SIGUSR1)
while not seen:
    await asyncio.sleep(0)
"""
    assert run_program(TREADLE, definitions, parent) == []


@FACTORIES
def test_multiprocessing_by_fork(factory):
    definitions = """
import multiprocessing
async def double(number):
    await asyncio.sleep(0)
    return 2 * number
def work(number, queue):
    queue.put(asyncio.run(double(number)))
"""
    parent = """
context = multiprocessing.get_context("fork")
queue = context.SimpleQueue()
process = context.Process(target=work, args=(21, queue))
process.start()
print(queue.get())
process.join()
assert process.exitcode == 0
"""
    assert run_program(factory, definitions, parent) == ["42"]


def test_forked_by_another_thread_while_the_loop_runs():
    definitions = """
def fork(loop):
    in_child(lambda: refused(loop.call_soon_threadsafe, int))
    in_child(lambda: print(treadle.run(asyncio.sleep(0, "fresh"))))
"""
    assert run_program(TREADLE, definitions, "await asyncio.to_thread(fork, loop)") == ["fresh"]


def test_children_of_children():
    definitions = """
def child(depth):
    if depth:
        async def work():
            refused(inherited[-1].call_soon, int)
            inherited.append(asyncio.get_running_loop())
            in_child(lambda: child(depth - 1))
        treadle.run(work())
        print(depth)
inherited = []
"""
    parent = "inherited.append(loop)\nin_child(lambda: child(3))"
    assert run_program(TREADLE, definitions, parent) == ["1", "2", "3"]


@FACTORIES
def test_forked_while_jobs_are_in_flight_and_threads_post(factory):
    """The parent misses none of them, and the child's own jobs come back to the child."""
    definitions = """
async def jobs(n):
    return sum(await asyncio.gather(*(asyncio.to_thread(abs, -1) for _ in range(n))))
def child():
    assert asyncio.run(jobs(20)) == 20
    assert treadle.run(jobs(20)) == 20
"""
    parent = """
stop = threading.Event()
posted = []
def post():
    while not stop.is_set():
        loop.call_soon_threadsafe(posted.append, 1)
        time.sleep(0.0005)
threads = [threading.Thread(target=post) for _ in range(2)]
for thread in threads:
    thread.start()
gate = threading.Event()
held = asyncio.ensure_future(asyncio.to_thread(gate.wait, 30))
for _ in range(5):
    many = asyncio.ensure_future(jobs(50))
    await asyncio.sleep(0)
    in_child(child)
    assert await many == 50
gate.set()
assert await held
stop.set()
for thread in threads:
    thread.join()
before = len(posted)
await asyncio.sleep(0)
assert posted
"""
    assert run_program(factory, definitions, parent) == []
