"""Subprocesses: what they are given, their pipes, their end."""

import asyncio
import gc
import os
import pathlib
import signal
import subprocess
import sys

import pytest
from support.sides import until

PIPE = asyncio.subprocess.PIPE
BLOCKED = (sys.executable, "-c", "import time; time.sleep(3600)")
needs_proc = pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts descriptors in /proc")


@pytest.fixture(autouse=True)
def running_loop_for_watchers(loop):
    """Before 3.12 the default child watcher may want the thread's loop."""
    asyncio.set_event_loop(loop)
    yield
    asyncio.set_event_loop(None)


def python(code, *arguments, **options):
    return asyncio.create_subprocess_exec(sys.executable, "-c", code, *arguments, **options)


async def output_of(code, *arguments, data=None, **options):
    process = await python(code, *arguments, stdin=PIPE, stdout=PIPE, stderr=PIPE, **options)
    output, errors = await process.communicate(data)
    assert (errors, process.returncode) == (b"", 0)
    return output.decode().strip()


def descriptors():
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("given", [{"FOO": "bar"}, {b"FOO": b"bar"}, {"FOO": "ünï"}])
def test_environment(run, given):
    async def main():
        answer = await output_of("import os; print(ascii(os.environ['FOO']))", env={**os.environ, **given})
        ((_, value),) = given.items()
        assert answer == ascii(os.fsdecode(value))

    run(main)


@pytest.mark.parametrize("kind", [str, pathlib.Path, os.fsencode])
def test_folder(run, tmp_path, kind):
    async def main():
        assert await output_of("import os; print(os.getcwd())", cwd=kind(tmp_path)) == str(tmp_path)
        with pytest.raises(FileNotFoundError):
            await output_of("", cwd=kind(tmp_path / "missing"))

    run(main)


def test_preexec_fn(run):
    async def main():
        code = "import os; print(os.getenv('FRUIT'))"
        assert await output_of(code, preexec_fn=lambda: os.putenv("FRUIT", "apple")) == "apple"

        def fail():
            raise ValueError

        with pytest.raises(subprocess.SubprocessError, match="preexec_fn"):
            await python("", preexec_fn=fail)

    run(main)


def test_executable(run):
    async def main():
        process = await asyncio.create_subprocess_exec(
            b"another name", "-c", "echo $0", executable="/bin/sh", stdout=PIPE
        )
        assert await process.communicate() == (b"another name\n", None)
        process = await asyncio.create_subprocess_exec(pathlib.Path(sys.executable), b"-c", b"print(1)", stdout=PIPE)
        assert await process.communicate() == (b"1\n", None)

    run(main)


def test_pid(run):
    async def main():
        process = await python("import os; print(os.getpid())", stdout=PIPE)
        output, _ = await process.communicate()
        assert int(output) == process.pid

    run(main)


def test_conversation_and_signal(run):
    code = """\
import signal
signal.signal(signal.SIGUSR1, lambda number, frame: print('signal', flush=True))
while (line := input()) != 'end':
    print(line.upper(), flush=True)
exit(11)
"""

    async def main():
        process = await python(code, stdin=PIPE, stdout=PIPE)
        for number in range(5):
            process.stdin.write(b"hello %d\n" % number)
            await process.stdin.drain()
            assert await process.stdout.readline() == b"HELLO %d\n" % number
            process.send_signal(signal.SIGUSR1)
            assert await process.stdout.readline() == b"signal\n"
        process.stdin.write(b"end\n")
        assert await process.wait() == 11 and process.returncode == 11

    run(main)


@pytest.mark.parametrize(
    ("end", "status"),
    [
        (lambda process: process.kill(), -signal.SIGKILL),
        (lambda process: process.terminate(), -signal.SIGTERM),
        (lambda process: process.send_signal(signal.SIGHUP), -signal.SIGHUP),
    ],
)
def test_ending_it(run, end, status):
    async def main():
        process = await asyncio.create_subprocess_exec(*BLOCKED)
        assert process.returncode is None
        end(process)
        assert await process.wait() == status
        assert await process.wait() == status
        with pytest.raises(ProcessLookupError):
            end(process)

    run(main)


def test_streams(run):
    code = "import sys; print('out', flush=True); print('err', file=sys.stderr); sys.stdout.write(sys.stdin.read())"

    async def main():
        process = await python(code, stdin=PIPE, stdout=PIPE, stderr=PIPE)
        assert await process.communicate(b"in") == (b"out\nin", b"err\n")
        process = await python(code, stdin=PIPE, stdout=PIPE, stderr=asyncio.subprocess.STDOUT)
        assert await process.communicate(b"in") == (b"out\nerr\nin", None)
        null = asyncio.subprocess.DEVNULL
        process = await python(code, stdin=null, stdout=null, stderr=null)
        assert await process.communicate() == (None, None) and process.returncode == 0

    run(main)


def test_files_as_streams(run, tmp_path):
    code = "import sys; sys.stdout.write(sys.stdin.read().upper()); sys.stderr.write('err')"
    (tmp_path / "in").write_text("text")

    async def main():
        with (
            open(tmp_path / "in") as given,
            open(tmp_path / "out", "w") as output,
            open(tmp_path / "err", "w") as errors,
        ):
            process = await python(code, stdin=given, stdout=output, stderr=errors.fileno())
            assert await process.wait() == 0
        assert [(tmp_path / name).read_text() for name in ("out", "err")] == ["TEXT", "err"]

    run(main)


@pytest.mark.parametrize("stream", ["stdin", "stdout", "stderr"])
def test_bad_descriptors(run, stream):
    async def main():
        number = os.dup(0)
        os.close(number)
        with pytest.raises(OSError):
            await asyncio.create_subprocess_exec("true", **{stream: number})

    run(main)


def test_what_is_inherited(run, tmp_path):
    code = """\
import os, sys
for number in map(int, sys.argv[1:]):
    try:
        os.fstat(number)
        print('open')
    except OSError:
        print('closed')
"""

    async def main():
        with open(tmp_path / "one", "w") as one, open(tmp_path / "two", "w") as two:
            numbers = str(one.fileno()), str(two.fileno())
            assert (await output_of(code, *numbers, pass_fds=[one.fileno()])).split() == ["open", "closed"]
            os.set_inheritable(two.fileno(), True)
            assert (await output_of(code, *numbers)).split() == ["closed", "closed"]
            assert (await output_of(code, *numbers, close_fds=False)).split() == ["closed", "open"]

    run(main)


def test_standard_streams_stay_inheritable(run):
    async def main():
        await output_of("")
        assert [os.get_inheritable(number) for number in range(3)] == [True] * 3

    run(main)


def test_session(run):
    async def main():
        code = "import os; print(os.getsid(0) == os.getpid())"
        assert await output_of(code, start_new_session=True) == "True"
        assert await output_of(code) == "False"

    run(main)


def test_shell(run):
    async def main():
        process = await asyncio.create_subprocess_shell("echo one; exit 7", stdout=PIPE)
        assert await process.communicate() == (b"one\n", None) and process.returncode == 7

    run(main)


@pytest.mark.parametrize("size", [1, 65536, 65537, 1_000_000])
def test_through_cat(run, size):
    async def main():
        process = await asyncio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
        data = bytes(range(256)) * (size // 256 + 1)
        assert (await process.communicate(data[:size]))[0] == data[:size]

    run(main)


@pytest.mark.parametrize("lines", [8191, 8192, 219_263, 219_264])
def test_much_input(run, lines):
    async def main():
        process = await python("import sys; print(len(sys.stdin.readlines()))", stdin=PIPE, stdout=PIPE)
        process.stdin.write(b"\n" * lines)
        await process.stdin.drain()
        process.stdin.close()
        assert int(await process.stdout.read()) == lines
        await process.wait()

    run(main)


def test_input_nobody_reads(run):
    async def main():
        process = await python("", stdin=PIPE)
        process.stdin.write(b"x" * 1_000_000)
        assert await process.communicate(b"more") == (None, None)
        assert process.returncode == 0

    run(main)


def test_missing_program(run):
    async def main():
        before = descriptors() if os.path.isdir("/proc/self/fd") else None
        for _ in range(10):
            with pytest.raises(FileNotFoundError):
                await asyncio.create_subprocess_exec("/nonexistent/program", stdout=PIPE, stderr=PIPE, stdin=PIPE)
        await asyncio.sleep(0.01)
        if before is not None:
            assert descriptors() <= before

    run(main)


@needs_proc
def test_descriptors_are_given_back(run):
    async def cycle():
        process = await asyncio.create_subprocess_exec("true", stdin=PIPE, stdout=PIPE, stderr=PIPE)
        await process.communicate()
        del process
        await asyncio.sleep(0)

    async def main():
        for _ in range(3):
            await cycle()
        gc.collect()
        before = descriptors()
        for _ in range(10):
            await cycle()
        gc.collect()
        assert descriptors() <= before

    run(main)


def test_wait_is_cancelled(run):
    async def main():
        process = await asyncio.create_subprocess_exec(*BLOCKED)
        waiting = asyncio.create_task(process.wait())
        await asyncio.sleep(0.01)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert process.returncode is None
        process.kill()
        assert await process.wait() == -signal.SIGKILL

    run(main)


@pytest.mark.parametrize("turns", range(5))
def test_start_is_cancelled(run, turns):
    """Wherever it was: no process is left running, none is left unreaped."""

    async def main():
        task = asyncio.create_task(asyncio.create_subprocess_exec(*BLOCKED, stdin=PIPE, stdout=PIPE))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        try:
            process = await task
        except asyncio.CancelledError:
            return
        process.kill()
        await process.wait()

    run(main)


def test_closed_transport_has_killed_it(run, loop):
    class Protocol(asyncio.SubprocessProtocol):
        def __init__(self):
            self.lost = loop.create_future()

        def connection_lost(self, error):
            self.lost.set_result(error)

    async def main():
        transport, protocol = await loop.subprocess_exec(Protocol, *BLOCKED)
        pid = transport.get_pid()
        transport.close()
        await protocol.lost
        assert transport.get_returncode() == -signal.SIGKILL
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)

    run(main)


def test_order_of_calls(run, loop):
    class Protocol(asyncio.SubprocessProtocol):
        def __init__(self):
            self.calls = []

        def connection_made(self, transport):
            self.calls.append("made")

        def pipe_data_received(self, fd, data):
            self.calls.append((fd, data))

        def pipe_connection_lost(self, fd, error):
            self.calls.append((fd, "lost"))

        def process_exited(self):
            self.calls.append("exited")

        def connection_lost(self, error):
            self.calls.append("lost")

    async def main():
        transport, protocol = await loop.subprocess_shell(Protocol, "echo 1; echo 2 >&2; cat", stdin=PIPE)
        transport.get_pipe_transport(0).close()
        await until(lambda: protocol.calls[-1] == "lost")
        assert protocol.calls[0] == "made" and protocol.calls.count("exited") == 1
        for fd, data in ((1, b"1\n"), (2, b"2\n")):
            assert protocol.calls.index((fd, data)) < protocol.calls.index((fd, "lost"))
        assert (0, "lost") in protocol.calls and transport.get_returncode() == 0
        transport.close()

    run(main)


def test_many_at_once(run):
    async def main():
        processes = await asyncio.gather(
            *(asyncio.create_subprocess_shell(f"exit {number}", stdout=PIPE) for number in range(20))
        )
        assert await asyncio.gather(*(process.wait() for process in processes)) == list(range(20))

    run(main)


def test_binary_only(run, loop):
    async def main():
        for wrong in ({"universal_newlines": True}, {"text": True}, {"encoding": "utf-8"}, {"errors": "strict"}):
            with pytest.raises(ValueError):
                await loop.subprocess_exec(asyncio.SubprocessProtocol, "true", **wrong)
        with pytest.raises(ValueError, match="shell must be False"):
            await loop.subprocess_exec(asyncio.SubprocessProtocol, "true", shell=True)
        with pytest.raises(ValueError, match="bufsize must be 0"):
            await loop.subprocess_exec(asyncio.SubprocessProtocol, "true", bufsize=4096)
        with pytest.raises(TypeError):
            await loop.subprocess_exec(asyncio.SubprocessProtocol, 5)

    run(main)
