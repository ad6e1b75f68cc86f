"""Subprocesses: start, pipes, exit, and that nothing is left behind."""

import asyncio
import contextlib
import errno
import gc
import logging
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from asyncio.subprocess import DEVNULL, PIPE, STDOUT

import pytest
import treadle
from support import run_script

pytestmark = pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")


def sh(script, **options):
    return asyncio.create_subprocess_exec("/bin/sh", "-c", script, **options)


async def output_of(script, **options):
    process = await sh(script, stdout=PIPE, **options)
    out, _ = await process.communicate()
    assert process.returncode == 0
    return out


def descriptors():
    gc.collect()
    return sorted(int(name) for name in os.listdir("/proc/self/fd"))[:-1]


def zombies():
    found = []
    for name in os.listdir("/proc"):
        try:
            with open(f"/proc/{int(name)}/stat") as file:
                state, parent = file.read().rpartition(")")[2].split()[:2]
        except (ValueError, OSError):
            continue
        if state == "Z" and int(parent) == os.getpid():
            found.append(int(name))
    return found


def until(condition):
    """Wait for another thread or process; only a hang takes the whole time."""
    for _ in range(2000):
        if condition():
            return True
        time.sleep(0.005)
    return False


def is_gone(pid):
    return until(lambda: not os.path.exists(f"/proc/{pid}"))


@pytest.fixture
def level():
    """Fail if descriptors or zombies are left."""
    before = descriptors()
    yield
    assert until(lambda: not zombies())
    assert descriptors() == before


# ---- the ordinary course -------------------------------------------------------------


def test_output_and_exit_status(loop):
    async def main():
        process = await sh("echo out; echo err >&2; exit 7", stdout=PIPE, stderr=PIPE)
        assert await process.communicate() == (b"out\n", b"err\n")
        assert process.returncode == 7
        assert await process.wait() == 7

    loop.run_until_complete(main())


def test_shell(loop):
    async def main():
        process = await asyncio.create_subprocess_shell("read x; echo $x$x", stdin=PIPE, stdout=PIPE)
        assert await process.communicate(b"ab\n") == (b"abab\n", None)

    loop.run_until_complete(main())


def test_a_lot_through_cat(loop):
    data = os.urandom(1 << 20) * 4

    async def main():
        process = await asyncio.create_subprocess_exec("/bin/cat", stdin=PIPE, stdout=PIPE)
        out, _ = await process.communicate(data)
        assert out == data
        assert process.returncode == 0

    loop.run_until_complete(main())


def test_a_reader_that_leaves(loop):
    async def main():
        process = await sh("exec <&-; exit 3", stdin=PIPE)
        await process.communicate(b"x" * (1 << 20))
        assert process.returncode == 3

    loop.run_until_complete(main())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGUSR1])
def test_signals(loop, number):
    async def main():
        process = await asyncio.create_subprocess_exec("/bin/sleep", "100")
        assert process.returncode is None
        process.send_signal(number)
        assert await process.wait() == -number

    loop.run_until_complete(main())


def test_devnull_and_stdout(loop):
    async def main():
        process = await sh("cat; echo e >&2", stdin=DEVNULL, stdout=PIPE, stderr=STDOUT)
        assert await process.communicate() == (b"e\n", None)
        assert await output_of("echo e >&2; echo o", stderr=DEVNULL) == b"o\n"

    loop.run_until_complete(main())


class Recorder(asyncio.SubprocessProtocol):
    def __init__(self):
        self.calls = []
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.calls.append("made")
        self.transport = transport

    def pipe_data_received(self, fd, data):
        self.calls.append((fd, data))

    def pipe_connection_lost(self, fd, exc):
        self.calls.append((fd, exc))

    def process_exited(self):
        self.calls.append(("exited", self.transport.get_returncode()))

    def connection_lost(self, exc):
        self.calls.append(("lost", exc))
        self.done.set_result(None)


def test_what_the_protocol_hears(loop):
    async def main():
        transport, protocol = await loop.subprocess_exec(
            Recorder, "/bin/sh", "-c", "cat; exit 5", stderr=None
        )
        assert protocol.calls == ["made"]
        assert transport.get_pipe_transport(2) is None
        stdin = transport.get_pipe_transport(0)
        assert isinstance(stdin, asyncio.WriteTransport)
        assert isinstance(transport.get_pipe_transport(1), asyncio.ReadTransport)
        assert isinstance(transport.get_extra_info("subprocess"), subprocess.Popen)
        assert transport.get_extra_info("subprocess").pid == transport.get_pid()
        stdin.write(b"abc")
        stdin.close()
        await protocol.done
        calls = protocol.calls
        assert (1, b"abc") in calls
        assert {(0, None), (1, None), ("exited", 5)} < set(calls)
        assert calls.index((1, b"abc")) < calls.index((1, None))
        assert calls[-1] == ("lost", None)
        assert len(calls) == 6
        transport.close()

    loop.run_until_complete(main())


def test_no_pipes_no_exit_before_connection_made(loop):
    async def main():
        transport, protocol = await loop.subprocess_exec(
            Recorder, "/bin/true", stdin=None, stdout=None, stderr=None
        )
        await protocol.done
        assert protocol.calls == ["made", ("exited", 0), ("lost", None)]
        transport.close()

    loop.run_until_complete(main())


def test_close_kills(loop, level):
    async def main():
        transport, protocol = await loop.subprocess_exec(Recorder, "/bin/cat")
        assert not transport.is_closing()
        transport.close()
        assert transport.is_closing()
        await protocol.done
        assert transport.get_returncode() == -signal.SIGKILL

    loop.run_until_complete(main())


def test_debug_mode_says_what_happens(loop, caplog):
    async def main():
        process = await sh("exit 4", stdout=PIPE)
        await process.communicate()

    loop.set_debug(True)
    with caplog.at_level(logging.DEBUG, logger="asyncio"):
        loop.run_until_complete(main())
    assert "process '/bin/sh' created: pid" in caplog.text
    assert "exited with return code 4" in caplog.text


def test_two_hundred_at_once(loop, level):
    async def one(n):
        return await output_of(f"echo {n}")

    async def main():
        outputs = await asyncio.gather(*map(one, range(40)))
        assert outputs == [b"%d\n" % n for n in range(40)]

    for _ in range(5):
        loop.run_until_complete(main())


# ---- Popen's keywords ----------------------------------------------------------------


def test_cwd_env_and_executable(loop, tmp_path):
    async def main():
        assert await output_of("pwd", cwd=tmp_path) == os.fsencode(tmp_path) + b"\n"
        environment = {"PATH": os.environ["PATH"], "TREADLE_TEST": "ä"}
        assert await output_of("echo $TREADLE_TEST", env=environment) == "ä\n".encode()
        process = await asyncio.create_subprocess_exec(
            "name", "-c", "echo $0", executable="/bin/sh", stdout=PIPE
        )
        assert await process.communicate() == (b"name\n", None)
        process = await asyncio.create_subprocess_exec(b"sh", "-c", "echo b", stdout=PIPE)
        assert await process.communicate() == (b"b\n", None)

    loop.run_until_complete(main())


def test_sessions_groups_and_umask(loop):
    async def identity(**options):
        """The child's process, group and session."""
        status = (await output_of("read x < /proc/$$/stat; echo $x", **options)).split()
        return int(status[0]), int(status[4]), int(status[5])

    async def main():
        pid, group, session = await identity(start_new_session=True)
        assert pid == group == session
        pid, group, session = await identity(process_group=0)
        assert pid == group
        assert session == os.getsid(0)
        assert (await identity())[1:] == (os.getpgrp(), os.getsid(0))
        assert await output_of("umask", umask=0o123) == b"0123\n"

    loop.run_until_complete(main())


@pytest.mark.skipif(os.getuid() != 0, reason="only root may become somebody else")
def test_user_and_groups(loop):
    async def main():
        options = {"user": 65534, "group": 65533, "extra_groups": [65532], "cwd": "/"}
        assert await output_of("id -u; id -g; id -G", **options) == b"65534\n65533\n65533 65532\n"

    loop.run_until_complete(main())


def test_descriptors_of_the_child(loop):
    async def main():
        reader, writer = os.pipe()
        os.set_inheritable(writer, True)
        listing = "ls /proc/$$/fd"
        assert writer not in map(int, (await output_of(listing)).split())
        assert writer in map(int, (await output_of(listing, pass_fds=[writer])).split())
        assert writer in map(int, (await output_of(listing, close_fds=False)).split())
        assert reader not in map(int, (await output_of(listing, close_fds=False)).split())
        process = await sh(f"echo hello >/proc/self/fd/{writer}", pass_fds=[writer])
        assert await process.wait() == 0
        assert os.read(reader, 100) == b"hello\n"
        os.close(reader)
        os.close(writer)

    loop.run_until_complete(main())


def test_preexec_fn(loop):
    async def main():
        process = await sh("exit $(umask)", preexec_fn=lambda: os.umask(0o17))
        assert await process.wait() == 17

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        loop.run_until_complete(main())


def test_restore_signals(loop):
    async def main():
        for restore, killed in ((True, True), (False, False)):
            process = await sh("kill -PIPE $$; exit 3", restore_signals=restore)
            assert (await process.wait() == -signal.SIGPIPE) is killed

    assert signal.getsignal(signal.SIGPIPE) is signal.SIG_IGN
    loop.run_until_complete(main())


def test_pipesize(loop):
    import fcntl

    async def main():
        process = await asyncio.create_subprocess_exec("/bin/cat", stdin=PIPE, pipesize=8192)
        pipe = process.stdin.transport.get_extra_info("pipe")
        assert fcntl.fcntl(pipe, fcntl.F_GETPIPE_SZ) == 8192
        await process.communicate(b"")

    if not hasattr(fcntl, "F_GETPIPE_SZ"):
        pytest.skip("pipes have a fixed size here")
    loop.run_until_complete(main())


@pytest.mark.parametrize(
    "options",
    [
        {"bufsize": 10},
        {"universal_newlines": True},
        {"text": True},
        {"encoding": "utf-8"},
        {"errors": "strict"},
        {"no_such_option": 1},
        {"pass_fds": [1], "close_fds": False, "startupinfo": object()},
        {"stdout": STDOUT},
        {"user": -5},
        {"umask": "x"},
        {"process_group": "x"},
    ],
    ids=lambda options: " ".join(options),  # values have addresses: not the same in every process
)
def test_wrong_options(factory, options, level):
    def attempt(make):
        with asyncio.Runner(loop_factory=make) as runner:
            with pytest.raises(Exception) as caught:
                runner.run(sh("true", **options))
            return caught.type, str(caught.value)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert attempt(factory) == attempt(asyncio.SelectorEventLoop)


# ---- what cannot be started -----------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "options"),
    [
        (["/no/such/program"], {}),
        (["no-such-program"], {}),
        (["/"], {}),
        (["/etc/hostname"], {}),
        (["/bin/true"], {"cwd": "/no/such/directory"}),
        (["/bin/true"], {"executable": "/no/such/program"}),
        (["/bin/true"], {"env": {"a=b": "c"}}),
        (["/bin/true"], {"user": 1 << 40}),
        (["/bin/true", "a\0b"], {}),
        (["/bin/t\0rue"], {}),
        ([""], {}),
    ],
    ids=repr,
)
def test_exec_failure(loop, level, args, options):
    with pytest.raises(Exception) as theirs:
        subprocess.Popen(args, **options)
    for pipe in (None, PIPE):
        with pytest.raises(theirs.type) as ours:
            loop.run_until_complete(
                asyncio.create_subprocess_exec(*args, stdin=pipe, stdout=pipe, stderr=pipe, **options)
            )
        assert ours.value.args == theirs.value.args
        assert getattr(ours.value, "filename", None) == getattr(theirs.value, "filename", None)
    loop.run_until_complete(asyncio.sleep(0))


def test_arguments_of_the_wrong_type(loop, level):
    with pytest.raises(TypeError) as theirs:
        subprocess.Popen(("/bin/echo", 1))
    with pytest.raises(TypeError) as ours:
        loop.run_until_complete(asyncio.create_subprocess_exec("/bin/echo", 1))
    assert ours.value.args == theirs.value.args
    with pytest.raises(TypeError, match="program arguments must be a bytes or text string|not int"):
        loop.run_until_complete(asyncio.create_subprocess_exec(1))


# ---- who watches ----------------------------------------------------------------------


def test_in_a_thread_and_without_sigchld(factory, level):
    outputs = []
    before = signal.getsignal(signal.SIGCHLD)

    def run():
        with asyncio.Runner(loop_factory=factory) as runner:
            outputs.append(runner.run(output_of("echo thread")))

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outputs == [b"thread\n"] * 3
    assert signal.getsignal(signal.SIGCHLD) is before


def test_no_child_watcher_is_asked(monkeypatch):
    def get_child_watcher():
        raise AssertionError("a child watcher was asked for")

    monkeypatch.setattr(asyncio.events, "get_child_watcher", get_child_watcher, raising=False)
    assert treadle.run(output_of("echo x")) == b"x\n"


@pytest.fixture(params=["absent", "ENOSYS"])
def no_pidfd(request, monkeypatch):
    if request.param == "absent":
        monkeypatch.delattr(os, "pidfd_open")
    else:

        def pidfd_open(pid, flags=0):
            raise OSError(38, "Function not implemented")

        monkeypatch.setattr(os, "pidfd_open", pidfd_open)


def test_a_thread_waits_where_there_are_no_pidfds(no_pidfd, level):
    async def main():
        process = await asyncio.create_subprocess_exec("/bin/cat", stdin=PIPE, stdout=PIPE)
        assert any("waitpid" in thread.name for thread in threading.enumerate())
        assert await process.communicate(b"abc") == (b"abc", None)
        assert process.returncode == 0

    treadle.run(main())


def test_a_closed_loop_without_pidfds(no_pidfd, level):
    loop = treadle.new_event_loop()
    process = loop.run_until_complete(asyncio.create_subprocess_exec("/bin/sleep", "100"))
    loop.close()
    os.kill(process.pid, signal.SIGKILL)
    assert is_gone(process.pid)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        del process
        gc.collect()


def test_a_child_that_somebody_else_reaps(caplog):
    async def main():
        process = await asyncio.create_subprocess_exec("/bin/sleep", "100")
        process.kill()
        os.waitpid(process.pid, 0)
        assert await process.wait() == 255

    treadle.run(main())
    assert "255" in caplog.text


def test_the_status_that_popen_took(level):
    async def main():
        transport, protocol = await treadle_loop.subprocess_exec(
            Recorder, "/bin/sh", "-c", "exit 6", stdin=None, stdout=None, stderr=None
        )
        popen = transport.get_extra_info("subprocess")
        assert popen.wait() == 6  # as transport.close() may do it
        await protocol.done
        assert transport.get_returncode() == 6
        transport.close()

    treadle_loop = treadle.new_event_loop()
    treadle_loop.run_until_complete(main())
    treadle_loop.close()


def test_ignored_sigchld(level):
    async def main():
        process = await asyncio.create_subprocess_exec("/bin/true")
        assert await process.wait() == 255
        with pytest.raises(FileNotFoundError):
            await asyncio.create_subprocess_exec("/no/such/program")

    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        treadle.run(main())
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_a_replacement_of_popen_is_used(loop, monkeypatch):
    class Replacement(subprocess.Popen):
        pass

    async def main():
        transport, protocol = await loop.subprocess_exec(
            Recorder, "/bin/true", stdin=None, stdout=None, stderr=None
        )
        assert type(transport.get_extra_info("subprocess")) is Replacement
        await protocol.done
        transport.close()

    monkeypatch.setattr(subprocess, "Popen", Replacement)
    loop.run_until_complete(main())


def test_an_audit_hook_sees_the_program(loop):
    code = (
        "import sys, asyncio, treadle\n"
        "seen = []\n"
        "sys.addaudithook(lambda name, args: seen.append(args) if name == 'subprocess.Popen' else None)\n"
        "async def main():\n"
        "    await (await asyncio.create_subprocess_exec('/bin/true', 'a')).wait()\n"
        "treadle.run(main())\n"
        "print([(args[0], list(args[1]), *args[2:]) for args in seen])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert done.stdout == "[('/bin/true', ['/bin/true', 'a'], None, None)]\n"


# ---- nothing is left behind ------------------------------------------------------------


def test_a_cancelled_start(factory, level):
    """Cancel create_subprocess_exec() after each number of turns until it is done."""

    async def attempt(turns):
        task = asyncio.ensure_future(
            asyncio.create_subprocess_exec("/bin/cat", stdin=PIPE, stdout=PIPE, stderr=PIPE)
        )
        for _ in range(turns):
            await asyncio.sleep(0)
        if not task.cancel():
            process = task.result()
            process.kill()
            await process.communicate()
            return True
        with pytest.raises(asyncio.CancelledError):
            await task
        return False

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        for turns in range(60):
            with asyncio.Runner(loop_factory=factory) as runner:
                done = runner.run(attempt(turns))
            gc.collect()
            if done:
                break
        assert done


def test_a_loop_that_is_closed_while_the_child_runs(level):
    loop = treadle.new_event_loop()
    process = loop.run_until_complete(asyncio.create_subprocess_exec("/bin/sleep", "100"))
    loop.close()
    os.kill(process.pid, signal.SIGKILL)
    assert is_gone(process.pid)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        del process
        gc.collect()


def test_a_child_that_is_forgotten_is_killed(level):
    with pytest.warns(ResourceWarning, match="unclosed transport"):
        loop = treadle.new_event_loop()
        process = loop.run_until_complete(asyncio.create_subprocess_exec("/bin/cat", stdin=PIPE))
        pid = process.pid
        loop.close()
        del process, loop
        gc.collect()
    assert is_gone(pid)


def test_a_pipe_that_cannot_be_connected(level, monkeypatch):
    async def fail(*args):
        raise OSError("no reading today")

    loop = treadle.new_event_loop()
    monkeypatch.setattr(loop, "connect_read_pipe", fail)
    with pytest.raises(OSError, match="no reading today"):
        loop.run_until_complete(
            asyncio.create_subprocess_exec("/bin/cat", stdin=PIPE, stdout=PIPE, stderr=PIPE)
        )
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()


def test_a_watch_that_cannot_be_set_up(level, monkeypatch):
    pids = []

    def pidfd_open(pid, flags=0):
        pids.append(pid)
        raise OSError(24, "Too many open files")

    def start(thread):
        raise RuntimeError("can't start new thread")

    loop = treadle.new_event_loop()
    monkeypatch.setattr(os, "pidfd_open", pidfd_open)
    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        loop.run_until_complete(asyncio.create_subprocess_exec("/bin/cat", stdin=PIPE))
    (pid,) = pids
    assert not os.path.exists(f"/proc/{pid}")
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()


def test_soak(loop, level):
    async def one():
        process = await asyncio.create_subprocess_exec("/bin/cat", stdin=PIPE, stdout=PIPE)
        assert await process.communicate(b"x" * 100) == (b"x" * 100, None)

    for _ in range(10):
        loop.run_until_complete(one())
    level_of = [len(descriptors())]
    for _ in range(30):

        async def ten():
            await asyncio.gather(*(one() for _ in range(10)))

        loop.run_until_complete(ten())
        assert zombies() == []
        level_of.append(len(descriptors()))
    assert level_of == [level_of[0]] * len(level_of)


def test_every_number_of_descriptors_that_is_too_small(level):
    """Starting a process fails, or works, whatever the number of free descriptors."""
    resource = pytest.importorskip("resource", reason="no limit on descriptors here")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    async def attempt(limit):
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
        try:
            process = await asyncio.create_subprocess_exec(
                "/bin/cat", stdin=PIPE, stdout=PIPE, stderr=PIPE
            )
        except OSError as exc:
            assert exc.errno == errno.EMFILE
            return False
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert await process.communicate(b"abc") == (b"abc", b"")
        assert process.returncode == 0
        return True

    async def main():
        with contextlib.ExitStack() as gaps:
            highest = max(descriptors())
            while (filler := os.open(os.devnull, os.O_RDONLY)) < highest:
                gaps.callback(os.close, filler)
            gaps.callback(os.close, filler)
            first = max(descriptors()) + 1
            outcomes = []
            while outcomes[-5:] != [True] * 5:
                outcomes.append(await attempt(first + len(outcomes)))
                await asyncio.sleep(0)
        assert outcomes == sorted(outcomes)
        assert outcomes[0] is False

    treadle.run(main())


def test_a_forked_child_closes_the_loop(level):
    """The children of its parent are none of its business."""
    loop = treadle.new_event_loop()
    process = loop.run_until_complete(asyncio.create_subprocess_exec("/bin/sleep", "100"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        status = 1
        try:
            loop.close()
            time.sleep(0.05)
            status = 0 if threading.active_count() == 1 else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert process.returncode is None
    process.kill()
    assert loop.run_until_complete(process.wait()) == -signal.SIGKILL
    loop.close()


def test_a_loop_that_nobody_closed_with_a_process_that_runs():
    """The interpreter exits all the same."""
    pid = run_script(
        """
        import asyncio, warnings
        import treadle

        warnings.simplefilter("ignore")
        loop = treadle.new_event_loop()
        cycle = [loop]
        cycle.append(cycle)
        process = loop.run_until_complete(asyncio.create_subprocess_exec("/bin/sleep", "100"))
        print(process.pid)
        """
    )
    with contextlib.suppress(ProcessLookupError):
        os.kill(int(pid), signal.SIGKILL)
