"""The life of a pool's workers, from their start to their end and to that of the program."""

import logging
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest
import treadle
from support import process_bodies as bodies
from support import run_script
from support.scripts import script_environment
from support.waiting import LIMIT, eventually, gone
from treadle._workers import choose_context
from treadle._zygote import ZygoteContext, stop_zygotes

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
            large = [pool.submit(bodies.grow, 200 << 20).result(LIMIT) for _ in range(3)]
            assert large[0] == small[0]
            assert len(set(large)) == 3

    def test_what_is_queued_is_not_lost(self):
        with pool_of(workers=2, max_memory_per_child=150 << 20) as pool:
            futures = [pool.submit(bodies.grow, (n % 5 == 0) * (200 << 20)) for n in range(40)]
            pids = [future.result(LIMIT) for future in futures]
        assert len(set(pids)) > 2


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
        with pool_of(ctx, on_crash="respawn") as pool:
            pool.submit(bodies.pid).result(LIMIT)
            try:
                assert pool.submit(bodies.close_everything).result(LIMIT) == "closed"
            except treadle.BrokenProcessPool as error:
                assert "closed" in str(error)
            assert pool.submit(bodies.add, 1, 2).result(LIMIT) == 3

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
            from treadle._zygote import _zygotes

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


class TestParentKilled:
    @pytest.mark.parametrize("method", METHODS)
    def test_nothing_stays_behind(self, method):
        out, _ = run_script(
            f"""
            import os, treadle, warnings
            warnings.simplefilter("ignore", DeprecationWarning)
            from support import process_bodies as bodies
            from treadle._zygote import _zygotes
            if __name__ == "__main__":
                pool = treadle.ProcessPoolExecutor(2, mp_context={method!r})
                pids = {{pool.submit(bodies.pid).result() for _ in range(4)}}
                pool.submit(bodies.nap, 300)
                print(*pids, *(zygote.pid for zygote in _zygotes.values()), flush=True)
                os.kill(os.getpid(), 9)
            """,
            status=-9,
        )
        pids = [int(word) for word in out.split()]
        assert len(pids) >= 1
        assert eventually(lambda: all(map(gone, pids)), limit=5.0)
