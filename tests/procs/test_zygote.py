"""The zygote context: processes of multiprocessing, forked by a warm process. What every start method promises is tried
on multiprocessing's own contexts as well."""

import gc
import multiprocessing
import os
import signal
import sys

import pytest
from support import process_bodies as bodies
from support import run_script
from support.waiting import eventually, gone
from treadle._zygote import ZygoteContext, _zygotes, stop_zygotes

CONTEXTS = ("zygote", "fork", "spawn", "forkserver")


@pytest.fixture(scope="module", autouse=True)
def no_zygotes_left():
    yield
    stop_zygotes()


@pytest.fixture(params=CONTEXTS)
def ctx(request):
    return ZygoteContext() if request.param == "zygote" else multiprocessing.get_context(request.param)


@pytest.fixture
def zygote_ctx():
    return ZygoteContext()


def run(ctx, target, *args):
    """What `target`, run by a process of `ctx`, sends, and the ended process."""
    reader, writer = ctx.Pipe(duplex=False)
    process = ctx.Process(target=target, args=(writer, *args))
    process.start()
    writer.close()
    try:
        assert reader.poll(60), "the process sends nothing"
        said = reader.recv()
        process.join(60)
        return said, process
    finally:
        process.kill()
        reader.close()


def the_zygote(ctx):
    return _zygotes[ctx._zygote_key]


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
class TestProcess:
    def test_is_a_child_like_any_other(self, ctx):
        said, process = run(ctx, bodies.describe)
        assert said["pid"] == process.pid != os.getpid()
        assert said["name"] == process.name
        assert said["authkey"] == multiprocessing.current_process().authkey
        assert (said["parent"], said["parent_name"]) == (os.getpid(), multiprocessing.current_process().name)
        assert said["parent_alive"]
        assert said["directory"] == os.getcwd()
        assert process.exitcode == 0 and not process.is_alive()

    def test_exit_codes(self, ctx):
        for target, argument, code in [
            (bodies.end_with, 7, 7),
            (bodies.kill_self, signal.SIGKILL, -signal.SIGKILL),
            (sys.exit, 3, 3),
        ]:
            process = ctx.Process(target=target, args=(argument,))
            process.start()
            process.join(60)
            assert process.exitcode == code

    def test_is_listed_until_it_has_ended(self, ctx):
        process = ctx.Process(target=bodies.sleep_long, name="sleeper")
        process.start()
        try:
            assert process in multiprocessing.active_children()
            assert process.is_alive() and process.exitcode is None
            assert "sleeper" in repr(process) and "started" in repr(process)
        finally:
            process.terminate()
        process.join(60)
        assert process.exitcode == -signal.SIGTERM
        assert process not in multiprocessing.active_children()
        process.close()
        with pytest.raises(ValueError, match="process object is closed"):
            process.is_alive()

    def test_join_with_a_timeout(self, ctx):
        process = ctx.Process(target=bodies.sleep_long)
        process.start()
        try:
            process.join(0.01)
            assert process.is_alive()
        finally:
            process.kill()
            process.join(60)
        assert process.exitcode == -signal.SIGKILL

    def test_the_sentinel_is_ready_when_it_has_ended(self, ctx):
        process = ctx.Process(target=bodies.sleep_long)
        process.start()
        try:
            assert multiprocessing.connection.wait([process.sentinel], 0.01) == []
        finally:
            process.kill()
        assert multiprocessing.connection.wait([process.sentinel], 60) == [process.sentinel]
        process.join(60)

    def test_finalizers_run(self, ctx):
        reader, writer = ctx.Pipe(duplex=False)
        process = ctx.Process(target=bodies.register_exit_handlers, args=(writer,))
        process.start()
        writer.close()
        process.join(60)
        said = set()
        while reader.poll(0):
            try:
                said.add(reader.recv())
            except EOFError:
                break
        # multiprocessing's own processes run atexit handlers in later versions only
        assert "finalize" in said
        if isinstance(ctx, ZygoteContext):
            assert said == {"finalize", "atexit"}

    def test_locks_and_shared_values(self, ctx):
        lock, counter = ctx.Lock(), ctx.Value("i", 0, lock=False)
        processes = [ctx.Process(target=bodies.add_under_lock, args=(lock, counter, 200)) for _ in range(3)]
        for process in processes:
            process.start()
        for process in processes:
            process.join(60)
        assert counter.value == 600

    def test_shared_memory_is_not_taken_away_when_a_process_ends(self, ctx):
        from multiprocessing.shared_memory import SharedMemory

        memory = SharedMemory(create=True, size=64)
        try:
            memory.buf[:5] = b"hello"
            reader, writer = ctx.Pipe(duplex=False)
            process = ctx.Process(target=bodies.read_shared, args=(memory.name, writer))
            process.start()
            assert reader.recv() == b"hello"
            process.join(60)
            again = SharedMemory(memory.name)
            assert bytes(again.buf[:5]) == b"!ello"
            again.close()
        finally:
            memory.close()
            memory.unlink()

    def test_interrupts_are_handled_as_in_any_program(self, ctx):
        (interrupt, terminate), _ = run(ctx, bodies.handlers_of)
        assert interrupt is signal.default_int_handler
        assert terminate == signal.SIG_DFL


class TestZygote:
    def test_serves_all_processes_of_its_context(self, zygote_ctx):
        run(zygote_ctx, bodies.describe)
        first = the_zygote(zygote_ctx).pid
        run(ZygoteContext(), bodies.describe)
        assert the_zygote(zygote_ctx).pid == first

    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
    def test_is_replaced_and_its_workers_go_on(self, zygote_ctx, number):
        reader, writer = zygote_ctx.Pipe()
        worker = zygote_ctx.Process(target=bodies.sleep_long, args=(writer,))
        worker.start()
        try:
            assert reader.recv() == worker.pid
            first = the_zygote(zygote_ctx).pid
            os.kill(first, number)
            said, _ = run(zygote_ctx, bodies.describe)
            assert the_zygote(zygote_ctx).pid != first
            assert worker.is_alive()
        finally:
            worker.kill()
        worker.join(60)
        assert worker.exitcode == 255  # nobody is left to say how it ended

    def test_passes_the_environment_as_it_is_now(self, zygote_ctx, monkeypatch):
        monkeypatch.setenv("TREADLE_TEST_GONE", "before")
        run(zygote_ctx, bodies.describe)
        monkeypatch.setenv("TREADLE_TEST_NEW", "now")
        monkeypatch.delenv("TREADLE_TEST_GONE")
        said, _ = run(zygote_ctx, bodies.environment_of, "TREADLE_TEST_NEW", "TREADLE_TEST_GONE")
        assert said == ["now", None]

    def test_preloads_modules(self):
        ctx = ZygoteContext(["wave", "support.process_bodies"])
        assert ctx.preload == ("wave", "support.process_bodies")
        process = ctx.Process(target=bodies.end_with, args=(0,))
        process.start()
        process.join(60)
        assert process.exitcode == 0
        with open(f"/proc/{the_zygote(ctx).pid}/status") as status:
            assert "Threads:\t1\n" in status.read()

    def test_a_module_that_is_not_there(self):
        process = ZygoteContext(["no_such_module_anywhere"]).Process(target=bodies.end_with, args=(0,))
        with pytest.raises(ImportError, match="preload names what workers cannot import: no_such_module_anywhere"):
            process.start()

    def test_a_module_that_starts_threads_is_not_preloaded(self, tmp_path, monkeypatch):
        (tmp_path / "starts_a_thread.py").write_text(
            "import threading\nthreading.Thread(target=threading.Event().wait, name='forever', daemon=True).start()\n"
        )
        monkeypatch.syspath_prepend(tmp_path)
        ctx = ZygoteContext(["starts_a_thread"])
        with pytest.warns(RuntimeWarning, match=r"importing 'starts_a_thread' starts threads \(forever\)"):
            said, process = run(ctx, bodies.describe)
        assert said["pid"] == process.pid

    def test_what_cannot_be_unpickled_is_reported(self, zygote_ctx):
        process = zygote_ctx.Process(target=bodies.answer, args=(bodies.FailsToUnpickle(), 1))
        process.start()
        process.join(60)
        assert process.exitcode == 1
        assert "ArithmeticError: cannot be unpickled here" in process._popen.failure

    def test_many_processes_at_once_leave_no_descriptors(self, zygote_ctx):
        run(zygote_ctx, bodies.describe)
        gc.collect()
        before = len(os.listdir("/proc/self/fd"))
        processes = [zygote_ctx.Process(target=bodies.end_with, args=(number,)) for number in range(12)]
        for process in processes:
            process.start()
        for number, process in enumerate(processes):
            process.join(60)
            assert process.exitcode == number
        for process in processes:
            process.close()
        assert len(os.listdir("/proc/self/fd")) <= before
        assert len(os.listdir(f"/proc/{the_zygote(zygote_ctx).pid}/fd")) < 20

    def test_closures_cannot_be_sent(self, zygote_ctx):
        with pytest.raises(Exception, match="pickle|local object"):
            zygote_ctx.Process(target=lambda: None).start()

    def test_bad_arguments(self):
        with pytest.raises(TypeError, match="not the string 'numpy'"):
            ZygoteContext("numpy")
        with pytest.raises(TypeError, match="list of module names"):
            ZygoteContext([1])
        with pytest.raises(ValueError, match="stands_for"):
            ZygoteContext(stands_for="fork")

    def test_names_the_method_it_stands_for(self):
        assert ZygoteContext().get_start_method() == "forkserver"
        assert ZygoteContext(stands_for="spawn").get_start_method() == "spawn"
        assert ZygoteContext().get_context("fork").get_start_method() == "fork"

    def test_a_forked_child_has_a_zygote_of_its_own(self):
        out = run_script(
            """
            import os, warnings
            warnings.simplefilter("ignore", DeprecationWarning)
            from support import process_bodies as bodies
            from treadle._zygote import ZygoteContext, _zygotes
            ctx = ZygoteContext()
            def once():
                process = ctx.Process(target=bodies.end_with, args=(5,))
                process.start()
                process.join()
                return process.exitcode, _zygotes[ctx._zygote_key].pid
            code, zygote = once()
            child = os.fork()
            if child == 0:
                code, other = once()
                os._exit(0 if code == 5 and other != zygote else 1)
            assert os.waitpid(child, 0)[1] == 0
            assert once() == (5, zygote)
            print("fine")
            """
        )
        assert out == "fine\n"

    @pytest.mark.parametrize("how", ["sys.exit()", "os._exit(0)", "os.kill(os.getpid(), 9)"])
    def test_ends_with_its_parent(self, how):
        status = -9 if "kill" in how else 0
        said = run_script(
            f"""
            import os, sys
            from support import process_bodies as bodies
            from treadle._zygote import ZygoteContext, _zygotes
            ctx = ZygoteContext()
            process = ctx.Process(target=bodies.end_with, args=(0,))
            process.start()
            process.join()
            print(_zygotes[ctx._zygote_key].pid, flush=True)
            {how}
            """,
            status=status,
        )
        zygote = int(said if status == 0 else said[0])
        assert eventually(lambda: gone(zygote), limit=5.0)
