"""The life of a pool's workers, from their start to their end and to that of the program."""

import logging
import os
import re
import select
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import treadle
from support import process_bodies as bodies
from support import run_script, threads_named
from support.scripts import script_environment
from support.waiting import LIMIT, eventually, gone
from treadle._workers import choose_context
from treadle._zygote import ZygoteContext, _zygotes, stop_zygotes

# An allocator that has reserved address space in advance meets the limit elsewhere than expected.
limited_memory = pytest.mark.skipif(
    "TREADLE_SANITIZED" in os.environ or not getattr(sys, "_is_gil_enabled", lambda: True)(),
    reason="RLIMIT_AS counts what ASan, and mimalloc of free-threaded builds, reserve",
)
METHODS = ("zygote", "fork", "spawn", "forkserver")
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")


@pytest.fixture(scope="module", autouse=True)
def no_zygotes_left():
    yield
    stop_zygotes()


@pytest.fixture(params=METHODS)
def ctx(request):
    return choose_context(request.param)


def pool_of(ctx="zygote", workers=1, **options):
    return treadle.ProcessPoolExecutor(workers, mp_context=ctx, **options)


class TestSetUp:
    def test_initializer_and_exit_function(self, ctx, tmp_path):
        marks = tmp_path / "marks"
        options = {"initializer": bodies.mark_at, "initargs": (str(marks), "begun"), "exit_function": bodies.mark_end}
        with pool_of(ctx, 2, **options) as pool:
            ids = {pool.submit(bodies.which_worker).result(LIMIT) for _ in range(3)}
            assert ids <= {0, 1}
            assert eventually(lambda: "begun" in marks.read_text())
        words = marks.read_text().split()
        assert words.count("begun") == words.count("ended") >= 1

    def test_atexit_handlers_and_finalizers_of_tasks_run(self, tmp_path):
        marks = tmp_path / "marks"
        with pool_of() as pool:
            pool.submit(bodies.mark_at_exit, str(marks)).result(LIMIT)
        assert sorted(marks.read_text().split()) == ["atexit", "finalize"]

    def test_an_initializer_that_fails(self, ctx, caplog):
        with pool_of(ctx, initializer=bodies.fail) as pool:
            try:
                future = pool.submit(bodies.pid)
            except treadle.BrokenProcessPool:
                pytest.fail("nothing has failed yet")
            with pytest.raises(treadle.BrokenProcessPool, match="before it was ready"):
                future.result(LIMIT)
            with pytest.raises(treadle.BrokenProcessPool):
                pool.submit(bodies.pid)

    def test_workers_have_numbers_that_are_used_again(self):
        with pool_of(workers=2, on_crash="respawn") as pool:
            seen = {pool.submit(bodies.which_worker).result(LIMIT) for _ in range(4)}
            for _ in range(3):
                with pytest.raises(treadle.BrokenProcessPool):
                    pool.submit(bodies.end_with, 1).result(LIMIT)
                seen.add(pool.submit(bodies.which_worker).result(LIMIT))
        assert seen <= {0, 1}

    def test_preload(self):
        with pool_of(preload=["wave"]) as pool:
            assert pool._mp_context.preload == ("wave",)
            assert pool.submit(bodies.is_imported, "wave").result(LIMIT)
        with pool_of() as pool:
            assert not pool.submit(bodies.is_imported, "wave").result(LIMIT)
        with pool_of(preload=["no_such_module_anywhere"]) as pool:
            with pytest.raises(ImportError, match="no_such_module_anywhere"):
                pool.submit(bodies.pid)

    def test_limits(self, monkeypatch):
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        one = min(os.sched_getaffinity(0))
        with pool_of(library_threads=3, affinity=[one]) as pool:
            assert pool.submit(bodies.variable, "OMP_NUM_THREADS").result(LIMIT) == "3"
            assert pool.submit(os.sched_getaffinity, 0).result(LIMIT) == {one}
        with pytest.raises(ValueError, match="affinity must name"):
            pool_of(affinity=[])

    def test_logs(self, caplog):
        with caplog.at_level(logging.INFO, "treadle.test"):
            with pool_of(worker_logs="INFO") as pool:
                pool.submit(bodies.log_things, "treadle.test").result(LIMIT)
        assert [record.getMessage() for record in caplog.records] == ["a warning 1", "it failed", "with extras"]

    def test_the_log_of_multiprocessing(self):
        out, err = run_script(
            """
            import logging, multiprocessing, sys, treadle
            from support import process_bodies as bodies
            if __name__ == "__main__":
                multiprocessing.log_to_stderr(logging.INFO)
                with treadle.ProcessPoolExecutor(1, mp_context="zygote") as pool:
                    pool.submit(bodies.log_by_multiprocessing).result()
                sys.exit(1)
            """,
            status=1,
        )
        assert "child process calling self.run()" in err
        assert "[INFO/ZygoteProcess-1] said by a task" in err

    def test_pools_in_workers(self):
        with pool_of(workers=1) as pool:
            assert pool.submit(bodies.use_a_pool, "zygote").result(LIMIT) == [0, 1, 4]
            assert pool.submit(bodies.use_a_pool, "fork").result(LIMIT) == [0, 1, 4]


class TestMemory:
    def test_a_worker_that_has_grown_is_replaced(self):
        with pool_of(max_memory_per_child=150 << 20) as pool:
            small = [pool.submit(bodies.grow, 1 << 20).result(LIMIT) for _ in range(4)]
            assert len(set(small)) == 1
            large = [pool.submit(bodies.grow, 160 << 20).result(LIMIT) for _ in range(3)]
            assert large[0] == small[0]
            assert len(set(large)) == 3

    def test_what_is_queued_is_not_lost(self):
        with pool_of(workers=2, max_memory_per_child=150 << 20) as pool:
            futures = [pool.submit(bodies.grow, (n % 5 == 0) * (160 << 20)) for n in range(20)]
            pids = [future.result(LIMIT) for future in futures]
        assert len(set(pids)) > 2


def wake_ups(pool):
    """How often the pool's processes, its zygote and its dispatcher have slept, and so been woken, all together."""
    threads = [f"/proc/self/task/{thread.native_id}" for thread in threads_named("treadle-process-pool")]
    pids = [*pool._processes, *(zygote.pid for zygote in _zygotes.values() if zygote.pid and not gone(zygote.pid))]
    threads += [f"/proc/{pid}/task/{task}" for pid in pids for task in os.listdir(f"/proc/{pid}/task")]
    status = "".join(Path(thread, "status").read_text() for thread in threads)
    return sum(map(int, re.findall(r"^voluntary_ctxt_switches:\s*(\d+)", status, re.MULTILINE)))


class TestIdle:
    def test_nobody_wakes_up(self, ctx):
        with pool_of(ctx, 2) as pool:
            assert [len(data) for data in pool.map(bytes, [1 << 20] * 4)] == [1 << 20] * 4

            def sleeps():
                before = wake_ups(pool)
                time.sleep(1)  # and not for the first seconds, while memory is given back
                return wake_ups(pool) == before

            assert eventually(sleeps)


class TestTrouble:
    def test_a_main_module_without_a_guard(self, tmp_path):
        program = tmp_path / "unguarded.py"
        program.write_text(
            textwrap.dedent(
                """
                import treadle
                def own(): return 1
                def say(*words):
                    if __name__ == "__main__":
                        print(*words)
                pool = treadle.ProcessPoolExecutor(1, mp_context="zygote")
                say(pool.submit(abs, -3).result(60))
                try:
                    pool.submit(own).result(60)
                except Exception as error:
                    say(type(error).__name__, error, *error.__notes__)
                say(pool.submit(abs, -4).result(60))
                pool.shutdown()
                """
            )
        )
        out = run_program(program)
        lines = out.splitlines()
        assert lines[0] == "3" and lines[-1] == "4"
        assert "AttributeError" in lines[1] and "own" in out
        assert 'if __name__ == "__main__":' in out and "before the" in out

    def test_a_worker_that_closes_all_its_descriptors(self, ctx):
        self.check_closing(ctx, "break")

    def test_a_worker_that_closes_all_its_descriptors_of_a_pool_that_respawns(self):
        self.check_closing("zygote", "respawn")

    def check_closing(self, ctx, on_crash):
        with pool_of(ctx, on_crash=on_crash) as pool:
            first = pool.submit(bodies.pid).result(LIMIT)
            assert pool.submit(bodies.close_everything).result(LIMIT) == "closed"
            # it may get another task before it sees
            assert eventually(lambda: pool.submit(bodies.pid).result(LIMIT) != first)
            futures = [pool.submit(bodies.close_everything), *(pool.submit(bodies.add, n, 2) for n in range(20))]
            assert [future.result(LIMIT) for future in futures] == ["closed", *range(2, 22)]

    @limited_memory
    @pytest.mark.parametrize("method", ["zygote", "fork"])
    def test_results_larger_than_the_memory_of_the_worker(self, method):
        with pool_of(method) as pool:
            pool.submit(bodies.limit_memory, 64 << 20).result(LIMIT)
            first = pool.submit(bodies.pid).result(LIMIT)
            for function in bytes, bodies.many_bytes:
                with pytest.raises(MemoryError):
                    pool.submit(function, 200 << 20).result(LIMIT)
            assert len(pool.submit(bytes, 1 << 20).result(LIMIT)) == 1 << 20
            assert pool.submit(bodies.pid).result(LIMIT) == first

    @limited_memory
    def test_results_larger_than_the_memory_of_the_parent(self):
        out = run_script(
            """
            import treadle
            from support import process_bodies as bodies
            if __name__ == "__main__":
                with treadle.ProcessPoolExecutor(1, mp_context="zygote") as pool:
                    pool.submit(int).result()
                    bodies.limit_memory(40 << 20)
                    jobs = [pool.submit(bodies.many_bytes, 120 << 20), pool.submit(bytes, 120 << 20)]
                    print(*(type(job.exception()).__name__ for job in jobs))
                    try:
                        list(pool.map(bodies.many_bytes, [1000, 120 << 20]))
                    except MemoryError:
                        print("map")
                    print(pool.submit(bodies.add, 1, 2).result(), len(pool.submit(bytes, 1 << 20).result()))
            """
        )
        assert out.splitlines() == ["MemoryError MemoryError", "map", f"3 {1 << 20}"]

    def test_exceptions_that_cannot_be_sent(self):
        with pool_of() as pool:
            with pytest.raises(Exception, match="pickle|local object"):
                pool.submit(bodies.raise_unpicklable).result(LIMIT)
            with pytest.raises(Exception) as caught:
                pool.submit(bodies.raise_not_unpicklable).result(LIMIT)
            assert "two_arguments" in str(caught.value) or "missing" in str(caught.value)
            assert pool.submit(bodies.add, 1, 2).result(LIMIT) == 3

    def test_the_zygote_is_killed(self):
        ctx = ZygoteContext(["support.process_bodies"])
        with pool_of(ctx, workers=2, on_crash="respawn") as pool:
            first = pool.submit(bodies.pid).result(LIMIT)
            zygotes = [zygote for key, zygote in _zygotes.items() if "support.process_bodies" in key[0]]
            os.kill(zygotes[0].pid, signal.SIGKILL)
            assert pool.submit(bodies.pid).result(LIMIT) == first
            with pytest.raises(treadle.BrokenProcessPool):
                pool.submit(bodies.end_with, 1).result(LIMIT)
            assert pool.submit(bodies.add, 1, 2).result(LIMIT) == 3


def run_program(path, status=0):
    done = subprocess.run(
        [sys.executable, str(path)], env=script_environment(), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout


INTERRUPTED = """
    import os, signal, sys, threading, time, treadle
    import warnings
    warnings.simplefilter("ignore", DeprecationWarning)
    from support import process_bodies as bodies
    if __name__ == "__main__":
        signal.signal(signal.SIGINT, signal.default_int_handler)
        def interrupt():
            time.sleep(0.3)
            print(time.monotonic(), *pids, flush=True)
            os.killpg(0, signal.SIGINT)
        pool = treadle.ProcessPoolExecutor(2, mp_context={method!r})
        pids = [pool.submit(bodies.pid).result() for _ in range(4)]
        futures = [pool.submit(bodies.nap, 300) for _ in range(6)]
        threading.Thread(target=interrupt, daemon=True).start()
        {rest}
"""
WAYS = {
    "with": "with pool: futures[0].result()",
    "exit": "futures[0].result()",
    "shutdown": "pool.shutdown()",
    "sleep": "time.sleep(300)",
    "join at exit": "pass",
}


class TestInterrupt:
    @pytest.mark.parametrize("way", WAYS)
    def test_ends_the_program_at_once(self, way):
        self.check("zygote", way)

    @pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
    def test_by_every_start_method(self, method):
        self.check(method, "with")

    def check(self, method, way):
        program = textwrap.dedent(INTERRUPTED.format(method=method, rest=WAYS[way]))
        process = subprocess.Popen(
            [sys.executable, "-c", program], env=script_environment(), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )
        try:
            out, err = process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            raise AssertionError("it goes on: " + process.communicate()[1]) from None
        took = time.monotonic() - float(out.split()[0])
        assert took < 5  # at once, that is; the machine may be busy
        assert err.count("KeyboardInterrupt") >= 1
        assert "ZygoteProcess" not in err and "ForkProcess" not in err and "SpawnProcess" not in err
        pids = [int(word) for word in out.split()[1:]]
        assert eventually(lambda: all(map(gone, pids)), limit=5.0)


TO_BE_KILLED = """
    import os, sys, treadle, warnings
    warnings.simplefilter("ignore", DeprecationWarning)
    from support import process_bodies as bodies
    from support.waiting import eventually
    from treadle._zygote import _zygotes
    if __name__ == "__main__":
        pool = treadle.ProcessPoolExecutor(2, mp_context={method!r})
        pids = {{pool.submit(bodies.pid).result() for _ in range(4)}}
        assert len(pool.submit(bytes, 1 << 20).result()) == len(pool.submit(bytes.upper, bytes(1 << 20)).result())
        shared = treadle.SharedBuffer(1 << 20)
        pool.submit({task}, sys.argv[1], shared)
        assert eventually(lambda: os.path.exists(sys.argv[1]))
        print(*pool._processes, *(zygote.pid for zygote in _zygotes.values()))
        descriptors = [f"/proc/self/fd/{{fd}}" for fd in os.listdir("/proc/self/fd")]
        memory = [fd for fd in descriptors if os.path.islink(fd) and os.readlink(fd).startswith("/memfd:")]
        print(*(os.stat(fd).st_ino for fd in memory), flush=True)
        sys.stdin.read()
"""


def memory_in_use(inodes):
    """Which of these files of shared memory some process still maps or has open."""
    used = set()
    for process in filter(str.isdecimal, os.listdir("/proc")):
        try:
            with open(f"/proc/{process}/maps") as maps:
                used |= {int(line.split()[4]) for line in maps if "/memfd:" in line}
            for fd in os.listdir(f"/proc/{process}/fd"):
                if os.readlink(f"/proc/{process}/fd/{fd}").startswith("/memfd:"):
                    used.add(os.stat(f"/proc/{process}/fd/{fd}").st_ino)
        except OSError:
            continue  # it has ended meanwhile, or is another user's
    return used & set(inodes)


class TestParentKilled:
    @pytest.mark.parametrize("method", METHODS)
    def test_nothing_stays_behind(self, method, tmp_path):
        self.check(method, "bodies.stay", tmp_path)

    # The workers of a fork server are its children, and it has no such promise to keep.
    @pytest.mark.parametrize("method", ["zygote", "fork", "spawn"])
    def test_nor_a_task_that_has_closed_all_descriptors(self, method, tmp_path):
        self.check(method, "bodies.close_everything_and_stay", tmp_path)

    def check(self, method, task, tmp_path):
        program = textwrap.dedent(TO_BE_KILLED.format(method=method, task=task))
        named = set(os.listdir("/dev/shm"))
        parent = subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path / "begun")], env=script_environment(),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        ends = []
        with parent:
            try:
                pids, memory = ([int(word) for word in parent.stdout.readline().split()] for _ in range(2))
                assert pids and memory_in_use(memory) == set(memory) != set()
                ends += map(os.pidfd_open, pids)
            finally:
                parent.kill()
        try:
            # They end within a second; a machine that has other things to do takes longer.
            assert all(select.select([end], [], [], LIMIT)[0] for end in ends)
        finally:
            for end in ends:
                os.close(end)
        assert eventually(lambda: not memory_in_use(memory))
        # names of others may come and go
        assert not [name for name in set(os.listdir("/dev/shm")) - named if "treadle" in name]
